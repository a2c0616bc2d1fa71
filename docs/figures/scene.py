"""The photograph that most pictures use, its objects, and what a half-trained network says."""

from __future__ import annotations

from pathlib import Path

import cv2
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from mbv2ssd_train.box_coder import encode_loc, xyxy_to_cxcywh
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.augment.geometry import Objects
from mbv2ssd_train.data.loading.batch import Batch, make_batch
from mbv2ssd_train.loss.assign.targets import PriorBoxes
from mbv2ssd_train.loss.overlap import pairwise_iou

PHOTOS = Path(__file__).resolve().parents[2] / 'config' / 'demo' / 'images'
INPUT_HW = (320, 352)
NAMES = ('person', 'camera', 'tripod')
COLOURS = ('tab:orange', 'tab:cyan', 'tab:pink')
_BOXES = np.array([[0.02, 0.04, 0.57, 1.0], [0.50, 0.19, 0.65, 0.34], [0.45, 0.55, 0.79, 1.0]],
                  dtype=np.float32)


def config(**sections: dict) -> TrainConfig:
    """Return the standard configuration for this scene; sections as in a YAML file."""
    return TrainConfig.model_validate({
        'name': 'explained', 'data': {'root': '.', 'train': ['here'], 'val': 'there',
                                      'classes': NAMES},
        'model': {'input_size_hw': INPUT_HW}, **sections})


def batch() -> Batch:
    """Return the photograph and its objects as a batch of one."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTOS / 'cameraman.jpg')), cv2.COLOR_BGR2RGB)
    image = cv2.resize(photo, INPUT_HW[::-1], interpolation=cv2.INTER_AREA)
    objects = Objects(_BOXES[None], np.array([[1, 2, 3]]), np.zeros((1, 3), dtype=bool))
    return make_batch(torch.from_numpy(image)[None], objects, ['cameraman.jpg'])


def half_trained(priors: PriorBoxes, objects: Batch, variances: tuple[float, float]
                 ) -> tuple[Tensor, Tensor]:
    """
    Make up predictions: every prior is half-way to the object that it overlaps most.

    Args:
        priors: P of them.
        objects: a batch of one.
        variances: of the box coding.

    Returns:
        loc (1, P, 4) and conf_logits (1, P, 4), with noise.
    """
    generator = torch.Generator().manual_seed(7)
    iou, nearest = pairwise_iou(objects.boxes_xyxy[0], priors.xyxy).max(dim=0)
    wanted = encode_loc(xyxy_to_cxcywh(objects.boxes_xyxy[0][nearest]), priors.cxcywh, variances)
    loc = (0.5 + 0.1 * torch.randn(len(iou), 1, generator=generator)) * wanted
    conf = 0.5 * torch.randn(len(iou), 4, generator=generator)
    conf[:, 0] += 4.0
    conf[torch.arange(len(iou)), objects.labels[0][nearest]] += 8.0 * iou
    return loc[None], conf[None]


def show(axes: Axes, image: NDArray[np.uint8] | Tensor, light: float = 0.0, margin: float = 0.0
         ) -> None:
    """
    Show a picture without ticks.

    Args:
        axes: to draw into.
        image: (H, W, 3) uint8 RGB.
        light: share of white laid over it, so that what is drawn on it can be seen.
        margin: to leave around it, as a share of its sides.
    """
    pixels = np.asarray(image, dtype=np.float32) / 255
    height, width = pixels.shape[:2]
    axes.imshow(pixels + (1 - pixels) * light, extent=(0, width, height, 0))
    axes.set_xlim(-margin * width, (1 + margin) * width)
    axes.set_ylim((1 + margin) * height, -margin * height)
    axes.set_xticks([])
    axes.set_yticks([])


def outline(axes: Axes, box_xyxy_px: list[float], colour: str, width: float = 2.0,
            alpha: float = 1.0) -> None:
    """Draw the outline of a box."""
    left, top, right, bottom = box_xyxy_px
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False,
                             edgecolor=colour, linewidth=width, alpha=alpha))


def outline_objects(axes: Axes, objects: Batch, width: float = 2.5) -> None:
    """Draw the objects of the scene in their colours."""
    height, breadth = INPUT_HW
    scaled = objects.boxes_xyxy[0] * torch.tensor([breadth, height, breadth, height])
    for box, colour in zip(scaled.tolist(), COLOURS, strict=True):
        outline(axes, box, 'white', width + 1.5)
        outline(axes, box, colour, width)
