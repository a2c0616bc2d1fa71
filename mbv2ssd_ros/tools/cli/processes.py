"""Other programs of a ROS graph: started, ended by SIGINT, waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import select
import signal
import subprocess
import sys
from typing import Any

from mbv2ssd_ros.core.errors import Mbv2SsdError

END_TIMEOUT_S = 10.0
_TAIL_LINES = 15


class ProcessError(Mbv2SsdError):
    """A program that this one started ended early, or did not end."""


def ros_environment(log_dir: Path, domain_id: int | None = None) -> dict[str, str]:
    """
    Return this environment for a ROS graph of its own, with Python unbuffered.

    `domain_id` None: 1 to 99, from the number of this process. Higher ones need ports that the
    kernel also gives to others.
    """
    if domain_id is None:
        domain_id = 1 + os.getpid() % 99
    return {**os.environ, 'ROS_DOMAIN_ID': str(domain_id), 'ROS_LOG_DIR': str(log_dir),
            'PYTHONUNBUFFERED': '1'}


class Program:
    """
    A Python module in a process and a session of its own.

    A Ctrl-C at the terminal reaches this process alone, which then ends its programs in order.
    """

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str],
                 log_file: Path, pipes: bool = False) -> None:
        """
        Start it; the log gets its standard error, and its standard output without `pipes`.

        With `pipes` standard input and output are pipes to this process.
        """
        self.name = module.rpartition('.')[2]
        self.log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        # A child of a shell's background job inherits an ignored SIGINT, but not a handler.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with log_file.open('w') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments], env=dict(environment),
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log, stderr=log, text=True,
                start_new_session=True)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    def check(self) -> None:
        """Raise ProcessError if it ended with another exit code than 0."""
        code = self.process.poll()
        if code:
            raise ProcessError(f'{self.name} ended with exit code {code}; {self.tail()}')

    def wait(self, timeout_s: float) -> int:
        """Wait for the end and return the exit code; ProcessError when it still runs then."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as err:
            raise ProcessError(
                f'{self.name} was still running after {timeout_s:g} s; {self.tail()}') from err

    def ask(self, command: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """
        Send a command to a program with pipes, as a line of JSON, and return its answer.

        Raises ProcessError when it ended or did not answer in time.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command) + '\n')
            self.process.stdin.flush()
        except BrokenPipeError as err:
            raise ProcessError(f'{self.name} has ended; {self.tail()}') from err
        return self.answer(timeout_s, f'{dict(command)} ')

    def answer(self, timeout_s: float, command: str = '') -> dict[str, Any]:
        """Read a line of JSON from a program with pipes; raises ProcessError as `ask` does."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            raise ProcessError(
                f'{self.name} did not answer {command}within {timeout_s:g} s; {self.tail()}')
        line = self.process.stdout.readline()
        if not line:
            raise ProcessError(f'{self.name} has ended; {self.tail()}')
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> int:
        """
        End it and return the exit code: close its input if piped, otherwise send SIGINT.

        SIGINT is what Ctrl-C and `ros2 launch` send. A killed ROS process would leave files in
        /dev/shm. Raises ProcessError when it did not end; it is killed then.
        """
        if self.process.stdin is not None:
            self.process.stdin.close()
        elif self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.wait(END_TIMEOUT_S)
        except ProcessError:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()

    def tail(self) -> str:
        """Quote the last lines of the log with the path of the file."""
        lines = self.log_file.read_text(errors='replace').splitlines()[-_TAIL_LINES:]
        quoted = '\n  '.join(lines) if lines else '(empty)'
        return f'its log {self.log_file} ends with\n  {quoted}'


@contextmanager
def ending(programs: list[Program]) -> Iterator[None]:
    """
    Run a block, then end the programs, the newest first, also after an error.

    `programs` may grow inside the block. Raises ProcessError when one does not end after SIGINT.
    """
    try:
        yield
    except BaseException:
        _end_all(programs)  # raise the block's own error, not its consequences
        raise
    if errors := _end_all(programs):
        raise errors[0]


def _end_all(programs: list[Program]) -> list[ProcessError]:
    errors = []
    for program in reversed(programs):
        try:
            program.end()
        except ProcessError as err:
            errors.append(err)
    return errors
