"""Caches: the same boxes and ids as their source, checked sizes and checksums, written whole."""

import json
import shutil

import cv2
import numpy as np
import pytest

from helpers.synthetic import add_image, add_list, SHAPES, write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import VOC_CLASSES
from mbv2ssd_train.data.dataset import refuse_overlap
from mbv2ssd_train.data.report.check import check_dataset
from mbv2ssd_train.data.sources.cache_writer import write_cache
from mbv2ssd_train.data.sources.open import open_dataset

IMAGE_BYTES = 90 * 120 * 3  # of synthetic.py


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), train=5)


@pytest.fixture
def folder(world, tmp_path):
    """A cache `set` of five images, two in a shard."""
    write_cache(open_dataset(world, 'train', SHAPES), tmp_path / 'c', 'set', str(world), 400,
                2 * IMAGE_BYTES + 1)
    return tmp_path / 'c'


def index_of(folder):
    return json.loads((folder / 'set.cache/index.json').read_text())


def replace_index(folder, index):
    (folder / 'set.cache/index.json').write_text(json.dumps(index))


def test_records_and_pixels_are_those_of_the_source(world, folder):
    source, cached = open_dataset(world, 'train', SHAPES), open_dataset(folder, 'set', SHAPES)
    assert len(source) == len(cached) == 5
    for index, (expected, found) in enumerate(zip(source.records, cached.records)):
        assert found.image_id == expected.image_id and found.size_hw == expected.size_hw
        assert found.source == expected.source
        assert found.boxes_xyxy.tobytes() == expected.boxes_xyxy.tobytes()
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.difficult.tolist() == expected.difficult.tolist()
        np.testing.assert_array_equal(cached.image(index), source.image(index))


def test_the_command_reduces_photos_and_keeps_their_boxes(tmp_path, shared_data, capsys):
    devkit = shared_data / 'voc_mini' / 'VOCdevkit'
    assert main(['data', 'cache', '--data', str(devkit), '--split', 'VOC2007:trainval',
                 '--output', str(tmp_path), '--name', 'mini', '--longest-side', '200']) == 0
    assert 'mini.cache: 32 images' in capsys.readouterr().out
    source = open_dataset(devkit, 'VOC2007:trainval', VOC_CLASSES)
    cached = open_dataset(tmp_path, 'mini', VOC_CLASSES)
    for expected, found in zip(source.records, cached.records, strict=True):
        assert found.boxes_xyxy.tobytes() == expected.boxes_xyxy.tobytes()
    original, small = source.image(3), cached.image(3)
    assert max(small.shape) == 200
    expected = cv2.resize(original, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(small, expected)


def test_shards_end_before_their_limit(folder):
    sizes = [shard['size_bytes'] for shard in index_of(folder)['shards']]
    assert sizes == [2 * IMAGE_BYTES, 2 * IMAGE_BYTES, IMAGE_BYTES]


def test_an_image_larger_than_the_limit_has_a_shard_of_its_own(world, tmp_path):
    write_cache(open_dataset(world, 'train', SHAPES), tmp_path, 'set', 'x', 400, 1)
    assert len(index_of(tmp_path)['shards']) == 5


def test_the_index_says_where_it_comes_from(world, folder):
    index = index_of(folder)
    assert (index['format'], index['data'], index['split']) == (1, str(world), 'train')
    assert index['longest_side_px'] == 400 and index['classes'] == list(SHAPES)


def test_labels_follow_the_configured_order(folder):
    names = ('triangle', 'other', 'square', 'disc')
    for found, expected in zip(open_dataset(folder, 'set', names).records,
                               open_dataset(folder, 'set', SHAPES).records):
        assert [names[k - 1] for k in found.labels] == [SHAPES[k - 1] for k in expected.labels]


def test_a_share_of_a_cache_shows_its_own_images(folder):
    whole, share = open_dataset(folder, 'set', SHAPES), open_dataset(folder, 'set@1/2', SHAPES)
    assert [record.image_id for record in share.records] == ['train0001', 'train0003']
    np.testing.assert_array_equal(share.image(1), whole.image(3))


def test_the_overlap_of_a_cache_and_its_source_is_found(tmp_path):
    add_image(tmp_path / 'd', 'a', np.full((20, 40, 3), 90, np.uint8), [])  # without objects
    add_list(tmp_path / 'd', 'all', ['a'])
    source = open_dataset(tmp_path / 'd', 'all', SHAPES)
    write_cache(source, tmp_path / 'c', 'set', 'd', 400)
    with pytest.raises(DataError, match='1 images are both'):
        refuse_overlap([open_dataset(tmp_path / 'c', 'set', SHAPES)], source)


def test_pixels_are_shared_not_copied(folder):
    dataset = open_dataset(folder, 'set', SHAPES, keep_decoded=True)
    assert np.shares_memory(dataset.image(1), dataset.image(1))
    with pytest.raises(ValueError, match='read-only'):
        dataset.image(1)[0, 0, 0] = 1


@pytest.mark.parametrize('change, said', [
    (lambda data: data[:-1], r'shard00001\.bin: has 64799 bytes, the index has 64800'),
    (lambda data: b'', r'shard00001\.bin: has 0 bytes')])
def test_a_shard_of_another_size_is_refused_at_once(folder, change, said):
    path = folder / 'set.cache/shard00001.bin'
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=said):
        open_dataset(folder, 'set', SHAPES)


def test_a_missing_shard_is_named(folder):
    (folder / 'set.cache/shard00001.bin').unlink()
    with pytest.raises(DataError, match=r'shard00001\.bin: cannot be read'):
        open_dataset(folder, 'set', SHAPES)


def test_check_finds_a_changed_byte(folder):
    def faults():
        return check_dataset(folder, 'set', SHAPES, lambda items, total: items).faults
    assert faults() == ()
    path = folder / 'set.cache/shard00001.bin'
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    fault, = faults()
    assert 'shard00001.bin: its SHA-256 is' in fault


@pytest.mark.parametrize('path, value, said', [
    (('format',), 2, 'not the index of a cache of format 1: format'),
    (('images', 0, 'shard'), 3, 'image train0000: bytes 0 to 32400 of shard 3'),
    (('images', 1, 'offset'), 2 ** 40, 'of shard 0, which does not have them'),
    (('images', 1, 'offset'), -1, r'images\.1\.offset'),
    (('images', 1, 'shape_hw'), [10 ** 9, 10 ** 9], '1000000000 x 1000000000'),
    (('images', 1, 'boxes_xyxy'), [[0, 0, 0, 1]], 'train0001'),
    (('images', 1, 'boxes_xyxy'), [[0, 0, 1e999, 1]], 'boxes_xyxy'),
    (('images', 1, 'labels', 0), 4, 'a label is not among 3 classes'),
    (('images', 1, 'labels', 0), True, r'labels\.0'),
    (('classes', 0), 'screw', "class 'screw' is not among the configured ones"),
    (('more',), 1, 'more')])
def test_an_index_that_does_not_fit_is_refused(folder, path, value, said):
    index = index_of(folder)
    *parents, last = path
    node = index
    for key in parents:
        node = node[key]
    node[last] = value
    replace_index(folder, index)
    with pytest.raises(DataError, match=said):
        open_dataset(folder, 'set', SHAPES)


@pytest.mark.parametrize('text', ['', '{"format": 1', '[' * 100_000, '{"format": ' + '9' * 9999])
def test_what_is_no_index_is_refused(folder, text):
    (folder / 'set.cache/index.json').write_text(text)
    with pytest.raises(DataError, match=r'index\.json'):
        open_dataset(folder, 'set', SHAPES)


def test_a_cache_that_was_not_finished_is_refused_and_written_anew(world, tmp_path):
    source = open_dataset(world, 'train', SHAPES)

    def stop(indices):
        yield next(iter(indices))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(source, tmp_path, 'set', 'x', 400, progress=stop)
    with pytest.raises(DataError, match=r'set\.cache: is incomplete; run `data cach'):
        open_dataset(tmp_path, 'set', SHAPES)
    write_cache(source, tmp_path, 'set', 'x', 400)
    assert len(open_dataset(tmp_path, 'set', SHAPES)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ['set.cache']


def test_an_existing_set_is_not_overwritten(world, folder):
    source = open_dataset(world, 'train', SHAPES)
    with pytest.raises(DataError, match=r'set\.cache: exists'):
        write_cache(source, folder, 'set', 'x', 400)
    (folder / 'other.json').write_text('{}')
    with pytest.raises(DataError, match=r"other\.json exists too, so that 'other' is ambig"):
        write_cache(source, folder, 'other', 'x', 400)


def test_a_split_that_could_mean_two_things_is_refused(world, folder):
    shutil.copytree(world / 'Annotations', folder / 'Annotations')
    with pytest.raises(DataError, match="Annotations exists too, so that 'set' is ambiguous"):
        open_dataset(folder, 'set', SHAPES)


@pytest.mark.parametrize('name', ['a:b', 'a@0', '../a', '', 'a\0b'])
def test_a_name_that_no_split_can_name_is_refused(world, tmp_path, name):
    with pytest.raises(ConfigError, match='name'):
        write_cache(open_dataset(world, 'train', SHAPES), tmp_path, name, 'x', 400)


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(world, tmp_path,
                                                                       monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda _: type('Usage', (), {'free': 1000}))
    with pytest.raises(DataError, match=r'takes up to 0\.0 GB, the disk has 0\.0 GB left'):
        write_cache(open_dataset(world, 'train', SHAPES), tmp_path, 'set', 'x', 400)
