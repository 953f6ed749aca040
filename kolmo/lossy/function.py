"""Function bits: rows of a report on the shortest file of a network that still does the same."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kolmo.checkpoints import Checkpoint
from kolmo.errors import InputError
from kolmo.lossy.differences import learned_difference
from kolmo.lossy.evaluating import Better, Evaluate, Tolerance
from kolmo.progress import Wanted
from kolmo.report.columns import COLUMNS, FUNCTION, TableRows
from kolmo.report.report import Report

QUANTIZER = "lossy"
"""Their quantizer, at whatever distortion; the column ``nmse`` says at which."""


@dataclasses.dataclass(frozen=True)
class SameFunction:
    """When a description still does the same.

    Attributes
    ----------
    evaluate : callable
        Takes a network, gives a number: a module where one was given, else arrays by name.
    tolerance : str or float
    better : {"lower", "higher"}
    threads : int, optional
    progress : bool or callable, optional
    """

    evaluate: Evaluate
    tolerance: str | float = "1%"
    better: Better = "lower"
    threads: int | None = None
    progress: Wanted = None

    def __post_init__(self) -> None:
        Tolerance.parse(self.tolerance, self.better)
        if not callable(self.evaluate):
            raise InputError(f"evaluate is a function of the network, not {self.evaluate!r}")

    def row(self, name: str, base: Any, tuned: Any, checkpoint: Checkpoint) -> dict[str, Any]:
        """The row of a network once its base is known; None for no base."""
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="kolmo-") as folder:
            found = learned_difference(
                base, tuned, Path(folder) / "difference.kmo", evaluate=self.evaluate,
                tolerance=self.tolerance, better=self.better, threads=self.threads,
                progress=self.progress,
            )  # fmt: skip
        raw = float(sum(8 * t.dtype.itemsize * t.numel for t in checkpoint.values()))
        told = ("form", "base", "before", "step", "original", "value", "limit", "evaluations")
        details = {key: getattr(found, key) for key in told}
        details |= {"tolerance": str(self.tolerance), "better": self.better}
        return {
            "checkpoint": name,
            "scope": "model",
            "shape": f"{len(checkpoint)} tensors",
            "numel": checkpoint.numel,
            "dtype": "+".join(dict.fromkeys(tensor.form for tensor in checkpoint.values())),
            "quantizer": QUANTIZER,
            "estimator": FUNCTION,
            "kind": "bound",
            "covered": float(checkpoint.numel),
            "raw_bits": raw,
            "bits": float(found.bits),
            "side_bits": 0.0,
            "nmse": found.distortion,
            "bits_per_weight": found.bits / checkpoint.numel,
            "compression_ratio": raw / found.bits,
            "seconds": round(time.perf_counter() - begun, 6),
            "details": json.dumps(details, sort_keys=True),
        }


def with_rows(report: Report, rows: Iterable[Mapping[str, Any]]) -> Report:
    """A report with further rows, each after those of its checkpoint."""
    records = [*report.rows.records(), *rows]
    order = {name: place for place, name in enumerate(dict.fromkeys(report.rows["checkpoint"]))}
    records.sort(key=lambda row: order[row["checkpoint"]])
    table = TableRows.made_of(records, COLUMNS)
    return Report.of_rows(table, report.entries, report.provenance, report.kind)
