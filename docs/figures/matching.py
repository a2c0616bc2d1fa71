"""Matching: the priors that learn each object, by all three methods."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import scene
import torch

from mbv2ssd_train.loss.assign.targets import IGNORED_LABEL, Targets
from mbv2ssd_train.loss.criterion import Criterion
from mbv2ssd_train.loss.overlap import pairwise_iou

_TITLES = {'iou': 'iou: overlap from 0.5 on', 'atss': 'atss: a threshold for each object',
           'task_aligned': 'task_aligned: the best 13 predictions'}


def draw() -> Figure:
    """Show positives of iou, ATSS and task-aligned assignment side by side."""
    figure = Figure(figsize=(9.6, 5.3), layout='constrained')
    panels = figure.subplots(2, 3, height_ratios=(3, 1.6))
    for column, method in enumerate(_TITLES):
        _draw_method(panels[0, column], panels[1, column], method)
    most = max(axes.get_ylim()[1] for axes in panels[1])
    for axes in panels[1]:
        axes.set_ylim(0, most)
    panels[1, 0].set_ylabel('positive priors')
    panels[1, 2].legend(loc='upper right', fontsize=8)
    return figure


def _draw_method(picture: Axes, histogram: Axes, method: str) -> None:
    batch = scene.batch()
    config = scene.config(match={'method': method})
    criterion = Criterion(config)
    priors = criterion.priors_for(batch)
    targets = criterion.assign(*scene.half_trained(priors, batch, config.model.variances), batch)
    scene.show(picture, batch.images[0], light=0.35)
    _draw_positives(picture, targets, priors.xyxy * priors.side_px)
    scene.outline_objects(picture, batch)
    picture.set_title(_TITLES[method], fontsize=10)
    iou = pairwise_iou(batch.boxes_xyxy[0], priors.xyxy)
    own = [iou[n, _priors_of(targets, n)].numpy() for n in range(len(scene.NAMES))]
    histogram.hist(own, bins=np.linspace(0, 1, 21), stacked=True, color=scene.COLOURS,
                   label=scene.NAMES)
    counts = ', '.join(f'{name} {len(found)}'
                       for name, found in zip(scene.NAMES, own, strict=True))
    ignored = int((targets.labels == IGNORED_LABEL).sum())
    histogram.set_title(f'{counts}; ignored {ignored}', fontsize=9)
    histogram.set_xlabel('IoU of prior and object', fontsize=9)
    histogram.tick_params(labelsize=8)


def _draw_positives(axes: Axes, targets: Targets, priors_px: torch.Tensor) -> None:
    for n, colour in enumerate(scene.COLOURS):
        boxes = priors_px[_priors_of(targets, n)]
        for box in boxes.tolist():
            scene.outline(axes, box, colour, 0.8, 0.45)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        axes.scatter(centres[:, 0], centres[:, 1], s=9, color=colour, edgecolors='black',
                     linewidths=0.4, zorder=3)


def _priors_of(targets: Targets, place: int) -> torch.Tensor:
    """(P,) bool, the priors that learn one of the objects."""
    return targets.positive[0] & (targets.objects[0] == place)
