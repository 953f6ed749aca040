"""The result of a study: its tables, what was found, its figure."""

from __future__ import annotations

import dataclasses
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from kolmo.checkpoints.files import plural
from kolmo.report.page.drawn import image
from momos.lab.arms import StudyConfig, StudyRun
from momos.lab.plots import story_figure
from momos.lab.story import story
from momos.lab.words import resolution

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Attributes
    ----------
    config : StudyConfig
    runs : list of StudyRun
    table : pandas.DataFrame
        kolmo's table, with ``arm``, ``seed``, ``test_accuracy``, ``nominal_bits_per_weight``,
        ``file_bits_per_weight`` and ``file_bytes`` (of the shortest file of quantized weights or a
        mosaic, everything in it), ``lossless``,
        ``ratio_to_init`` (bits over those of the initialization of the same seed) and
        ``ratio_to_shuffled`` (bits over the mean of its own shuffles).
    summary : pandas.DataFrame
        Mean and standard deviation over the seeds, for each arm and measurement.
    trajectory : pandas.DataFrame
        kolmo's table of the checkpoints along training, with ``arm``, ``seed``, ``epoch``, the
        two ratios, and ``zero_tail`` and ``peak`` (`momos.lab.weights.weight_facts`).
    findings : list of str
        What was found, in sentences.
    paths : dict of str to Path
        The files written.
    """

    config: StudyConfig
    runs: list[StudyRun]
    table: pd.DataFrame
    summary: pd.DataFrame
    trajectory: pd.DataFrame
    findings: list[str]
    paths: dict[str, Path]

    def __repr__(self) -> str:
        arms = ", ".join(dict.fromkeys(run.arm for run in self.runs))
        seeds = len({run.seed for run in self.runs})
        return f"<StudyResult: {arms}; {plural(seeds, 'seed')}, {len(self.table):,} figures>"

    def figure(self, quantizer: str | None = None) -> Figure:
        """K(w) over training, against the initialization and against the own shuffle.

        Parameters
        ----------
        quantizer : str, optional
            What the weights are seen through; that of the configuration by default, or "native".
        """
        seen = quantizer or self.config.quantizer
        return story_figure(story(self.trajectory, seen), resolution(seen), self.config.arms())

    def _repr_html_(self) -> str:
        sentences = "".join(f"<li>{escape(line)}</li>" for line in self.findings)
        return f"{image(self.figure())}<ul>{sentences}</ul>"
