"""The benchmark's arithmetic on numbers made up here, and one short run of the real thing."""

import json
import os

import numpy as np
import pytest
from tiny_model import write_tiny_model

from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.tools import benchmark
from mbv2ssd_ros.tools.benchmark import main
from mbv2ssd_ros.tools.benchmark_figures import (
    cpu_seconds,
    latencies_ms,
    overheads_ms,
    percentiles,
    resident_mb,
    Samples,
    summary,
    table,
)

MS = 1_000_000  # nanoseconds
TIMES = ('infer_ms', 'transport_ms', 'end_to_end_ms', 'overhead_ms')
RESULT = {
    **{name: {'p50': 1.0, 'p95': 2.0, 'p99': 3.0} for name in TIMES},
    'saturated_fps': 99.5, 'saturated_offered_hz': 200.0, 'rss_mb': 123.0, 'cpu_share': 0.25,
    'detections_per_frame': 1.5, 'transport_lost': 0, 'transport_sent': 30,
    'end_to_end_lost': 4, 'end_to_end_sent': 30,
    'config': {'model': 'm.onnx', 'backend': 'b', 'size': '640x480', 'rate_hz': 30.0,
               'rounds': 3},
    'machine': {'cpu': 'c', 'cores': 2, 'load_before': 0.1}}


def samples(**changes):
    """Make samples with 3 ms of inference, 1 ms of transport and 6 ms end to end."""
    return Samples(**{
        'infer': [3.0] * 5, 'transport': [1.0] * 5, 'end_to_end': [6.0] * 5,
        'transport_sent': 5, 'end_to_end_sent': 5, 'node_wall_s': 1.0, **changes})


def test_frames_are_matched_by_stamp_whatever_the_order_of_arrival():
    sent = [(100, 1 * MS), (200, 2 * MS), (300, 3 * MS)]
    received = [(300, 8 * MS, 0), (100, 3 * MS, 2), (999, 4 * MS, 0)]
    assert latencies_ms(sent, received) == [2.0, 5.0]


def test_the_overhead_is_what_inference_and_transport_leave_of_each_frame():
    assert overheads_ms(samples(end_to_end=[6.0, 7.5, 10.0])) == [2.0, 3.5, 6.0]


def test_the_median_overhead_is_the_difference_of_the_medians():
    rng = np.random.default_rng(0)
    found = samples(infer=list(rng.gamma(3, 1, 50)), transport=list(rng.gamma(1, 1, 40)),
                    end_to_end=list(10 + rng.gamma(4, 1, 60)))
    p50 = {name: summary(found)[name]['p50'] for name in TIMES}
    assert p50['overhead_ms'] == pytest.approx(
        p50['end_to_end_ms'] - p50['infer_ms'] - p50['transport_ms'], abs=0.002)  # rounding


def test_percentiles_of_a_hundred_and_one_steps():
    assert percentiles(list(range(101))) == {'p50': 50, 'p95': 95, 'p99': 99}


def test_lost_frames_are_counted():
    found = summary(samples(end_to_end=[6.0] * 3, end_to_end_sent=5))
    assert (found['end_to_end_lost'], found['transport_lost']) == (2, 0)


def test_detections_are_counted_per_answered_frame():
    assert summary(samples(end_to_end=[6.0] * 4, detections=6))['detections_per_frame'] == 1.5


def test_cpu_share_is_cpu_time_over_time():
    found = summary(samples(node_cpu_s=3.0, node_wall_s=12.0))
    assert found['cpu_share'] == 0.25


def test_nothing_received_is_an_error_with_advice():
    with pytest.raises(Mbv2SsdError, match='not one of the detections.*--reliable'):
        summary(samples(end_to_end=[]))


def test_the_table_shows_every_figure_and_the_losses():
    lines = {line.split()[0]: line for line in table(RESULT).splitlines() if line}
    assert lines['overhead'].split()[1:] == ['1.00', '2.00', '3.00']
    assert lines['end_to_end'].endswith('4 of 30')
    assert '99.5' in lines['saturated']
    assert '123.0 MB' in lines['node'] and '25.0 % of one core' in lines['node']


def test_the_cpu_time_of_a_process_grows_while_it_computes():
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) == before:  # ends after one tick of 10 ms of computing
        pass
    assert before < cpu_seconds(os.getpid()) < before + 1


def test_the_resident_memory_grows_by_what_is_touched():
    before = resident_mb(os.getpid())
    block = np.ones(40_000_000, dtype=np.uint8)
    assert resident_mb(os.getpid()) - before == pytest.approx(40, abs=8)
    assert block.any()


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--json', '/no/such/folder/out.json'], '--json /no/such/folder/out.json: the folder'),
    (['--model', 'missing.onnx'], '--model missing.onnx: no such file'),
    (['--model', __file__, '--images', 'nowhere'], 'nowhere: no such file or folder')])
def test_what_cannot_work_is_refused_before_anything_starts(arguments, message, capsys,
                                                            monkeypatch):
    monkeypatch.setattr(benchmark, 'Program', None)  # a start would be a TypeError
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_short_run_writes_every_figure(graph, tmp_path, monkeypatch):
    monkeypatch.delenv('FASTDDS_BUILTIN_TRANSPORTS')  # it would overrule the profile
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    out = tmp_path / 'out.json'
    assert main(['--model', str(model), '--json', str(out), '--frames', '20', '--rounds', '2',
                 '--rate', '50', '--size', '320x200']) == 0
    found = json.loads(out.read_text())
    for name in TIMES:
        times = found[name]
        assert set(times) == {'p50', 'p95', 'p99'}
        assert times['p50'] <= times['p95'] <= times['p99']
    assert 0 < found['infer_ms']['p50'] < found['end_to_end_ms']['p50']
    assert 0 < found['transport_ms']['p50'] < found['end_to_end_ms']['p50']
    assert found['end_to_end_sent'] == found['transport_sent'] == 20
    assert 0 <= found['end_to_end_lost'] < 20 and 0 <= found['transport_lost'] < 20
    assert 0 < found['saturated_fps'] <= found['saturated_offered_hz']
    assert 50 < found['rss_mb'] < 400
    assert 0 < found['cpu_share'] < 2
    assert found['config']['model'] == 'tiny.onnx' and found['config']['size'] == '320x200'
