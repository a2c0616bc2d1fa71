"""Recall by size of object, in pixels and relative to the image."""

from __future__ import annotations

from mbv2ssd_ros.evaluation.analysis import Analysis
from mbv2ssd_ros.evaluation.coco import LARGE_FROM_PX, SMALL_BELOW_PX
from mbv2ssd_ros.evaluation.report.markup import element, joined, Markup
from mbv2ssd_ros.evaluation.report.page import scoped
from mbv2ssd_ros.evaluation.report.tables import Cell, Column, count, number, share, table
from mbv2ssd_ros.evaluation.sizes import SizeBucket

_FIGURES = (Column('objects'), Column('found'), Column('recall'))
_IN_WORDS = {'small': f'small, below {SMALL_BELOW_PX} px',
             'medium': f'medium, {SMALL_BELOW_PX} to {LARGE_FROM_PX} px',
             'large': f'large, from {LARGE_FROM_PX} px'}


def size_tables(analysis: Analysis) -> Markup:
    """Build both tables for all classes, shown first, and for each, and COCO's AP by size."""
    tables = [scoped(label, element(
        'div', _table('side in the original image', scope.sizes_px),
        _table('side as a share of the image’s', scope.sizes_share), class_='pair'))
        for label, scope in analysis.scopes.items()]
    return joined([*tables, scoped(0, _coco_by_size(analysis))])


def _table(title: str, buckets: tuple[SizeBucket, ...]) -> Markup:
    return table([Column(title, is_text=True), *_FIGURES], [
        [Cell(_IN_WORDS.get(bucket.name, bucket.name), bucket.name), count(bucket.objects),
         count(bucket.found), share(bucket.recall)] for bucket in buckets])


def _coco_by_size(analysis: Analysis) -> Markup:
    coco = analysis.coco
    columns = [Column('COCO, IoU 0.5–0.95', is_text=True), Column('all'), Column('small'),
               Column('medium'), Column('large')]
    return table(columns, [
        [Cell('AP', 'AP'), *map(number, (coco.ap, coco.ap_small, coco.ap_medium, coco.ap_large))],
        [Cell('AR, up to 100 detections', 'AR'),
         *map(number, (coco.ar_100, coco.ar_small, coco.ar_medium, coco.ar_large))]])
