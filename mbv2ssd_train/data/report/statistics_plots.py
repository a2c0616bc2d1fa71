"""Plots of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np

from mbv2ssd_train.data.report.coverage import COVERED_IOU
from mbv2ssd_train.data.report.statistics import BUCKETS, Statistics
from mbv2ssd_train.plotting import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COVERED, _MISSED = 'tab:blue', 'tab:orange'


def draw_statistics(statistics: Statistics, folder: Path) -> list[Path]:
    """
    Draw classes.png, boxes.png and priors.png of a split with objects.

    Raises ModuleNotFoundError without matplotlib.
    """
    figures = {'classes': _classes(statistics), 'boxes': _boxes(statistics)}
    if not statistics.difficult.all():
        figures['priors'] = _priors(statistics)
    return [save_figure(figure, folder / f'{name}.png') for name, figure in figures.items()]


def _classes(found: Statistics) -> Figure:
    counts = np.bincount(found.labels, minlength=len(found.class_names) + 1)[1:]
    order = np.argsort(counts, kind='stable')
    names = [found.class_names[index] for index in order]
    figure, axes = new_figure((11, max(3.0, 0.24 * len(names) + 1.6)), 'constrained', 1, 2,
                              sharey=True, width_ratios=(3, 2))
    figure.suptitle(f'{found.split}: {len(found.labels)} objects of {len(names)} classes in '
                    f'{len(found.sizes_hw)} images')
    number, cover = axes[0]
    hard = np.bincount(found.labels[found.difficult], minlength=len(counts) + 1)[1:]
    number.barh(names, (counts - hard)[order], color=_COVERED, label='objects')
    number.barh(names, hard[order], left=(counts - hard)[order], color='lightsteelblue',
                label='difficult')
    for row, index in enumerate(order):
        number.annotate(str(counts[index]), (counts[index], row), (3, 0), va='center',
                        textcoords='offset points', fontsize=8)
    number.set(xlabel='objects', xlim=(0, counts.max() * 1.12))
    number.margins(y=0.01)
    number.legend(loc='lower right')
    covered = [_share(found, found.labels == index + 1) for index in order]
    cover.barh(names, covered, color=_COVERED)
    cover.axvline(_share(found, found.labels > 0), color='black', linewidth=1, label='all')
    cover.set(xlim=(0, 1),
              xlabel=f'share with a prior of IoU >= {COVERED_IOU}, without difficult ones')
    cover.legend(loc='lower left')
    return figure


def _boxes(found: Statistics) -> Figure:
    figure, axes = new_figure((15, 9), 'constrained', 2, 3)
    figure.suptitle(f'{found.split}: boxes and images')
    _draw_sizes(axes[0, 0], found)
    _draw_shapes(axes[0, 1], found)
    _draw_ratios(axes[0, 2], found)
    _draw_numbers(axes[1, 0], found)
    _draw_images(axes[1, 1], found)
    _draw_places(axes[1, 2], found)
    return figure


def _draw_sizes(axes: Axes, found: Statistics) -> None:
    sides = np.sqrt(found.sides_px.prod(axis=1))
    # eight bins from 32 to 96, so that each bin is of one size class
    steps = 8 * np.log(np.quantile(sides, (0.001, 1)) / 32) / np.log(3)
    bins = 32 * 3 ** (np.arange(np.floor(steps[0]), np.ceil(steps[1]) + 1) / 8)
    for number, (name, colour) in enumerate(zip(BUCKETS, ('tab:red', 'tab:olive', 'tab:blue'))):
        own = found.buckets == number
        axes.hist(sides[own], bins.tolist(), color=colour, label=f'{name}: {own.mean():.0%}')
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.set(xlabel='square root of the area, pixels of the original image', ylabel='objects',
             title='sizes (small < 32 px <= medium < 96 px <= large)')
    axes.legend()


def _draw_shapes(axes: Axes, found: Statistics) -> None:
    from matplotlib.colors import LogNorm
    width, height = (found.seen_xyxy[:, 2:] - found.seen_xyxy[:, :2]).T
    axes.hist2d(width, height, bins=50, range=[[0, 1], [0, 1]], norm=LogNorm(), cmap='Greys')
    for number, level in enumerate(found.model.prior_levels()):
        widths, heights = zip(*level.shapes_wh)
        rows, columns = level.feature_size_hw
        axes.scatter(widths, heights, s=22, color=f'C{number}', edgecolors='white', linewidths=0.5,
                     label=f'{rows} x {columns}', zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel='width, as share of the network input',
             ylabel='height', title='shapes (grey) and prior boxes by cells')
    axes.legend(fontsize=8, loc='upper left')


def _draw_ratios(axes: Axes, found: Statistics) -> None:
    ratios = np.clip(found.ratios, 1 / 8, 8)
    axes.hist(ratios, np.geomspace(1 / 8, 8, 49).tolist(), color=_COVERED)
    axes.set_xscale('log', base=2)
    axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], ['1/8', '1/4', '1/2', '1', '2', '4', '8'])
    axes.set(xlabel='width over height in pixels', ylabel='objects',
             title=f'aspect ratios (median {np.median(found.ratios):.2f})')


def _draw_numbers(axes: Axes, found: Statistics) -> None:
    from matplotlib.ticker import MaxNLocator
    most = int(np.quantile(found.objects_per_image, 0.995))
    numbers = np.minimum(found.objects_per_image, most)
    values, images = np.unique(numbers, return_counts=True)
    axes.bar(values, images, width=0.9, color=_COVERED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    or_more = f' ({most}: or more)' if most < found.objects_per_image.max() else ''
    axes.set(xlabel=f'objects in an image{or_more}', ylabel='images',
             title=f'{found.objects_per_image.mean():.1f} objects in an image, '
             f'{(found.objects_per_image == 0).sum()} images without')


def _draw_images(axes: Axes, found: Statistics) -> None:
    sizes, counts = np.unique(found.sizes_hw, axis=0, return_counts=True)
    axes.scatter(sizes[:, 1], sizes[:, 0], s=8 + 400 * counts / counts.max(), alpha=0.4)
    side = sizes.max() * 1.08
    axes.plot([0, side], [0, side], color='grey', linewidth=0.8)
    axes.set(xlim=(0, side), ylim=(0, side), aspect='equal', xlabel='width, pixels',
             ylabel='height', title=f'image sizes: {len(sizes)} (area of a dot: images)')


def _draw_places(axes: Axes, found: Statistics) -> None:
    from matplotlib.colors import PowerNorm
    centres = (found.boxes_xyxy[:, :2] + found.boxes_xyxy[:, 2:]) / 2
    axes.hist2d(centres[:, 0], centres[:, 1], bins=40, range=[[0, 1], [0, 1]],
                cmap='magma', norm=PowerNorm(0.5))
    axes.set_ylim(1, 0)  # as in a picture
    axes.grid(visible=False)
    axes.set(xlabel='x, as share of the image', ylabel='y',
             title='centres of the boxes')


def _priors(found: Statistics) -> Figure:
    easy = ~found.difficult
    figure, axes = new_figure((15, 4.6), 'constrained', 1, 3)
    figure.suptitle(
        f'{found.split}: prior boxes at {found.model.input_size_hw[1]} x '
        f'{found.model.input_size_hw[0]}, {_share(found, easy):.1%} of {easy.sum()} objects have '
        f'one of IoU >= {COVERED_IOU}')
    _draw_best_ious(axes[0, 0], found)
    _draw_cover_of_sizes(axes[0, 1], found)
    _draw_levels(axes[0, 2], found)
    return figure


def _draw_best_ious(axes: Axes, found: Statistics) -> None:
    bins = np.linspace(0, 1, 51).tolist()
    easy = ~found.difficult
    axes.hist(found.coverage.best_iou[easy], bins, color=_COVERED,
              label=f'configured: mean {found.coverage.best_iou[easy].mean():.3f}')
    if found.suggestion is not None:
        axes.hist(found.suggestion.coverage.best_iou, bins, histtype='step', color='black',
                  label=f'suggested: mean {found.suggestion.coverage.mean_iou:.3f}')
    axes.axvline(COVERED_IOU, color=_MISSED)
    axes.set(xlabel='IoU with the best prior', ylabel='objects')
    axes.legend(loc='upper left')


def _draw_cover_of_sizes(axes: Axes, found: Statistics) -> None:
    ends = np.geomspace(0.01, 1, 21)
    which = np.clip(np.searchsorted(ends, found.shares), 1, len(ends) - 1)
    middles = np.sqrt(ends[1:] * ends[:-1])
    groups = [(which == number + 1) & ~found.difficult for number in range(len(middles))]
    counts = np.array([group.sum() for group in groups])
    shares = np.array([_share(found, group) for group in groups])
    axes.bar(middles, counts / max(counts.max(), 1), np.diff(ends), color='lightgrey',
             label=f'objects ({counts.max()} at most)')
    axes.plot(middles[counts > 0], shares[counts > 0], 'o-', color=_COVERED, label='covered')
    axes.set_xscale('log')
    axes.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    axes.xaxis.set_major_formatter('{x:g}')
    axes.minorticks_off()
    axes.set(ylim=(0, 1.02), xlabel='side of the box, as share of the image', ylabel='share')
    axes.legend(loc='upper left', fontsize=8)


def _draw_levels(axes: Axes, found: Statistics) -> None:
    levels = found.model.prior_levels()
    easy, covered = ~found.difficult, found.coverage.covered
    names = ['{} x {}'.format(*level.feature_size_hw) for level in levels]
    hit, missed = (np.bincount(found.coverage.level[easy & own], minlength=len(levels))
                   for own in (covered, ~covered))
    places = np.arange(len(levels))
    axes.bar(places, hit, color=_COVERED, label='covered')
    axes.bar(places, missed, bottom=hit, color=_MISSED, label=f'below {COVERED_IOU}')
    axes.set_xticks(places, names)
    axes.set(ylim=(0, (hit + missed).max() * 1.05),
             xlabel='cells of the map that has the best prior', ylabel='objects')
    axes.legend()


def _share(found: Statistics, members: Any) -> float:
    members = members & ~found.difficult
    return float(found.coverage.covered[members].mean()) if members.any() else 0.0
