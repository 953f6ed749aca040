"""OpenVINO: the weights of an IR, a graph in ``model.xml`` with its constants in ``model.bin``.

Compressed weights are constants of integers or small floats that the graph turns back: ``Convert``,
``Subtract`` of a zero point, ``Multiply`` by a scale, and ``Reshape`` where they lie in groups.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import charge_entry
from kolmo.checkpoints.base import Checkpoint, Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.bits import load_patterns, packed_size
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.magic import is_openvino
from kolmo.checkpoints.openvino_graph import IrGraph, IrLayer, read_graph
from kolmo.checkpoints.raw import raw_tensor
from kolmo.checkpoints.scaled import Load, ScaleBlocks, scaled
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored
from kolmo.checkpoints.unique import unique_names
from kolmo.dtypes import bits_of
from kolmo.errors import InputError
from kolmo.floats import is_float
from kolmo.symbols import Alphabet

DTYPES: dict[str, Any] = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "u8": np.uint8,
    "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "boolean": np.bool_,
    "i4": ml_dtypes.int4, "u4": ml_dtypes.uint4, "u2": ml_dtypes.uint2, "i2": ml_dtypes.int2,
    "f8e4m3": ml_dtypes.float8_e4m3fn, "f8e5m2": ml_dtypes.float8_e5m2,
    "f8e8m0": ml_dtypes.float8_e8m0fnu, "f4e2m1": ml_dtypes.float4_e2m1fn,
}  # fmt: skip
"""The dtypes of the format by their names; ``nf4`` is a table, other names are not decoded."""

NF4 = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip
"""What codes of NF4 stand for (Dettmers et al., arXiv 2305.14314)."""

_PASSING = frozenset(("Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Result"))
_ELEMENTWISE = frozenset(
    ("Add", "Subtract", "Multiply", "Divide", "Power", "Maximum", "Minimum", "Mod", "Select",
     "Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual", "SquaredDifference")
)  # fmt: skip
_SETTINGS = frozenset(
    ("Range", "Broadcast", "Interpolate", "Pad", "OneHot", "RandomUniform", "NonMaxSuppression",
     "MVN", "NormalizeL2", "Tile", "TopK", "Clamp", "Slice", "StridedSlice")
)  # fmt: skip


def open_openvino(file: File) -> Checkpoint:
    """The constants of an IR, unread.

    Raises
    ------
    InputError
        If it is damaged, its ``.bin`` file is not beside it, or it has no constants.
    """
    graph = read_graph(file.stored)
    beside = file.beside(file.name.rsplit("/", 1)[-1].removesuffix(".xml") + ".bin")
    try:
        stored = beside.stored
    except InputError:
        raise InputError(
            f"{file.where}: an OpenVINO graph, whose weights are in {beside.name!r}, which is not "
            f"beside it; put that file into the same folder"
        ) from None
    found = unique_names(_Constants(graph, stored, file.where, "").found())
    if not found:
        raise InputError(f"{file.where}: an OpenVINO graph without constants: no weights")
    return Checkpoint(
        [one for one in found if isinstance(one, WeightTensor)],
        source=file.where,
        format="openvino",
        skipped=[one for one in found if isinstance(one, Skipped)],
        files=[*file.files, *beside.files],
    )


def open_folder(folder: Folder) -> Checkpoint | None:
    """The one graph of a folder that is no tokenizer; None if there is not one."""
    names = [name for name in folder.names() if "/" not in name and name.endswith(".xml")]
    files = [File(folder, name) for name in names if "tokenizer" not in name]
    graphs = [file for file in files if is_openvino(file.head(), file)]
    return open_openvino(graphs[0]) if len(graphs) == 1 else None


@dataclasses.dataclass(frozen=True)
class _Decompression:
    """How the graph turns codes back: layers of zero points and scales, and the shape at last."""

    zero: str
    scale: str
    end: str


class _Constants:
    """The constants of a graph and of the graphs within its layers."""

    def __init__(self, graph: IrGraph, stored: Stored, where: str, prefix: str) -> None:
        charge_entry(prefix)
        self._graph, self._stored, self._where, self._prefix = graph, stored, where, prefix
        self._made: dict[str, WeightTensor | Skipped] = {}

    def found(self) -> Iterator[WeightTensor | Skipped]:
        """Constants as tensors; what codes stand for in place of codes."""
        layers = self._graph.layers
        for key, layer in layers.items():
            if layer.type == "Const":
                self._made[key] = self._plain(layer)
        logical, beside = self._logical()
        for key, layer in layers.items():
            if key in logical:
                yield logical[key]
            elif key in self._made:
                yield self._with_role(key, Role.BOOKKEEPING if key in beside else None)
            for number, body in enumerate(layer.bodies):
                prefix = f"{self._prefix}{layer.name}/{number}/"
                yield from _Constants(body, self._stored, self._where, prefix).found()

    def _plain(self, layer: IrLayer) -> WeightTensor | Skipped:
        name, data = self._prefix + (layer.name or "unnamed"), layer.data
        where = f"{self._where}: constant {name!r}"
        shape = tuple(_whole(side, where) for side in data.get("shape", "").split(",") if side)
        offset, size = (_whole(data.get(key, ""), where) for key in ("offset", "size"))
        numel = math.prod(shape)
        if len(shape) > AXES or math.prod(n or 1 for n in shape) >> 59:
            raise InputError(f"{where} has a shape that is none; the file is damaged")
        if offset + size > self._stored.size:
            raise InputError(
                f"{where}: its values end at byte {offset + size:,} of {self._stored.where}, which "
                f"has {self._stored.size:,}; that file is incomplete, or another model's"
            )
        kind = data.get("element_type", "")
        dtype = np.dtype(DTYPES.get(kind, np.uint8))
        bits = 4 if kind == "nf4" else bits_of(dtype)
        if kind not in DTYPES and kind != "nf4":
            return Skipped(name, f"dtype {kind[:20]!r} is not decoded", numel)
        if size != packed_size(numel, bits):
            raise InputError(f"{where} takes {packed_size(numel, bits):,} bytes, and has {size:,}")
        values = self._stored.part(offset, size)
        return (
            _nf4(name, shape, values) if kind == "nf4" else raw_tensor(name, shape, dtype, values)
        )

    def _with_role(self, key: str, role: Role | None) -> WeightTensor | Skipped:
        made = self._made[key]
        if isinstance(made, Skipped):
            return made
        return dataclasses.replace(made, role=role or self._role(key, made))

    def _role(self, key: str, tensor: WeightTensor) -> Role | None:
        uses = {
            (self._graph.layers[taker].type, port)
            for taker, port in self._uses(key)
            if taker in self._graph.layers
        }
        if not is_float(tensor.dtype):
            return Role.OTHER if uses else None
        if not uses:
            return None
        if all(op == "FakeQuantize" and port for op, port in uses):
            return Role.BOOKKEEPING
        if all(op == "BatchNormInference" and port in (3, 4) for op, port in uses):
            return Role.BUFFER
        settings = all(op in _SETTINGS and port for op, port in uses)
        single = tensor.numel == 1 and all(op in _ELEMENTWISE for op, _ in uses)
        return Role.OTHER if settings or single else Role.WEIGHT

    def _uses(self, key: str) -> list[tuple[str, int]]:
        """The layers that take it, behind those that pass it on."""
        found, left, seen = list[tuple[str, int]](), [key], {key}
        while left and len(found) < 64:
            for taker, port in self._graph.takers.get(left.pop(), ())[:64]:
                layer = self._graph.layers.get(taker)
                if layer is None or taker in seen:
                    continue
                if layer.type in _PASSING and port == 0:
                    seen.add(taker)
                    left.append(taker)
                else:
                    found.append((taker, port))
        return found

    # --- what codes stand for ---------------------------------------------------------------

    def _logical(self) -> tuple[dict[str, WeightTensor], set[str]]:
        """The logical tensors by the layers of their codes, and the layers of what these need."""
        found: dict[str, WeightTensor] = {}
        beside = set[str]()
        for key, made in self._made.items():
            if isinstance(made, Skipped) or made.dtype.kind == "b":
                continue
            if bits_of(made.dtype) > 8 and made.codes is None:
                continue
            told = self._decompression(key)
            tensor = self._scaled(made, told) if told else None
            if told and tensor:
                found[key] = tensor
                beside |= {told.zero, told.scale} - {""}
        return found, beside

    def _next(self, key: str) -> tuple[str, IrLayer] | None:
        """The one layer that takes the output of another as its first input."""
        takers = [taker for taker, _ in self._graph.takers.get(key, ())]
        layer = self._graph.layers.get(takers[0]) if len(takers) == 1 else None
        return (takers[0], layer) if layer is not None else None

    def _constant_input(self, key: str, but: str) -> str:
        """The constant among a layer's inputs, itself or converted; empty if there is none."""
        for source in list(self._graph.sources.get(key, {}).values())[:2]:
            layer = self._graph.layers.get(source)
            if source != but and layer is not None and layer.type == "Convert":
                source = self._graph.sources.get(source, {}).get(0, "")
            if source != but and isinstance(self._made.get(source), WeightTensor):
                return source
        return ""

    def _decompression(self, key: str) -> _Decompression | None:
        """Convert, then perhaps Subtract, then Multiply, then perhaps Reshape."""
        step, at = self._next(key), key
        if step is None or step[1].type != "Convert":
            return None
        zero = ""
        at, step = step[0], self._next(step[0])
        if step is not None and step[1].type == "Subtract":
            zero = self._constant_input(step[0], at)
            if not zero:
                return None
            at, step = step[0], self._next(step[0])
        if step is None or step[1].type != "Multiply":
            return None
        scale = self._constant_input(step[0], at)
        after = self._next(step[0])
        end = after[0] if after is not None and after[1].type == "Reshape" else ""
        return _Decompression(zero, scale, end) if scale else None

    def _scaled(self, codes: WeightTensor, told: _Decompression) -> WeightTensor | None:
        scale, zero = self._made[told.scale], self._made.get(told.zero)
        assert isinstance(scale, WeightTensor)
        if isinstance(zero, Skipped) or not is_float(scale.dtype):
            return None
        parts = [one for one in (scale, zero) if one is not None]
        grids = [_grid(one.shape, codes.shape) for one in parts]
        if any(grid is None for grid in grids):
            return None
        blocks = max((grid for grid in grids if grid), key=lambda grid: grid.count)
        loads = [_each(one, blocks) for one in parts]
        if any(load is None for load in loads):
            return None
        scales, zeros = loads[0], loads[1] if zero is not None else None
        assert scales is not None
        load = scaled(codes.load, scales, zeros or 0, blocks)
        side = sum(one.numel * bits_of(one.dtype) for one in parts)
        return _coded(codes, self._shape(told.end, codes), load, side)

    def _shape(self, key: str, codes: WeightTensor) -> tuple[int, ...]:
        """The shape that a Reshape gives, if its target is a constant that fits."""
        target = self._made.get(self._graph.sources.get(key, {}).get(1, ""))
        if not isinstance(target, WeightTensor) or target.numel > AXES or is_float(target.dtype):
            return codes.shape
        shape = tuple(int(side) for side in target.load(0, target.numel))
        if shape.count(-1) == 1:
            rest = -math.prod(shape)
            shape = tuple(codes.numel // rest if n == -1 and rest > 0 else n for n in shape)
        fits = min(shape, default=0) >= 0 and math.prod(shape) == codes.numel
        return shape if fits else codes.shape


def _whole(text: str, where: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"{where} has no place or no shape in numbers; the file is damaged")
    return int(text)


def _grid(scales: tuple[int, ...], shape: tuple[int, ...]) -> ScaleBlocks | None:
    """The blocks of scales that broadcast to a shape; None if they do not."""
    if math.prod(scales) == 1:
        return ScaleBlocks.whole(shape)
    if len(scales) > len(shape):
        return None
    sides = (1,) * (len(shape) - len(scales)) + scales
    if any(one not in (1, n) for one, n in zip(sides, shape, strict=True)):
        return None
    blocks = tuple(max(1, n) if one == 1 else 1 for one, n in zip(sides, shape, strict=True))
    return ScaleBlocks(shape, blocks)


def _each(values: WeightTensor, blocks: ScaleBlocks) -> Load | None:
    """One value a block; None if there are neither as many nor one."""
    if values.numel == 1 < blocks.count:
        return lambda start, stop: np.repeat(values.load(0, 1), stop - start)
    return values.load if values.numel == blocks.count else None


def _nf4(name: str, shape: tuple[int, ...], stored: Stored) -> WeightTensor:
    """Codes of NF4 as what they stand for; their scale comes later in the graph."""

    def codes(start: int, stop: int) -> NDArray[Any]:
        return load_patterns(stored, 4, start, stop)

    told = Codes("NF4", Alphabet(16), codes, 0)
    dtype = np.dtype(np.float32)
    return WeightTensor(name, shape, dtype, lambda a, b: NF4[codes(a, b)], told)


def _coded(codes: WeightTensor, shape: tuple[int, ...], load: Load, side: int) -> WeightTensor:
    if codes.codes is not None:
        told = dataclasses.replace(codes.codes, side_bits=side)
        return WeightTensor(codes.name, shape, codes.dtype, load, told, Role.WEIGHT)
    width = bits_of(codes.dtype)
    alphabet = Alphabet(
        1 << width, codes.dtype.name if is_float(codes.dtype) and width == 8 else ""
    )

    def patterns(start: int, stop: int) -> NDArray[Any]:
        return codes.load(start, stop).view(np.uint8) & np.uint8(alphabet.size - 1)

    told = Codes("OpenVINO", alphabet, patterns, side, (codes,))
    return WeightTensor(codes.name, shape, np.dtype(np.float32), load, told, Role.WEIGHT)
