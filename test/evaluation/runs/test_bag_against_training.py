"""A bag of images gives the figures that `mbv2ssd_train eval` gives for the same images."""


import cv2
import numpy as np
import pytest

from helpers.bag_world import CAMERA, raw, SECOND, stamp, write_bag
from helpers.paths import ROOT
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.evaluation.analysis import analyse, Subject
from mbv2ssd_ros.evaluation.bags.detection_content import header_content
from mbv2ssd_ros.evaluation.bags.message_types import COMPRESSED_IMAGE, standard_types
from mbv2ssd_ros.evaluation.runs.task import BagTask, perform
from mbv2ssd_train import evaluate
from mbv2ssd_train.data.sources import open

pytestmark = pytest.mark.needs('faster_coco_eval')

MODEL = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'
STABLE = ('map_50', 'map_50_11point', 'ap_50', 'objects', 'per_class', 'overall', 'confusion',
          'coco')


@pytest.fixture
def tree(shared_data):
    return shared_data / 'voc_mini' / 'VOCdevkit' / 'VOC2007'


def recorded_jpeg(path, number):
    """Return a message with the bytes of a file, as a compressed camera topic has them."""
    content = standard_types().types[COMPRESSED_IMAGE](
        header_content(stamp(number), 'cam'), 'jpeg', np.frombuffer(path.read_bytes(), np.uint8))
    return CAMERA, stamp(number), content


def recorded_pixels(path, number):
    """Return a message with the pixels of a file, as a raw camera topic has them."""
    return CAMERA, stamp(number), raw(cv2.imread(str(path)), stamp(number))


@pytest.mark.parametrize('recorded', [recorded_jpeg, recorded_pixels])
def test_a_bag_gives_the_figures_of_training(tree, tmp_path, recorded):
    backend = open_backend('auto', MODEL, BackendOptions())
    names = backend.contract.object_names
    dataset = open.open_dataset(tree, 'trainval', names)
    settings = DetectionSettings(score_threshold=0.02, max_detections=200)
    expected = analyse(
        Subject(MODEL.name, 'trainval', names, 0.02, 0.35),
        evaluate.summarise(dataset, evaluate.detect_all(backend, dataset, settings)).results)
    truth = tmp_path / 'truth'
    truth.mkdir()
    messages = []
    for number, record in enumerate(dataset.records):
        messages.append(recorded(tree / 'JPEGImages' / f'{record.image_id}.jpg', number))
        name = f'{stamp(number) // SECOND}_{stamp(number) % SECOND:09d}.xml'
        (truth / name).write_bytes((tree / 'Annotations' / f'{record.image_id}.xml').read_bytes())
    found = perform(BagTask(write_bag(tmp_path / 'bag', messages), tmp_path / 'out', model=MODEL,
                            ground_truth=truth)).analysis
    assert len(found.results) == len(dataset) == 32
    ours, theirs = found.to_dict(), expected.to_dict()
    assert _without_split({key: ours[key] for key in STABLE}) == _without_split(
        {key: theirs[key] for key in STABLE})
    assert found.map_50 > 0.4


def _without_split(value):
    if isinstance(value, dict):
        return {key: _without_split(item) for key, item in value.items() if key != 'split'}
    return value
