"""Nothing is measured on what was learnt: by number, by ancestry, by another name."""

import shutil

import cv2
import numpy as np
import pytest

from helpers.model_settings import small_run
from helpers.synthetic import add_list, write_world
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.data.identity import group_copies, identify, Learnt, perceptual_hash
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.deploy.open_model import read_learnt
from mbv2ssd_train.engine import Trainer

pytestmark = pytest.mark.needs('faster_coco_eval')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), train=8, val=3, test=3)


@pytest.fixture(scope='module')
def best(world, tmp_path_factory):
    """The checkpoint of a run on train, validated on val."""
    return trained(world, tmp_path_factory.mktemp('runs'))


def trained(world, runs, **sections):
    run = Trainer(small_run(world, training={'epochs': 1, 'eval_every': 1}, **sections), runs)
    run.run()
    return run.folder.best


def changed(world, folder):
    return shutil.copytree(world, folder / 'data')


def rename(world, old, new):
    """Give a picture and its annotation another name as well."""
    for kind, suffix in (('JPEGImages', 'png'), ('Annotations', 'xml')):
        shutil.copy(world / kind / f'{old}.{suffix}', world / kind / f'{new}.{suffix}')
    path = world / 'Annotations' / f'{new}.xml'
    path.write_text(path.read_text().replace(old, new))


def measure(model, data, split, *options):
    return main(['eval', '--model', str(model), '--data', str(data), '--split', split, *options])


def test_an_image_stays_on_its_side_when_others_come(world, tmp_path):
    data = changed(world, tmp_path)
    names = [f'train{number:04}' for number in range(8)]
    def part(split):
        return {record.image_id for record in open_dataset(
            data, split, ('disc', 'square', 'triangle')).records}
    before = part('train@hash:0/2')
    assert before | part('train@!hash:0/2') == set(names) and 0 < len(before) < 8
    rename(data, 'test0000', '0000')
    add_list(data, 'train', ['0000', *names])
    assert part('train@hash:0/2') - {'0000'} == before


def test_eval_refuses_learnt_images_whose_place_in_the_list_changed(
        world, tmp_path, capsys):
    data = changed(world, tmp_path)
    model = trained(data, tmp_path / 'runs', data={'train': ['train@!0/4'], 'val': 'train@0/4'})
    rename(data, 'test0000', '0000')
    add_list(data, 'train', ['0000', *(f'train{number:04}' for number in range(8))])
    assert measure(model, data, 'train@0/4') == 1
    assert 'learnt from 2 of the 3 images of train@0/4: train0003, train0007' in (
        capsys.readouterr().err)


def test_a_copy_under_another_name_is_refused_or_skipped(world, best, tmp_path, capsys):
    data = changed(world, tmp_path)
    rename(data, 'train0002', 'other')
    add_list(data, 'test', ['test0000', 'other'])
    assert measure(best, data, 'test') == 1
    assert 'learnt from 1 of the 2 images of test: other' in capsys.readouterr().err
    assert measure(best, data, 'test', '--skip-learnt') == 0
    captured = capsys.readouterr()
    assert '1 of 2 images of test are skipped' in captured.err
    assert 'on test, 1 images' in captured.out


def test_a_file_of_the_model_knows_what_it_learnt_and_tells_its_heirs(
        world, best, tmp_path, capsys):
    model = tmp_path / 'm.onnx'
    assert main(['export', '--checkpoint', str(best), '--output', str(model)]) == 0
    np.testing.assert_array_equal(read_learnt(model).images, read_learnt(best).images)
    assert measure(model, world, 'train@0/2') == 1
    heir = trained(world, tmp_path / 'heir', data={'train': ['test']},
                   model={'weights': str(model)}, name='heir',
                   optimizer={'name': 'adamw', 'learning_rate': 1e-4})
    capsys.readouterr()
    assert measure(heir, world, 'train') == 1
    assert 'learnt from 8 of the 8 images of train' in capsys.readouterr().err
    assert measure(heir, world, 'val') == 0


def test_quantize_refuses_learnt_and_calibrated_images_and_passes_them_on(
        world, best, tmp_path, capsys):
    data, model = changed(world, tmp_path), tmp_path / 'm.onnx'
    rename(data, 'test0001', 'other')
    add_list(data, 'copies', ['test0000', 'other'])
    assert main(['export', '--checkpoint', str(best), '--output', str(model)]) == 0

    def quantize(calibration, split, *more):
        return main(['quantize', '--model', str(model), '--output', str(tmp_path / 'q.onnx'),
                     '--target', 'cpu', '--data', str(data), '--calibration-split', calibration,
                     '--split', split, '--method', 'minmax', *more])
    assert quantize('test', 'train') == 1 and quantize('test', 'copies') == 1
    error = capsys.readouterr().err
    assert 'learnt from 8 of the 8 images of train' in error
    assert 'images are both in the training data (test) and in copies: test0000' in error
    add_list(data, 'copies', ['other'])
    assert quantize('test', 'copies') == 1
    assert 'learnt from 1 of the 1 images of copies: other' in capsys.readouterr().err
    assert quantize('test', 'val', '--max-drop', '100') == 0
    output = capsys.readouterr().out
    assert 'Collecting' not in output and 'calibrate: 3/3' in output
    assert 'with 95 % of other choices of 3 images' in output
    assert set(read_learnt(best).images[:, 0]) <= set(
        read_learnt(tmp_path / 'q.onnx').images[:, 0])


def test_the_images_of_the_first_weights_do_not_validate(world, best, tmp_path):
    config = small_run(world, data={'train': ['test'], 'val': 'train'},
                       model={'weights': str(best)})
    with pytest.raises(DataError, match=r'best\.pt: learnt from 8 of the 8 images of train'):
        Trainer(config, tmp_path)


def test_validation_leaves_out_copies_of_training_images(world, tmp_path):
    data = changed(world, tmp_path)
    rename(data, 'train0002', 'other')
    add_list(data, 'val', ['val0000', 'other', 'val0001'])
    run = Trainer(small_run(data), tmp_path / 'runs')
    assert '1 of 3 images of val are copies of training images and not measured: other' in (
        run.data_note)
    assert run.evaluate().images == 2


def test_a_run_is_not_resumed_with_other_data(world, tmp_path):
    data = changed(world, tmp_path)
    trained(data, tmp_path / 'runs')
    def resume():
        Trainer(small_run(data, training={'epochs': 1, 'eval_every': 1}), tmp_path / 'runs', True)
    resume()
    add_list(data, 'train', [*(f'train{number:04}' for number in range(7)), 'test0000'])
    with pytest.raises(DataError, match='training: 1 images are new, 1 are gone'):
        resume()
    add_list(data, 'train', [f'train{number:04}' for number in range(8)])
    path = data / 'Annotations' / 'train0001.xml'
    path.write_text(path.read_text().replace(
        '<difficult>0</difficult>', '<difficult>1</difficult>', 1))
    with pytest.raises(DataError, match='boxes, labels or the order'):
        resume()


def test_a_smaller_copy_looks_like_its_original_and_others_do_not(world, tmp_path):
    data = changed(world, tmp_path)
    pixels = cv2.imread(str(data / 'JPEGImages' / 'train0002.png'))
    rename(data, 'train0002', 'small')
    cv2.imwrite(str(data / 'JPEGImages' / 'small.png'), cv2.resize(
        pixels, (60, 45), interpolation=cv2.INTER_AREA))
    add_list(data, 'all', ['train0001', 'train0002', 'small', 'train0003'])
    images = identify(open_dataset(data, 'all', ('disc', 'square', 'triangle')))
    assert group_copies(images) == [0, 1, 1, 3]
    learnt = Learnt.from_text(Learnt(images[:2]).to_text(), 'test')
    assert learnt.same(images).tolist() == [True, True, False, False]
    assert learnt.alike(images).tolist() == [False, False, True, False]


def test_a_picture_of_one_colour_is_like_no_other():
    assert perceptual_hash(np.full((30, 50, 3), 7, np.uint8)) == 0
