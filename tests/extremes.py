"""A grid of numbers at the edges: every quantizer, estimator and layout, every dtype, odd tensors.

It is complete by construction: names come from the registries, and a new one without its ways is
an error. ``python -m tests.extremes`` goes through all of it and prints a table; ``--part K/N``
through one of N parts, in each of which, up to 25, every estimator meets every quantizer and dtype.
"""

import argparse
import collections
import itertools
import json
import math
import sys
import warnings
from fractions import Fraction

import ml_dtypes
import numpy as np

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError, MissingExtraError
from kolmo.estimators import estimator_names
from kolmo.floats import is_float
from kolmo.layout import LAYOUTS
from kolmo.quantize import get_quantizer, quantizer_names

WAYS = {
    "native": [""],
    "sign": [""],
    "symmetric": [
        ":2", ":8", ":16", ":4,axis=row", ":8,axis=column", ":8,group=1", ":16,group=3",
    ],
    "affine": [":1", ":8", ":16", ":8,clip=99", ":3,clip=50"],
    "codebook": [":1", ":2", ":5", ":255", ":256", ":65536"],
    "nmse": [
        ":.001", ":.999", ":1e-9", ":.3,axis=tensor", ":.01,axis=row", ":1e-6,axis=column",
    ],
}  # fmt: skip
"""The ways of parameters of each quantizer."""

QUANTIZERS = [f"{name}{way}" for name in quantizer_names() for way in WAYS[name]]

_QUICK = {"xz": ":1", "brotli": ":5", "pack": ":fast"}
_ORDERED = ("gzip", "bz2", "xz", "zstd", "brotli", "ppmd")
_MORE = [
    *("bdm,ndim=2", "bdm,aggregate=sum", "block-entropy,ndim=2", "ctm,aggregate=sum"),
    *("qubd,ndim=1", "qubd,aggregate=pooled"),
]
ESTIMATORS = [f"{name}{_QUICK.get(name, '')}" for name in estimator_names()] + _MORE
ESTIMATORS += [f"{name}{_QUICK.get(name, '')}@{to}" for name in _ORDERED for to in LAYOUTS]


# --- tensors --------------------------------------------------------------------------------


def _limits(dtype):
    if is_float(dtype):
        info = ml_dtypes.finfo(dtype)
        return float(info.min), float(info.max), float(info.smallest_subnormal)
    if dtype.kind == "b":
        return 0, 1, 1
    info = ml_dtypes.iinfo(dtype)
    return int(info.min), int(info.max), 1


def _resized(*values, count=24):
    return lambda dtype: np.resize(np.array(values), count)


def _of_limits(make, count=24):
    def made(dtype):
        low, high, least = _limits(dtype)
        return np.resize(np.array(make(low, high, least), object), count).astype(
            np.float64 if is_float(dtype) else object
        )

    return made


def _drawn(scale):
    return lambda dtype: np.random.default_rng(0).normal(0, scale, 60).reshape(5, 12)


TENSORS = {
    "normal": _drawn(1.0),
    "wide": lambda dtype: np.random.default_rng(1).normal(size=48) ** 9,
    "NaN": _resized(1.0, math.nan, -2.0),
    "infinity": _resized(1.0, math.inf, -2.0),
    "minus infinity": _resized(-math.inf, 1.0),
    "subnormal": _of_limits(lambda low, high, least: [least, 3 * least, -least, 0]),
    "one subnormal": _of_limits(lambda low, high, least: [least, 0]),
    "minus zero": _resized(-0.0, 0.0, 1.0),
    "zeros": _resized(0.0),
    "minus zeros": _resized(-0.0),
    "huge": _of_limits(lambda low, high, least: [high / 3, -high / 4, high / 5, 1]),
    "limits": _of_limits(lambda low, high, least: [low, high]),
    "limits and little": _of_limits(lambda low, high, least: [low, high, least, -least, 0]),
    "1e38": _resized(1e38, -3e38, 2.0, 0.0),
    "1e308": _resized(1e308, -1.7e308, 2.0, 0.0),
    "8e307": _of_limits(lambda low, high, least: [high / 2.1, -high / 2.1, high / 3], 200),
    "constant": _resized(0.7),
    "neighbours": lambda dtype: np.resize([1.0, float(np.nextafter(1, 2))], 24),
    "far from zero": lambda dtype: 1e6 + np.arange(24) / 64,
    "none": lambda dtype: np.empty(0),
    "no rows": lambda dtype: np.empty((3, 0)),
    "one": lambda dtype: np.array([3.0]),
    "scalar": lambda dtype: np.array(-1.0),
    "many levels": lambda dtype: np.arange(70_000) - 35_000,
    "any bits": lambda dtype: None,
}
"""What is put into a tensor, by dtype; what a dtype does not hold is what numpy makes of it."""


def tensor(name, dtype):
    made = TENSORS[name](dtype)
    if made is None:
        drawn = np.random.default_rng(2).integers(0, 256, (6, 4, dtype.itemsize), np.uint8)
        wide = dtype.itemsize > 1 or dtype.name.startswith(("float8", "uint8", "int8"))
        return drawn.view(dtype)[..., 0] if wide else (drawn[..., 0] & 1).astype(dtype)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of casting what the dtype does not hold
        if not is_float(dtype):
            low, high, _ = _limits(dtype)
            made = [min(max(int(x) if abs(x) < 1e300 else 0, low), high)
                    if x == x else 0 for x in np.asarray(made).reshape(-1).tolist()]  # fmt: skip
            shape = np.shape(TENSORS[name](dtype))
            return (
                np.array(made, object)
                .astype(np.int64 if low < 0 else np.uint64)
                .astype(dtype)
                .reshape(shape)
            )
        return np.asarray(made, np.float64).astype(dtype)


# --- figures --------------------------------------------------------------------------------


def measured(weights, quantizer, estimator):
    """What is said: the code length, or why there is none; AssertionError for what is unsound."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            code = kolmo.estimate(weights, estimator, quantizer)
        except (InputError, MissingExtraError) as error:
            return str(error)
    assert 0 <= code.bits < math.inf, code
    assert 0 <= code.side_bits < math.inf, code
    assert 0 <= code.numel <= weights.size, code
    assert code.kind in ("bound", "estimate")
    assert weights.size or code.bits == 0, code
    json.dumps(dict(code.details), allow_nan=False)
    return code


# --- symbols --------------------------------------------------------------------------------


def check_symbols(weights, quantizer):
    """Symbols of finite weights against levels in exact arithmetic; False where it refuses."""
    chosen, flat = get_quantizer(quantizer), np.asarray(weights).reshape(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            coder = chosen.fit(array_tensor("w", weights))
            symbols = coder.encode(weights).reshape(-1)
        except InputError:
            return False
        assert int(symbols.max(initial=0)) < coder.alphabet.size
        if coder.lossless:
            assert coder.decode_at(symbols, 0).tobytes() == flat.tobytes()
            return True
        restored = np.asarray(coder.decode_at(symbols, 0), np.float64)
    assert np.isfinite(restored).all()
    if not coder.restores:
        assert (symbols == (flat.astype(np.float64) > 0)).all()
    elif coder.elementwise:
        _check_levels(coder, flat.astype(np.float64), symbols, chosen.nearest)
    return True


def _check_levels(coder, flat, symbols, nearest):
    """Symbols rise with the weights; each stands for itself; and no level is nearer."""
    order = np.argsort(flat, kind="stable")
    assert (np.diff(symbols[order].astype(np.int64)) >= 0).all()
    used = np.unique(symbols)
    values = np.asarray(coder.decode(used), np.float64)
    again = np.asarray(coder.decode(coder.encode(values)), np.float64)
    assert (again == values).all()
    if not nearest or not flat.size:
        return
    several = getattr(coder, "values", None)
    every = np.arange(coder.alphabet.size if several is None else len(several))
    levels = np.asarray(coder.decode(every.astype(coder.alphabet.container)), np.float64)
    check_nearest(flat, symbols, levels)


def check_nearest(flat, symbols, levels):
    """The distance to the level that was chosen is, but for roundings, that to the nearest beside.

    Differences of floats are rounded once; those that this does not decide are compared exactly.
    """
    places = symbols.astype(np.int64)
    chosen, *beside = [np.clip(places + step, 0, len(levels) - 1) for step in (0, -1, 1)]
    with np.errstate(over="ignore"):
        own, *others = [abs(flat - levels[each]) for each in (chosen, *beside)]
    unsure = np.flatnonzero(~((own <= np.minimum(*others)) & np.isfinite(own)))
    for place in dict(zip(flat[unsure].tolist(), unsure, strict=True)).values():
        weight = Fraction(float(flat[place]))
        exact = [abs(weight - Fraction(float(levels[e[place]]))) for e in (chosen, *beside)]
        roundings = 4 * Fraction(float(np.spacing(np.abs(levels).max(initial=abs(flat[place])))))
        assert exact[0] <= min(exact) + roundings, (float(weight), float(levels[chosen[place]]))


# --- all of it ------------------------------------------------------------------------------


def cells():
    """Dtype, tensor, quantizer: all of them."""
    return list(itertools.product(DTYPES, TENSORS, QUANTIZERS))


def dealt(part, parts):
    """Cells, each with the checks that this part makes of it: of its symbols (""), of figures.

    Checks go round the parts as cards go round a table, one cell after the other, and begin one
    further with each tensor: no two parts share one, and all parts together are the whole grid.
    """
    checks = ["", *ESTIMATORS]
    places = map(sum, itertools.product(*(range(len(of)) for of in (DTYPES, TENSORS, QUANTIZERS))))
    for cell, place in zip(cells(), places, strict=True):
        yield cell, checks[(part - place) % parts :: parts]


def check(cell, what):
    """What became of one check, in words that are counted."""
    dtype, name, quantizer = cell
    weights = tensor(name, DTYPES[dtype])
    if what:
        said = measured(weights, quantizer, what)
        return "refused by words" if isinstance(said, str) else "measured"
    return "symbols right" if check_symbols(weights, quantizer) else "refused"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="1/1", help="K/N: one of N parts of the grid.")
    part, parts = map(int, parser.parse_args().part.split("/"))
    counts = collections.Counter()
    for cell, checks in dealt(part, parts):
        for what in checks:
            try:
                counts[check(cell, what)] += 1
            except Exception as error:
                counts["fault of figures" if what else "fault of symbols"] += 1
                print(f"{cell} {what}: {type(error).__name__}: {error}"[:300], flush=True)
    print(dict(counts))
    return int(any(key.startswith("fault") for key in counts))


if __name__ == "__main__":
    sys.exit(main())
