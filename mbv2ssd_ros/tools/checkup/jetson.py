"""What only a Jetson has: Jetson Linux, JetPack, power modes and clocks."""

from __future__ import annotations

from collections.abc import Iterator
import re

from mbv2ssd_ros.tools.checkup.finding import Finding, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.machine import Machine

_RELEASE = '/etc/nv_tegra_release'
_MODES = '/etc/nvpmodel.conf'


def board(machine: Machine) -> Iterator[Finding]:
    """Report the board and its software, or that this is not a Jetson."""
    if not is_jetson(machine):
        yield Finding('Jetson', SKIPPED, 'not a Jetson; power mode and clocks are left out')
        return
    model = machine.text('/proc/device-tree/model') or 'unknown board'
    yield Finding('Jetson', OK, f'{model}, Jetson Linux {_linux(machine)}')
    jetpack = _package(machine, 'nvidia-jetpack')
    if jetpack:
        yield Finding('JetPack', OK, jetpack)
    else:
        yield Finding('JetPack', SKIPPED, 'the package nvidia-jetpack is not installed, as in '
                      'most containers; the version of Jetson Linux implies it')


def power(machine: Machine) -> Iterator[Finding]:
    """Report the power mode of a Jetson; the numbers of the modes differ between boards."""
    if not is_jetson(machine):
        return
    found = re.search(r'NV Power Mode:\s*(\S+)\s*\n\s*(\d+)',
                      machine.run(['nvpmodel', '-q']) or '')
    if found is None:
        yield Finding('power mode', SKIPPED, '`nvpmodel -q` does not report it (in a container?)')
        return
    modes = {name: number for number, name in re.findall(
        r'POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)', machine.text(_MODES) or '')}
    fastest = next((name for name in ('MAXN_SUPER', 'MAXN') if name in modes), None)
    text = f'{found[1]} (mode {found[2]})'
    if fastest is None or found[1] == fastest:
        yield Finding('power mode', OK, text)
    else:
        yield Finding('power mode', WARNING, f'{text}; the fastest is {fastest}, where supply and '
                      'cooling allow it', f'sudo nvpmodel -m {modes[fastest]}')


def clocks(machine: Machine) -> Iterator[Finding]:
    """Report the clock of a Jetson's GPU."""
    if not is_jetson(machine):
        return
    for folder in sorted(machine.path('/sys/class/devfreq').glob('*gpu*')):
        name = f'/sys/class/devfreq/{folder.name}'
        low, now, high = (_mhz(machine.text(f'{name}/{file}'))
                          for file in ('min_freq', 'cur_freq', 'max_freq'))
        if None in (low, now, high):
            continue
        text = f'{low} to {high} MHz, {now} now'
        yield Finding('GPU clock', OK, f'locked at {high} MHz' if low == high else
                      f'{text}; it follows the load. For steady measurements: `sudo '
                      'jetson_clocks`')
        return
    yield Finding('GPU clock', SKIPPED, '/sys/class/devfreq does not report it')


def is_jetson(machine: Machine) -> bool:
    """Return whether this is a Jetson, judged by files that exist in a container too."""
    model = machine.text('/proc/device-tree/model') or ''
    return machine.text(_RELEASE) is not None or 'Jetson' in model


def _linux(machine: Machine) -> str:
    found = re.search(r'# R(\d+) \(release\), REVISION: ([\d.]+)', machine.text(_RELEASE) or '')
    if found:
        return f'{found[1]}.{found[2]}'
    return _package(machine, 'nvidia-l4t-core') or 'of unknown version'


def _package(machine: Machine, name: str) -> str:
    return (machine.run(['dpkg-query', '--show', '--showformat=${Version}', name]) or '').strip()


def _mhz(text: str | None) -> int | None:
    return round(int(text) / 1e6) if text is not None and text.isdecimal() else None
