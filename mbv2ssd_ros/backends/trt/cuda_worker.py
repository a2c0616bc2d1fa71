"""
The thread that owns the GPU's context.

pycuda frees memory, streams and events only where their context is current, and aborts the process
when a thread ends with a context on its stack. So one thread makes, uses and frees everything and
runs the calls of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
import queue
import threading
from typing import Any, TypeVar

from mbv2ssd_ros.backends.trt.nvidia import forget_locals, Nvidia, primary_context
from mbv2ssd_ros.core.errors import BackendError

Result = TypeVar('Result')
_Job = tuple[Callable[..., Any], tuple[Any, ...], 'Future[Any]']


class CudaWorker:
    """
    Runs functions one after the other in the thread where the context is current.

    Raises BackendError where the context cannot be made current.
    """

    def __init__(self, nvidia: Nvidia) -> None:
        self._nvidia = nvidia
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._handing_in = threading.Lock()
        self._open = True
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name='cuda', daemon=True)
        self._thread.start()
        self._started.result()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """
        Run a function in the thread and return its result.

        Raises BackendError where the worker was closed, and what the function raised; the frames
        of that error hold no GPU objects.
        """
        answer: Future[Any] = Future()
        with self._handing_in:
            if not self._open:
                raise BackendError('the thread of the GPU was closed')
            self._jobs.put((function, arguments, answer))
        try:
            result: Result = answer.result()
            return result
        finally:
            del answer, function, arguments  # an error refers to this frame

    def close(self, last: Callable[[], None] | None = None, timeout_s: float = 1.5) -> bool:
        """
        Finish the queue, run `last`, release the context and end the thread.

        `last` frees what was made in the thread. Returns False where the thread did not end in
        time, as with a GPU that hangs; it is left behind.
        """
        with self._handing_in:
            if self._open:
                self._open = False
                if last is not None:
                    self._jobs.put((last, (), Future()))
                self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            with primary_context(self._nvidia.cuda):
                self._started.set_result(None)
                while (job := self._jobs.get()) is not None:
                    _run(job)
                    del job  # with everything it refers to
        except Exception as err:
            if not self._started.done():
                self._started.set_exception(BackendError(
                    f'backend tensorrt: the GPU cannot be used ({err}); is its memory full, or '
                    'does another process hold it alone?'))
            # else the context was lost, and cannot even be released


def _run(job: _Job) -> None:
    function, arguments, answer = job
    try:
        answer.set_result(function(*arguments))
    except BaseException as err:  # else its caller would wait for ever
        forget_locals(err)
        answer.set_exception(err)
    finally:
        del job, function, arguments, answer  # an error refers to this frame
