"""Recordings as they come: exit code, frames read, and the sentence about what is missing."""

import errno
import json
import shutil

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from helpers import bag_quirks
from helpers.bag_world import (
    CAMERA,
    cell_xyxy,
    coco,
    compressed,
    detections,
    FRONT,
    images,
    NAMES,
    picture,
    raw,
    REAR,
    SECOND,
    SIX_OBJECTS,
    six_pictures,
    stamp,
    write_bag,
    write_ros1_bag,
)
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags import reader
from mbv2ssd_ros.evaluation.bags.foxglove_image import image_content
from mbv2ssd_ros.evaluation.bags.frames import image_topics, read_frames
from mbv2ssd_ros.evaluation.bags.message_types import IMAGE, standard_types
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


def test_notes_in_the_folder_of_a_bag_do_not_spoil_the_resume(tmp_path, evaluate):
    bag = recorded(tmp_path)
    (tmp_path / 'truth.json').rename(bag / 'truth.json')
    assert evaluate(bag, '--ground-truth', bag / 'truth.json')[0] == 0
    (bag / 'notes.txt').write_text('rain')
    (bag / 'truth.json').write_text((bag / 'truth.json').read_text() + '\n')
    assert evaluate(bag, '--ground-truth', bag / 'truth.json')[0] == 0


def test_a_failed_first_try_does_not_refuse_the_corrected_command(tmp_path, evaluate):
    bag = write_bag(tmp_path / 'run', [(FRONT, 1, raw(picture(), 1))])
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'journal.jsonl').write_text('{"inputs": {"topics": ["/wrong"]}}\n')
    code, found, _ = evaluate(bag)
    assert (code, found['frames']['read']) == (0, 1)


def test_label_bag_starts_over_after_a_kill(tmp_path, evaluate, capsys):
    bag = recorded(tmp_path)
    partial = tmp_path / 'data' / 'images' / 'train.partial'
    partial.mkdir(parents=True)
    (partial / 'old.jpg').write_bytes(b'left by a kill')
    assert label_bag([str(bag), '--model', 'tiny.onnx', '--output', 'data', '--every', '0']) == 0
    assert '6 labelled' in capsys.readouterr().out
    assert not partial.exists()
    assert len(list((tmp_path / 'data' / 'images' / 'train').iterdir())) == 6


def test_an_image_topic_without_messages_needs_no_choice(tmp_path, evaluate):
    with Writer(tmp_path / 'run', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        types = standard_types()
        writer.add_connection(REAR, IMAGE, typestore=types)
        camera = writer.add_connection(CAMERA, IMAGE, typestore=types)
        for _, log_ns, message in images(six_pictures()):
            writer.write(camera, log_ns, types.serialize_cdr(message, IMAGE))
    code, found, _ = evaluate(tmp_path / 'run')
    assert (code, found['frames']['read']) == (0, 6)


def test_without_truth_the_terminal_and_the_report_say_what_was_detected(tmp_path, evaluate):
    code, _, shown = evaluate(write_bag(tmp_path / 'run', images(six_pictures())))
    assert code == 0
    assert 'no ground truth; detected above a score of 0.35: 4 red, 2 green' in shown
    report = (tmp_path / 'out' / 'report.html').read_text()
    assert 'Detected above a score of 0.35: 4 red, 2 green.' in report


def test_labels_of_the_base_topic_are_those_of_its_compressed_twin(tmp_path, evaluate):
    twin = f'{FRONT}/compressed'
    messages = sorted([*images(six_pictures(), twin, compressed), *images(six_pictures(), REAR)],
                      key=lambda item: item[1])
    bag = write_bag(tmp_path / 'run', messages)
    (tmp_path / 'truth.json').write_text(json.dumps(coco([
        (f'front__image_raw-{stamp(k) // SECOND}_{stamp(k) % SECOND:09d}.jpg', objects)
        for k, objects in enumerate(SIX_OBJECTS)])))
    code, found, _ = evaluate(bag, '--topic', twin, '--topic', REAR, '--ground-truth',
                              'truth.json')
    assert (code, found['frames']['scored'], found['accuracy']['map_50']) == (0, 6, 1.0)


def test_a_topic_without_a_slash_is_read_under_either_name(tmp_path, evaluate):
    bag = write_ros1_bag(tmp_path / 'run.bag', six_pictures(), 'cam-1/image')
    for topic in ('cam-1/image', '/cam-1/image'):
        code, found, _ = evaluate(bag, '--topic', topic)
        assert (code, found['frames']['read']) == (0, 6)


def test_a_disk_too_small_for_the_content_of_a_bag_is_named(tmp_path, evaluate, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    bag = write_bag(tmp_path / 'run', images(six_pictures()), mode='file')
    monkeypatch.setattr(reader.shutil, 'copyfileobj', full)
    code, _, shown = evaluate(bag)
    assert code == 1 and 'has no space for its content; set TMPDIR to a folder' in shown


def test_the_working_folder_may_be_the_bag(tmp_path, evaluate, monkeypatch):
    bag = write_bag(tmp_path / 'run', images(six_pictures()))
    monkeypatch.chdir(bag)
    assert main(['.', '--model', '../tiny.onnx']) == 0
    assert (bag / 'run_evaluation' / 'metrics.json').is_file()


@pytest.mark.parametrize('old', [b'/camera/image_raw', b'sensor_msgs/msg/Image'])
def test_a_damaged_summary_of_mcap_is_not_believed(tmp_path, evaluate, old):
    file = bag_quirks.write_mcap(tmp_path / 'run.mcap', images(six_pictures()))
    content = file.read_bytes()
    place = content.rfind(old)
    file.write_bytes(content[:place + 1] + b'x' + content[place + 2:])
    code, found, _ = evaluate(file, '--topic', CAMERA)
    assert (code, found['frames']['read']) == (0, 6)


@pytest.mark.parametrize('kind', ['RawImage', 'CompressedImage'])
def test_images_of_foxglove_are_read_as_those_of_ros(tmp_path, kind):
    with reader.Bag(bag_quirks.foxglove_images(tmp_path / 'data', kind)) as bag:
        frames = list(read_frames(bag, image_topics(bag, ())))
    assert [(frame.stamp_ns, frame.frame_id) for frame in frames] == [
        (stamp(k), 'cam') for k in range(6)]
    for frame, expected in zip(frames, six_pictures(), strict=True):
        np.testing.assert_array_equal(frame.image().pixels, expected)


@pytest.mark.parametrize('data', [b'\x0a\xff', b'\x12\x7fabc', b'\xff', b'\x13', b''])
def test_damaged_protobuf_is_a_frame_that_cannot_be_decoded(data):
    with pytest.raises((ValueError, IndexError, KeyError)):
        image_content(data, IMAGE)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('seed', range(6))
def test_no_frame_is_missing_in_silence(tmp_path, storage, seed):
    """What was written is read, or its loss is reported, whatever happens to the files."""
    rng = np.random.default_rng(seed)
    whole = bag_quirks.split(tmp_path / 'whole', storage)
    silent = 0
    for trial in range(20):
        bag = shutil.copytree(whole, tmp_path / f'trial{trial}' / 'run')
        parts = sorted(file for file in bag.iterdir() if file.suffix != '.yaml')
        part = parts[rng.integers(len(parts))]
        content = bytearray(part.read_bytes())
        action = rng.integers(4)
        if action == 0:
            part.write_bytes(content[:rng.integers(len(content))])
        elif action == 1:
            part.unlink()
        elif action == 2:
            part.rename(part.with_stem('other'))
        else:
            for place in rng.integers(0, len(content), 8):
                content[place] ^= 1 << rng.integers(8)
            part.write_bytes(content)
        read, fault = 0, ''
        try:
            with reader.Bag(bag) as opened:
                for _ in opened.messages([CAMERA], [IMAGE]):
                    read += 1
        except DataError as err:
            fault = str(err)
        assert read == 6 or fault, (trial, action)
        silent += not fault
    assert silent < 20  # most damage is seen
