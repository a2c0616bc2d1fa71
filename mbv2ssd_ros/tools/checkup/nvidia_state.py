"""
TensorRT, CUDA and the GPU, queried from outside.

These libraries crash a process in ways that no `except` catches, so another process queries
them. Only a build shows whether TensorRT supports a GPU: a network of one layer is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import importlib.util
import json
import logging
import subprocess
import sys
import time
from typing import Any

from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.tools.checkup.finding import ERROR, Finding, OK, SKIPPED, WARNING

FACTS_TIMEOUT_S, TRIAL_TIMEOUT_S = 8.0, 12.0
# images: uint8 (B, 8, 8, 3) -> Cast -> float32, ONNX opset 17
TRIAL_MODEL = (
    b'\x08\x08\x12\x00:b\n\x1c\n\x06images\x12\x01y"\x04Cast*\t\n\x02to\x18\x01\xa0\x01\x02\x12'
    b'\x01tZ!\n\x06images\x12\x17\n\x15\x08\x02\x12\x11\n\x03\x12\x01B\n\x02\x08\x08\n\x02\x08'
    b'\x08\n\x02\x08\x03b\x1c\n\x01y\x12\x17\n\x15\x08\x01\x12\x11\n\x03\x12\x01B\n\x02\x08\x08'
    b'\n\x02\x08\x08\n\x02\x08\x03B\x04\n\x00\x10\x11')
_TRIAL_MIB = 64
_CHILD = '''
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from mbv2ssd_ros.tools.checkup.nvidia_state import ask
print(json.dumps(ask()))
'''


@dataclass(frozen=True)
class NvidiaFacts:
    """Versions as the libraries report them; empty texts for what is missing."""

    tensorrt: str = ''
    pycuda: str = ''
    cuda: str = ''  # version pycuda was built for, and the driver's
    gpu: str = ''
    problem: str = ''  # reason why they cannot use the GPU


def ask() -> dict[str, Any]:
    """Query the libraries, in the child; returns the fields of NvidiaFacts."""
    facts = {}
    for name, field in (('tensorrt', 'tensorrt'), ('pycuda', 'pycuda')):
        try:
            module = __import__(name)
            facts[field] = str(getattr(module, '__version__', '')
                               or getattr(module, 'VERSION_TEXT', 'installed'))
        except Exception:  # load_nvidia reports the reason
            continue
    from mbv2ssd_ros.backends.trt.nvidia import describe_gpu, load_nvidia
    try:
        nvidia = load_nvidia()
        gpu = describe_gpu(nvidia.cuda)
    except BackendError as err:
        return {**facts, 'problem': str(err)}
    facts['gpu'] = (f'{gpu.name} (SM {".".join(map(str, gpu.compute_capability))}, '
                    f'{gpu.multiprocessors} multiprocessors, {gpu.memory_gib} GiB)')
    driver = int(nvidia.cuda.get_driver_version())
    facts['cuda'] = f'driver for CUDA {driver // 1000}.{driver % 1000 // 10}'
    if hasattr(nvidia.cuda, 'get_version'):
        facts['cuda'] += f', pycuda built for {".".join(map(str, nvidia.cuda.get_version()))}'
    return facts


def nvidia_facts() -> NvidiaFacts:
    """Query the libraries in a child process; a crash or a hang becomes `problem`."""
    command = [sys.executable, '-c', _CHILD, json.dumps([path for path in sys.path if path])]
    try:
        child = subprocess.run(command, capture_output=True, text=True, cwd='/',
                               timeout=FACTS_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return NvidiaFacts(problem=f'they did not answer within {FACTS_TIMEOUT_S:g} s')
    if child.returncode:
        how = (f'was killed by signal {-child.returncode}' if child.returncode < 0
               else f'ended with code {child.returncode}')
        last = (child.stderr.strip().splitlines() or [''])[-1]
        return NvidiaFacts(problem=f'the process that queried them {how}: {last}')
    return NvidiaFacts(**json.loads(child.stdout.splitlines()[-1]))


def libraries(facts: NvidiaFacts) -> Iterator[Finding]:
    """Report the installed libraries, or that there are none on a machine without TensorRT."""
    if not facts.tensorrt and not is_installed():
        yield Finding('TensorRT', SKIPPED, 'not installed; backend auto takes onnxruntime')
        return
    if facts.tensorrt:
        yield Finding('TensorRT', OK, facts.tensorrt)
    if facts.pycuda:
        yield Finding('pycuda', OK, facts.pycuda)
    if facts.problem:
        yield Finding('GPU', ERROR, facts.problem,
                      'correct it, or set the parameter backend to onnxruntime')
        return
    yield Finding('CUDA', OK, facts.cuda)
    yield Finding('GPU', OK, facts.gpu)


def is_installed() -> bool:
    """Return whether there is a module tensorrt, without loading it."""
    return importlib.util.find_spec('tensorrt') is not None


def support(facts: NvidiaFacts, timeout_s: float = TRIAL_TIMEOUT_S) -> Iterator[Finding]:
    """Try whether this TensorRT builds anything for this GPU; no finding unless both are there."""
    if not facts.gpu:
        return
    from mbv2ssd_ros.backends.base import LoadContext
    from mbv2ssd_ros.backends.trt.build import BuildRequest
    from mbv2ssd_ros.backends.trt.build_process import build_in_child
    deadline = time.monotonic() + timeout_s
    quiet = logging.getLogger(f'{__name__}.trial')
    quiet.disabled = True
    request = BuildRequest('trial', 'fp32', (8, 8), (1,), optimization_level=0, workspace_mib=16,
                           needed_mib=_TRIAL_MIB)
    pair = f'TensorRT {facts.tensorrt} and {facts.gpu.partition(" (")[0]}'
    try:
        build_in_child(TRIAL_MODEL, request, b'',
                       LoadContext(quiet, lambda: time.monotonic() > deadline))
    except BackendError as err:
        if time.monotonic() > deadline:
            yield Finding('TensorRT on GPU', WARNING, f'{pair}: a network of one layer was not '
                          f'built within {timeout_s:g} s', 'run `build_engine`, which waits '
                          'longer')
        else:
            yield Finding('TensorRT on GPU', ERROR, f'{pair}: {err}',
                          'use the TensorRT that comes with JetPack, or one that supports this '
                          'GPU (docs/jetson.md)')
        return
    yield Finding('TensorRT on GPU', OK, f'{pair}: a network was built')
