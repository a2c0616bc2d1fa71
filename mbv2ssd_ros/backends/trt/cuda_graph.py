"""
The kernels of one inference, handed to the GPU in one piece.

A small network is a hundred kernels of a few microseconds, and handing them over one by one takes
the CPU as long. pycuda has no graphs, so cuda-python makes them where it is installed: the same
driver, on pycuda's stream and context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbv2ssd_ros.core.errors import BackendError


class GraphError(BackendError):
    """The GPU takes no graph, or does not run one."""


class CudaGraph:
    """What was handed to a stream while it was recorded; for the thread that recorded it."""

    def __init__(self, driver: Any, stream_handle: int, enqueue: Callable[[], None]) -> None:
        """
        Record.

        Args:
            driver: the module cuda.bindings.driver.
            stream_handle: of a stream of its own that is idle.
            enqueue: hands the work to the stream; has done so before, since TensorRT allocates
                the first time.

        Raises:
            GraphError: the work cannot be recorded.
            BackendError: what enqueue raises; the stream is as it was.
        """
        self._driver = driver
        self._stream = driver.CUstream(stream_handle)
        # of this thread: others in this process may go on using CUDA meanwhile
        self._call('cuStreamBeginCapture', self._stream,
                   driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            enqueue()
        except BaseException:
            _, graph = driver.cuStreamEndCapture(self._stream)
            if graph is not None and int(graph):
                driver.cuGraphDestroy(graph)
            raise
        graph = self._call('cuStreamEndCapture', self._stream)
        try:
            self._executable = self._call('cuGraphInstantiate', graph, 0)
        finally:
            driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """
        Hand the recorded work to the stream.

        Raises:
            GraphError: the GPU does not take it.
        """
        self._call('cuGraphLaunch', self._executable, self._stream)

    def free(self) -> None:
        """Free it, before what its kernels use; where the context was lost it went with it."""
        self._driver.cuGraphExecDestroy(self._executable)

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            error, *results = getattr(self._driver, name)(*arguments)
        except RuntimeError as err:  # of cuda-python: the driver is older and has no such function
            raise GraphError(f'{name} cannot be called: {err}') from err
        if error != self._driver.CUresult.CUDA_SUCCESS:
            raise GraphError(f'{name} failed: {getattr(error, "name", error)}')
        return results[0] if results else None
