"""
Images with their boxes: the picture as an embedded JPEG, the boxes as elements over it.

Annotations have solid lines, detections dashed ones. Right is blue, wrong is orange: the
colour-blind can distinguish them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.matching import Kind
from mbv2ssd_ros.evaluation.report.markup import Child, element, Markup
from mbv2ssd_ros.evaluation.worst import WorstImage

ImageOf = Callable[[int], NDArray[np.uint8]]  # index of a result -> (H, W, 3) BGR, any scale
LONGEST_PX = 480
_QUALITY = 80


def gallery(analysis: Analysis, image_of: ImageOf) -> Markup:
    """Show the worst images."""
    if not analysis.worst:
        return element('p', 'No image has a mistake at this score threshold.')
    key = element('p', [element('span', element('i', class_=f'box {kind}'), text)
                        for kind, text in (
        ('truth', 'object, found'), ('truth missed', 'object, not found'),
        ('truth difficult', 'difficult object, not counted'),
        ('found', 'detection, right'), ('found false', 'detection, false'))], class_='boxes-key')
    figures = [_figure(analysis, item, image_of(item.image)) for item in analysis.worst]
    return element('div', key, element('div', figures, class_='gallery'))


def _figure(analysis: Analysis, item: WorstImage, pixels: NDArray[np.uint8]) -> Markup:
    result = analysis.results[item.image]
    boxes, labels = _boxes(analysis, item.image)
    height, width = result.size_hw
    picture = element('img', src=data_url(pixels), alt=f'image {result.name}',
                      width=width, height=height, decoding='async')
    return element(
        'figure', element('div', picture, boxes, class_='picture'),
        element('figcaption', element('b', result.name), f' {item.missed} missed, {item.false} '
                f'false; {item.badness:.2f}'),
        data_labels=' '.join(map(str, sorted(labels))), style=f'--aspect:{width / height:.3f}')


def data_url(pixels: NDArray[np.uint8]) -> str:
    """Embed (H, W, 3) BGR pixels, reduced to LONGEST_PX, as the data: address of a JPEG."""
    encoded = cv2.imencode('.jpg', reduced(pixels), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return f'data:image/jpeg;base64,{b64encode(encoded.tobytes()).decode()}'


def reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of which no side is longer than LONGEST_PX."""
    scale = LONGEST_PX / max(pixels.shape[:2])
    if scale >= 1:
        return pixels.copy()
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _boxes(analysis: Analysis, image: int) -> tuple[list[Markup], set[int]]:
    """Return the boxes of an image, and the labels of its classes."""
    result, threshold = analysis.results[image], analysis.subject.score_threshold
    objects, found = analysis.matches.objects, analysis.matches.found
    rows = np.flatnonzero(objects.images == image)
    kinds = [('truth difficult' if objects.difficult[row] else
              'truth' if objects.found_at[row] > threshold else 'truth missed') for row in rows]
    marks = [_box(box, result.size_hw, int(label), kind, analysis.name(label),
                  show=kind == 'truth missed')
             for box, label, kind in zip(
                 result.truth.boxes_xyxy, result.truth.labels, kinds, strict=True)]
    shown = set(result.truth.labels.tolist())
    rows = np.flatnonzero(found.images == image)
    for row, box, score, label in zip(
            rows, result.detections.boxes_xyxy, result.detections.scores,
            result.detections.labels, strict=True):
        if not score > threshold or found.kinds[row] == Kind.IGNORED:
            continue
        shown.add(int(label))
        right = found.kinds[row] == Kind.CORRECT
        text = f'{analysis.name(label)} {score:.2f}'
        if not right:
            text += f' {Kind(found.kinds[row]).name.lower()}'
        marks.append(_box(box, result.size_hw, int(label), 'found' if right else 'found false',
                          text, show=not right))
    return marks, shown


def _box(box_xyxy: Sequence[float], size_hw: tuple[int, int], label: int, kind: str, text: str,
         show: bool) -> Markup:
    left, top, right, bottom = (
        100 * float(side) / size for side, size in zip(box_xyxy, (size_hw[1], size_hw[0]) * 2))
    # in a small picture a long text on a narrow box would hide its neighbours
    narrow = right - left < 3 + 2 * len(text)
    name: Child = element('span', text, class_='narrow' if narrow else None) if show else None
    return element(
        'div', name, class_=f'box {kind}', data_label=label, title=text,
        style=f'left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;'
              f'height:{bottom - top:.2f}%')
