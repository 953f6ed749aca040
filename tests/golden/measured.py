"""What has a golden, and how it is measured: through the public interface alone.

A golden is a table of text, one file in ``bits``: one for each estimator, for the nulls and for
the differences of checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kolmo
from kolmo.checkpoints.opening import open_source
from kolmo.layout import LAYOUTS
from tests.golden.sources import dtypes, large, special

FOLDER = Path(__file__).parent
DATA = FOLDER.parents[1] / "data"
CHECKPOINTS = ("random", "trained", "momos")
SOURCES = {name: DATA / f"{name}.safetensors" for name in CHECKPOINTS}
TENSORS = ("layers.0.*", "layers.4.*")  # of "trained": two vectors, a square, another matrix

QUANTIZERS = (
    *("native", "sign", "symmetric:8", "symmetric:4"),
    *("affine:8", "affine:8,clip=99.9", "codebook:16", "symmetric:8,axis=row", "nmse:0.001"),
)
FEW = ("codebook:4", "codebook:5", "codebook:6", "codebook:9")  # the alphabets of 1-D CTM tables
NULLS = (
    *("shuffled", "row-shuffled", "column-shuffled", "scaled", "signs"),
    *("gaussian", "uniform", "inits:kaiming_uniform,2"),
)

BLOCKS = (
    *("", ",ndim=2"),
    *(",boundary=recursive", ",boundary=recursive,min_length=4", ",ndim=2,boundary=recursive"),
    *(",boundary=correlated", ",boundary=correlated,shift=3", ",ndim=2,boundary=correlated"),
)
SPECS: Mapping[str, tuple[str, ...]] = {
    "bdm": (*(f"bdm{options}" for options in BLOCKS), "bdm,window=48", "bdm,ndim=2,window=8"),
    "block-entropy": tuple(f"block-entropy{options}" for options in BLOCKS),
    "brotli": ("brotli:5", "brotli"),
    "bz2": ("bz2:1", "bz2"),
    "context": ("context",),
    "predictive": ("predictive",),
    "ctm": tuple(f"ctm{options}" for options in BLOCKS),
    "entropy": ("entropy",),
    "enumerative": ("enumerative",),
    "gaussian": ("gaussian",),
    "gzip": ("gzip:1", "gzip"),
    "kt": ("kt",),
    "laplace": ("laplace",),
    "linear": ("linear",),
    "lowrank": ("lowrank",),
    "lz76": ("lz76",),
    "lz78": ("lz78",),
    "mosaic": ("mosaic", "mosaic,block=4"),
    "nml": ("nml",),
    "pack": ("pack:fast",),
    "planes": ("planes",),
    "ppmd": ("ppmd:2", "ppmd"),
    "prequential": ("prequential",),
    "qubd": ("qubd", "qubd,ndim=1", "qubd,aggregate=pooled"),
    "xz": ("xz:1", "xz"),
    "zstd": ("zstd:3", "zstd:9", "zstd", "zstd:22"),
}
"""The measurements of each estimator, but for layouts: those that have any are given each."""

COMPRESSORS = ("brotli", "bz2", "gzip", "ppmd", "xz", "zstd")
"""Estimators whose bits are a library's."""

Row = dict[str, str]


# --- what each golden holds -----------------------------------------------------------------


def measure_estimator(name: str) -> list[Row]:
    """The whole of every checkpoint, and some tensors of one, under every quantizer."""
    specs = with_layouts(SPECS[name])
    reports = [
        kolmo.compare(SOURCES, quantizers=QUANTIZERS, estimators=specs, scope="model"),
        _of_trained(QUANTIZERS, specs, scope="tensor", include=TENSORS),
    ]
    return [_row(row) for report in reports for row in _records(report)]


def with_layouts(specs: Sequence[str]) -> list[str]:
    """Each spec in every layout, where its estimator has any."""
    if not hasattr(kolmo.get_estimator(specs[0]), "layout"):
        return list(specs)
    return [f"{spec}@{layout}" for spec in specs for layout in LAYOUTS]


def _of_trained(quantizers: Sequence[str], estimators: Sequence[str], **options: Any) -> Any:
    return kolmo.analyze(
        SOURCES["trained"],
        quantizers=quantizers,
        estimators=estimators,
        name="trained",
        **options,
    )


def measure_few_symbols() -> list[Row]:
    """The estimators on blocks, with the alphabets whose CTM tables are large."""
    specs = [spec for name in ("bdm", "block-entropy", "ctm") for spec in SPECS[name]]
    return [_row(row) for row in _records(_of_trained(FEW, specs, scope="model"))]


def measure_dtypes() -> list[Row]:
    """Our own estimators on every dtype, on odd shapes, and on values that have no symbol."""
    specs = [SPECS[name][0] for name in SPECS if name not in COMPRESSORS]
    options: dict[str, Any] = {"quantizers": ("native", "symmetric:8"), "estimators": specs}
    reports = [
        kolmo.analyze(open_source(dtypes()), name="dtypes", **options),
        kolmo.analyze(special(), name="special", scope="tensor", **options),
    ]
    return [_row(row) for report in reports for row in _records(report)]


def measure_samples(name: str) -> list[Row]:
    """A compressor on windows of a larger tensor."""
    report = kolmo.analyze(
        large(),
        quantizers=["native"],
        estimators=with_layouts([f"{SPECS[name][0]},sample=131072"]),
        scope="tensor",
        name="large",
    )
    return [_row(row) for row in _records(report)]


def measure_details() -> list[Row]:
    """What our own estimators say besides, of one checkpoint."""
    specs = [spec for name in SPECS if name not in COMPRESSORS for spec in SPECS[name]]
    records = _records(_of_trained(("sign", "symmetric:8"), specs, scope="model"))
    columns = ("quantizer", "estimator", "details")
    return [{column: row[column] for column in columns} for row in records if row["details"]]


def measure_nulls(estimator: str) -> list[Row]:
    """One draw of each null, of each tensor and of the whole."""
    report = _of_trained(["symmetric:8"], [estimator], nulls=NULLS, draws=1, seed=0)
    return [
        _row(row) | {"null": row["null"], "null_bits": _number(row["null_bits"])}
        for row in _records(report)
    ]


def measure_deltas(estimators: Sequence[str] | None) -> list[Row]:
    """What one checkpoint costs beside another, and the codes that won."""
    return [
        {"base": base} | _row(row) | {"details": row["details"]}
        for base, tuned in (("random", "trained"), ("trained", "momos"))
        for row in _records(
            kolmo.delta(
                SOURCES[base],
                SOURCES[tuned],
                quantizers=("native", "symmetric:8", "sign"),
                estimators=estimators,
                scope="model",
                name=tuned,
            )
        )
    ]


MEASURES: Mapping[str, Callable[[], list[Row]]] = {
    **{name: lambda name=name: measure_estimator(name) for name in SPECS},  # type: ignore[misc]
    "few-symbols": measure_few_symbols,
    "dtypes": measure_dtypes,
    "details": measure_details,
    "sampled-gzip": lambda: measure_samples("gzip"),
    "sampled-zstd": lambda: measure_samples("zstd"),
    "nulls-kt": lambda: measure_nulls("kt"),
    "nulls-zstd": lambda: measure_nulls("zstd:9"),
    "delta-kt": lambda: measure_deltas(["kt"]),
    "delta-zstd": lambda: measure_deltas(None),
}
"""How the table of each file in ``bits`` is made."""


# --- rows as text ---------------------------------------------------------------------------


def _records(report: Any) -> Iterator[dict[str, Any]]:
    yield from report.plain.to_dict(orient="records")


def _row(row: Mapping[str, Any]) -> Row:
    """A measurement: its bits, or the reason why there are none."""
    return {
        **{column: row[column] or "" for column in ("checkpoint", "tensor", "quantizer")},
        **{column: row[column] or "" for column in ("estimator", "layout", "kind")},
        **{column: _number(row[column]) for column in ("covered", "raw_bits", "bits", "side_bits")},
        "standard_error": _number(row["standard_error"]),
        "saturated": str(row["saturated"]).lower() if row["kind"] else "",
        "reason": "" if row["kind"] else row["note"],
    }


def _number(value: float) -> str:
    """The shortest text that reads back as this very float; nothing for NaN."""
    return "" if math.isnan(value) else repr(float(value))
