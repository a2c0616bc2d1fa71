"""Whatever stands in an annotation file, it is read or refused by name; never a traceback."""

import copy
import json
import random
import zipfile

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import yaml

from helpers.synthetic import add_image, add_list
from mbv2ssd_ros.core.annotations import MAX_PIXELS
from mbv2ssd_ros.core.errors import ConfigError, DataError, Mbv2SsdError
from mbv2ssd_train.config import load_config
from mbv2ssd_train.data.image_files import decode_image
from mbv2ssd_train.data.sources.open import open_dataset

PIXELS = np.full((20, 40, 3), 90, np.uint8)
JUNK = (None, True, -1, 0, 1e308, float('nan'), float('inf'), '', 'x', [], {}, [1], {'a': 1},
        2 ** 70, 10 ** 400, '\0', [[]], '../../x', '/etc/passwd')
PACKED = {
    'classes': ['bolt', 'nut'],
    'object_fields': ['class', 'xmin', 'ymin', 'xmax', 'ymax', 'difficult', 'truncated'],
    'images': {'a': {'width': 40, 'height': 20, 'split': 'train',
                     'objects': [[1, 21, 1, 40, 20, 0, -1], [0, 1, 1, 4, 5, 1, 0]]}}}
COCO = {
    'images': [{'id': 1, 'file_name': 'a.png', 'width': 40, 'height': 20}],
    'categories': [{'id': 3, 'name': 'bolt'}, {'id': 5, 'name': 'nut'}],
    'annotations': [
        {'id': 9, 'image_id': 1, 'category_id': 3, 'bbox': [1, 2, 10, 10], 'iscrowd': 0},
        {'id': 10, 'image_id': 1, 'category_id': 5, 'bbox': [3, 2, 10, 10]}]}
DESCRIBED = {'classes': ['bolt', 'nut'],
             'splits': {'train': {'images': 'JPEGImages', 'annotations': 'Annotations'}}}
CONFIG = {'name': 'x', 'data': {'root': 'd', 'train': ['a'], 'val': 'b', 'classes': ['c']},
          'model': {'input_size_hw': [64, 96], 'scales': [0.1, 0.2, 0.3, 0.5, 0.7, 0.9]},
          'augment': {'crop_ious': [0.1, 0.5]}, 'optimizer': {'name': 'adamw'}}


def places(value, path=()):
    """Yield the path of everything inside."""
    for key in value if isinstance(value, dict) else range(
            len(value) if isinstance(value, list) else 0):
        yield (*path, key)
        yield from places(value[key], (*path, key))


def mutated(found, rng):
    """Remove something, or put something else in its place; now and then twice."""
    found = copy.deepcopy(found)
    for _ in range(rng.choice((1, 1, 2))):
        *path, last = rng.choice(list(places(found)) or [()]) or [None]
        if last is None:
            break
        node = found
        for key in path:
            node = node[key]
        if rng.random() < 0.3:
            del node[last]
        else:
            node[last] = rng.choice(JUNK)
    return found


def outcomes(read, write, found, count=250, seed=0):
    """Read so many mutations; count those that could be read, all others being refused."""
    rng, fine = random.Random(seed), 0
    for _ in range(count):
        text = write(mutated(found, rng))
        try:
            read()
            fine += 1
        except Mbv2SsdError as err:
            assert str(err), text
    return fine


def read_all(root, split):
    dataset = open_dataset(root, split, ('bolt', 'nut'))
    for index in range(len(dataset)):
        dataset.image(index)


def writer(path, dump):
    def write(found):
        text = dump(found)
        path.write_text(text)
        return text
    return write


@pytest.mark.parametrize('split', ['set', 'set:train'])
def test_packed_sets(tmp_path, split):
    with zipfile.ZipFile(tmp_path / 'set.part1.zip', 'w') as archive:
        archive.writestr('a.webp', cv2.imencode('.webp', PIXELS)[1].tobytes())
    fine = outcomes(lambda: read_all(tmp_path, split),
                    writer(tmp_path / 'set.json', json.dumps), PACKED)
    assert 10 < fine < 240


def test_coco_files(tmp_path):
    for folder in ('annotations', 'train'):
        (tmp_path / folder).mkdir()
    assert cv2.imwrite(str(tmp_path / 'train/a.png'), PIXELS)
    fine = outcomes(lambda: read_all(tmp_path, 'train'),
                    writer(tmp_path / 'annotations/instances_train.json', json.dumps), COCO)
    assert 10 < fine < 240


def test_described_folders(tmp_path):
    add_image(tmp_path, 'a', PIXELS, [('bolt', (1, 1, 9, 9), 0)])
    fine = outcomes(lambda: read_all(tmp_path, 'train'),
                    writer(tmp_path / 'dataset.yaml', yaml.safe_dump), DESCRIBED)
    assert 1 < fine < 240


def test_configurations(tmp_path):
    fine = outcomes(lambda: load_config(tmp_path / 'c.yaml').model.prior_levels(),
                    writer(tmp_path / 'c.yaml', yaml.safe_dump), CONFIG)
    assert 10 < fine < 240


@pytest.mark.parametrize('seed', range(4))
def test_voc_annotations_with_noise_in_them(tmp_path, seed):
    add_image(tmp_path, 'a', PIXELS, [('bolt', (1, 1, 9, 9), 0), ('nut', (3, 3, 20, 12), 1)])
    add_list(tmp_path, 'train', ['a'])
    path, rng = tmp_path / 'Annotations/a.xml', random.Random(seed)
    original = path.read_bytes()
    for _ in range(100):
        data = bytearray(original)
        place = rng.randrange(len(data))
        data[place:place + rng.randint(0, 12)] = rng.choice(
            (b'', b'<', b'9', b'-', b'nan', b'e9', b'<object>', b'&x;', b'\xff', b'\0'))
        path.write_bytes(bytes(data))
        try:
            read_all(tmp_path, 'train')
        except Mbv2SsdError as err:
            assert 'a.' in str(err)


DEEP = '[' * 100_000


@pytest.mark.parametrize('text', [
    DEEP, '{"images": ' + DEEP, '{"images": ' + '9' * 9999 + '}', '\ufeff{}', 'null', '"images"'])
@pytest.mark.parametrize('name', ['set.json', 'annotations/instances_set.json'])
def test_json_that_is_hard_to_read(tmp_path, name, text):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=f'{name}: not'):
        open_dataset(tmp_path, 'set', ('bolt', 'nut'))


@pytest.mark.parametrize('text, said', [
    ('classes: [bolt]\nclasses: [nut]', "the key 'classes' is duplicated"),
    ('classes: ' + DEEP, 'not YAML'), ('classes: ' + '9' * 9999, 'not YAML'),
    ('classes: 2001-13-41', 'not YAML'), ('a: &a [*a]', 'a value contains itself'),
    ('a: !!python/object/apply:os.system [x]', 'not YAML'), ('- a', 'keys and values')])
def test_yaml_that_is_hard_to_read(tmp_path, text, said):
    (tmp_path / 'dataset.yaml').write_text(text)
    with pytest.raises(DataError, match=rf'dataset\.yaml: .*{said}'):
        open_dataset(tmp_path, 'train', ('bolt', 'nut'))


def test_yaml_that_grows_when_its_aliases_are_followed(tmp_path):
    """Ten lists of ten times the list before: ten thousand million words, if written out."""
    lines = ['a0: &a0 [lol]'] + [
        f'a{k}: &a{k} [{", ".join([f"*a{k - 1}"] * 10)}]' for k in range(1, 11)]
    (tmp_path / 'dataset.yaml').write_text('\n'.join([*lines, 'classes: *a10']))
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, 'train', ('bolt', 'nut'))
    assert 'its aliases expand to 1000000 values' in str(caught.value)


def test_a_configuration_that_grows_when_its_aliases_are_followed(tmp_path):
    lines = ['a0: &a0 [lol]'] + [
        f'a{k}: &a{k} [{", ".join([f"*a{k - 1}"] * 10)}]' for k in range(1, 11)]
    (tmp_path / 'c.yaml').write_text('\n'.join([*lines, 'name: *a10']))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / 'c.yaml')
    assert 'c.yaml: its aliases expand to 1000000 values' in str(caught.value)


def test_xml_that_grows_when_its_entities_are_followed(tmp_path):
    add_image(tmp_path, 'a', PIXELS, [])
    add_list(tmp_path, 'train', ['a'])
    (tmp_path / 'Annotations/a.xml').write_text(
        '<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>')
    with pytest.raises(DataError, match=r'a\.xml: defines entities'):
        open_dataset(tmp_path, 'train', ('bolt', 'nut'))


@pytest.mark.parametrize('linked', ['JPEGImages/a.png', 'Annotations/a.xml'])
def test_links_that_lead_out_of_the_data_are_not_followed(tmp_path, linked):
    tree = tmp_path / 'tree'
    add_image(tree, 'a', PIXELS, [])
    add_list(tree, 'train', ['a'])
    outside = tmp_path / 'outside'
    (tree / linked).rename(outside)
    (tree / linked).symlink_to(outside)
    with pytest.raises(DataError, match=r"'a\.\w+' leads out of"):
        open_dataset(tree, 'train', ('bolt', 'nut'))


def test_a_folder_may_lie_elsewhere(tmp_path):
    tree = tmp_path / 'tree'
    add_image(tree, 'a', PIXELS, [])
    add_list(tree, 'train', ['a'])
    (tree / 'JPEGImages').rename(tmp_path / 'photos')
    (tree / 'JPEGImages').symlink_to(tmp_path / 'photos')
    read_all(tree, 'train')


def test_a_member_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('mbv2ssd_train.data.sources.packed.MAX_FILE_BYTES', 1000)
    with zipfile.ZipFile(tmp_path / 'set.part1.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.webp', bytes(1001))
    (tmp_path / 'set.json').write_text(json.dumps(PACKED))
    with pytest.raises(DataError, match=r'a\.webp: unpacks to'):
        read_all(tmp_path, 'set')


@settings(max_examples=300, deadline=None, derandomize=True)
@given(suffix=st.sampled_from(['.png', '.jpg', '.webp', '.bmp']), place=st.floats(0, 1),
       noise=st.binary(max_size=12), cut=st.floats(0, 1))
def test_images_with_noise_in_them(suffix, place, noise, cut):
    data = cv2.imencode(suffix, PIXELS)[1].tobytes()
    start = int(place * len(data))
    data = data[:start] + noise + data[start + int(cut * len(noise)):]
    try:
        pixels = decode_image(data, 'photos/a')
    except DataError as err:
        assert 'photos/a' in str(err)
    else:
        assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size <= 3 * MAX_PIXELS


@pytest.mark.parametrize('content', [b'a\0b', b'\xff\xfe', b'a\na', b'..', b'/', b'\n \n'])
def test_lists_with_noise_in_them(tmp_path, content):
    add_image(tmp_path, 'a', PIXELS, [])
    add_list(tmp_path, 'train', [])
    (tmp_path / 'ImageSets/Main/train.txt').write_bytes(content)
    with pytest.raises(Mbv2SsdError):
        read_all(tmp_path, 'train')
