"""
PASCAL VOC XML: trees of JPEGImages, Annotations and ImageSets/Main, and flat folders.

A folder without lists has one split, `all`; its pictures without a file are negatives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
import re

from mbv2ssd_ros.core.annotations import AnnotatedImage, OnFault, read_each, refuse, Remark
from mbv2ssd_ros.core.annotations.voc import parse_voc, read_root
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.image_header import IMAGE_SUFFIXES
from mbv2ssd_train.data.dataset import ImageRecord
from mbv2ssd_train.data.image_files import read_file
from mbv2ssd_train.data.sources.annotations import (
    ALL,
    Layout,
    own_size,
    picture_size,
    Reader,
    SourceImage,
    to_records,
)
from mbv2ssd_train.data.sources.paths import inside, Pictures

_ANNOTATIONS = ('Annotations', 'annotations', 'xmls', 'xml', 'labels', '.')
_IMAGES = ('JPEGImages', 'images', 'Images', 'imgs', '.')
_CLASS_COLUMN = re.compile(r'(.*\S)\s+(?:-1|0|1)')  # of a list for one class


def is_voc_tree(folder: Path) -> bool:
    """Test whether a folder holds one VOC data set."""
    return (folder / 'Annotations').is_dir() and (folder / 'JPEGImages').is_dir()


def find_voc(folder: Path) -> Layout | None:
    """Recognise a tree or a flat folder of images and XML files."""
    annotations = next((folder / name for name in _ANNOTATIONS
                        if any((folder / name).glob('*.xml'))
                        or name != '.' and any((folder / name).glob('*/*.xml'))), None)
    if annotations is None:
        return None
    if any(b'<annotations>' in read_file(path)[:2000] for path in annotations.glob('*.xml')):
        raise DataError(f'{annotations}: has one XML file for all images, in the format of CVAT; '
                        'export as COCO 1.0 or PASCAL VOC 1.1')
    images = next(folder / name for name in _IMAGES if (folder / name).is_dir())
    names = {path.stem for path in _lists(folder).glob('*.txt')}
    # aeroplane_train.txt is the list `train` of one class
    lists = sorted(name for name in names
                   if not ('_' in name and name.rpartition('_')[2] in names))
    splits: dict[str, Reader] = {
        name: partial(read_list, folder, name, annotations, images) for name in lists}
    flat = images == annotations
    return Layout('a flat folder of images and VOC XML' if flat else 'VOC XML',
                  splits or {ALL: partial(_read_all, annotations, images)})


def _lists(folder: Path) -> Path:
    return folder / 'ImageSets' / 'Main'


def _read_all(annotations: Path, images: Path, on_fault: OnFault) -> list[SourceImage]:
    pictures = Pictures(images)
    found = read_xml(sorted(annotations.rglob('*.xml')), annotations, pictures, on_fault)
    return found + negatives(pictures, found, on_fault)


def negatives(pictures: Pictures, annotated: Sequence[SourceImage], on_fault: OnFault
              ) -> list[SourceImage]:
    """Take the pictures without annotation as images without objects, with remarks."""
    known = {image.path for image in annotated}

    def negative(path: Path) -> SourceImage:
        on_fault(Remark(f'{path}: has no annotation; it is used as an image without objects'))
        return SourceImage(path.relative_to(pictures.folder).with_suffix('').as_posix(), path,
                           str(path), AnnotatedImage(picture_size(path), ()))
    return read_each([path for path in pictures.files if path not in known], negative, on_fault)


def read_voc(folder: Path, split: str, class_names: Sequence[str],
             on_fault: OnFault = refuse) -> list[ImageRecord]:
    """Read a list of ImageSets/Main in its order; raises DataError where there is no such list."""
    listing = _lists(folder) / f'{split}.txt'
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob('*.txt'))
        raise DataError(f'{listing}: no such list; {folder} has {", ".join(known) or "none"}. A '
                        'list has one image name a line; `data split` writes train, val and test')
    return to_records(read_list(folder, split, folder / 'Annotations', folder / 'JPEGImages',
                                on_fault), class_names, on_fault)


def read_list(folder: Path, split: str, annotations: Path, images: Path, on_fault: OnFault
              ) -> list[SourceImage]:
    """Read the images of a list in its order."""
    listing = _lists(folder) / f'{split}.txt'
    ids = _read_names(listing, annotations)
    for image_id, count in Counter(ids).items():
        if count > 1:
            on_fault(DataError(f'{listing}: lists {image_id!r} {count} times; leave it in once'))
    paths = read_each(ids, lambda image_id: inside(
        annotations, f'{image_id}.xml', str(listing)), on_fault)
    return read_xml(paths, annotations, Pictures(images), on_fault)


def _read_names(path: Path, annotations: Path) -> list[str]:
    """Read the names of a list: they may have blanks, folders, or the suffix of the picture."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f'{path}: cannot be read as a list of image names: {err}') from err
    lines = [line.strip() for line in text.splitlines() if line.strip()]

    def is_annotated(name: str) -> bool:
        return '\0' not in name and (annotations / f'{name}.xml').is_file()
    columns = [_CLASS_COLUMN.fullmatch(line) for line in lines]
    if all(columns) and not any(map(is_annotated, lines)):
        lines = [column[1] for column in columns if column]
    names = []
    for line in lines:
        name = line if is_annotated(line) else line.replace('\\', '/')
        stem, _, suffix = name.rpartition('.')
        with_suffix = f'.{suffix.lower()}' in (*IMAGE_SUFFIXES, '.xml')
        names.append(stem if with_suffix and not is_annotated(name) else name)
    return names


def read_voc_files(paths: Sequence[Path], images: Path, class_names: Sequence[str],
                   on_fault: OnFault = refuse) -> list[ImageRecord]:
    """Read XML files in their order; each has an image of the same name in `images`."""
    folder = paths[0].parent if paths else images
    return to_records(read_xml(paths, folder, Pictures(images), on_fault), class_names, on_fault)


def read_xml(paths: Sequence[Path], folder: Path, pictures: Pictures, on_fault: OnFault
             ) -> list[SourceImage]:
    """Read XML files below a folder in their order, each with its picture."""
    return read_each(paths, lambda path: _read_file(path, folder, pictures, on_fault), on_fault)


def _read_file(xml_path: Path, folder: Path, pictures: Pictures, on_fault: OnFault
               ) -> SourceImage:
    if not xml_path.is_file():
        raise DataError(f'{xml_path}: no such annotation, but the split lists it')
    content = read_file(xml_path)
    # not normalised: a name may contain ..
    image_id = str(xml_path)[len(str(folder)) + 1:].removesuffix('.xml')
    picture = _picture_of(image_id, xml_path, content, pictures, on_fault)
    image = parse_voc(content, str(xml_path), on_fault,
                      lambda: own_size(picture, str(xml_path), on_fault))
    return SourceImage(image_id, picture, str(xml_path), image)


def _picture_of(image_id: str, xml_path: Path, content: bytes, pictures: Pictures,
                on_fault: OnFault) -> Path:
    """Find the picture of an annotation: of the same name, else the one that it names."""
    if pictures.has_stem(image_id):
        try:
            return pictures.of_stem(image_id, str(xml_path))
        except DataError:  # a.jpg and a.png
            return pictures.find(_file_name(content, xml_path), str(xml_path))
    try:
        found = pictures.find(_file_name(content, xml_path), str(xml_path))
    except DataError:
        raise DataError(f'{xml_path}: {pictures.folder / image_id}: no image with a suffix of '
                        f'{", ".join(IMAGE_SUFFIXES)}') from None
    on_fault(Remark(f'{xml_path}: its picture {found.name} has another name; is it the right '
                    'one?'))
    return found


def _file_name(content: bytes, xml_path: Path) -> str:
    return read_root(content, str(xml_path)).findtext('filename', '').strip() or xml_path.stem
