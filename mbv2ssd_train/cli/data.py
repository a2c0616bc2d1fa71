"""`mbv2ssd_train data`: check, show and convert data sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
import shlex

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli.options import (
    add_data,
    add_overrides,
    CLASSES_HELP,
    DATA_HELP,
    SPLIT_HELP,
    write_json,
)
from mbv2ssd_train.process.progress import with_progress


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    data = verbs.add_parser('data', help='check, inspect and convert data sets').add_subparsers(
        dest='data_verb', required=True, metavar='VERB')
    check = data.add_parser(
        'check', help='report all errors of a data set',
        description='Read all annotations and decode all images of a split; print every error '
        'with file and line. Exit code 1 if there are any.')
    add_folder(check)
    check.add_argument('--split', default='all',
                       help=f'default all: every image. {SPLIT_HELP}')
    check.add_argument('--classes', nargs='+', help=CLASSES_HELP)
    check.add_argument('--fix', nargs='+', choices=('clip', 'drop', 'size'),
                       help='write a mended copy of the whole folder as VOC to --output: boxes '
                       'cut at the border, unusable objects and images left out, or the size of '
                       'the picture in place of a wrong one; every change is listed')
    check.add_argument('--output', type=Path, help='folder for the copy of --fix')
    check.set_defaults(run=_check)
    split = data.add_parser(
        'split', help='write lists for training, validation and test',
        description='Write splits/train.txt, val.txt and test.txt in the folder, by a hash of '
        'each picture: classes are spread evenly, copies stay together, and an image that is in '
        'a list stays in it.')
    add_folder(split)
    split.add_argument('--val', type=float, default=0.1, help='share, default 0.1')
    split.add_argument('--test', type=float, default=0.2, help='share, default 0.2')
    split.set_defaults(run=_split)
    convert = data.add_parser(
        'convert', help='write a copy in another format',
        description='Write images and annotations of all splits of a folder as VOC, COCO, YOLO or '
        'CSV. Numbers are kept: training from the copy gives the same weights.')
    add_folder(convert)
    convert.add_argument('--to', required=True,
                         choices=('voc', 'voc-flat', 'coco', 'yolo', 'csv'), help='format')
    convert.add_argument('--output', required=True, type=Path, help='folder to write to')
    convert.set_defaults(run=_convert)
    stats = data.add_parser(
        'stats', help='count objects, sizes and shapes; evaluate prior boxes on them',
        description='Summarise a split and how well the prior boxes of a model cover its '
        'objects; suggest better ones. No image is read.')
    add_data(stats, classes=True)
    stats.add_argument('--config', type=Path, help='YAML with the model whose prior boxes are '
                       'evaluated (default: the default model), and the classes if --classes is '
                       'not given')
    stats.add_argument('--json', type=Path, help='write the figures to this file')
    stats.add_argument('--output', type=Path,
                       help='folder for classes.png, boxes.png and priors.png')
    stats.set_defaults(run=_stats)
    preview = data.add_parser(
        'preview', help='draw augmented batches',
        description='Draw the first augmented batches of a configuration with their boxes as '
        'OUTPUT/batch000.png, ..., to check that boxes match their objects.')
    preview.add_argument('--config', required=True, help='YAML as for train')
    add_overrides(preview, 'augment.expand=0')
    preview.add_argument('--batches', type=int, default=2, help='number of batches, default 2')
    preview.add_argument('--epoch', type=int, default=0, help='0-based epoch, default 0')
    preview.add_argument('--output', required=True, type=Path, help='folder to write to')
    preview.set_defaults(run=_preview)
    cache = data.add_parser(
        'cache', help='decode a split once for fast training',
        description='Write a split as OUTPUT/NAME.cache: decoded images, reduced to the size that '
        'training needs, in memory that all processes of a machine share. Train from it with '
        'data.root=OUTPUT and the split NAME. `data check` verifies its checksums.')
    _add_set(cache, longest_side=416)
    cache.set_defaults(run=_cache)
    pack = data.add_parser(
        'pack', help='pack a split into two small files',
        description='Write a split as a packed set: NAME.json and NAME.part1.zip with images '
        'reduced to the size that training needs. Train from it with data.root=OUTPUT.')
    _add_set(pack, longest_side=360)
    pack.add_argument('--quality', type=int, default=60, help='WebP quality, 1 to 100 (default '
                      '60)')
    pack.set_defaults(run=_pack)


def _add_set(verb: argparse.ArgumentParser, longest_side: int) -> None:
    add_data(verb, classes=True)
    verb.add_argument('--output', required=True, type=Path, help='folder to write to')
    verb.add_argument('--name', required=True, help='name of the new set')
    verb.add_argument(
        '--longest-side', type=int, default=longest_side,
        help=f'longest side of an image in pixels, about 1.3 times the network input (default '
        f'{longest_side})')


def add_folder(verb: argparse.ArgumentParser) -> None:
    """Add the option for a folder whose format is recognised."""
    verb.add_argument('--data', required=True, help=DATA_HELP)


def _check(options: argparse.Namespace) -> int:
    from mbv2ssd_train.data.report.check import check_dataset
    from mbv2ssd_train.data.report.summary import summed_up
    from mbv2ssd_train.data.sources.recognise import NothingFoundError, recognise
    if options.fix or options.output:
        return _fix(options)
    with suppress(NothingFoundError):  # packed sets and caches
        layout = recognise(Path(options.data))
        print(f'{options.data}: {layout.form}; splits: {", ".join(layout.splits)}')
    report = check_dataset(options.data, options.split, _classes(options), with_progress('check'))
    for name, count in report.objects_per_class.items():
        print(f'  {name:<14} {count} objects')
    for line in (*summed_up(report.remarks, 'remark', report.images),
                 *summed_up(report.faults, 'fault', report.images)):
        print(line)
    print(f'{report.split}: {report.images} images, {report.images_without_objects} of them '
          f'without objects; {report.objects} objects; {len(report.faults)} faults')
    if unknown := report.unknown_classes:
        counted = ', '.join(f'{name!r} {count}' for name, count in unknown.items())
        names = ' '.join(shlex.quote(name) for name in unknown if name.isprintable())
        print(f'objects of unknown classes: {counted}. Are they yours? --classes {names}')
    return 1 if report.faults else 0


def _fix(options: argparse.Namespace) -> int:
    from mbv2ssd_train.data.sources.convert import convert
    from mbv2ssd_train.data.sources.mend import Mender
    from mbv2ssd_train.data.sources.recognise import recognise
    if not (options.fix and options.output):
        raise ConfigError('--fix and --output go together: the copy is written there')
    layout, mender = recognise(Path(options.data)), Mender(options.fix)
    splits = {name: mender.read(read) for name, read in layout.splits.items()}
    for change in mender.done:
        print(change)
    if mender.left:
        for fault in mender.left:
            print(f'fault: {fault}')
        raise DataError(f'{len(mender.left)} faults are left, so that nothing is written; allow '
                        'more with --fix, or correct them')
    names = sorted({item.name for found in splits.values() for image in found
                    for item in image.image.objects})
    count = convert(splits, layout.classes or names, 'voc', options.output)
    print(f'{options.output}: {count} images, {len(mender.done)} changes')
    return 0


def _split(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.annotations import refuse
    from mbv2ssd_train.data.sources.annotations import ALL
    from mbv2ssd_train.data.sources.recognise import LISTS, recognise
    from mbv2ssd_train.data.sources.split import write_splits
    folder = Path(options.data)
    images = recognise(folder).read(ALL, refuse)
    shares = {'train': 1 - options.val - options.test, 'val': options.val, 'test': options.test}
    sizes = write_splits(folder, images, shares, lambda items: with_progress('split')(
        items, len(images)))
    print(f'{folder / LISTS}: ' + ', '.join(f'{name} {size}' for name, size in sizes.items()))


def _convert(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.annotations import refuse
    from mbv2ssd_train.data.sources.convert import convert
    from mbv2ssd_train.data.sources.recognise import recognise
    layout = recognise(Path(options.data))
    splits = {name: read(refuse) for name, read in layout.splits.items()}
    names = sorted({item.name for found in splits.values() for image in found
                    for item in image.image.objects})
    count = convert(splits, layout.classes or names, options.to, options.output)
    print(f'{options.data}: {layout.form}; {options.output}: {count} images in '
          f'{", ".join(splits)}')


def _stats(options: argparse.Namespace) -> None:
    from mbv2ssd_train.config import load_config, ModelConfig
    from mbv2ssd_train.data.report.statistics import measure
    from mbv2ssd_train.data.report.statistics_text import describe
    from mbv2ssd_train.data.sources.open import open_dataset
    config = load_config(options.config) if options.config else None
    classes = config.data.classes if config and not options.classes else _classes(options)
    model = config.model if config else ModelConfig()
    found = measure(open_dataset(options.data, options.split, classes), model)
    for line in describe(found):
        print(line)
    if options.json:
        write_json(options.json, found.to_dict())
    if options.output and len(found.labels):
        from mbv2ssd_train.data.report.statistics_plots import draw_statistics
        for path in draw_statistics(found, options.output):
            print(path)


def _preview(options: argparse.Namespace) -> None:
    from mbv2ssd_train.config import load_config
    from mbv2ssd_train.data.loading.loader import TrainLoader
    from mbv2ssd_train.data.report.mosaic import draw_batches
    from mbv2ssd_train.data.sources.open import open_dataset
    if options.batches < 1 or options.epoch < 0:
        raise ConfigError(f'--batches {options.batches} must be positive and --epoch '
                          f'{options.epoch} not negative')
    config = load_config(options.config, tuple(options.overrides))
    datasets = [open_dataset(config.data.root, split, config.data.classes)
                for split in config.data.train]
    loader = TrainLoader(datasets, config)
    for path in draw_batches(loader.epoch(options.epoch), config.data.classes, options.batches,
                             options.output):
        print(path)


def _cache(options: argparse.Namespace) -> None:
    from mbv2ssd_train.data.sources.cache_writer import write_cache
    from mbv2ssd_train.data.sources.open import open_dataset
    if options.longest_side < 1:
        raise ConfigError(f'--longest-side {options.longest_side} must be positive')
    dataset = open_dataset(options.data, options.split, _classes(options))
    path = write_cache(
        dataset, options.output, options.name, options.data, options.longest_side,
        progress=lambda items: with_progress('cache')(items, len(dataset)))
    size_gb = sum(file.stat().st_size for file in path.iterdir()) / 1e9
    print(f'{path}: {len(dataset)} images, {size_gb:.2f} GB; train from it with '
          f'data.root={options.output} and the split {options.name}')


def _pack(options: argparse.Namespace) -> None:
    from mbv2ssd_train.data.sources.open import open_dataset
    from mbv2ssd_train.data.sources.packed import write_packed
    if options.longest_side < 1 or not 1 <= options.quality <= 100:
        raise ConfigError(f'--longest-side {options.longest_side} must be positive and --quality '
                          f'{options.quality} between 1 and 100')
    dataset = open_dataset(options.data, options.split, _classes(options))
    path = write_packed(
        dataset, options.output, options.name, options.split, options.longest_side,
        options.quality, lambda items: with_progress('pack')(items, len(dataset)))
    print(f'{path}: {len(dataset)} images')


def _classes(options: argparse.Namespace) -> Sequence[str]:
    from mbv2ssd_train.config import VOC_CLASSES
    from mbv2ssd_train.data.sources.recognise import NothingFoundError, recognise
    if names := options.classes:
        if len(names) == 1:  # A,B as for predict
            names = [name.strip() for name in names[0].split(',')]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f'--classes: {", ".join(twice)} is listed more than once')
        return list(names)
    try:
        layout = recognise(Path(options.data))
    except NothingFoundError:  # packed sets and caches
        return VOC_CLASSES
    found: set[str] = set()
    for read in () if layout.classes else layout.splits.values():
        found |= {item.name for image in read(lambda fault: None) for item in image.image.objects}
    return layout.classes or (VOC_CLASSES if found <= set(VOC_CLASSES) else sorted(found))
