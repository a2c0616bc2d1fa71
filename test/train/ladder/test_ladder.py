"""
Ladders: which rows there are, what is run, what the table says.

One ladder is run through the program itself, on eight images: 20 seconds of CPU time.
"""

import json
import os
from pathlib import Path
import signal
import sys
import threading

import pytest
import yaml

from helpers.model_settings import SMALL
from helpers.paths import ROOT
from helpers.synthetic import SHAPES, write_world
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli import ladder as verb
from mbv2ssd_train.cli import main
from mbv2ssd_train.ladder.rows import choose_rows, collect, read_rows, Result
from mbv2ssd_train.ladder.table import to_markdown
from mbv2ssd_train.run.folder import RunFolder

LADDER = ROOT / 'config/train/ladder'
BASELINE = {
    'name': 'baseline', 'experiment': {'description': 'as it is'},
    'data': {'train': ['train'], 'val': 'val', 'classes': list(SHAPES), 'workers': 1},
    'model': SMALL,
    'training': {'epochs': 1, 'batch_size': 4, 'eval_every': 1, 'threads': 1, 'device': 'cpu'}}


@pytest.fixture(autouse=True)
def environment():
    """Let what read_rows sets end with the test."""
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:
        del os.environ[name]


def write_rows(folder, root='nowhere', **rows):
    """Write a baseline and rows that are based on it, in this order."""
    folder.mkdir(exist_ok=True)
    contents = {'01_baseline': {**BASELINE, 'data': {**BASELINE['data'], 'root': str(root)}}}
    for number, (name, changes) in enumerate(rows.items(), 2):
        contents[f'{number:02}_{name}'] = {
            'based_on': '01_baseline.yaml', 'name': name,
            'experiment': {'description': f'{name} it is'}, **changes}
    for stem, content in contents.items():
        (folder / f'{stem}.yaml').write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize('folder, prefix, least', [
    (LADDER, 'ladder', 17), (LADDER.with_name('ladder_finetune'), 'finetune', 12)])
def test_the_rows_of_the_package_each_change_something_of_another_one(folder, prefix, least):
    rows = {row.name: row for row in read_rows(folder, Path('runs'))}
    assert len(rows) >= least and list(rows)[0] == 'baseline'
    for row in list(rows.values())[1:]:
        base = rows[row.based_on]
        same = row.config.model_copy(update={'name': base.config.name})
        assert same.recipe_fingerprint() != base.config.recipe_fingerprint(), row.name
        assert row.config.name == f'{prefix}_{row.name}' and row.change
        assert (row.config.data.val, row.config.seed) == ('voc07_trainval@0/10', 1)
        assert not any('test' in split for split in row.config.data.train)


def test_the_teacher_has_the_prior_boxes_and_the_input_of_its_pupil():
    rows = {row.name: row.config for row in read_rows(LADDER, Path('runs'))}
    teacher, pupil = rows['teacher'], rows['distilled']
    assert teacher.model.prior_levels() == pupil.model.prior_levels()
    assert pupil.distill.teacher == str(RunFolder(Path('runs'), teacher).best)


def test_a_pupil_is_the_same_experiment_wherever_its_teacher_lies():
    here, there = (read_rows(LADDER, Path(runs))[-1].config for runs in ('runs', '/elsewhere'))
    assert here.distill.teacher != there.distill.teacher
    assert here.recipe_fingerprint() == there.recipe_fingerprint()


@pytest.mark.parametrize('name, content, said', [
    ('two.yaml', {}, r'two\.yaml: the name of a row is NUMBER_ROW.yaml'),
    ('02_same.yaml', {'based_on': '01_baseline.yaml'},
     r"02_same\.yaml: its name 'baseline' is that of .*01_baseline\.yaml"),
    ('02_baseline.yaml', {'based_on': '01_baseline.yaml', 'name': 'x'}, 'is that of .*01_base')])
def test_rows_that_could_be_mistaken_are_refused(tmp_path, name, content, said):
    folder = write_rows(tmp_path / 'ladder')
    (folder / name).write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=said):
        read_rows(folder, tmp_path)


def test_a_folder_without_rows_is_named(tmp_path):
    with pytest.raises(ConfigError, match='nowhere: no folder with rows of a ladder'):
        read_rows(tmp_path / 'nowhere', tmp_path)


def test_rows_are_chosen_in_the_order_of_the_ladder(tmp_path):
    rows = read_rows(write_rows(tmp_path / 'ladder', a={'seed': 2}, b={'seed': 3}), tmp_path)
    assert [row.name for row in choose_rows(rows, [])] == ['baseline', 'a', 'b']
    assert [row.name for row in choose_rows(rows, ['b', 'baseline'])] == ['baseline', 'b']
    with pytest.raises(ConfigError, match="'c' is no row of this ladder; it has baseline, a, b"):
        choose_rows(rows, ['c'])


# --- the table


def result(row, map_50=None, based_on='baseline', **changes):
    facts = {'change': 'x', 'seed': 1, 'split': 'val', 'epochs': 60, 'parameters': 3_384_452,
             'macs': 764_219_776, 'status': 'success', 'reason': None, 'run': f'{row}_0123',
             'best_epoch': 55.0, 'elapsed_s': 3720.0}
    return Result(row=row, map_50=map_50, based_on=based_on, **{**facts, **changes})


def cells(results):
    return [[cell.strip() for cell in line.strip('| ').split(' | ')]
            for line in to_markdown(results).splitlines()[4:]]


def test_a_row_says_what_it_cost_and_what_it_gained():
    found = cells([result('baseline', 0.6, None), result('giou', 0.613)])
    assert found[1] == ['giou', 'x', '1', '61.3', 'baseline +1.3', '', '0.76', '3.38', '55 of 60',
                        '1 h 2 min', '`giou_0123`']


def test_runs_are_compared_with_the_same_seed_only():
    found = cells([result('baseline', 0.6, None), result('giou', 0.7, seed=2)])
    assert found[1][4] == 'baseline'


def test_what_goes_on_is_not_compared():
    found = cells([result('baseline', 0.6, None), result('giou', 0.7, status='running')])
    assert found[1][4] == 'baseline' and found[1][-1] == 'running'


def test_figures_of_the_test_split_are_named_by_it():
    text = to_markdown([result('baseline', 0.6, None, test={'split': 'voc07', 'map_50': 0.58})])
    assert '`voc07`' in text.splitlines()[0] and ' | 58.0 | ' in text


def test_what_is_changed_in_all_rows_stands_above_the_table():
    overrides = ['training.epochs=2', 'seed=3', 'data.keep=memory']
    first, *_ = to_markdown([result('baseline')], overrides).splitlines()
    # rows of other seeds stand in the table, too
    assert first.endswith('In all rows: `training.epochs=2 data.keep=memory`.')


def test_what_stopped_a_run_stands_below_the_table():
    found = to_markdown([result('baseline'), result(
        'giou', status='failed', reason='the disk is full')]).splitlines()
    assert found[5].endswith('| failed |')
    assert found[-1] == '| `giou_0123` | the disk is full |'


def test_why_a_run_failed_is_read_from_its_folder(tmp_path):
    row, = read_rows(write_rows(tmp_path / 'ladder'), tmp_path)
    folder = RunFolder(tmp_path, row.config)
    folder.open(False, ['train'])
    folder.set_status('failed', reason='the disk is full')
    found, = collect([row], tmp_path)
    assert (found.status, found.reason) == ('failed', 'the disk is full')


# --- what is run


class Options:
    """Of a command line."""

    overrides, test, table = ['training.epochs=1'], None, False

    def __init__(self, runs):
        self.runs = runs


@pytest.fixture
def asked(monkeypatch):
    """Arguments of the programs that would have been run."""
    found = []
    monkeypatch.setattr(verb, '_run_program', lambda words: found.append(words) or 0)
    return found


def test_a_row_begins_goes_on_and_ends(tmp_path, asked):
    row, = read_rows(write_rows(tmp_path / 'ladder'), tmp_path)
    begin = ['train', str(row.path), 'training.epochs=1', '--runs', str(tmp_path)]
    assert verb._train(row, Options(tmp_path))
    folder = RunFolder(tmp_path, row.config)
    folder.open(False, ['train'])
    folder.last.write_bytes(b'weights')
    folder.set_status('preempted')
    assert verb._train(row, Options(tmp_path))
    assert asked == [begin, [*begin, '--resume']]
    folder.set_status('success')
    assert verb._train(row, Options(tmp_path)) and len(asked) == 2


def test_a_test_split_is_measured_once_for_a_checkpoint(tmp_path, asked):
    row, = read_rows(write_rows(tmp_path / 'ladder', root='here'), tmp_path)
    folder, options = RunFolder(tmp_path, row.config), Options(tmp_path)
    options.test = 'test'
    with pytest.raises(
            ConfigError, match=r'best\.pt: no checkpoint to evaluate; train baseline first'):
        verb._test(row, options)
    folder.checkpoints.mkdir(parents=True)
    folder.best.write_bytes(b'weights')
    verb._test(row, options)
    figures = folder.path / 'test.json'
    assert asked == [['eval', '--model', str(folder.best), '--data', 'here', '--split', 'test',
                      '--json', str(figures)]]
    figures.write_text('{"split": "test", "map_50": 0.5}')
    verb._test(row, options)
    assert len(asked) == 1
    os.utime(folder.best, (2e9, 2e9))  # a better one has come
    verb._test(row, options)
    assert len(asked) == 2


def test_rows_to_measure_are_named(tmp_path, capsys):
    folder = write_rows(tmp_path / 'ladder')
    assert main(['ladder', str(folder), '--runs', str(tmp_path), '--test', 'test']) == 1
    assert '--test evaluates the rows of --only' in capsys.readouterr().err


def test_a_signal_reaches_the_run_once_and_ends_the_ladder(tmp_path, monkeypatch):
    # each signal that it gets is a line; it ends half a second after the first
    script = '''if True:
        import pathlib, signal, sys, time
        log = pathlib.Path(sys.argv[1])
        def note(*_):
            with log.open('a') as file:
                file.write('signal\\n')
        signal.signal(signal.SIGINT, note)
        log.write_text('')
        while not log.read_text():
            time.sleep(0.05)
        time.sleep(0.5)
        sys.exit(130)'''
    log = tmp_path / 'log'
    monkeypatch.setattr(verb, '_PROGRAM', (sys.executable, '-c', script))
    monkeypatch.setattr(verb, '_POLL_S', 0.05)

    def interrupt():
        while not log.exists():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(verb.LadderError, match='the same command resumes') as found:
        verb._run_program([str(log)])
    thread.join()
    assert found.value.exit_code == 130 and log.read_text() == 'signal\n'


# --- the whole way


@pytest.fixture(scope='module')
def climbed(tmp_path_factory):
    """A ladder of which one row cannot be trained; the program's exit code."""
    folder = tmp_path_factory.mktemp('climbed')
    write_rows(folder / 'ladder', write_world(folder / 'world', train=6, val=2, test=2),
               broken={'data': {'train': ['missing']}}, neck={'model': {'neck': 'fpn_lite'}})
    code = main(['ladder', str(folder / 'ladder'), '--runs', str(folder / 'runs')])
    return folder, code


@pytest.mark.slow
def test_rows_behind_one_that_fails_are_run(climbed, capsys):
    folder, code = climbed
    found = json.loads((folder / 'runs/ladder.json').read_text())
    assert code == 1
    assert [(row['row'], row['status'], row['split']) for row in found] == [
        ('baseline', 'success', 'val'), ('broken', 'not run', 'val'), ('neck', 'success', 'val')]
    assert all(0 <= row['map_50'] <= 1 and row['elapsed_s'] > 0 and row['best_epoch'] == 1
               for row in found if row['run'])
    assert found[2]['command'].split()[:3] == [
        'mbv2ssd_train', 'train', str(folder / 'ladder/03_neck.yaml')]
    assert found[2]['parameters'] != found[0]['parameters']


@pytest.mark.slow
def test_what_has_ended_is_not_run_again_and_the_test_split_is_measured_on_request(climbed):
    folder, _ = climbed
    ladder = ['ladder', str(folder / 'ladder'), '--runs', str(folder / 'runs'), '--only', 'neck']
    last, = (folder / 'runs').glob('neck_*/checkpoints/last.pt')
    before = last.stat().st_mtime_ns
    assert main([*ladder, '--test', 'test']) == 0
    assert last.stat().st_mtime_ns == before
    found = {row['row']: row['test'] for row in json.loads(
        (folder / 'runs/ladder.json').read_text())}
    assert found['baseline'] == {} and found['neck']['split'] == 'test'


@pytest.mark.slow
def test_the_table_is_of_runs_with_these_values_whatever_their_seed(climbed):
    folder, _ = climbed
    for override, status in (('seed=2', 'success'), ('training.epochs=2', 'not run')):
        rows = read_rows(folder / 'ladder', folder / 'runs', [override])
        assert collect(rows, folder / 'runs')[0].status == status
