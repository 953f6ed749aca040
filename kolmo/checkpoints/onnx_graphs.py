"""Graphs of ONNX as the file writes them: nodes, attributes, initializers, none of them read.

The fields are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import dataclasses

from kolmo.checkpoints.onnx_operators import CODED
from kolmo.checkpoints.protobuf import FIXED32, MessageField, Pieces, WireMessage
from kolmo.errors import InputError

TEXT = 1 << 10
"""Bytes of a text attribute that is read, at most; what operators are told is short."""

_SETTING = 24  # bytes of an attribute that is a mere setting: too few for a tensor or a graph


@dataclasses.dataclass(slots=True)
class OnnxAttribute:
    """An attribute of a node: a number, a text, tensors, graphs, or runs of numbers."""

    number: float | None = None
    text: str = ""
    floats: Pieces | None = None
    ints: Pieces | None = None
    tensors: list[WireMessage] = dataclasses.field(default_factory=list)
    sparse: list[WireMessage] = dataclasses.field(default_factory=list)
    graphs: list[WireMessage] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class OnnxNode:
    """An operator, the names that it takes and gives, and its attributes."""

    inputs: list[str]
    outputs: list[str]
    name: str = ""
    op: str = ""
    domain: str = ""
    attributes: dict[str, OnnxAttribute] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the node is called: its name, else that of its first output, else its operator."""
        return self.name or next((name for name in self.outputs if name), self.op)

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        found = self.attributes.get(name)
        return default if found is None or found.number is None else int(found.number)

    def input(self, index: int) -> str:
        """The name that it takes there; empty if none."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclasses.dataclass(slots=True)
class OnnxGraph:
    """A graph, or the body of a function."""

    nodes: list[OnnxNode] = dataclasses.field(default_factory=list)
    initializers: list[WireMessage] = dataclasses.field(default_factory=list)
    sparse: list[WireMessage] = dataclasses.field(default_factory=list)
    inputs: list[str] = dataclasses.field(default_factory=list)
    name: str = ""
    domain: str = ""


@dataclasses.dataclass(slots=True)
class OnnxModel:
    """The graph of a model, its functions, and the graphs that train it."""

    graph: WireMessage
    functions: list[WireMessage]
    training: list[WireMessage]


def read_model(message: WireMessage) -> OnnxModel:
    """The parts of a model."""
    fields = list(message.fields())
    graphs = [field.message() for field in fields if field.number == 7]
    functions = [field.message() for field in fields if field.number == 25]
    training = [
        inner.message()
        for field in fields
        if field.number == 20
        for inner in field.message().fields()
        if inner.number in (1, 2)
    ]
    if not graphs:
        raise InputError(f"{message.where}: an ONNX model without a graph")
    return OnnxModel(graphs[-1], functions, training)


def read_graph(message: WireMessage) -> OnnxGraph:
    """The nodes, inputs and initializers of a graph."""
    graph = OnnxGraph()
    for field in message.fields():
        if field.number == 1:
            graph.nodes.append(_node(field.message()))
        elif field.number == 2:
            graph.name = field.text()
        elif field.number == 5:
            graph.initializers.append(field.message())
        elif field.number == 11:
            graph.inputs.append(_name(field.message()))
        elif field.number == 15:
            graph.sparse.append(field.message())
    return graph


def read_function(message: WireMessage) -> OnnxGraph:
    """The body of a function as a graph."""
    graph = OnnxGraph()
    for field in message.fields():
        if field.number == 1:
            graph.name = field.text()
        elif field.number == 4:
            graph.inputs.append(field.text())
        elif field.number == 7:
            graph.nodes.append(_node(field.message()))
        elif field.number == 10:
            graph.domain = field.text()
    return graph


def _name(value: WireMessage) -> str:
    return next((field.text() for field in value.fields() if field.number == 1), "")


def _node(message: WireMessage) -> OnnxNode:
    node, attributes = OnnxNode([], []), list[MessageField]()
    for field in message.fields():
        if field.number == 1:
            node.inputs.append(field.text())
        elif field.number == 2:
            node.outputs.append(field.text())
        elif field.number == 3:
            node.name = field.text()
        elif field.number == 4:
            node.op = field.text()
        elif field.number == 5:
            attributes.append(field)
        elif field.number == 7:
            node.domain = field.text()
    all_count = node.op == "Constant" or node.op in CODED
    told = [one for one in attributes if all_count or one.size > _SETTING]
    node.attributes = dict(_attribute(field.message()) for field in told)
    return node


def _attribute(message: WireMessage) -> tuple[str, OnnxAttribute]:
    name, found = "", OnnxAttribute()
    for field in message.fields():
        if field.number == 1:
            name = field.text()
        elif field.number == 2 and field.wire == FIXED32:
            found.number = field.float32
        elif field.number == 3:
            found.number = field.signed
        elif field.number == 4:
            found.text = field.text() if field.stored.size <= TEXT else ""
        elif field.number in (7, 8):
            _numbers(found, field)
        else:
            _parts(found, field)
    return name, found


def _numbers(found: OnnxAttribute, field: MessageField) -> None:
    if field.number == 7:
        found.floats = found.floats or Pieces()
        found.floats.add(field)
    else:
        found.ints = found.ints or Pieces()
        found.ints.add(field)


def _parts(found: OnnxAttribute, field: MessageField) -> None:
    kinds = {5: found.tensors, 10: found.tensors, 22: found.sparse, 23: found.sparse}
    kinds |= {6: found.graphs, 11: found.graphs}
    if field.number in kinds:
        kinds[field.number].append(field.message())
