"""The layers of an exported graph that are computed in integers."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mbv2ssd_train.onnx_files.graph import GraphIndex

_ACTIVATIONS = ('Clip', 'Relu')
_POOLS = ('MaxPool',)
_RESIZES = ('Resize',)


@dataclass(frozen=True)
class Placement:
    """
    Names of the nodes that matter when a graph is quantised.

    Every convolution of `body` and `predictors` reads a quantised map and has quantised weights.
    Other readers of such a map get the same quantised one: the skips of inverted residuals, for
    instance, whose other input is then not quantised.
    """

    body: tuple[str, ...]  # convolutions whose output the network uses further
    predictors: tuple[str, ...]  # convolutions that give loc and conf_logits
    skips: tuple[str, ...]  # additions of the inverted residuals and of the neck
    activations: tuple[str, ...]  # ReLU6 and ReLU
    pools: tuple[str, ...]  # the largest of each window
    resizes: tuple[str, ...]  # coarse maps repeated to the size of finer ones
    outside: tuple[str, ...]  # always float, see find_placement


def find_placement(model: onnx.ModelProto, source: str) -> Placement:
    """
    Sort the nodes of a float graph that `mbv2ssd_train export` wrote.

    Only the nodes from the first convolution to the predictors are quantised: boxes and
    probabilities need more than 8 bits. Squeeze-and-excitation on a single cell stays float
    (nothing to gain), and so do hard swish and VGG16's L2 norm. Raises ContractError for a graph
    of another kind.
    """
    index = GraphIndex(model.graph)
    kept = index.norms() | index.gates()
    inside = [node for node in index.body(source) if node.name not in kept]
    predictors = {node.name for node in index.predictors()}

    def names(*kinds: str) -> tuple[str, ...]:
        return tuple(node.name for node in inside if node.op_type in kinds)

    convolutions = names('Conv')
    quantised = {*convolutions, *names('Add', *_ACTIVATIONS, *_POOLS, *_RESIZES)}
    return Placement(
        tuple(name for name in convolutions if name not in predictors),
        tuple(sorted(predictors)), names('Add'), names(*_ACTIVATIONS), names(*_POOLS),
        names(*_RESIZES),
        tuple(node.name for node in model.graph.node if node.name not in quantised))
