"""
A test double of cuda.bindings.driver: graphs of what streams of pycuda's double are handed.

Written after cuda-bindings 12.9: names and parameters, which another test compares, and what the
driver demands of recording. Each function returns a tuple that begins with a CUresult.
"""

import enum
import threading

from double_state import STATE
from pycuda.driver import GPU

if not STATE.graphs:
    raise ImportError('the test wants no cuda-python')


class CUresult(enum.IntEnum):
    """cuda.bindings.driver.CUresult."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


class CUstreamCaptureMode(enum.IntEnum):
    """cuda.bindings.driver.CUstreamCaptureMode."""

    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class CUstream:
    """cuda.bindings.driver.CUstream."""

    def __init__(self, init_value=0):
        self._handle = int(init_value)

    def __int__(self):
        return self._handle


class _Graph:
    """A CUgraph or CUgraphExec."""

    def __init__(self, works):
        self.works = works
        GPU.graphs.add(self)

    def __int__(self):
        return id(self)


def _begin(name):
    """Return what a test wants this call to answer; nothing works without a context."""
    GPU.need_context(name)
    return STATE.failures[name].pop(0) if STATE.failures.get(name) else CUresult.CUDA_SUCCESS


def _stream(hStream):  # noqa: N803
    found = GPU.streams.get(int(hStream))
    if found is None:
        STATE.break_rule(f'{int(hStream)} is not the handle of a stream of its own')
    return found


def cuStreamBeginCapture(hStream, mode):  # noqa: N802,N803
    """Record what the stream is handed from now on."""
    error, stream = _begin('cuStreamBeginCapture'), _stream(hStream)
    if mode != CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL:
        STATE.break_rule('a recording that forbids other threads to use CUDA')
    if not error:
        stream._recorded = []
    return (error,)


def cuStreamEndCapture(hStream):  # noqa: N802,N803
    """Return what was recorded."""
    error, stream = _begin('cuStreamEndCapture'), _stream(hStream)
    works, stream._recorded = stream._recorded, None
    if works is None:
        STATE.break_rule('no graph is recorded from this stream')
    return (error, None if error else _Graph(works))


def cuGraphInstantiate(hGraph, flags):  # noqa: N802,N803
    """Make a graph that can be run."""
    error = _begin('cuGraphInstantiate')
    return (error, None if error else _Graph(hGraph.works))


def cuGraphLaunch(hGraphExec, hStream):  # noqa: N802,N803
    """Hand the work to a stream."""
    error = _begin('cuGraphLaunch')
    if hGraphExec not in GPU.graphs:
        STATE.break_rule('a graph was run that had been freed')
    for work, addresses in () if error else hGraphExec.works:
        for address in addresses:
            GPU.bytes_at(address, 1)
        _stream(hStream).take(work, addresses)
    STATE.calls.append(('launch', threading.current_thread().name))
    return (error,)


def cuGraphDestroy(hGraph):  # noqa: N802,N803
    """Free what was recorded."""
    error = _begin('cuGraphDestroy')
    GPU.graphs.remove(hGraph)
    return (error,)


def cuGraphExecDestroy(hGraphExec):  # noqa: N802,N803
    """Free what can be run."""
    error = _begin('cuGraphExecDestroy')
    if hGraphExec not in GPU.graphs:
        STATE.break_rule('a graph was freed twice')
    GPU.graphs.remove(hGraphExec)
    STATE.calls.append(('free graph', threading.current_thread().name))
    return (error,)
