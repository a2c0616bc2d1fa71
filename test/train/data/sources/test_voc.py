"""VOC trees: corners, flags, lists, and every fault with its file."""

import re

import numpy as np
import pytest

from helpers.synthetic import add_image, add_list, voc_xml
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.data.sources.voc import read_voc

CLASSES = ('bolt', 'nut')
PIXELS = np.full((20, 40, 3), 90, np.uint8)  # 40 wide, 20 high


@pytest.fixture
def tree(tmp_path):
    """A tree with one image `a`, its bolt in columns 11 to 30 and rows 6 to 10 (1-based)."""
    add_image(tmp_path, 'a', PIXELS, [('bolt', (11, 6, 30, 10), 0)])
    add_list(tmp_path, 'trainval', ['a'])
    return tmp_path


def rewrite(tree, old, new):
    path = tree / 'Annotations' / 'a.xml'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(tree, *said):
    """Read the tree and expect a refusal that says all this; return it."""
    with pytest.raises(DataError) as caught:
        read_voc(tree, 'trainval', CLASSES)
    for words in said:
        assert words in str(caught.value)
    assert '\n' not in str(caught.value)


def test_corners_are_one_based_and_inclusive(tree):
    record, = read_voc(tree, 'trainval', CLASSES)
    # columns 11 to 30 of 40 are 10/40 to 30/40 of the width, rows 6 to 10 of 20 are 5/20 to 10/20
    assert record.boxes_xyxy.tolist() == [[0.25, 0.25, 0.75, 0.5]]
    assert record.labels.tolist() == [1] and record.difficult.tolist() == [False]
    assert record.size_hw == (20, 40) and record.image_id == 'a'


def test_a_box_over_the_whole_image_is_zero_to_one(tree):
    add_image(tree, 'a', PIXELS, [('nut', (1, 1, 40, 20), 0)])
    record, = read_voc(tree, 'trainval', CLASSES)
    assert record.boxes_xyxy.tolist() == [[0, 0, 1, 1]] and record.labels.tolist() == [2]


def test_corners_of_tools_that_count_from_zero_are_cut_at_the_border(tree):
    add_image(tree, 'a', PIXELS, [('nut', (0, 0, 40, 20), 0)])
    assert read_voc(tree, 'trainval', CLASSES)[0].boxes_xyxy.tolist() == [[0, 0, 1, 1]]


def test_difficult_is_read_and_may_be_missing(tree):
    add_image(tree, 'a', PIXELS, [('nut', (1, 1, 9, 9), 1), ('bolt', (1, 1, 9, 9), 0)])
    rewrite(tree, '<difficult>0</difficult>', '')
    assert read_voc(tree, 'trainval', CLASSES)[0].difficult.tolist() == [True, False]


def test_an_image_without_objects_is_kept(tree):
    add_image(tree, 'b', PIXELS, [])
    add_list(tree, 'trainval', ['b', 'a'])
    records = read_voc(tree, 'trainval', CLASSES)
    assert [record.image_id for record in records] == ['b', 'a']
    assert records[0].boxes_xyxy.shape == (0, 4) and records[0].labels.shape == (0,)


def test_a_list_of_one_class_has_a_second_column(tree):
    add_image(tree, 'b', PIXELS, [])
    add_list(tree, 'bolt_trainval', ['a  1', 'b -1'])
    records = read_voc(tree, 'bolt_trainval', CLASSES)
    assert [record.image_id for record in records] == ['a', 'b']


def test_a_list_from_windows_is_read(tree):
    (tree / 'ImageSets/Main/trainval.txt').write_bytes(b'\xef\xbb\xbfa\r\n\r\n')
    assert [record.image_id for record in read_voc(tree, 'trainval', CLASSES)] == ['a']


def test_an_upper_case_suffix_is_found(tree):
    (tree / 'JPEGImages/a.png').rename(tree / 'JPEGImages/a.PNG')
    record, = read_voc(tree, 'trainval', CLASSES)
    assert record.source.endswith('a.PNG')


def test_parts_of_an_object_are_not_objects(tree):
    rewrite(tree, '</object>', '<part><name>head</name><bndbox><xmin>12</xmin><ymin>7</ymin>'
            '<xmax>13</xmax><ymax>8</ymax></bndbox></part></object>')
    assert read_voc(tree, 'trainval', CLASSES)[0].boxes_xyxy.tolist() == [[0.25, 0.25, 0.75, 0.5]]


def test_a_missing_list_names_those_there_are(tree):
    with pytest.raises(DataError, match=r'Main/test\.txt: no such list; .* has trainval'):
        read_voc(tree, 'test', CLASSES)


def test_without_any_list_it_says_what_a_list_is(tree):
    (tree / 'ImageSets/Main/trainval.txt').unlink()
    refused(tree, 'Main/trainval.txt: no such list', 'one image name a line')


def test_a_missing_image_is_named(tree):
    (tree / 'JPEGImages/a.png').unlink()
    refused(tree, 'JPEGImages/a', '.jpeg, .jpg, .png')


def test_a_missing_annotation_is_named(tree):
    (tree / 'Annotations/a.xml').unlink()
    refused(tree, 'Annotations/a.xml: no such annotation')


@pytest.mark.parametrize('content', [
    b'<annotation><size>', b'', b'\xff\xfe\x00\x01',
    b'<?xml version="1.0" encoding="x-none"?><a/>'])
def test_broken_xml_is_named(tree, content):
    (tree / 'Annotations/a.xml').write_bytes(content)
    refused(tree, 'Annotations/a.xml')


def test_an_xml_declaration_is_read(tree):
    path = tree / 'Annotations/a.xml'
    path.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + path.read_text())
    assert len(read_voc(tree, 'trainval', CLASSES)[0].labels) == 1


@pytest.mark.parametrize('encoding', ['utf-16', 'iso-8859-1'])
def test_no_object_is_lost_in_another_encoding(tree, encoding):
    path = tree / 'Annotations/a.xml'
    text = path.read_text().replace('<filename>', '<filename>M\u00fcller')
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    assert read_voc(tree, 'trainval', CLASSES)[0].labels.tolist() == [1]


def test_a_fault_is_found_at_its_line(tree):
    rewrite(tree, '<object>', '\n\n<object>')
    rewrite(tree, '<name>bolt<', '<name>blot<')
    refused(tree, "a.xml:3: class 'blot'")


def test_an_annotation_that_is_a_folder_is_named(tree):
    (tree / 'Annotations/a.xml').unlink()
    (tree / 'Annotations/a.xml').mkdir()
    refused(tree, 'Annotations/a.xml')


def test_an_unknown_class_names_file_value_and_what_is_known(tree):
    rewrite(tree, '<name>bolt<', '<name>blot<')
    refused(tree, 'a.xml', "class 'blot'", '(bolt, nut)', 'data.classes')


@pytest.mark.parametrize('corners, said', [
    ((9, 6, 8, 10), 'box (8, 5, 8, 10) has no area'),
    ((11, 10, 30, 5), 'box (10, 9, 30, 5) has no area'),
    ((11, 6, 42, 10), 'box (10, 5, 42, 10) reaches outside the image of 40 x 20'),
    ((-1, 6, 30, 10), 'box (-2, 5, 30, 10) reaches outside the image of 40 x 20'),
    ((11, 6, 30, 'nan'), 'is not finite'),
    ((11, 'inf', 30, 10), 'is not finite'),
    ((11, 6, 30, 'ten'), "bndbox/ymax is 'ten', expected a number"),
    ((11, 6, 30, ''), "bndbox/ymax is '', expected a number")])
def test_a_bad_box_is_refused_with_file_and_value(tree, corners, said):
    (tree / 'Annotations/a.xml').write_text(voc_xml('a', (20, 40), [('bolt', corners, 0)]))
    refused(tree, 'Annotations/a.xml', said)


@pytest.mark.parametrize('old, new, said', [
    ('<width>40</width>', '', 'size/width is None'),
    ('<width>40<', '<width>0<', 'image size 0 x 20 is impossible'),
    ('<height>20<', '<height>nan<', "size/height is 'nan'"),
    ('<height>20<', '<height>inf<', "size/height is 'inf'"),
    ('<xmin>11</xmin>', '', 'bndbox/xmin is None'),
    ('<name>bolt</name>', '', 'has no name')])
def test_a_missing_or_impossible_value_is_refused_with_file_and_value(tree, old, new, said):
    rewrite(tree, old, new)
    refused(tree, 'Annotations/a.xml', said)


@pytest.mark.parametrize('name', ['../a', '/etc/passwd', '../../elsewhere/b'])
def test_a_list_that_leads_out_of_the_tree_is_refused(tree, name):
    add_list(tree, 'trainval', [name])
    refused(tree, 'trainval.txt', repr(name)[1:-1])


def test_an_image_listed_twice_is_refused(tree):
    add_list(tree, 'trainval', ['a', 'a'])
    refused(tree, 'trainval.txt', "lists 'a' 2 times")


def test_a_devkit_of_original_files(shared_data):
    root = shared_data / 'voc_mini' / 'VOCdevkit'
    from mbv2ssd_train.config import VOC_CLASSES
    dataset = open_dataset(root, 'VOC2007:trainval', VOC_CLASSES)
    assert len(dataset) == 32
    for index, record in enumerate(dataset.records[:3]):
        assert dataset.image(index).shape[:2] == record.size_hw
    everything = (*dataset.records, *open_dataset(root, 'VOC2007:test', VOC_CLASSES).records)
    record, = (r for r in everything if r.image_id == '000155')
    # 360 x 500, its first object in columns 94 to 134 and rows 51 to 124, difficult
    np.testing.assert_allclose(
        record.boxes_xyxy[0], [93 / 360, 50 / 500, 134 / 360, 124 / 500], rtol=1e-6)
    assert record.labels[0] == 2 and record.difficult[0]


def test_counts_of_the_devkit_agree_with_its_text(shared_data):
    root = shared_data / 'voc_mini' / 'VOCdevkit'
    from mbv2ssd_train.config import VOC_CLASSES
    for split in ('trainval', 'test'):
        records = open_dataset(root, f'VOC2007:{split}', VOC_CLASSES).records
        texts = [(root / 'VOC2007/Annotations' / f'{r.image_id}.xml').read_text() for r in records]
        assert sum(len(r.labels) for r in records) == sum(t.count('<object>') for t in texts)
        assert sum(r.difficult.sum() for r in records) == sum(
            len(re.findall('<difficult>1<', t)) for t in texts)


def test_names_with_blanks_are_read_whole(tree):
    add_image(tree, 'a photo', PIXELS, [('nut', (1, 1, 40, 20), 0)])
    add_image(tree, 'shot 1', PIXELS, [])
    add_list(tree, 'trainval', ['a photo', 'shot 1'])
    records = read_voc(tree, 'trainval', CLASSES)
    assert [record.image_id for record in records] == ['a photo', 'shot 1']
    assert records[0].labels.tolist() == [2] and records[0].source.endswith('a photo.png')


def test_suffixes_and_backslashes_in_a_list(tree):
    add_image(tree / 'deep', 'b', PIXELS, [])
    for folder, suffix in (('JPEGImages', 'png'), ('Annotations', 'xml')):
        (tree / folder / 'set').mkdir()
        (tree / f'deep/{folder}/b.{suffix}').rename(tree / f'{folder}/set/b.{suffix}')
    add_list(tree, 'trainval', ['a.PNG', 'set\\b.png'])
    assert [record.image_id for record in read_voc(tree, 'trainval', CLASSES)] == ['a', 'set/b']


def test_a_picture_of_another_name_is_that_which_the_file_names(tree):
    (tree / 'Annotations/a.xml').rename(tree / 'Annotations/label_a.xml')
    add_list(tree, 'trainval', ['label_a'])
    record, = read_voc(tree, 'trainval', CLASSES)
    assert record.source.endswith('JPEGImages/a.png')


def test_a_size_of_zero_is_that_of_the_picture(tree):
    rewrite(tree, '<width>40</width><height>20</height>', '<width>0</width><height>0</height>')
    assert read_voc(tree, 'trainval', CLASSES)[0].size_hw == (20, 40)
