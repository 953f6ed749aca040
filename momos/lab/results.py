"""The table of a study, its summary over seeds, its figures and its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kolmo.report.figures.plots import save_figure
from kolmo.report.html import document, image, section
from momos.lab.arms import StudyConfig, StudyRun
from momos.lab.plots import accuracy_figure, bits_figure, ratio_figure
from momos.tensors import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MEASUREMENT = ["quantizer", "layout", "estimator"]
_AVERAGED = ("bits_per_weight", "ratio_to_init", "ratio_to_shuffled")


def combine(measured: Sequence[tuple[StudyRun, pd.DataFrame]]) -> pd.DataFrame:
    """One table of all runs; see `momos.lab.arms.StudyResult` for its columns."""
    tables = []
    for run, rows in measured:
        own = {
            "arm": run.arm,
            "seed": run.seed,
            "test_accuracy": run.metrics["test_accuracy"],
            "nominal_bits_per_weight": run.metrics["nominal_bits_per_weight"],
            "file_bits_per_weight": run.metrics.get("file_bits", np.nan) / run.metrics["weights"],
        }
        tables.append(rows.assign(**own))
    table = pd.concat(tables, ignore_index=True)
    table["lossless"] = [
        _is_lossless(arm, q) for arm, q in zip(table.arm, table.quantizer, strict=True)
    ]
    init = table[table.arm == "init"].set_index(["seed", *_MEASUREMENT])["bits"]
    wanted = pd.MultiIndex.from_frame(table[["seed", *_MEASUREMENT]])
    table["ratio_to_init"] = table["bits"].to_numpy() / init.reindex(wanted).to_numpy()
    table["ratio_to_shuffled"] = table["bits"] / table["null_bits"]
    sizes = ("nominal_bits_per_weight", "file_bits_per_weight")
    first = ["arm", "seed", "test_accuracy", *sizes, "lossless"]
    return table[[*first, *[column for column in table.columns if column not in first]]]


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
    tensors) and the mosaic file, plus log2 of their number, to say which one it is.
    """
    known = table[table.lossless & (table.kind == "bound") & (table.sampled == 1)].copy()
    codes = known.groupby(["arm", "seed"])["bits"].transform("size")
    codes += known["file_bits_per_weight"].notna()
    choice = np.ceil(np.log2(codes))  # bits that say which code it is
    known["method"] = known["quantizer"] + " " + known["estimator"]
    known["bound"] = (known["bits"] + choice) / known["numel"]
    smaller = known["file_bits_per_weight"] < known["bound"]
    known.loc[smaller, "method"] = "mosaic file"
    known.loc[smaller, "bound"] = known["file_bits_per_weight"] + choice / known["numel"]
    best = known.loc[known.groupby(["arm", "seed"], sort=False)["bound"].idxmin()]
    rows = []
    for arm, group in best.groupby("arm", sort=False):
        methods = dict.fromkeys(group["method"])
        row: dict[str, Any] = {"arm": arm, "best_by": ", ".join(methods)}
        for name in ("test_accuracy", "bound", "nominal_bits_per_weight"):
            row[f"{name}_mean"], row[f"{name}_sd"] = group[name].mean(), group[name].std()
        rows.append({**row, "points": group[["bound", "test_accuracy"]].to_numpy()})
    return pd.DataFrame(rows)


def write_results(
    config: StudyConfig,
    runs: Sequence[StudyRun],
    table: pd.DataFrame,
    summary: pd.DataFrame,
    out: Path,
) -> dict[str, Path]:
    """Write tables, figures and the page; their paths by name."""
    table.to_parquet(out / "results.parquet", index=False)
    table.to_csv(out / "results.csv", index=False)
    summary.to_csv(out / "summary.csv", index=False)
    drawn = dict(_figures(table, summary))
    for name, figure in drawn.items():
        save_figure(figure, out / f"{name}.png")
    write_whole(out / "index.html", _page(config, table, summary, drawn).encode())
    names = ["index.html", "results.parquet", "results.csv", "summary.csv"]
    names += [f"{name}.png" for name in drawn]
    return {name: out / name for name in names} | {"checkpoints": runs[0].checkpoint.parent}


def _figures(table: pd.DataFrame, summary: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    yield "accuracy", accuracy_figure(arms(table))
    yield "bits", bits_figure(summary)
    yield "ratio_to_init", ratio_figure(summary, "ratio_to_init", "its own initialization")
    yield "ratio_to_shuffled", ratio_figure(summary, "ratio_to_shuffled", "its own shuffle")


# --- the page ---------------------------------------------------------------------------------

_CAPTIONS = {
    "accuracy": (
        "Accuracy against size",
        "Filled: the best lossless bound measured, a code from which the tested weights come back "
        "exactly. Hollow: the nominal size, which counts what the method's formula counts. "
        "Small marks: the seeds; bars: ± one standard deviation. The initialization, at chance, "
        "is not drawn.",
    ),
    "bits": (
        "Bits per weight",
        "By quantizer. Filled marks are bounds (a decoder exists), hollow ones estimates; the "
        "same symbols are compared only within a panel.",
    ),
    "ratio_to_init": (
        "Against the model's own initialization",
        "Below 1: simpler than the random weights that training started from. This alone may "
        "come from the distribution of the weights, without any structure.",
    ),
    "ratio_to_shuffled": (
        "Against the model's own shuffle",
        "Below 1: the order of the weights is simpler than chance. Codes that count symbols read "
        "1 by construction.",
    ),
}


def _page(
    config: StudyConfig, table: pd.DataFrame, summary: pd.DataFrame, drawn: dict[str, Figure]
) -> str:
    train = config.train
    subtitle = (
        f"{train.data}, a multilayer perceptron of {train.layers} layers of {train.hidden}, "
        f"{train.epochs} epochs, seeds {', '.join(map(str, config.seeds))}; mean ± standard "
        f"deviation over the seeds"
    )
    sections = [section("Arms", _html(arm_table(table)))]
    for name, figure in drawn.items():
        title, caption = _CAPTIONS[name]
        sections.append(section(title, f"<p>{escape(caption)}</p>{image(figure)}"))
    sections.append(section("All measurements", _html(measurement_table(summary))))
    return document("Random, trained, quantized, mosaic: how simple?", subtitle, sections)


def arm_table(table: pd.DataFrame) -> pd.DataFrame:
    """The arms, every value as text."""
    rows = arms(table)
    return pd.DataFrame(
        {
            "arm": rows["arm"],
            "test accuracy": _spread(rows, "test_accuracy", ".3f"),
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


def _html(rows: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>"
        for row in rows.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
