"""
PASCAL VOC trees: JPEGImages, Annotations and ImageSets/Main.

Corners in VOC XML are 1-based and inclusive: 1 is subtracted from xmin and ymin, so that a box
over the whole image is (0, 0, width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.annotations import Annotation, label_of, make_record
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.paths import inside

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')


def is_voc_tree(folder: Path) -> bool:
    """Tell whether a folder holds one VOC data set."""
    return (folder / 'Annotations').is_dir() and (folder / 'JPEGImages').is_dir()


def read_voc(folder: Path, split: str, class_names: Sequence[str]) -> list[ImageRecord]:
    """
    Read the annotations of a split.

    Args:
        folder: that holds JPEGImages, Annotations and ImageSets/Main.
        split: name of a list in ImageSets/Main, such as 'trainval'.
        class_names: known object classes.

    Returns:
        One record for each line of the list, in its order.

    Raises:
        DataError: the list, an image or an annotation is missing or wrong; names it.
    """
    listing = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob('*.txt'))
        raise DataError(f'{listing}: no such list; {folder} has {", ".join(known) or "none"}')
    # per-class lists carry a second column, -1 for images without that class
    ids = [line.split()[0] for line in listing.read_text().splitlines() if line.strip()]
    annotations = folder / 'Annotations'
    paths = [inside(annotations, f'{image_id}.xml', str(listing)) for image_id in ids]
    return read_voc_files(paths, folder / 'JPEGImages', class_names)


def read_voc_files(paths: Sequence[Path], images: Path, class_names: Sequence[str]
                   ) -> list[ImageRecord]:
    """
    Read annotation files.

    Args:
        paths: of the XML files.
        images: folder with an image of the same name for each.
        class_names: known object classes.

    Returns:
        One record for each, in their order.

    Raises:
        DataError: an image or annotation is missing or wrong; names it.
    """
    return [_read_file(path, images, class_names) for path in paths]


def _read_file(xml_path: Path, images: Path, class_names: Sequence[str]) -> ImageRecord:
    try:
        root = ElementTree.parse(xml_path).getroot()
    except FileNotFoundError as err:
        raise DataError(f'{xml_path}: no such annotation, but the split lists it') from err
    except ElementTree.ParseError as err:
        raise DataError(f'{xml_path}: not well-formed XML: {err}') from err
    size_hw = (_integer(root, 'size/height', xml_path), _integer(root, 'size/width', xml_path))
    objects = [_read_object(item, class_names, xml_path) for item in root.iter('object')]
    return make_record(
        xml_path.stem, str(_image_path(images, xml_path.stem)), str(xml_path), size_hw, objects)


def _read_object(item: ElementTree.Element, class_names: Sequence[str], xml_path: Path
                 ) -> Annotation:
    name = item.findtext('name')
    if name is None:
        raise DataError(f'{xml_path}: an object has no name')
    corners = [_number(item, f'bndbox/{key}', xml_path)
               for key in ('xmin', 'ymin', 'xmax', 'ymax')]
    return Annotation(
        label_of(name.strip(), class_names, str(xml_path)),
        (corners[0] - 1, corners[1] - 1, corners[2], corners[3]),
        item.findtext('difficult', '0').strip() == '1')


def _image_path(images: Path, image_id: str) -> Path:
    for suffix in _IMAGE_SUFFIXES:
        path = images / f'{image_id}{suffix}'
        if path.is_file():
            return path
    raise DataError(f'{images / image_id}: no image with a suffix of '
                    f'{", ".join(_IMAGE_SUFFIXES)}')


def _number(node: ElementTree.Element, path: str, xml_path: Path) -> float:
    text = node.findtext(path)
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as err:
        raise DataError(f'{xml_path}: {path} is {text!r}, expected a number') from err


def _integer(node: ElementTree.Element, path: str, xml_path: Path) -> int:
    return int(_number(node, path, xml_path))
