"""The report of a bag in a real browser; and the picture of it in the documentation."""

from base64 import b64decode
import json
import os

import cv2
import numpy as np
import pytest

from helpers.bag_world import (
    CAMERA,
    coco,
    images,
    raw,
    SECOND,
    SIX_OBJECTS,
    six_pictures,
    stamp,
    write_bag,
)
from helpers.browser import Browser, find_chromium, PROGRAMS
from helpers.paths import ROOT
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.evaluation.runs.task import BagTask, perform

pytestmark = [
    pytest.mark.needs('faster_coco_eval'),
    pytest.mark.skipif(find_chromium() is None,
                       reason=f'needs a browser: none of {", ".join(PROGRAMS)} is here')]

HOSTILE = '<img src=x onerror=leak()>'


@pytest.fixture(scope='module')
def browser():
    """Start one browser for all tests."""
    with Browser() as started:
        yield started


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Evaluate a bag of a hostile name in which one frame fails and one green is missed."""
    folder = tmp_path_factory.mktemp('report')
    messages = images(six_pictures())
    messages[1] = (CAMERA, stamp(1), raw(six_pictures()[1], stamp(1), encoding=HOSTILE))
    objects = [*SIX_OBJECTS[:5], [*SIX_OBJECTS[5], (2, 0, 0)]]
    (folder / 'truth.json').write_text(json.dumps(coco(
        [(f'{k}.jpg', found) for k, found in enumerate(objects)])))
    perform(BagTask(write_bag(folder / HOSTILE, messages), folder,
                    model=write_tiny_model(folder / 'tiny.onnx'),
                    ground_truth=folder / 'truth.json'))
    return folder


@pytest.fixture
def page(browser, folder):
    """Open the report."""
    browser.open(folder / 'report.html')
    return browser


def visible(page, selector):
    """Return the texts of the elements that can be seen."""
    return page.run(f'Array.from(document.querySelectorAll({selector!r}))'
                    '.filter(part => part.getClientRects().length)'
                    '.map(part => part.innerText.trim())')


def choose(page, label):
    """Choose a class."""
    page.run('(() => { const filter = document.getElementById("class-filter");'
             f' filter.value = "{label}"; filter.dispatchEvent(new Event("change")); }})()')


def test_it_loads_without_a_complaint_and_asks_for_nothing_else(page, folder):
    assert page.complaints == []
    assert page.requests == [(folder / 'report.html').resolve().as_uri()]
    assert page.run('document.title') == f'tiny.onnx on {HOSTILE}'


def test_frames_are_counted_and_latency_is_shown(page):
    [row] = visible(page, '#frames-table tbody tr')
    assert row.split() == [CAMERA, '6', '5', '5', '1']
    assert visible(page, '#latency-table tbody th') == [
        'read', 'decode', 'preprocess', 'infer', 'select', 'total']
    drawn = page.run('["latency-histogram", "latency-timeline"].map(id => document'
                     '.querySelector(`#${id} .series`).getBoundingClientRect().width)')
    assert min(drawn) > 100


def test_the_worst_frame_is_shown_for_its_class(page):
    assert len(visible(page, '#chooser')) == 1
    assert len(visible(page, '.gallery figure')) == 1
    assert '1700000000.500000000 (frame 5)' in visible(page, '.gallery figcaption')[0]
    page.run('Promise.all(Array.from(document.images).map(image => image.decode()))')
    assert page.run('Array.from(document.images).map(image => image.naturalWidth)') == [96]
    choose(page, 2)
    assert visible(page, '#class-table tbody th') == ['green']
    assert len(visible(page, '.gallery figure')) == 1


def test_what_is_incomplete_says_so_first(browser, folder, tmp_path):
    def interrupt(title, done, total):
        def wrap(records):
            yield next(records)
            raise KeyboardInterrupt
        return wrap

    perform(BagTask(folder / HOSTILE, tmp_path, model=folder / 'tiny.onnx'), interrupt)
    browser.open(tmp_path / 'report.html')
    assert 'Incomplete: interrupted after 1 of 6 frames' in visible(browser, 'header')[0]
    assert browser.complaints == [] and visible(browser, '#latency-table') != []
    assert visible(browser, '#chooser') == []  # nothing is scored, so there is no class to choose


def test_a_narrow_window_does_not_scroll_sideways(browser, folder):
    browser.open(folder / 'report.html', width_px=390)
    assert browser.run('document.documentElement.scrollWidth') <= 390


def test_real_images_and_the_shipped_model_make_the_picture_in_the_docs(
        browser, shared_data, tmp_path):
    """With MBV2SSD_DOCS=1 the picture goes into docs/."""
    tree = shared_data / 'voc_mini' / 'VOCdevkit' / 'VOC2007'
    xml = tmp_path / 'truth'
    xml.mkdir()
    photographs = []
    for number, path in enumerate(sorted((tree / 'Annotations').glob('*.xml'))):
        photographs.append(cv2.imread(str(tree / 'JPEGImages' / f'{path.stem}.jpg')))
        name = f'{stamp(number) // SECOND}.{stamp(number) % SECOND:09d}.xml'
        (xml / name).write_bytes(path.read_bytes())
    found = perform(BagTask(
        write_bag(tmp_path / 'drive', images(photographs)), tmp_path / 'out',
        model=ROOT / 'models' / 'mbv2_ssdlite_voc.onnx', ground_truth=xml))
    assert len(found.scored) == len(photographs) == 40
    assert found.analysis.map_50 > 0.4
    browser.open(tmp_path / 'out' / 'report.html')
    assert browser.complaints == []
    area = browser.run('''(() => {
      const top = document.getElementById('frames').getBoundingClientRect().top + scrollY;
      return {x: 0, y: top, width: innerWidth, scale: 1,
              height: document.documentElement.scrollHeight - top}; })()''')
    data = b64decode(browser.call(
        'Page.captureScreenshot', captureBeyondViewport=True, clip=area)['data'])
    target = ROOT / 'docs' if os.environ.get('MBV2SSD_DOCS') else tmp_path
    (target / 'bag_report.png').write_bytes(data)
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[1] == 1200 and shown.shape[0] > 700
    inked = (np.abs(shown.astype(int) - shown[0, 0]).sum(axis=2) > 100).mean(axis=1)
    assert (inked[:350] > 0).mean() > 0.2 and (inked[350:] > 0).mean() > 0.5  # tables, charts
