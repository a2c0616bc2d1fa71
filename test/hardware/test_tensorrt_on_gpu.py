"""What only a device can show: real builds, real engines, real memory."""

import dataclasses
from importlib import import_module
import os
from pathlib import Path
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from helpers.paths import ROOT
from helpers.tiny_model import cell_box, COLUMNS, CONTRACT, ROWS, write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend, TrtOptions
from mbv2ssd_ros.backends.agreement import check_agreement, compare
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.core.contract import PRECISIONS
from mbv2ssd_ros.core.errors import BackendError

SHIPPED = ROOT / 'models' / 'mbv2_ssdlite_voc.onnx'
# the shipped one in every precision; other files in MBV2SSD_HARDWARE_MODELS, with ':' between
MODELS = ['fp32', 'fp16', 'int8', *filter(None, os.environ.get(
    'MBV2SSD_HARDWARE_MODELS', '').split(':'))]
PICTURES = sorted((ROOT / 'config' / 'demo' / 'images').glob('*.jpg'))
HEIGHT, WIDTH = CONTRACT.input_size_hw
FRAMES = 1000
RUNS = 200
GROWTH_MIB = 16  # of a process or of the GPU in FRAMES frames: noise, not a leak


class ListLog:
    """Keeps what it is told, with the time."""

    def __init__(self):
        self.lines = []

    def info(self, message, /):
        """Keep a line."""
        self.lines.append((time.monotonic(), message))

    warning = info

    def says(self, text):
        """Tell whether a line has a text."""
        return any(text in line for _, line in self.lines)


@pytest.fixture
def path(tmp_path):
    """Return the tiny model."""
    return write_tiny_model(tmp_path / 'tiny.onnx')


def open_tiny(path, folder, log=None, max_batch=1, **loading):
    """Open the tiny model in TensorRT."""
    return open_backend(
        'tensorrt', path, BackendOptions(
            max_batch=max_batch, trt=TrtOptions(str(folder))),
        LoadContext(log or ListLog(), **loading))


def images(count, seed=0):
    """A batch of noise."""
    return np.random.default_rng(seed).integers(
        0, 128, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def check_answer(backend, count, seed=0):
    """Compare with the cells of the tiny model."""
    batch = images(count, seed)
    boxes, scores = backend.infer(batch)
    cells = [cell_box(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    np.testing.assert_allclose(boxes, [cells] * count, atol=1e-3)
    np.testing.assert_allclose(
        scores[:, 0, 1], batch[:, :8, :8, 0].mean(axis=(1, 2)) / 255, atol=1e-3)


def test_every_batch_size_up_and_down(nvidia, path, tmp_path):
    backend = open_tiny(path, tmp_path / 'engines', max_batch=4)
    for count in (1, 2, 3, 4, 3, 2, 1, 9):
        check_answer(backend, count, count)
    backend.close()


def test_a_build_says_something_every_five_seconds(nvidia, tmp_path, engine_folder):
    log = ListLog()
    started = time.monotonic()
    backend = open_backend('tensorrt', SHIPPED, BackendOptions(
        trt=TrtOptions(str(engine_folder / 'shipped'))), LoadContext(log))
    backend.close()
    times = [started, *(when for when, _ in log.lines), time.monotonic()]
    assert max(np.diff(times)) < 6.0, log.lines


def damage(path, how):
    """Damage an engine file."""
    content = bytearray(path.read_bytes())
    if how == 'truncated':
        del content[len(content) // 2:]
    elif how == 'flipped':
        content[len(content) // 2] ^= 1
    elif how == 'version':
        content[24] ^= 1  # where TensorRT 10 writes its major number
    else:
        content.clear()
    path.write_bytes(content)


@pytest.mark.parametrize('how', ['truncated', 'flipped', 'version', 'empty'])
def test_a_damaged_engine_heals_by_itself(nvidia, path, tmp_path, how):
    log, folder = ListLog(), tmp_path / 'engines'
    open_tiny(path, folder).close()
    damage(next(folder.glob('*.engine')), how)
    backend = open_tiny(path, folder, log)
    check_answer(backend, 1)
    backend.close()
    assert log.says('is not used') and log.says('engine built')
    log = ListLog()
    open_tiny(path, folder, log).close()
    assert log.says('engine loaded')


def test_two_nodes_share_one_build(nvidia, path, tmp_path):
    script = (
        'import sys; from mbv2ssd_ros.tools.build_engine import main; sys.exit(main())')
    started = [subprocess.Popen(
        [sys.executable, '-c', script, '--model', str(path), '--engine-cache-dir',
         str(tmp_path / 'engines'), '--build-only'], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)]
    said = [process.communicate(timeout=1200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sum('engine built' in text for text in said) == 1
    assert sum('engine loaded' in text for text in said) == 1


def test_a_build_that_is_no_longer_wanted_ends_in_two_seconds(nvidia, tmp_path):
    wanted_until = []

    def cancelled():
        if not wanted_until:
            wanted_until.append(time.monotonic() + 1)
        return time.monotonic() > wanted_until[0]

    try:
        backend = open_backend('tensorrt', SHIPPED, BackendOptions(
            trt=TrtOptions(str(tmp_path / 'engines'))), LoadContext(ListLog(), cancelled))
    except BackendError as err:
        assert 'cancelled' in str(err)
    else:
        backend.close()
        pytest.skip('the build took less than a second')
    assert time.monotonic() - wanted_until[0] < 2


def free_mib(nvidia):
    """Memory of the GPU that is free."""
    from mbv2ssd_ros.backends.trt.nvidia import primary_context
    with primary_context(nvidia.cuda):
        return nvidia.cuda.mem_get_info()[0] / 2 ** 20


def resident_mib():
    """Memory of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2 ** 20


def test_nothing_grows_in_a_thousand_frames(nvidia, path, tmp_path, measured):
    backend = open_tiny(path, tmp_path / 'engines', max_batch=2)
    for _ in range(50):
        backend.infer(images(2))
    gpu, host = free_mib(nvidia), resident_mib()
    for seed in range(FRAMES):
        backend.infer(images(1 + seed % 2, seed % 7))
    measured['growth_mib'] = {
        'gpu': round(gpu - free_mib(nvidia), 1), 'host': round(resident_mib() - host, 1)}
    backend.close()
    assert max(measured['growth_mib'].values()) < GROWTH_MIB


def test_opening_and_closing_again_and_again_gives_everything_back(
        nvidia, path, tmp_path, measured):
    open_tiny(path, tmp_path / 'engines').close()
    gpu, threads = free_mib(nvidia), threading.active_count()
    for _ in range(10):
        backend = open_tiny(path, tmp_path / 'engines')
        check_answer(backend, 1)
        backend.close()
    measured['left_after_ten_starts_mib'] = round(gpu - free_mib(nvidia), 1)
    assert measured['left_after_ten_starts_mib'] < GROWTH_MIB
    assert threading.active_count() == threads


@pytest.mark.parametrize('closed', [True, False], ids=['closed', 'forgotten'])
def test_the_process_ends_well(nvidia, path, tmp_path, closed):
    script = '''
import sys
import numpy as np
from mbv2ssd_ros.backends import BackendOptions, open_backend, TrtOptions
backend = open_backend('tensorrt', sys.argv[1], BackendOptions(trt=TrtOptions(sys.argv[2])))
backend.infer(np.zeros((1, 32, 48, 3), np.uint8))
if sys.argv[3] == 'True':
    backend.close()
'''
    found = subprocess.run(
        [sys.executable, '-c', script, str(path), str(tmp_path / 'engines'), str(closed)],
        cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    assert 'PyCUDA' not in found.stderr and 'could not be cleaned up' not in found.stderr


def pictures(size_hw):
    """Read the photographs of the demo as a model takes them, singly."""
    cv2 = import_module('cv2')
    return [cv2.resize(cv2.imread(str(path)), size_hw[::-1])[None, ..., ::-1]
            for path in PICTURES]


def write_precision(precision, folder):
    """Write the shipped model in a precision; needs no PyTorch. Returns its path."""
    from mbv2ssd_train.onnx_files.model_file import read_float32, save_beside, set_contract
    path = folder / f'shipped_{precision}.onnx'
    model, contract = read_float32(SHIPPED, 'convert')
    if precision == 'int8':
        from onnxruntime.quantization import CalibrationDataReader

        from mbv2ssd_train.quantize.ptq import quantize_onnx

        class Pictures(CalibrationDataReader):
            left = iter(pictures(contract.input_size_hw))

            def get_next(self):
                image = next(self.left, None)
                return None if image is None else {'images': np.ascontiguousarray(image)}

        quantize_onnx(SHIPPED, path, Pictures(), 'tensorrt', 'minmax', 'a test of the device')
        return path
    from mbv2ssd_train.export.half import to_float16
    half = to_float16(model, str(SHIPPED))
    set_contract(half, dataclasses.replace(contract, precision=precision))
    return save_beside(half, path).replace(path)


@pytest.fixture(scope='module', params=MODELS)
def both(request, nvidia, engine_folder, tmp_path_factory):
    """Return a model in TensorRT, for one and for two cameras, and in ONNX Runtime."""
    path = SHIPPED if request.param == 'fp32' else Path(request.param)
    if request.param in PRECISIONS and not SHIPPED.is_file():
        pytest.skip(f'{SHIPPED} is absent')
    if request.param in ('fp16', 'int8'):
        path = write_precision(request.param, tmp_path_factory.mktemp('models'))
    backend = open_backend('tensorrt', path, for_two_cameras(engine_folder))
    reference = open_backend('onnxruntime', path, BackendOptions())
    yield path, backend, reference
    backend.close()
    reference.close()


def for_two_cameras(engine_folder):
    """Return options with which the engines of the shipped model are built once."""
    return BackendOptions(
        max_batch=2, trt=TrtOptions(str(engine_folder / 'shipped')))


def test_a_model_agrees_with_onnx_runtime(both, measured):
    path, backend, reference = both
    difference = compare(backend.infer, reference.infer, (1, 2), backend.contract.input_size_hw)
    measured.setdefault(path.name, {})['difference_to_onnx_runtime'] = vars(difference)
    check_agreement(difference, backend.contract.precision, str(path))


def test_a_model_finds_the_objects_that_it_finds_in_onnx_runtime(both):
    _, *backends = both
    if backends[0].contract.precision != 'fp32':
        pytest.skip('rounding may move an object over the threshold')
    cv2 = import_module('cv2')
    from mbv2ssd_ros.core.image import SourceImage
    from mbv2ssd_ros.detector import Detector
    assert PICTURES
    for picture in PICTURES:
        image = SourceImage(cv2.imread(str(picture)), 'bgr')
        found, expected = (Detector(backend).detect([image])[0] for backend in backends)
        assert found.labels.tolist() == expected.labels.tolist(), picture.name
        np.testing.assert_allclose(found.scores, expected.scores, atol=0.02)
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=3.0)  # pixels


def test_the_latency_of_a_model(both, measured):
    from mbv2ssd_ros.tools.build_engine import latencies_ms
    path, backend, _ = both
    found = latencies_ms(backend, (1, 2), RUNS)
    measured.setdefault(path.name, {}).update(
        backend=backend.detail, precision=backend.contract.precision, infer_ms=found)
    assert found['1']['p50'] > 0


def test_the_latency_of_a_model_without_cuda_graphs(both, nvidia, engine_folder, measured):
    from mbv2ssd_ros.backends.trt.backend import TrtBackend
    from mbv2ssd_ros.tools.build_engine import latencies_ms
    path, backend, _ = both
    if 'with CUDA graphs' not in backend.detail:
        pytest.skip(backend.detail)
    plain = TrtBackend(path, for_two_cameras(engine_folder), LoadContext(ListLog()),
                       dataclasses.replace(nvidia, graphs=None))
    measured.setdefault(path.name, {})['infer_without_graphs_ms'] = latencies_ms(
        plain, (1, 2), RUNS)
    plain.close()
