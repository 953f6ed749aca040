"""What a study writes: its tables, its figures and its page, which begins with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from kolmo.replacing import write_atomically
from kolmo.report.figures.plots import save_figure
from kolmo.report.html import document, framed, section
from momos.lab.arms import LEVELS, StudyConfig, StudyRun
from momos.lab.plots import (
    accuracy_figure,
    bits_figure,
    published_figure,
    published_rows,
    ratio_figure,
    story_figure,
)
from momos.lab.results import arm_table, arms, measurement_table
from momos.lab.story import story
from momos.lab.words import resolution
from momos.tensors import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAPERS = (
    'Mosaics of motifs and BDM of signs: Bakhtiarifard et al., <a href="https://arxiv.org/abs/'
    '2602.14896">arXiv 2602.14896</a>. QuBD, BDM of bit-planes: Bakhtiarifard et al., '
    '<a href="https://arxiv.org/abs/2605.15551">arXiv 2605.15551</a>.'
)


class Panel(NamedTuple):
    """A figure with its name in the folder, its heading and what it shows."""

    name: str
    title: str
    caption: str
    figure: Figure


def write_results(
    config: StudyConfig,
    runs: Sequence[StudyRun],
    table: pd.DataFrame,
    summary: pd.DataFrame,
    trajectory: pd.DataFrame,
    findings: Sequence[str],
    out: Path,
) -> dict[str, Path]:
    """Write tables, figures, sentences and the page; their paths by name."""
    for name, rows in (("results", table), ("trajectory", trajectory)):
        write_atomically(out / f"{name}.parquet", partial(rows.to_parquet, index=False))
        write_atomically(out / f"{name}.csv", partial(rows.to_csv, index=False))
    write_atomically(out / "summary.csv", partial(summary.to_csv, index=False))
    write_whole(out / "findings.txt", "".join(f"{line}\n" for line in findings).encode())
    panels = list(study_panels(config, table, summary, trajectory))
    for panel in panels:
        save_figure(panel.figure, out / f"{panel.name}.png", overwrite=True)
    page = study_page(config, table, summary, findings, panels)
    write_whole(out / "index.html", page.encode())
    names = ["index.html", "findings.txt", "summary.csv"]
    names += [f"{n}.{s}" for n in ("results", "trajectory") for s in ("parquet", "csv")]
    names += [f"{panel.name}.png" for panel in panels]
    return {name: out / name for name in names} | {"checkpoints": runs[0].checkpoint.parent}


def study_panels(
    config: StudyConfig, table: pd.DataFrame, summary: pd.DataFrame, trajectory: pd.DataFrame
) -> Iterator[Panel]:
    """The figures of a study, the answer first; those without anything to show are left out."""
    names = list(dict.fromkeys(table["arm"]))
    seen = {"trajectory": config.quantizer, "trajectory_native": "native"}
    if config.quantizer != LEVELS:
        seen["trajectory_levels"] = LEVELS
    for name, quantizer in seen.items():
        points = story(trajectory, quantizer)
        if points["epoch"].nunique() > 1:
            where = resolution(quantizer)
            figure = story_figure(points, where, names)
            yield Panel(name, f"K(w) over training, {where}", _story_caption(points), figure)
    if len(published_rows(table)):
        yield Panel("published", "The figures of the papers, with nulls", _PUBLISHED,
                    published_figure(table))  # fmt: skip
    yield Panel("accuracy", "Accuracy against size", _ACCURACY, accuracy_figure(arms(table)))
    yield Panel("bits", "Bits per weight", _BITS, bits_figure(summary))
    for name, title, reference, caption in _RATIOS:
        if summary[f"{name}_mean"].notna().any():
            yield Panel(name, title, caption, ratio_figure(summary, name, reference))


def study_page(
    config: StudyConfig,
    table: pd.DataFrame,
    summary: pd.DataFrame,
    findings: Sequence[str],
    panels: Sequence[Panel],
) -> str:
    """The page: the first figure and the sentences, what the arms are, then everything else."""
    train = config.train
    seeds = ", ".join(map(str, config.seeds))
    subtitle = f"{train.data}, {_network(config)}, {train.epochs} epochs, seeds {seeds}"
    first, *others = [_shown(panel) for panel in panels]
    sentences = "".join(f"<li>{escape(line)}</li>" for line in findings)
    sections = [first, section("What was found", f"<ul>{sentences}</ul>"), _arms(config, table)]
    sections += [*others, section("All measurements", _html(measurement_table(summary)))]
    sections.append(section("Sources", f"<p>{_PAPERS}</p>"))
    return document("Is a trained network simpler than a random one?", subtitle, sections)


def _network(config: StudyConfig) -> str:
    train = config.train
    return (
        f"a perceptron of {train.layers} layers of {train.hidden}"
        if train.model == "mlp"
        else train.model
    )


def _shown(panel: Panel) -> str:
    return section(panel.title, framed(panel.figure, caption=panel.caption))


def _arms(config: StudyConfig, table: pd.DataFrame) -> str:
    """What the arms are, and how good and how small."""
    rows = arm_table(table)
    meaning = [config.meaning(str(arm)) for arm in rows["arm"]]
    rows.insert(1, "which is", meaning)
    return section("Arms", f"<p>Mean ± standard deviation over the seeds.</p>{_html(rows)}")


def _html(rows: pd.DataFrame) -> str:
    """A table whose texts may be long."""
    wide = {"which is", "note"}
    head = "".join(f"<th>{escape(str(column))}</th>" for column in rows.columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="note">{escape(str(value))}</td>'
            if column in wide
            else f"<td>{escape(str(value))}</td>"
            for column, value in zip(rows.columns, row, strict=True)
        )
        + "</tr>"
        for row in rows.itertuples(index=False)
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="tabled"><table class="plain">{table}</table></div>'


# --- captions ---------------------------------------------------------------------------------


def _story_caption(points: pd.DataFrame) -> str:
    leads = sorted({lead for lead in points["lead"] if lead})
    bounds = sorted({*points["estimator"]})
    most = int(points["draws"].max())
    return (
        f"Bounds: a decoder exists for every figure. Left, the shortest of them "
        f"({', '.join(bounds)}) in percent of the same figure of the weights that training started "
        f"from. Right, what the order of the weights saves: the bits below the mean of the same "
        f"weights shuffled within their tensors, by the shortest bound that can see an order "
        f"({', '.join(leads) or 'none here'}), {most} shuffles at both ends; a bar is where 95 % "
        f"of the shuffles lie, and one that reaches zero may be chance. Thick: the mean over the "
        f"seeds, which are thin. A fall on the left with nothing on the right is one of the values "
        f"alone."
    )


_PUBLISHED = (
    "Bits of the trained weights over those of the initialization, as published, and in grey the "
    "same of the trained weights shuffled: where both agree, a ratio below 1 comes from the values "
    "of the weights and tells nothing about their order. BDM and QuBD are estimates (hollow), and "
    "saturate in large networks. Bars: ± one standard deviation over the seeds."
)
_ACCURACY = (
    "Filled: the best lossless bound measured, a code from which the tested weights come back "
    "exactly. Hollow: the nominal size, which counts what the method's formula counts. "
    "Small marks: the seeds; bars: ± one standard deviation. The initialization, at chance, "
    "is not drawn."
)
_BITS = (
    "By quantizer. Filled marks are bounds (a decoder exists), hollow ones estimates; the "
    "same symbols are compared only within a panel."
)
_RATIOS = (
    (
        "ratio_to_init",
        "Against the model's own initialization",
        "its own initialization",
        "Below 1: fewer bits than the random weights that training started from. This alone may "
        "come from the distribution of the weights, without any structure.",
    ),
    (
        "ratio_to_shuffled",
        "Against the model's own shuffle",
        "its own shuffle",
        "Below 1: the order of the weights is simpler than chance. Codes that count symbols read "
        "1 by construction.",
    ),
)
