"""Long work shows itself."""

import os
import signal

import pytest

from mbv2ssd_train.process import progress
from mbv2ssd_train.process.signals import StopRequest

pytestmark = pytest.mark.needs('rich')


def test_the_first_step_says_how_long_the_others_take(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    with progress.ProgressBar('train', 91) as bar:
        now[0] += 42
        bar.advance('loss 3')
        now[0] += 2
        bar.advance()
    assert capsys.readouterr().out == 'train: 1/91, 0:42 elapsed, 1:03:00 left loss 3\n'


def test_quick_work_prints_its_end_alone(capsys):
    assert list(progress.with_progress('read')([1, 2, 3], 3)) == [1, 2, 3]
    assert capsys.readouterr().out == 'read: 3/3, 0:00 elapsed \n'


def test_a_signal_is_acknowledged_at_once(capfd):
    with StopRequest('finishing this step, then saving') as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signum == signal.SIGINT
    assert capfd.readouterr().err == (
        '\nfinishing this step, then saving; once more stops at once\n')
