"""PASCAL VOC trees: JPEGImages, Annotations and ImageSets/Main."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mbv2ssd_ros.core.annotations import OnFault, read_each, refuse
from mbv2ssd_ros.core.annotations.voc import parse_voc
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.image_files import read_file
from mbv2ssd_train.data.sources.annotations import make_record
from mbv2ssd_train.data.sources.paths import inside

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


def is_voc_tree(folder: Path) -> bool:
    """Test whether a folder holds one VOC data set."""
    return (folder / 'Annotations').is_dir() and (folder / 'JPEGImages').is_dir()


def read_voc(folder: Path, split: str, class_names: Sequence[str],
             on_fault: OnFault = refuse) -> list[ImageRecord]:
    """Read a list of ImageSets/Main in its order; raises DataError where there is no such list."""
    listing = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob('*.txt'))
        raise DataError(f'{listing}: no such list; {folder} has {", ".join(known) or "none"}. A '
                        'list has one image name a line, without suffix')
    ids = _read_list(listing)
    for image_id, count in Counter(ids).items():
        if count > 1:
            on_fault(DataError(f'{listing}: lists {image_id!r} {count} times; leave it in once'))
    annotations = folder / 'Annotations'
    paths = [inside(annotations, f'{image_id}.xml', str(listing)) for image_id in ids]
    return read_voc_files(paths, folder / 'JPEGImages', class_names, on_fault)


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f'{path}: cannot be read as a list of image names: {err}') from err
    # per-class lists carry a second column, -1 for images without that class
    return [line.split()[0] for line in lines if line.strip()]


def read_voc_files(paths: Sequence[Path], images: Path, class_names: Sequence[str],
                   on_fault: OnFault = refuse) -> list[ImageRecord]:
    """Read XML files in their order; each has an image of the same name in `images`."""
    return read_each(
        paths, lambda path: _read_file(path, images, class_names, on_fault), on_fault)


def _read_file(xml_path: Path, images: Path, class_names: Sequence[str], on_fault: OnFault
               ) -> ImageRecord:
    if not xml_path.is_file():
        raise DataError(f'{xml_path}: no such annotation, but the split lists it')
    image = parse_voc(read_file(xml_path), str(xml_path), on_fault)
    return make_record(xml_path.stem, str(_image_path(images, xml_path.stem)), str(xml_path),
                       image, class_names, on_fault)


def _image_path(images: Path, image_id: str) -> Path:
    for suffix in (*_IMAGE_SUFFIXES, *map(str.upper, _IMAGE_SUFFIXES)):
        path = inside(images, f'{image_id}{suffix}', str(images))
        if path.is_file():
            return path
    raise DataError(f'{images / image_id}: no image with a suffix of '
                    f'{", ".join(_IMAGE_SUFFIXES)}')
