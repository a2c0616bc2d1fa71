"""A bag becomes a data set that training reads, and its labels lead back to the bag."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from helpers.bag_world import (
    CAMERA,
    cell_xyxy,
    compressed,
    detections,
    FRONT,
    images,
    picture,
    raw,
    REAR,
    RED,
    SIX_OBJECTS,
    six_pictures,
    stamp,
    write_bag,
)
from helpers.needs import need
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.evaluation.runs import labels as bag_labels
from mbv2ssd_ros.tools import evaluate_bag
from mbv2ssd_ros.tools.label_bag import main

ALL = ('--every', '0')


@pytest.fixture
def label(tmp_path, monkeypatch):
    """Return a function that labels the bag `drive` into `data`."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / 'tiny.onnx')
    write_bag(tmp_path / 'drive', images(six_pictures()))

    def run(*arguments, bag='drive', output='data'):
        return main([bag, '--model', 'tiny.onnx', '--output', output, *arguments])
    return run


def labels(tmp_path, split='train'):
    return json.loads((tmp_path / 'data' / f'{split}.json').read_text())


def test_training_reads_what_was_labelled(label, tmp_path):
    need('pydantic')
    sources = need('mbv2ssd_train.data.sources.open')
    assert label(*ALL, '--format', 'png') == 0
    dataset = sources.open_dataset(tmp_path / 'data', 'train', ('red', 'green'))
    assert len(dataset) == 6
    for index, (image, objects) in enumerate(zip(six_pictures(), SIX_OBJECTS, strict=True)):
        np.testing.assert_array_equal(dataset.image(index), image)
        found = dataset.records[index].ground_truth((64, 96))
        assert found.labels.tolist() == [item[0] for item in objects]
        np.testing.assert_allclose(
            found.boxes_xyxy, np.array([cell_xyxy(r, c) for _, r, c in objects]).reshape(-1, 4),
            atol=0.01)


def test_the_labels_are_ground_truth_of_the_same_bag(label, tmp_path):
    need('faster_coco_eval')
    label(*ALL)
    assert evaluate_bag.main(['drive', '--model', 'tiny.onnx', '--ground-truth',
                              'data/train.json', '--output', 'out']) == 0
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['pairing']['paired'] == 6 and metrics['accuracy']['map_50'] == 1


def test_images_and_boxes_carry_what_annotation_tools_want(label, tmp_path):
    label(*ALL)
    found = labels(tmp_path)
    assert found['images'][3] == {
        'id': 4, 'file_name': 'camera__image_raw-1700000000_300000000.jpg', 'width': 96,
        'height': 64, 'stamp_ns': stamp(3), 'topic': CAMERA}
    assert found['annotations'][2] == {
        'id': 3, 'image_id': 4, 'category_id': 1, 'bbox': [32, 16, 16, 16], 'area': 256,
        'iscrowd': 0, 'segmentation': [], 'score': 1}
    assert [item['name'] for item in found['categories']] == ['red', 'green']
    path = tmp_path / 'data' / 'images' / 'train' / found['images'][3]['file_name']
    assert cv2.imread(str(path)).shape == (64, 96, 3)


@pytest.mark.parametrize(('every', 'kept'), [
    ('0', [0, 1, 2, 3, 4, 5]), ('0.2', [0, 2, 4]), ('0.15', [0, 2, 4]), ('9', [0])])
def test_neighbours_are_passed_over(label, tmp_path, every, kept):
    assert label('--every', every) == 0
    assert [item['stamp_ns'] for item in labels(tmp_path)['images']] == [
        stamp(k) for k in kept]


def test_frames_without_objects_can_be_left_out(label, tmp_path, capsys):
    assert label(*ALL, '--only-with-objects') == 0
    assert len(labels(tmp_path)['images']) == 5
    assert '6 frames read, 5 labelled with 6 boxes, 1 without object' in capsys.readouterr().out


def test_compressed_images_are_kept_as_they_were_recorded(label, tmp_path):
    shown = picture((0, 0, RED))
    message = compressed(shown, stamp(0), '.png')
    turned = compressed(shown, stamp(1), '.jpg')
    exif = b'\xff\xe1\x00\x0aExif\0\0AB'  # an APP1 segment behind the start of the image
    turned.data = np.frombuffer(
        turned.data[:2].tobytes() + exif + turned.data[2:].tobytes(), np.uint8)
    write_bag(tmp_path / 'encoded', [(CAMERA, stamp(0), message), (CAMERA, stamp(1), turned)])
    assert label(*ALL, bag='encoded') == 0
    folder = tmp_path / 'data' / 'images' / 'train'
    first, second = sorted(folder.iterdir())
    assert first.suffix == '.png' and first.read_bytes() == message.data.tobytes()
    assert second.suffix == '.jpg' and b'Exif' not in second.read_bytes()


def test_cameras_with_equal_stamps_get_different_names(label, tmp_path):
    write_bag(tmp_path / 'two', [*images([picture()], FRONT), *images([picture()], REAR)])
    assert label('--topic', FRONT, '--topic', REAR, bag='two') == 0
    assert [item['file_name'].split('-')[0] for item in labels(tmp_path)['images']] == [
        'front__image_raw', 'rear__image_raw']


def test_what_cannot_be_labelled_is_counted(label, tmp_path, capsys):
    odd = raw(picture(), stamp(1), encoding='32FC1')
    write_bag(tmp_path / 'odd', [
        *images([picture()]), (CAMERA, stamp(1), odd),
        (CAMERA, stamp(2), raw(picture(), stamp(0)))])
    assert label(*ALL, bag='odd') == 0
    assert '1 labelled with 0 boxes, 1 duplicate_stamp, 1 undecodable' in capsys.readouterr().out


def test_a_second_bag_becomes_another_split(label, tmp_path):
    assert label() == 0 and label('--split', 'val') == 0
    found = yaml.safe_load((tmp_path / 'data' / 'dataset.yaml').read_text())
    assert found == {'classes': ['red', 'green'], 'splits': {
        'train': {'images': 'images/train', 'annotations': 'train.json'},
        'val': {'images': 'images/val', 'annotations': 'val.json'}}}


def test_corrected_labels_are_never_overwritten(label, tmp_path, capsys):
    label()
    before = (tmp_path / 'data' / 'train.json').read_bytes()
    assert label() == 1
    assert "has a split 'train' already, which may be corrected" in capsys.readouterr().err
    (tmp_path / 'data' / 'dataset.yaml').unlink()
    assert label() == 1
    assert 'images/train: exists already' in capsys.readouterr().err
    assert (tmp_path / 'data' / 'train.json').read_bytes() == before


@pytest.mark.parametrize(('text', 'expected'), [
    ('classes: [cat]\nsplits: {}\n', 'has the classes cat, the model knows red, green'),
    ('hello', 'dataset.yaml: expected classes and splits'), ('[', 'expected classes and splits'),
])
def test_a_folder_of_other_data_is_refused(label, tmp_path, capsys, text, expected):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'dataset.yaml').write_text(text)
    assert label() == 1
    assert expected in capsys.readouterr().err


def test_an_interrupted_bag_is_a_data_set_of_what_was_done(label, tmp_path, monkeypatch, capsys):
    frames = bag_labels.read_frames

    def interrupted(*arguments):
        for frame in frames(*arguments):
            if frame.number == 2:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(bag_labels, 'read_frames', interrupted)
    assert label(*ALL) == 130
    assert len(labels(tmp_path)['images']) == 2
    assert 'incomplete: interrupted after 2 frames' in capsys.readouterr().err


def test_a_full_disk_leaves_a_data_set_of_what_was_done(label, tmp_path, monkeypatch, capsys):
    write = Path.write_bytes

    def until_full(path, content):
        if '00000_300000000' in path.name:
            raise OSError(28, 'No space left on device')
        return write(path, content)

    monkeypatch.setattr(Path, 'write_bytes', until_full)
    assert label(*ALL) == 1
    assert 'incomplete: data/images/train.partial/camera' in capsys.readouterr().err
    assert len(labels(tmp_path)['images']) == 3


def test_a_bag_without_usable_frame_is_an_error(label, tmp_path, capsys):
    write_bag(tmp_path / 'odd', images([picture()], make=lambda *a: raw(*a, encoding='32FC1')))
    assert label(bag='odd') == 1
    shown = capsys.readouterr()
    assert 'not one of its 1 frames was labelled' in shown.err
    assert "1 undecodable\nfirst error: encoding '32FC1' is a depth image" in shown.out
    assert label(*ALL) == 0  # into the same folder, since nothing is there to be lost
    write_bag(tmp_path / 'other', [('/found', 1, detections([], 1))])
    assert label(bag='other', output='more') == 1
    assert 'has no topic with images' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--split', '../x'], ['--split', 'a b'], ['--every', '-1']])
def test_values_out_of_range_are_refused_where_they_are_typed(label, capsys, arguments):
    with pytest.raises(SystemExit):
        label(*arguments)
    assert f'argument {arguments[0]}' in capsys.readouterr().err
