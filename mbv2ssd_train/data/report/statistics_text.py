"""Statistics of a data set as text for a terminal."""

from __future__ import annotations

from typing import Any

from mbv2ssd_train.data.report.statistics import BUCKETS, Statistics


def describe(statistics: Statistics) -> list[str]:
    """Return the statistics as lines for a terminal."""
    found = statistics.to_dict()
    sizes = statistics.sizes_hw
    most_common, times = next(iter(found['image_sizes_wh'].items()))
    lines = [
        f'{found["split"]}: {found["images"]} images, {found["images_without_objects"]} of them '
        f'without objects; {found["objects"]} objects, {found["difficult"]} of them difficult',
        f'image sizes: {sizes[:, 1].min()} to {sizes[:, 1].max()} wide, {sizes[:, 0].min()} to '
        f'{sizes[:, 0].max()} high, mostly {most_common} ({times} images)',
        f'objects in an image: {statistics.objects_per_image.mean():.1f} on average, '
        f'{statistics.objects_per_image.max()} at most']
    if not found['objects']:
        return [*lines, 'no objects, no statistics of priors']
    lines += ['', f'{"":<16}{"images":>8}{"objects":>9}{"difficult":>11}{"covered":>9}'
              f'{"best IoU":>10}']
    lines += [f'{name[:15]:<16}{own["images"]:>8}{own["objects"] + own["difficult"]:>9}'
              f'{own["difficult"]:>11}{_fit(own)}' for name, own in found['classes'].items()]
    lines += ['', f'{"box in pixels":<24}{"objects":>9}{"":>11}{"covered":>9}{"best IoU":>10}']
    for name, below in zip(BUCKETS, ('below 32 x 32', 'below 96 x 96', 'and above')):
        own = found['sizes'][name]
        lines.append(f'{name + ", " + below:<24}{own["objects"]:>9}{"":>11}{_fit(own)}')
    lines += ['', _bars('side of the box, as share of the image', found['shares_of_the_image']),
              _bars('width over height', found['aspect_ratios']), '']
    return lines + _priors_in_words(statistics, found)


def _priors_in_words(statistics: Statistics, found: dict[str, Any]) -> list[str]:
    height, width = statistics.model.input_size_hw
    priors = found['priors']
    if not priors['objects']:
        return ['all objects are difficult, no statistics of priors']
    lines = [f'prior boxes at {width} x {height}, {statistics.model.resize_mode}: '
             f'{priors["covered"]:.1%} of the objects that are not difficult have one of '
             f'IoU >= 0.5 (covered); mean of the best IoU {priors["mean_best_iou"]:.3f}']
    for level, scale in zip(priors['levels'], statistics.model.scales):
        rows, columns = level['cells_hw']
        cells = f'{rows} x {columns} cells'
        lines.append(f'  {cells:<14} scale {scale:<6.3g} best for {level["objects"]:>7} objects'
                     f'{_fit(level)}')
    suggestion = found['suggestion']
    if suggestion is None:
        return [*lines, 'no other scales and aspect ratios cover clearly more objects']
    return [*lines, 'these cover more objects, for another experiment:',
            f"  'model.scales={suggestion['scales']}'",
            f"  'model.aspect_ratios={suggestion['aspect_ratios']}'",
            f'  covered {suggestion["covered"]:.1%}, mean of the best IoU '
            f'{suggestion["mean_best_iou"]:.3f}']


def _fit(group: dict[str, Any]) -> str:
    if group['covered'] is None:
        return f'{"-":>9}{"-":>10}'
    return f'{group["covered"]:>9.1%}{group["mean_best_iou"]:>10.3f}'


def _bars(title: str, histogram: dict[str, int]) -> str:
    most = max(histogram.values())
    return '\n'.join([title, *(
        f'  {name:<8}{count:>9}  {"#" * round(40 * count / most)}'
        for name, count in histogram.items())])
