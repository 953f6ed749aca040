"""What torch's own functions would rebuild from a pickle, made of data alone, without torch."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from kolmo.checkpoints.inert import CodedArray, Global, LeftOut, Ndarray, Record
from kolmo.checkpoints.machine import Machine, Rebuild
from kolmo.checkpoints.rebuilding import NUMPY, PYTHON, sides
from kolmo.checkpoints.stored import Storage, Stored, Strided
from kolmo.checkpoints.torch_coded import (
    FLOAT4,
    AffineScale,
    affine_tensor,
    coded_integers,
    coded_pairs,
)
from kolmo.dtypes import DTYPES, bits_of
from kolmo.errors import InputError

TORCH_DTYPES: dict[str, np.dtype[Any]] = {
    **DTYPES,
    "complex32": np.dtype(ml_dtypes.complex32),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
}
"""Torch's dtypes that numpy and ml_dtypes have, by torch's names."""

_ALIASES = {"half": "float16", "float": "float32", "double": "float64", "short": "int16",
            "int": "int32", "long": "int64"}  # fmt: skip

_SIZES = {"qint32": 4, "bits16": 2}
"""Bytes of an entry of the dtypes that numpy lacks, where it is not one."""

_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}


def storage_dtype(kind: Any) -> str:
    """Torch's name of the dtype of a storage's entries, by the storage's class."""
    if not isinstance(kind, Global):
        raise TypeError("no class of storages")
    return _STORAGES[kind.name.rpartition(".")[2]]


def entry_size(dtype: str) -> int:
    """Bytes of an entry of a storage."""
    found = TORCH_DTYPES.get(dtype)
    return found.itemsize if found is not None else _SIZES.get(dtype, 1)


def torch_tensor_of(
    storage: Any, dtype: str, offset: Any, size: Any, stride: Any, metadata: Any = None
) -> Strided | CodedArray | LeftOut:
    """A strided tensor over a storage; LeftOut if its dtype is not supported."""
    shape = sides(size)
    if isinstance(shape, LeftOut):
        return shape
    stride = tuple(stride)
    if not isinstance(storage, Storage) or len(stride) != len(shape):
        raise TypeError("no tensor")
    if any(type(step) is not int or not 0 <= step < 1 << 62 for step in (*stride, offset)):
        raise TypeError("no strides")
    flags = metadata if isinstance(metadata, dict) else {}
    if dtype == FLOAT4:
        pairs = Strided(storage, TORCH_DTYPES["uint8"], shape, stride, offset)
        return coded_pairs(pairs, "float4_e2m1fn")
    if dtype not in TORCH_DTYPES or bits_of(TORCH_DTYPES[dtype]) < 8:
        return LeftOut(f"dtype {dtype} is not supported", math.prod(shape))
    if flags.get("conj"):
        return LeftOut("a conjugate view is not supported", math.prod(shape))
    negated = bool(flags.get("neg"))
    return Strided(storage, TORCH_DTYPES[dtype], shape, stride, offset, negated)


def _tensor(
    machine: Machine,
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _gradient: Any = None,
    _hooks: Any = None,
    metadata: Any = None,
) -> Any:
    return torch_tensor_of(storage, storage.dtype, offset, size, stride, metadata)


def _tensor_v3(
    machine: Machine,
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    _gradient: Any,
    _hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Any:
    return torch_tensor_of(storage, dtype_name(dtype), offset, size, stride, metadata)


def dtype_name(dtype: Any) -> str:
    """``torch.float32`` as ``float32``."""
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise TypeError("no dtype")
    name = dtype.name.removeprefix("torch.")
    return _ALIASES.get(name, name)


def _quantized(
    machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, scheme: Any, *_: Any
) -> Any:
    """A quantized tensor: its codes, which wait for their scales until they are read."""
    shape = sides(size)
    if isinstance(shape, LeftOut):
        return shape
    if not isinstance(storage, Storage) or not isinstance(scheme, tuple) or not scheme:
        raise TypeError("no quantized tensor")
    affine = _affine(scheme, shape)
    codes = coded_integers(storage, shape, tuple(stride), offset) if affine else None
    if affine is None or codes is None:
        how = str(scheme[0]).removeprefix("torch.")[:40]
        reason = f"a quantized tensor ({storage.dtype}, {how}) is not supported"
        return LeftOut(reason, math.prod(shape))
    array, view = codes
    return CodedArray(array, math.prod(shape), lambda stored: affine_tensor(view(stored), affine))


def _affine(scheme: tuple[Any, ...], shape: tuple[int, ...]) -> AffineScale | None:
    """The scales and zero points of a quantized tensor; None if they are of another kind."""
    how, *rest = str(scheme[0]).removeprefix("torch."), *scheme[1:]
    if how == "per_tensor_affine" and len(rest) == 2 and type(rest[1]) is int:
        scale, zero = np.array([float(rest[0])]), np.array([rest[1]])
        return AffineScale(lambda: scale, lambda: zero, None, 64 + 64)
    if not how.startswith("per_channel_affine") or len(rest) != 3:
        return None
    scales, zeros, axis = rest
    if not isinstance(scales, Strided) or not isinstance(zeros, Strided):
        return None
    if type(axis) is not int or not 0 <= axis < len(shape):
        return None
    if not scales.numel == zeros.numel == shape[axis]:
        return None
    bits = sum(8 * array.dtype.itemsize * array.numel for array in (scales, zeros))
    count = shape[axis]
    return AffineScale(lambda: scales.load(0, count), lambda: zeros.load(0, count), axis, bits)


def _sparse(machine: Machine, layout: Any, data: Any) -> Any:
    """Left out with the count of the dense tensor, and that of the values that are stored."""
    values = data[1] if str(layout).endswith("coo") else data[2]
    size = data[2] if str(layout).endswith("coo") else data[3]
    shape, kind = sides(size), str(layout).removeprefix("torch.")[:40]
    if isinstance(shape, LeftOut):
        return shape
    stored = values.numel if isinstance(values, (Strided, LeftOut)) else 0
    return LeftOut(f"a {kind} tensor, of which {stored:,} entries are stored", math.prod(shape))


def _nested(machine: Machine, buffer: Any, *_: Any) -> LeftOut:
    return LeftOut("a nested (ragged) tensor", buffer.numel)


def _meta(machine: Machine, _dtype: Any, size: Any, *_: Any) -> LeftOut:
    shape = sides(size)
    return shape if isinstance(shape, LeftOut) else LeftOut(
        "a meta tensor: it has no values", math.prod(shape)
    )  # fmt: skip


def _wrapper(machine: Machine, kind: Any, _dtype: Any, size: Any, *_: Any) -> LeftOut:
    shape = sides(size)
    if isinstance(shape, LeftOut):
        return shape
    return LeftOut(f"a tensor of class {str(kind)[:80]}, without values", math.prod(shape))


def _parameter(machine: Machine, data: Any, *_: Any) -> Any:
    return data


def _subclass(machine: Machine, function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor of a class of its own: the tensor, or what it holds if it only wraps others."""
    made = machine.make(function, args, called=True)
    if isinstance(made, LeftOut) and isinstance(state, dict) and "without values" in made.reason:
        wrapped = Record(str(kind))
        wrapped.state = state
        return wrapped
    return made


def _size(machine: Machine, size: Any = ()) -> tuple[Any, ...]:
    machine.charge(len(size))
    return tuple(size)


def _from_numpy(machine: Machine, data: Any, *_: Any) -> Any:
    if not isinstance(data, (Ndarray, Strided, LeftOut)):
        raise TypeError("no array")
    return data


def _first(machine: Machine, value: Any, *_: Any) -> Any:
    return value


def _layout(machine: Machine, name: Any) -> str:
    return str(name)


def storage_of(saved: Any) -> tuple[str, str, int]:
    """The dtype, the key and the number of entries of a storage that a pickle refers to."""
    if not isinstance(saved, tuple) or len(saved) < 5 or saved[0] != "storage":
        raise TypeError("a reference to what is no storage")
    dtype, key, count = storage_dtype(saved[1]), saved[2], saved[4]
    if type(count) is not int or not 0 <= count < 1 << 62 or not isinstance(key, (str, int)):
        raise TypeError("a storage without a name and a size")
    return dtype, str(key)[:200], count


def checked(stored: Stored, dtype: str, count: int, name: str) -> Stored:
    """The bytes of a storage; InputError if it claims more than they are."""
    size = count * entry_size(dtype)
    if size > stored.size:
        raise InputError(
            f"{stored.where}: storage {name!r} claims {size:,} bytes, the file has "
            f"{stored.size:,} for it; it is damaged or truncated"
        )
    return stored.part(0, size)


_UTILS = "torch._utils."
TORCH: dict[str, Rebuild] = {
    **PYTHON,
    **NUMPY,
    _UTILS + "_rebuild_tensor": _tensor,
    _UTILS + "_rebuild_tensor_v2": _tensor,
    _UTILS + "_rebuild_tensor_v3": _tensor_v3,
    _UTILS + "_rebuild_parameter": _parameter,
    _UTILS + "_rebuild_parameter_with_state": _parameter,
    _UTILS + "_rebuild_buffer": _parameter,
    _UTILS + "_rebuild_qtensor": _quantized,
    _UTILS + "_rebuild_sparse_tensor": _sparse,
    _UTILS + "_rebuild_sparse_csr_tensor": _sparse,
    _UTILS + "_rebuild_nested_tensor": _nested,
    _UTILS + "_rebuild_meta_tensor_no_storage": _meta,
    _UTILS + "_rebuild_wrapper_subclass": _wrapper,
    _UTILS + "_rebuild_device_tensor_from_numpy": _from_numpy,
    _UTILS + "_rebuild_device_tensor_from_cpu_tensor": _from_numpy,
    _UTILS + "_rebuild_xla_tensor": _from_numpy,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.serialization._get_layout": _layout,
    "torch.Size": _size,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.jit._pickle.restore_type_tag": _first,
}
"""By name, what is rebuilt: Python's, numpy's and torch's."""
