"""However the tests are started, what they start gets the default dispositions of signals."""

import os
from pathlib import Path
import signal
import subprocess
import sys

HERE = Path(__file__).parent
# says which signals a program ignores that it starts, after it was hung up on itself
SCRIPT = '''
import os, signal, subprocess, sys
from helpers.dispositions import reset_signals
assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
reset_signals()
os.kill(os.getpid(), signal.SIGHUP)
print(open('/proc/self/status').read().split('SigBlk:')[1].split()[0])
print(subprocess.check_output(['sed', '-n', 's/SigIgn://p', '/proc/self/status'], text=True))
'''


def ignored(mask):
    """Return the signals of a mask in hexadecimal digits."""
    return {number for number in signal.valid_signals() if int(mask, 16) >> (number - 1) & 1}


def test_a_program_ignores_nothing_that_nohup_or_a_background_job_ignores():
    command = ['sh', '-c', "trap '' HUP INT QUIT; exec \"$0\" -c \"$1\"", sys.executable, SCRIPT]
    found = subprocess.run(command, capture_output=True, text=True,
                           env={**os.environ, 'PYTHONPATH': str(HERE)})
    assert found.returncode == 0, found.stderr
    blocked, of_child = found.stdout.split()
    assert not ignored(blocked)
    assert not ignored(of_child) & {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}
