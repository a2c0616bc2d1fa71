"""Packed sets: those of the shared data, hand-made ones, and the round trip of `data pack`."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from helpers.synthetic import add_image, add_list
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import VOC_CLASSES
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.data.sources.packed import write_packed

FIELDS = ['class', 'xmin', 'ymin', 'xmax', 'ymax', 'difficult', 'truncated']
CLASSES = ('bolt', 'nut')


def webp(size_hw=(10, 20), grey=90):
    return cv2.imencode('.webp', np.full((*size_hw, 3), grey, np.uint8))[1].tobytes()


def write_set(folder, members=None, **replaced):
    """A set of one 40 x 20 image `a`, stored at half its size, a nut over its right half."""
    folder.mkdir(exist_ok=True)
    found = {'classes': list(CLASSES), 'object_fields': FIELDS, 'images': {
        'a': {'width': 40, 'height': 20, 'split': 'train',
              'objects': [[1, 21, 1, 40, 20, 0, -1]]}}}
    (folder / 'set.json').write_text(json.dumps({**found, **replaced}))
    with zipfile.ZipFile(folder / 'set.part1.zip', 'w') as archive:
        for name, content in (members or {'a.webp': webp()}).items():
            archive.writestr(name, content)
    return folder


def refused(folder, *said, split='set'):
    with pytest.raises(DataError) as caught:
        open_dataset(folder, split, CLASSES)
    for words in said:
        assert words in str(caught.value)


# the counts of the README next to the data
@pytest.mark.parametrize('name, images, boxes, difficult, parts', [
    ('voc07_trainval', 5008, 15655, 3054, {'train': 2500, 'val': 2508}),
    ('voc07_test', 4952, 14976, 2944, {'test': 4952}),
    ('voc12_animals', 3426, 7168, 777, {'train': 3426})])
def test_the_shared_sets_are_read_whole(shared_data, name, images, boxes, difficult, parts):
    dataset = open_dataset(shared_data / 'voc', name, VOC_CLASSES)
    assert len(dataset) == images
    assert sum(len(record.labels) for record in dataset.records) == boxes
    assert sum(int(record.difficult.sum()) for record in dataset.records) == difficult
    for part, count in parts.items():
        assert len(open_dataset(shared_data / 'voc', f'{name}:{part}', VOC_CLASSES)) == count


def test_a_shared_image_lies_under_its_boxes(shared_data):
    dataset = open_dataset(shared_data / 'voc', 'voc07_test', VOC_CLASSES)
    record, pixels = dataset.records[0], dataset.image(0)
    assert max(pixels.shape[:2]) == 360 < max(record.size_hw)
    truth = record.ground_truth(pixels.shape[:2])
    images = json.loads((shared_data / 'voc/voc07_test.json').read_text())['images']
    found = images[record.image_id]
    scale = np.array([pixels.shape[1] / found['width'], pixels.shape[0] / found['height']] * 2)
    expected = (np.array([item[1:5] for item in found['objects']]) - [1, 1, 0, 0]) * scale
    np.testing.assert_allclose(truth.boxes_xyxy, expected, atol=1e-3)


def test_boxes_are_fractions_of_the_original_size(tmp_path):
    record, = open_dataset(write_set(tmp_path / 'd'), 'set', CLASSES).records
    assert record.boxes_xyxy.tolist() == [[0.5, 0, 1, 1]]
    assert record.labels.tolist() == [2] and record.size_hw == (20, 40)


def test_labels_follow_the_configured_order_not_the_file(tmp_path):
    folder = write_set(tmp_path / 'd')
    record, = open_dataset(folder, 'set', ('nut', 'washer', 'bolt')).records
    assert record.labels.tolist() == [1]


def test_images_come_from_all_parts(tmp_path):
    image = {'width': 40, 'height': 20, 'split': 'train', 'objects': []}
    folder = write_set(tmp_path / 'd', images={'a': image, 'b': image})
    with zipfile.ZipFile(folder / 'set.part2.zip', 'w') as archive:
        archive.writestr('b.webp', webp(grey=200))
    dataset = open_dataset(folder, 'set', CLASSES)
    assert abs(int(dataset.image(1).mean()) - 200) <= 2


def test_an_unknown_part_names_those_there_are(tmp_path):
    refused(write_set(tmp_path / 'd'), "no image of the split 'test'; it has train",
            split='set:test')


def test_an_image_without_bytes_is_named(tmp_path):
    refused(write_set(tmp_path / 'd', members={'b.webp': webp()}),
            "image 'a' is in none of set.part*.zip")


def test_without_archives_it_says_so(tmp_path):
    folder = write_set(tmp_path / 'd')
    (folder / 'set.part1.zip').unlink()
    refused(folder, 'set.part*.zip: no archive next to set.json')


def test_an_archive_that_is_none_is_named(tmp_path):
    folder = write_set(tmp_path / 'd')
    (folder / 'set.part1.zip').write_bytes(b'half a download')
    refused(folder, 'set.part1.zip: not a readable zip archive')


def test_a_damaged_member_is_named(tmp_path):
    folder = write_set(tmp_path / 'd')
    path = folder / 'set.part1.zip'
    data = bytearray(path.read_bytes())
    data[60] ^= 255  # in the image: its checksum no longer holds
    path.write_bytes(bytes(data))
    dataset = open_dataset(folder, 'set', CLASSES)
    with pytest.raises(DataError, match=r'set\.part1\.zip:a\.webp: cannot be read: Bad CRC'):
        dataset.image(0)


@pytest.mark.parametrize('replaced, said', [
    ({'object_fields': ['x', 'y']}, "object_fields is ['x', 'y'], expected ['class'"),
    ({'classes': ['bolt', 'gear']}, "class 'gear' is not among the configured ones (bolt, nut)"),
    ({'classes': 5}, 'not a packed set'),
    ({'images': []}, 'not a packed set'),
    ({'images': {'a': 7}}, 'image a'),
    ({'images': {'a': {'width': 40, 'height': 20, 'objects': []}}}, "'split'"),
    ({'images': {'a': {'width': '40', 'height': 20, 'split': 't', 'objects': []}}}, 'image a')])
def test_a_json_of_another_form_is_refused(tmp_path, replaced, said):
    refused(write_set(tmp_path / 'd', **replaced), 'set.json', said)


@pytest.mark.parametrize('item, said', [
    ([2, 1, 1, 9, 9, 0, -1], 'class index 2 of 2 classes'),
    ([-1, 1, 1, 9, 9, 0, -1], 'class index -1 of 2 classes'),
    ([0, 1, 1, 0, 9, 0, -1], 'box (0, 0, 0, 9) has no area'),
    ([0, 1, 1, 99, 9, 0, -1], 'reaches outside the image of 40 x 20'),
    ([0, 1, 1, float('nan'), 9, 0, -1], 'is not finite'),
    ([0, 1, 1], 'object 1'),
    ([0, '1', 1, 9, 9, 0, -1], 'object 1'),
    (3, 'object 1')])
def test_a_bad_object_names_file_image_and_value(tmp_path, item, said):
    images = {'a': {'width': 40, 'height': 20, 'split': 'train', 'objects': [item]}}
    refused(write_set(tmp_path / 'd', images=images), 'set.json: image a', said)


def test_text_that_is_not_json_is_named(tmp_path):
    folder = write_set(tmp_path / 'd')
    (folder / 'set.json').write_text('{"classes": [')
    refused(folder, 'set.json: not a packed set')


def test_ids_never_lead_out_of_the_archive(tmp_path):
    """An id is looked up among the members; a file next to the data is never opened."""
    (tmp_path / 'secret.webp').write_bytes(webp())
    image = {'width': 20, 'height': 10, 'split': 'train', 'objects': []}
    folder = write_set(tmp_path / 'd', images={'../secret': image})
    refused(folder, "image '../secret' is in none of")
    folder = write_set(tmp_path / 'd', images={'../secret': image},
                       members={'../secret.webp': webp()})
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DataError, match='secret'):
        open_dataset(folder, 'set', CLASSES).image(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_pack_gives_back_the_same_boxes(tmp_path, shared_data, capsys):
    devkit = shared_data / 'voc_mini' / 'VOCdevkit'
    assert main(['data', 'pack', '--data', str(devkit), '--split', 'VOC2007:trainval',
                 '--output', str(tmp_path), '--name', 'mini', '--longest-side', '200']) == 0
    original = open_dataset(devkit, 'VOC2007:trainval', VOC_CLASSES)
    packed = open_dataset(tmp_path, 'mini', VOC_CLASSES)
    assert len(packed) == len(original) == 32
    for index, (found, expected) in enumerate(zip(packed.records, original.records)):
        scale = np.array(expected.size_hw[::-1] * 2)
        assert found.image_id == expected.image_id and found.size_hw == expected.size_hw
        np.testing.assert_allclose(
            found.boxes_xyxy * scale, expected.boxes_xyxy * scale, atol=1e-3)
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.difficult.tolist() == expected.difficult.tolist()
        if index < 4:
            assert max(packed.image(index).shape) == 200
    assert 'mini.json: 32 images' in capsys.readouterr().out


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / 'tree'
    add_image(tree, 'a', np.full((20, 40, 3), 90, np.uint8), [('bolt', (11, 6, 30, 10), 1)])
    add_image(tree, 'b', np.full((40, 20, 3), 160, np.uint8), [])
    add_list(tree, 'trainval', ['a', 'b'])
    return open_dataset(tree, 'trainval', CLASSES)


def test_a_small_image_is_not_enlarged(tree, tmp_path):
    write_packed(tree, tmp_path / 'p', 'set', 'trainval', longest_px=400)
    packed = open_dataset(tmp_path / 'p', 'set', CLASSES)
    assert packed.image(0).shape == (20, 40, 3) and packed.image(1).shape == (40, 20, 3)


def test_an_existing_set_is_not_overwritten(tree, tmp_path):
    write_packed(tree, tmp_path / 'p', 'set', 'trainval')
    before = {path.name: path.read_bytes() for path in (tmp_path / 'p').iterdir()}
    with pytest.raises(DataError, match=r'set\.json: exists'):
        write_packed(tree, tmp_path / 'p', 'set', 'trainval')
    assert {path.name: path.read_bytes() for path in (tmp_path / 'p').iterdir()} == before


def test_an_interrupted_set_has_no_json_and_is_written_anew(tree, tmp_path):
    def stop(indices):
        yield next(iter(indices))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packed(tree, tmp_path / 'p', 'set', 'trainval', progress=stop)
    assert not (tmp_path / 'p/set.json').exists()
    write_packed(tree, tmp_path / 'p', 'set', 'trainval')
    assert len(open_dataset(tmp_path / 'p', 'set', CLASSES)) == 2


@pytest.mark.parametrize('image_id', ['../a', 'a/b', '..', 'a\\b', '', 'a\0'])
def test_an_id_that_is_no_file_name_is_refused(tmp_path, image_id):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'all').mkdir()
    cv2.imwrite(str(tmp_path / 'all/x.png'), np.zeros((20, 40, 3), np.uint8))
    (tmp_path / 'annotations/instances_all.json').write_text(json.dumps({
        'images': [{'id': image_id, 'file_name': 'x.png', 'width': 40, 'height': 20}],
        'categories': [], 'annotations': []}))
    with pytest.raises(DataError, match='all: the image id .* is no file name'):
        write_packed(open_dataset(tmp_path, 'all', CLASSES), tmp_path / 'p', 'set', 'all')
    assert not (tmp_path / 'p').exists()


@pytest.mark.parametrize('name', ['a:b', 'a@0', '../a', ''])
def test_a_name_that_no_split_can_name_is_refused(tree, tmp_path, name):
    with pytest.raises(ConfigError, match='name'):
        write_packed(tree, tmp_path / 'p', name, 'trainval')
