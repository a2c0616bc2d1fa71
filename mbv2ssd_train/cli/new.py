"""`mbv2ssd_train new`: a ready configuration for a folder of annotated images."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
import re

from mbv2ssd_ros.core.annotations import Remark
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.process.progress import with_progress


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'new', help='write a configuration for a folder of annotated images',
        description='Recognise the format of a folder (VOC, COCO, YOLO, CSV, labelme, Label '
        'Studio), split its images where they are not, and write a configuration for `train`: '
        'classes, input size, steps, and the shipped model to start from.')
    verb.add_argument('folder', type=Path, help='folder with images and annotations')
    verb.add_argument('--output', type=Path,
                      help='YAML to write, default FOLDER.yaml in the current folder')
    verb.add_argument('--split', choices=('auto', 'own'),
                      help="auto: write new lists into FOLDER/splits; own: the folder's train, "
                      'val and test (default: own where it has train)')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.config import parse_config
    from mbv2ssd_train.data.report.proposal import propose, Splits
    from mbv2ssd_train.data.report.summary import summed_up
    from mbv2ssd_train.data.sources.annotations import ALL
    from mbv2ssd_train.data.sources.recognise import recognise
    from mbv2ssd_train.data.sources.split import write_splits
    folder = options.folder
    if not folder.is_dir():
        raise DataError(f'{folder.absolute()}: no such folder')
    name = re.sub(r'[^A-Za-z0-9._-]+', '_', folder.resolve().name).strip('_.-') or 'my_data'
    output = options.output or Path(f'{name}.yaml')
    if output.exists():
        raise ConfigError(f'{output}: exists; choose another --output, or remove it')
    layout = recognise(folder)
    told: list[DataError] = []
    images = layout.read(ALL, told.append)
    counts = Counter(item.name for image in images for item in image.image.objects)
    empty = sum(not image.image.objects for image in images)
    print(f'{folder}: {layout.form}: {len(images)} images, {empty} of them without objects; '
          f'{sum(counts.values())} objects')
    print('  ' + ', '.join(f'{label} {count}' for label, count in counts.most_common()))
    for line in summed_up([str(fault) for fault in told if isinstance(fault, Remark)], 'remark'):
        print(line)
    faults = [str(fault) for fault in told if not isinstance(fault, Remark)]
    for line in summed_up(faults, 'fault'):
        print(line)
    if faults:
        raise DataError(f'{folder}: {len(faults)} faults; correct them, or let `data check --data '
                        f'{folder} --fix clip drop size --output COPY` mend what is safe')
    if not counts:
        raise DataError(f'{folder}: no image has an object; nothing to train on')
    splits = None if options.split == 'auto' else _own_splits(layout.splits)
    if splits is None:
        if options.split == 'own':
            raise ConfigError(f'{folder}: has no split for training, only '
                              f'{", ".join(layout.splits)}; --split auto writes lists')
        sizes = write_splits(folder, images, progress=lambda items: with_progress('split')(
            items, len(images)))
        print(f'{folder}/splits: ' + ', '.join(f'{each} {size}' for each, size in sizes.items()))
        splits = (('train',), 'val', 'test')
        layout = recognise(folder)
    classes = layout.classes or tuple(sorted(counts))
    if unseen := [label for label in classes if not counts[label]]:
        print(f'note: no object is of the class {", ".join(unseen)}')
    learnt = [image for split in splits[0] for image in layout.read(
        split.partition('@')[0], told.append)]
    text = propose(str(folder), str(output), name, classes, Splits(*splits), learnt)
    parse_config(text, str(output))
    output.write_text(text, encoding='utf-8')
    print(f'{output}: written; next: mbv2ssd_train train {output}')


def _own_splits(names: Iterable[str]) -> tuple[tuple[str, ...], str, str] | None:
    """Choose splits by their names; a tenth of train where none is for validation."""
    from mbv2ssd_train.data.sources.paths import SPLIT_NAMES
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(SPLIT_NAMES.get(name.lower(), ''), name)
    if 'train' not in found:
        return None
    train, test = found['train'], found.get('test', '')
    if 'val' in found:
        return (train,), found['val'], test
    return (f'{train}@!hash:0/10',), f'{train}@hash:0/10', test
