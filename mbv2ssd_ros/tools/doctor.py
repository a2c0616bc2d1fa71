"""
Check everything that a detector node depends on, and report each finding in a line.

Versions, processor, GPU, memory, power mode, model, engines; on ROS 2 also the cameras of the
network, their rate and quality of service, and whether the node's parameters fit them. It
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
import json
import os
from pathlib import Path
import sys
from typing import Any

from mbv2ssd_ros.core.arguments import positive
from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_ros.ros.fast_dds import TRANSPORTS_VARIABLE
from mbv2ssd_ros.ros.shared_memory import other_users
from mbv2ssd_ros.tools.checkup import (
    jetson,
    model_state,
    nvidia_state,
    processor_state,
    resources,
    shared_memory,
    software,
    transport,
)
from mbv2ssd_ros.tools.checkup.camera_state import camera_findings, subscribed, topic_findings
from mbv2ssd_ros.tools.checkup.finding import (
    ERROR,
    examine,
    Finding,
    LEVELS,
    OK,
    SKIPPED,
    WARNING,
    worst,
)
from mbv2ssd_ros.tools.checkup.machine import Machine
from mbv2ssd_ros.tools.checkup.parameter_file import judge, read_overrides, wanted_cameras
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.program import run
from mbv2ssd_ros.tools.cli.ros_session import ros_node
from mbv2ssd_ros.tools.cli.settings import flag, option, read

PROGRAM = 'doctor'
_REPORT_LEVELS = (OK, WARNING, ERROR)  # of diagnostic_msgs
_WHY = 'see "Why is nothing coming?" in docs/node.md'


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is examined, and what counts as a failure."""

    params_file: Path | None = option(
        '--params-file', type=Path, metavar='FILE', help='parameter file of the node that cameras '
        'are compared with, in addition to the nodes that run')
    node: str = option('--node', default='detector', metavar='NAME',
                       help='of the detector; one with / at the start means that one only '
                       '(default: %(default)s, in every namespace)')
    listen: float = option('--listen', type=positive, default=2.0, metavar='S',
                           help='how long to count images, in seconds (default %(default)g)')
    model: str = option('--model', default='', metavar='FILE', help='ONNX file (default: that of '
                        'the parameter file, else the one of the package)')
    engine_cache_dir: str = option(
        '--engine-cache-dir', default='', metavar='FOLDER', help="as the node's parameter "
        '(default: that of the parameter file, else ~/.cache/mbv2ssd)')
    quick: bool = flag('--quick', 'neither try whether TensorRT builds for the GPU, nor measure '
                       'which shipped model is fastest')
    strict: bool = flag('--strict', 'exit code 1 also for a warning')
    json: str | None = option('--json', nargs='?', const='-', metavar='FILE', help='write all '
                              'lines to FILE, too; without FILE print JSON instead')
    ros_args: Sequence[str] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 1 when a line is an error, with --strict also for a warning."""
    settings = read(
        Settings, argv, PROGRAM, __doc__,
        'examples:\n'
        '  doctor                                       what is here, what runs\n'
        '  doctor --params-file config/detector.yaml    do the cameras fit the file?\n'
        'exit code 0: no error; 1: at least one. See docs/doctor.md.')
    return run(PROGRAM, lambda: _check_all(settings))


def _check_all(settings: Settings) -> int:
    findings: list[Finding] = []
    check_writable(None if settings.json in (None, '-') else Path(settings.json))
    colour = sys.stdout.isatty() and not os.environ.get('NO_COLOR')
    for finding in examination(settings, Machine()):
        findings.append(finding)
        if settings.json != '-':
            print(finding.line(colour), flush=True)
    verdict = worst(findings)
    _report(findings, verdict, settings.json)
    return int(verdict == ERROR or settings.strict and verdict == WARNING)


def examination(settings: Settings, machine: Machine) -> Iterator[Finding]:
    """Run all checks, one after the other."""
    yield from examine('Python', software.python)
    yield from examine('mbv2ssd_ros', software.package)
    yield from examine('libraries', software.libraries)
    yield from examine('ONNX Runtime', software.onnxruntime)
    yield from examine('processor', processor_state.processor)
    yield from examine('ROS 2', lambda: software.ros(machine))
    if software.has_ros():
        yield from examine('ROS domain', lambda: software.domain(machine))
    facts = (nvidia_state.nvidia_facts() if nvidia_state.is_installed()
             else nvidia_state.NvidiaFacts())
    yield from examine('TensorRT', lambda: nvidia_state.libraries(facts))
    if not settings.quick:
        yield from examine('TensorRT on GPU', lambda: nvidia_state.support(facts))
    for name, probe in (('Jetson', jetson.board), ('power mode', jetson.power),
                        ('GPU clock', jetson.clocks), ('memory', resources.memory),
                        ('shared memory', lambda _: shared_memory.shared_memory())):
        yield from examine(name, partial(probe, machine))
    yield from examine('Fast DDS profile', lambda: transport.profile(
        machine, machine.environment.get('RMW_IMPLEMENTATION') or (
            software.middleware() if software.has_ros() else '')))
    values, problem = _model_parameters(settings)
    if problem:
        yield problem
    yield from examine('model', lambda: model_state.model(values['model_path']))
    if not settings.quick:
        yield from examine('shipped models', processor_state.fastest)
    cache = values['engine_cache_dir']
    yield from examine('engine cache', lambda: model_state.engine_cache(
        cache, values['model_path'], facts))
    yield from examine('disk', lambda: resources.disk('engines', model_state.cache_folder(cache)))
    if software.has_ros():
        logs = Path(machine.environment.get('ROS_LOG_DIR') or os.path.join(
            machine.environment.get('ROS_HOME') or '~/.ros', 'log')).expanduser()
        yield from examine('disk', lambda: resources.disk('logs of ROS', logs))
        yield from examine('cameras', lambda: _network(settings, machine))
    else:
        yield from examine('receive buffer', lambda: resources.receive_buffer(machine))


def _model_parameters(settings: Settings) -> tuple[dict[str, str], Finding | None]:
    """Return the model parameters of the parameter file and the command line."""
    values, path = {'model_path': settings.model,
                    'engine_cache_dir': settings.engine_cache_dir}, settings.params_file
    if path is None:
        return values, None
    try:
        found = read_overrides(path, _full_name(settings.node))
    except (ConfigError, ImportError) as err:
        return values, Finding('parameter file', ERROR, str(err), f'correct {path}')
    return {name: value or str(found.get(name) or '') for name, value in values.items()}, None


def _network(settings: Settings, machine: Machine) -> Iterable[Finding]:
    from mbv2ssd_ros.tools.checkup.network import look_around
    if other_users():  # UDP reaches their nodes; images are lost in it that are large
        os.environ.setdefault(TRANSPORTS_VARIABLE, 'UDPv4')
    try:
        with ros_node(PROGRAM, settings.ros_args) as node:
            network = look_around(node, settings.node, settings.listen)
    except Mbv2SsdError as err:
        yield Finding('cameras', ERROR, str(err), 'correct the ROS arguments, or see above')
        return
    yield from topic_findings(network.topics, network.listened_s)
    yield from resources.receive_buffer(
        machine, max((topic.message_bytes for topic in network.topics), default=0))
    for name in network.duplicates:
        yield Finding(f'node {name}', WARNING, 'several nodes have this name; parameters and '
                      'transitions reach any of them', 'end all but one, or give each a namespace')
    for detector in network.detectors:
        yield from _detector_findings(detector, network)
    if settings.params_file is not None:
        yield from _file_findings(settings.params_file, _full_name(settings.node), network)
    elif not network.detectors:
        yield Finding('detector', SKIPPED, f'no node {settings.node} is seen, so cameras '
                      'are compared with nothing', 'give --params-file FILE')


def _detector_findings(detector: Any, network: Any) -> Iterator[Finding]:
    yield _state_finding(detector)
    for level, name, message in detector.reports:
        if level:  # level 0 is covered by the lines on the cameras
            yield Finding(name, _REPORT_LEVELS[min(level, 2)], message, _WHY)
    if detector.parameters:
        cameras, unknown = subscribed(
            wanted_cameras(detector.parameters, detector.namespace), detector.subscriptions)
        for camera in cameras:
            yield from camera_findings(camera, detector.name, network.topics)
        if unknown and detector.state == 'active':
            yield Finding(f'cameras {", ".join(unknown)} ({detector.name})', SKIPPED,
                          'are remapped; which of its topics is whose cannot be told from here')


def _file_findings(path: Path, name: str, network: Any) -> Iterator[Finding]:
    judged = list(judge(path, name))
    yield from judged
    if worst(judged) == ERROR:
        return
    for camera in wanted_cameras(read_overrides(path, name), name.rpartition('/')[0] + '/'):
        yield from camera_findings(camera, path.name, network.topics)


def _state_finding(detector: Any) -> Finding:
    subject = f'node {detector.name}'
    if not detector.state or not detector.parameters:
        return Finding(subject, WARNING, 'is there but did not answer',
                       'is it busy with loading a model? Ask again')
    if detector.state != 'active':
        step = 'configure' if detector.state == 'unconfigured' else 'activate'
        return Finding(subject, WARNING, f'is {detector.state}: it takes no images',
                       f'ros2 lifecycle set {detector.name} {step}')
    return Finding(subject, OK, 'is active')


def _full_name(node: str) -> str:
    return node if node.startswith('/') else f'/{node}'


def _report(findings: Sequence[Finding], verdict: str, target: str | None) -> None:
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    report = {'verdict': verdict, 'counts': counts,
              'findings': [asdict(finding) for finding in findings]}
    if target == '-':
        print(json.dumps(report, indent=2))
        return
    write_json(None if target is None else Path(target), report)
    print(f'{PROGRAM}: ' + ', '.join(f'{count} {level}' for level, count in counts.items()))


if __name__ == '__main__':
    sys.exit(main())
