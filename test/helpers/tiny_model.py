"""
A model whose answers can be worked out in the head, written with onnx alone.

The network input is a grid of 4 x 6 cells of 8 x 8 pixels, so 32 x 48: not square, to show a
swap of height and width. Each cell is one prior; its box is the cell, its scores are the mean
of the red channel ('red') and of the green channel ('green'), background the rest. A pure red
cell is a sure 'red' at exactly that cell; a grey cell of 64 is nothing at a threshold of 0.5.
"""

from pathlib import Path

import numpy as np

from helpers.needs import need
from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract, Provenance
from mbv2ssd_ros.core.onnx_metadata import with_metadata
from mbv2ssd_ros.core.self_test import SELF_TEST_KEY, SelfTest

ROWS, COLUMNS, CELL_PX = 4, 6, 8
INPUT_SIZE_HW = (ROWS * CELL_PX, COLUMNS * CELL_PX)
PRIORS = ROWS * COLUMNS

CONTRACT = ModelContract(
    schema_version=1, input_size_hw=INPUT_SIZE_HW, channel_order='rgb', resize_mode='stretch',
    class_names=('background', 'red', 'green'), background_index=0, priors_per_level=(PRIORS,),
    arch_fingerprint='tiny', precision='fp32',
    provenance=Provenance('0', 'tiny', (), 'none', 0.0))


def cell_box(row: int, column: int) -> np.ndarray:
    """Return the normalised xyxy box of a cell."""
    return np.array([column / COLUMNS, row / ROWS, (column + 1) / COLUMNS, (row + 1) / ROWS],
                    dtype=np.float32)


def write_tiny_model(path: Path, contract: ModelContract | str | None = CONTRACT) -> Path:
    """
    Write the model.

    Args:
        path: of the ONNX file.
        contract: put inside; a string is written as it stands, None leaves it out.

    Returns:
        The path.
    """
    onnx = need('onnx')
    from onnx import helper, numpy_helper, TensorProto
    boxes = np.stack([cell_box(r, c) for r in range(ROWS) for c in range(COLUMNS)])[None]
    constants = {
        'box_values': boxes, 'scale': np.float32(1 / 255), 'one': np.float32(1),
        'red_green': np.array([0, 1], dtype=np.int64), 'axis': np.array([2], dtype=np.int64),
        'zero': np.float32(0), 'shape': np.array([0, 2, PRIORS], dtype=np.int64)}
    nodes = [
        helper.make_node('Cast', ['images'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['float'], ['nchw'], perm=[0, 3, 1, 2]),
        helper.make_node('Mul', ['nchw', 'scale'], ['unit']),
        helper.make_node('AveragePool', ['unit'], ['pooled'], kernel_shape=[CELL_PX] * 2,
                         strides=[CELL_PX] * 2),
        helper.make_node('Gather', ['pooled', 'red_green'], ['two'], axis=1),
        helper.make_node('Reshape', ['two', 'shape'], ['columns']),
        helper.make_node('Transpose', ['columns'], ['objects'], perm=[0, 2, 1]),
        helper.make_node('ReduceSum', ['objects', 'axis'], ['sum'], keepdims=1),
        helper.make_node('Sub', ['one', 'sum'], ['background']),
        helper.make_node('Concat', ['background', 'objects'], ['scores'], axis=2),
        # (1, P, 4) * 0-of-the-batch broadcasts the constant boxes over the batch
        helper.make_node('Mul', ['sum', 'zero'], ['nothing']),
        helper.make_node('Add', ['box_values', 'nothing'], ['boxes'])]
    graph = helper.make_graph(
        nodes, 'tiny',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', *INPUT_SIZE_HW, 3])],
        [helper.make_tensor_value_info('boxes', TensorProto.FLOAT, ['B', PRIORS, 4]),
         helper.make_tensor_value_info('scores', TensorProto.FLOAT, ['B', PRIORS, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    if contract is not None:
        entry = model.metadata_props.add()
        entry.key = METADATA_KEY
        entry.value = contract if isinstance(contract, str) else contract.to_json()
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def add_self_test(path: Path) -> Path:
    """
    Give the model a self-test whose right answers are computed here, without any engine.

    Args:
        path: of a file that write_tiny_model wrote with CONTRACT.

    Returns:
        The path.
    """
    dark = np.random.default_rng(0).integers(0, 128, (2, 20, 50, 3), dtype=np.uint8)
    self_test = SelfTest.of(dark, answers, CONTRACT)
    path.write_bytes(with_metadata(
        path.read_bytes(), SELF_TEST_KEY, self_test.to_json(), str(path)))
    return path


def answers(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute what the model computes, with numpy."""
    cells = images.reshape(len(images), ROWS, CELL_PX, COLUMNS, CELL_PX, 3)
    objects = cells.mean(axis=(2, 4))[..., :2].reshape(len(images), PRIORS, 2) / 255
    scores = np.concatenate([1 - objects.sum(axis=2, keepdims=True), objects], axis=2)
    boxes = [cell_box(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    return np.stack([boxes] * len(images)), scores.astype(np.float32)
