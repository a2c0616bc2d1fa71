"""The command line around the TensorRT backend, on doubles."""

import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

import pytest

from helpers.paths import DOUBLES, ROOT
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.tools import build_engine


@pytest.fixture
def path(tmp_path):
    """Return the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx')


def run(path, *arguments, **double):
    """Run the program with doubles in place of NVIDIA's libraries."""
    return subprocess.run(
        [sys.executable, '-m', 'mbv2ssd_ros.tools.build_engine', '--model', str(path),
         '--engine-cache-dir', str(path.parent / 'engines'), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=100, env=environment(double))


def environment(double):
    """Return an environment with the doubles."""
    return {**os.environ, 'PYTHONPATH': f'{DOUBLES}{os.pathsep}{ROOT}',
            'MBV2SSD_DOUBLE': json.dumps(double)}


def test_an_engine_is_built_once_and_measured(path, tmp_path):
    first = run(path, '--batch', '2', '--runs', '5', '--json', str(tmp_path / 'out.json'))
    assert first.returncode == 0, first.stderr
    assert 'building a TensorRT engine for batches of 1 to 2 on Orin' in first.stdout
    assert re.search(r'engine: .*/engines/tiny\.\w{16}\.engine\n', first.stdout)
    assert re.search(r'^batch of 2: \d+\.\d\d ms \(p95', first.stdout, re.MULTILINE)
    report = json.loads((tmp_path / 'out.json').read_text())
    assert report['backend'].startswith('TensorRT 10.3.0 on Orin (SM 8.7), batches of 1 to 2')
    assert set(report['infer_ms']) == {'1', '2'}
    second = run(path, '--batch', '2', '--build-only')
    assert 'engine loaded' in second.stdout and 'building' not in second.stdout
    assert 'batch of' not in second.stdout and second.returncode == 0


def test_build_only_fails_when_the_engine_cannot_be_kept(path, monkeypatch, capsys):
    from mbv2ssd_ros.backends.trt.cache import EngineCache

    def full(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(EngineCache, 'keep', full)
    monkeypatch.syspath_prepend(DOUBLES)
    names = ('tensorrt', 'pycuda', 'cuda', 'double_state')
    settings = build_engine.Settings(
        model=str(path), engine_cache_dir=str(path.parent / 'engines'), build_only=True)
    try:
        assert build_engine.build(settings) == 1
    finally:
        for name in [n for n in sys.modules if n.partition('.')[0] in names]:
            del sys.modules[name]
    shown = capsys.readouterr().out
    assert 'warning: ' in shown and 'No space left' in shown and 'engine: not kept' in shown


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--precision', 'fp16'], 'its precision is fp32, the parameter precision asks for fp16'),
    (['--model', '/none.onnx'], '--model /none.onnx: no such file; expected an ONNX file')])
def test_a_refusal_is_one_line_and_exit_code_1(path, arguments, message):
    found = run(path, *arguments)
    assert found.returncode == 1
    assert re.fullmatch(f'build_engine: error: .*{re.escape(message)}.*\n', found.stderr)


def test_without_tensorrt_it_says_what_is_missing(path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    assert build_engine.main(['--model', str(path)]) == 1
    assert 'tensorrt cannot be imported' in capsys.readouterr().err


def test_ctrl_c_ends_a_build_at_once_and_leaves_no_process(path):
    process = subprocess.Popen(
        [sys.executable, '-u', '-m', 'mbv2ssd_ros.tools.build_engine', '--model', str(path),
         '--engine-cache-dir', str(path.parent / 'engines')],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment({'build': 'hang'}))
    assert 'has no self-test' in process.stdout.readline()
    assert 'building a TensorRT engine' in process.stdout.readline()
    child = wait_for_child(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert process.stderr.read() == 'build_engine: cancelled\n'
    process.stdout.close()
    process.stderr.close()
    assert not Path(f'/proc/{child}').exists()


def wait_for_child(pid):
    """Wait until a process has a child; return its id."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.02)
    raise AssertionError('no child')
