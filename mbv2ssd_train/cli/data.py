"""`mbv2ssd_train data`: check, show and convert data sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import shlex

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.options import add_data, add_overrides, write_json
from mbv2ssd_train.process.progress import with_progress


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    data = verbs.add_parser('data', help='check, inspect and convert data sets').add_subparsers(
        dest='data_verb', required=True, metavar='VERB')
    check = data.add_parser(
        'check', help='report all errors of a data set',
        description='Read all annotations and decode all images of a split; print every error '
        'with file and line. Exit code 1 if there are any.')
    add_data(check, classes=True)
    check.set_defaults(run=_check)
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


def _check(options: argparse.Namespace) -> int:
    from mbv2ssd_train.data.report.check import check_dataset
    report = check_dataset(options.data, options.split, _classes(options), with_progress('check'))
    for name, count in report.objects_per_class.items():
        print(f'  {name:<14} {count} objects')
    for remark in report.remarks:
        print(f'remark: {remark}')
    for fault in report.faults:
        print(f'fault: {fault}')
    print(f'{report.split}: {report.images} images, {report.images_without_objects} of them '
          f'without objects; {report.objects} objects; {len(report.faults)} faults')
    if unknown := report.unknown_classes:
        counted = ', '.join(f'{name!r} {count}' for name, count in unknown.items())
        names = ' '.join(shlex.quote(name) for name in unknown if name.isprintable())
        print(f'objects of unknown classes: {counted}. Are they yours? --classes {names}')
    return 1 if report.faults else 0


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
    from mbv2ssd_train.config.dataset_yaml import FILE_NAME, read_description
    if options.classes:
        if twice := sorted({name for name in options.classes if options.classes.count(name) > 1}):
            raise ConfigError(f'--classes: {", ".join(twice)} is listed more than once')
        return list(options.classes)
    folder = Path(options.data)
    return read_description(folder).classes if (folder / FILE_NAME).is_file() else VOC_CLASSES
