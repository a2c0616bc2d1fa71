"""The processor's name and its instructions for 8-bit integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
import platform

import cv2

# numbers of cv2.checkHardwareSupport, which has no names for them in Python
_AVX2, _AVX512F, _AVX512_VNNI, _NEON_DOTPROD = 11, 13, 23, 101
_FLAGS = {_AVX2: 'avx2', _AVX512F: 'avx512f', _AVX512_VNNI: 'avx512_vnni'}

HasFeature = Callable[[int], bool]


def describe_processor() -> str:
    """
    Name the processor and its instructions for 8-bit integers.

    For example 'AMD EPYC, x86-64 with AVX512-VNNI' or 'x86-64 with AVX2, without VNNI'; without
    the name where the system does not give it, and under emulation.
    """
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace')
    except OSError:  # not Linux
        text = ''
    return describe(platform.machine(), text, cv2.checkHardwareSupport)


def describe(machine: str, cpuinfo: str, has: HasFeature) -> str:
    """Describe the processor; `has` asks it for a feature by OpenCV's number."""
    machine = {'AMD64': 'x86_64', 'arm64': 'aarch64'}.get(machine, machine)
    facts = _first_processor(cpuinfo)
    flags = set((facts.get('flags') or facts.get('Features') or '').split())
    if machine == 'x86_64' and any(has(feature) != (flag in flags)
                                   for feature, flag in _FLAGS.items()):
        facts, flags = {}, set()  # of the machine that emulates this one
    if machine == 'aarch64' and 'Features' not in facts:
        facts, flags = {}, set()
    kinds = {'x86_64': _x86, 'aarch64': _arm}
    kind = kinds[machine](has, flags) if machine in kinds else machine
    return ', '.join(filter(None, [facts.get('model name', ''), kind]))


def _x86(has: HasFeature, flags: set[str]) -> str:
    if has(_AVX512_VNNI):
        return 'x86-64 with AVX512-VNNI'
    if 'avx_vnni' in flags:  # OpenCV does not know it
        return 'x86-64 with AVX-VNNI'
    widest = 'AVX512' if has(_AVX512F) else 'AVX2'
    return f'x86-64 with {widest}, without VNNI' if has(_AVX2) else 'x86-64 without AVX2 and VNNI'


def _arm(has: HasFeature, flags: set[str]) -> str:
    if has(_NEON_DOTPROD) or 'asimddp' in flags:
        return 'aarch64 with dot products'
    # OpenCV before 4.8 cannot tell
    return 'aarch64 without dot products' if flags else 'aarch64'


def _first_processor(cpuinfo: str) -> Mapping[str, str]:
    """Return the lines about the first processor; on a Cortex-A there is no model name."""
    pairs = (line.partition(':') for line in cpuinfo.split('\n\n')[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
