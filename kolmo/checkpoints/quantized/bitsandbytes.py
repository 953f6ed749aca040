"""bitsandbytes' 4-bit floats, NF4 and FP4 (QLoRA: Dettmers et al., arXiv 2305.14314).

A weight of any shape is flattened; two codes lie in a byte, the first in its high half. A code
stands for a number of ``quant_map``, times the largest magnitude of its block (``absmax``). Where
these are quantized again (``nested_…``), each is a number of another table times a factor of its
own block, plus an offset. A JSON text in an array of bytes says shape and sizes
(``quant_state.bitsandbytes__nf4``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.quantized.base import (
    SMALL,
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
    logical,
    numel,
    present,
    rows_of,
)
from kolmo.symbols import Alphabet

_STATES = {
    ".quant_state.bitsandbytes__nf4": "NF4",
    ".quant_state.bitsandbytes__fp4": "FP4",
}
_NEEDED = {
    ".absmax": "the largest magnitudes of the blocks",
    ".quant_map": "the table of numbers",
    ".nested_absmax": "the factors of the magnitudes",
    ".nested_quant_map": "the table of magnitudes",
}


def find(arrays: Arrays, settings: QuantSettings, latest: Latest) -> Iterator[Logical | Unknown]:
    """The weights beside which there is a ``quant_state``, or at least ``absmax`` and a table."""
    for name in [n.removesuffix(".absmax") for n in arrays if n.endswith(".absmax")]:
        if name not in arrays:
            continue
        try:
            yield _found(name, arrays, latest)
        except NotUnderstood as why:
            beside = present({name + end: what for end, what in _NEEDED.items()}, arrays)
            yield Unknown((name, *beside), f"looks like 4-bit codes of bitsandbytes, but {why}")


def _found(name: str, arrays: Arrays, latest: Latest) -> Logical:
    codes, absmax, table = arrays[name], arrays[f"{name}.absmax"], arrays.get(f"{name}.quant_map")
    ending = next((end for end in _STATES if name + end in arrays), None)
    state = _state(arrays[name + ending]) if ending else {}
    demand(codes.dtype == np.uint8, f"they are {codes.dtype.name}, not bytes")
    if table is None or table.numel != 16:
        raise NotUnderstood("there is no table of 16 numbers")
    shape, block = _shape(state, codes), _block(state, codes, absmax)
    demand(-(-numel(shape) // 2) == codes.numel, f"{codes.numel:,} bytes do not hold {shape}")
    demand(-(-numel(shape) // block) == absmax.numel, "there are other blocks")
    demand(block % 2 == 0, "a block has an odd number of weights")
    magnitudes = _Magnitudes(name, absmax, arrays, state)
    flat = WeightTensor(name, (codes.numel,), codes.dtype, codes.load)

    def read(_: int, first: int, last: int) -> Array:
        end = min(last * block // 2, codes.numel)
        packed = flat.load(first * block // 2, end)
        both = np.stack([packed >> np.uint8(4), packed & np.uint8(15)], axis=-1).reshape(-1)
        return np.pad(both, (0, (last - first) * block - both.size)).reshape(-1, block)

    def decode(_: int, packed: Array, first: int) -> Array:
        values = latest.of(table, lambda: floats(table).reshape(-1))
        factors = magnitudes.read(first, first + len(packed))
        return np.asarray(values[packed] * factors[:, None])

    rows = Rows(block, max(1, absmax.numel), read, decode)
    kinds = {name + end: what for end, what in _NEEDED.items()}
    if ending:
        kinds[name + ending] = "the state"
    needed = present(kinds, arrays)
    scheme = _STATES.get(ending or "", "bitsandbytes")
    tensor = logical(name, shape, rows, scheme, Alphabet(16), [codes], [arrays[n] for n in needed])
    return Logical(tensor, needed)


def _state(stored: WeightTensor) -> dict[str, Any]:
    """The JSON text in an array of bytes."""
    demand(stored.dtype == np.uint8 and stored.numel <= SMALL, "their state is no text")
    try:
        state = json.loads(stored.read().tobytes())
    except (ValueError, RecursionError):
        raise NotUnderstood("their state is no JSON text") from None
    demand(isinstance(state, dict), "their state is no JSON object")
    return dict(state)


def _shape(state: dict[str, Any], codes: WeightTensor) -> tuple[int, ...]:
    shape = state.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise NotUnderstood("nothing says what shape they have")
    demand(0 < len(shape) <= 64 and numel(shape) < 1 << 60, "no array has their shape")
    return tuple(shape)


def _block(state: dict[str, Any], codes: WeightTensor, absmax: WeightTensor) -> int:
    said = state.get("blocksize")
    if type(said) is int and 0 < said < 1 << 31:
        return said
    demand(absmax.numel and 2 * codes.numel % absmax.numel == 0, "nothing says their blocks")
    return 2 * codes.numel // absmax.numel


class _Magnitudes:
    """The largest magnitude of each block, as float32."""

    def __init__(
        self, name: str, absmax: WeightTensor, arrays: Arrays, state: dict[str, Any]
    ) -> None:
        self.absmax = WeightTensor(name, (absmax.numel, 1), absmax.dtype, absmax.load)
        self.factors = arrays.get(f"{name}.nested_absmax")
        self.table = arrays.get(f"{name}.nested_quant_map")
        self.nested = self.factors is not None
        demand(self.nested == (absmax.dtype == np.uint8), "their magnitudes lack a table")
        if self.factors is None or self.table is None:
            demand(not self.nested, "their magnitudes lack a table")
            return
        block, offset = state.get("nested_blocksize"), state.get("nested_offset", 0.0)
        demand(type(block) is int and 0 < block < 1 << 31, "nothing says the magnitudes' blocks")
        assert isinstance(block, int)
        demand(isinstance(offset, (int, float)), "the magnitudes' offset is no number")
        demand(-(-absmax.numel // block) == self.factors.numel, "the magnitudes lack factors")
        demand(self.table.numel == 256, "the table of magnitudes has no 256 numbers")
        self.block, self.offset = block, np.float32(offset)

    def read(self, first: int, last: int) -> Array:
        stored = rows_of(self.absmax, first, last).reshape(-1)
        if self.factors is None or self.table is None:
            return stored.astype(np.float32)
        begin, end = first // self.block, -(-last // self.block)
        factors = self.factors.load(begin, end).astype(np.float32)
        each = factors[np.arange(first, last) // self.block - begin]
        return np.asarray(floats(self.table).reshape(-1)[stored] * each + self.offset)
