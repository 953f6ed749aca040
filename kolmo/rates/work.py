"""Kinds of work, the shipped table of what each costs where it was measured, and prices.

The table is ``shipped.json``, written by ``python -m tests.benchmarks.rates``. A kind that is not
in it has the rate of the most similar one that is, and a plugin's a cautious one; ``Price.basis``
says which.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from kolmo import specs
from kolmo.dtypes import DTYPES
from kolmo.estimators.base import Estimator, get_estimator
from kolmo.estimators.sampled import Sampled
from kolmo.nulls import Null
from kolmo.quantize import Quantizer, get_quantizer
from kolmo.rates.curves import CostCurve
from kolmo.symbols import Alphabet

Basis = Literal["measured", "similar", "unknown"]

_BASES: tuple[Basis, ...] = ("measured", "similar", "unknown")  # the best first

WorkName = Literal["estimating", "coding", "drawing", "reading", "hashing"]

UNKNOWN = CostCurve(((0, 1e-3), (1_000_000, 1.001)))
"""Of what nobody measured, a plugin say: a millisecond, and a microsecond a weight."""


@dataclasses.dataclass(frozen=True)
class WorkKind:
    """A kind of work that the table has a rate of.

    Attributes
    ----------
    kind : str
        ``estimating``, ``coding`` (weights to symbols), ``drawing`` (a null), ``reading``,
        ``hashing``.
    spec : str
        The estimator, quantizer or null, as its spec.
    form : str
        Bits of a symbol or weight and, of floats, an ``f``: ``16f``, ``8``.
    """

    kind: WorkName
    spec: str = ""
    form: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.spec, self.form)))


@dataclasses.dataclass(frozen=True)
class Rate:
    """What a kind of work costs, in seconds of one core, and how that is known.

    Attributes
    ----------
    curve : CostCurve
    basis : {"measured", "similar", "unknown"}
        Measured as it is; taken from the most similar one that was; or a cautious guess.
    """

    curve: CostCurve
    basis: Basis


@dataclasses.dataclass(frozen=True)
class Price:
    """What some work takes on the machine where the table was measured.

    Attributes
    ----------
    key : str
        By which runs learn what such work takes here.
    seconds : float
        Of one core.
    basis : {"measured", "similar", "unknown"}
        How that is known: measured as it is, taken from the most similar one that was, or guessed.
    """

    key: str
    seconds: float
    basis: Basis

    @property
    def known(self) -> bool:
        return self.basis != "unknown"


def measuring(
    estimator: str | Estimator,
    quantizer: str | Quantizer,
    dtype: np.dtype[Any] | str,
    numel: int,
    sharing: int = 1,
) -> Price:
    """A measurement of weights: symbols made of them, and an estimator fed.

    ``dtype`` is that of the weights, its name, or the form of a quantized tensor. ``sharing`` is
    how many measurements take the same symbols, which are made once.

    >>> measuring("kt", "native", "bfloat16", 0).key, measuring("kt", "sign", "4-bit GPTQ", 0).key
    ('kt native 16f', 'kt sign 4')
    """
    made = shipped_rate(coding(quantizer, dtype))
    coded, taken = _coded(estimator, numel)
    fed = shipped_rate(estimating(coded, quantizer, dtype))
    seconds = made.curve.seconds(numel) / sharing + fed.curve.seconds(taken)
    basis = max(made.basis, fed.basis, key=_BASES.index)
    return Price(f"{estimator} {quantizer} {weight_form(dtype)}", seconds, basis)


def _coded(estimator: str | Estimator, numel: int) -> tuple[Estimator, int]:
    """The code that takes symbols, and how many of them: of a sample those of its windows."""
    made = get_estimator(estimator)
    if not isinstance(made, Sampled):
        return made, numel
    return made.inner, numel if made.is_whole(numel) else made.coded


def drawing(null: str | Null, dtype: np.dtype[Any] | str, numel: int) -> Price:
    """One draw of a null."""
    name = null.name if isinstance(null, Null) else null.partition(":")[0]
    return _price(WorkKind("drawing", name, weight_form(dtype)), numel)


def reading(size: int) -> Price:
    """Reading so many bytes from memory that the system keeps of a file."""
    return _price(WorkKind("reading"), size)


def hashing(size: int) -> Price:
    """Hashing so many bytes."""
    return _price(WorkKind("hashing"), size)


def _price(work: WorkKind, size: int) -> Price:
    rate = shipped_rate(work)
    return Price(str(work), rate.curve.seconds(size), rate.basis)


# --- kinds of work ------------------------------------------------------------------------------


@functools.lru_cache(1 << 12)
def estimating(
    estimator: str | Estimator, quantizer: str | Quantizer, dtype: np.dtype[Any] | str
) -> WorkKind:
    """An estimator on the symbols that a quantizer makes of weights.

    >>> str(estimating("kt", "native", "bfloat16")), str(estimating("kt", "native", "4-bit GPTQ"))
    ('estimating kt 16f', 'estimating kt 4')
    """
    return estimating_symbols(get_estimator(estimator), _alphabet(get_quantizer(quantizer), dtype))


def estimating_symbols(estimator: Estimator, alphabet: Alphabet) -> WorkKind:
    """An estimator on symbols of an alphabet."""
    return WorkKind("estimating", str(estimator), _form(alphabet))


@functools.lru_cache(1 << 12)
def coding(quantizer: str | Quantizer, dtype: np.dtype[Any] | str) -> WorkKind:
    """Fitting a quantizer to weights, and making symbols of them.

    >>> str(coding("symmetric:8", np.dtype(np.float32)))
    'coding symmetric:8 32f'
    """
    return WorkKind("coding", str(get_quantizer(quantizer)), weight_form(dtype))


@functools.lru_cache(1 << 12)
def weight_form(dtype: np.dtype[Any] | str) -> str:
    """The form of weights, ``16f`` say; of a quantized tensor that of its codes."""
    return _form(_alphabet(get_quantizer("native"), dtype))


def _form(alphabet: Alphabet) -> str:
    return f"{alphabet.bits}{'f' * bool(alphabet.format)}"


def _alphabet(quantizer: Quantizer, dtype: np.dtype[Any] | str) -> Alphabet:
    """That of the symbols of weights of a dtype; of a quantized tensor ``native`` takes the codes,
    all else the weights that they stand for."""
    if isinstance(dtype, str) and (codes := re.match(r"(\d+)-bit ", dtype)):
        own = quantizer == get_quantizer("native")
        return Alphabet(1 << int(codes[1])) if own else quantizer.alphabet(DTYPES["float32"])
    return quantizer.alphabet(DTYPES[dtype] if isinstance(dtype, str) else dtype)


# --- the shipped table --------------------------------------------------------------------------


@functools.cache
def shipped() -> Mapping[str, Any]:
    """The shipped table: ``workload`` seconds, and curves by kind, spec and form."""
    text = files("kolmo.rates").joinpath("shipped.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


@functools.cache
def shipped_rate(work: WorkKind) -> Rate:
    """What the table says of a kind of work."""
    by_spec: Mapping[str, Any] = shipped().get(work.kind, {})
    spec = work.spec if work.spec in by_spec else _most_similar(work.spec, by_spec)
    if spec is None:
        return Rate(UNKNOWN, "unknown")
    form = min(by_spec[spec], key=lambda other: _form_distance(work.form, other))
    same = (spec, form) == (work.spec, work.form)
    curve = CostCurve.of(by_spec[spec][form]).scaled(_width(work.form) / _width(form))
    return Rate(_cut(curve, work.spec, spec), "measured" if same else "similar")


def _most_similar(spec: str, known: Mapping[str, Any]) -> str | None:
    """The spec of the same name whose level, options and layout are nearest."""
    name, value, options = _parsed(spec)

    def distance(other: str) -> tuple[float, int]:
        _, level, others = _parsed(other)
        differing = {*options.items()} ^ {*others.items()}
        return abs(_number(value) - _number(level)), len(differing)

    same_name = [other for other in known if _parsed(other)[0] == name]
    return min(same_name, key=distance, default=None)


@functools.cache
def _parsed(spec: str) -> tuple[str, str | None, dict[str, str]]:
    """The parts of a spec; a name that is none, such as a null's path, is its own."""
    return specs.parse(spec) if spec else ("", None, {})


def _number(value: str | None) -> float:
    return float(value) if value and value.isdigit() else 0.0


def _cut(curve: CostCurve, wanted: str, found: str) -> CostCurve:
    """The curve as it is of whole objects; of a sample, flat from the sample's size on."""
    sample = _parsed(wanted)[2].get("sample")
    if sample is None:
        return curve
    size, seconds = curve.points[-1]
    if "sample" not in _parsed(found)[2]:
        size, seconds = int(sample), curve.seconds(int(sample))
    below = [point for point in curve.points if point[0] < size]
    return CostCurve((*below, (size, seconds), (2 * size, seconds)))


def _form_distance(form: str, other: str) -> tuple[float, bool]:
    return abs(math.log2(_bits(form) / _bits(other))), form.endswith("f") != other.endswith("f")


def _width(form: str) -> int:
    """Bytes of a symbol in memory."""
    return -(-_bits(form) // 8)


def _bits(form: str) -> int:
    return int(form.removesuffix("f") or 8)
