"""
The kernels of one inference as a CUDA graph.

A small network is a hundred kernels of a few microseconds, and launching them one by one takes the
CPU as long. pycuda has no graphs, so cuda-python makes them where it is installed: the same
driver, on pycuda's stream and context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbv2ssd_ros.core.errors import BackendError


class GraphError(BackendError):
    """The GPU cannot record or run a graph."""


class CudaGraph:
    """The work that was recorded from a stream; used in the thread that recorded it."""

    def __init__(self, driver: Any, stream_handle: int, enqueue: Callable[[], None]) -> None:
        """
        Record what `enqueue` launches on an idle stream, in the module cuda.bindings.driver.

        `enqueue` must have run once before, since TensorRT allocates in the first run. Raises
        GraphError where the work cannot be recorded, and what enqueue raises; the stream is then
        as before.
        """
        self._driver = driver
        self._stream = driver.CUstream(stream_handle)
        # thread-local: other threads may use CUDA meanwhile
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
        """Launch the recorded work on its stream."""
        self._call('cuGraphLaunch', self._executable, self._stream)

    def free(self) -> None:
        """Free the graph, before what its kernels use; a lost context has freed it already."""
        self._driver.cuGraphExecDestroy(self._executable)

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            error, *results = getattr(self._driver, name)(*arguments)
        except RuntimeError as err:  # of cuda-python: the driver is older and has no such function
            raise GraphError(f'{name} cannot be called: {err}') from err
        if error != self._driver.CUresult.CUDA_SUCCESS:
            raise GraphError(f'{name} failed: {getattr(error, "name", error)}')
        return results[0] if results else None
