"""
Measure models side by side, each with every backend at hand: one table.

  detect      image in memory -> detections in memory: resize, infer, thresholds, NMS
  infer       the part of it that is Backend.infer, of the same images
  fps         detect again, one image after the other instead of at --rate
  end to end  (--ros) image published -> detections received, with node and camera as processes

Every model has a process of its own, and all are measured in turns, round after round, so that a
machine that becomes slower becomes slower for all. Figures are medians over the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import importlib.util
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.core.arguments import domain_id, whole
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.shipped import find_model, shipped_path
from mbv2ssd_ros.tools.benchmarking.compare_figures import (
    matplotlib_classes,
    parameter_count,
    plot,
    Rounds,
    row,
    table,
)
from mbv2ssd_ros.tools.benchmarking.figures import latencies_ms, machine
from mbv2ssd_ros.tools.benchmarking.run import CameraSettings, Engine, Graph, Setup, WARM_UP
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.processes import ending, Program
from mbv2ssd_ros.tools.cli.program import EXPECTED_MODEL, log, run
from mbv2ssd_ros.tools.cli.settings import flag, json_option, option, read
from mbv2ssd_ros.tools.playing.image_source import open_source

PROGRAM = 'compare_models'


@dataclass(frozen=True, kw_only=True)
class Settings(CameraSettings):
    """What is compared, and how it is measured."""

    models: list[Path] = option(
        type=Path, nargs='*', metavar='MODEL', help='ONNX files, or folders of them; the first is '
        'what others are compared with (default: the model shipped with the package)')
    backend: list[str] = option('--backend', action='append', default=[], choices=BACKENDS[1:],
                                help='once for each (default: all that are installed)')
    threads: int = option('--threads', type=whole, default=1, metavar='N',
                          help='of one inference on a CPU (default %(default)s)')
    ros: bool = flag('--ros', 'also measure end to end: a node and a camera for each model')
    domain_id: int = option('--domain-id', type=domain_id, default=70, metavar='0..101',
                            help='--ros: ROS_DOMAIN_ID of the first model; the others take the '
                            'next (default %(default)s)')
    map: list[Path] = option(
        '--map', type=Path, action='append', default=[], metavar='JSON', group='mAP',
        help='figures of `mbv2ssd_train eval --json` or metrics.json of evaluate_bag; once for '
        'each model, in their order')
    bag: Path | None = option('--bag', type=Path, group='mAP', help='recording to measure mAP on')
    ground_truth: Path | None = option('--ground-truth', type=Path, metavar='PATH', group='mAP',
                                       help='its annotations, as for evaluate_bag')
    json: Path | None = json_option()
    plot: Path | None = option('--plot', type=Path, metavar='FILE', help='draw them there, as PNG')


@dataclass
class Entrant:
    """A model with a backend."""

    setup: Setup
    described: dict[str, Any] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)
    engine: Engine | None = None  # None: it cannot be loaded
    graph: Graph | None = None  # with --ros

    @property
    def title(self) -> str:
        """Name in the log."""
        return f'{self.setup.model.name} on {self.setup.backend}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit code is 1 when a model could not be measured."""
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  compare_models model.onnx model_int8.onnx --json now.json --plot now.png\n'
        '  compare_models models/ --bag drive/ --ground-truth drive.json --ros')
    return run(PROGRAM, lambda: _compare(settings), 'interrupted; nothing was written')


def _compare(settings: Settings) -> int:
    _check(settings)
    result = compare(settings)
    print(table(result['rows']))
    write_json(settings.json, result)
    measured = [found for found in result['rows'] if not found.get('error')]
    if settings.plot is not None and measured:
        plot(measured, settings.plot)
    return int(len(measured) < len(result['rows']))


def compare(settings: Settings) -> dict[str, Any]:
    """Measure everything; return the content of the JSON file."""
    models = models_of(settings.models)
    maps = _maps(settings.map, models)
    images = settings.images or shipped_path('config/demo/images')
    setups = [Setup(model=model, backend=backend, images=images, size_wh=settings.size,
                    rate_hz=settings.rate, threads=settings.threads)
              for model in models for backend in _backends(settings.backend)]
    # One domain per node: each must receive its own camera only.
    entrants = [Entrant(replace(setup, domain_id=(settings.domain_id + number) % 102))
                for number, setup in enumerate(setups)]
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_compare_') as folder, ending(programs):
        for number, entrant in enumerate(entrants):
            log(PROGRAM, f'loading {entrant.title}')
            _load(entrant, Path(folder) / f'{number}.log', programs)
            if entrant.engine is not None:
                entrant.described.update(_accuracy(entrant, settings, maps, Path(folder) / 'bag'))
                if settings.ros:
                    entrant.graph = Graph(entrant.setup, Path(folder) / f'ros_{number}', programs)
                    log(PROGRAM, f'waiting for the first detections of {entrant.title}')
                    entrant.graph.wait_until_answered(
                        entrant.graph.topics, 'detections of the node')
        running = [entrant for entrant in entrants if entrant.engine is not None]
        for number in range(settings.rounds if running else 0):
            log(PROGRAM, f'round {number + 1} of {settings.rounds}')
            # the first finds a machine after a pause: start with another one in each round
            for place in range(len(running)):
                _measure(running[(place + number) % len(running)],
                         -(-settings.frames // settings.rounds))
    first = running[0].rounds if running else Rounds()
    return {
        'rows': [entrant.described if entrant.engine is None
                 else row(entrant.described, entrant.rounds, first) for entrant in entrants],
        'config': {'rate_hz': settings.rate, 'frames': settings.frames, 'rounds': settings.rounds,
                   'size': setups[0].size, 'threads': settings.threads, 'images': images.name},
        'machine': machine()}


def models_of(paths: Sequence[Path]) -> list[Path]:
    """
    List ONNX files, each once, in the order given and by name inside a folder.

    Without paths: the model of the package. Raises ConfigError for a missing or empty path.
    """
    found: list[Path] = []
    for path in paths or [find_model('')]:
        files = sorted(path.glob('*.onnx')) if path.is_dir() else [path]
        if not files:
            raise ConfigError(f'{path}: no .onnx file in this folder')
        if not files[0].is_file():
            raise ConfigError(f'{path}: no such file; {EXPECTED_MODEL}, or a folder of them')
        found += [file.resolve() for file in files]
    return list(dict.fromkeys(found))


def read_map(path: Path) -> tuple[float, str]:
    """
    Read mAP@0.5 (a share of 1) and the name of the data from a file of figures.

    The file is JSON of `mbv2ssd_train eval --json` or metrics.json of `evaluate_bag`; DataError
    when it has neither.
    """
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        found = found.get('accuracy') or found
        return float(found['map_50']), str(found['split'])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise DataError(f'{path}: has no map_50 and split ({err!r}); expected the JSON of '
                        '`mbv2ssd_train eval --json` or metrics.json of evaluate_bag') from err


def _check(settings: Settings) -> None:
    """Refuse now what would fail at the end."""
    if (settings.bag is None) != (settings.ground_truth is None):
        raise ConfigError('--bag and --ground-truth are needed together')
    if settings.map and settings.bag:
        raise ConfigError('mAP comes from --map or from --bag, not from both')
    if settings.images is not None:
        open_source(settings.images)
    if settings.plot is not None:
        matplotlib_classes()
    check_writable(settings.json)
    check_writable(settings.plot, '--plot')


def _maps(paths: Sequence[Path], models: Sequence[Path]) -> dict[Path, tuple[float, str]]:
    if paths and len(paths) != len(models):
        raise ConfigError(f'{len(paths)} files of --map for {len(models)} models; give one for '
                          'each, in their order')
    return {model: read_map(path) for model, path in zip(models, paths, strict=False)}


def _backends(wanted: Sequence[str]) -> list[str]:
    if wanted:
        return list(dict.fromkeys(wanted))
    here = importlib.util.find_spec('tensorrt') is not None
    return ['onnxruntime', *(['tensorrt'] if here else [])]


def _load(entrant: Entrant, log_file: Path, programs: list[Program]) -> None:
    """Start the process of a model; one that cannot be loaded is a row with the reason."""
    engine, model = Engine(entrant.setup, log_file, programs), entrant.setup.model
    entrant.described = {
        'model': model.name, 'backend': entrant.setup.backend,
        'size_mb': round(model.stat().st_size / 1e6, 2), **engine.described}
    if 'error' not in engine.described:
        entrant.described['parameters'] = parameter_count(model)
        entrant.engine = engine


def _accuracy(entrant: Entrant, settings: Settings, maps: dict[Path, tuple[float, str]],
              folder: Path) -> dict[str, Any]:
    model, backend = entrant.setup.model, entrant.setup.backend
    if settings.bag is None:
        value, split = maps.get(model, (None, None))
        return {'map_50': value, 'map_on': split}
    from mbv2ssd_ros.evaluation.runs.task import BagTask, perform
    log(PROGRAM, f'mAP of {entrant.title}')
    found = perform(BagTask(
        settings.bag, folder / f'{model.stem}_{backend}', model=model, backend=backend,
        threads=settings.threads, ground_truth=settings.ground_truth))
    if found.analysis is None or found.incomplete_because:
        raise DataError(f'{settings.bag}: could not be scored with {entrant.title}: '
                        f'{found.incomplete_because or "nothing was paired"}')
    return {'map_50': found.analysis.map_50, 'map_on': settings.bag.name}


def _measure(entrant: Entrant, count: int) -> None:
    assert entrant.engine is not None
    rounds = entrant.rounds
    found = entrant.engine.measure('detect', count, entrant.setup.rate_hz)
    rounds.times_ms['detect'].append(found['ms'])
    rounds.times_ms['infer'].append(found['infer_ms'])
    found = entrant.engine.measure('detect', count, 0.0)
    rounds.fps.append(found['fps'])
    rounds.rss_mb = max(rounds.rss_mb, found['rss_mb'])
    end_to_end = []
    if entrant.graph is not None:
        sent, received = entrant.graph.exchange(entrant.graph.topics, WARM_UP + count)
        end_to_end = latencies_ms(sent[WARM_UP:], received)
    rounds.times_ms['end_to_end'].append(end_to_end)


if __name__ == '__main__':
    sys.exit(main())
