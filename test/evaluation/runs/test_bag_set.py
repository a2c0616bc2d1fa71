"""Several bags give the same figures on one process, on several, and on a cluster."""

import json
import shutil
import sqlite3

import pytest

from helpers.bag_world import (
    coco,
    GREEN,
    images,
    picture,
    RED,
    SIX_OBJECTS,
    six_pictures,
    write_bag,
    write_ros1_bag,
)
from helpers.needs import need
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.evaluation.bags.parts import is_bag
from mbv2ssd_ros.evaluation.runs.many_bags import find_bags, folder_name
from mbv2ssd_ros.tools.evaluate_bag import main

pytestmark = pytest.mark.needs('faster_coco_eval')


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Return a function that evaluates the folder `bags` with its three bags."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / 'tiny.onnx')
    (tmp_path / 'bags').mkdir()
    write_bag(tmp_path / 'bags' / 'monday', images(six_pictures()))
    # one false detection, one missed object
    write_bag(tmp_path / 'bags' / 'tuesday', images(
        [picture((0, 0, RED)), picture((1, 1, GREEN)), picture((2, 2, GREEN))]), 'sqlite3')
    write_ros1_bag(tmp_path / 'bags' / 'wednesday.bag', six_pictures()[::-1])
    for name, objects in (('monday', SIX_OBJECTS), ('wednesday', SIX_OBJECTS[::-1]),
                          ('tuesday', ([(1, 0, 0), (1, 3, 3)], [(2, 1, 1)], []))):
        (tmp_path / f'{name}.json').write_text(json.dumps(coco(
            [(f'{k}.jpg', found) for k, found in enumerate(objects)])))

    def run(*arguments, bags=('bags',)):
        return main([*bags, '--model', 'tiny.onnx', '--ground-truth', '{bag}.json',
                     *arguments])
    return run


def figures(folder):
    found = json.loads((folder / 'metrics.json').read_text())
    del found['latency']
    return found


def assert_equal(folder, other):
    """Check that all files but those of latency are the same, of each bag and of all."""
    assert figures(folder) == figures(other)
    for bag in ('monday', 'tuesday', 'wednesday'):
        assert figures(folder / bag) == figures(other / bag)
        for name in ('frames.csv', 'detections.mcap'):
            assert (folder / bag / name).read_bytes() == (other / bag / name).read_bytes()


def test_bags_are_measured_as_one_long_recording(world, tmp_path, capsys):
    assert world('--output', 'out') == 0
    found = figures(tmp_path / 'out')
    assert found['complete'] and found['frames']['read'] == found['frames']['scored'] == 15
    assert [bag['frames']['read'] for bag in found['bags'].values()] == [6, 3, 6]
    chosen = found['accuracy']['overall']['at_score_threshold']
    assert (chosen['correct'], chosen['false'], chosen['missed']) == (14, 1, 1)
    assert 'monday: 6 of 6 frames answered, mAP@0.5 1.0000' in capsys.readouterr().out
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'id="bags-table"' in page and 'tuesday 1700000000.000000000' in page
    assert page.count('data:image/jpeg') == 2  # the worst frames, read from their bags
    for name in ('monday', 'tuesday', 'wednesday'):
        assert (tmp_path / 'out' / name / 'report.html').is_file()


def test_processes_give_the_same_figures(world, tmp_path):
    assert world('--output', 'one') == 0
    assert world('--output', 'several', '--workers', '2') == 0
    assert_equal(tmp_path / 'several', tmp_path / 'one')


def test_a_dask_cluster_gives_the_same_figures(world, tmp_path):
    distributed = need('distributed')
    assert world('--output', 'one') == 0
    with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        assert world('--output', 'dask', '--scheduler', cluster.scheduler_address) == 0
    assert_equal(tmp_path / 'dask', tmp_path / 'one')


def test_a_scheduler_that_is_not_there_is_named(world, capsys):
    need('distributed')
    assert world('--scheduler', 'nonsense://nowhere') == 1
    assert '--scheduler nonsense://nowhere: no Dask scheduler' in capsys.readouterr().err


@pytest.mark.parametrize('workers', ['1', '2'])
def test_a_bag_that_fails_does_not_stop_the_rest(world, tmp_path, capsys, workers):
    with sqlite3.connect(tmp_path / 'bags' / 'tuesday' / 'tuesday.db3') as database:
        database.execute('DELETE FROM messages WHERE id > 1')
    (tmp_path / 'monday.json').unlink()
    assert world('--output', 'out', '--workers', workers) == 1
    found = figures(tmp_path / 'out')
    assert not found['complete'] and found['frames']['scored'] == 7
    assert 'monday.json: no such annotations' in found['bags']['monday']['error']
    assert 'has 1 messages, the recording had 3' in found['bags']['tuesday']['incomplete_because']
    assert found['bags']['wednesday']['map_50'] == 1
    assert '2 of 3 bags are not whole' in capsys.readouterr().err


def test_no_bag_at_all_is_an_error(world, tmp_path, capsys):
    for path in tmp_path.glob('*.json'):
        path.unlink()
    assert world() == 1
    assert 'not one bag could be evaluated: monday.json: no such' in capsys.readouterr().err


def test_a_baseline_may_be_of_several_bags(world, tmp_path, capsys):
    assert world('--output', 'old') == 0
    assert world('--output', 'new', '--baseline', 'old/metrics.json') == 0
    shutil.copy(tmp_path / 'monday.json', tmp_path / 'tuesday.json')
    assert world('--output', 'new', '--baseline', 'old/metrics.json') == 1
    assert 'mAP@0.5' in capsys.readouterr().out


def test_two_models_cannot_be_compared_on_several_bags_at_once(world, capsys):
    assert world('--compare', 'tiny.onnx') == 1
    assert '--compare takes one bag' in capsys.readouterr().err


def test_work_is_shared_in_one_way_only(world, capsys):
    assert world('--workers', '2', '--scheduler', 'tcp://127.0.0.1:1') == 1
    assert 'give one of them' in capsys.readouterr().err


def test_a_folder_of_one_bag_is_that_bag(world, tmp_path, capsys):
    shutil.rmtree(tmp_path / 'bags' / 'tuesday')
    (tmp_path / 'bags' / 'wednesday.bag').unlink()
    assert world('--workers', '2') == 0  # with {bag} in the path of the truth
    assert (tmp_path / 'monday_evaluation' / 'metrics.json').is_file()
    assert 'there is one bag, which one process evaluates' in capsys.readouterr().err


def test_bags_are_told_from_folders_of_bags(tmp_path):
    for name in ('parts/drive_0.mcap', 'parts/drive_10.mcap', 'many/a.mcap', 'many/b.mcap',
                 'many/notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    assert is_bag(tmp_path / 'parts') and not is_bag(tmp_path / 'many')
    assert find_bags([tmp_path]) == [  # in subfolders too
        tmp_path / 'many' / 'a.mcap', tmp_path / 'many' / 'b.mcap', tmp_path / 'parts']
    assert find_bags([tmp_path / 'many', tmp_path / 'parts']) == [
        tmp_path / 'many' / 'a.mcap', tmp_path / 'many' / 'b.mcap', tmp_path / 'parts']
    assert [folder_name(path) for path in (tmp_path / 'parts', tmp_path / 'many' / 'a.mcap')] == [
        'parts', 'a']
    (tmp_path / 'a.db3').write_bytes(b'')
    with pytest.raises(ConfigError, match='two bags of the same name'):
        find_bags([tmp_path / 'many', tmp_path / 'a.db3'])
