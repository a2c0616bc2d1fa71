"""Models side by side: the figures on times made up here, then a short run of the real thing."""

import json
import re
import sys

import numpy as np
import pytest

from helpers.clock import Clock
from helpers.domains import Domain
from helpers.needs import need
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.tools import compare_models
from mbv2ssd_ros.tools.benchmarking import timing
from mbv2ssd_ros.tools.benchmarking.compare_figures import (
    matplotlib_classes,
    parameter_count,
    plot,
    Rounds,
    row,
    table,
)
from mbv2ssd_ros.tools.benchmarking.timing import timed
from mbv2ssd_ros.tools.compare_models import models_of, read_map
from mbv2ssd_ros.tools.playing import publishing

NOTHING = {'infer': [], 'detect': [], 'end_to_end': []}
DESCRIBED = {'model': 'm.onnx', 'backend': 'onnxruntime', 'precision': 'fp32',
             'input_size_hw': [300, 320], 'size_mb': 1.5, 'parameters': None, 'map_50': None}


def rounds(*infer):
    """Make rounds with inference times only."""
    return Rounds({**NOTHING, 'infer': [list(times) for times in infer],
                   'end_to_end': [[] for _ in infer]}, fps=[100.0, 90.0, 10.0], rss_mb=99.96)


def test_a_figure_is_the_median_of_the_rounds_so_a_slow_round_counts_once():
    found = rounds([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [90.0, 90.0, 90.0])
    assert found.spread('infer') == {'p50': 2.0, 'p95': 2.0}
    assert found.spread('end_to_end') is None


def test_models_are_compared_inside_each_round():
    # the machine is three times slower in the second round: that is no difference of the models
    first, second = rounds([10.0], [30.0], [10.0]), rounds([5.0], [15.0], [6.0])
    assert second.relative_to(first, 'infer') == 0.5
    assert first.relative_to(first, 'infer') == 1.0
    assert second.relative_to(first, 'detect') is None


def test_a_row_has_medians_and_the_rest():
    found = row(DESCRIBED, rounds([2.0], [4.0], [3.0]), rounds([4.0], [8.0], [6.0]))
    assert found['infer_ms'] == {'p50': 3.0, 'p95': 3.0} and found['detect_ms'] is None
    assert (found['fps'], found['rss_mb'], found['infer_relative_to_first']) == (90.0, 100.0, 0.5)
    assert found['model'] == 'm.onnx'


def test_the_table_leaves_out_columns_without_figures_and_shows_failures():
    found = row(DESCRIBED, rounds([2.0]), rounds([2.0]))
    lines = table([found, {'model': 'bad.onnx', 'backend': 'tensorrt', 'error': 'no GPU'}]
                  ).splitlines()
    assert lines[0].split() == ['model', 'backend', 'precision', 'input', 'MB', 'infer', 'p50',
                                'infer', 'p95', 'x', 'first', 'fps', 'RSS', 'MB']
    assert lines[1].split() == ['m.onnx', 'onnxruntime', 'fp32', '320x300', '1.5', '2.00', '2.00',
                                '1.00', '90.0', '100']
    assert lines[2] == 'bad.onnx  tensorrt  no GPU'


def test_map_is_shown_in_points():
    found = {**row(DESCRIBED, rounds([2.0]), rounds([2.0])), 'map_50': 0.5848}
    title, cells = (line.split() for line in table([found]).splitlines())
    assert cells[title.index('mAP@0.5')] == '58.48'


def test_parameters_are_the_weights_of_the_layers_quantised_ones_too(tmp_path):
    onnx = need('onnx')
    from onnx import helper, numpy_helper, TensorProto
    made = {name: numpy_helper.from_array(value, name) for name, value in {
        'w': np.zeros((4, 3, 3, 3), np.float32), 'b': np.zeros(4, np.float32),
        'q': np.zeros((2, 4, 1, 1), np.int8), 's': np.float32(0.1), 'z': np.int8(0),
        'priors': np.zeros((1, 2, 5, 5), np.float32)}.items()}
    nodes = [helper.make_node('Conv', ['x', 'w', 'b'], ['y']),
             helper.make_node('DequantizeLinear', ['q', 's', 'z'], ['qw']),
             helper.make_node('Conv', ['y', 'qw'], ['c']),
             helper.make_node('Add', ['c', 'priors'], ['out'])]
    graph = helper.make_graph(
        nodes, 'g', [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 3, 7, 7])],
        [helper.make_tensor_value_info('out', TensorProto.FLOAT, [1, 2, 5, 5])],
        list(made.values()))
    onnx.save(helper.make_model(graph), tmp_path / 'm.onnx')
    assert parameter_count(tmp_path / 'm.onnx') == 4 * 27 + 4 + 2 * 4


def test_parameters_are_unknown_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    assert parameter_count(tmp_path / 'm.onnx') is None


def test_models_come_from_files_and_folders_each_once(tmp_path):
    for name in ('b.onnx', 'a.onnx', 'notes.txt'):
        (tmp_path / name).touch()
    found = models_of([tmp_path / 'b.onnx', tmp_path])
    assert [path.name for path in found] == ['b.onnx', 'a.onnx']
    assert models_of([])[0].name == 'mbv2_ssdlite_voc.onnx'


@pytest.mark.parametrize(('make', 'message'), [
    (lambda path: None, 'x: no such file'), (lambda path: path.mkdir(), 'x: no .onnx file')])
def test_what_is_no_model_is_refused_by_name(tmp_path, make, message):
    make(tmp_path / 'x')
    with pytest.raises(ConfigError, match=message):
        models_of([tmp_path / 'x'])


@pytest.mark.parametrize('wrap', [lambda found: found, lambda found: {'accuracy': found}])
def test_map_is_read_from_both_kinds_of_figures(tmp_path, wrap):
    path = tmp_path / 'figures.json'
    path.write_text(json.dumps(wrap({'map_50': 0.5, 'split': 'voc07_test'})))
    assert read_map(path) == (0.5, 'voc07_test')


@pytest.mark.parametrize('content', ['{}', '[]', 'words', '{"map_50": null, "split": "x"}',
                                     '{"accuracy": null}'])
def test_figures_without_map_are_refused_by_name(tmp_path, content):
    path = tmp_path / 'figures.json'
    path.write_text(content)
    with pytest.raises(DataError, match='figures.json: has no map_50'):
        read_map(path)


def test_runs_are_timed_one_by_one_and_together(monkeypatch):
    clock = Clock()
    for module in (timing, publishing):
        monkeypatch.setattr(module, 'time', clock)
    times_ms, fps = timed(lambda number: clock.sleep(0.01 * number), range(3))
    assert times_ms == pytest.approx([0, 10, 20])
    assert fps == pytest.approx(100)  # three in 30 ms
    _, paced = timed(lambda number: None, range(6), 50.0)
    assert paced == pytest.approx(60)  # six in five waits of 20 ms


@pytest.mark.parametrize('more', [{}, {'map_50': 0.5}])
def test_the_plot_is_a_picture(tmp_path, more):
    need('matplotlib')
    import cv2
    rows = [{**row(DESCRIBED, rounds([2.0]), rounds([2.0])), **more}] * 2
    plot(rows, tmp_path / 'p.png')
    height, width = cv2.imread(str(tmp_path / 'p.png')).shape[:2]
    assert width == 120 * (10 if more else 6) and height > 300


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(
        tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ConfigError, match='--plot needs the Python package matplotlib'):
        matplotlib_classes()
    assert compare_models.main(['--plot', str(tmp_path / 'p.png')]) == 1
    assert capsys.readouterr().err.startswith(
        'compare_models: error: --plot needs the Python package matplotlib')


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--bag', 'b'], '--bag and --ground-truth are needed together'),
    (['--map', 'a', '--bag', 'b', '--ground-truth', 'c'], 'not from both'),
    (['--json', '/no/such/folder/x.json'], '--json /no/such/folder/x.json: cannot be written'),
    (['--images', '/no/images'], '/no/images: no such file')])
def test_what_would_fail_at_the_end_is_refused_at_the_start(arguments, message, capsys):
    assert compare_models.main(arguments) == 1
    assert message in capsys.readouterr().err


def test_there_is_a_map_for_each_model_or_none(tmp_path):
    with pytest.raises(ConfigError, match='1 files of --map for 2 models'):
        compare_models._maps([tmp_path / 'a.json'], [tmp_path / 'x.onnx', tmp_path / 'y.onnx'])


# The real thing ----------------------------------------------------------------------------------

def compared(tmp_path, capsys, *arguments):
    """Compare quickly; return exit code, report and what was printed."""
    out = tmp_path / 'out.json'
    code = compare_models.main([*map(str, arguments), '--frames', '6', '--rounds', '2', '--rate',
                                '60', '--size', '96x64', '--backend', 'onnxruntime', '--json',
                                str(out)])
    shown = capsys.readouterr()
    return code, json.loads(out.read_text()) if out.is_file() else shown.err, shown.out


def test_two_models_are_measured_in_turns_with_their_maps(tmp_path, capsys):
    models = [write_tiny_model(tmp_path / name) for name in ('a.onnx', 'b.onnx')]
    (tmp_path / 'map.json').write_text('{"map_50": 0.25, "split": "mine"}')
    code, found, shown = compared(tmp_path, capsys, *models, '--map', tmp_path / 'map.json',
                                  '--map', tmp_path / 'map.json')
    assert code == 0
    assert [(r['model'], r['precision'], r['input_size_hw'], r['map_50'], r['map_on'])
            for r in found['rows']] == [(name, 'fp32', [32, 48], 0.25, 'mine')
                                        for name in ('a.onnx', 'b.onnx')]
    for r in found['rows']:
        assert 0 < r['infer_ms']['p50'] <= r['infer_ms']['p95']
        assert r['detect_ms']['p50'] > r['infer_ms']['p50']
        assert r['fps'] > 10 and 30 < r['rss_mb'] < 500 and r['end_to_end_ms'] is None
    assert found['rows'][0]['infer_relative_to_first'] == 1.0
    assert len(re.findall(r'^[ab]\.onnx', shown, re.MULTILINE)) == 2
    assert found['config']['rounds'] == 2 and found['machine']['cores'] >= 1


def test_a_model_that_cannot_be_loaded_is_a_row_with_the_reason_and_exit_code_1(tmp_path, capsys):
    good = write_tiny_model(tmp_path / 'good.onnx')
    (tmp_path / 'bad.onnx').write_bytes(b'words')
    code, found, shown = compared(tmp_path, capsys, tmp_path / 'bad.onnx', good)
    assert code == 1
    bad, fine = found['rows']
    assert 'cannot be read as ONNX' in bad['error'] and fine['infer_ms']['p50'] > 0
    assert 'bad.onnx  onnxruntime' in shown


def test_map_is_measured_on_a_bag(tmp_path, capsys):
    need('rosbags')
    need('faster_coco_eval')
    from helpers.bag_world import coco, images, SIX_OBJECTS, six_pictures, write_bag
    bag = write_bag(tmp_path / 'bag', images(six_pictures()))
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps(coco(
        [({'frame_index': index}, objects) for index, objects in enumerate(SIX_OBJECTS)])))
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    code, found, _ = compared(tmp_path, capsys, model, '--bag', bag, '--ground-truth', truth)
    assert code == 0, found
    assert (found['rows'][0]['map_50'], found['rows'][0]['map_on']) == (1.0, 'bag')


@pytest.mark.ros
@pytest.mark.slow
def test_end_to_end_goes_through_a_node_of_each_model(tmp_path, capsys, monkeypatch):
    need('rclpy')
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    domains = Domain(2)  # one for each model
    models = [write_tiny_model(tmp_path / name) for name in ('a.onnx', 'b.onnx')]
    code, found, _ = compared(tmp_path, capsys, *models, '--ros', '--domain-id', domains.number)
    domains.release()
    assert code == 0, found
    for r in found['rows']:
        assert r['end_to_end_ms']['p50'] > r['infer_ms']['p50']
