"""`new`: from a folder of images to a configuration that trains."""

import shutil

import cv2
import numpy as np
import pytest

from helpers.synthetic import draw_scene, SHAPES, voc_xml, write_world
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import load_config
from mbv2ssd_train.data.report.proposal import names_a_side
from mbv2ssd_train.training_data import open_datasets


def flat_folder(root, count=40, seed=3):
    """Write images and XML side by side, without any list."""
    root.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels, objects = draw_scene(rng)
        cv2.imwrite(str(root / f'p{number:02}.png'), pixels)
        (root / f'p{number:02}.xml').write_text(
            voc_xml(f'p{number:02}', pixels.shape[:2], objects, 'png'))
    return root


def lists(root):
    return {path.stem: path.read_text().split() for path in (root / 'splits').glob('*.txt')}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go to a folder with 40 images and their XML in `shapes`."""
    monkeypatch.chdir(tmp_path)
    return flat_folder(tmp_path / 'shapes')


def test_a_flat_folder_becomes_a_configuration(folder, capsys):
    assert main(['new', 'shapes']) == 0
    out = capsys.readouterr().out
    assert 'shapes: a flat folder of images and VOC XML: 40 images, 0 of them without' in out
    assert 'shapes.yaml: written; next: mbv2ssd_train train shapes.yaml' in out
    config = load_config('shapes.yaml')
    assert config.data.classes == SHAPES and config.augment.flip == 0.5
    assert (config.data.train, config.data.val, config.data.test) == (('train',), 'val', 'test')
    train, val = open_datasets(config)
    assert (len(train[0]), len(val)) == (28, 4)
    found = lists(folder)
    assert sorted(sum(found.values(), [])) == sorted(path.name for path in folder.glob('*.png'))


def test_the_lists_depend_on_the_pictures_and_not_on_their_names(folder):
    assert main(['new', 'shapes']) == 0
    before = lists(folder)
    shutil.rmtree(folder / 'splits')
    for path in folder.glob('p*'):
        path.rename(folder / f'renamed_{path.name[::-1].partition(".")[2]}{path.suffix}')
    assert main(['new', 'shapes', '--output', 'again.yaml']) == 0
    turned = {split: sorted(f'renamed_{name[::-1].partition(".")[2]}.png' for name in names)
              for split, names in before.items()}
    assert {split: sorted(names) for split, names in lists(folder).items()} == turned


def test_images_that_come_later_move_no_other(folder):
    assert main(['new', 'shapes']) == 0
    before = lists(folder)
    flat_folder(folder / 'more', 10, seed=9)
    for path in (folder / 'more').iterdir():
        path.rename(folder / f'a{path.name}')
    assert main(['new', 'shapes', '--split', 'auto', '--output', 'more.yaml']) == 0
    after = lists(folder)
    assert all(set(names) <= set(after[split]) for split, names in before.items())
    assert sum(map(len, after.values())) == 50


def test_copies_of_a_picture_stay_on_one_side(folder):
    for number in range(0, 40, 4):
        pixels = cv2.imread(str(folder / f'p{number:02}.png'))
        cv2.imwrite(str(folder / f'copy{number:02}.jpg'), cv2.resize(pixels, (240, 180)))
    assert main(['new', 'shapes']) == 0
    split_of = {name: split for split, names in lists(folder).items() for name in names}
    assert all(split_of[f'copy{number:02}.jpg'] == split_of[f'p{number:02}.png']
               for number in range(0, 40, 4))


def test_a_folder_with_splits_keeps_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / 'tree', trainval=20, test=5)
    assert main(['new', 'tree']) == 0
    data = load_config('tree.yaml').data
    assert (data.train, data.val, data.test) == (
        ('trainval@!hash:0/10',), 'trainval@hash:0/10', 'test')
    assert not (tmp_path / 'tree/splits').exists()


def test_faults_are_told_and_nothing_is_written(folder, capsys):
    path = folder / 'p07.xml'
    path.write_text(path.read_text().replace('<xmax>', '<xmax>9'))
    assert main(['new', 'shapes']) == 1
    said = capsys.readouterr()
    assert 'p07.xml:1: box' in said.out and '--fix clip drop size' in said.err
    assert not (folder.parent / 'shapes.yaml').exists() and not (folder / 'splits').exists()


def test_an_existing_file_is_not_replaced(folder, capsys):
    (folder.parent / 'shapes.yaml').write_text('mine')
    assert main(['new', 'shapes']) == 1
    assert 'shapes.yaml: exists' in capsys.readouterr().err


@pytest.mark.parametrize(('name', 'sided'), [
    ('turn_left', True), ('RightArrow', True), ('arrow-right', True), ('LEFT', True),
    ('bright', False), ('leftover', False), ('copyright', False)])
def test_flipping_is_off_where_a_class_names_a_side(folder, name, sided):
    assert names_a_side(name) == sided
    for path in folder.glob('*.xml'):
        path.write_text(path.read_text().replace('>disc<', f'>{name}<'))
    assert main(['new', 'shapes']) == 0
    assert load_config('shapes.yaml').augment.flip == (0 if sided else 0.5)


def test_two_commands_end_with_a_report(folder, capsys):
    assert main(['new', 'shapes']) == 0
    assert main(['train', 'shapes.yaml', 'training.epochs=1', 'model.input_size_hw=[64, 64]',
                 'training.batch_size=8']) == 0
    said = capsys.readouterr().out
    assert 'on test, 8 images' in said
    report, = folder.parent.glob('runs/shapes_*/report/report.html')
    assert f'report: {report.relative_to(folder.parent)}' in said
