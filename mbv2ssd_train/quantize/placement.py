"""Which layers of an exported graph are computed in integers."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from mbv2ssd_ros.core.errors import ContractError


@dataclass(frozen=True)
class Placement:
    """Names of the nodes that matter when a graph is quantised."""

    body: tuple[str, ...]  # convolutions whose output goes on through the network
    predictors: tuple[str, ...]  # convolutions that give loc and conf_logits
    skips: tuple[str, ...]  # additions of the inverted residuals
    activations: tuple[str, ...]  # ReLU6
    outside: tuple[str, ...]  # preprocessing, softmax and decoding: always float


def find_placement(model: onnx.ModelProto, source: str) -> Placement:
    """
    Sort the nodes of a graph that `mbv2ssd_train export` wrote.

    A predictor's output is reordered to channels last, so a convolution followed by a Transpose
    is one. Only what lies between the first convolution and the predictors is quantised: boxes
    and probabilities need more than 8 bits.

    Args:
        model: float graph.
        source: name of the file, for messages.

    Returns:
        The names.

    Raises:
        ContractError: the graph is not of that kind.
    """
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
    predictors = [node for node in convolutions
                  if [user.op_type for user in consumers.get(node.output[0], [])] == ['Transpose']]
    if not predictors or any(not node.name for node in model.graph.node):
        raise ContractError(f'{source}: not a graph of `mbv2ssd_train export`: of its '
                            f'{len(convolutions)} convolutions none is a predictor, or nodes have '
                            'no names')
    inside = _fed_by(model, convolutions[0].output[0])
    ends = {name for node in predictors for name in _fed_by(model, node.output[0])}
    between = [node for node in model.graph.node if node.name in inside - ends]
    skips = [node.name for node in between if node.op_type == 'Add']
    activations = [node.name for node in between if node.op_type == 'Clip']
    names = {node.name for node in predictors}
    quantised = {*skips, *activations, *(node.name for node in convolutions)}
    return Placement(
        tuple(node.name for node in convolutions if node.name not in names), tuple(sorted(names)),
        tuple(skips), tuple(activations),
        tuple(node.name for node in model.graph.node if node.name not in quantised))


def _fed_by(model: onnx.ModelProto, tensor: str) -> set[str]:
    """Return the names of all nodes that depend on a tensor; nodes are in execution order."""
    reached, names = {tensor}, set()
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            names.add(node.name)
    return names
