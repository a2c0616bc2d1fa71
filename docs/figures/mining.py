"""Hard negative mining: the background that still looks like an object."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
import scene
import torch

from mbv2ssd_train.loss.assign.targets import BACKGROUND_LABEL, PriorBoxes
from mbv2ssd_train.loss.class_loss import background_loss
from mbv2ssd_train.loss.criterion import Criterion
from mbv2ssd_train.loss.mining import mine_hard_negatives

_BOXES = 12  # of the hardest negatives that are drawn whole; all have a dot


def draw() -> Figure:
    """Show the loss of all background, and what is chosen of it."""
    config, batch = scene.config(), scene.batch()
    criterion = Criterion(config)
    priors = criterion.priors_for(batch)
    loc, conf_logits = scene.half_trained(priors, batch, config.model.variances)
    targets = criterion.assign(loc, conf_logits, batch)
    losses = background_loss(conf_logits)
    chosen = mine_hard_negatives(losses, targets.labels, config.loss)[0]
    negative = targets.labels[0] == BACKGROUND_LABEL

    figure = Figure(figsize=(9.6, 3.5), layout='constrained')
    everywhere, kept, curve = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    scene.show(everywhere, batch.images[0], light=0.3)
    _draw_losses(everywhere, losses[0].where(negative, 0.0), priors)
    everywhere.set_title('loss of calling it background', fontsize=10)
    scene.show(kept, batch.images[0], light=0.45)
    boxes = priors.xyxy * priors.side_px
    for which, colour in ((chosen, 'tab:red'), (targets.positive[0], 'tab:green')):
        centres = (boxes[which, :2] + boxes[which, 2:]) / 2
        kept.scatter(centres[:, 0], centres[:, 1], s=10, color=colour, linewidths=0, zorder=3)
    for box in boxes[losses[0].where(chosen, 0).topk(_BOXES).indices].tolist():
        scene.outline(kept, box, 'tab:red', 1.0, 0.6)
    kept.set_title(f'{int(targets.positive.sum())} positives (green), '
                   f'{int(chosen.sum())} negatives (red)', fontsize=10)
    _draw_curve(curve, losses[0][negative], int(chosen.sum()))
    return figure


def _draw_losses(axes: Axes, losses: torch.Tensor, priors: PriorBoxes) -> None:
    """Lay the largest loss of each cell of the two finest levels over the picture."""
    height, width = scene.INPUT_HW
    worst, first = torch.zeros(scene.INPUT_HW), 0
    for level in priors.levels[:2]:
        own = losses[first:first + level.count].view(1, 1, *level.feature_size_hw, -1).amax(dim=-1)
        first += level.count
        worst = worst.maximum(torch.nn.functional.interpolate(own, (height, width))[0, 0])
    image = axes.imshow(worst, extent=(0, width, height, 0), cmap='inferno', alpha=0.65)
    axes.figure.colorbar(image, ax=axes, shrink=0.75)


def _draw_curve(axes: Axes, losses: torch.Tensor, count: int) -> None:
    ordered = losses.sort(descending=True).values.numpy()
    rank = np.arange(1, len(ordered) + 1)
    axes.plot(rank, ordered, color='tab:gray')
    axes.fill_between(rank[:count], ordered[:count], color='tab:red', alpha=0.5,
                      label=f'the hardest {count} learn')
    axes.set_xscale('log')
    axes.set_xlabel(f'rank of {len(ordered):,} background priors', fontsize=9)
    axes.set_ylabel('loss', fontsize=9)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=9)
