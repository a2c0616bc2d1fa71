"""
PASCAL VOC XML, one image a file.

Corners are 1-based and inclusive: 1 is subtracted from xmin and ymin, so that a box over the
whole image is (0, 0, width, height).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
import re
from xml.etree import ElementTree

from mbv2ssd_ros.core.annotations import (
    AnnotatedImage,
    Annotation,
    check_object,
    check_size,
    OnFault,
    read_each,
    read_flag,
    refuse,
    Size,
)
from mbv2ssd_ros.core.errors import DataError


def read_root(content: bytes, source: str) -> ElementTree.Element:
    """Read XML that expands nothing; DataError where it is not well-formed."""
    if b'<!ENTITY' in content:  # may expand without limit
        raise DataError(f'{source}: defines entities, which no annotation needs; refused')
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as err:  # the latter of encodings
        raise DataError(f'{source}: not well-formed XML: {err}') from err


def parse_voc(content: bytes, source: str, on_fault: OnFault = refuse,
              own_size: Callable[[], Size] | None = None) -> AnnotatedImage:
    """
    Parse a file; source names it in messages. DataError where none of it is usable.

    own_size reads the size of the picture, where the file has none or zeros.
    """
    root = read_root(content, source)
    if own_size and all(root.findtext(f'size/{side}', '').strip() in ('', '0', '0.0', '-1')
                        for side in ('width', 'height')):
        size_hw = own_size()
    else:
        size_hw = check_size((_integer(root, 'size/height', source),
                              _integer(root, 'size/width', source)), source)
    found = list(root.iter('object'))
    return AnnotatedImage(size_hw, read_each(
        zip(found, _lines_of_objects(content, len(found)), strict=True),
        lambda item: check_object(_object(item[0], f'{source}:{item[1]}'), size_hw), on_fault))


def _lines_of_objects(content: bytes, count: int) -> list[int]:
    """Find the lines of elements, which the parser does not give; 1 where hidden."""
    parts = re.split(rb'<object\b', content)  # counts each line once: there may be many objects
    lines = list(accumulate((part.count(b'\n') for part in parts[:-1]), initial=1))[1:]
    return lines if len(lines) == count else [1] * count


def _object(item: ElementTree.Element, where: str) -> Annotation:
    name = item.findtext('name', '').strip()
    if not name:
        raise DataError(f'{where}: an object has no name')
    x1, y1, x2, y2 = (_number(item, f'bndbox/{key}', where)
                      for key in ('xmin', 'ymin', 'xmax', 'ymax'))
    return Annotation(name, (x1 - 1, y1 - 1, x2, y2),
                      read_flag(item.findtext('difficult'), f'{where}: difficult'), where)


def _number(node: ElementTree.Element, path: str, where: str) -> float:
    text = node.findtext(path)
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as err:
        raise DataError(f'{where}: {path} is {text!r}, expected a number') from err


def _integer(node: ElementTree.Element, path: str, where: str) -> int:
    number = _number(node, path, where)
    if not number.is_integer():  # nor nan, nor infinite
        raise DataError(f'{where}: {path} is {node.findtext(path)!r}, expected a whole number')
    return int(number)
