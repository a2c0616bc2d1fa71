"""Ground truth of a bag: COCO, VOC or a topic, the same boxes as training reads."""

import json

import numpy as np
import pytest

from helpers.bag_world import (
    CAMERA,
    cell_xyxy,
    coco,
    contents,
    detections,
    FRONT,
    images,
    picture,
    REAR,
    SIX_OBJECTS,
    stamp,
    write_bag,
)
from helpers.needs import need
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags.detection_content import found_in
from mbv2ssd_ros.evaluation.bags.frame_names import FrameKey
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.frame_record import FrameRecord
from mbv2ssd_ros.evaluation.truth.ground_truth import ground_truth, pair, read_annotated_frames
from mbv2ssd_ros.evaluation.truth.topic import read_topic_annotations

XML = '''<annotation><size><width>96</width><height>64</height></size>
<object><name>red</name><difficult>{difficult}</difficult>
<bndbox><xmin>{x1}</xmin><ymin>1</ymin><xmax>16</xmax><ymax>17</ymax></bndbox></object>
</annotation>'''


@pytest.fixture
def write_coco(tmp_path):
    """Return a function that writes COCO JSON and returns its path."""
    def write(*arguments, **changes):
        path = tmp_path / 'truth.json'
        path.write_text(json.dumps({**coco(*arguments), **changes}))
        return path
    return write


def write_voc(folder, names, difficult=0, x1=1):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(XML.format(difficult=difficult, x1=x1))
    return folder


def frames(count, topic=CAMERA):
    return [FrameRecord(
        number=k, topic=topic, index=k, stamp_ns=stamp(k), header_ns=stamp(k), log_ns=stamp(k),
        frame_id='cam', size_hw=None, detections=None) for k in range(count)]


def test_coco_boxes_and_crowds_are_read(write_coco):
    path = write_coco([('7.jpg', SIX_OBJECTS[3])])
    found = json.loads(path.read_text())
    found['annotations'][1]['iscrowd'] = 1
    path.write_text(json.dumps(found))
    [frame] = read_annotated_frames(path, [CAMERA]).frames
    assert frame.key == FrameKey(None, None, 7)
    assert (frame.names, frame.size_hw) == (('red', 'green'), (64, 96))
    np.testing.assert_allclose(frame.boxes_xyxy, [cell_xyxy(1, 2), cell_xyxy(2, 4)])
    truth = ground_truth(frame, ('green', 'red'))
    assert truth.labels.tolist() == [2, 1] and truth.difficult.tolist() == [False, True]


def test_voc_corners_count_from_one(tmp_path):
    folder = write_voc(tmp_path / 'xml', ['1.xml', 'deep/2.xml'], difficult=1)
    found = read_annotated_frames(folder, [CAMERA])
    assert [frame.key.index for frame in found.frames] == [1, 2]
    np.testing.assert_allclose(found.frames[0].boxes_xyxy, [[0, 0, 16, 17]])
    assert found.frames[0].difficult.tolist() == [True]
    [frame] = read_annotated_frames(folder / '1.xml', [CAMERA]).frames
    assert frame.name == '1.xml'


def test_the_boxes_are_those_that_training_reads(tmp_path, write_coco):
    need('pydantic')
    coco_reader = need('mbv2ssd_train.data.sources.coco')
    voc_reader = need('mbv2ssd_train.data.sources.voc')
    objects = [(f'{k}.jpg', objects) for k, objects in enumerate(SIX_OBJECTS)]
    path, xml = write_coco(objects), write_voc(tmp_path / 'xml', ['1.xml'], x1=2.3)
    for name, _ in objects:
        (tmp_path / name).write_bytes(b'')
    ours = [frame for source in (path, xml)
            for frame in read_annotated_frames(source, [CAMERA]).frames]
    theirs = [*coco_reader.read_coco(path, tmp_path, ('red', 'green')),
              *voc_reader.read_voc_files([xml / '1.xml'], tmp_path, ('red', 'green'))]
    for frame, record in zip(ours, theirs, strict=True):
        expected = record.ground_truth(record.size_hw)
        np.testing.assert_array_equal(frame.boxes_xyxy, expected.boxes_xyxy)
        np.testing.assert_array_equal(
            ground_truth(frame, ('red', 'green')).labels, expected.labels)


def test_an_entry_may_name_its_frame_itself(write_coco):
    path = write_coco([({'file_name': 'dog.jpg', 'stamp_ns': 5, 'topic': FRONT}, ())])
    assert read_annotated_frames(path, [FRONT]).frames[0].key == FrameKey(FRONT, 5, None)
    path = write_coco([({'file_name': 'dog.jpg', 'frame_index': 5}, ())])
    assert read_annotated_frames(path, [FRONT]).frames[0].key == FrameKey(None, None, 5)


@pytest.mark.parametrize(('entries', 'expected'), [
    ([('1.jpg', ()), ('1700000000.000000000.jpg', ())], 'name frames in different ways'),
    ([('1.jpg', ()), ('frame_01.jpg', ())], "'1.jpg' and 'frame_01.jpg' name the same frame"),
    ([('dog.jpg', ())], "truth.json: file name 'dog.jpg' names no frame.*or give its entry"),
    ([({'stamp_ns': 1.5}, ())], 'stamp_ns is 1.5, expected a whole number'),
    ([({'file_name': '1.jpg', 'width': 40}, ((1, 0, 5),))], 'reaches outside the image of 40 x'),
    ([], 'annotates no frame'),
])
def test_a_file_that_does_not_name_its_frames_is_refused(write_coco, entries, expected):
    with pytest.raises(DataError, match=expected):
        read_annotated_frames(write_coco(entries), [CAMERA])


@pytest.mark.parametrize(('changes', 'expected'), [
    ({'annotations': [{'image_id': 1, 'category_id': 9, 'bbox': [0, 0, 1, 1]}]},
     'category 9 is not among the categories'),
    ({'annotations': [{'image_id': 5, 'category_id': 1, 'bbox': [0, 0, 1, 1]}]},
     "images that it does not list: .'5'"),
    ({'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 1]}]},
     r'bbox is \[0, 0, 1\], expected four numbers'),
    ({'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 0, 5]}]}, 'has no area'),
    ({'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [float('nan'), 0, 5, 5]}]},
     'not finite'),
    ({'categories': None}, "'categories' is missing or not a list"),
    ({'images': [{'id': 1}]}, "images.0.: 'file_name' is missing"),
])
def test_a_file_that_is_not_coco_is_refused(write_coco, changes, expected):
    with pytest.raises(DataError, match=f'truth.json: .*{expected}'):
        read_annotated_frames(write_coco([('1.jpg', ())], **changes), [CAMERA])


@pytest.mark.parametrize(('text', 'expected'), [
    ('{', '1.xml: not well-formed XML'),
    ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 'defines entities'),
    ('<annotation/>', 'size/height is None, expected a number'),
    (XML.format(difficult=0, x1='left'), "bndbox/xmin is 'left'"),
    (XML.format(difficult=0, x1=1).replace('<name>red</name>', ''), 'an object has no name'),
])
def test_a_file_that_is_not_voc_is_refused(tmp_path, text, expected):
    (tmp_path / '1.xml').write_text(text)
    with pytest.raises(DataError, match=expected):
        read_annotated_frames(tmp_path, [CAMERA])


def test_missing_ground_truth_is_named(tmp_path):
    with pytest.raises(DataError, match='none.json: no such annotations'):
        read_annotated_frames(tmp_path / 'none.json', [CAMERA])
    with pytest.raises(DataError, match=r'has no \*.xml'):
        read_annotated_frames(tmp_path, [CAMERA])


def test_a_foreign_class_is_refused_by_name(write_coco):
    path = write_coco([('1.jpg', ()), ('2.jpg', ((2, 0, 0),))])
    annotated = read_annotated_frames(path, [CAMERA])
    annotated.require_classes(('red', 'green'))
    with pytest.raises(DataError, match="2.jpg has an object of class 'green', which is not one "
                                        'of those measured: red'):
        annotated.require_classes(('red',))


def test_frames_without_annotation_and_the_reverse_are_listed(write_coco):
    annotated = read_annotated_frames(write_coco([(f'{k}.jpg', ()) for k in (1, 2, 9)]), [CAMERA])
    found = pair(annotated, frames(4), [CAMERA], 0)
    assert found.pairs == ((1, 0), (2, 1))
    assert (found.unpaired_first, found.unpaired_second) == ((0, 3), (2,))


def test_no_pair_at_all_is_an_error_with_both_ranges(write_coco):
    annotated = read_annotated_frames(write_coco([('1700000009.000000000.jpg', ())]), [CAMERA])
    with pytest.raises(DataError, match=r'within 5 ms: annotations have the stamps '
                                        r'1700000009.000000000 to .*the frames have '
                                        r'1700000000.000000000 to 1700000000.300000000'):
        pair(annotated, frames(4), [CAMERA], 5_000_000)
    annotated = read_annotated_frames(write_coco([('50.jpg', ())]), [CAMERA])
    with pytest.raises(DataError, match='the numbers 50 to 50, the bag has 4 frames'):
        pair(annotated, frames(4), [CAMERA], 0)


def test_two_cameras_with_equal_stamps_are_told_apart(write_coco):
    names = ['rear__image_raw-1700000000_000000000.jpg',
             'front__image_raw-1700000000_000000000.jpg']
    annotated = read_annotated_frames(write_coco([(name, ()) for name in names]), [FRONT, REAR])
    both = [*frames(1, FRONT), *frames(1, REAR)]
    assert pair(annotated, both, [FRONT, REAR], 0).pairs == ((0, 1), (1, 0))
    alone = pair(annotated, both[:1], [FRONT], 0)
    assert (alone.pairs, alone.unpaired_second) == (((0, 1),), ())  # the rear is not asked for
    vague = read_annotated_frames(write_coco([('0.jpg', ())]), [FRONT, REAR])
    with pytest.raises(DataError, match="'0.jpg' does not say which of the topics"):
        pair(vague, both, [FRONT, REAR], 0)


def test_annotations_of_a_topic_are_paired_by_stamp(tmp_path):
    box = cell_xyxy(1, 2)
    path = write_bag(tmp_path / 'bag', [
        *images([picture()] * 2), ('/truth', stamp(9), detections([(2, 0.1, box)], stamp(1)))])
    with Bag(path) as bag:
        annotated = read_topic_annotations(bag, [CAMERA], ['/truth'])
    [frame] = annotated.frames
    assert (frame.key, frame.names) == (FrameKey(CAMERA, stamp(1), None), ('green',))
    np.testing.assert_allclose(frame.boxes_xyxy, [box])
    assert pair(annotated, frames(2), [CAMERA], 0).pairs == ((1, 0),)


@pytest.mark.parametrize('centre', [
    contents(position=contents(x=30.0, y=20.0), theta=0.0), contents(x=30.0, y=20.0, theta=0.0)])
@pytest.mark.parametrize('results', [
    [contents(hypothesis=contents(class_id='a', score=0.2)),
     contents(hypothesis=contents(class_id='b', score=0.7))],
    [contents(id='b', score=0.7)]])
def test_detections_of_every_version_of_vision_msgs_are_read(centre, results):
    box = contents(center=centre, size_x=20.0, size_y=8.0)
    message = contents(detections=[contents(results=results, bbox=box),
                                   contents(results=[], bbox=box)])
    assert found_in(message) == [('b', 0.7, (20.0, 16.0, 40.0, 24.0))]
