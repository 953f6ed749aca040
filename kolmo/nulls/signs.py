"""The null that draws the signs anew."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import CHUNK, WeightTensor
from kolmo.dtypes import bits_of
from kolmo.errors import NotApplicableError
from kolmo.floats import bit_patterns, has_sign
from kolmo.nulls.base import Null, Source
from kolmo.nulls.made import Values
from kolmo.nulls.moved import Load
from kolmo.nulls.seeds import Key, Seed, random_keys

_STREAM = 7
_WORD = 64  # signs of a random word


@dataclasses.dataclass(frozen=True)
class FairSigns(Null):
    """The same magnitudes at the same places, each with a sign that a fair coin gives.

    w' = s ∘ w, where s is +1 or −1, independently; exact zeros stay as they are. Kept: every
    magnitude and its place, so every pattern of scales, sparsity and the like. Gone: what signs
    tell, which is all of correlation and low rank, and what copies of rows share but for their
    magnitudes. P-values are exact where, given the magnitudes, signs are fair and independent.
    """

    name = "signs"

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        if not has_sign(tensor.dtype):
            raise NotApplicableError(
                f"signs needs floating-point weights of both signs, not {tensor.dtype}"
            )
        load = _Flipped(tensor.load, tensor.dtype, (*seed, _STREAM)).load
        return Values(dataclasses.replace(tensor, load=load, codes=None, place=None), tensor)

    def working_memory(self, tensor: WeightTensor) -> int:
        return 4 * min(tensor.numel, CHUNK) * tensor.dtype.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class _Flipped:
    """Weights with random signs; what is drawn does not depend on who asks for what."""

    source: Load
    dtype: np.dtype[Any]
    seed: Seed

    def load(self, start: int, stop: int) -> NDArray[Any]:
        patterns = bit_patterns(self.source(start, stop))
        kind, sign = patterns.dtype.type, 1 << bits_of(self.dtype) - 1
        flips = self._coins(start, stop).astype(patterns.dtype) * kind(sign)
        flips[patterns & kind(sign - 1) == 0] = 0
        flipped: NDArray[Any] = (patterns ^ flips).view(self.dtype)
        return flipped

    def _coins(self, start: int, stop: int) -> NDArray[np.uint8]:
        from kolmo.nulls import kernels

        first = start // _WORD
        words = np.empty(-(-stop // _WORD) - first, np.uint64)
        kernels.random_words(self._key, first, words)
        coins = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
        found: NDArray[np.uint8] = coins[start - first * _WORD : stop - first * _WORD]
        return found

    @cached_property
    def _key(self) -> Key:
        return random_keys(self.seed, 1)[0]
