"""Quantized layers of Keras: a kernel of int8, or of int4 two a byte, with a scale.

Keras's own arithmetic gives the weights: q / scale where there is one scale a channel,
(q - zero) · scale where there is one for each group of rows (``keras.quantizers``).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, Role, Skipped, WeightTensor
from kolmo.checkpoints.keras_layers import KerasLayer
from kolmo.symbols import Alphabet

_PACKED = ("kernel", "embeddings")
_HELPERS = ("kernel_scale", "kernel_zero", "embeddings_scale", "embeddings_zero", "g_idx",
            "inputs_scale", "outputs_grad_scale", "awq_scales")  # fmt: skip
_HISTORIES = ("inputs_amax_history", "kernel_amax_history", "outputs_grad_amax_history")

Entry = WeightTensor | Skipped


def logical(entries: Sequence[Entry], layers: Mapping[str, KerasLayer]) -> list[Entry]:
    """The same entries, with the weights in place of the codes that stand for them."""
    by_name = {one.name: one for one in entries if isinstance(one, WeightTensor)}
    return [_made(one, by_name, layers) for one in entries]


def _made(
    entry: Entry, by_name: Mapping[str, WeightTensor], layers: Mapping[str, KerasLayer]
) -> Entry:
    if isinstance(entry, Skipped) or entry.role is not None:
        return entry
    path, _, last = entry.name.rpartition("/")
    if last in _HISTORIES:
        return dataclasses.replace(entry, role=Role.BUFFER)
    if last == "quantized_kernel":
        reason = "codes of Keras's GPTQ or AWQ, which are not unpacked"
        return Skipped(entry.name, reason, entry.numel, Role.WEIGHT)
    kernel = by_name.get(f"{path}/kernel") or by_name.get(f"{path}/embeddings")
    if last in _HELPERS and (kernel or f"{path}/quantized_kernel" in by_name):
        return dataclasses.replace(entry, role=Role.BOOKKEEPING)
    scale = by_name.get(f"{path}/{last}_scale")
    if last not in _PACKED or entry.dtype != np.int8 or scale is None or entry.numel == 0:
        return entry
    zero, groups = by_name.get(f"{path}/{last}_zero"), by_name.get(f"{path}/g_idx")
    layer = layers.get(path.rpartition("/")[2], KerasLayer())
    made = _Quantized.of(entry, scale, zero, groups, layer, last == "embeddings")
    if made is None:
        return Skipped(entry.name, "int8 codes whose scales do not fit them", entry.numel)
    return made.tensor(entry.name)


@dataclasses.dataclass(frozen=True, eq=False)
class _Quantized:
    """The codes of a layer: stored, as rows of ``columns`` weights, and their scales.

    ``by_row`` says that there is a scale (or a row of them) for each row, as in embeddings;
    otherwise there is one for each column.
    """

    stored: WeightTensor
    scale: WeightTensor
    zero: WeightTensor | None
    groups: WeightTensor | None
    shape: tuple[int, ...]
    bits: int
    by_row: bool

    @classmethod
    def of(
        cls,
        stored: WeightTensor,
        scale: WeightTensor,
        zero: WeightTensor | None,
        groups: WeightTensor | None,
        layer: KerasLayer,
        by_row: bool,
    ) -> _Quantized | None:
        """What these arrays are; None if their shapes contradict each other."""
        shape, bits = stored.shape, 8
        if zero is not None and groups is not None:
            columns = groups.numel if by_row else scale.shape[-1] if scale.shape else 0
            shape, bits = (*shape[:-1], columns), 4
        elif by_row and layer.mode == "int4":
            noted = layer.config.get("output_dim")
            shape, bits = (*shape[:-1], noted if isinstance(noted, int) else 0), 4
        elif not by_row and shape and shape[-1] != _last(scale) and layer.mode != "int8":
            shape, bits = (*shape[:-1], _last(scale)), 4
        elif layer.mode == "int4" or not _ends_with_channels(layer):
            return None  # packed by rows, as before Keras 3.13, or of scales for other axes
        made = cls(stored, scale, zero if bits == 4 else None, groups, shape, bits, by_row)
        return made if made.is_sound else None

    @property
    def is_sound(self) -> bool:
        """Whether the stored codes and the scales are as many as the weights need."""
        if not self.shape or 0 in self.shape:
            return False
        packed = (self.columns + 1) // 2 if self.bits == 4 else self.columns
        if self.stored.shape != (*self.shape[:-1], packed):
            return False
        rows = math.prod(self.shape[:-1])
        if self.zero is None or self.groups is None:
            kept = self.scale.numel
            return kept == rows if self.by_row else kept > 0 and math.prod(self.shape) % kept == 0
        if self.zero.shape != self.scale.shape or len(self.scale.shape) != 2:
            return False
        if self.by_row:
            return self.groups.numel == self.columns and self.scale.shape[0] == rows
        return self.groups.numel == rows and self.scale.shape[1] == self.columns

    @property
    def columns(self) -> int:
        """Weights of a row."""
        return self.shape[-1]

    def tensor(self, name: str) -> WeightTensor:
        """The weights, and the codes that stand for them."""
        helpers = [self.scale, self.zero, self.groups if self.zero else None]
        side = sum(8 * one.numel * one.dtype.itemsize for one in helpers if one)
        alphabet = Alphabet(1 << self.bits)
        codes = Codes(f"Keras int{self.bits}", alphabet, self._codes, side, (self.stored,))
        return WeightTensor(name, self.shape, np.dtype(np.float32), self._load, codes)

    def _signed(self, start: int, stop: int) -> NDArray[np.int8]:
        if self.bits == 8:
            return self.stored.load(start, stop)
        packed = (self.columns + 1) // 2
        first, last = start // self.columns, -(-stop // self.columns)
        data = self.stored.load(first * packed, last * packed).view(np.uint8).reshape(-1, packed)
        pairs = np.stack([data & 15, data >> 4], axis=-1).reshape(len(data), -1)
        flat = pairs[:, : self.columns].reshape(-1)[start - first * self.columns :]
        signed: NDArray[np.int8] = (flat[: stop - start] ^ 8).view(np.int8) - np.int8(8)
        return signed

    def _codes(self, start: int, stop: int) -> NDArray[Any]:
        """The codes from 0 on, the least first."""
        return (self._signed(start, stop).view(np.uint8) + np.uint8(1 << self.bits - 1)) & np.uint8(
            (1 << self.bits) - 1
        )

    def _load(self, start: int, stop: int) -> NDArray[Any]:
        values = self._signed(start, stop).astype(np.float32)
        at = np.arange(start, stop)
        scale = self.scale.read()
        if self.zero is None or self.groups is None:
            which = at // self.columns if self.by_row else at % scale.size
            return np.asarray(values / scale.reshape(-1)[which], np.float32)
        row, column = np.divmod(at, self.columns)
        group = self._groups[column if self.by_row else row]
        where = (row, group) if self.by_row else (group, column)
        zero = self.zero.read().astype(np.float32)
        return np.asarray((values - zero[where]) * scale[where], np.float32)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """The group of each row, or column; a float in Keras's files."""
        assert self.groups is not None
        most = self.scale.shape[1 if self.by_row else 0] - 1
        found = np.nan_to_num(self.groups.read().astype(np.float64))
        return np.clip(found, 0, most).astype(np.int64)


def _ends_with_channels(layer: KerasLayer) -> bool:
    """Whether the axes of a kernel that have scales are its last ones; they are in most layers."""
    parts = re.fullmatch(r"[^,]*,([a-zA-Z]+)->(.*)", str(layer.config.get("equation", "")))
    if parts is None:
        return True
    kernel, output = parts.groups()
    return kernel.endswith("".join(axis for axis in kernel if axis in output))


def _last(scale: WeightTensor) -> int:
    return scale.shape[-1] if scale.shape else 0
