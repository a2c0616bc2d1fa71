"""Run folders: one process at a time, files that a kill leaves whole, the list of runs."""

import errno
import fcntl
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import textwrap

import pytest

from helpers.model_settings import small_run
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.run.checkpoint_store import CheckpointError, CheckpointStore
from mbv2ssd_train.run.environment import command_line
from mbv2ssd_train.run.folder import describe_runs, latest_run, read_status, RunFolder
from mbv2ssd_train.run.lock import RunLock
from mbv2ssd_train.run.metrics_file import MetricsFile


def opened(runs, resume=False, **sections):
    folder = RunFolder(runs, small_run('d', **sections))
    folder.open(resume, ['mbv2ssd_train', 'train'])
    return folder


def with_checkpoint(runs, **sections):
    """A run that ended and left last.pt."""
    folder = opened(runs, **sections)
    folder.last.write_bytes(b'weights')
    folder.close()
    return folder


@pytest.fixture
def other_process():
    """Start Python that runs code, prints a line and waits; killed at the end of the test."""
    started = []

    def start(code):
        process = subprocess.Popen(
            [sys.executable, '-c', textwrap.dedent(code)], text=True, stdout=subprocess.PIPE,
            stdin=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


HOLD = '''
    from pathlib import Path
    from mbv2ssd_train.run.lock import RunLock
    lock = RunLock(Path({path!r}))
    lock.acquire()
    print('held', flush=True)
    input()
'''


def test_a_run_that_another_process_has_is_refused_with_its_number(tmp_path, other_process):
    folder = RunFolder(tmp_path, small_run('d'))
    folder.path.mkdir()
    process = other_process(HOLD.format(path=str(folder.path / 'lock')))
    with pytest.raises(ConfigError, match=f'small_.*is running, process {process.pid} on '):
        folder.open(resume=False)
    assert not (folder.path / 'config.yaml').exists()


def test_a_killed_process_keeps_nobody_out(tmp_path, other_process):
    folder = RunFolder(tmp_path, small_run('d'))
    folder.path.mkdir()
    process = other_process(HOLD.format(path=str(folder.path / 'lock')))
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder.open(resume=False)
    assert json.loads((folder.path / 'lock').read_text())['pid'] == os.getpid()


def test_a_worker_that_outlives_its_killed_parent_keeps_nobody_out(tmp_path, other_process):
    process = other_process('''
        import os, time
        from pathlib import Path
        from mbv2ssd_train.run.lock import RunLock
        lock = RunLock(Path({path!r}))
        lock.acquire()
        child = os.fork()
        if child:
            print(child, flush=True)
            os.kill(os.getpid(), 9)
        os.close(1)
        time.sleep(5)
    '''.format(path=str(tmp_path / 'lock')))
    process.wait()
    lock = RunLock(tmp_path / 'lock')
    lock.acquire()
    assert not lock.is_free()


def test_a_fork_does_not_give_the_lock_away(tmp_path):
    lock = RunLock(tmp_path / 'lock')
    lock.acquire()
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert not RunLock(tmp_path / 'lock').is_free()


def test_a_run_opened_again_in_its_process_belongs_to_the_later_one(tmp_path):
    first = opened(tmp_path)
    second = opened(tmp_path)
    first.close()
    assert not RunLock(second.path / 'lock').is_free()
    second.close()
    assert RunLock(second.path / 'lock').is_free()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def no_locks(file, kind):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    opened(tmp_path)
    assert 'lock: this file system has no locks (No locks available)' in capsys.readouterr().err


def test_a_folder_that_was_refused_is_not_held(tmp_path):
    folder = with_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match='this experiment exists; add --resume'):
        folder.open(resume=False)
    assert RunLock(folder.path / 'lock').is_free()


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(ConfigError, match=r'last\.pt: nothing to resume; leave --resume out to s'):
        opened(tmp_path, resume=True)
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_configuration_is_named_where_there_is_nothing_to_resume(tmp_path):
    other = with_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=rf'to start\. {other.path}: of another configuration'):
        opened(tmp_path, resume=True, training={'epochs': 7})
    with pytest.raises(ConfigError, match='to start$'):
        opened(tmp_path, resume=True, name='another')


def test_a_fresh_start_removes_what_a_run_without_checkpoint_left(tmp_path):
    folder = opened(tmp_path)
    folder.metrics.append({'step': 50})
    folder.set_status('failed')
    (folder.path / 'plots').mkdir()
    folder.close()
    opened(tmp_path)
    assert not (folder.path / 'metrics.jsonl').exists()
    assert not (folder.path / 'plots').exists()
    assert not (folder.path / 'status.json').exists()


def test_resuming_keeps_metrics(tmp_path):
    folder = with_checkpoint(tmp_path)
    folder.metrics.append({'step': 50})
    opened(tmp_path, resume=True)
    assert MetricsFile(folder.path / 'metrics.jsonl').read() == [{'step': 50}]


def test_every_start_is_noted(tmp_path):
    folder = with_checkpoint(tmp_path)
    folder.open(True, ['mbv2ssd_train', 'train', 'my config.yaml', '--resume'])
    first, second = json.loads((folder.path / 'arguments.json').read_text())
    assert first['command'] == 'mbv2ssd_train train'
    assert second['command'] == "mbv2ssd_train train 'my config.yaml' --resume"
    assert {'torch', 'numpy', 'opencv', 'mbv2ssd_ros', 'commit', 'cpu', 'gpus'} <= set(
        second['environment'])


def test_passwords_in_urls_are_not_noted():
    assert command_line(['--run-from', 'https://me:secret@host/run?a=b@c']) == (
        "--run-from 'https://host/run?a=b@c'")


def test_a_broken_arguments_file_is_named(tmp_path):
    folder = with_checkpoint(tmp_path)
    (folder.path / 'arguments.json').write_text('[{')
    with pytest.raises(DataError, match=r'arguments\.json: not JSON.*remove the file'):
        folder.open(resume=True)


# --- status


def test_a_status_that_was_written_is_read(tmp_path):
    folder = opened(tmp_path)
    folder.set_status('preempted', step=7, reason='SIGTERM')
    found = read_status(folder.path)
    assert (found.status, found.facts['step'], found.facts['reason']) == (
        'preempted', 7, 'SIGTERM')
    assert found.facts['pid'] == os.getpid() and found.time.startswith('20')


def test_a_run_is_running_while_its_process_has_it(tmp_path):
    folder = opened(tmp_path)
    folder.set_status('running', step=0)
    assert read_status(folder.path).status == 'running'
    folder.close()
    assert read_status(folder.path).status == 'interrupted'


def test_a_run_that_ended_before_its_status_was_interrupted(tmp_path):
    folder = with_checkpoint(tmp_path)
    assert read_status(folder.path).status == 'interrupted'


@pytest.mark.parametrize('content', ['', '[]', '{"time": ""}', '3'])
def test_a_broken_status_is_named(tmp_path, content):
    (tmp_path / 'status.json').write_text(content)
    with pytest.raises(DataError, match=r'status\.json: not the status of a run'):
        read_status(tmp_path)


# --- metrics.jsonl


def test_a_torn_line_and_lines_of_later_steps_are_dropped(tmp_path):
    metrics = MetricsFile(tmp_path / 'm.jsonl')
    for step in (1, 2, 3):
        metrics.append({'step': step, 'loss': 0.5})
    with metrics.path.open('a') as file:
        file.write('{"step": 2, "lo')
    assert [line['step'] for line in metrics.cut_after(2)] == [1, 2]
    assert metrics.path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.5}\n'
    assert [path.name for path in tmp_path.iterdir()] == ['m.jsonl']


def test_lines_are_cut_where_nothing_was_written(tmp_path):
    assert MetricsFile(tmp_path / 'm.jsonl').cut_after(5) == []
    assert not list(tmp_path.iterdir())


def test_what_is_not_finite_is_null(tmp_path):
    import numpy as np
    import torch
    metrics = MetricsFile(tmp_path / 'm.jsonl')
    metrics.append({'step': 1, 'a': float('nan'), 'b': {'c': [float('inf'), 1.5]},
                    'd': np.float32(0.5), 'e': torch.tensor([1.0, float('nan')])})
    assert metrics.path.read_text() == (
        '{"step": 1, "a": null, "b": {"c": [null, 1.5]}, "d": 0.5, "e": [1.0, null]}\n')


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / 'm.jsonl').write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r'm\.jsonl:2: not JSON: .*remove the line'):
        MetricsFile(tmp_path / 'm.jsonl').read()


def test_a_line_that_is_no_object_is_named(tmp_path):
    (tmp_path / 'm.jsonl').write_text('3\n')
    with pytest.raises(DataError, match=r"m\.jsonl:1: found b'3', expected an object"):
        MetricsFile(tmp_path / 'm.jsonl').read()


# --- checkpoints


def text(value):
    return lambda path: path.write_text(value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_files_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step in (100, 200, 300):
        assert store.save(step, text(str(step))) == tmp_path / f'step_{step:08}.pt'
    store.save_best(text('best'))
    assert names(tmp_path) == ['best.pt', 'last.pt', 'step_00000200.pt', 'step_00000300.pt']
    assert store.last.read_text() == '300' and store.best.read_text() == 'best'
    assert store.steps() == [200, 300]


def test_none_but_the_last_is_kept_with_zero(tmp_path):
    store = CheckpointStore(tmp_path, keep=0)
    store.save(100, text('100'))
    assert store.save(200, text('200')) == store.last
    assert names(tmp_path) == ['last.pt'] and store.last.read_text() == '200'


def test_the_last_file_takes_no_room_of_its_own(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    assert os.path.samefile(store.save(1, text('1')), store.last)


def test_a_file_system_without_links_gets_a_copy(tmp_path, monkeypatch):
    def no_links(source, target):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', no_links)
    store = CheckpointStore(tmp_path, keep=1)
    for step in (1, 2):
        store.save(step, text(str(step)))
    assert store.last.read_text() == '2' and names(tmp_path) == ['last.pt', 'step_00000002.pt']


def test_a_run_that_went_back_forgets_the_later_steps(tmp_path):
    store = CheckpointStore(tmp_path, keep=3)
    for step in (1, 2, 3):
        store.save(step, text(f'old {step}'))
    store.save(2, text('new 2'))
    assert store.steps() == [1, 2] and store.last.read_text() == 'new 2'


def test_leftovers_are_removed(tmp_path):
    (tmp_path / 'step_00000007.pt.partial').write_text('half')
    (tmp_path / 'best.pt.partial.partial').write_text('half')
    CheckpointStore(tmp_path, keep=1)
    assert not names(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before_and_no_remains(tmp_path):
    def no_room(path):
        path.write_text('half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, text('1'))
    with pytest.raises(CheckpointError, match=r'step_00000002\.pt: cannot be written: No space .*'
                                              '--resume from the previous checkpoint'):
        store.save(2, no_room)
    assert store.last.read_text() == '1' and names(tmp_path) == ['last.pt', 'step_00000001.pt']


def test_fewer_than_no_checkpoints_cannot_be_kept(tmp_path):
    with pytest.raises(ConfigError, match='cannot keep -1 checkpoints'):
        CheckpointStore(tmp_path, keep=-1)


class Killed(BaseException):
    """The process ends here; unlike in an error, nothing is put right."""


def killed_at(monkeypatch, call):
    """Let the process end before the given call that changes files, counted from 0."""
    made = 0

    def wrap(real):
        def changed(*arguments, **keywords):
            nonlocal made
            if made == call:
                raise Killed
            made += 1
            return real(*arguments, **keywords)
        return changed

    for module, name in ((os, 'replace'), (os, 'link'), (os, 'fsync'), (Path, 'unlink')):
        monkeypatch.setattr(module, name, wrap(getattr(module, name)))


def torn_write(value):
    """Write in two parts with a point to be killed at between them."""
    def write(path):
        with path.open('w') as file:
            file.write(value[:1])
            file.flush()
            os.fsync(file.fileno())
            file.write(value[1:])
    return write


@pytest.mark.parametrize('keep', [0, 1, 3])
def test_a_kill_at_any_point_leaves_a_whole_last_file_to_go_on_from(tmp_path, monkeypatch, keep):
    outcomes = []
    for call in range(40):
        folder = tmp_path / str(call)
        store = CheckpointStore(folder, keep)
        for step in (1, 2):
            store.save(step, text(f'state {step}'))
        with monkeypatch.context() as patch:
            killed_at(patch, call)
            try:
                store.save(3, torn_write('state 3'))
            except Killed:
                pass
            else:
                break
        outcomes.append(store.last.read_text())
        again = CheckpointStore(folder, keep)
        assert again.last.read_text() == outcomes[-1]
        again.save(3, text('state 3'))
        assert again.last.read_text() == 'state 3' and len(again.steps()) == min(keep, 3)
    assert sorted(set(outcomes)) == ['state 2', 'state 3'] and outcomes == sorted(outcomes)
    assert len(outcomes) >= 6


# --- the list of runs


def touch(path, time_s):
    os.utime(path, (time_s, time_s))


def aged(folder, time_s):
    for path in folder.path.rglob('*'):
        touch(path, time_s)
    return folder


def test_the_latest_run_is_the_one_written_to_last(tmp_path):
    first = aged(with_checkpoint(tmp_path, seed=1), 3000)
    aged(with_checkpoint(tmp_path, seed=2), 2000)
    without = opened(tmp_path, seed=3)
    aged(without, 9000)
    assert latest_run(tmp_path) == first.path


def test_a_folder_without_runs_has_no_latest(tmp_path):
    (tmp_path / 'something else').mkdir()
    for runs in (tmp_path, tmp_path / 'missing'):
        with pytest.raises(ConfigError, match='no run with a checkpoint'):
            latest_run(runs)


def test_runs_are_described_newest_first(tmp_path):
    old = with_checkpoint(tmp_path, seed=1)
    old.metrics.append({'step': 0, 'total_steps': 400})
    old.metrics.append({'step': 100, 'map_50': 0.25})
    old.metrics.append({'step': 200, 'map_50': 0.75})
    old.metrics.append({'step': 300, 'map_50': None})
    old.set_status('success', step=310)
    aged(old, 1000)
    new = aged(with_checkpoint(tmp_path, seed=2), 2000)
    found = describe_runs(tmp_path)
    assert [row.name for row in found] == [new.path.name, old.path.name]
    assert [(row.status, row.step, row.total_steps, row.best_map_50) for row in found] == [
        ('interrupted', 0, None, None), ('success', 310, 400, 0.75)]
    assert found[1].time.startswith('1970-01-01T')


@pytest.mark.parametrize(('name', 'content'), [
    ('metrics.jsonl', '{"kind"\n'), ('status.json', '[]'), ('experiment.json', '3'),
    ('experiment.json', '{')])
def test_a_damaged_run_says_so_and_hides_no_other(tmp_path, name, content, capsys):
    damaged, sound = (with_checkpoint(tmp_path, seed=seed) for seed in (1, 2))
    (damaged.path / name).write_text(content)
    found = {row.name: row for row in describe_runs(tmp_path)}
    assert found[damaged.path.name].status == 'damaged'
    assert f'{damaged.path / name}' in found[damaged.path.name].fault
    assert (found[sound.path.name].status, found[sound.path.name].fault) == ('interrupted', '')
    assert main(['runs', '--runs', str(tmp_path)]) == 0
    assert f'{damaged.path / name}' in capsys.readouterr().out


def test_a_missing_folder_of_runs_is_named(tmp_path):
    with pytest.raises(ConfigError, match='nowhere: no such folder of runs'):
        describe_runs(tmp_path / 'nowhere')


def test_the_program_lists_runs(tmp_path, capsys):
    folder = with_checkpoint(tmp_path)
    folder.metrics.append({'step': 0, 'total_steps': 400})
    folder.metrics.append({'step': 200, 'map_50': 0.75})
    folder.set_status('success', step=310)
    assert main(['runs', '--runs', str(tmp_path)]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ['run', 'status', 'step', 'best', 'mAP@0.5', 'last', 'change']
    assert row.split()[:4] == [folder.path.name, 'success', '310/400', '0.7500']
    assert main(['runs', '--runs', str(tmp_path), '--json']) == 0
    found, = json.loads(capsys.readouterr().out)
    assert (found['name'], found['step'], found['total_steps'], found['best_map_50']) == (
        folder.path.name, 310, 400, 0.75)


def test_the_program_says_that_there_are_no_runs(tmp_path, capsys):
    assert main(['runs', '--runs', str(tmp_path)]) == 0
    assert capsys.readouterr().out == f'no runs in {tmp_path}\n'
    assert main(['runs', '--runs', str(tmp_path / 'nowhere')]) == 1
    assert 'nowhere: no such folder of runs' in capsys.readouterr().err
