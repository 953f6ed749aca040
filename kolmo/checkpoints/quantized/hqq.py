"""HQQ: ``W_q`` with ``scale`` and ``zero`` for each group (https://mobiusml.github.io/hqq_blog/).

The weight is cut into groups of ``group_size``, along the rows (axis 1: a matrix of groups, one a
row) or along the columns (axis 0: one a column). The rows of this matrix are cut into as many equal
runs as codes fit a byte (8, 4, 2 or 1 bits) or a word of 32 bits (3 bits, ten of them), and the
codes at one place of all runs lie together, the first run's in the highest bits. The weight is
(code − zero) · scale. Sizes are beside it (``shape``, ``axis``, ``nbits``), in older files within
``meta``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.quantized.base import (
    Array,
    Arrays,
    Latest,
    Logical,
    NotUnderstood,
    QuantSettings,
    Rows,
    Unknown,
    demand,
    floats,
    is_integer,
    logical,
    numel,
    present,
    stems,
)
from kolmo.symbols import Alphabet

_KINDS = {
    "scale": "scales",
    "zero": "zero points",
    "meta.scale": "scales",
    "meta.zero": "zero points",
}
_TOLD = ("nbits", "axis", "shape")
_SETTINGS = (
    *("nbits", "group_size", "shape", "axis", "packing", "unpack_view_dtype", "view_as_float"),
    *("quant_scale", "quant_zero", "compute_dtype", "offload_meta", "encoded_state_dict"),
    *("stores_quant_config", "channel_wise", "optimize", "round_zero"),
)


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """The layers of which there is a ``W_q``."""
    for stem in stems(arrays, "W_q"):
        needed = present({stem + end: what for end, what in _KINDS.items()}, arrays)
        told = [stem + meta + end for meta in ("", "meta.") for end in _SETTINGS]
        beside = present(dict.fromkeys(told, "a setting"), arrays)
        try:
            yield _found(stem, arrays, needed, beside, latest)
        except NotUnderstood as why:
            names = (f"{stem}W_q", *needed, *beside)
            yield Unknown(names, f"looks like codes of HQQ, but {why}")


def _found(
    stem: str, arrays: Arrays, needed: dict[str, str], beside: dict[str, str], latest: Latest
) -> Logical:
    packed, scale, zero = (
        _one_of(arrays, f"{stem}W_q"),
        _one_of(arrays, f"{stem}scale", f"{stem}meta.scale"),
        _one_of(arrays, f"{stem}zero", f"{stem}meta.zero"),
    )
    demand(zero.numel in (1, scale.numel), "there are other zero points")
    told = {key: arrays.get(stem + key) or arrays.get(f"{stem}meta.{key}") for key in _TOLD}
    said = {key: _number(stored) for key, stored in told.items()}
    groups = _groups(packed, scale, _shape(told["shape"]), said)
    shape = groups.shape
    width = shape[-1]

    def whole() -> tuple[Array, Array, Array]:
        return groups.codes(packed), floats(scale).reshape(-1), floats(zero).reshape(-1)

    def read(_: int, first: int, last: int) -> Array:
        codes = latest.of(packed, whole)[0].reshape(-1)
        return np.asarray(codes[first * width : last * width])

    def decode(_: int, codes: Array, first: int) -> Array:
        _, scales, zeros = latest.of(packed, whole)
        places = np.arange(first * width, first * width + codes.size)
        slices = places // groups.columns if groups.axis == 1 else places % groups.columns
        shift = zeros[slices] if zeros.size > 1 else zeros
        return np.asarray((codes.astype(np.float32) - shift) * scales[slices])

    tensor = logical(
        f"{stem}weight",
        shape,
        Rows(width, max(1, numel(shape[:-1])), read, decode),
        "HQQ",
        Alphabet(1 << groups.bits),
        [packed],
        [arrays[name] for name in needed],
    )
    return Logical(tensor, needed, beside)


def _one_of(arrays: Arrays, *names: str) -> WeightTensor:
    found = next((arrays[name] for name in names if name in arrays), None)
    if found is None:
        raise NotUnderstood(f"there is no {names[0]!r} beside them")
    return found


def _number(stored: WeightTensor | None) -> int | None:
    """A setting in an array of its own."""
    if stored is None or stored.numel != 1 or stored.dtype.kind not in "iu":
        return None
    return int(stored.load(0, 1)[0])


def _shape(stored: WeightTensor | None) -> tuple[int, ...]:
    """The weight's shape, where an array tells it; else none."""
    if stored is None or stored.dtype.kind not in "iu" or not 0 < stored.numel <= 64:
        return ()
    sides = tuple(int(side) for side in stored.read().reshape(-1))
    demand(min(sides) > 0 and numel(sides) < 1 << 60, "no array has their shape")
    return sides


@dataclasses.dataclass(frozen=True)
class _Groups:
    """The matrix of groups that a weight is cut into, and how its codes lie in words."""

    rows: int
    columns: int
    axis: int
    bits: int
    runs: int
    shape: tuple[int, ...]

    def codes(self, packed: WeightTensor) -> Array:
        """The codes as a matrix."""
        words = _viewed(packed)
        field = 3 if self.runs == 10 else 8 // self.runs
        shifts = [field * (self.runs - 1 - run) for run in range(self.runs)]
        mask = words.dtype.type((1 << field) - 1)
        parts = [(words >> words.dtype.type(shift)) & mask for shift in shifts]
        return np.concatenate(parts)[: self.rows].astype(np.uint8)


def _groups(
    packed: WeightTensor,
    scale: WeightTensor,
    shape: tuple[int, ...],
    said: dict[str, int | None],
) -> _Groups:
    demand(len(packed.shape) == 2 and packed.numel and scale.numel, "they are no matrix")
    in_words = is_integer(packed, 32)
    demand(in_words or is_integer(packed, 8), f"they are {packed.dtype.name}, no bytes or words")
    stored, columns = packed.shape
    axis = said["axis"] if said["axis"] in (0, 1) else int(scale.shape[-1] != columns)
    bits = said["nbits"]
    if shape:
        rows, rest = divmod(numel(shape), columns)
        demand(not rest, f"they do not fill {shape}")
    elif axis == 1:
        rows = scale.numel
    else:
        demand(bits, "nothing says of how many bits they are")
        rows = stored * (10 if in_words else max(1, 8 // (bits or 8)))
    assert axis is not None
    demand(scale.numel == (rows if axis == 1 else columns), "there are other scales")
    fit = [n for n in ((10,) if in_words else (1, 2, 4, 8)) if -(-rows // n) == stored]
    demand(fit, f"{stored:,} rows do not hold {rows:,}")
    bits = bits if bits in range(1, 9) else (3 if in_words else 8 // fit[0])
    assert bits is not None
    return _Groups(rows, columns, int(axis), bits, fit[0], shape or (rows, columns))


def _viewed(packed: WeightTensor) -> Array:
    """The words as unsigned integers."""
    words = packed.read()
    return words.view(f"u{words.dtype.itemsize}")
