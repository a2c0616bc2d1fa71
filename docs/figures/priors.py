"""Prior boxes: cells and shapes of every level."""

from __future__ import annotations

from matplotlib.figure import Figure
import scene

from mbv2ssd_train.loss.assign.targets import PriorBoxes


def draw() -> Figure:
    """Show the cells of each level, and the shapes of one cell."""
    config, batch = scene.config(), scene.batch()
    priors = PriorBoxes.of(config.model.prior_levels(), scene.INPUT_HW)
    figure = Figure(figsize=(9.0, 6.0), layout='constrained')
    figure.suptitle(f'{len(priors.xyxy):,} prior boxes on six levels: '
                    'every cell (dot) has these six shapes', fontsize=12)
    pixels = priors.cxcywh * priors.side_px
    first = 0
    for axes, level in zip(figure.subplots(2, 3).flat, priors.levels, strict=True):
        own = pixels[first:first + level.count]
        first += level.count
        shapes = len(level.shapes_wh)
        reaches_outside = max(max(shape) for shape in level.shapes_wh) > 1
        scene.show(axes, batch.images[0], 0.7, margin=0.3 if reaches_outside else 0.0)
        cells = own[::shapes]
        axes.scatter(cells[:, 0], cells[:, 1], s=min(1500 / len(cells), 12), color='tab:blue',
                     linewidths=0)
        rows, columns = level.feature_size_hw
        middle = (rows // 2 * columns + columns // 2) * shapes
        for x, y, width, height in own[middle:middle + shapes].tolist():
            scene.outline(axes, [x - width / 2, y - height / 2, x + width / 2, y + height / 2],
                          'tab:red', 1.6)
        axes.set_title(f'{rows} x {columns} cells: {level.count:,} priors', fontsize=10)
    return figure
