"""VOC XML and COCO JSON, each parsed once for training and for the evaluation of bags."""

import json

import numpy as np
import pytest

from mbv2ssd_ros.core.annotations import Annotation, check_object, in_pixels, normalised_boxes
from mbv2ssd_ros.core.annotations.coco import load_coco
from mbv2ssd_ros.core.annotations.voc import parse_voc
from mbv2ssd_ros.core.errors import DataError

OBJECT = ('<object><name> {name} </name><difficult>1</difficult><bndbox><xmin>{x1}</xmin>'
          '<ymin>1</ymin><xmax>30</xmax><ymax>10</ymax></bndbox></object>')
SIZE = '<size><width>40</width><height>20</height></size>'


def voc(*objects):
    return f'<annotation>{SIZE}\n{"".join(objects)}</annotation>'.encode()


def coco(tmp_path, **changes):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps({
        'images': [{'id': 1, 'file_name': 'a.png', 'width': 40, 'height': 20, 'stamp_ns': 5}],
        'categories': [{'id': 7, 'name': 'nut'}],
        'annotations': [{'id': 3, 'image_id': 1, 'category_id': 7, 'bbox': [10, 0, 20, 10],
                         'iscrowd': 1}], **changes}))
    return path


def test_both_forms_give_the_same_object(tmp_path):
    from_voc = parse_voc(voc(OBJECT.format(name='nut', x1=11)), 'a.xml')
    [(entry, from_coco)] = load_coco(coco(tmp_path))
    assert from_voc.objects == [Annotation('nut', (10, 0, 30, 10), True, 'a.xml:2')]
    [found] = from_coco.objects
    assert (found.name, found.xyxy, found.difficult) == ('nut', (10, 0, 30, 10), True)
    assert from_voc.size_hw == from_coco.size_hw == (20, 40) and entry['stamp_ns'] == 5


def test_a_fault_is_reported_and_only_its_object_skipped(tmp_path):
    faults = []
    objects = [OBJECT.format(name='nut', x1=31), OBJECT.format(name='', x1=1),
               OBJECT.format(name='nut', x1=1)]
    assert len(parse_voc(voc(*objects), 'a.xml', faults.append).objects) == 1
    boxes = [{'id': k, 'image_id': 1, 'category_id': 7, 'bbox': box}
             for k, box in enumerate(([0, 0, 0, 1], [0, 0, 1], [0, 0, 1, 1]))]
    [(_, image)] = load_coco(coco(tmp_path, annotations=boxes), faults.append)
    assert len(image.objects) == 1
    assert [str(fault).partition(': box (')[0].rpartition('/')[2] for fault in faults] == [
        'a.xml:2', 'a.xml:2: an object has no name', 'a.json: image a.png: annotation 0',
        'a.json: image a.png: annotation 1: bbox is [0, 0, 1], expected four numbers']


def test_boxes_are_cut_at_the_border():
    item = Annotation('nut', (-1, 5, 41, 20), False, '')
    boxes = normalised_boxes([item], (20, 40))
    assert boxes.tolist() == [[0, 0.25, 1, 1]] and boxes.dtype == np.float32
    assert in_pixels(boxes, (10, 80)).tolist() == [[0, 2.5, 80, 10]]
    assert normalised_boxes([], (20, 40)).shape == (0, 4)


def test_nothing_is_outside_an_image_of_unknown_size():
    item = Annotation('nut', (0, 0, 50, 10), False, 'here')
    assert check_object(item, None) is item
    with pytest.raises(DataError, match=r'here: box \(0, 0, 50, 10\) reaches outside .* 40 x 20'):
        check_object(item, (20, 40))


@pytest.mark.parametrize(('flag', 'difficult'), [
    ('True', True), ('false', False), ('1', True), ('', False), (' 0 ', False)])
def test_a_flag_in_words_is_read_in_both_forms(tmp_path, flag, difficult):
    text = OBJECT.format(name='nut', x1=11).replace('>1</difficult>', f'>{flag}</difficult>')
    assert parse_voc(voc(text), 'a.xml').objects[0].difficult == difficult
    annotation = {'id': 3, 'image_id': 1, 'category_id': 7, 'bbox': [1, 1, 2, 2], 'iscrowd': flag}
    [(_, image)] = load_coco(coco(tmp_path, annotations=[annotation]))
    assert image.objects[0].difficult == difficult


def test_a_flag_that_is_none_is_refused(tmp_path):
    text = OBJECT.format(name='nut', x1=11).replace('>1</difficult>', '>maybe</difficult>')
    with pytest.raises(DataError, match=r"a\.xml:2: difficult is 'maybe', expected 0 or 1"):
        parse_voc(voc(text), 'a.xml')


@pytest.mark.parametrize('size', [
    '', '<size><width>0</width><height>0</height></size>', '<size/>',
    '<size><width></width><height></height></size>'])
def test_a_missing_size_is_that_of_the_picture(size):
    content = voc(OBJECT.format(name='nut', x1=11)).replace(SIZE.encode(), size.encode())
    assert parse_voc(content, 'a.xml', own_size=lambda: (20, 40)).size_hw == (20, 40)
    with pytest.raises(DataError, match='a.xml.*(size/|impossible)'):
        parse_voc(content, 'a.xml')


@pytest.mark.parametrize('side', [None, -1, 0])
def test_a_missing_size_of_coco_is_that_of_the_picture(tmp_path, side):
    entry = {'id': 1, 'file_name': 'a.png', 'width': side, 'height': side}
    [(_, image)] = load_coco(coco(tmp_path, images=[entry]), own_size=lambda entry: (20, 40))
    assert image.size_hw == (20, 40)
    with pytest.raises(DataError, match=r'image a\.png: '):
        load_coco(coco(tmp_path, images=[entry]))


def test_blanks_around_a_category_and_a_byte_order_mark(tmp_path):
    path = coco(tmp_path, categories=[{'id': 7, 'name': 'nut '}])
    path.write_text('\ufeff' + path.read_text(), encoding='utf-8')
    [(_, image)] = load_coco(path)
    assert image.objects[0].name == 'nut'


def test_an_id_of_two_images_is_refused(tmp_path):
    entries = [{'id': 1, 'file_name': name, 'width': 40, 'height': 20} for name in 'ab']
    with pytest.raises(DataError, match=r'images\[0\] and images\[1\] both have the id 1'):
        load_coco(coco(tmp_path, images=entries))
