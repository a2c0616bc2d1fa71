"""Class losses as functions of the score."""

from __future__ import annotations

from matplotlib.figure import Figure
import torch
from torch.nn import functional as F

from mbv2ssd_train.loss.class_loss import focal_loss


def draw() -> Figure:
    """Show cross entropy, focal and quality focal loss."""
    scores = torch.linspace(0.001, 0.999, 999)
    logits = scores.logit()
    figure = Figure(figsize=(9.6, 3.4), layout='constrained')
    objects, quality = figure.subplots(1, 2)
    ones, columns = torch.ones(999), torch.stack([torch.zeros(999), logits], dim=1)
    entropy = F.cross_entropy(columns, ones.long(), reduction='none')
    smoothed = F.cross_entropy(columns, ones.long(), reduction='none', label_smoothing=0.1)
    objects.plot(scores, entropy, color='black', label='cross_entropy')
    objects.plot(scores, smoothed, color='black', linestyle=':', label='label_smoothing: 0.1')
    for gamma, colour in ((1.0, 'tab:orange'), (2.0, 'tab:red'), (5.0, 'tab:purple')):
        objects.plot(scores, focal_loss(logits, ones, gamma), color=colour,
                     label=f'focal, focal_gamma: {gamma:g}')
    objects.set_title('what an object costs that scores this much', fontsize=10)
    for target, colour in ((0.0, 'tab:gray'), (0.4, 'tab:cyan'), (0.8, 'tab:blue')):
        quality.plot(scores, focal_loss(logits, torch.full((999,), target), 2.0), color=colour,
                     label=f'box has IoU {target:g}' if target else 'background')
        quality.axvline(target, color=colour, linewidth=0.7, linestyle='--')
    quality.set_title('quality_focal: best is a score that is the IoU', fontsize=10)
    for axes, top in ((objects, 4), (quality, 1)):
        axes.set_ylim(0, top)
        axes.set_xlim(0, 1)
        axes.set_xlabel('score')
        axes.set_ylabel('loss')
        axes.legend(fontsize=9)
        axes.grid(alpha=0.3)
    return figure
