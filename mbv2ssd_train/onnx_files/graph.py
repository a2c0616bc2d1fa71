"""An ONNX graph, indexed by the writers and readers of its tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray
import onnx
from onnx import numpy_helper

from mbv2ssd_ros.core.errors import ContractError


class GraphIndex:
    """Nodes of a graph by the tensors between them; valid while no node changes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = list(graph.node)
        self.constants: dict[str, NDArray[Any]] = {
            item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self._writers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)

    def of_type(self, *kinds: str) -> list[onnx.NodeProto]:
        """Return the nodes of these operators."""
        return [node for node in self.nodes if node.op_type in kinds]

    def writer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that computes a tensor, None for inputs and constants."""
        return self._writers.get(tensor)

    def readers(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return the nodes that read what a node computes."""
        return [reader for name in node.output for reader in self._readers.get(name, [])]

    def inputs(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return the nodes that compute what a node reads."""
        found = (self._writers.get(name) for name in node.input)
        return [writer for writer in found if writer is not None]

    def constant(self, node: onnx.NodeProto, place: int) -> NDArray[Any] | None:
        """Return a constant input of a node, None where it is computed or left out."""
        return self.constants.get(node.input[place]) if len(node.input) > place else None

    def behind(self, tensors: Iterable[str]) -> list[onnx.NodeProto]:
        """Return the nodes that depend on any of these tensors, in the order of execution."""
        reached, found = set(tensors), []
        for node in self.nodes:
            if reached.intersection(node.input):
                reached.update(node.output)
                found.append(node)
        return found

    def on_the_way(self, start: onnx.NodeProto, *ends: str) -> list[onnx.NodeProto]:
        """Return what depends on a node, up to the first operators of these kinds."""
        reached, found = set(start.output), []
        for node in self.nodes:
            if reached.intersection(node.input) and node.op_type not in ends:
                reached.update(node.output)
                found.append(node)
        return found

    def norms(self) -> set[str]:
        """Return the names of the nodes that normalise a map, as VGG16's L2Norm."""
        found: set[str] = set()
        for total in self.of_type('ReduceSum'):
            inside = [total, *self.inputs(total), *self.on_the_way(total, 'Conv')]
            found.update(node.name for node in inside)
        return found

    def gates(self) -> set[str]:
        """Return the names of the nodes that gate channels, from the mean of a map on."""
        found: set[str] = set()
        for mean in self.of_type('GlobalAveragePool'):
            found.update(node.name for node in (mean, *self.on_the_way(mean, 'Mul')))
        return found

    def predictors(self) -> list[onnx.NodeProto]:
        """Return the last convolutions: no other convolution depends on them."""
        return [node for node in self.of_type('Conv')
                if not any(other.op_type == 'Conv' for other in self.behind(node.output))]

    def body(self, source: str) -> list[onnx.NodeProto]:
        """Return the first convolution, the predictors and the nodes between, or ContractError."""
        convolutions, predictors = self.of_type('Conv'), self.predictors()
        laid_out = [node for node in predictors
                    if [reader.op_type for reader in self.readers(node)] == ['Transpose']]
        named = all(node.name for node in self.nodes)
        if not predictors or len(laid_out) != len(predictors) or not named:
            raise ContractError(
                f'{source}: not a graph of `mbv2ssd_train export`: of its {len(convolutions)} '
                f'convolutions {len(predictors)} are the last ones and {len(laid_out)} of those '
                'give predictions; and every node needs a name')
        ends = {node.name for node in self.behind(
            name for node in predictors for name in node.output)}
        first = convolutions[0]
        return [first, *(node for node in self.behind(first.output) if node.name not in ends)]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return an attribute of a node, or the default."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def is_depthwise(node: onnx.NodeProto, channels: int) -> bool:
    """Return whether a Conv filters every channel separately; False for one channel."""
    return bool(attribute(node, 'group', 1) == channels > 1)
