"""
What every backend must do, on a model whose answers can be worked out in the head.

A new backend joins with one line in ENGINES. Tolerance: fp32 engines differ from numpy by the
order of summation, so 1e-4. TensorRT runs here as a double (test/nvidia_double), in four versions:
what is tested is our use of it, not TensorRT; test/hardware does that.
"""

from concurrent.futures import ThreadPoolExecutor
import dataclasses

import numpy as np
import onnx
import pytest

from helpers.needs import need
from helpers.tiny_model import cell_box, CELL_PX, COLUMNS, CONTRACT, PRIORS, ROWS, write_tiny_model
from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.core.errors import BackendError, ContractError, ShapeError

ENGINES = {  # name: (backend, settings of the double of TensorRT)
    'onnxruntime': ('onnxruntime', None),
    'tensorrt-8.6': ('tensorrt', {'version': '8.6'}),
    'tensorrt-10.3': ('tensorrt', {'version': '10.3', 'graphs': True}),
    'tensorrt-11.4': ('tensorrt', {'version': '11.4'}),
}
TOLERANCE = 1e-4
HEIGHT, WIDTH = CONTRACT.input_size_hw


@pytest.fixture(params=ENGINES)
def engine(request):
    """Return the name of a backend."""
    need('onnxruntime')
    name, settings = ENGINES[request.param]
    if settings is not None:
        request.getfixturevalue('tensorrt_here')(**settings)
    return name


@pytest.fixture
def backend(engine, tmp_path):
    """Return the tiny model in an engine."""
    opened = open_backend(engine, write_tiny_model(tmp_path / 'tiny.onnx'), BackendOptions())
    yield opened
    opened.close()


def random_images(count, seed=0):
    """A batch without two equal cells."""
    return np.random.default_rng(seed).integers(
        0, 128, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def expected_scores(images):
    """The mean of red and of green in each cell, background the rest: the tiny model in numpy."""
    cells = images.reshape(len(images), ROWS, CELL_PX, COLUMNS, CELL_PX, 3)
    objects = cells.mean(axis=(2, 4))[..., :2].reshape(len(images), PRIORS, 2) / 255
    return np.concatenate([1 - objects.sum(axis=2, keepdims=True), objects], axis=2)


# answers

def test_batches_of_any_size_in_any_order_have_the_contract_s_shapes(backend):
    for count in (1, 2, 3, 4, 5, 1):
        boxes, scores = backend.infer(random_images(count))
        assert boxes.shape == (count, PRIORS, 4) and boxes.dtype == np.float32
        assert scores.shape == (count, PRIORS, 3) and scores.dtype == np.float32


def test_scores_and_boxes_are_those_of_the_cells(backend):
    images = random_images(3)
    boxes, scores = backend.infer(images)
    np.testing.assert_allclose(scores, expected_scores(images), atol=TOLERANCE)
    cells = [cell_box(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    np.testing.assert_allclose(boxes, [cells] * 3, atol=TOLERANCE)


def test_one_red_cell_is_one_sure_prior(backend):
    image = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    image[0, 2 * CELL_PX:3 * CELL_PX, 4 * CELL_PX:5 * CELL_PX, 0] = 255  # row 2, column 4
    _, scores = backend.infer(image)
    assert np.argwhere(scores[0, :, 1] > 0.5).tolist() == [[2 * COLUMNS + 4]]


def test_the_neighbours_in_a_batch_do_not_matter(backend):
    images = random_images(4)
    together = backend.infer(images)[1].copy()
    for index in range(4):
        alone = backend.infer(images[index:index + 1])[1]
        np.testing.assert_allclose(together[index], alone[0], atol=TOLERANCE)


def test_the_same_images_give_the_same_bits(backend):
    images = random_images(2)
    first = [output.copy() for output in backend.infer(images)]
    for before, after in zip(first, backend.infer(images), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_images_stay_as_they_were(backend):
    images = random_images(2)
    before = images.copy()
    backend.infer(images)
    np.testing.assert_array_equal(images, before)


def test_the_buffer_may_be_written_between_calls(backend):
    # the detector uses one buffer for all frames
    buffer = random_images(1, seed=1)
    backend.infer(buffer)
    buffer[...] = random_images(1, seed=2)
    np.testing.assert_allclose(
        backend.infer(buffer)[1], expected_scores(random_images(1, seed=2)), atol=TOLERANCE)


def test_threads_together_get_what_each_gets_alone(engine, tmp_path):
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    backend = open_backend(engine, path, BackendOptions(ort=OrtOptions(workers=4)))
    batches = [random_images(1 + seed % 2, seed) for seed in range(40)]

    def work(images):
        return backend.infer(images)[1].copy()

    serial = [work(images) for images in batches]
    with ThreadPoolExecutor(backend.max_concurrency) as threads:
        parallel = list(threads.map(work, batches))
    backend.close()
    for one, other in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_models_live_side_by_side(backend, engine, tmp_path):
    other = open_backend(engine, write_tiny_model(tmp_path / 'two.onnx'), BackendOptions())
    other.close()
    images = random_images(1)
    np.testing.assert_allclose(
        backend.infer(images)[1], expected_scores(images), atol=TOLERANCE)


# what it says about itself

def test_it_has_the_name_it_was_opened_by(backend, engine):
    assert backend.name == engine and engine in BACKENDS


def test_the_detail_is_one_line_that_says_more_than_the_name(backend, engine):
    assert len(backend.detail.splitlines()) == 1
    assert any(character.isdigit() for character in backend.detail), 'no version'


def test_the_contract_is_the_file_s(backend):
    assert backend.contract == CONTRACT


def test_limits_are_positive(backend):
    assert backend.max_batch >= 1 and backend.max_concurrency >= 1


# wrong input

@pytest.mark.parametrize(('images', 'shown'), [
    (np.zeros((1, HEIGHT, WIDTH, 3), np.float32), r'float32 \(1, 32, 48, 3\)'),
    (np.zeros((1, HEIGHT, WIDTH, 3), np.int8), r'int8 \(1, 32, 48, 3\)'),
    (np.zeros((1, WIDTH, HEIGHT, 3), np.uint8), r'uint8 \(1, 48, 32, 3\)'),
    (np.zeros((1, 3, HEIGHT, WIDTH), np.uint8), r'uint8 \(1, 3, 32, 48\)'),
    (np.zeros((1, HEIGHT, WIDTH, 4), np.uint8), r'uint8 \(1, 32, 48, 4\)'),
    (np.zeros((1, HEIGHT, WIDTH), np.uint8), r'uint8 \(1, 32, 48\)'),
    (np.zeros((HEIGHT, WIDTH, 3), np.uint8), r'uint8 \(32, 48, 3\)'),
    (np.zeros((0, HEIGHT, WIDTH, 3), np.uint8), r'uint8 \(0, 32, 48, 3\)'),
], ids=lambda value: '' if isinstance(value, str) else f'{value.dtype}{value.shape}')
def test_wrong_images_are_refused_and_the_next_ones_answered(backend, images, shown):
    with pytest.raises(ShapeError, match=rf'{shown}, expected uint8 \(batch, 32, 48, 3\)'):
        backend.infer(images)
    images = random_images(1)
    np.testing.assert_allclose(
        backend.infer(images)[1], expected_scores(images), atol=TOLERANCE)


@pytest.mark.parametrize('view', [
    lambda images: images[:, :, ::-1], lambda images: images[..., ::-1],
    lambda images: images[::2], np.asfortranarray,
], ids=['mirrored', 'bgr', 'every-second', 'fortran'])
def test_memory_in_another_order_is_refused_or_understood(backend, view):
    images = view(random_images(3))
    try:
        scores = backend.infer(images)[1]
    except ShapeError:
        return
    np.testing.assert_allclose(scores, expected_scores(images), atol=TOLERANCE)


# the end

def test_closing_twice_is_closing_once(backend):
    backend.close()
    backend.close()


def test_a_closed_backend_says_so(backend):
    backend.close()
    with pytest.raises(BackendError, match='closed'):
        backend.infer(random_images(1))


# wrong files

def open_file(engine, path):
    """Open a file with the settings of a node."""
    return open_backend(engine, path, BackendOptions())


def test_a_missing_file_is_named(engine, tmp_path):
    with pytest.raises(BackendError, match=rf'{tmp_path}/none.onnx: no such model file'):
        open_file(engine, tmp_path / 'none.onnx')


def test_a_folder_is_no_model(engine, tmp_path):
    with pytest.raises(BackendError, match=f'{tmp_path}: no such model file'):
        open_file(engine, tmp_path)


@pytest.mark.parametrize('content', [b'', b'\0' * 1000, b'not a model', b'\x08\x08' * 500],
                         ids=['empty', 'zeros', 'text', 'protobuf'])
def test_garbage_is_refused_by_name(engine, tmp_path, content):
    path = tmp_path / 'garbage.onnx'
    path.write_bytes(content)
    with pytest.raises((BackendError, ContractError), match=f'{path}: .') as raised:
        open_file(engine, path)
    assert len(str(raised.value).splitlines()) == 1  # a log has one line for one failure


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused_by_name(engine, tmp_path, share):
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises((BackendError, ContractError), match=f'{path}: '):
        open_file(engine, path)


@pytest.mark.parametrize('text', [b'"green"', b'mbv2ssd.contract', b'images', b'scores'])
def test_a_damaged_byte_is_refused_by_name(engine, tmp_path, text):
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    content = path.read_bytes()
    assert text in content
    path.write_bytes(content.replace(text, text[:3] + b'\xff' + text[4:]))  # no longer UTF-8
    with pytest.raises((BackendError, ContractError), match=f'{path}: '):
        open_file(engine, path)


def test_a_file_without_contract_is_refused(engine, tmp_path):
    path = write_tiny_model(tmp_path / 'plain.onnx', contract=None)
    with pytest.raises(ContractError, match=(
            rf"{path}: no 'mbv2ssd.contract' .*mbv2ssd_train export")):
        open_file(engine, path)


@pytest.mark.parametrize(('text', 'message'), [
    ('{', 'the contract is not JSON'),
    ('{"schema_version": 99}', '.* version 99, this package reads version 1'),
    ('{"schema_version": 1}', 'contract lacks the keys'),
])
def test_a_contract_that_cannot_be_read_is_refused(engine, tmp_path, text, message):
    path = write_tiny_model(tmp_path / 'bad.onnx', text)
    with pytest.raises(ContractError, match=f'{path}: {message}'):
        open_file(engine, path)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'priors_per_level': (30, 10)},
     r"'boxes' has 24 priors, its contract describes 40 \(30 \+ 10\)"),
    ({'class_names': ('background', 'red', 'green', 'blue')},
     "'scores' has 3 columns, its contract describes 4 classes: background, red, green, blue"),
    ({'input_size_hw': (WIDTH, HEIGHT)}, r'\(32, 48, 3\).*describes .*\(48, 32, 3\)'),
    ({'input_size_hw': (300, 300)}, r'\(32, 48, 3\).*describes .*\(300, 300, 3\)'),
])
def test_a_contract_that_disagrees_is_refused_with_both_values(
        engine, tmp_path, changes, message):
    path = write_tiny_model(tmp_path / 'bad.onnx', dataclasses.replace(CONTRACT, **changes))
    with pytest.raises(ContractError, match=f'{path}: .*{message}'):
        open_file(engine, path)


# wrong graphs, each one change away from the tiny model

def float_input(model):
    """Take float images, as most exported detectors do."""
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def renamed_output(model):
    """Call the scores 'probabilities'."""
    model.graph.node[9].output[0] = model.graph.output[1].name = 'probabilities'


def double_scores(model):
    """Return scores as float64."""
    model.graph.node[9].output[0] = 'scores32'
    model.graph.node.append(onnx.helper.make_node(
        'Cast', ['scores32'], ['scores'], to=onnx.TensorProto.DOUBLE))
    model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def fixed_batch(model):
    """Take exactly two images."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def second_input(model):
    """Ask for the size of the image, as some detectors do."""
    model.graph.input.append(onnx.helper.make_tensor_value_info(
        'im_shape', onnx.TensorProto.FLOAT, ['B', 2]))


@pytest.mark.parametrize(('constant', 'message'), [
    ('zero', "96 of 96 values of output 'boxes' are not finite"),
    ('one', "24 of 72 values of output 'scores' are not finite"),
])
def test_a_model_that_computes_nan_is_refused_before_the_first_frame(
        engine, tmp_path, constant, message):
    path = write_tiny_model(tmp_path / 'nan.onnx')
    model = onnx.load(path)
    found = next(value for value in model.graph.initializer if value.name == constant)
    found.CopyFrom(onnx.numpy_helper.from_array(np.float32(np.nan), constant))
    onnx.save(model, path)
    with pytest.raises(BackendError, match=f'{path}: {message}'):
        open_file(engine, path)


@pytest.mark.parametrize(('change', 'message'), [
    (float_input, r"'tensor\(float\)'.*describes .*'tensor\(uint8\)'"),
    (renamed_output, r"lacks the outputs \['scores'\]; has \['boxes', 'probabilities'\]"),
    (double_scores, r"output 'scores' is tensor\(double\), expected tensor\(float\)"),
    (fixed_batch, 'takes batches of exactly 2 images, expected a dynamic batch'),
    (second_input, r"'im_shape', 'tensor\(float\)', \(2,\)"),
])
def test_a_graph_of_another_kind_is_refused_with_what_it_has(engine, tmp_path, change, message):
    path = write_tiny_model(tmp_path / 'other.onnx')
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    with pytest.raises(ContractError, match=f'{path}: .*{message}'):
        open_file(engine, path)
