"""From counted blocks to figures: BDM, its normalization, conditional BDM."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError
from kolmo.estimators.blocks import Blocks, Boundary, SquareCounter, StringCounter
from kolmo.estimators.ctm import ShapeTable, check_table, load_table
from kolmo.symbols import Shape

Tables = dict[Shape, ShapeTable]


def bdm_bits(blocks: Blocks, tables: Tables) -> tuple[float, int]:
    """Σ over distinct blocks of CTM + log2(times it occurs), and how many CTM are imputed."""
    bits, imputed = 0.0, 0
    for shape, (codes, counts) in blocks.items():
        values, missing = tables[shape].lookup(codes)
        bits += float((values + np.log2(counts)).sum())
        imputed += missing
    return bits, imputed


def conditional_bdm(x: NDArray[Any], y: NDArray[Any], alphabet: int = 2) -> float:
    """BDM of an object once another one is known; an estimate, in bits.

    Σ over the distinct blocks of x that y lacks of CTM + log2(times), and of log2(times in x)
    over those of both that occur a different number of times (Zenil, Hernández-Orozco, Kiani,
    Soler-Toscano & Rueda-Toicen 2018). Boundary ignore.

    Parameters
    ----------
    x, y : integer arrays of one shape, of one or two dimensions
        Symbols in [0, alphabet).

    Raises
    ------
    InputError
        If the shapes differ, or the symbols or dimensions do not fit.

    Examples
    --------
    >>> x = np.repeat([0, 1], 12)
    >>> conditional_bdm(x, x), round(conditional_bdm(x, 0 * x), 4)
    (0.0, 25.6104)
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.ndim not in (1, 2):
        raise InputError(f"conditional BDM takes two strings or two matrices of one shape, "
                         f"not {list(x.shape)} and {list(y.shape)}")  # fmt: skip
    check_table(x.ndim, alphabet)
    tables = load_table(x.ndim, alphabet)
    given = _count(y, alphabet)
    bits = 0.0
    for shape, (codes, counts) in _count(x, alphabet).items():
        known = dict(zip(given[shape][0].tolist(), given[shape][1].tolist(), strict=True))
        times = np.array([known.get(code, 0) for code in codes.tolist()])
        values, _ = tables[shape].lookup(codes)
        new, other = times == 0, (times > 0) & (times != counts)
        bits += float((values[new] + np.log2(counts[new])).sum())
        bits += float(np.log2(counts[other]).sum())
    return bits


def _count(symbols: NDArray[Any], alphabet: int) -> Blocks:
    if symbols.dtype.kind not in "iu" or (
        symbols.size and not 0 <= symbols.min() <= symbols.max() < alphabet
    ):
        raise InputError(f"conditional BDM takes integers in [0, {alphabet})")
    counter = (
        StringCounter(alphabet, Boundary())
        if symbols.ndim == 1
        else SquareCounter([(symbols.shape[0], symbols.shape[1])], Boundary())
    )
    counter.update(symbols.reshape(-1).astype(np.uint8))
    return counter.finish()


def normalized_bdm(bits: float, blocks: Blocks, tables: Tables) -> float:
    """(BDM − min) / (max − min) for as many blocks of each shape; NaN where they are equal.

    The least BDM repeats the simplest block; the greatest takes the most complex blocks, each as
    often as the others. Those that the table lacks are the most complex, at their imputed value.
    """
    least = greatest = 0.0
    for shape, (_, counts) in blocks.items():
        number = int(counts.sum())
        if number:
            low, high = _extremes(tables[shape], number)
            least += low
            for each in high:
                greatest += each
    return (bits - least) / (greatest - least) if greatest != least else math.nan


@functools.lru_cache(1024)  # tensors of a model have few sizes
def _extremes(table: ShapeTable, number: int) -> tuple[float, list[float]]:
    """The least BDM of so many blocks of a shape, and what the greatest is the sum of."""
    values, times = table.by_complexity
    least = float(values[-1]) + math.log2(number)
    per_block, rest = divmod(number, int(times.sum()))
    ahead = np.concatenate([[0], np.cumsum(times)[:-1]])
    more = np.clip(rest - ahead, 0, times)
    greatest = [float((values * more).sum()) + float(more.sum()) * math.log2(per_block + 1)]
    if per_block:
        greatest.append(float((values * (times - more)).sum()))
        greatest.append(float((times - more).sum()) * math.log2(per_block))
    return least, greatest


def normalized_entropy(each: float, blocks: Blocks, tables: Tables) -> float:
    """Block entropy between the least and the greatest for as many blocks of each shape.

    The least is that of the shapes alone, the greatest log2 of how many blocks could differ.
    """
    numbers = {shape: int(counts.sum()) for shape, (_, counts) in blocks.items() if counts.size}
    total = sum(numbers.values())
    least = -sum(n / total * math.log2(n / total) for n in numbers.values())
    kinds = [min(n, int(tables[s].by_complexity[1].sum())) for s, n in numbers.items()]
    greatest = math.log2(sum(kinds)) if kinds else 0.0
    return (each - least) / (greatest - least) if greatest != least else math.nan


def blocks_seen(blocks: Blocks, tables: Tables) -> dict[str, Any]:
    main = max(blocks, key=math.prod)
    return {
        "blocks": sum(int(counts.sum()) for _, counts in blocks.values()),
        "distinct": sum(codes.size for codes, _ in blocks.values()),
        "share_seen": blocks[main][0].size / tables[main].possible,
    }
