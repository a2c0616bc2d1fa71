"""
Annotated frames from VOC XML, a file for each; its name says which frame (frame_names.py).

Corners in VOC XML are 1-based and inclusive: 1 is subtracted from xmin and ymin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.frame_names import parse_name
from mbv2ssd_ros.evaluation.truth_frames import annotated_frame, AnnotatedFrame


def read_voc_truth(paths: Sequence[Path], topics: Sequence[str]) -> list[AnnotatedFrame]:
    """
    Read annotation files.

    Args:
        paths: of the XML files.
        topics: of images, in the bag.

    Returns:
        A frame for each.

    Raises:
        DataError: one is not VOC XML, or its name names no frame.
    """
    return [_frame(path, topics) for path in paths]


def _frame(path: Path, topics: Sequence[str]) -> AnnotatedFrame:
    try:
        text = path.read_bytes()
    except OSError as err:
        raise DataError(f'{path}: cannot be read: {err}') from err
    if b'<!ENTITY' in text:  # which may be defined to grow without end
        raise DataError(f'{path}: defines entities, which no annotation needs; refused')
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, LookupError, ValueError) as err:
        raise DataError(f'{path}: not well-formed XML: {err}') from err
    try:
        key = parse_name(str(path), topics)
    except DataError as err:
        raise DataError(f'file name {err}') from err
    objects = list(root.iter('object'))
    corners = [[_number(item, f'bndbox/{side}', path) for side in ('xmin', 'ymin', 'xmax', 'ymax')]
               for item in objects]
    size_hw = (int(_number(root, 'size/height', path)), int(_number(root, 'size/width', path)))
    return annotated_frame(
        path.name, key, size_hw, [(x1 - 1, y1 - 1, x2, y2) for x1, y1, x2, y2 in corners],
        [_class_name(item, path) for item in objects],
        [item.findtext('difficult', '0').strip() == '1' for item in objects], str(path))


def _class_name(item: ElementTree.Element, path: Path) -> str:
    name = item.findtext('name')
    if name is None or not name.strip():
        raise DataError(f'{path}: an object has no name')
    return name.strip()


def _number(node: ElementTree.Element, key: str, path: Path) -> float:
    text = node.findtext(key)
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as err:
        raise DataError(f'{path}: {key} is {text!r}, expected a number') from err
    if not abs(value) < 1e9:  # nan is not
        raise DataError(f'{path}: {key} is {text!r}, expected a number of pixels')
    return value
