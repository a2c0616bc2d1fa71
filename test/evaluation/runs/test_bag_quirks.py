"""Recordings as they come: exit code, frames read, and the sentence about what is missing."""

import json

import pytest

from helpers import bag_quirks
from helpers.bag_world import images, six_pictures, write_bag
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.evaluation.runs import many_bags
from mbv2ssd_ros.tools.evaluate_bag import main


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """Return a function that evaluates paths: exit code, metrics, and what was printed."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / 'tiny.onnx')

    def run(*arguments):
        code = main([*map(str, arguments), '--model', 'tiny.onnx', '--output', 'out'])
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
