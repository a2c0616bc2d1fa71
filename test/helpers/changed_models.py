"""Shipped models with a self-test, and copies of them that are wrong in one way each."""

import json
import shutil

import numpy as np
import onnx
from onnx import helper, numpy_helper

from helpers.paths import ROOT
from mbv2ssd_ros.core.contract import METADATA_KEY, SATURATION_FREE_KEY
from mbv2ssd_train.onnx_files.model_file import renew_self_test

MODELS = ROOT / 'models'
NAMES = ('mbv2_ssdlite_voc', 'mbv2_ssdlite_320_voc')
FILES = [f'{name}{suffix}.onnx' for name in NAMES
         for suffix in ('', '_int8_cpu', '_int8_tensorrt')]


def proved(name, folder):
    """Copy a shipped file and renew its self-test; returns the path."""
    path = folder / name
    shutil.copy(MODELS / name, path)
    renew_self_test(path)
    return path


def set_metadata(model, **entries):
    """Set entries of the metadata in place of those that are there."""
    kept = {item.key: item.value for item in model.metadata_props}
    helper.set_model_props(model, {**kept, **entries})


def called_free_of_saturation(model):
    """Vouch for a file, rightly or not."""
    set_metadata(model, **{SATURATION_FREE_KEY: '1'})


def eight_bits(model):
    """
    Use all of 127 for the weights of integers, as files did that saturate.

    Per output channel, of convolutions and matrix products; the self-test must be renewed.
    """
    constants = {item.name: item for item in model.graph.initializer}
    bias_of = biases(model)
    for kind, weight, scale in layers(model):
        steps, worth = (numpy_helper.to_array(constants[name]) for name in (weight, scale))
        axes = tuple(range(1, steps.ndim)) if kind == 'Conv' else 0
        largest = np.abs(steps.astype(np.int32)).max(axis=axes)
        grown = np.where(largest > 0, 127 / np.maximum(largest, 1), 1)
        shape = (-1, *[1] * (steps.ndim - 1)) if kind == 'Conv' else (1, -1)
        put(constants, weight, np.rint(steps * grown.reshape(shape)).astype(np.int8))
        put(constants, scale, (worth / grown).astype(np.float32))
        if weight in bias_of:  # of another scale, it would keep the layer from being fused
            bias, bias_scale = (numpy_helper.to_array(constants[name]) for name in bias_of[weight])
            put(constants, bias_of[weight][0], np.rint(bias * grown).astype(np.int32))
            put(constants, bias_of[weight][1], (bias_scale / grown).astype(np.float32))


def biases(model):
    """Map the weights of each convolution with a bias of integers to that bias and its scale."""
    writers = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type == 'Conv' and len(node.input) > 2:
            weight, bias = (writers.get(name) for name in node.input[1:3])
            if weight is not None and bias is not None:
                found[weight.input[0]] = bias.input[:2]
    return found


def scaled(layer):
    """Multiply the weights of a layer by 1.1."""
    def change(model):
        constants, (_, weight, scale) = named(model, layer)
        put(constants, scale or weight,
            numpy_helper.to_array(constants[scale or weight]) * np.float32(1.1))
    return change


def without_channel(layer, channel):
    """Set the weights of an output channel to zero."""
    def change(model):
        constants, (_, weight, _) = named(model, layer)
        values = numpy_helper.to_array(constants[weight]).copy()
        values[channel] = 0
        put(constants, weight, values)
    return change


def swapped(one, other):
    """Give two layers each other's weights."""
    def change(model):
        for first, second in zip(named(model, one)[1][1:], named(model, other)[1][1:]):
            if first:
                constants = named(model, one)[0]
                values = [numpy_helper.to_array(constants[name]) for name in (second, first)]
                for name, value in zip((first, second), values, strict=True):
                    put(constants, name, value)
    return change


def bgr(model):
    """Read the channels of the image in the other order."""
    constants, (_, weight, _) = named(model, 'features.0.0')
    put(constants, weight, numpy_helper.to_array(constants[weight])[:, ::-1])


def letterboxed(model):
    """Say that images keep their aspect ratio; the network has learnt with stretched ones."""
    text = next(item.value for item in model.metadata_props if item.key == METADATA_KEY)
    set_metadata(model, **{METADATA_KEY: json.dumps({**json.loads(text),
                                                     'resize_mode': 'letterbox'})})


def shifted_classes(model):
    """Give each class the scores of the next one."""
    scores = next(node for node in model.graph.node if 'scores' in node.output)
    scores.output[list(scores.output).index('scores')] = 'unshifted'
    for node in model.graph.node:
        node.input[:] = ['unshifted' if name == 'scores' else name for name in node.input]
    columns = model.graph.output[1].type.tensor_type.shape.dim[2].dim_value
    order = np.array([0, *range(2, columns), 1], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(order, 'order'))
    model.graph.node.append(helper.make_node('Gather', ['unshifted', 'order'], ['scores'], axis=2))


def changed(path, *changes):
    """Write a changed copy beside a file; returns its path."""
    model = onnx.load(path)
    for change in changes:
        change(model)
    target = path.with_name(f'changed_{path.name}')
    onnx.save(model, target)
    return target


def layers(model):
    """List the layers that multiply by constants: kind, weights and, for integers, their scale."""
    constants = {item.name for item in model.graph.initializer}
    writers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in ('Conv', 'MatMul'):
            continue
        source = writers.get(node.input[1])
        if node.input[1] in constants:
            found.append((node.op_type, node.input[1], ''))
        elif source is not None and source.op_type == 'DequantizeLinear':
            found.append((node.op_type, *source.input[:2]))
    return found


def named(model, layer):
    """Return all constants by name, and the only layer whose weights are named so."""
    found = [one for one in layers(model) if f'.{layer}.weight' in one[1]]
    assert len(found) == 1, (layer, found)
    return {item.name: item for item in model.graph.initializer}, found[0]


def put(constants, name, values):
    """Replace a constant."""
    constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
