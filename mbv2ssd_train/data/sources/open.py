"""
From `--data ROOT --split SPLIT` to a data set.

ROOT is one of

- a folder of caches (cached.py): SPLIT is the name of one;
- a folder of packed sets (packed.py): `SET` or `SET:PART`, PART being the split stored with each
  image, e.g. `voc07_trainval:val`;
- a VOCdevkit: `YEAR:LIST`, e.g. `VOC2007:test`;
- a single VOC tree (JPEGImages, Annotations, ImageSets): `LIST`, e.g. `trainval`;
- a folder with a dataset.yaml (config/dataset_yaml.py): one of its splits;
- any other folder of annotated images (recognise.py): one of the splits that it has, or that
  `data split` wrote, e.g. `train`; or `all`.

A suffix `@k/n` keeps every n-th image from the k-th on, `@!k/n` all others, counted over the
sorted ids: `voc07_trainval@!0/10` to learn from, `voc07_trainval@0/10` to choose with. `@hash:k/n`
and `@!hash:k/n` choose about as many by a hash of the id, so that an image stays on its side when
others are added or removed.
"""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
from pathlib import Path
import re

from mbv2ssd_ros.core.annotations import OnFault, refuse
from mbv2ssd_ros.core.durable import PARTIAL
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config.dataset_yaml import FILE_NAME
from mbv2ssd_train.data.dataset import Dataset, EncodedImages, ImageRecord, Images
from mbv2ssd_train.data.image_files import read_file
from mbv2ssd_train.data.sources.annotations import ALL, to_records
from mbv2ssd_train.data.sources.cached import cache_path, read_cache, refuse_rivals, SUFFIX
from mbv2ssd_train.data.sources.described import read_described
from mbv2ssd_train.data.sources.packed import read_packed
from mbv2ssd_train.data.sources.recognise import LISTS, recognise
from mbv2ssd_train.data.sources.voc import is_voc_tree, read_voc

_SPLIT = re.compile(r'(?P<name>[^@:]+)(:(?P<part>[^@:]+))?'
                    r'(@(?P<but>!?)(?P<hash>hash:)?(?P<k>\d+)/(?P<n>\d+))?')


def open_dataset(root: str | Path, split: str, class_names: Sequence[str],
                 keep_decoded: bool = False, on_fault: OnFault = refuse) -> Dataset:
    """
    Open a split in any form of the module docstring.

    on_fault gets missing or wrong images and objects; by default it raises the first. Raises
    ConfigError for a malformed split, DataError where the data are missing or wrong.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f'{folder.absolute()}: no such data folder; name yours with data.root in '
                        'the configuration, or with --data')
    parsed = _SPLIT.fullmatch(split)
    if parsed is None:
        raise ConfigError(
            f'split {split!r} is not of the form NAME[:PART][@k/n] or [@hash:k/n], e.g. '
            'voc07_trainval:val')
    records, images = _read(
        folder, parsed['name'], parsed['part'], class_names, on_fault)
    if parsed['n'] is not None:
        records = _every_nth(records, int(parsed['k']), int(parsed['n']), parsed['but'] == '!',
                             bool(parsed['hash']))
    return Dataset(split, class_names, records, images, keep_decoded)


def _read(folder: Path, name: str, part: str | None, class_names: Sequence[str],
          on_fault: OnFault) -> tuple[list[ImageRecord], Images]:
    cache = cache_path(folder, name)
    if cache.is_dir() and part is None:
        refuse_rivals(cache)
        return read_cache(cache, class_names, on_fault)
    listed = (folder / LISTS / f'{name}.txt').is_file() or name == ALL
    if (folder / FILE_NAME).is_file() and part is None and not listed:
        return read_described(folder, name, class_names, on_fault), EncodedImages(_read_file)
    if (folder / f'{name}.json').is_file():
        records, splits, images = read_packed(folder, name, class_names, on_fault)
        if part is not None and part not in splits.values():
            raise DataError(f'{folder / name}.json: no image of the split {part!r}; it has '
                            f'{", ".join(sorted(set(splits.values())))}')
        return [r for r in records if part in (None, splits[r.image_id])], images
    if is_voc_tree(folder) and part is None and not listed:
        return read_voc(folder, name, class_names, on_fault), EncodedImages(_read_file)
    if is_voc_tree(folder / name) and part is not None:
        return read_voc(folder / name, part, class_names, on_fault), EncodedImages(_read_file)
    if cache.with_name(cache.name + PARTIAL).is_dir():
        raise DataError(f'{cache}: is incomplete; run `data cache` again')
    caches = sorted(path.stem for path in folder.glob(f'*{SUFFIX}'))
    sets = sorted(path.stem for path in folder.glob('*.json'))
    years = sorted(path.name for path in folder.iterdir() if is_voc_tree(path))
    if is_voc_tree(folder) and part is not None:
        raise DataError(f'{folder}: is one VOC tree, not a VOCdevkit of several: write {part!r} '
                        f"in place of '{name}:{part}'")
    if not (caches or sets and any(folder.glob('*.part*.zip')) or years) or name == ALL:
        layout = recognise(folder)
        split = name if part is None else f'{name}:{part}'
        if split in (ALL, *layout.splits):
            found = layout.read(split, on_fault)
            return to_records(found, class_names, on_fault), EncodedImages(_read_file)
        raise DataError(f'{folder}: is {layout.form}, without a split {split!r}; it has '
                        f'{", ".join(layout.splits)}; `data split` writes train, val and test')
    raise DataError(
        f'{folder}: no split {name!r}; caches: {", ".join(caches) or "none"}; packed sets: '
        f'{", ".join(sets) or "none"}; VOC trees '
        f'(as TREE:LIST): {", ".join(years) or "none"}')


def _read_file(record: ImageRecord) -> bytes:
    return read_file(Path(record.source))


def _every_nth(records: list[ImageRecord], first: int, n: int, all_but: bool, by_hash: bool
               ) -> list[ImageRecord]:
    if not first < n:
        raise ConfigError(
            f'@{"hash:" if by_hash else ""}{first}/{n} selects no image; the first number '
            'must be below the second')
    ids = sorted(record.image_id for record in records)
    chosen = {name for name in ids if _hash(name) % n == first} if by_hash else set(ids[first::n])
    return [record for record in records if (record.image_id in chosen) != all_but]


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], 'big')
