"""A copy in another format has the same boxes and trains to the same weights."""

import numpy as np
import pytest
import torch

from helpers.synthetic import add_image, add_list, SHAPES, write_world
from mbv2ssd_train.cli import main
from mbv2ssd_train.data.sources.open import open_dataset

FORMS = ('voc', 'voc-flat', 'coco', 'yolo', 'csv')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A VOC tree whose lists are not in the order of names, with a difficult object."""
    root = write_world(tmp_path_factory.mktemp('world') / 'tree', train=9, val=4)
    names = (root / 'ImageSets/Main/train.txt').read_text().split()
    add_list(root, 'train', names[::-1])
    return root


def records(root, split):
    return [(record.boxes_xyxy.tolist(), record.labels.tolist(), record.size_hw)
            for record in open_dataset(root, split, SHAPES).records]


@pytest.mark.parametrize('form', FORMS)
def test_a_copy_has_the_same_boxes_in_the_same_order(world, tmp_path, form):
    assert main(['data', 'convert', '--data', str(world), '--to', form,
                 '--output', str(tmp_path / 'copy')]) == 0
    for split in ('train', 'val'):
        assert records(tmp_path / 'copy', split) == records(world, split)


@pytest.mark.parametrize('form', FORMS)
def test_a_copy_of_a_copy_is_equal(world, tmp_path, form):
    for source, to, name in ((world, form, 'one'), (tmp_path / 'one', 'voc', 'two')):
        assert main(['data', 'convert', '--data', str(source), '--to', to,
                     '--output', str(tmp_path / name)]) == 0
    assert records(tmp_path / 'two', 'train') == records(world, 'train')


def test_every_format_trains_to_the_same_weights(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.yaml').write_text(
        f'name: same\ndata: {{root: "{world}", train: [train], val: val, classes: '
        f'[{", ".join(SHAPES)}]}}\nmodel: {{input_size_hw: [64, 64]}}\n'
        'training: {epochs: 1, batch_size: 4, threads: 1}\n')
    weights = {}
    for form in ('', *FORMS):
        root = tmp_path / form if form else world
        if form:
            main(['data', 'convert', '--data', str(world), '--to', form, '--output', str(root)])
        assert main(['train', 'config.yaml', f'data.root={root}', '--runs', f'runs_{form}']) == 0
        checkpoint, = (tmp_path / f'runs_{form}').glob('*/checkpoints/last.pt')
        weights[form] = torch.load(checkpoint, weights_only=True)['model']
    for form in FORMS:
        assert weights[form].keys() == weights[''].keys()
        assert all(torch.equal(value, weights[form][name]) for name, value in weights[''].items())


def test_a_folder_that_is_not_empty_is_not_written_to(world, tmp_path, capsys):
    (tmp_path / 'mine').touch()
    assert main(['data', 'convert', '--data', str(world), '--to', 'coco',
                 '--output', str(tmp_path)]) == 1
    assert 'is not empty' in capsys.readouterr().err


def test_split_writes_stratified_lists(world, tmp_path):
    root = write_world(tmp_path / 'tree', seed=4, trainval=60)
    assert main(['data', 'split', '--data', str(root)]) == 0
    sizes = {split: len(open_dataset(root, split, SHAPES)) for split in ('train', 'val', 'test')}
    assert sizes == {'train': 42, 'val': 6, 'test': 12}
    for split in ('val', 'test'):
        labels = np.concatenate([record.labels for record in
                                 open_dataset(root, split, SHAPES).records])
        assert set(labels) == {1, 2, 3}


@pytest.fixture
def faulty(tmp_path):
    """A tree with a box outside, an empty box, a wrong size and a broken picture."""
    root, pixels = tmp_path / 'faulty', np.full((20, 40, 3), 9, np.uint8)
    add_image(root, 'outside', pixels + 1, [('nut', (31, 1, 55, 10), 0)])
    add_image(root, 'empty', pixels + 2, [('nut', (9, 9, 8, 12), 0), ('nut', (1, 1, 9, 9), 0)])
    add_image(root, 'size', pixels + 3, [('nut', (31, 1, 40, 10), 0)], size_hw=(40, 20))
    add_image(root, 'broken', pixels, [('nut', (1, 1, 9, 9), 0)])
    (root / 'JPEGImages/broken.png').write_bytes(b'no picture')
    return root


def test_fix_mends_a_copy_and_lists_each_change(faulty, tmp_path, capsys):
    copy = tmp_path / 'copy'
    assert main(['data', 'check', '--data', str(faulty), '--fix', 'clip', 'drop', 'size',
                 '--output', str(copy)]) == 0
    said = capsys.readouterr().out
    assert f'{copy}: 3 images, 4 changes' in said
    for change in ('clipped: .*outside', 'dropped: .*empty', 'size: .*size', 'dropped: .*broken'):
        kind, _, name = change.partition(': .*')
        assert any(line.startswith(f'{kind}: ') and f'/{name}.' in line
                   for line in said.splitlines())
    boxes = {record.image_id: np.round(record.boxes_xyxy * [40, 20, 40, 20]).tolist()
             for record in open_dataset(copy, 'all', ['nut']).records}
    assert boxes == {'outside': [[30, 0, 40, 10]], 'empty': [[0, 0, 9, 9]],
                     'size': [[30, 0, 40, 10]]}
    assert main(['data', 'check', '--data', str(copy)]) == 0
    assert f'{copy}: VOC XML; splits: all\n' in capsys.readouterr().out


def test_what_is_not_allowed_is_left_and_nothing_is_written(faulty, tmp_path, capsys):
    assert main(['data', 'check', '--data', str(faulty), '--fix', 'clip',
                 '--output', str(tmp_path / 'copy')]) == 1
    said = capsys.readouterr()
    assert 'fault: ' in said.out and '3 faults are left' in said.err
    assert not (tmp_path / 'copy').exists()


def test_where_nothing_can_be_read_each_reason_is_told(faulty, capsys):
    for name in ('outside', 'empty', 'size', 'broken'):
        (faulty / f'JPEGImages/{name}.png').rename(faulty / f'JPEGImages/img_{name}.png')
    add_list(faulty, 'trainval', ['outside', 'empty', 'size', 'broken'])
    assert main(['data', 'check', '--data', str(faulty), '--split', 'trainval']) == 1
    said = capsys.readouterr().out
    assert said.count('no image with a suffix of') == 4
    assert 'no image of trainval can be used; the folder has 4 pictures' in said
    assert 'trainval: 0 images' in said and '5 faults' in said


def test_a_systematic_fault_is_summed_up(tmp_path, capsys):
    pixels = np.full((20, 40, 3), 9, np.uint8)
    for number in range(20):
        add_image(tmp_path, f'p{number}', pixels + number, [('nut', (31, 1, 55, 10), 0)])
    assert main(['data', 'check', '--data', str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count('fault: ') == 4
    assert '... and 17 more of this kind, 20 in 20 images' in said


def test_turned_and_unread_pictures_are_told(tmp_path, capsys):
    image = pytest.importorskip('PIL.Image')
    add_image(tmp_path, 'a', np.full((20, 40, 3), 9, np.uint8), [('nut', (1, 1, 9, 9), 0)])
    exif = image.Exif()
    exif[274] = 3
    image.open(tmp_path / 'JPEGImages/a.png').save(tmp_path / 'JPEGImages/a.png', exif=exif)
    (tmp_path / 'JPEGImages/b.HEIC').touch()
    assert main(['data', 'check', '--data', str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert 'a.png: is turned by 180 degrees by EXIF' in said
    assert 'b.HEIC: HEIC is not read' in said
