"""Box losses as functions of where the predicted box lies."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import torch
from torch import Tensor

from mbv2ssd_train.box_coder import cxcywh_to_xyxy, encode_loc
from mbv2ssd_train.config import LossConfig
from mbv2ssd_train.loss.box_loss import box_loss

_PRIOR = torch.tensor([[160.0, 160.0, 100.0, 60.0]])  # cxcywh in pixels
_VARIANCES = (0.1, 0.2)
_KINDS = {'smooth_l1': 'tab:gray', 'l1': 'black', 'giou': 'tab:green', 'diou': 'tab:orange',
          'ciou': 'tab:red'}


def draw() -> Figure:
    """Show the losses of a box that is moved aside, and of one that changes its shape."""
    figure = Figure(figsize=(9.6, 3.4), layout='constrained')
    moved, stretched = figure.subplots(1, 2)
    steps = torch.linspace(-200, 200, 401)
    boxes = _PRIOR.repeat(len(steps), 1)
    boxes[:, 0] += steps
    _draw(moved, steps, boxes, 'predicted box moved aside (pixels); it is 100 wide', 3.0)
    moved.axvspan(-100, 100, color='tab:blue', alpha=0.1, label='boxes overlap')
    ratios = torch.linspace(-4, 4, 401)
    boxes = _PRIOR.repeat(len(ratios), 1)
    boxes[:, 2:] *= torch.stack([2 ** (ratios / 2), 2 ** (-ratios / 2)], dim=1)
    _draw(stretched, ratios, boxes, 'aspect ratio times 2 ** x, same area and centre',
          1.5)
    moved.legend(fontsize=9, loc='upper center', ncols=2)
    return figure


def _draw(axes: Axes, x: Tensor, boxes_cxcywh: Tensor, label: str, top: float) -> None:
    priors = _PRIOR.repeat(len(x), 1)
    loc = encode_loc(boxes_cxcywh, priors, _VARIANCES)
    for kind, colour in _KINDS.items():
        losses = box_loss(loc, cxcywh_to_xyxy(priors), priors, _VARIANCES, LossConfig(box=kind))
        scale = 0.1 if kind.endswith('l1') else 1.0
        axes.plot(x, scale * losses, color=colour, label=f'{kind} / 10' if scale < 1 else kind,
                  linestyle='--' if kind == 'ciou' else '-')
    axes.set_xlabel(label)
    axes.set_ylabel('loss')
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
