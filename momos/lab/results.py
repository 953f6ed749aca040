"""The tables of a study, and their summary over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from momos.lab.arms import INIT, StudyRun

_MEASUREMENT = ["quantizer", "layout", "estimator"]
_AVERAGED = ("bits_per_weight", "ratio_to_init", "ratio_to_shuffled")


def combine(measured: Sequence[tuple[StudyRun, pd.DataFrame]]) -> pd.DataFrame:
    """One table of all runs; see `momos.StudyResult` for its columns."""
    tables = []
    for run, rows in measured:
        written = run.metrics.get("file_bytes", np.nan)
        own = {
            "arm": run.arm,
            "seed": run.seed,
            "test_accuracy": run.metrics["test_accuracy"],
            "nominal_bits_per_weight": run.metrics["nominal_bits_per_weight"],
            "file_bits_per_weight": 8 * written / run.metrics["weights"],
            "file_bytes": written,
        }
        tables.append(rows.assign(**own))
    table = pd.concat(tables, ignore_index=True)
    table["lossless"] = [
        _is_lossless(arm, q) for arm, q in zip(table.arm, table.quantizer, strict=True)
    ]
    sizes = ("nominal_bits_per_weight", "file_bits_per_weight", "file_bytes")
    return _first(_with_ratios(table), "arm", "seed", "test_accuracy", *sizes, "lossless")


def combine_steps(measured: Sequence[tuple[StudyRun, pd.DataFrame]]) -> pd.DataFrame:
    """One table of the checkpoints along training of all runs."""
    tables = [rows.assign(arm=run.arm, seed=run.seed) for run, rows in measured]
    table = _with_ratios(pd.concat(tables, ignore_index=True))
    return _first(table, "arm", "seed", "epoch")


def _with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """The bits over those of the initialization of the same seed, and over the own shuffles'."""
    init = table[table.arm == INIT].set_index(["seed", *_MEASUREMENT])["bits"]
    wanted = pd.MultiIndex.from_frame(table[["seed", *_MEASUREMENT]])
    return table.assign(
        ratio_to_init=table["bits"].to_numpy() / init.reindex(wanted).to_numpy(),
        ratio_to_shuffled=table["bits"] / table["null_bits"],
    )


def _first(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The table with these columns before all others."""
    return table[[*names, *[column for column in table.columns if column not in names]]]


def _is_lossless(arm: str, quantizer: str) -> bool:
    """Whether the symbols decode to the very weights whose accuracy was tested."""
    return quantizer == "native" or f"symmetric:{arm.removeprefix('qat')}" == quantizer


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, one row for each arm and measurement."""
    groups = table.groupby(["arm", *_MEASUREMENT], sort=False, dropna=False)
    summary = groups.agg(
        kind=("kind", "first"),
        seeds=("seed", "nunique"),
        **{f"{name}_mean": (name, "mean") for name in _AVERAGED},
        **{f"{name}_sd": (name, "std") for name in _AVERAGED},
        note=("note", "first"),
    )
    return summary.reset_index()


def arms(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm: test accuracy, nominal bits a weight, and the best lossless bound.

    The bound of a run is the least of the lossless bounds (which hold the scales of quantized
    tensors) and the file that was written, plus log2 of their number, to say which one it is.
    """
    known = table[table.lossless & (table.kind == "bound") & (table.sampled == 1)].copy()
    codes = known.groupby(["arm", "seed"])["bits"].transform("size")
    codes += known["file_bits_per_weight"].notna()
    choice = np.ceil(np.log2(codes))  # bits that say which code it is
    known["method"] = known["quantizer"] + " " + known["estimator"]
    known["bound"] = (known["bits"] + choice) / known["numel"]
    smaller = known["file_bits_per_weight"] < known["bound"]
    known.loc[smaller, "method"] = "file"
    known.loc[smaller, "bound"] = known["file_bits_per_weight"] + choice / known["numel"]
    best = known.loc[known.groupby(["arm", "seed"], sort=False)["bound"].idxmin()]
    rows = []
    for arm, group in best.groupby("arm", sort=False):
        methods = dict.fromkeys(group["method"])
        row: dict[str, Any] = {"arm": arm, "best_by": ", ".join(methods)}
        for name in ("test_accuracy", "bound", "nominal_bits_per_weight", "file_bytes"):
            row[f"{name}_mean"], row[f"{name}_sd"] = group[name].mean(), group[name].std()
        rows.append({**row, "points": group[["bound", "test_accuracy"]].to_numpy()})
    return pd.DataFrame(rows)


# --- tables of texts -------------------------------------------------------------------------


def arm_table(table: pd.DataFrame) -> pd.DataFrame:
    """The arms, every value as text."""
    rows = arms(table)
    return pd.DataFrame(
        {
            "arm": rows["arm"],
            "test accuracy": _spread(rows, "test_accuracy", ".3f"),
            "bytes of the file": _spread(rows, "file_bytes", ",.0f"),
            "bits per weight (bound)": _spread(rows, "bound", ".3f"),
            "bits per weight (nominal)": _spread(rows, "nominal_bits_per_weight", ".3f"),
            "compression against 32 bits": [f"{32 / bound:.2f}" for bound in rows["bound_mean"]],
            "best bound by": rows["best_by"],
        }
    )


def measurement_table(summary: pd.DataFrame) -> pd.DataFrame:
    """All measurements, every value as text."""
    return pd.DataFrame(
        {
            "arm": summary["arm"],
            "quantizer": summary["quantizer"],
            "estimator": summary["estimator"],
            "layout": summary["layout"].fillna(""),
            "kind": summary["kind"].fillna(""),
            "bits per weight": _spread(summary, "bits_per_weight", ".4f"),
            "to init": _spread(summary, "ratio_to_init", ".4f"),
            "to shuffled": _spread(summary, "ratio_to_shuffled", ".4f"),
            "note": summary["note"].fillna(""),
        }
    )


def _spread(rows: pd.DataFrame, name: str, form: str) -> list[str]:
    """``mean ± sd`` of each row; the mean of a single seed, a dash where there is none."""
    pairs = zip(rows[f"{name}_mean"], rows[f"{name}_sd"], strict=True)
    return [
        "–"
        if pd.isna(mean)
        else f"{mean:{form}}"
        if pd.isna(deviation)
        else f"{mean:{form}} ± {deviation:{form}}"
        for mean, deviation in pairs
    ]
