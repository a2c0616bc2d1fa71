"""
A test double of pycuda.driver: no GPU, but pycuda's rules.

Written after pycuda 2026.1 (src/wrapper/wrap_cudadrv.cpp, src/cpp/cuda.hpp): names, parameters,
the stack of contexts of each thread, what needs one, and what must not be freed without. Work
handed to a stream is done when the stream is synchronised and not before, so whoever looks at a
result or reuses a buffer too early gets wrong numbers.
"""

import threading
import weakref

from double_state import STATE
import numpy as np

_ALIGNMENT = 512
_HOST_BASE, _DEVICE_BASE = 0x7F00_0000_0000, 0x10_0000_0000


class Error(Exception):
    """pycuda.driver.Error."""


class MemoryError(Error):  # noqa: A001
    """pycuda.driver.MemoryError; not derived from Python's."""


class LogicError(Error):
    """pycuda.driver.LogicError."""


class LaunchError(Error):
    """pycuda.driver.LaunchError."""


class RuntimeError(Error):  # noqa: A001
    """pycuda.driver.RuntimeError; not derived from Python's."""


class device_attribute:  # noqa: N801
    """pycuda.driver.device_attribute."""

    MULTIPROCESSOR_COUNT = 'multiprocessors'
    INTEGRATED = 'integrated'
    CAN_MAP_HOST_MEMORY = 'can map'


class host_alloc_flags:  # noqa: N801
    """pycuda.driver.host_alloc_flags."""

    PORTABLE, DEVICEMAP, WRITECOMBINED = 1, 2, 4


class _Gpu:
    """Contexts, memory and streams."""

    def __init__(self):
        self.initialised = False
        self.stacks = {}  # thread id: contexts
        self.memory = {}  # address: (bytes of it, what owns it)
        self.streams = weakref.WeakValueDictionary()  # handle: stream
        self.graphs = set()  # recorded, or made to be run, and not freed
        self.next_address = {'host': _HOST_BASE, 'device': _DEVICE_BASE}
        self.primary_contexts = 0

    def stack(self):
        """Contexts of this thread."""
        return self.stacks.setdefault(threading.get_ident(), [])

    def need_context(self, what):
        """Raise as pycuda does where no context is current."""
        if not self.initialised:
            raise LogicError(f'{what} failed: initialization error')
        if not self.stack():
            raise LogicError(
                f'{what} failed: invalid device context - no currently active context?')

    def may_allocate(self, what):
        """Raise as pycuda does without a context; a recording is spoilt by any allocation."""
        self.need_context(what)
        if any(stream._recorded is not None for stream in self.streams.values()):
            STATE.break_rule('memory is allocated while a graph is recorded')

    def check_freed_here(self, what):
        """Note what is freed where its context is not current; destructors cannot raise."""
        STATE.calls.append((f'free {what}', threading.current_thread().name))
        if not self.stack():
            STATE.broken_rules.append(
                f'{what} in out-of-thread context could not be cleaned up '
                f'({threading.current_thread().name})')

    def register(self, kind, content, owner):
        """Give memory an address."""
        address = self.next_address[kind]
        self.next_address[kind] += -(-max(content.nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
        self.memory[address] = content
        STATE.calls.append((f'allocate {owner}', threading.current_thread().name))
        return address

    def release(self, address, what):
        """Forget memory; nothing that is under way may use it."""
        for stream in list(self.streams.values()):
            if any(address in used for _, used in stream._pending):
                STATE.broken_rules.append(f'{what} was freed while a stream uses it')
        self.memory.pop(address, None)

    def bytes_at(self, address, size):
        """Look at memory; what is not allocated, or too small, is a crash elsewhere."""
        content = self.memory.get(address)
        if content is None:
            STATE.break_rule(f'address {address:#x} is not that of an allocation')
        if content.nbytes < size:
            STATE.break_rule(f'{size} bytes are used of {content.nbytes}')
        return content[:size]


GPU = _Gpu()


def init(flags=0):
    """pycuda.driver.init."""
    STATE.fail_if_asked('init')
    GPU.initialised = True


def get_driver_version():
    """pycuda.driver.get_driver_version."""
    return 12060


def mem_get_info():
    """pycuda.driver.mem_get_info."""
    GPU.need_context('cuMemGetInfo')
    return STATE.free_mib * 2 ** 20, 8 * 2 ** 30


class Device:
    """pycuda.driver.Device."""

    def __init__(self, number):
        if not GPU.initialised:
            raise LogicError('cuDeviceGet failed: initialization error')
        if number >= STATE.devices:
            raise LogicError('cuDeviceGet failed: invalid device ordinal')

    @staticmethod
    def count():
        """Return the number of GPUs."""
        return STATE.devices

    def name(self):
        """Return the GPU's name."""
        return STATE.gpu_name

    def compute_capability(self):
        """Return major and minor."""
        return (8, 7)

    def total_memory(self):
        """Return bytes; a Jetson keeps some for itself."""
        return int(7.4 * 2 ** 30)

    def get_attribute(self, attr):
        """Return an attribute."""
        return {'multiprocessors': 8, 'integrated': int(STATE.integrated), 'can map': 1}[attr]

    def retain_primary_context(self):
        """Return the context that the runtime API uses; it is not made current."""
        STATE.fail_if_asked('retain_primary_context')
        return Context(_made_by_pycuda=True)


class Context:
    """pycuda.driver.Context."""

    def __init__(self, _made_by_pycuda=False):
        assert _made_by_pycuda
        GPU.primary_contexts += 1

    def __del__(self):
        GPU.primary_contexts -= 1

    def push(self):
        """Make it current in this thread."""
        GPU.stack().append(self)
        STATE.calls.append(('push', threading.current_thread().name))

    @staticmethod
    def pop():
        """Make what was current before current again."""
        if not GPU.stack():
            raise LogicError('m_stack::pop failed: invalid device context - cannot pop')
        GPU.stack().pop()
        STATE.calls.append(('pop', threading.current_thread().name))
        STATE.fail_if_asked('pop')


class Stream:
    """pycuda.driver.Stream; does its work when it is synchronised."""

    def __init__(self, flags=0):
        self._pending = []  # (work, addresses it uses)
        self._recorded = None  # the same, while a graph is recorded
        self._handle = None
        GPU.need_context('cuStreamCreate')
        self._handle = id(self)
        GPU.streams[self._handle] = self

    def __del__(self):
        if self._handle is not None:
            GPU.check_freed_here('stream')
        if self._pending:
            STATE.broken_rules.append('a stream was destroyed with work under way')

    @property
    def handle(self):
        """Return the CUstream as an int."""
        return self._handle

    def take(self, work, addresses):
        """Do work later, or record it; the real one has no such method."""
        taken = self._pending if self._recorded is None else self._recorded
        taken.append((work, set(addresses)))

    def synchronize(self):
        """Wait for everything that was handed in."""
        GPU.need_context('cuStreamSynchronize')
        if self._recorded is not None:
            STATE.break_rule('a stream was synchronised while a graph is recorded from it')
        pending, self._pending = self._pending, []
        STATE.fail_if_asked('synchronize')
        for work, _ in pending:
            work()


def _enqueue(stream, work, addresses):
    if not isinstance(stream, Stream):
        STATE.break_rule('asynchronous work without a stream of its own')
    stream.take(work, addresses)


class DeviceAllocation:
    """pycuda.driver.DeviceAllocation."""

    def __init__(self, size):
        self._content = np.full(size, 0xCD, np.uint8)  # not what anybody expects
        self._address = GPU.register('device', self._content, 'device memory')

    def __int__(self):
        return self._address

    __index__ = __int__

    def free(self):
        """Free it now."""
        GPU.need_context('cuMemFree')
        STATE.fail_if_asked('free')
        if self._address not in GPU.memory:
            STATE.break_rule('device memory was freed twice')
        GPU.check_freed_here('device memory')
        GPU.release(self._address, 'device memory')

    def __del__(self):
        if self._address in GPU.memory:
            GPU.check_freed_here('device memory')
            GPU.release(self._address, 'device memory')


def mem_alloc(bytes):  # noqa: A002
    """pycuda.driver.mem_alloc."""
    GPU.may_allocate('cuMemAlloc')
    STATE.fail_if_asked('mem_alloc')
    return DeviceAllocation(bytes)


class PagelockedHostAllocation:
    """pycuda.driver.PagelockedHostAllocation: base of what pagelocked_empty gives."""

    def __init__(self, shape, dtype):
        self._content = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0xCD, np.uint8)
        self._address = GPU.register('host', self._content, 'host memory')
        self.__array_interface__ = {
            'shape': tuple(shape), 'typestr': np.dtype(dtype).str, 'version': 3,
            'data': (self._content.ctypes.data, False)}

    def get_device_pointer(self):
        """Return what the GPU knows this memory by."""
        GPU.need_context('cuMemHostGetDevicePointer')
        return self._address

    def __del__(self):
        GPU.check_freed_here('host memory')
        GPU.release(self._address, 'host memory')


def pagelocked_empty(shape, dtype, order='C', mem_flags=0):
    """pycuda.driver.pagelocked_empty."""
    GPU.may_allocate('cuMemHostAlloc')
    STATE.fail_if_asked('pagelocked_empty')
    return np.asarray(PagelockedHostAllocation(shape, dtype))


def _host_bytes(array, what):
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        raise ValueError(f'{what}: ndarray is not contiguous')
    owner = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    if not isinstance(owner, PagelockedHostAllocation):
        STATE.break_rule(f'{what} of memory that is not page-locked is not asynchronous')
    return array.reshape(-1).view(np.uint8), owner._address


def memcpy_htod_async(dest, src, stream=None):
    """pycuda.driver.memcpy_htod_async."""
    GPU.need_context('cuMemcpyHtoDAsync')
    STATE.fail_if_asked('memcpy_htod_async')
    content, address = _host_bytes(src, 'memcpy_htod_async')
    target = GPU.bytes_at(int(dest), content.nbytes)
    _enqueue(stream, lambda: np.copyto(target, content), (address, int(dest)))


def memcpy_dtoh_async(dest, src, stream=None):
    """pycuda.driver.memcpy_dtoh_async."""
    GPU.need_context('cuMemcpyDtoHAsync')
    content, address = _host_bytes(dest, 'memcpy_dtoh_async')
    origin = GPU.bytes_at(int(src), content.nbytes)
    _enqueue(stream, lambda: np.copyto(content, origin), (address, int(src)))
