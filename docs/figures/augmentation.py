"""Augmentation: each step alone, then all together."""

from __future__ import annotations

import cv2
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray
import scene

from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment.draws import uniform_draws
from mbv2ssd_train.data.augment.geometry import draw_views, DRAWS, Objects
from mbv2ssd_train.data.augment.render import render

_NETWORK_HW = (160, 192)
_PHOTOS = (('car.jpg', [0.0, 0.20, 0.815, 0.92]), ('parrot.jpg', [0.17, 0.07, 1.0, 1.0]))
_NOTHING = {'flip': 0, 'expand': 0, 'crop': 0, 'photometric': 0}
_STEPS = {
    'nothing': {}, 'expand': {'expand': 1}, 'crop': {'crop': 1}, 'flip': {'flip': 1},
    'colours': {'photometric': 1}}
_SEED = 4  # chosen to show much


def draw() -> Figure:
    """Show every step on two photographs, and below what training sees of one of them."""
    figure = Figure(figsize=(9.0, 5.2), layout='constrained')
    panels = figure.subplots(3, len(_STEPS))
    for column, (title, step) in enumerate(_STEPS.items()):
        _show(panels[:2, column], AugmentConfig(**{**_NOTHING, **step}), epoch=0)
        panels[0, column].set_title(title, fontsize=10)
        _show(panels[2:, column], AugmentConfig(), epoch=column + 1)
        panels[2, column].set_title(f'all steps, epoch {column + 1}', fontsize=10)
    return figure


def _show(panels: NDArray[np.object_], config: AugmentConfig, epoch: int) -> None:
    images, objects = _augmented(config, epoch)
    for axes, image, boxes, labels in zip(
            panels, images, objects.boxes_xyxy, objects.labels):  # fewer panels than photographs
        scene.show(axes, image)
        _outline(axes, boxes[labels > 0])


def _outline(axes: Axes, boxes_xyxy: NDArray[np.float32]) -> None:
    height, width = _NETWORK_HW
    for left, top, right, bottom in boxes_xyxy * np.array([width, height, width, height]):
        # a little inwards, so that edges at the border are seen
        scene.outline(axes, [left + 1.5, top + 1.5, right - 1.5, bottom - 1.5], 'lime')


def _augmented(config: AugmentConfig, epoch: int) -> tuple[NDArray[np.uint8], Objects]:
    """Return what the network sees of both photographs, (2, h, w, 3) RGB, and the objects."""
    photos = [cv2.imread(str(scene.PHOTOS / name)) for name, _ in _PHOTOS]
    objects = Objects(np.array([[box] for _, box in _PHOTOS], dtype=np.float32),
                      np.array([[1], [2]]), np.zeros((2, 1), dtype=bool))
    places = np.arange(len(photos))
    draws = uniform_draws(_SEED, epoch, places, np.zeros_like(places), DRAWS)
    views, seen = draw_views(
        objects, [photo.shape[:2] for photo in photos], _NETWORK_HW, config, draws)
    slots = np.empty((len(photos), *_NETWORK_HW, 3), dtype=np.uint8)
    render(photos, views, slots)
    return slots, seen
