"""
The same numbers as torchvision's detectors, given its weights.

Expected figures lie in data/torchvision_figures.npz, computed by torchvision 0.28 with the script
next to it. With MBV2SSD_TORCHVISION set to a folder that torchvision is installed in, they are
computed again, and all priors are compared.

Compared are boxes and scores of single priors before NMS, and the final detections, from an image
of the size of the network input: torchvision's own resizing filter is another one than ours.
"""

from functools import cache
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.paths import ROOT
from helpers.seeded_weights import seeded_image, seeded_state
from mbv2ssd_ros.core.detections import DetectionSelector, DetectionSettings
from mbv2ssd_ros.core.image import ImageGeometry
from mbv2ssd_train.config import parse_config
from mbv2ssd_train.deploy.contract import build_contract, build_network
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.weights.torchvision.importing import convert_weights

DATA = ROOT / 'test' / 'train' / 'weights'
CASES = {'ssdlite320': ('ssdlite320_mobilenet_v3_large', (320, 320)),
         'ssdlite320_wide': ('ssdlite320_mobilenet_v3_large', (240, 320)),
         'ssd300': ('ssd300_vgg16', (300, 300)),
         'ssd300_wide': ('ssd300_vgg16', (300, 400))}  # but for its last two maps
CLASSES = ('one', 'two', 'three', 'four', 'five')
SETTINGS = DetectionSettings(score_threshold=0.3, nms_iou=0.45, max_detections=60,
                             max_candidates=100_000)
SOURCE_SIZE_HW = (180, 320)  # that the detections are mapped to
TOLERANCE = 1e-4  # of scores, and of boxes in units of the image side


@pytest.fixture(scope='module')
def stored():
    return np.load(DATA / 'torchvision_figures.npz')


@pytest.fixture(scope='module')
def fresh(tmp_path_factory):
    """Let torchvision compute all priors, in a process of its own."""
    folder = os.environ.get('MBV2SSD_TORCHVISION')
    if not folder:
        pytest.skip('needs torchvision: pip install --no-deps --target DIR torchvision==0.28.* '
                    'pillow, and MBV2SSD_TORCHVISION=DIR')
    output = tmp_path_factory.mktemp('torchvision') / 'figures.npz'
    subprocess.run(
        [sys.executable, DATA / 'make_torchvision_figures.py', '--torchvision', folder,
         '--output', output, '--kept-priors', '100000'], check=True)
    return np.load(output)


@pytest.fixture
def figures(request):
    return request.getfixturevalue(request.param)


@cache
def outputs(case, listed_shapes):
    """What ours computes with the same weights: contract, boxes and scores."""
    builder, size_hw = CASES[case]
    shapes = {}
    for line in listed_shapes.splitlines():
        name, *sides = line.split(' ')
        shapes[name] = tuple(int(side) for side in sides if side)
    checkpoint = convert_weights(builder, seeded_state(shapes), CLASSES, 'seeded')
    config = parse_config(checkpoint.config, 'the test',
                          (f'model.input_size_hw={list(size_hw)}',))
    network = build_network(config)
    network.load_state_dict(checkpoint.averaged)
    backend = TorchBackend(DeployModel(network, config.model), build_contract(config, None))
    boxes, scores = backend.infer(seeded_image(size_hw, seed=1)[None])
    return backend.contract, boxes[0], scores[0]


BOTH = pytest.mark.parametrize('figures', ['stored', 'fresh'], indirect=True)


@pytest.mark.parametrize('case', CASES)
@BOTH
def test_boxes_and_scores_of_each_prior(figures, case):
    contract, boxes, scores = outputs(case, str(figures[f'shapes/{CASES[case][0]}']))
    assert len(boxes) == contract.num_priors == figures[f'{case}/priors']
    chosen = figures[f'{case}/chosen']
    np.testing.assert_allclose(scores[chosen], figures[f'{case}/scores'], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(boxes[chosen], figures[f'{case}/boxes'], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize('case', ['ssdlite320', 'ssdlite320_wide', 'ssd300'])
@BOTH
def test_final_detections_in_a_source_that_is_not_square(figures, case):
    contract, boxes, scores = outputs(case, str(figures[f'shapes/{CASES[case][0]}']))
    found = DetectionSelector(contract, SETTINGS).select(boxes, scores)
    geometry = ImageGeometry(SOURCE_SIZE_HW, CASES[case][1], 'stretch')
    assert len(found) == 60
    np.testing.assert_array_equal(found.labels, figures[f'{case}/found_labels'])
    np.testing.assert_allclose(found.scores, figures[f'{case}/found_scores'], rtol=0,
                               atol=TOLERANCE)
    np.testing.assert_allclose(
        geometry.to_source_pixels(found.boxes_xyxy), figures[f'{case}/found_boxes'], rtol=0,
        atol=TOLERANCE * max(SOURCE_SIZE_HW))


def test_the_figures_would_show_a_wrong_score(stored):
    for case in CASES:
        assert np.ptp(stored[f'{case}/scores'], axis=0).min() > 0.3
        assert np.ptp(stored[f'{case}/boxes'], axis=0).min() > 0.5
