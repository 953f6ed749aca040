"""The constants of an ONNX model, wherever it keeps them, and which operators use each.

Initializers and Constant nodes of the graph, of the graphs within its nodes (If, Loop, Scan), of
functions and of the graphs that train it. A name in an inner graph may be one of an outer graph.
"""

from __future__ import annotations

import dataclasses
from collections import ChainMap

import numpy as np

from kolmo.checkpoints.allowance import charge_entry
from kolmo.checkpoints.base import Role, Skipped
from kolmo.checkpoints.onnx_graphs import (
    OnnxAttribute,
    OnnxGraph,
    OnnxModel,
    OnnxNode,
    read_function,
    read_graph,
)
from kolmo.checkpoints.onnx_operators import CODED, PASSING
from kolmo.checkpoints.onnx_sparse import read_sparse
from kolmo.checkpoints.onnx_tensors import (
    FLOATS,
    INT64S,
    OnnxArray,
    OnnxFiles,
    OnnxProto,
    read_proto,
    read_tensor,
)
from kolmo.checkpoints.protobuf import Varints, WireMessage
from kolmo.checkpoints.stored import memory_bytes


@dataclasses.dataclass(eq=False)
class OnnxConstant:
    """An array of the model, and how it is used.

    Attributes
    ----------
    found : OnnxArray or Skipped
    in_node : bool
        Whether a Constant node gives it, rather than an initializer.
    uses : set of (str, int)
        Operators that take it, and as which input; those that pass it on count by what takes
        their output.
    role : Role, optional
        What the graph tells beyond uses: the state of training, the scale of a product.
    """

    found: OnnxArray | Skipped
    in_node: bool = False
    uses: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    role: Role | None = None


@dataclasses.dataclass(eq=False)
class OnnxCall:
    """A node and the constants among its inputs, None for other inputs.

    Attributes
    ----------
    scale : OnnxConstant, optional
        The scale of the codes that it multiplies, where a later node has that.
    """

    node: OnnxNode
    inputs: list[OnnxConstant | None]
    scale: OnnxConstant | None = None

    def array(self, index: int) -> OnnxArray | None:
        """The array that it takes there."""
        constant = self.inputs[index] if 0 <= index < len(self.inputs) else None
        return constant.found if constant and isinstance(constant.found, OnnxArray) else None


@dataclasses.dataclass(frozen=True)
class _Known:
    """What a name stands for: a constant, itself or passed on by operators."""

    constant: OnnxConstant
    itself: bool = True


_Scope = ChainMap[str, _Known | None]

_CHAIN = 32  # functions that call functions, at most
_USES = 64  # uses of a constant that are kept, at least
_NEAR = 8  # nodes that are looked at for the scale of a product, at most


class OnnxConstants:
    """All constants of a model, in the order of the file, and the calls that may take codes."""

    def __init__(self, model: OnnxModel, files: OnnxFiles) -> None:
        self.all: list[OnnxConstant] = []
        self.calls: list[OnnxCall] = []
        self._files = files
        self._role: Role | None = None
        self._names: dict[str, int] = {}
        functions = [read_function(message) for message in model.functions]
        self._bodies = {(body.domain, body.name): body for body in functions}
        self._parameters: dict[tuple[str, str], list[OnnxConstant]] = {}
        for domain, name in list(self._bodies):
            self._called(domain, name, 0)
        self._inner(model.graph, "", ChainMap(), 0)
        self._role = Role.OPTIMIZER
        for message in model.training:
            self._inner(message, "training/", ChainMap(), 0)

    def _called(self, domain: str, name: str, depth: int) -> list[OnnxConstant]:
        """The parameters of a function, with their uses; none if there is no such function."""
        body = self._bodies.pop((domain, name), None) if depth < _CHAIN else None
        if body:
            parameters = [OnnxConstant(Skipped(name, "a parameter")) for name in body.inputs]
            known = zip(body.inputs, map(_Known, parameters), strict=True)
            self._graph(body, f"{name}/", ChainMap(dict(known)), depth + 1)
            self._parameters[domain, name] = parameters
        return self._parameters.get((domain, name), [])

    def _inner(self, message: WireMessage, prefix: str, outer: _Scope, depth: int) -> None:
        charge_entry(prefix)
        graph = read_graph(message)
        self._graph(graph, prefix, outer.new_child(dict.fromkeys(graph.inputs)), depth)

    def _graph(self, graph: OnnxGraph, prefix: str, scope: _Scope, depth: int) -> None:
        for message in graph.initializers:
            proto = read_proto(message)
            name = self._unique(prefix + (proto.name or "unnamed"))
            self._add(scope, proto.name, read_tensor(proto, name, self._files))
        for message in graph.sparse:
            found = read_sparse(message, lambda name: self._unique(prefix + name), self._files)
            self._add(scope, found.name.removeprefix(prefix), found)
        first = len(self.calls)
        for node in graph.nodes:
            self._node(node, prefix, scope, depth)
        _find_scales(graph.nodes, self.calls[first:], scope)

    def _unique(self, name: str) -> str:
        charge_entry(name)
        found = name
        while found in self._names:
            self._names[name] += 1
            found = f"{name}#{self._names[name]}"
        self._names[found] = 1
        return found

    def _add(
        self, scope: _Scope, name: str, found: OnnxArray | Skipped, in_node: bool = False
    ) -> None:
        constant = OnnxConstant(found, in_node, role=self._role)
        self.all.append(constant)
        scope[name] = _Known(constant)

    def _node(self, node: OnnxNode, prefix: str, scope: _Scope, depth: int) -> None:
        known = [scope.get(name) if name else None for name in node.inputs]
        scope.update(dict.fromkeys(node.outputs))
        if any(known):
            self._use(node, known, scope, depth)
        for name, attribute in node.attributes.items():
            if node.op == "Constant":
                self._constant(node, name, attribute, prefix, scope)
            else:
                self._attribute(node, name, attribute, prefix)
            for inner in attribute.graphs:
                self._inner(inner, f"{prefix}{node.label}/{name}/", scope, depth + 1)

    def _use(self, node: OnnxNode, known: list[_Known | None], scope: _Scope, depth: int) -> None:
        parameters = self._called(node.domain, node.op, depth)
        passes = node.op in PASSING and bool(node.outputs)
        for index, found in enumerate(known):
            if found is None or (passes and index == 0):
                continue
            inside = parameters[index].uses if index < len(parameters) else set()
            if len(found.constant.uses) < _USES:
                found.constant.uses |= inside or {(node.op, index)}
        if passes and known[0]:
            itself = known[0].itself and node.op == "Identity"
            scope[node.outputs[0]] = _Known(known[0].constant, itself)
        if node.op in CODED:
            arrays = [found.constant if found and found.itself else None for found in known]
            self.calls.append(OnnxCall(node, arrays))

    def _constant(
        self, node: OnnxNode, name: str, attribute: OnnxAttribute, prefix: str, scope: _Scope
    ) -> None:
        """The array of a Constant node, which has the name of its output."""
        output = node.outputs[0] if node.outputs else "unnamed"
        label = self._unique(prefix + output)
        if attribute.sparse:
            found = read_sparse(attribute.sparse[0], lambda _: label, self._files)
        elif name.startswith("value_string"):
            found = Skipped(label, "text")
        else:
            found = read_tensor(_proto(name, attribute), label, self._files)
        self._add(scope, output, found, in_node=True)

    def _attribute(self, node: OnnxNode, name: str, attribute: OnnxAttribute, prefix: str) -> None:
        """Tensors that a node of another kind has for attributes."""
        for message in attribute.tensors:
            label = self._unique(f"{prefix}{node.label}.{name}")
            found = read_tensor(read_proto(message), label, self._files)
            uses = {(node.op, -1)}
            self.all.append(OnnxConstant(found, True, uses, role=self._role))


def _proto(name: str, attribute: OnnxAttribute) -> OnnxProto:
    """The tensor that an attribute of a Constant node gives."""
    where = f"attribute {name!r}"
    if attribute.tensors:
        return read_proto(attribute.tensors[-1])
    if attribute.floats:
        stored = attribute.floats.stored(where)
        return OnnxProto(dims=[stored.size // 4], dtype=1, typed={FLOATS: attribute.floats})
    if attribute.ints:
        count = Varints(attribute.ints.stored(where)).count
        return OnnxProto(dims=[count], dtype=7, typed={INT64S: attribute.ints})
    dtype, kind = (7, np.int64) if name.endswith(("int", "ints")) else (1, np.float32)
    many = name.endswith("s")
    value = np.array([] if many else attribute.number or 0, kind)
    return OnnxProto(
        dims=[0] if many else [], dtype=dtype, raw=memory_bytes(value.tobytes(), where)
    )


def _find_scales(nodes: list[OnnxNode], calls: list[OnnxCall], scope: _Scope) -> None:
    """The scales of codes that are multiplied as integers: a later product has them.

    ``Mul(Cast(MatMulInteger(x, codes)), Mul(scale of x, scale of codes))`` is what dynamic
    quantization writes.
    """
    integer = [call for call in calls if call.node.op in ("MatMulInteger", "ConvInteger")]
    if not integer:
        return
    takers: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        if node.op in ("Cast", "Mul"):
            for name in node.inputs:
                if len(found := takers.setdefault(name, [])) < _NEAR:
                    found.append(node)
    products = {node.outputs[0]: node for node in nodes if node.op == "Mul" and node.outputs}
    for call in integer:
        call.scale = _scale_of(call.node.outputs, takers, products, scope)
        if call.scale:
            call.scale.role = Role.BOOKKEEPING


def _scale_of(
    outputs: list[str],
    takers: dict[str, list[OnnxNode]],
    products: dict[str, OnnxNode],
    scope: _Scope,
) -> OnnxConstant | None:
    casts = [node for name in outputs for node in takers.get(name, ()) if node.op == "Cast"]
    names = {*outputs, *(name for cast in casts for name in cast.outputs)}
    muls = [node for name in names for node in takers.get(name, ()) if node.op == "Mul"]
    for factor in (name for node in muls for name in node.inputs[:2] if name not in names):
        inner = products[factor].inputs[:2] if factor in products else [factor]
        for known in map(scope.get, inner):
            if known:
                return known.constant
    return None
