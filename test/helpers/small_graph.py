"""A detector of a few nodes that has one of every kind of layer, small enough to see through."""

import numpy as np
import onnx
from onnx import parser

from mbv2ssd_ros.core.contract import METADATA_KEY, ModelContract, Provenance

# stem with hard swish; squeeze-and-excitation; a skip; pooling; L2 norm; one level of priors
EVERYTHING = '''
<ir_version: 8, opset_import: ["" : 17]>
net (uint8[batch, 4, 6, 3] images) => (float[batch, 6, 4] boxes, float[batch, 6, 3] scores)
<float[3, 1, 1] scale = {0.0078, 0.0078, 0.0078}, float[3, 1, 1] offset = {-1, -1, -1},
 int64[3] to_boxes = {-1, 6, 4}, int64[3] to_scores = {-1, 6, 3},
 float zero = {0}, float six = {6}, float one = {1}, int64[1] channels = {1},
 float tiny = {0.0000000001}, float little = {0.05}, float[4] middle = {0.2, 0.2, 0.7, 0.7},
 float[4, 1, 1] length = {1, 1, 1, 1}>
{
    [cast] cast = Cast<to = 1>(images)
    [planes] planes = Transpose<perm = [0, 3, 1, 2]>(cast)
    [scaled] scaled = Mul(planes, scale)
    [normal] normal = Add(scaled, offset)
    [stem] stem = Conv(normal, w_stem)
    [hard] hard = HardSigmoid<alpha = 0.1667, beta = 0.5>(stem)
    [swish] swish = Mul(stem, hard)
    [expand] expand = Conv(swish, w_expand)
    [relu6] relu6 = Clip(expand, zero, six)
    [mean] mean = GlobalAveragePool(relu6)
    [fc1] fc1 = Conv(mean, w_fc1)
    [relu] relu = Relu(fc1)
    [fc2] fc2 = Conv(relu, w_fc2)
    [gate] gate = HardSigmoid<alpha = 0.1667, beta = 0.5>(fc2)
    [weighed] weighed = Mul(relu6, gate)
    [project] project = Conv(weighed, w_project)
    [sum] sum = Add(swish, project)
    [last] last = Conv(sum, w_last)
    [relu2] relu2 = Relu(last)
    [pool] pool = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(relu2)
    [squares] squares = Mul(pool, pool)
    [total] total = ReduceSum<keepdims = 1>(squares, channels)
    [safe] safe = Add(total, tiny)
    [root] root = Sqrt(safe)
    [inverse] inverse = Reciprocal(root)
    [unit] unit = Mul(pool, inverse)
    [long] long = Mul(unit, length)
    [loc] loc = Conv(long, w_loc)
    [loc_cells] loc_cells = Transpose<perm = [0, 2, 3, 1]>(loc)
    [boxes_raw] boxes_raw = Reshape(loc_cells, to_boxes)
    [shift] shift = Mul(boxes_raw, little)
    [shifted] shifted = Add(shift, middle)
    [boxes] boxes = Clip(shifted, zero, one)
    [conf] conf = Conv(long, w_conf)
    [conf_cells] conf_cells = Transpose<perm = [0, 2, 3, 1]>(conf)
    [logits] logits = Reshape(conf_cells, to_scores)
    [scores] scores = Softmax<axis = -1>(logits)
}
'''
CHANNELS = {'stem': (4, 3), 'expand': (4, 4), 'fc1': (2, 4), 'fc2': (4, 2), 'project': (4, 4),
            'last': (4, 4), 'loc': (4, 4), 'conf': (3, 4)}
CONTRACT = ModelContract(
    1, (4, 6), 'rgb', 'stretch', ('background', 'bolt', 'nut'), 0, (6,), 'everything', 'fp32',
    Provenance('0', '', (), 'not measured', 0.0))


def everything():
    """The model with random weights and a contract."""
    rng, model = np.random.default_rng(0), parser.parse_model(EVERYTHING)
    for name, shape in CHANNELS.items():
        values = rng.normal(0, 0.5, (*shape, 1, 1)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, f'w_{name}'))
    onnx.helper.set_model_props(model, {METADATA_KEY: CONTRACT.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model
