"""
What a folder of annotated images is, found out from its files.

Lists in `splits/`, which `data split` writes, come before any split that the folder has itself.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mbv2ssd_ros.core.annotations import OnFault, read_each, Remark
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.data.sources.annotations import ALL, Layout, Reader, SourceImage
from mbv2ssd_train.data.sources.coco import find_coco
from mbv2ssd_train.data.sources.described import find_described
from mbv2ssd_train.data.sources.json_labels import find_label_studio, find_labelme
from mbv2ssd_train.data.sources.paths import SPLIT_NAMES
from mbv2ssd_train.data.sources.table import find_table
from mbv2ssd_train.data.sources.voc import find_voc
from mbv2ssd_train.data.sources.yolo import find_yolo

LISTS = 'splits'  # folder of the lists that `data split` writes
_FINDERS = (find_voc, find_coco, find_yolo, find_table, find_labelme, find_label_studio)
_FORMATS = ('VOC XML, COCO JSON, YOLO with a data.yaml or classes.txt, CSV with filename,class,'
            'xmin,ymin,xmax,ymax, labelme or Label Studio JSON')


class NothingFoundError(DataError):
    """A folder without annotations of a known format."""


def recognise(folder: Path) -> Layout:
    """Find out the format and the splits of a folder; DataError where it is none, or several."""
    layout = _own(folder, depth=2)
    lists = sorted((folder / LISTS).glob('*.txt'))
    if not lists:
        return layout
    splits: dict[str, Reader] = {ALL: partial(layout.read, ALL)}
    splits |= {path.stem: partial(_read_listed, layout, folder, path) for path in lists}
    return Layout(f'{layout.form}, lists of {LISTS}/', splits, layout.classes)


def _own(folder: Path, depth: int) -> Layout:
    """Recognise a folder by its own files, else by those of the folders so many levels below."""
    if described := find_described(folder):
        return described
    found = [layout for find in _FINDERS if (layout := find(folder))]
    if len(found) > 1:
        raise DataError(
            f'{folder}: could be {" or ".join(layout.form for layout in found)}; keep the files '
            'of one format, or name images and annotations in a dataset.yaml (docs/training.md)')
    if found:
        return found[0]
    parts = {path.name: layout for path in sorted(folder.iterdir())
             if path.is_dir() and not path.name.startswith('.') and path.name != LISTS
             and depth and (layout := _part(path, depth - 1))}
    if not parts:
        raise NothingFoundError(f'{folder}: no annotations found; looked for {_FORMATS}, here and '
                                'in the folders below')
    if len(parts) == 1 and next(iter(parts)).lower() not in SPLIT_NAMES:
        (name, layout), = parts.items()
        return Layout(f'{layout.form} in {name}/', layout.splits, layout.classes)
    splits: dict[str, Reader] = {}
    for name, layout in parts.items():
        for split in layout.splits:
            splits[name if split == ALL else f'{name}:{split}'] = partial(
                _read_part, layout, split, name)
    classes = {layout.classes for layout in parts.values()}
    forms = dict.fromkeys(layout.form for layout in parts.values())
    return Layout(f'{" and ".join(forms)} in {", ".join(f"{name}/" for name in parts)}', splits,
                  classes.pop() if len(classes) == 1 else ())


def _part(folder: Path, depth: int) -> Layout | None:
    try:
        return _own(folder, depth)
    except NothingFoundError:
        return None


def _read_part(layout: Layout, split: str, name: str, on_fault: OnFault) -> list[SourceImage]:
    """Put the folder in front of the names: set1/f0 and set2/f0 are two images."""
    return [SourceImage(f'{name}/{image.image_id}', image.path, image.annotated_in, image.image)
            for image in layout.read(split, on_fault)]


def _read_listed(layout: Layout, folder: Path, listing: Path, on_fault: OnFault
                 ) -> list[SourceImage]:
    """Read the images of one list; those of no list are a remark."""
    known = {image.path.relative_to(folder).as_posix(): image
             for image in layout.read(ALL, on_fault)}

    def image_of(name: str) -> SourceImage:
        if name not in known:
            raise DataError(f'{listing}: {name!r} is no annotated image of {folder}; run `data '
                            'split` again')
        return known[name]
    listed = {path: path.read_text(encoding='utf-8').splitlines()
              for path in listing.parent.glob('*.txt')}
    for name in known.keys() - set().union(*listed.values()):
        on_fault(Remark(f'{folder / name}: is in no list of {listing.parent}; `data split` adds '
                        'it to one'))
    return read_each(listed[listing], image_of, on_fault)


