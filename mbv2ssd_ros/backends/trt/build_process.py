"""
The child process that builds an engine.

A build takes minutes and gigabytes, cannot be interrupted before TensorRT 10, and a crash in it
must not end a robot's node. The model and the engine are exchanged in anonymous files, never on a
disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any, IO

from mbv2ssd_ros.backends.base import LoadContext, PROGRESS_S
from mbv2ssd_ros.backends.trt.build import build_engine, BuildRequest, BuiltEngine
from mbv2ssd_ros.backends.trt.nvidia import load_nvidia, primary_context
from mbv2ssd_ros.core.errors import BackendError, Mbv2SsdError

_POLL_S = 0.1
_STDERR_LINES = 3


def build_in_child(model: bytes, request: BuildRequest, timing: bytes, loading: LoadContext
                   ) -> BuiltEngine:
    """
    Build an engine in a child process and log progress every few seconds.

    Raises BackendError where TensorRT refuses the model, memory is short, the child died or the
    caller cancelled, which kills the child.
    """
    with ExitStack() as files:
        given, known, plan, measured, errors = (
            files.enter_context(_anonymous_file(name, content)) for name, content in (
                ('model', model), ('timing', timing), ('plan', b''), ('measured', b''),
                ('errors', b'')))
        child = _start(
            request, [stream.fileno() for stream in (given, known, plan, measured)], errors)
        try:
            error = _follow(child, request.source, loading)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            assert child.stdin is not None
            child.stdin.close()
        if 'Could not find any implementation' in error:
            error += '. TensorRT also reports this without memory: end other programs, try again'
        if child.returncode or error:
            raise BackendError(f'{request.source}: no engine was built: '
                               + (error or _how_it_died(child.returncode, errors)))
        return BuiltEngine(_content(plan), _content(measured))


def _start(request: BuildRequest, files: list[int], errors: IO[bytes]) -> subprocess.Popen[str]:
    arguments = json.dumps({
        'request': dataclasses.asdict(request), 'files': files,
        'paths': list(map(os.path.abspath, sys.path))})
    try:
        # -c, not -m: nothing must be imported from the working folder
        return subprocess.Popen(
            [sys.executable, '-c', _CHILD, arguments],
            stdin=subprocess.PIPE,  # never written to; it ends when this process does
            stdout=subprocess.PIPE, stderr=errors, cwd='/', text=True, pass_fds=files,
            start_new_session=True)  # not ended by Ctrl-C before this process decides
    except OSError as err:
        raise BackendError(
            f'{request.source}: no engine was built: no process can be started for it '
            f'({err.strerror}); end other programs and try again') from err


_CHILD = '''
import json, sys
arguments = json.loads(sys.argv[1])
sys.path[:] = arguments['paths']
from mbv2ssd_ros.backends.trt.build_process import serve
sys.exit(serve(arguments['request'], arguments['files']))
'''


def serve(request: dict[str, Any], files: list[int]) -> int:
    """
    Build in the child and return its exit code; errors and phases go to stdout as JSON.

    `request` is a BuildRequest from JSON; `files` are the descriptors of the model, the timing
    cache, the engine and the new timing cache, in this order.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    given, known, plan, measured = (os.fdopen(number, 'r+b') for number in files)
    try:
        wanted = BuildRequest(**{
            **request, 'input_size_hw': tuple(request['input_size_hw']),
            'batch_sizes': tuple(request['batch_sizes'])})
        nvidia = load_nvidia()
        with primary_context(nvidia.cuda):
            built = build_engine(
                nvidia, _content(given), wanted, _content(known),
                lambda phase: print(json.dumps({'phase': phase}), flush=True))
    except Mbv2SsdError as err:
        print(json.dumps({'error': str(err)}), flush=True)
        return 1
    for stream, content in ((plan, built.plan), (measured, built.timing)):
        stream.write(content)
        stream.flush()
    return 0


def _end_with_parent() -> None:
    """End when the parent ends; a killed node cannot end its child."""
    os.read(0, 1)
    os._exit(1)


def _follow(child: subprocess.Popen[str], source: str, loading: LoadContext) -> str:
    """Log the child's phases until it ends; returns its error message, if any."""
    assert child.stdout is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(child.stdout, lines), daemon=True).start()
    started = time.monotonic()
    log_next, phase, error = started + PROGRESS_S, 'starting', ''
    while True:
        try:
            line = lines.get(timeout=_POLL_S)
        except queue.Empty:
            line = ''
        if line is None:
            child.wait()
            return error
        message = _message(line)
        phase, error = message.get('phase', phase), message.get('error', error)
        if loading.cancelled():
            raise BackendError(f'{source}: building the engine was cancelled')
        if (now := time.monotonic()) >= log_next:
            loading.log.info(f'{source}: building the engine, {now - started:.0f} s: {phase}')
            log_next = now + PROGRESS_S


def _read_lines(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _message(line: str) -> dict[str, str]:
    """Read a line of the child; TensorRT prints lines of its own."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _how_it_died(code: int, errors: IO[bytes]) -> str:
    errors.seek(0)
    last = [line.strip() for line in errors.read().decode(errors='replace').splitlines()
            if line.strip()][-_STDERR_LINES:]
    how = f'was killed by signal {-code}' if code < 0 else f'ended with code {code}'
    return f'its process {how}' + (f'; its last output: {" | ".join(last)}' if last else '') + (
        '. Signal 9 is what Linux sends when memory runs out' if code == -9 else '')


@contextmanager
def _anonymous_file(name: str, content: bytes) -> Iterator[IO[bytes]]:
    with os.fdopen(os.memfd_create(f'mbv2ssd-{name}', os.MFD_CLOEXEC), 'r+b') as stream:
        stream.write(content)
        stream.flush()
        yield stream


def _content(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()
