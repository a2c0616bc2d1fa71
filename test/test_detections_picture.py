"""The picture in the README is what the shipped models find now."""

import subprocess
import sys

import cv2
import numpy as np

from helpers.paths import ROOT

PICTURE = ROOT / 'docs' / 'detections.jpg'


def test_the_picture_is_not_stale(tmp_path):
    drawn = tmp_path / 'drawn.jpg'
    subprocess.run([sys.executable, PICTURE.with_suffix('.py'), drawn], check=True)
    now, kept = (cv2.imread(str(path)).astype(int) for path in (drawn, PICTURE))
    assert now.shape == kept.shape
    # a box elsewhere or another word; scores may differ by a hundredth between processors
    assert (np.abs(now - kept).max(axis=2) > 60).mean() < 1e-3
