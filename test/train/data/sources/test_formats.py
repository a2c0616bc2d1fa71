"""Each format of annotated images is recognised by its files, with the same boxes."""

import json

import cv2
import numpy as np
import pytest

from helpers.synthetic import voc_xml
from mbv2ssd_ros.core.annotations import Remark
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.data.sources.recognise import recognise

CLASSES = ('bolt', 'nut')
# `a` and `c` are 40 x 20 pixels with a bolt and a nut, `b` has no object
BOXES = {'a': [('bolt', 10, 5, 30, 15), ('nut', 0, 0, 7.5, 20)], 'b': [],
         'c': [('nut', 1, 2, 39, 18)]}


def picture(path, grey=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((20, 40, 3), grey, np.uint8))
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding='utf-8')


def yolo_lines(name):
    return ''.join(
        f'{CLASSES.index(label)} {(x1 + x2) / 80} {(y1 + y2) / 40} {(x2 - x1) / 40} '
        f'{(y2 - y1) / 20}\n' for label, x1, y1, x2, y2 in BOXES[name])


def voc(name, suffix='png'):
    return voc_xml(name, (20, 40), [(label, (x1 + 1, y1 + 1, x2, y2), 0)
                                    for label, x1, y1, x2, y2 in BOXES[name]], suffix)


def coco(names, file_name='{}.png'):
    return {'images': [{'id': number, 'file_name': file_name.format(name), 'width': 40,
                        'height': 20} for number, name in enumerate(names)],
            'categories': [{'id': 1, 'name': 'nut'}, {'id': 5, 'name': 'bolt'}],
            'annotations': [
                {'id': 10 * number + k, 'image_id': number, 'iscrowd': 0,
                 'category_id': 5 if label == 'bolt' else 1, 'bbox': [x1, y1, x2 - x1, y2 - y1]}
                for number, name in enumerate(names)
                for k, (label, x1, y1, x2, y2) in enumerate(BOXES[name])]}


def yolo_ultralytics(root):
    for part, names in (('train', 'ab'), ('val', 'c')):
        for name in names:
            picture(root / f'images/{part}/{name}.png')
            if name != 'b':
                write(root / f'labels/{part}/{name}.txt', yolo_lines(name))
    write(root / 'data.yaml', 'path: ../datasets/parts\ntrain: images/train\nval: images/val\n'
          'names: {0: bolt, 1: nut}\n')


def yolo_roboflow(root):
    for part, names in (('train', 'ab'), ('valid', 'c')):
        for name in names:
            picture(root / f'{part}/images/{name}.png')
            write(root / f'{part}/labels/{name}.txt', yolo_lines(name))
    write(root / 'data.yaml', "train: ../train/images\nval: ../valid/images\nnc: 2\n"
          "names: ['bolt', 'nut']\n")


def yolo_lists(root):
    for name in 'abc':
        picture(root / f'images/{name}.png')
        write(root / f'labels/{name}.txt', yolo_lines(name))
    write(root / 'train.txt', '/home/me/parts/images/a.png\n./images/b.png\n')
    write(root / 'val.txt', 'images/c.png\n')
    write(root / 'data.yaml', 'train: train.txt\nval: [val.txt]\nnames: [bolt, nut]\n')


def yolo_darknet(root):
    for name in 'abc':
        picture(root / f'obj_train_data/{name}.png')
        write(root / f'obj_train_data/{name}.txt', yolo_lines(name))
    write(root / 'obj.names', 'bolt\nnut\n')
    write(root / 'obj.data', 'classes = 2\ntrain = data/train.txt\n')
    write(root / 'train.txt', 'data/obj_train_data/a.png\ndata/obj_train_data/b.png\n')
    write(root / 'val.txt', 'data/obj_train_data/c.png\n')


def roboflow_voc(root):
    for part, names in (('train', 'ab'), ('valid', 'c')):
        for name in names:
            picture(root / f'{part}/{name}_png.rf.0123.jpg')
            write(root / f'{part}/{name}_png.rf.0123.xml', voc(name, 'jpg'))


def roboflow_coco(root):
    for part, names in (('train', 'ab'), ('valid', 'c')):
        for name in names:
            picture(root / f'{part}/{name}.png')
        write(root / f'{part}/_annotations.coco.json', coco(names))


def cvat_coco(root):
    for name in 'abc':
        picture(root / f'images/{name}.png')
    for part, names in (('train', 'ab'), ('val', 'c')):
        write(root / f'annotations/instances_{part}.json', coco(names))


def cvat_voc(root):
    for name in 'abc':
        picture(root / f'JPEGImages/set1/{name}.png')
        write(root / f'Annotations/set1/{name}.xml', voc(name))
    write(root / 'ImageSets/Main/train.txt', 'set1/a\nset1/b\n')
    write(root / 'ImageSets/Main/val.txt', 'set1/c\n')


def csv(root):
    for part, names in (('train', 'ab'), ('val', 'c')):
        rows = ['filename,width,height,class,xmin,ymin,xmax,ymax\n']
        for name in names:
            picture(root / f'images/{name}.png')
            rows += [f'{name}.png,40,20,{label},{x1},{y1},{x2},{y2}\n'
                     for label, x1, y1, x2, y2 in BOXES[name]] or [f'{name}.png,40,20,,,,,\n']
        write(root / f'{part}_labels.csv', ''.join(rows))


SPLIT = (yolo_ultralytics, yolo_roboflow, yolo_lists, yolo_darknet, roboflow_voc, roboflow_coco,
         cvat_coco, cvat_voc, csv)


def flat_voc(root):
    for name in 'abc':
        picture(root / f'{name}.png')
        if name != 'b':
            write(root / f'{name}.xml', voc(name))


def label_studio_voc(root):
    for name in 'abc':
        picture(root / f'images/{name}.png')
        if name != 'b':
            write(root / f'Annotations/{name}.xml', voc(name))


def yolo_labelimg(root):
    for name in 'abc':
        picture(root / f'{name}.png')
        write(root / f'{name}.txt', yolo_lines(name))
    write(root / 'classes.txt', 'bolt\nnut\n')


def labelme(root):
    for name in 'abc':
        picture(root / f'{name}.png')
        if name != 'b':
            write(root / f'{name}.json', {
                'version': '5.4.1', 'imagePath': f'{name}.png', 'imageHeight': 20,
                'imageWidth': 40, 'imageData': 'A' * 200_000, 'shapes': [
                    {'label': label, 'shape_type': 'rectangle', 'points': [[x2, y1], [x1, y2]]}
                    for label, x1, y1, x2, y2 in BOXES[name]]})


def label_studio(root):
    tasks = []
    for name in 'abc':
        picture(root / f'images/0123abcd-{name}.png')
        tasks.append({'id': 1, 'data': {'image': f'/data/upload/1/0123abcd-{name}.png'},
                      'annotations': [{'result': [
                          {'type': 'rectanglelabels', 'id': 'x', 'original_width': 40,
                           'value': {'x': x1 * 2.5, 'y': y1 * 5, 'width': (x2 - x1) * 2.5,
                                     'height': (y2 - y1) * 5, 'rotation': 0,
                                     'rectanglelabels': [label]}}
                          for label, x1, y1, x2, y2 in BOXES[name]]}]})
    write(root / 'project-1.json', tasks)


FLAT = (flat_voc, label_studio_voc, yolo_labelimg, labelme, label_studio)


def boxes(root, split):
    """Return {letter: sorted objects in pixels} as a data set has them."""
    dataset = open_dataset(root, split, CLASSES)
    found = {}
    for index, record in enumerate(dataset.records):
        assert dataset.image(index).shape == (20, 40, 3) and record.size_hw == (20, 40)
        letter = next(letter for letter in record.source.rpartition('/')[2].removeprefix(
            '0123abcd-') if letter in 'abc')
        found[letter] = sorted(
            (CLASSES[label - 1], *np.multiply(box, (40, 20, 40, 20)).tolist())
            for label, box in zip(record.labels, record.boxes_xyxy))
    return found


def assert_equal(found, names):
    assert sorted(found) == sorted(names)
    for name in names:
        assert [item[0] for item in found[name]] == [item[0] for item in sorted(BOXES[name])]
        np.testing.assert_allclose([item[1:] for item in found[name]],
                                   [item[1:] for item in sorted(BOXES[name])], rtol=0, atol=1e-3)


@pytest.mark.parametrize('make', SPLIT, ids=lambda make: make.__name__)
def test_a_format_with_splits(tmp_path, make):
    make(tmp_path)
    train, val = recognise(tmp_path).splits
    assert train == 'train' and val in ('val', 'valid')
    assert_equal(boxes(tmp_path, 'train'), 'ab')
    assert_equal(boxes(tmp_path, val), 'c')
    assert_equal(boxes(tmp_path, 'all'), 'abc')


@pytest.mark.parametrize('make', FLAT, ids=lambda make: make.__name__)
def test_a_format_without_splits(tmp_path, make):
    make(tmp_path)
    assert list(recognise(tmp_path).splits) == ['all']
    assert_equal(boxes(tmp_path, 'all'), 'abc')


@pytest.mark.parametrize('make', [*SPLIT, *FLAT], ids=lambda make: make.__name__)
def test_a_format_in_a_folder_of_its_own(tmp_path, make):
    make(tmp_path / 'parts')
    assert_equal(boxes(tmp_path, 'all'), 'abc')


def test_the_classes_of_yolo_have_their_order(tmp_path):
    yolo_ultralytics(tmp_path)
    assert recognise(tmp_path).classes == ('bolt', 'nut')


def test_two_formats_at_once_are_not_guessed(tmp_path):
    flat_voc(tmp_path)
    yolo_labelimg(tmp_path)
    with pytest.raises(DataError, match='could be a flat folder of images and VOC XML or YOLO '
                                        r'\(classes\.txt\); keep the files of one format'):
        open_dataset(tmp_path, 'all', CLASSES)


def test_images_without_a_file_are_told(tmp_path):
    flat_voc(tmp_path)
    told = []
    open_dataset(tmp_path, 'all', CLASSES, on_fault=told.append)
    remark, = told
    assert isinstance(remark, Remark)
    assert str(remark) == (f'{tmp_path}/b.png: has no annotation; it is used as an image without '
                           'objects')


def test_folders_in_names_are_kept(tmp_path):
    for part in ('set1', 'set2'):
        picture(tmp_path / part / 'f0.png')
        write(tmp_path / part / 'f0.xml', voc('a'))
    records = open_dataset(tmp_path, 'all', CLASSES).records
    assert [record.image_id for record in records] == ['set1/f0', 'set2/f0']


def yolo_image(root, text):
    yolo_labelimg(root)
    write(root / 'a.txt', text)


def test_polygons_become_boxes_and_equal_lines_count_once(tmp_path):
    yolo_image(tmp_path, '0 0.25 0.25 0.75 0.25 0.5 0.75\n1 0.5 0.5 0.5 0.5\n1 0.5 0.5  0.5 0.5\n')
    assert boxes(tmp_path, 'all')['a'] == [('bolt', 10, 5, 30, 15), ('nut', 10, 5, 30, 15)]


@pytest.mark.parametrize(('line', 'message'), [
    ('2 0.5 0.5 0.5 0.5', r'class 2 of 2 \(bolt, nut, from 0\)'),
    ('0 0.5 0.5 0.5', 'has 3 numbers behind the class, expected 4'),
    ('0 0.5 0.5 0.5 0.5 0.9', 'has 5 numbers'),
    ('bolt 0.5 0.5 0.5 0.5', 'expected numbers'),
    ('0 20 10 20 10', r'has 20, expected shares of the picture.*are these pixels\?'),
    ('0 0.9 0.5 0.5 0.5', 'reaches outside the image of 40 x 20'),
    ('0 0.5 0.5 0 0.5', 'has no area'),
    ('0 nan 0.5 0.5 0.5', 'not finite'),
])
def test_a_wrong_line_of_yolo_is_named(tmp_path, line, message):
    yolo_image(tmp_path, f'1 0.5 0.5 0.1 0.1\n{line}\n')
    with pytest.raises(DataError, match=rf'a\.txt:2: .*{message}'):
        open_dataset(tmp_path, 'all', CLASSES)


def test_yolo_without_names_says_where_to_write_them(tmp_path):
    yolo_ultralytics(tmp_path)
    (tmp_path / 'data.yaml').unlink()
    with pytest.raises(DataError, match=r'labels: .*write .*classes\.txt, one name a line'):
        open_dataset(tmp_path, 'train', CLASSES)


@pytest.mark.parametrize(('row', 'message'), [
    ('a.png,40,20,bolt,1,2,3', 'has 7 columns, expected 8'),
    ('a.png,40,20,bolt,1,2,x,9', "xmax is 'x', expected a number"),
    ('a.png,40,20,,1,2,3,9', 'an object has no class'),
    ('z.png,40,20,bolt,1,2,3,9', "no picture 'z.png'"),
    ('a.png,40,20,bolt,1,2,99,9', 'reaches outside'),
])
def test_a_wrong_row_is_named(tmp_path, row, message):
    picture(tmp_path / 'a.png')
    write(tmp_path / 'labels.csv', 'filename,width,height,class,xmin,ymin,xmax,ymax\n' + row)
    with pytest.raises(DataError, match=rf'labels\.csv:2: .*{message}'):
        open_dataset(tmp_path, 'all', CLASSES)


def test_a_path_of_windows_and_a_suffix_in_another_case(tmp_path):
    picture(tmp_path / 'pics/a.png').rename(tmp_path / 'pics/a.Png')
    write(tmp_path / 'labels.csv',
          'filename,class,xmin,ymin,xmax,ymax\nC:\\me\\pics\\a.PNG,nut,1,2,3,9\n')
    assert open_dataset(tmp_path, 'all', CLASSES).records[0].size_hw == (20, 40)


def test_another_picture_of_the_same_name_is_not_taken(tmp_path):
    picture(tmp_path / 'a.png')
    picture(tmp_path / 'set1/b.png')
    write(tmp_path / 'labels.csv', 'filename,class,xmin,ymin,xmax,ymax\nset1/a.png,nut,1,2,3,9\n')
    with pytest.raises(DataError, match="no picture 'set1/a.png'"):
        open_dataset(tmp_path, 'all', CLASSES)


@pytest.mark.parametrize(('shape', 'message'), [
    ({'label': 'nut', 'points': [[1, 2], [3]]}, 'expected a label and points'),
    ({'label': 'nut', 'shape_type': 'point', 'points': [[1, 2]]}, 'has no box'),
    (None, 'expected a label and points'),
])
def test_a_wrong_shape_of_labelme_is_named(tmp_path, shape, message):
    picture(tmp_path / 'a.png')
    write(tmp_path / 'a.json', {'imagePath': 'a.png', 'shapes': [shape]})
    with pytest.raises(DataError, match=rf'a\.json: shapes\[0\]: .*{message}'):
        open_dataset(tmp_path, 'all', CLASSES)


def test_a_turned_box_of_label_studio_is_refused(tmp_path):
    label_studio(tmp_path)
    path = tmp_path / 'project-1.json'
    write(path, path.read_text().replace('"rotation": 0', '"rotation": 30'))
    with pytest.raises(DataError, match=r'project-1\.json: \[0\]: .*is turned by 30 degrees'):
        open_dataset(tmp_path, 'all', CLASSES)


def test_one_xml_of_cvat_for_all_images_is_explained(tmp_path):
    write(tmp_path / 'annotations.xml', '<annotations><version>1.1</version></annotations>')
    with pytest.raises(DataError, match=r'export as COCO 1\.0 or PASCAL VOC 1\.1'):
        open_dataset(tmp_path, 'all', CLASSES)
