"""Fetch runs from a path or a URL into the folder of runs, whole and checked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
import json
from pathlib import Path, PurePosixPath
import tempfile
from typing import Any, IO, Protocol
from urllib import error, parse, request

from mbv2ssd_ros.core.durable import sync
from mbv2ssd_ros.core.errors import DataError, Mbv2SsdError
from mbv2ssd_train.config import parse_config, TrainConfig
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.run.environment import without_user
from mbv2ssd_train.run.metrics_file import MetricsFile

# Only these names are read, so that no remote name can lead outside the folder.
_TEXTS = ('config.yaml', 'fingerprints.json')
_CHECKPOINTS = ('checkpoints/last.pt', 'checkpoints/best.pt')
_OPTIONAL = ('metrics.jsonl', _CHECKPOINTS[1])
_MAX_TEXT_BYTES = 2 ** 20
_TIMEOUT_S = 60.0


def fetch_run(source: str | Path, runs: Path) -> Path:
    """
    Copy a run folder or a .pt checkpoint, so that it can be resumed here; return its folder.

    The source is a path, http(s):// or any URL of fsspec, such as s3://bucket/runs/name or
    zip://name::https://host/runs.zip. The folder is named by the run's configuration; the same run
    at the same step is left as it is. Raises DataError where nothing is found, the run is
    incomplete or inconsistent, or `runs` has another state of it.
    """
    place = _open_place(str(source))
    runs.mkdir(parents=True, exist_ok=True)
    # hidden, and on the file system of its destination, so that moving it is atomic
    with tempfile.TemporaryDirectory(prefix='.fetching_', dir=runs) as name:
        found = Path(name) / 'run'
        (found / 'checkpoints').mkdir(parents=True)
        if place.is_checkpoint:
            config = _fetch_checkpoint(place, found)
        else:
            config = _fetch_folder(place, found)
        return _put_among(runs, found, config, place.shown)


class _Files(Protocol):
    """A file system that opens files by address."""

    def open(self, address: str) -> Any:
        """Return a binary stream to read from; FileNotFoundError where there is none."""


class _Place:
    """A run folder or a checkpoint, local or remote."""

    def __init__(self, files: _Files, address: str, query: str, shown: str) -> None:
        self._files, self._address, self._query = files, address, query
        self.shown = shown  # the source for messages, without passwords
        self.is_checkpoint = PurePosixPath(address).suffix == '.pt'

    def fetch(self, target: Path, name: str = '', max_bytes: int | None = None) -> None:
        """Copy the named file of the folder, or the file at the address."""
        address = (f'{self._address.rstrip("/")}/{name}' if name and self._address.strip('/')
                   else name or self._address) + self._query
        shown = f'{self.shown}/{name}' if name else self.shown
        with _data_errors(shown), self._files.open(address) as stream, \
                target.open('wb') as file:
            _copy(stream, file, shown, max_bytes)
        sync(target)


class _Http:
    """Plain web servers, by the standard library, which saves fsspec's two packages for HTTP."""

    def __init__(self, user: str) -> None:
        self._user = user  # NAME:PASSWORD, may be empty

    def open(self, address: str) -> Any:
        asked = request.Request(address)
        if self._user:  # not sent to a server that this one redirects to
            code = base64.b64encode(parse.unquote(self._user).encode()).decode()
            asked.add_unredirected_header('Authorization', f'Basic {code}')
        try:
            return request.urlopen(asked, timeout=_TIMEOUT_S)
        except error.HTTPError as err:
            if err.code in (404, 410):
                raise FileNotFoundError(str(err)) from err
            raise


def _open_place(source: str) -> _Place:
    parts = parse.urlsplit(source)
    shown = without_user(parts._replace(query='').geturl()).rstrip('/')
    if parts.scheme in ('http', 'https') and '::' not in source:
        query = f'?{parts.query}' if parts.query else ''  # such as a signature
        user, _, host = parts.netloc.rpartition('@')
        address = parts._replace(netloc=host, query='', fragment='').geturl()
        return _Place(_Http(user), address, query, shown)
    import fsspec
    try:
        files, address = fsspec.core.url_to_fs(source)
    except ImportError as err:
        raise DataError(f'{shown}: {_missing_driver(source)} ({err})') from err
    except Exception as err:  # of the driver; they have no common base
        raise DataError(f'{shown}: cannot be opened: {err}') from err
    return _Place(files, address, '', shown)


def _missing_driver(source: str) -> str:
    from fsspec.registry import known_implementations
    for part in source.split('::'):
        entry = known_implementations.get(part.split('://')[0], {})
        package = str(entry.get('class', 'fsspec')).split('.')[0]
        if package != 'fsspec':
            return f'needs the Python package {package}: pip install {package}'
    return 'needs another Python package'


@contextmanager
def _data_errors(shown: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, Mbv2SsdError):
        raise
    except Exception as err:  # of the network or the driver; they have no common base
        raise DataError(f'{shown}: cannot be read: {without_user(str(err))}') from err


def _copy(stream: Any, file: IO[bytes], shown: str, max_bytes: int | None) -> None:
    while chunk := stream.read(2 ** 20):
        file.write(chunk)
        if max_bytes is not None and file.tell() > max_bytes:
            raise DataError(f'{shown}: more than {max_bytes} bytes; not a file of a run')
    expected = getattr(stream, 'headers', {}).get('Content-Length')
    if expected is not None and file.tell() != int(expected):
        raise DataError(f'{shown}: the connection ended after {file.tell()} of {expected} bytes; '
                        'try again')


def _fetch_checkpoint(place: _Place, folder: Path) -> TrainConfig:
    path = folder / _CHECKPOINTS[0]
    try:
        place.fetch(path)
    except FileNotFoundError as err:
        raise DataError(f'{place.shown}: no such checkpoint') from err
    config = _config_of(path, place.shown)
    (folder / 'config.yaml').write_text(config.to_yaml(), encoding='utf-8')
    (folder / 'fingerprints.json').write_text(json.dumps(config.fingerprints()), encoding='utf-8')
    return config


def _fetch_folder(place: _Place, folder: Path) -> TrainConfig:
    for name in _TEXTS:
        _fetch_needed(place, folder, name, _MAX_TEXT_BYTES)
    config = _checked_config(folder, place.shown)  # before anything large is copied
    _fetch_needed(place, folder, _CHECKPOINTS[0], None)
    for name in _OPTIONAL:
        try:
            place.fetch(folder / name, name)
        except FileNotFoundError:
            continue
    with _named(folder, place.shown):
        MetricsFile(folder / 'metrics.jsonl').read()
    for name in _CHECKPOINTS:
        if (folder / name).exists():
            shown = f'{place.shown}/{name}'
            _refuse_other_fingerprints(
                _config_of(folder / name, shown).fingerprints(), config, shown)
    return config


def _fetch_needed(place: _Place, folder: Path, name: str, max_bytes: int | None) -> None:
    try:
        place.fetch(folder / name, name, max_bytes)
    except FileNotFoundError as err:
        raise DataError(f'{place.shown}: no {name} there; expected a run folder (config.yaml, '
                        'fingerprints.json, checkpoints/last.pt) or a checkpoint (.pt)') from err


def _checked_config(folder: Path, shown: str) -> TrainConfig:
    try:
        config = parse_config((folder / _TEXTS[0]).read_text(encoding='utf-8'),
                              f'{shown}/config.yaml')
        found = json.loads((folder / _TEXTS[1]).read_text(encoding='utf-8'))
    except ValueError as err:  # not UTF-8, not JSON
        raise DataError(f'{shown}: not a run folder: {err}') from err
    _refuse_other_fingerprints(found, config, f'{shown}/fingerprints.json')
    return config


def _config_of(path: Path, shown: str) -> TrainConfig:
    with _named(path, shown):
        checkpoint = load_checkpoint(path)
        checkpoint.require_run(path)
        return checkpoint.parsed_config()


@contextmanager
def _named(copy: Path, shown: str) -> Iterator[None]:
    """Replace the copy's path in errors by the source, which the user knows."""
    try:
        yield
    except Mbv2SsdError as err:
        raise DataError(str(err).replace(str(copy), shown)) from err


def _refuse_other_fingerprints(found: Any, config: TrainConfig, shown: str) -> None:
    if found != config.fingerprints():
        raise DataError(f'{shown}: fingerprints {found}, but those of its config.yaml are '
                        f'{config.fingerprints()}; is it of another run, or of another version '
                        'of this package?')


def _put_among(runs: Path, found: Path, config: TrainConfig, shown: str) -> Path:
    target = runs / f'{config.name}_{config.recipe_fingerprint()}'
    last = target / _CHECKPOINTS[0]
    if not last.exists():
        try:
            found.rename(target)
            sync(runs)
            return target
        except OSError as err:
            if not last.exists():  # else another process was faster
                raise DataError(f'{target}: exists without a checkpoint, where the run from '
                                f'{shown} belongs; remove the folder') from err
    theirs, ours = _step_of(found / _CHECKPOINTS[0]), _step_of(last)
    if theirs != ours:
        raise DataError(f'{target}: this run exists here at step {ours}, and at step '
                        f'{theirs} in {shown}; resume it with --resume, or remove the folder '
                        'to fetch the other')
    return target


def _step_of(path: Path) -> int:
    return load_checkpoint(path).parsed_state().step
