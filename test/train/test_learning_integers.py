"""
Quantising after training, learning with the rounding, and the file that comes out.

Through the program itself, on the small world of test_learning.py: 40 seconds of CPU time.
"""

import json

import onnx
import pytest
from test_learning import CONFIG, run
import torch
import yaml

from helpers.synthetic import write_world
from mbv2ssd_ros.backends.agreement import Difference
from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_train.cli import main
from mbv2ssd_train.config import load_config
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.deploy.open_model import open_model
from mbv2ssd_train.engine import Trainer
from mbv2ssd_train.model.fake_quantise import remove_quantisers
from mbv2ssd_train.onnx_files.check_images import images_of
from mbv2ssd_train.onnx_files.self_test import infer_as_written
from mbv2ssd_train.quantize.learnt import LIMIT
from mbv2ssd_train.quantize.lint import check_qdq
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.weights.start import load_network, Scores

pytestmark = pytest.mark.slow


def figure(folder, model):
    """mAP@0.5 on images that nothing learnt from."""
    run('eval', '--model', folder / model, '--data', folder / 'world', '--split', 'test',
        '--json', folder / 'figures.json')
    return json.loads((folder / 'figures.json').read_text())['map_50']


@pytest.fixture(scope='module')
def learnt(tmp_path_factory):
    """A folder with float.pt, float.onnx, its after.onnx, and learnt.pt with its learnt.onnx."""
    folder = tmp_path_factory.mktemp('integers')
    world = write_world(folder / 'world', seed=7, train=160, val=20, test=50)
    data = {**CONFIG['data'], 'root': str(world)}
    begin = {**CONFIG, 'data': data,
             'training': {**CONFIG['training'], 'epochs': 5, 'eval_every': 5}}
    go_on = {**begin, 'name': 'integers',
             'model': {**CONFIG['model'], 'weights': str(folder / 'float.pt')},
             'quantize': {'ranges_from': str(folder / 'after.onnx')},
             'optimizer': {**CONFIG['optimizer'], 'learning_rate': 0.0005},
             'training': {**CONFIG['training'], 'epochs': 2, 'eval_every': 1}}
    for name, config in (('float', begin), ('learnt', go_on)):
        (folder / f'{name}.yaml').write_text(yaml.safe_dump(config))
        run('train', folder / f'{name}.yaml', '--runs', folder / name)
        best, = (folder / name).glob('*/checkpoints/best.pt')
        (folder / f'{name}.pt').write_bytes(best.read_bytes())
        run('export', '--checkpoint', folder / f'{name}.pt', '--output', folder / f'{name}.onnx')
        if name == 'float':
            run('quantize', '--model', folder / 'float.onnx', '--output', folder / 'after.onnx',
                '--target', 'tensorrt', '--data', world, '--calibration-split', 'train',
                '--split', 'val', '--images', 20, '--method', 'minmax', '--max-drop', 100)
    return folder


def test_learning_keeps_or_improves_what_quantising_afterwards_left(learnt):
    after, with_rounding = figure(learnt, 'after.onnx'), figure(learnt, 'learnt.onnx')
    assert after > 0.5  # there is something to lose
    assert with_rounding > after - 0.01


def test_both_files_have_the_same_graph(learnt):
    nodes = [[(node.op_type, *node.input, *node.output)
              for node in onnx.load(learnt / name).graph.node]
             for name in ('after.onnx', 'learnt.onnx')]
    assert nodes[0] == nodes[1]
    assert sum(node[0] == 'QuantizeLinear' for node in nodes[0]) > 60


def test_tensorrt_takes_the_file(learnt):
    assert check_qdq(learnt / 'learnt.onnx') == []
    contract = open_backend('onnxruntime', learnt / 'learnt.onnx', BackendOptions()).contract
    assert contract.precision == 'int8'
    assert contract.provenance.config.startswith('# INT8 for tensorrt: learnt')


def test_the_ranges_are_those_of_the_file_that_it_began_with(learnt):
    values = [{item.name: onnx.numpy_helper.to_array(item)
               for item in onnx.load(learnt / name).graph.initializer}
              for name in ('after.onnx', 'learnt.onnx')]
    scales = [name for name in values[0] if name.endswith('_scale') and not values[0][name].shape]
    assert len(scales) > 60
    assert all(values[0][name] == values[1][name] for name in scales)


def test_the_checkpoint_computes_what_the_file_computes(learnt):
    model = open_model(learnt / 'learnt.pt')
    infer = infer_as_written((learnt / 'learnt.onnx').read_bytes())
    images = images_of(open_dataset(learnt / 'world', 'test', CONFIG['data']['classes']), 10,
                       model.contract)
    for image in images:
        (boxes, scores), (wanted_boxes, wanted_scores) = infer(image[None]), model.infer(
            image[None])
        found = [abs(boxes - wanted_boxes), abs(scores - wanted_scores)]
        assert Difference(*(getattr(part, name)() for part in found
                            for name in ('max', 'mean'))).within(LIMIT)


def test_it_has_no_float16_file(learnt, capsys):
    assert main(['export', '--checkpoint', str(learnt / 'learnt.pt'), '--precision', 'fp16',
                 '--output', str(learnt / 'half.onnx')]) == 1
    assert 'learnt.pt: quantization-aware' in capsys.readouterr().err


def test_a_run_goes_on_where_it_was(learnt):
    config = load_config(learnt / 'learnt.yaml')
    trainer = Trainer(config, learnt / 'learnt', resume=True)
    trainer.folder.close()
    last, = (learnt / 'learnt').glob('*/checkpoints/last.pt')
    saved = load_checkpoint(last)
    assert trainer.state.epoch == 2
    found = trainer.learner.network.state_dict()
    assert found.keys() == saved.model.keys()
    assert all(torch.equal(found[name], value) for name, value in saved.model.items())


def test_a_float_network_can_begin_with_what_was_learnt(learnt):
    model, config = open_model(learnt / 'learnt.pt'), load_config(learnt / 'float.yaml')
    network = build_network(config)
    report = load_network(network, learnt / 'learnt.pt', Scores(config.data.classes, False))
    assert 'begin at random' not in report
    image = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        wanted = remove_quantisers(model.model.network)(image)
        for found, expected in zip(network.eval()(image), wanted, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_validate_takes_the_checkpoint_and_the_file(learnt, capsys):
    assert main(['validate', str(learnt / 'learnt.pt'), str(learnt / 'learnt.onnx'), '--data',
                 str(learnt / 'world'), '--split', 'test']) == 0
    assert "ok   TensorRT's rules: learnt.onnx" in capsys.readouterr().out
