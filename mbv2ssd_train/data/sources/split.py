"""
Lists of images for training, validation and test: `splits/train.txt`, `val.txt` and `test.txt`.

The order of images is that of a hash of their content, so that neither names nor places in a
folder decide; classes are spread evenly, rare ones first. Copies of a picture stay together, and
an image that is in a list already stays there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
import hashlib
from pathlib import Path

import numpy as np

from mbv2ssd_ros.core.durable import write_whole
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.data.identity import group_copies, perceptual_hash
from mbv2ssd_train.data.image_files import decode_image, read_file
from mbv2ssd_train.data.sources.annotations import SourceImage
from mbv2ssd_train.data.sources.recognise import LISTS

SHARES = {'train': 0.7, 'val': 0.1, 'test': 0.2}


def write_splits(folder: Path, images: Sequence[SourceImage],
                 shares: Mapping[str, float] = SHARES,
                 progress: Callable[[Iterable[SourceImage]], Iterable[SourceImage]] = iter
                 ) -> dict[str, int]:
    """
    Write the lists of a folder and return their lengths; images are all that it has.

    Raises DataError where a picture cannot be read or a list would be empty.
    """
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise ConfigError(f'shares of {", ".join(shares)} are {list(shares.values())}, expected '
                          'shares that sum to 1')
    names = [image.path.relative_to(folder).as_posix() for image in images]
    chosen = _choose(_groups(progress(images)), images, _listed(folder, names), names, shares)
    lists = {split: [name for name, of in zip(names, chosen) if of == split] for split in shares}
    for split, share in shares.items():
        if share and not lists[split]:
            raise DataError(f'{folder}: {len(images)} images are too few for {split}; add '
                            'images, or give it a share of 0')
    (folder / LISTS).mkdir(exist_ok=True)
    for split, listed in lists.items():
        if listed:
            write_whole(folder / LISTS / f'{split}.txt', ''.join(f'{name}\n' for name in listed))
    return {split: len(listed) for split, listed in lists.items()}


def _listed(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the split of every image that is in a list already."""
    known = set(names)
    return {name: path.stem for path in sorted((folder / LISTS).glob('*.txt'))
            for name in path.read_text(encoding='utf-8').splitlines() if name in known}


def _groups(images: Iterable[SourceImage]) -> list[tuple[int, str]]:
    """Return (group, hash) of every image; copies of a picture have the same group."""
    digests, hashes = [], []
    for image in images:
        encoded = read_file(image.path)
        digests.append(hashlib.sha256(encoded).hexdigest())
        hashes.append((int(digests[-1][:16], 16),
                       perceptual_hash(decode_image(encoded, str(image.path)))))
    return list(zip(group_copies(np.array(hashes, np.uint64)), digests))


def _choose(groups: Sequence[tuple[int, str]], images: Sequence[SourceImage],
            listed: Mapping[str, str], names: Sequence[str], shares: Mapping[str, float]
            ) -> list[str]:
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, (group, _) in enumerate(groups):
        members[group].append(index)
    counts = Counter(name for image in images for name in {item.name for item in
                                                           image.image.objects})

    def order(indices: list[int]) -> tuple[int, str, str]:
        """Sort by the rarest class in the group, then by the hash."""
        present = {item.name for index in indices for item in images[index].image.objects}
        rarest = min(((counts[name], name) for name in present), default=(len(images) + 1, ''))
        return (*rarest, min(groups[index][1] for index in indices))
    chosen = [''] * len(images)
    sizes: Counter[str] = Counter()
    done = 0
    for indices in sorted(members.values(), key=order):
        done += len(indices)
        known = [listed[names[index]] for index in indices if names[index] in listed]
        split = known[0] if known else max(
            shares, key=lambda name: shares[name] * done - sizes[name])
        for index in indices:
            chosen[index] = listed.get(names[index], split)
            sizes[chosen[index]] += 1
    return chosen
