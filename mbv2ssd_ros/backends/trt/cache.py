"""
Built engines, kept between starts.

An engine takes minutes to build and fits one model, one GPU and one TensorRT. Its manifest, in the
same folder, records what it fits and its hash; an engine that does not match is never loaded.
Files appear whole or not at all (temporary file, fsync, rename), and a lock for each engine lets
one process write at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
import os
from pathlib import Path
import re
import tempfile
import time
from typing import IO, NamedTuple

from mbv2ssd_ros.backends.base import LoadContext, PROGRESS_S
from mbv2ssd_ros.backends.trt.manifest import EngineKey, Manifest, UnusableEngineError
from mbv2ssd_ros.backends.trt.private_folder import (
    cache_folder,
    open_private_folder,
    read_private_file,
)
from mbv2ssd_ros.core.durable import sync
from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.file_lock import try_lock

_POLL_S = 0.1
_STEM_LENGTH = 60
_DIGEST = hashlib.sha256


class KeptEngine(NamedTuple):
    """An engine that matches its manifest."""

    plan: bytes
    manifest: Manifest


class EngineCache:
    """
    A private folder of engines; empty `folder`: in the user's cache.

    Raises BackendError where it cannot be made or others could change its files.
    """

    def __init__(self, folder: str, loading: LoadContext) -> None:
        self.folder = cache_folder(folder)
        self.writable = open_private_folder(self.folder)
        self._loading = loading

    def name(self, model_path: Path, key: EngineKey) -> str:
        """Return the name of an engine's files, without suffix."""
        stem = re.sub(r'[^\w.-]', '_', model_path.stem)[:_STEM_LENGTH]
        return f'{stem}.{key.fingerprint}'

    def engine_path(self, name: str) -> Path:
        """Return the path of an engine, there or not; its manifest has suffix `.json`."""
        return self.folder / f'{name}.engine'

    def find(self, name: str, key: EngineKey) -> KeptEngine | None:
        """Read an engine; None where missing, UnusableEngineError where not of this key."""
        try:
            text = read_private_file(self._manifest_path(name)).decode()
            plan = read_private_file(self.engine_path(name))
        except FileNotFoundError:
            if self.engine_path(name).exists() or self._manifest_path(name).exists():
                raise UnusableEngineError('engine and manifest are not both there') from None
            return None
        except (OSError, ValueError, BackendError) as err:
            raise UnusableEngineError(f'it cannot be read ({err})') from err
        manifest = Manifest.from_json(text)
        if manifest.key != key:
            raise UnusableEngineError('it was built for another model, GPU or TensorRT')
        if (len(plan), _DIGEST(plan).hexdigest()) != (
                manifest.engine_bytes, manifest.engine_sha256):
            raise UnusableEngineError(
                f'its {len(plan)} bytes are not the {manifest.engine_bytes} that were written')
        return KeptEngine(plan, manifest)

    def keep(self, name: str, plan: bytes, manifest: Manifest) -> None:
        """Write a locked engine, then its manifest; an OSError leaves nothing behind."""
        self._write(name, self.engine_path(name), plan)
        try:
            self._write(name, self._manifest_path(name), manifest.to_json().encode())
        except BaseException:
            self.engine_path(name).unlink(missing_ok=True)  # useless alone, and the disk is full
            raise

    def quarantine(self, name: str, reason: str) -> None:
        """Rename the files of a locked engine: kept for inspection, never loaded."""
        engine = self.engine_path(name)
        fate = f'renamed to {engine.name}.quarantined'
        for path in (engine, self._manifest_path(name)):
            try:
                os.replace(path, path.with_name(f'{path.name}.quarantined'))
            except FileNotFoundError:
                pass
            except OSError as err:
                fate = f'still there: {path.name} cannot be renamed: {err.strerror}'
        self._loading.log.warning(
            f'{engine} is not used: {reason}. It is {fate}; the engine is built again')

    def timing(self, key: EngineKey) -> bytes:
        """Read TensorRT's timing cache for this GPU; empty where missing or damaged."""
        try:
            content = read_private_file(self._timing_path(key))
        except (OSError, BackendError):
            return b''
        digest, timing = content[:_DIGEST().digest_size], content[_DIGEST().digest_size:]
        return timing if _DIGEST(timing).digest() == digest else b''

    def keep_timing(self, name: str, key: EngineKey, timing: bytes) -> None:
        """Write TensorRT's timing cache of a locked engine; all or nothing on an OSError."""
        self._write(name, self._timing_path(key), _DIGEST(timing).digest() + timing)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """
        Keep other processes from writing an engine; wait for one that builds it.

        The lock ends with the process. Raises BackendError where the caller cancels.
        """
        if not self.writable:
            yield  # read-only
            return
        try:
            file = open(self.folder / f'.{name}.lock', 'w', opener=_private)
        except OSError as err:  # a full disk: what is built cannot be kept, but used
            self._loading.log.warning(
                f'{self.folder}: no lock can be made ({err.strerror}), so another process may '
                'build the same engine')
            yield
            return
        with file:
            self._wait_for_lock(file, name)
            for path in self.folder.glob(f'.{name}.*.tmp'):  # of a killed process
                path.unlink(missing_ok=True)
            yield

    def _wait_for_lock(self, file: IO[str], name: str) -> None:
        started = log_next = time.monotonic()
        while not self._locks(file):
            if self._loading.cancelled():
                raise BackendError(f'{name}: waiting for the engine was cancelled')
            if (now := time.monotonic()) >= log_next:
                self._loading.log.info(
                    f'{self.engine_path(name)}: another process builds this engine, waiting for '
                    f'it since {now - started:.0f} s')
                log_next = now + PROGRESS_S
            time.sleep(_POLL_S)

    def _locks(self, file: IO[str]) -> bool:
        try:
            return try_lock(file)
        except OSError as err:
            raise BackendError(
                f'{self.folder}: its file system has no locks ({err.strerror}); set '
                'engine_cache_dir to a folder on a local disk') from err

    def _write(self, name: str, path: Path, content: bytes) -> None:
        descriptor, aside = tempfile.mkstemp(
            prefix=f'.{name}.', suffix='.tmp', dir=self.folder)  # mode 0600
        try:
            with os.fdopen(descriptor, 'wb') as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        sync(self.folder)  # the new name, too, survives a power cut

    def _manifest_path(self, name: str) -> Path:
        return self.folder / f'{name}.json'

    def _timing_path(self, key: EngineKey) -> Path:
        return self.folder / f'timing.{key.tuning}.cache'


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
