"""The model file, and the engines that were built from it."""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
import os
from pathlib import Path

from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.nvidia_state import NvidiaFacts

_CACHE = 'engine cache'


def model(model_path: str) -> Iterator[Finding]:
    """
    Load a model as the node would, on the CPU, and run its self-test.

    Yields findings on the file, on integers that would saturate, and on the self-test. An empty
    path is the model of the package.
    """
    from mbv2ssd_ros.shipped import find_model
    log = _Warnings()
    try:
        path = find_model(model_path)
        from mbv2ssd_ros.backends import BackendOptions, open_backend
        from mbv2ssd_ros.backends.base import LoadContext
        backend = open_backend('onnxruntime', path, BackendOptions(), LoadContext(log))
    except Mbv2SsdError as err:
        yield Finding('model', ERROR, str(err), 'correct the parameter model_path')
        return
    contract = backend.contract
    backend.close()
    height, width = contract.input_size_hw
    yield Finding(
        'model', OK, f'{path}: {path.stat().st_size / 1e6:.1f} MB, {contract.precision}, {width}x'
        f'{height}, {len(contract.object_names)} classes, {contract.provenance.measured}')
    for warning in log.warnings:
        yield Finding('model', WARNING, warning, 'docs/training.md, "INT8"')
    if backend.self_test is None:
        yield Finding('self-test', SKIPPED, 'the model has none',
                      f'`mbv2ssd_train self-test --model {path}` adds one')
        return
    from mbv2ssd_ros.backends.first_run import describe_margin
    yield Finding('self-test', OK, 'passed here with '
                  f'{describe_margin(backend.self_test, contract.precision)}')


class _Warnings:
    """A log that keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def info(self, message: str, /) -> None:
        """Discard a line."""

    def warning(self, message: str, /) -> None:
        """Keep a line."""
        self.warnings.append(message)


def engine_cache(folder: str, model_path: str, facts: NvidiaFacts) -> Iterator[Finding]:
    """Look for engines of a model, changing nothing; an empty folder is the user cache."""
    from mbv2ssd_ros.backends.trt.manifest import Manifest
    from mbv2ssd_ros.backends.trt.private_folder import open_private_folder, read_private_file
    from mbv2ssd_ros.shipped import find_model
    path = cache_folder(folder)
    needed = bool(facts.gpu)
    if not path.is_dir():
        yield _without_engine(f'{path} does not exist yet', needed)
        return
    try:
        writable = open_private_folder(path)
    except Mbv2SsdError as err:
        yield Finding(_CACHE, ERROR if needed else WARNING, str(err),
                      'set engine_cache_dir to a folder that only this user can write to')
        return
    try:
        wanted = hashlib.sha256(find_model(model_path).read_bytes()).hexdigest()
    except (OSError, Mbv2SsdError):
        yield Finding(_CACHE, SKIPPED, 'the model cannot be read, so its engine is unknown')
        return
    fitting: list[Path] = []
    others: list[Path] = []
    damaged: list[Path] = []
    batches = 0
    for engine in sorted(path.glob('*.engine')):
        try:
            manifest = Manifest.from_json(
                read_private_file(engine.with_suffix('.json')).decode())
        except (OSError, ValueError, Mbv2SsdError):
            damaged.append(engine)
            continue
        mine = (manifest.key.model_sha256, manifest.key.tensorrt) == (wanted, facts.tensorrt)
        whole = engine.stat().st_size == manifest.engine_bytes
        (damaged if not whole else fitting if mine else others).append(engine)
        if mine:
            batches = max(batches, *manifest.key.batch_sizes)
    if damaged:
        names = ', '.join(engine.name for engine in damaged)
        yield Finding(_CACHE, WARNING, f'{names} is damaged and will be built again',
                      '`build_engine` does so now')
    elif fitting:
        yield Finding(_CACHE, OK, f'{", ".join(engine.name for engine in fitting)} in {path}, for '
                      f'up to {batches} cameras')
    else:
        yield _without_engine(f'{path} has {len(others)} engines, none of this model for this '
                              'TensorRT', needed)
    if not writable:
        yield Finding(_CACHE, WARNING, f'{path} cannot be written by user {os.geteuid()}: an '
                      'engine would be built at every start', 'set engine_cache_dir')
    put_aside = sorted(path.glob('*.quarantined'))
    if put_aside:
        yield Finding(_CACHE, WARNING, f'{len(put_aside)} files in {path} were set aside as '
                      'damaged', 'is the disk all right? Then delete *.quarantined')


def cache_folder(folder: str) -> Path:
    """Return the folder of engines, which may not exist; empty: in the user's cache."""
    from mbv2ssd_ros.backends.trt import private_folder  # late import: it needs numpy
    return private_folder.cache_folder(folder)


def _without_engine(text: str, needed: bool) -> Finding:
    if not needed:
        return Finding(_CACHE, SKIPPED, f'{text}; without TensorRT and a GPU none is needed')
    return Finding(_CACHE, WARNING, f'{text}: configuring the node will take minutes, once',
                   '`build_engine` builds it beforehand')
