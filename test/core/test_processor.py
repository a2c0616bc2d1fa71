"""What is said of the processor, for processors that are not here."""

import pytest

from mbv2ssd_ros.core.processor import describe, describe_processor

# OpenCV's numbers (cvdef.h): 11 AVX2, 13 AVX512F, 23 AVX512-VNNI, 101 dot products of NEON
ZEN_5 = 'processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx_vnni avx512_vnni'
SKYLAKE_X = 'processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f'
ALDER_LAKE = 'processor\t: 0\nmodel name\t: Core i5\nflags\t\t: fpu avx2 avx_vnni'
HASWELL = 'processor\t: 0\nmodel name\t: Core i7\nflags\t\t: fpu avx2'
CELERON = 'processor\t: 0\nmodel name\t: Celeron\nflags\t\t: fpu sse4_2'
ORIN = 'processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd asimddp'
A72 = 'processor\t: 0\nFeatures\t: fp asimd crc32\nCPU part\t: 0xd08'


@pytest.mark.parametrize('machine, cpuinfo, features, expected', [
    ('x86_64', ZEN_5, {11, 13, 23}, 'AMD EPYC, x86-64 with AVX512-VNNI'),
    ('x86_64', SKYLAKE_X, {11, 13}, 'Xeon, x86-64 with AVX512, without VNNI'),
    ('x86_64', ALDER_LAKE, {11}, 'Core i5, x86-64 with AVX-VNNI'),
    ('x86_64', HASWELL, {11}, 'Core i7, x86-64 with AVX2, without VNNI'),
    ('x86_64', CELERON, set(), 'Celeron, x86-64 without AVX2 and VNNI'),
    ('AMD64', '', {11}, 'x86-64 with AVX2, without VNNI'),  # Windows
    ('aarch64', ORIN, set(), 'ARMv8 Processor rev 1 (v8l), aarch64 with dot products'),
    ('aarch64', A72, set(), 'aarch64 without dot products'),
    ('arm64', '', {101}, 'aarch64 with dot products'),  # macOS
    ('riscv64', '', set(), 'riscv64'),
], ids=lambda value: value if isinstance(value, str) and '\n' not in value else '')
def test_a_processor_is_named_with_what_it_has_for_integers(machine, cpuinfo, features, expected):
    assert describe(machine, cpuinfo, features.__contains__) == expected


def test_an_emulated_processor_is_not_given_the_name_and_flags_of_its_host():
    assert describe('x86_64', ZEN_5, {11}.__contains__) == 'x86-64 with AVX2, without VNNI'
    assert describe('aarch64', ZEN_5, set().__contains__) == 'aarch64'


def test_second_and_further_processors_do_not_count():
    two = f'{HASWELL}\n\n{ALDER_LAKE}'
    assert describe('x86_64', two, {11}.__contains__) == 'Core i7, x86-64 with AVX2, without VNNI'


def test_this_processor_has_a_description():
    assert describe_processor()
