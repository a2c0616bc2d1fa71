"""Write a data set in another format: VOC, flat VOC, COCO, YOLO or CSV, split by split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import csv
import io
import json
from pathlib import Path
import shutil
from xml.sax.saxutils import escape

from mbv2ssd_ros.core.durable import write_whole
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.sources.annotations import ALL, SourceImage
from mbv2ssd_train.data.sources.recognise import LISTS


def convert(splits: Mapping[str, Sequence[SourceImage]], classes: Sequence[str], form: str,
            output: Path) -> int:
    """
    Copy the images of the splits, write their annotations, and return how many images.

    form is a key of FORMS. Numbers are written so that they are read back as they were. Raises
    DataError where the folder is not empty or two images would have the same name.
    """
    if output.exists() and any(output.iterdir()):
        raise DataError(f'{output}: is not empty; choose another --output')
    images = {image.path: image for found in splits.values() for image in found}
    taken: dict[str, Path] = {}
    for image in images.values():
        if (before := taken.setdefault(_stem(image), image.path)) != image.path:
            raise DataError(f'{before} and {image.path} would have the same name; rename one')
    folder = {'voc': 'JPEGImages', 'voc-flat': ''}.get(form, 'images')
    for image in images.values():
        path = output / folder / _file(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.path, path)
    FORMS[form](splits, list(images.values()), classes, output)
    return len(images)


def _stem(image: SourceImage) -> str:
    """Name an image in one folder: a/b becomes a_b, the numbers of COCO its file name."""
    name = image.path.stem if image.image_id.isdecimal() else image.image_id
    return name.replace('/', '_')


def _file(image: SourceImage) -> str:
    return f'{_stem(image)}{image.path.suffix}'


def _lists(splits: Mapping[str, Sequence[SourceImage]], folder: Path,
           line: Callable[[SourceImage], str]) -> None:
    for name, images in splits.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f'{name.replace(":", "_")}.txt',
                    ''.join(f'{line(image)}\n' for image in images))


def _voc(splits: Mapping[str, Sequence[SourceImage]], images: Sequence[SourceImage],
         classes: Sequence[str], output: Path) -> None:
    (output / 'Annotations').mkdir()
    for image in images:
        write_whole(output / 'Annotations' / f'{_stem(image)}.xml', _xml(image))
    _lists(splits, output / 'ImageSets' / 'Main', _stem)


def _flat_voc(splits: Mapping[str, Sequence[SourceImage]], images: Sequence[SourceImage],
              classes: Sequence[str], output: Path) -> None:
    for image in images:
        write_whole(output / f'{_stem(image)}.xml', _xml(image))
    if list(splits) != [ALL]:
        _lists(splits, output / LISTS, _file)


def _xml(image: SourceImage) -> str:
    height, width = image.image.size_hw
    objects = ''.join(
        f'  <object><name>{escape(item.name)}</name><difficult>{int(item.difficult)}</difficult>'
        f'<bndbox><xmin>{_text(item.xyxy[0] + 1)}</xmin><ymin>{_text(item.xyxy[1] + 1)}</ymin>'
        f'<xmax>{_text(item.xyxy[2])}</xmax><ymax>{_text(item.xyxy[3])}</ymax></bndbox></object>\n'
        for item in image.image.objects)
    return (f'<annotation>\n  <filename>{escape(_file(image))}</filename>\n  <size><width>{width}'
            f'</width><height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n')


def _text(number: float) -> str:
    return repr(round(number, 9)).removesuffix('.0')


def _coco(splits: Mapping[str, Sequence[SourceImage]], images: Sequence[SourceImage],
          classes: Sequence[str], output: Path) -> None:
    (output / 'annotations').mkdir()
    numbers = {image.path: number for number, image in enumerate(images, start=1)}
    for name, found in splits.items():
        content = {
            'images': [{'id': numbers[image.path], 'file_name': _file(image),
                        'height': image.image.size_hw[0], 'width': image.image.size_hw[1]}
                       for image in found],
            'categories': [{'id': number, 'name': label}
                           for number, label in enumerate(classes, start=1)],
            'annotations': [
                {'id': number, 'image_id': numbers[image.path],
                 'category_id': classes.index(item.name) + 1, 'iscrowd': int(item.difficult),
                 'bbox': [round(x1, 9), round(y1, 9), round(x2 - x1, 9), round(y2 - y1, 9)],
                 'area': (x2 - x1) * (y2 - y1)}
                for number, (image, item, (x1, y1, x2, y2)) in enumerate(
                    ((image, item, item.xyxy) for image in found for item in image.image.objects),
                    start=1)]}
        write_whole(output / 'annotations' / f'instances_{name.replace(":", "_")}.json',
                    json.dumps(content))


def _yolo(splits: Mapping[str, Sequence[SourceImage]], images: Sequence[SourceImage],
          classes: Sequence[str], output: Path) -> None:
    (output / 'labels').mkdir()
    for image in images:
        height, width = image.image.size_hw
        lines = []
        for item in image.image.objects:
            x1, y1, x2, y2 = item.xyxy
            lines.append(f'{classes.index(item.name)} {(x1 + x2) / 2 / width!r} '
                         f'{(y1 + y2) / 2 / height!r} {(x2 - x1) / width!r} '
                         f'{(y2 - y1) / height!r}\n')
        write_whole(output / 'labels' / f'{_stem(image)}.txt', ''.join(lines))
    _lists(splits, output, lambda image: f'images/{_file(image)}')
    names = {name: f'{name.replace(":", "_")}.txt' for name in splits}
    keys = names if list(names) != [ALL] else {'train': f'{ALL}.txt'}
    write_whole(output / 'data.yaml', json.dumps({**keys, 'names': list(classes)}, indent=1))


def _csv(splits: Mapping[str, Sequence[SourceImage]], images: Sequence[SourceImage],
         classes: Sequence[str], output: Path) -> None:
    for name, found in splits.items():
        file = io.StringIO(newline='')
        table = csv.writer(file, lineterminator='\n')
        table.writerow(['filename', 'width', 'height', 'class', 'xmin', 'ymin', 'xmax', 'ymax'])
        for image in found:
            head = [_file(image), image.image.size_hw[1], image.image.size_hw[0]]
            table.writerows([[*head, item.name, *map(_text, item.xyxy)]
                             for item in image.image.objects] or [[*head, '', '', '', '', '']])
        write_whole(output / f'{name.replace(":", "_")}.csv', file.getvalue())


FORMS = {'voc': _voc, 'voc-flat': _flat_voc, 'coco': _coco, 'yolo': _yolo, 'csv': _csv}
