"""ONNX: the weights of a model file, read from its protocol buffer.

Initializers and Constant nodes of all graphs in it, raw, typed, sparse, or in files beside it; the
graph tells what is a weight and what a scale, a statistic or an operator's parameter
(https://github.com/onnx/onnx/blob/main/docs/IR.md). Values stay unread until they are asked for.
"""

from __future__ import annotations

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.onnx_constants import OnnxConstant, OnnxConstants
from kolmo.checkpoints.onnx_graphs import read_model
from kolmo.checkpoints.onnx_operators import role_of_use, role_of_uses
from kolmo.checkpoints.onnx_packed import CLOSED
from kolmo.checkpoints.onnx_quantized import quantized_tensors
from kolmo.checkpoints.onnx_tensors import OnnxFiles
from kolmo.checkpoints.protobuf import WireMessage
from kolmo.errors import InputError


def open_onnx(file: File) -> Checkpoint:
    """The tensors of an ONNX model, unread.

    Raises
    ------
    InputError
        If it is damaged, its external data is missing or points outside the folder, or there is
        no tensor in it.
    """
    files = OnnxFiles(file)
    constants = OnnxConstants(read_model(WireMessage.of(file.stored)), files)
    logical = quantized_tensors(constants.calls, file.where)
    tensors, skipped = list[WeightTensor](), list[Skipped]()
    for constant in constants.all:
        found = logical.get(constant) or _tensor(constant)
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            tensors.append(found)
    if not tensors and not skipped:
        raise InputError(
            f"{file.where}: an ONNX model whose graph holds no tensor: its nodes have no weights"
        )
    return Checkpoint(tensors, source=file.where, format="onnx", skipped=skipped, files=files.paths)


def _tensor(constant: OnnxConstant) -> WeightTensor | Skipped:
    """A constant as a tensor, with the role that its use tells."""
    found = constant.found
    if isinstance(found, Skipped):
        return found
    closed = _closed(constant)
    if closed:
        why = f"packed codes of {closed}, in a layout that is not understood"
        return Skipped(found.name, why, found.numel, Role.OTHER, found.tensor())
    return found.tensor(_role(constant))


def _closed(constant: OnnxConstant) -> str:
    """The operator that takes it as packed weights of a layout that is not understood, if any."""
    found = constant.found
    if isinstance(found, Skipped) or found.kind.is_float or found.kind.bits > 8:
        return ""
    taken = [op for op, i in constant.uses if op in CLOSED and role_of_use(op, i) is Role.WEIGHT]
    return min(taken, default="")


def _role(constant: OnnxConstant) -> Role | None:
    found = constant.found
    if isinstance(found, Skipped):
        return None
    if constant.role:
        return constant.role
    single = not found.shape or (constant.in_node and found.numel == 1)
    role = role_of_uses(constant.uses, single=single)
    if role is Role.WEIGHT and not found.kind.is_float:
        role = None
    return role or (Role.OTHER if constant.in_node and not found.kind.is_float else None)
