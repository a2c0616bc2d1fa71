"""
Python on processors that are not here: QEMU imitates them.

A processor of this machine's architecture runs this environment's own Python and libraries; one
of another architecture takes them from a root folder, see foreign_root.py.
"""

from dataclasses import dataclass
from functools import partial
import json
import os
from pathlib import Path
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

from foreign_root import Absent, cache_folder, foreign_root, made_once, python_in
import numpy as np

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name('answers.py')


@dataclass(frozen=True)
class Machine:
    """A processor, and numpy's names of features by which it is known."""

    name: str
    arch: str  # as platform.machine() has it
    cpu: str = ''  # as QEMU has it; empty: the processor of this machine
    has: str = ''
    lacks: str = ''
    midr: tuple[str, ...] = ()  # implementer, variant, part, revision as /proc/cpuinfo has them


HERE = Machine('this machine', platform.machine())
MACHINES = (
    HERE,
    Machine('Nehalem', 'x86_64', 'Nehalem', 'SSE42', 'AVX'),
    Machine('Haswell', 'x86_64', 'Haswell', 'AVX2', 'AVX512F'),
    Machine('Cortex-A72', 'aarch64', 'cortex-a72', 'ASIMD', 'ASIMDDP',
            ('0x41', '0x0', '0xd08', '3')),
    Machine('Cortex-A76', 'aarch64', 'cortex-a76', 'ASIMDDP', 'SVE',
            ('0x41', '0x4', '0xd0b', '1')),
    Machine('ARM max', 'aarch64', 'max', 'ASIMDFHM', '', ('0x00', '0x0', '0x051', '0')),
)


class Failed(Exception):
    """The model was refused, or the program ended badly."""


def answer(machine, model, images, timeout_s):
    """
    Return what a model file answers on a machine.

    Args:
        machine: one of MACHINES.
        model: path of an ONNX file.
        images: paths.
        timeout_s: for the process.

    Returns:
        The arrays, and the dict of facts that answers.py prints.

    Raises:
        Absent: this machine cannot imitate that one.
        Failed: the model was refused, or the program ended badly.
    """
    command, environment = python_on(machine)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / 'answer.npz'
        done = subprocess.run(
            [str(part) for part in (*command, PROGRAM, model, output, *images)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment,
            timeout=timeout_s)
        if done.returncode:
            raise Failed(_reason(done))
        facts = json.loads(done.stdout.splitlines()[-1])
        with np.load(output) as arrays:
            return dict(arrays), facts


def python_on(machine):
    """
    Return how to start Python with this package on a machine.

    Returns:
        The command, and its environment: a new one, since variables that suit this processor
        (OPENBLAS_CORETYPE) may stop a program on another.

    Raises:
        Absent: this machine cannot imitate that one.
    """
    environment = {name: os.environ[name] for name in ('PATH', 'HOME', 'TMPDIR')
                   if name in os.environ}
    packages = [path for path in sys.path if path.endswith('-packages')]
    # Not .venv's: where ROS comes from wheels it starts itself anew, and a program that an
    # emulated one starts is not emulated. Its real path and -S leave the environment out.
    python = [Path(sys.executable).resolve(), '-S']
    if machine.cpu:
        qemu = [_qemu(machine.arch), '-cpu', machine.cpu]
        if machine.arch != platform.machine():
            root = foreign_root(machine.arch)
            prefix = _prefix(machine, root)
            python = ['-L', prefix, python_in(root)]
            packages = [root / 'wheels']
        python = [*qemu, *python]
    environment['PYTHONPATH'] = os.pathsep.join(map(str, [ROOT, *packages]))
    return python, environment


def _qemu(arch):
    for name in (f'qemu-{arch}-static', f'qemu-{arch}'):
        if found := shutil.which(name):
            return found
    raise Absent(f'qemu-{arch} is not installed (Debian: apt install qemu-user)')


def _prefix(machine, root):
    """
    Return a folder in which QEMU looks for files first: the root, and a /proc/cpuinfo.

    QEMU 7.2 shows a program the /proc/cpuinfo of its host. In that of an x86-64 one ONNX Runtime
    from 1.28 finds no architecture of ARM, and crashes (docs/machines.md).
    """
    return made_once(cache_folder() / f'{machine.cpu}-{root.name}',
                     partial(_make_prefix, machine, root))


def _make_prefix(machine, root, prefix):
    (prefix / 'proc').mkdir(parents=True)
    for part in root.iterdir():
        (prefix / part.name).symlink_to(part)
    if machine.midr:
        implementer, variant, part, revision = machine.midr
        (prefix / 'proc' / 'cpuinfo').write_text(''.join(
            f'processor\t: {number}\nCPU implementer\t: {implementer}\nCPU architecture: 8\n'
            f'CPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: {revision}\n\n'
            for number in range(os.sysconf('SC_NPROCESSORS_CONF'))))


def _reason(done):
    """Say why a program ended badly, in a line."""
    last = ([line for line in done.stderr.splitlines() if 'warning: TCG' not in line] or [''])[-1]
    if done.returncode < 0:
        return f'died of {signal.Signals(-done.returncode).name}: {last}'
    return last
