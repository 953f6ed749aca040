"""What Python's and numpy's own functions would rebuild from a pickle, made of data alone.

Each function here does what the one of that name does, as far as arrays and containers go; it
raises TypeError or ValueError for arguments that it does not know, which are then kept as they are.
"""

from __future__ import annotations

import math
import re
from typing import Any

import ml_dtypes
import numpy as np

from kolmo.checkpoints.inert import Dtype, Global, LeftOut, Ndarray, OldText, Record, key_of
from kolmo.checkpoints.machine import Machine, PickleError, Rebuild
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Storage, Stored, Strided, memory_bytes
from kolmo.errors import InputError

_CODE = re.compile(r"[<>=|]?([biufc?])(\d{0,2})")


# --- Python ---------------------------------------------------------------------------------


def _mapping(machine: Machine, pairs: Any = ()) -> dict[Any, Any]:
    """dict, OrderedDict, Counter: of a mapping or of pairs."""
    if isinstance(pairs, dict):
        machine.charge(len(pairs))
        return dict(pairs)
    return {key_of(key): value for key, value in _entries(machine, pairs)}


def _default_mapping(machine: Machine, _made: Any = None, pairs: Any = ()) -> dict[Any, Any]:
    return _mapping(machine, pairs)


def _entries(machine: Machine, items: Any) -> list[Any]:
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise TypeError("no sequence")
    machine.charge(len(items))
    return list(items)


def _set(machine: Machine, items: Any = ()) -> set[Any]:
    return {key_of(item) for item in _entries(machine, items)}


def _frozenset(machine: Machine, items: Any = ()) -> frozenset[Any]:
    return frozenset(_set(machine, items))


def _tuple(machine: Machine, items: Any = ()) -> tuple[Any, ...]:
    return tuple(_entries(machine, items))


def _encoded(machine: Machine, text: Any, encoding: Any = "utf-8", errors: Any = "strict") -> Any:
    """Bytes, which protocols before 3 write as text."""
    if isinstance(text, Stored):
        return text
    machine.charge(0, len(text))
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii") or errors != "strict":
        raise ValueError("an encoding that bytes are not written in")
    return text.encode(encoding)


def _bytes(machine: Machine, data: Any = b"", *encoding: Any) -> Any:
    if isinstance(data, str):
        return _encoded(machine, data, *encoding)
    if not isinstance(data, (bytes, Stored)):
        raise TypeError("no bytes")
    return data


def _number(kind: type) -> Rebuild:
    def make(machine: Machine, *parts: Any) -> Any:
        if len(parts) > 2 or any(type(part) not in (int, float, bool) for part in parts):
            raise TypeError("no number")
        return kind(*parts)

    return make


def _reconstructor(machine: Machine, made: Any, base: Any, state: Any) -> Any:
    """An object of protocols 0 and 1: what it adds to its built-in base."""
    record = Record(str(made))
    if isinstance(base, Global) and base.name == "builtins.dict":
        record.entries = _mapping(machine, state)
    elif isinstance(base, Global) and base.name in ("builtins.list", "builtins.tuple"):
        record.items = _entries(machine, state)
    return record


def _new_object(machine: Machine, made: Any, *args: Any) -> Any:
    return machine.make(made, args, called=False)


# --- numpy ----------------------------------------------------------------------------------


class _Dtype(Dtype):
    __slots__ = ()

    def build(self, machine: Machine, state: Any) -> None:
        """Its second half: the order of bytes, and the fields of a structure."""
        if not isinstance(state, tuple) or len(state) < 5:
            raise PickleError("a numpy dtype without its state")
        self.order = state[1] if state[1] in ("<", ">") else "="
        self.fields = state[2] is not None or state[3] is not None


def _dtype(machine: Machine, code: Any, *_: Any) -> Dtype:
    if isinstance(code, Dtype):
        return code
    if isinstance(code, Global):
        return _Dtype(code.name.removeprefix("ml_dtypes.").removeprefix("numpy."))
    if not isinstance(code, (str, bytes)) or len(code) > 32:
        raise TypeError("no dtype")
    return _Dtype(code if isinstance(code, str) else code.decode("latin-1"))


def plain_dtype(dtype: Dtype) -> tuple[np.dtype[Any], bool] | str:
    """The dtype in native order, and whether it is stored big-endian; a text if not supported."""
    if dtype.fields:
        return "a structured dtype"
    if dtype.code in ("bool", "bool_"):
        return np.dtype(bool), False
    if re.fullmatch(r"bfloat16|u?int\d+|float\d+(_e\w+)?", dtype.code):
        found = getattr(np, dtype.code, None) or getattr(ml_dtypes, dtype.code, None)
        return (np.dtype(found), dtype.order == ">") if found else f"dtype {dtype.code}"
    matched = _CODE.fullmatch(dtype.code)
    if not matched:
        return "objects" if dtype.code.lstrip("<>=|")[:1] == "O" else f"dtype {dtype.code[:20]}"
    order = dtype.code[0] if dtype.code[0] in "<>" else dtype.order
    return np.dtype(matched[1] + matched[2]), order == ">"


def _array(machine: Machine, data: Any, dtype: Any, shape: Any, fortran: bool) -> Any:
    """An array over its bytes; LeftOut if its dtype is not supported."""
    shape = sides(shape)
    if isinstance(shape, LeftOut):
        return shape
    found = plain_dtype(dtype)
    if isinstance(found, str):
        return LeftOut(f"{found} is not supported", math.prod(shape))
    plain, big = found
    stored = _as_stored(machine, data)
    if math.prod(shape) * plain.itemsize != stored.size:
        raise InputError(
            f"{machine.reader.stored.where}: an array of shape {shape} and dtype {plain} "
            f"claims {math.prod(shape) * plain.itemsize:,} bytes, it has {stored.size:,}"
        )
    return Strided(Storage(stored, "", big), plain, shape, dense_strides(shape, fortran))


def _as_stored(machine: Machine, data: Any) -> Stored:
    if isinstance(data, Stored):
        return data
    if isinstance(data, str):  # of Python 2, whose texts are bytes
        machine.charge(0, len(data))
        data = data.data if isinstance(data, OldText) else data.encode("latin-1")
    if not isinstance(data, bytes):
        raise TypeError("no bytes")
    return memory_bytes(data, machine.reader.stored.where)


def sides(shape: Any) -> tuple[int, ...] | LeftOut:
    """A shape that an array can have; LeftOut with the reason if numpy cannot hold it."""
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = (shape,)
    if not isinstance(shape, (tuple, list)):
        raise TypeError("no shape")
    if len(shape) > AXES:
        return LeftOut(f"an array of {len(shape):,} axes; {AXES} are supported")
    if any(type(side) is not int or side < 0 for side in shape):
        raise TypeError("no shape")
    if math.prod(side for side in shape if side) >= 1 << 62:
        return LeftOut("no array can have its shape", min(math.prod(shape), 1 << 62))
    return tuple(shape)


def dense_strides(shape: tuple[int, ...], fortran: bool = False) -> tuple[int, ...]:
    """Strides in entries of an array without holes: the last axis runs fastest, or the first."""
    order = range(len(shape)) if fortran else reversed(range(len(shape)))
    strides, step = [0] * len(shape), 1
    for axis in order:
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


class _Ndarray(Ndarray):
    __slots__ = ()

    def build(self, machine: Machine, state: Any) -> None:
        """Its second half: shape, dtype, order and values."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise PickleError("a numpy array without its state")
        shape, dtype, fortran, data = state[-4:]
        if isinstance(data, list):
            self.content = data
        elif isinstance(dtype, Dtype):
            self.content = _array(machine, data, dtype, shape, bool(fortran))
        else:
            raise PickleError("a numpy array without a dtype")


def _reconstruct(machine: Machine, subclass: Any, _shape: Any = (), _dtype: Any = b"b") -> Ndarray:
    return _Ndarray(str(subclass))


def _from_buffer(machine: Machine, data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    if isinstance(data, LeftOut):
        found = sides(shape)
        return found if isinstance(found, LeftOut) else LeftOut(data.reason, math.prod(found))
    return _array(machine, data, dtype, shape, order == "F")


def _scalar(machine: Machine, dtype: Any, data: Any = b"") -> Any:
    found = plain_dtype(dtype)
    if isinstance(found, str) or found[0].itemsize > 16:
        raise TypeError("no number")
    plain, big = found
    raw = bytes(_as_stored(machine, data).read(0, plain.itemsize))
    return np.frombuffer(raw[::-1] if big else raw, plain)[0]


def _jax_array(machine: Machine, _function: Any, _args: Any, state: Any, _aval: Any) -> Any:
    made = _Ndarray("jax.Array")
    made.build(machine, state)
    return made


PYTHON: dict[str, Rebuild] = {
    "builtins.dict": _mapping,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _default_mapping,
    "builtins.list": _entries,
    "builtins.tuple": _tuple,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.int": _number(int),
    "builtins.float": _number(float),
    "builtins.bool": _number(bool),
    "builtins.complex": _number(complex),
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new_object,
}

NUMPY: dict[str, Rebuild] = {
    "numpy.dtype": _dtype,
    "numpy.ndarray": lambda machine, *args: _Ndarray("numpy.ndarray"),
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "jax._src.array._reconstruct_array": _jax_array,
}
