"""Recordings as they come: exit code, frames read, and the sentence about what is missing."""

import json

import pytest

from helpers import bag_quirks
from helpers.bag_world import (
    CAMERA,
    cell_xyxy,
    coco,
    detections,
    images,
    NAMES,
    raw,
    SIX_OBJECTS,
    six_pictures,
    stamp,
    write_bag,
)
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.evaluation.runs import many_bags
from mbv2ssd_ros.tools.evaluate_bag import main
from mbv2ssd_ros.tools.label_bag import main as label_bag

pytestmark = pytest.mark.needs('faster_coco_eval')


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """Return a function that evaluates paths: exit code, metrics, and what was printed."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / 'tiny.onnx')

    def run(*arguments, model=True):
        chosen = ['--model', 'tiny.onnx'] if model else []
        code = main([*map(str, arguments), *chosen, '--output', 'out'])
        file = tmp_path / 'out' / 'metrics.json'
        shown = capsys.readouterr()
        return code, json.loads(file.read_text()) if file.is_file() else None, (
            shown.out + shown.err)
    return run


@pytest.mark.parametrize('make', [
    bag_quirks.other_channels, bag_quirks.no_profile, bag_quirks.no_message_index,
    bag_quirks.no_index, bag_quirks.no_repeated_schemas, bag_quirks.no_repeated_channels,
    bag_quirks.two_types_under_one_name, bag_quirks.folder_named_like_ros1, bag_quirks.other_qos,
    bag_quirks.no_storage_identifier, bag_quirks.byte_order_mark, bag_quirks.capital_suffix,
    bag_quirks.file_of_macos, bag_quirks.split, bag_quirks.split_and_partly_packed])
def test_a_whole_recording_is_read_whole(tmp_path, evaluate, make):
    code, found, shown = evaluate(make(tmp_path / 'data'))
    assert (code, found['complete'], found['frames']['read']) == (0, True, 6), shown


@pytest.mark.parametrize(('make', 'frames', 'expected'), [
    (bag_quirks.part_missing, 4, 'of run the parts 1 are missing; copy all files of the bag'),
    (bag_quirks.listed_part_missing, 4, 'run_2.db3: is listed in metadata.yaml and missing'),
    (bag_quirks.part_renamed, 4, 'two.db3: is not listed in metadata.yaml and was not read'),
    (bag_quirks.no_frame_can_be_decoded, 6, 'not one frame was answered: sensor_msgs/msg/Image of '
     '7 bytes cannot be deserialised')])
def test_a_recording_that_is_not_whole_fails_and_says_why(tmp_path, evaluate, make, frames,
                                                          expected):
    code, found, shown = evaluate(make(tmp_path / 'data'))
    assert (code, found['complete'], found['frames']['read']) == (1, False, frames)
    assert expected in found['incomplete_because'] and expected in shown


def test_all_recordings_of_a_folder_are_evaluated(tmp_path, evaluate):
    folder = tmp_path / 'data'
    for name in ('monday', 'week/tuesday'):
        write_bag(folder / name, images(six_pictures()))
    for number in (1, 2):
        bag = write_bag(tmp_path / f'run_{number}', images(six_pictures()))
        (bag / f'run_{number}.mcap').rename(folder / f'run_{number}.mcap')
    code, found, _ = evaluate(folder)
    assert (code, found['frames']['read']) == (0, 24)
    assert sorted(found['bags']) == ['monday', 'run_1', 'run_2', 'tuesday']
    (tmp_path / 'out').rename(folder / 'results')  # whose detections.mcap are no recordings
    code, found, _ = evaluate(folder)
    assert (code, found['frames']['read']) == (0, 24)


def test_a_set_in_which_a_bag_has_no_readable_frame_is_not_complete(tmp_path, evaluate):
    write_bag(tmp_path / 'data' / 'whole', images(six_pictures()))
    bag_quirks.no_frame_can_be_decoded(tmp_path / 'data')
    code, found, shown = evaluate(tmp_path / 'data')
    assert (code, found['complete']) == (1, False)
    assert 'run: not one frame was answered' in shown and '1 of 2 bags are not whole' in shown


def test_an_unforeseen_exception_in_one_bag_does_not_end_the_set(tmp_path, evaluate, monkeypatch):
    for name in ('monday', 'tuesday'):
        write_bag(tmp_path / 'data' / name, images(six_pictures()))
    perform = many_bags.perform

    def failing(task, progress_of):
        if task.bag.name == 'monday':
            raise RuntimeError('unforeseen')
        return perform(task, progress_of)

    monkeypatch.setattr(many_bags, 'perform', failing)
    code, found, shown = evaluate(tmp_path / 'data')
    assert (code, found['complete'], found['frames']['read']) == (1, False, 6)
    assert "monday: failed: RuntimeError('unforeseen')" in shown


def recorded(tmp_path, *, stamp_of=stamp, late_ns=0, names=NAMES):
    """Write six frames and their detections, 9 ms later; late_ns is added to their stamps."""
    found = [('/found', stamp(k) + 9_000_000, detections(
        [(label, 0.9, cell_xyxy(row, column)) for label, row, column in SIX_OBJECTS[k]],
        stamp_of(k) + late_ns, names)) for k in range(6)]
    frames = [(CAMERA, stamp(k), raw(image, stamp_of(k)))
              for k, image in enumerate(six_pictures())]
    (tmp_path / 'truth.json').write_text(json.dumps(coco(
        [(f'frame_{k}.jpg', objects) for k, objects in enumerate(SIX_OBJECTS)])))
    return write_bag(tmp_path / 'run', sorted(frames + found, key=lambda item: item[1]))


@pytest.mark.parametrize(('late_ns', 'answered', 'code'), [
    (1000, 6, 0), (4_999_000, 6, 0), (5_001_000, 0, 1)])
def test_recorded_detections_belong_to_the_nearest_frame(tmp_path, evaluate, late_ns, answered,
                                                         code):
    bag = recorded(tmp_path, late_ns=late_ns)
    got, found, _ = evaluate(bag, '--recorded', '/found', model=False)
    assert (got, found['frames']['answered']) == (code, answered)
    if code:
        assert ('no detections were recorded within 5 ms of its stamp; the nearest are 5.001 ms '
                'away (--tolerance-ms)') in found['incomplete_because']


def test_cameras_and_detectors_without_stamps_are_paired_by_recording(tmp_path, evaluate):
    bag = recorded(tmp_path, stamp_of=lambda k: 0)
    code, _, shown = evaluate(bag, '--recorded', '/found', model=False)
    assert code == 1 and '--clock recorded pairs times of recording' in shown
    code, found, _ = evaluate(bag, '--recorded', '/found', '--clock', 'recorded',
                              '--tolerance-ms', '10', '--ground-truth', 'truth.json', model=False)
    assert (code, found['frames']['answered'], found['accuracy']['map_50']) == (0, 6, 1.0)


def test_recorded_class_numbers_against_named_truth_are_refused(tmp_path, evaluate):
    bag = recorded(tmp_path, names=('1', '2'))
    code, found, shown = evaluate(bag, '--recorded', '/found', '--ground-truth', 'truth.json',
                                  model=False)
    assert (code, found) == (1, None)
    assert 'have the classes 1, 2, truth.json has green, red: not one in common' in shown


@pytest.mark.parametrize('key', ['images', 'categories'])
def test_truth_with_an_id_twice_is_refused(tmp_path, evaluate, key):
    bag = recorded(tmp_path)
    truth = json.loads((tmp_path / 'truth.json').read_text())
    truth[key][1]['id'] = truth[key][0]['id']
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    code, found, shown = evaluate(bag, '--ground-truth', 'truth.json')
    assert (code, found) == (1, None)
    assert f'truth.json: {key}[0] and {key}[1] both have the id 1; number them anew' in shown


@pytest.mark.parametrize(('entry', 'expected'), [
    ({'stamp_ns': 2 ** 63},
     'truth.json: frame_0.jpg: the stamp is 9223372036854775808 ns, expected 0 to'),
    ({'width': float('inf')},
     'truth.json: image frame_0.jpg: its size is inf x 64, expected pixels')])
def test_truth_with_impossible_numbers_is_refused(tmp_path, evaluate, entry, expected):
    bag = recorded(tmp_path)
    truth = json.loads((tmp_path / 'truth.json').read_text())
    truth['images'][0].update(entry)
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    code, _, shown = evaluate(bag, '--ground-truth', 'truth.json')
    assert code == 1 and expected in shown


def test_label_bag_says_that_frames_share_a_stamp(tmp_path, evaluate, capsys):
    bag = recorded(tmp_path, stamp_of=lambda k: 0)
    arguments = [str(bag), '--model', 'tiny.onnx', '--every', '0']
    label_bag([*arguments, '--output', 'data'])
    assert ('5 duplicate_stamp' in (shown := capsys.readouterr().out)
            and 'has the stamp 0 ns twice; --clock recorded takes' in shown)
    assert label_bag([*arguments, '--output', 'all', '--clock', 'recorded']) == 0
    assert '6 labelled' in capsys.readouterr().out
