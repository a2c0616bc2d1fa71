"""
Measure models side by side, each with every backend at hand: one table.

  infer       Backend.infer alone, on images that have its size already
  detect      image in memory -> detections in memory: resize, infer, thresholds, NMS
  end to end  (--ros) image published -> detections received, with node and camera as processes

Every model has a process of its own, and all are measured in turns, round after round, so that a
machine that becomes slower becomes slower for all. Figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
import importlib.util
import json
from pathlib import Path
import select
import sys
import tempfile
from typing import Any

from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.shipped import find_model, shipped_path
from mbv2ssd_ros.tools import benchmark
from mbv2ssd_ros.tools.benchmarking.compare_figures import (
    matplotlib_classes,
    parameter_count,
    plot,
    Rounds,
    row,
    table,
)
from mbv2ssd_ros.tools.benchmarking.figures import latencies_ms, machine
from mbv2ssd_ros.tools.benchmarking.run import Setup
from mbv2ssd_ros.tools.cli.arguments import domain_id, positive, size_wh, whole
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.processes import ending, ProcessError, Program, ros_environment
from mbv2ssd_ros.tools.cli.program import EXPECTED_MODEL, log, run
from mbv2ssd_ros.tools.playing.image_source import open_source

PROGRAM = 'compare_models'
LOAD_TIMEOUT_S = 900.0  # TensorRT may have to build an engine
ANSWER_TIMEOUT_S = 60.0  # in addition to the measurement at its rate
WARM_UP = 5  # runs before every measurement: after a pause caches are cold


@dataclass
class Entrant:
    """A model with a backend."""

    model: Path
    backend: str
    described: dict[str, Any] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)
    program: Program | None = None
    bench: Any = None  # of benchmark, with --ros

    @property
    def title(self) -> str:
        """Name in the log."""
        return f'{self.model.name} on {self.backend}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit code is 1 when a model could not be measured."""
    args = _parser().parse_args(argv)
    return run(PROGRAM, lambda: _compare(args), 'interrupted; nothing was written')


def _compare(args: argparse.Namespace) -> int:
    _check(args)
    result = compare(args)
    print(table(result['rows']))
    write_json(args.json, result)
    measured = [found for found in result['rows'] if not found.get('error')]
    if args.plot is not None and measured:
        plot(measured, args.plot)
    return int(len(measured) < len(result['rows']))


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; return the content of the JSON file."""
    models = models_of(args.models)
    maps = _maps(args, models)
    entrants = [Entrant(model, backend) for model in models for backend in _backends(args)]
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_compare_') as folder, ending(programs):
        for number, entrant in enumerate(entrants):
            log(PROGRAM, f'loading {entrant.title}')
            _load(entrant, args, Path(folder) / f'{number}.log', programs)
            if entrant.program is not None:
                entrant.described.update(_accuracy(entrant, args, maps, Path(folder) / 'bag'))
                if args.ros:
                    _start_bench(entrant, args, number, Path(folder), programs)
        running = [entrant for entrant in entrants if entrant.program is not None]
        for number in range(args.rounds if running else 0):
            log(PROGRAM, f'round {number + 1} of {args.rounds}')
            # the first finds a machine after a pause: start with another one in each round
            for place in range(len(running)):
                _measure(running[(place + number) % len(running)], args)
    first = running[0].rounds if running else Rounds()
    return {
        'rows': [entrant.described if entrant.program is None
                 else row(entrant.described, entrant.rounds, first) for entrant in entrants],
        'config': {'rate_hz': args.rate, 'frames': args.frames, 'rounds': args.rounds,
                   'size': '{}x{}'.format(*args.size), 'threads': args.threads,
                   'images': args.images.name},
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


def _check(args: argparse.Namespace) -> None:
    """Refuse now what would fail at the end."""
    if (args.bag is None) != (args.ground_truth is None):
        raise ConfigError('--bag and --ground-truth are needed together')
    if args.map and args.bag:
        raise ConfigError('mAP comes from --map or from --bag, not from both')
    if args.images is None:
        args.images = shipped_path('config/demo/images')
    open_source(args.images)
    if args.plot is not None:
        matplotlib_classes()
    for option, path in (('--json', args.json), ('--plot', args.plot)):
        check_writable(path, option)


def _maps(args: argparse.Namespace, models: Sequence[Path]) -> dict[Path, tuple[float, str]]:
    if args.map and len(args.map) != len(models):
        raise ConfigError(f'{len(args.map)} files of --map for {len(models)} models; give one for '
                          'each, in their order')
    return {model: read_map(path) for model, path in zip(models, args.map, strict=False)}


def _backends(args: argparse.Namespace) -> list[str]:
    if args.backend:
        return list(dict.fromkeys(args.backend))
    here = importlib.util.find_spec('tensorrt') is not None
    return ['onnxruntime', *(['tensorrt'] if here else [])]


def _load(entrant: Entrant, args: argparse.Namespace, log_file: Path, programs: list[Program]
          ) -> None:
    """Start the process of a model; one that cannot be loaded is a row with the reason."""
    program = Program('mbv2ssd_ros.tools.benchmarking.compare_worker', [
        '--model', str(entrant.model), '--backend', entrant.backend, '--threads',
        str(args.threads), '--images', str(args.images), '--size', '{}x{}'.format(*args.size)],
        ros_environment(log_file.parent), log_file, pipes=True)
    programs.append(program)
    assert program.process.stdout is not None
    line = ''
    if select.select([program.process.stdout], [], [], LOAD_TIMEOUT_S)[0]:
        line = program.process.stdout.readline()
    found = json.loads(line) if line else {'error': f'was not loaded; {program.tail()}'}
    entrant.described = {
        'model': entrant.model.name, 'backend': entrant.backend,
        'size_mb': round(entrant.model.stat().st_size / 1e6, 2), **found}
    if 'error' not in found:
        entrant.described['parameters'] = parameter_count(entrant.model)
        entrant.program = program


def _accuracy(entrant: Entrant, args: argparse.Namespace,
              maps: dict[Path, tuple[float, str]], folder: Path) -> dict[str, Any]:
    if args.bag is not None:
        from mbv2ssd_ros.evaluation.runs.task import BagTask, perform
        log(PROGRAM, f'mAP of {entrant.title}')
        found = perform(BagTask(
            args.bag, folder / f'{entrant.model.stem}_{entrant.backend}', model=entrant.model,
            backend=entrant.backend, threads=args.threads, ground_truth=args.ground_truth))
        if found.analysis is None or found.incomplete_because:
            raise DataError(f'{args.bag}: could not be scored with {entrant.title}: '
                            f'{found.incomplete_because or "nothing was paired"}')
        return {'map_50': found.analysis.map_50, 'map_on': args.bag.name}
    if entrant.model in maps:
        value, split = maps[entrant.model]
        return {'map_50': value, 'map_on': split}
    return {'map_50': None, 'map_on': None}


def _start_bench(entrant: Entrant, args: argparse.Namespace, number: int, folder: Path,
                 programs: list[Program]) -> None:
    logs = folder / f'ros_{number}'
    # One domain per node: each must receive its own camera only.
    setup = Setup(images=args.images, size_wh=args.size, rate_hz=args.rate, reliable=False,
                  backend=entrant.backend, domain_id=(args.domain_id + number) % 102)
    entrant.bench = benchmark.start(
        setup, entrant.model, logs, programs, with_inference=False)
    log(PROGRAM, f'waiting for the first detections of {entrant.title}')
    entrant.bench.wait_until_answered()


def _measure(entrant: Entrant, args: argparse.Namespace) -> None:
    count, rounds = -(-args.frames // args.rounds), entrant.rounds
    for what in ('infer', 'detect'):
        answer = _ask(entrant, what, count, args.rate)
        rounds.times_ms[what].append(answer['ms'])
    answer = _ask(entrant, 'detect', count, 0.0)
    rounds.fps.append(answer['fps'])
    rounds.rss_mb = max(rounds.rss_mb, answer['rss_mb'])
    if entrant.bench is not None:
        sent, received = entrant.bench.exchange(count + WARM_UP)
        rounds.times_ms['end_to_end'].append(latencies_ms(sent[WARM_UP:], received))
    else:
        rounds.times_ms['end_to_end'].append([])


def _ask(entrant: Entrant, what: str, count: int, rate_hz: float) -> dict[str, Any]:
    if entrant.program is None:
        raise ProcessError(f'{entrant.title} does not run')
    seconds = (count + WARM_UP) / rate_hz if rate_hz else 0.0
    return entrant.program.ask(
        {'what': what, 'count': count, 'warm_up': WARM_UP, 'rate_hz': rate_hz},
        ANSWER_TIMEOUT_S + 2 * seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n'
               '  compare_models model.onnx model_int8.onnx --json now.json --plot now.png\n'
               '  compare_models models/ --bag drive/ --ground-truth drive.json --ros')
    parser.add_argument('models', type=Path, nargs='*', metavar='MODEL',
                        help='ONNX files, or folders of them; the first is what others are '
                             'compared with (default: the model shipped with the package)')
    parser.add_argument('--backend', action='append', default=[], choices=BACKENDS[1:],
                        help='once for each (default: all that are installed)')
    parser.add_argument('--threads', type=whole, default=1, metavar='N',
                        help='of one inference on a CPU (default %(default)s)')
    parser.add_argument('--ros', action='store_true',
                        help='measure end to end, too: a node and a camera for each model')
    accuracy = parser.add_argument_group('mAP')
    accuracy.add_argument('--map', type=Path, action='append', default=[], metavar='JSON',
                          help='figures of `mbv2ssd_train eval --json` or metrics.json of '
                               'evaluate_bag; once for each model, in their order')
    accuracy.add_argument('--bag', type=Path, help='recording to measure mAP on')
    accuracy.add_argument('--ground-truth', type=Path, metavar='PATH',
                          help='its annotations, as for evaluate_bag')
    group = parser.add_argument_group('how it is measured')
    group.add_argument('--images', type=Path, metavar='PATH',
                       help='what the camera sees (default: the demo images)')
    group.add_argument('--size', type=size_wh, default=(640, 480), metavar='WxH',
                       help='of the camera (default 640x480)')
    group.add_argument('--rate', type=positive, default=30.0, metavar='HZ',
                       help='of the camera; a tight loop measures a machine that no robot has '
                            '(default %(default)g)')
    group.add_argument('--frames', type=whole, default=300, metavar='N',
                       help='of each measurement, over all rounds (default %(default)s)')
    group.add_argument('--rounds', type=whole, default=10, metavar='N',
                       help='(default %(default)s)')
    group.add_argument('--domain-id', type=domain_id, default=70, metavar='0..101',
                       help='--ros: ROS_DOMAIN_ID of the first model; the others take the next '
                            '(default %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='draw them there, as PNG')
    return parser


if __name__ == '__main__':
    sys.exit(main())
