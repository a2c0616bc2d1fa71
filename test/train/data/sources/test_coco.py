"""COCO JSON and folders with a dataset.yaml."""

import json

import cv2
import numpy as np
import pytest

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import load_config
from mbv2ssd_train.data.sources.coco import read_coco
from mbv2ssd_train.data.sources.open import open_dataset


@pytest.fixture
def coco_file(tmp_path):
    """An image of 40 x 20 pixels with a bolt and a crowd of nuts, and one without objects."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(folder / name), np.full((20, 40, 3), 7, np.uint8))
    content = {
        'images': [{'id': 1, 'file_name': 'a.png', 'width': 40, 'height': 20},
                   {'id': 2, 'file_name': 'b.png', 'width': 40, 'height': 20}],
        'categories': [{'id': 90, 'name': 'nut'}, {'id': 7, 'name': 'bolt'}],
        'annotations': [
            {'id': 1, 'image_id': 1, 'category_id': 7, 'bbox': [10, 5, 20, 10]},
            {'id': 2, 'image_id': 1, 'category_id': 90, 'bbox': [0, 0, 40, 20], 'iscrowd': 1}]}

    def write(**changes):
        path = tmp_path / 'train.json'
        path.write_text(json.dumps({**content, **changes}))
        return path
    write.folder, write.content = folder, content
    return write


def test_boxes_labels_and_crowds(coco_file):
    record = read_coco(coco_file(), coco_file.folder, ('bolt', 'nut'))[0]
    np.testing.assert_allclose(record.boxes_xyxy, [[.25, .25, .75, .75], [0, 0, 1, 1]])
    assert record.labels.tolist() == [1, 2]
    assert record.difficult.tolist() == [False, True]
    assert record.size_hw == (20, 40)


def test_an_image_without_objects_is_kept_as_a_negative(coco_file):
    record = read_coco(coco_file(), coco_file.folder, ('bolt', 'nut'))[1]
    assert record.image_id == '2' and record.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'annotations': 5}, "'annotations' is missing or not a list"),
    ({'categories': []}, 'category 7 is not among the categories'),
    ({'images': [{'id': 1, 'file_name': '../../etc/passwd', 'width': 40, 'height': 20}]},
     'leads out of'),
    ({'images': [{'id': 1, 'file_name': '/etc/passwd', 'width': 40, 'height': 20}]},
     'leads out of'),
    ({'images': [{'id': 1, 'file_name': 'c.png', 'width': 40, 'height': 20}]},
     r'image c\.png: there is no .*c\.png'),
    ({'images': [{'id': 2, 'file_name': 'b.png', 'width': 40, 'height': 20}]},
     r"images that it does not list: \['1'\]"),
    ({'images': [{'id': 1, 'width': 4, 'height': 4}]}, 'file_name'),
])
def test_what_is_wrong_is_named_with_the_file(coco_file, changes, message):
    with pytest.raises(DataError, match=rf'train\.json.*{message}'):
        read_coco(coco_file(**changes), coco_file.folder, ('bolt', 'nut'))


def test_a_class_that_is_not_configured_is_refused(coco_file):
    with pytest.raises(DataError, match="class 'nut' is not among .*bolt"):
        read_coco(coco_file(), coco_file.folder, ('bolt',))


def test_a_coco_folder_opens_by_split(tmp_path, coco_file):
    (tmp_path / 'annotations').mkdir()
    coco_file().rename(tmp_path / 'annotations' / 'instances_photos.json')
    dataset = open_dataset(tmp_path, 'photos', ('bolt', 'nut'))
    assert len(dataset) == 2 and dataset.image(0).shape == (20, 40, 3)


def describe(folder, text='classes: [bolt, nut]\n'
             'splits: {train: {images: photos, annotations: train.json}}\n'):
    (folder / 'dataset.yaml').write_text(text)


def test_a_described_folder_opens_by_split(tmp_path, coco_file):
    coco_file()
    describe(tmp_path)
    assert len(open_dataset(tmp_path, 'train', ('bolt', 'nut'))) == 2
    with pytest.raises(DataError, match=r"no split 'test'; it has train"):
        open_dataset(tmp_path, 'test', ('bolt', 'nut'))


def test_the_classes_of_a_described_folder_need_not_be_repeated(tmp_path, coco_file):
    describe(tmp_path)
    path = tmp_path / 'config.yaml'
    path.write_text(f'name: x\ndata: {{root: "{tmp_path}", train: [train], val: val}}\n')
    assert load_config(path).data.classes == ('bolt', 'nut')


@pytest.mark.parametrize(('text', 'message'), [
    ('classes: [a]\n', 'splits: Field required'),
    ('classes: [a]\nsplits: {t: {images: x, annotations: y, extra: 1}}\n', 'splits.t.extra'),
    ('classes: [a\n', 'not YAML'),
    ('!!python/object/apply:os.system ["true"]\n', 'not YAML'),
    ('classes: [a]\nsplits: {train: {images: ../.., annotations: train.json}}\n',
     'leads out of'),
])
def test_a_wrong_description_is_refused(tmp_path, text, message):
    describe(tmp_path, text)
    with pytest.raises(DataError, match=rf'dataset\.yaml.*{message}'):
        open_dataset(tmp_path, 'train', ('a',))
