"""`data check` finds every fault, not the first."""

import re

import cv2
import numpy as np
import pytest

from mbv2ssd_train.cli import main
from mbv2ssd_train.data.report.check import check_dataset

OBJECT = '''  <object>
    <name>{name}</name>
    <bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
  </object>
'''


@pytest.fixture
def tree(tmp_path):
    """A VOC tree that `add` fills; images are 40 x 20 pixels, each of another grey."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    listing = tmp_path / 'ImageSets/Main/trainval.txt'

    def add(name, *boxes, size=(40, 20), grey=None, label='bolt'):
        count = len(listing.read_text().split()) if listing.exists() else 0
        pixels = np.full((20, 40, 3), 10 * count if grey is None else grey, np.uint8)
        cv2.imwrite(str(tmp_path / f'JPEGImages/{name}.png'), pixels)
        (tmp_path / f'Annotations/{name}.xml').write_text(
            '<annotation>\n  <size><width>{}</width><height>{}</height></size>\n'.format(*size)
            + ''.join(OBJECT.format(*box, name=label) for box in boxes) + '</annotation>\n')
        with listing.open('a') as file:
            file.write(f'{name}\n')
    add.root = tmp_path
    return add


def check(tree):
    return check_dataset(tree.root, 'trainval', ('bolt', 'nut'), lambda items, total: items)


def test_a_sound_split_has_no_faults_and_is_counted(tree):
    tree('a', (1, 1, 40, 20), (5, 5, 9, 9))
    tree('b')
    report = check(tree)
    assert report.faults == ()
    assert (report.images, report.objects, report.images_without_objects) == (2, 2, 1)
    assert report.objects_per_class == {'bolt': 2, 'nut': 0}
    assert report.remarks == ("class 'nut' has no object",)


def test_every_faulty_object_is_named_with_its_line(tree):
    tree('a', (1, 1, 40, 20), (9, 5, 5, 9), (1, 1, 99, 9))
    tree('b', (1, 1, 5, 5), label='screw')
    faults = check(tree).faults
    assert len(faults) == 3
    # two lines of head, four for each object
    assert re.search(r'a\.xml:7: box \(8, 4, 5, 9\) has no area', faults[0])
    assert re.search(r'a\.xml:11: box .* outside the image of 40 x 20', faults[1])
    assert re.search(r"b\.xml:3: class 'screw' is not among", faults[2])


def test_a_picture_of_another_shape_than_annotated_is_a_fault(tree):
    tree('a', size=(20, 40))
    fault = check(tree).faults[0]
    assert re.search(r'a\.png: is 40 x 20 pixels, but .*a\.xml has 20 x 40', fault)


def test_broken_images_and_annotations_do_not_hide_others(tree):
    for name in 'abcd':
        tree(name)
    (tree.root / 'JPEGImages/a.png').write_bytes(b'\x89PNG no more')
    (tree.root / 'Annotations/b.xml').write_text('<annotation><size>')
    (tree.root / 'JPEGImages/c.png').unlink()
    faults = '\n'.join(check(tree).faults)
    assert re.search(r'b\.xml: not well-formed', faults)
    assert re.search(r'JPEGImages/c: no image', faults)
    assert re.search(r'a\.png: does not decode', faults)
    assert len(faults.splitlines()) == 3


def test_the_same_picture_twice_is_a_remark(tree):
    tree('a', grey=7)
    tree('b', grey=7)
    assert any(re.search(r'b\.png: the same picture as .*a\.png', remark)
               for remark in check(tree).remarks)


@pytest.mark.parametrize(('box', 'code'), [((1, 1, 9, 9), 0), ((9, 9, 1, 1), 1)])
def test_the_exit_code_says_whether_there_are_faults(tree, capsys, box, code):
    tree('a', box)
    assert main(['data', 'check', '--data', str(tree.root), '--split', 'trainval',
                 '--classes', 'bolt']) == code
    assert f'{code} faults' in capsys.readouterr().out


def test_unknown_classes_are_counted_and_offered(tree, capsys):
    tree('a', (1, 1, 9, 9), (2, 2, 8, 8))
    assert check_dataset(tree.root, 'trainval', ['nut'], lambda items, total: items
                         ).unknown_classes == {'bolt': 2}
    assert main(['data', 'check', '--data', str(tree.root), '--split', 'trainval',
                 '--classes', 'nut']) == 1
    assert ("objects of unknown classes: 'bolt' 2. Are they yours? --classes bolt"
            in capsys.readouterr().out)


def test_a_class_named_twice_is_refused(tree, capsys):
    assert main(['data', 'check', '--data', str(tree.root), '--split', 'trainval',
                 '--classes', 'nut', 'bolt', 'nut']) == 1
    assert '--classes: nut is listed more than once' in capsys.readouterr().err


def test_classes_are_taken_with_commas_too(tree):
    tree('a', (1, 1, 9, 9))
    tree('b', (1, 1, 9, 9), label='nut')
    for classes in (['bolt,nut'], ['bolt, nut'], ['bolt', 'nut']):
        assert main(['data', 'check', '--data', str(tree.root), '--classes', *classes]) == 0
