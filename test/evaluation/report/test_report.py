"""The text of the report, read without a browser."""

from html.parser import HTMLParser
import re

import cv2
import numpy as np
import pytest

from helpers.needs import need
from helpers.scenes import CAT, DOG, NAMES, random_scenes, scene, square
from mbv2ssd_ros.evaluation.analysis import analyse, Subject
from mbv2ssd_ros.evaluation.report.detector_report import report, write_report
from mbv2ssd_ros.evaluation.report.pictures import data_url, LONGEST_PX
from mbv2ssd_ros.evaluation.report.tables import Cell, Column, number, share, table

SUBJECT = Subject('m.onnx', 'test', NAMES, 0.02, 0.35)
HERE = square(0, 0)


def grey(_):
    """Return an image."""
    return np.full((50, 100, 3), 128, np.uint8)


class Text(HTMLParser):
    """The text of a page, without style and script, and its elements in order."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.opened, self._silent = [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))
        self._silent += tag in ('style', 'script')

    def handle_endtag(self, tag):
        self._silent -= tag in ('style', 'script')

    def handle_data(self, data):
        if not self._silent and data.strip():
            self.texts.append(data.strip())


def page(*results, subject=SUBJECT):
    """Return the page of some results, read."""
    need('faster_coco_eval')
    return Text(report(analyse(subject, results), grey))


def test_the_top_names_model_split_metric_and_figures():
    texts = page(scene(0, [(CAT, 0.9, HERE)], [(CAT, HERE), (DOG, square(100, 50))])).texts
    top = texts[:texts.index('Show')]
    assert 'm.onnx on test' in texts[0]
    at = top.index('VOC, area')
    assert top[at - 2:at + 2] == ['mAP@0.5', '0.500', 'VOC, area', 'test']
    assert '1 images, 2 objects of 2 of 2 classes, 0 difficult ones ignored. Detections scoring ' \
        'above 0.02.' in top


def test_every_section_says_which_split_it_is_of():
    found = page(*random_scenes(0)).texts
    assert sum(text.startswith('On test. ') for text in found) == 7


def test_nothing_measured_is_a_page_too():
    texts = page(scene(0), scene(1)).texts
    assert '–' in texts and 'nan' not in ' '.join(texts)
    assert 'No image has a mistake at this score threshold.' in texts


def test_one_class_only_and_many_classes():
    one = Subject('m', 's', ('cat',), 0.02, 0.35)
    assert 'cat' in page(scene(0, [(1, 0.9, HERE)], [(1, HERE)]), subject=one).texts
    many = Subject('m', 's', tuple(f'class{k}' for k in range(90)), 0.02, 0.35)
    assert 'class89' in page(scene(0, [(90, 0.9, HERE)], [(1, HERE)]), subject=many).texts


HOSTILE = '<script>document.title="owned"</script>'


def test_names_from_data_never_become_elements():
    subject = Subject('"><img src=x>', '</style><b>', (HOSTILE, "'&lt;"), 0.02, 0.35)
    results = [scene(0, [(CAT, 0.9, HERE)], [(DOG, HERE)])]
    object.__setattr__(results[0], 'name', '<iframe src=//example.com>')
    found = page(*results, subject=subject)
    tags = [tag for tag, _ in found.opened]
    assert tags.count('script') == 1 and 'iframe' not in tags and 'b' in tags
    assert [attributes.get('src', '')[:5] for tag, attributes in found.opened if tag == 'img'] == [
        'data:']
    assert HOSTILE in found.texts and '<iframe src=//example.com>' in found.texts


@pytest.mark.needs('faster_coco_eval')
def test_the_page_refers_to_nothing_outside_itself(tmp_path):
    path = write_report(tmp_path / 'deep' / 'er', analyse(SUBJECT, random_scenes(0)), grey)
    text = path.read_text(encoding='utf-8')
    assert list(path.parent.iterdir()) == [path] and path.name == 'report.html'
    assert not re.search(r'https?:|//\w+\.|@import|url\(', text.replace('arXiv:', ''))
    for _, attributes in Text(text).opened:
        assert attributes.get('src', 'data:').startswith('data:')
        assert attributes.get('href', '#').startswith('#')


@pytest.mark.needs('faster_coco_eval')
def test_the_same_figures_make_the_same_page():
    assert report(analyse(SUBJECT, random_scenes(1)), grey) == report(
        analyse(SUBJECT, random_scenes(1)), grey)


def boxes_of(found, label=None):
    """Return kind and text of the boxes in the pictures."""
    return [(attributes['class'], attributes['title']) for tag, attributes in found.opened
            if tag == 'div' and attributes.get('class', '').startswith('box ')]


def test_boxes_say_what_became_of_them():
    found = page(scene(0, [(CAT, 0.9, HERE), (CAT, 0.8, square(150, 0)), (DOG, 0.7, HERE),
                           (DOG, 0.1, HERE), (DOG, 0.6, square(0, 50))],
                       [(CAT, HERE), (DOG, square(100, 50)), (DOG, square(0, 50), True)]))
    assert boxes_of(found) == [
        ('box truth', 'cat'), ('box truth missed', 'dog'), ('box truth difficult', 'dog'),
        ('box found', 'cat 0.90'), ('box found false', 'cat 0.80 background'),
        ('box found false', 'dog 0.70 classification')]


def test_boxes_lie_on_the_picture_by_shares_of_the_original_image():
    found = page(scene(0, [], [(CAT, (50, 20, 100, 80))], size_hw=(100, 200)))
    styles = [attributes['style'] for tag, attributes in found.opened
              if attributes.get('class') == 'box truth missed' and 'style' in attributes]
    assert styles == ['left:25.00%;top:20.00%;width:25.00%;height:60.00%']


@pytest.mark.parametrize(('size_hw', 'expected'), [
    ((1000, 2000), (240, 480)), ((960, 480), (480, 240)), ((30, 50), (30, 50)),
    ((1, 5000), (1, 480))])
def test_pictures_are_reduced_but_never_enlarged(size_hw, expected):
    import base64
    address = data_url(np.zeros((*size_hw, 3), np.uint8))
    data = base64.b64decode(address.removeprefix('data:image/jpeg;base64,'))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == expected and max(expected) <= LONGEST_PX


def test_cells_sort_by_value_and_bars_stay_inside():
    assert number(0.12345) == Cell('0.123', 0.12345)
    assert number(float('nan')) == Cell('–', -1)
    assert share(50, 200, 0) == Cell('50', 50, 0.25)
    assert share(-3.0, 10).bar == 0 and share(30.0, 10).bar == 1 and share(0, 0).bar == 0


def test_a_table_has_its_figures_in_order_and_sums_apart():
    found = Text(table([Column('a', is_text=True), Column('b')],
                       [[Cell('x', 'x'), number(1)], [Cell('y', 'y'), number(2)]],
                       last_rows=[[Cell('sum', ''), number(3)]]))
    assert found.texts == ['a', 'b', 'x', '1.000', 'y', '2.000', 'sum', '3.000']
    assert [tag for tag, _ in found.opened if tag in ('tbody', 'tfoot')] == ['tbody', 'tfoot']
