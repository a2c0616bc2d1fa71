"""The processes of a benchmark with their command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path

from mbv2ssd_ros.tools.benchmarking.figures import Record
from mbv2ssd_ros.tools.cli.processes import Program, ros_environment
from mbv2ssd_ros.tools.play_images import share_large_images

START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Setup:
    """What is measured: a camera, and a backend behind it."""

    images: Path
    size_wh: tuple[int, int]
    rate_hz: float
    reliable: bool
    backend: str
    domain_id: int | None  # None: one of their own


class Processes:
    """Starts the processes of one ROS graph, with their logs in one folder."""

    def __init__(self, setup: Setup, folder: Path, programs: list[Program]) -> None:
        """Start nothing yet. Processes are added to `programs`; the caller ends them."""
        self._setup, self._folder, self._programs = setup, folder, programs
        self._environment = ros_environment(folder, setup.domain_id)
        self._record_file = folder / 'record.json'

    def camera(self, topics: Sequence[str]) -> Program:
        """Start the publisher of the images; commands choose among `topics`."""
        # Only the sender's shared memory size counts. The node runs as users run it.
        environment = dict(self._environment)
        share_large_images(environment)
        return self._role('camera', *self._images(), '--topics', *topics, *self._reliable(),
                          environment=environment)

    def listener(self, image_topic: str, detections_topics: Sequence[str],
                 diagnostics: bool = False) -> Program:
        """Start the recorder of arrival times; the node does not subscribe to `image_topic`."""
        return self._role('listener', '--image-topic', image_topic, '--detections-topics',
                          *detections_topics, *self._reliable(),
                          *(['--diagnostics'] if diagnostics else []))

    def inference(self, model: Path) -> Program:
        """Start the backend alone, with the model of the node."""
        return self._role('inference', *self._images(), '--model', str(model), '--backend',
                          self._setup.backend)

    def node(self, model: Path, cameras: Sequence[str], **parameters: object) -> Program:
        """Start the detector as users run it, with more parameters if given."""
        reliability = 'reliable' if self._setup.reliable else 'best_effort'
        settings = {'autostart': 'true', 'model_path': model.resolve(),
                    'backend': self._setup.backend, 'cameras': f'[{",".join(cameras)}]',
                    **{f'{name}.qos_reliability': reliability for name in cameras}, **parameters}
        arguments = [str(self._record_file), '--ros-args']
        for name, value in settings.items():
            arguments += ['-p', f'{name}:={value}']
        return self._start('node', 'mbv2ssd_ros.tools.benchmarking.node', arguments, pipes=False)

    def record(self) -> Record:
        """Read the record of the node after its end: one entry for each answered frame."""
        record: Record = json.loads(self._record_file.read_text())
        return record

    def _images(self) -> list[str]:
        size = '{}x{}'.format(*self._setup.size_wh)
        return ['--images', str(self._setup.images), '--size', size]

    def _reliable(self) -> list[str]:
        return ['--reliable'] if self._setup.reliable else []

    def _role(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None
              ) -> Program:
        return self._start(name, 'mbv2ssd_ros.tools.benchmarking.roles', [name, *arguments],
                           pipes=True, environment=environment)

    def _start(self, name: str, module: str, arguments: Sequence[str], pipes: bool,
               environment: Mapping[str, str] | None = None) -> Program:
        program = Program(module, arguments, environment or self._environment,
                          self._folder / f'{name}.log', pipes=pipes)
        self._programs.append(program)
        return program
