"""The pictures of docs/training_explained.md can be drawn, and show something."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from helpers.needs import need
from helpers.paths import ROOT

DOCS = ROOT / 'docs'
PICTURES = sorted((DOCS / 'figures').glob('*.png'))


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Draw all pictures into a folder of their own."""
    need('matplotlib')
    folder = tmp_path_factory.mktemp('figures')
    done = subprocess.run([sys.executable, DOCS / 'figures' / 'make.py', folder],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_page_shows_every_picture():
    shown = re.findall(r'\]\(figures/(\w+\.png)\)', (DOCS / 'training_explained.md').read_text())
    assert sorted(shown) == [path.name for path in PICTURES]


def test_the_script_draws_the_pictures_that_are_there(drawn):
    assert sorted(path.name for path in drawn.iterdir()) == [path.name for path in PICTURES]


@pytest.mark.parametrize('path', PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_small_and_shows_something_everywhere(drawn, path):
    now, kept = cv2.imread(str(drawn / path.name)), cv2.imread(str(path))
    assert now.shape == kept.shape and 850 <= now.shape[1] <= 1000
    assert path.stat().st_size < 150_000
    # neither half is of one colour, nor nearly so
    for half in np.array_split(now, 2, axis=1):
        assert len(np.unique(half.reshape(-1, 3), axis=0)) > 30
        assert (half < 250).any(axis=2).mean() > 0.03
