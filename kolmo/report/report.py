"""Report: the table of a run with its coverage and provenance; save it, load it, read it."""

from __future__ import annotations

import dataclasses
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kolmo.errors import InputError
from kolmo.files import write_text
from kolmo.markup import Lines
from kolmo.report.coverage import coverage_line
from kolmo.report.data import ReportData
from kolmo.report.page.frame import check_page_output
from kolmo.report.saving import files_of, read_report, save_report, to_json
from kolmo.report.tidy import tidy
from kolmo.report.words import one_line, summarize

if TYPE_CHECKING:
    import pandas as pd

    from kolmo.report.figures.plots import Plots
    from kolmo.report.interactive import Interactive


@dataclasses.dataclass(frozen=True, repr=False)
class Report(ReportData):
    """What a run measured: it prints as its summary, and is one line in a list.

    Columns of words are categories in the order of their first appearance, counts that may be
    missing are Int64, here and in all tables that its methods make.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each measurement (and null, where any was asked for). ``bits`` is the code
        length, ``bits_per_weight`` = bits / numel, ``compression_ratio`` = raw_bits / bits;
        ``kind`` is bound or estimate; ``sampled`` the share of the weights that was measured;
        a missing value has its reason in ``note``; ``details`` is JSON.
    coverage : pandas.DataFrame
        Every tensor and other entry of the sources: its role, whether it was measured, and if
        not, why.
    provenance : dict
        Versions, settings, sources with their files and a digest of their weights, problems;
        whether the run finished.
    """

    @cached_property
    def plot(self) -> Plots:
        """Figures: ``report.plot.layers()``, ``report.plot.compare()``."""
        from kolmo.report.figures.plots import Plots

        return Plots(self)

    @cached_property
    def interactive(self) -> Interactive:
        """Figures to explore, by plotly: ``report.interactive.layers()`` (extra interactive)."""
        from kolmo.report.interactive import Interactive

        return Interactive(self)

    def summary(self) -> str:
        """The results in sentences, with their figures; a text, whose lines show as lines."""
        return Lines(summarize(self))

    def __str__(self) -> str:
        return summarize(self)

    def __repr__(self) -> str:
        return one_line(self)

    def attribution(self) -> pd.DataFrame:
        """Where each object's raw bits go: residual + structure + marginal = raw bits.

        In bits and per weight:

        - ``residual``: the shortest bound of the weights, by ``estimator``;
        - ``structure``: the bits saved by their places: the shortest bound of their shuffles, by
          ``null_estimator``, the mean over draws, whose standard deviation is ``structure_sd``,
          less the residual; missing where every bound costs the same in every draw;
        - ``marginal``: the bits saved by their values alone, raw − shuffled.

        A part is negative if the codes take more bits than without it, such as the marginal of a
        tiny tensor. ``p`` is copied from the table, not corrected for choosing the shortest bound;
        `significance` is. ``effective_bits`` is the number of bit-planes that differ from noise
        if the estimator ``planes`` was run (their mean over the weights if dtypes differ).
        ``note`` says why a value is missing.

        Raises
        ------
        InputError
            If the report has no null ``shuffled``.
        """
        from kolmo.report.attribution import attribution

        return tidy(attribution(self.plain))

    def bitplanes(self) -> pd.DataFrame:
        """The code length of every bit-plane, the most significant first, measured by ``planes``.

        ``saved`` is the share of the plane's bits that its code saves; ``p`` the exact p-value of
        fair coin flips saving as much, ``p_holm`` the same after Holm's correction over the planes
        of the object, ``differs`` whether ``p_holm`` is at most .05.

        Raises
        ------
        InputError
            If the estimator ``planes`` was not measured.
        """
        from kolmo.report.attribution import bitplanes

        return tidy(bitplanes(self.plain))

    @property
    def verdicts(self) -> pd.DataFrame:
        """What the figures carry: a row for each test, and for each step of a decomposition.

        ``question`` is what saves the bits, ``share`` the bits saved as a share of the null's (of
        those that normal weights take, in rows of the ledger), ``spread`` what chance alone makes
        of it in 95 % of cases, ``verdict`` *structure*, *none*, *measured* (no test) or
        *undecided*, ``sentence`` the verdict in words. `kolmo.report.verdict.Verdict` says more.
        """
        import dataclasses

        import pandas as pd

        from kolmo.report.verdict import VERDICTS
        from kolmo.report.verdicts import find_verdicts

        return tidy(pd.DataFrame(map(dataclasses.asdict, find_verdicts(self)), columns=VERDICTS))

    def verdict_lines(self) -> list[str]:
        """The verdicts in sentences, and where there are none, what to run."""
        from kolmo.report.verdicts import verdict_lines

        return verdict_lines(self)

    def decomposition(self, tensors: bool = False) -> pd.DataFrame:
        """Bits at every step of the chain of nulls, of each checkpoint or of its tensors.

        The steps ``raw``, ``gaussian``, ``shuffled``, ``row-shuffled``, ``scaled`` and ``actual``
        keep more and more of the weights (`kolmo.structure.chain`), so that the differences are
        what each property saves, and add up. They are of a sample, where the checkpoint is large.

        Raises
        ------
        InputError
            If the run made no test of structure.
        """
        from kolmo.report.chains import decomposition

        return tidy(decomposition(self.rows, tensors))

    def at_distortion(self) -> pd.DataFrame:
        """The shortest bound of each checkpoint at each distortion, a column ``bits_per_weight``.

        A description whose error is no larger than asked for will do: the weights as they are
        (``native``, error 0) count at every distortion. Quantizers with a fixed number of levels
        do not, for their error differs from checkpoint to checkpoint.

        Raises
        ------
        InputError
            If nothing was measured under a quantizer of a set distortion (``nmse:D``).
        """
        import pandas as pd

        from kolmo.report.distortion import DISTORTION, at_distortion
        from kolmo.spoken import option

        rows = at_distortion(self.rows)
        if not rows:
            asked = option("quantizers", "nmse:0.001")
            raise InputError(f"no distortion was set: measure with {asked}")
        return tidy(pd.DataFrame(rows, columns=DISTORTION))

    def significance(
        self, null: str = "shuffled", scope: str = "model", alpha: float = 0.05
    ) -> pd.DataFrame:
        """The tests of every object against a null, and Holm's correction over them.

        Each object is tested by one estimator, its ``lead``: the bound whose figures, the actual
        one and those of the draws alike, reach lowest, so that ``p`` stays valid (an estimate leads
        if no bound is evidence). An estimator with the same figure in every draw, and a saturated
        BDM, never lead; ``evidence`` says so. ``tests`` is the number of leads of the checkpoint
        and quantizer in the scope, over which ``p_holm`` is corrected; tests are two-sided.

        Parameters
        ----------
        null : str
            As the table spells it. The p-values of shuffles are exact, those of ``gaussian``
            approximate (`kolmo.nulls`).
        scope : {"model", "tensor"}
        alpha : float
            Level: the chance of any false ``significant`` in a family is at most this.

        Raises
        ------
        InputError
            If there are too few draws to reach alpha; the message says how many it takes.
        """
        from kolmo.report.significance import significance

        return tidy(significance(self.plain, null, scope, alpha))

    def agreement(self, over: str = "tensors") -> pd.DataFrame:
        """Rank correlation (Spearman 1904) of the bits per weight of each pair of measurements.

        Parameters
        ----------
        over : {"tensors", "models"}
            Objects to rank: the tensors of each checkpoint, or all checkpoints. A correlation of
            fewer than three objects, or of a constant, is missing; ``note`` says why. ``objects``
            counts them: of fewer than six, ``few`` is true, and no conclusion should be drawn.
        """
        from kolmo.report.agreement import agreement

        return tidy(agreement(self.plain, over))

    def layers(self, quantizer: str | None = None) -> pd.DataFrame:
        """One row for each tensor, in natural order: its kind, its best bound, its test, its share.

        ``kind`` (q, k, v, o, qkv, mlp, norm, embedding, head, conv, recurrent, bias, other) and
        ``depth``, the number of its layer, are read from names. ``bits_per_weight`` is that of the
        shortest bound. ``of_null`` is bits / null bits, ``arrangement`` = 1 − of_null, ``spread``
        the draws' standard deviation as a share of their mean: of the test against ``scaled``,
        ``row-shuffled`` or ``shuffled``, the first that was drawn, by the estimator that leads
        (`significance`). ``verdict`` is ``structure`` (p ≤ .05), ``none``, ``undecided`` (too few
        draws) or ``no test``; ``reason`` says why of the last two. ``structure_bits`` are those
        that the places of the weights save against shuffles, 0 where the test found none, and
        ``share`` their part of the checkpoint's. P-values are not corrected for the number of
        tensors. ``line`` is a sentence.

        Parameters
        ----------
        quantizer : str, optional
            Of which symbols the bounds are: ``native`` by default, if it was measured.

        Raises
        ------
        InputError
            If no tensor was measured alone.
        """
        from kolmo.report.layers import layers

        return tidy(layers(self.plain, quantizer))

    def layer_groups(self, by: str = "kind", quantizer: str | None = None) -> pd.DataFrame:
        """Sums of `layers` over the tensors of each kind of module, or of each depth.

        Bits a weight and ``arrangement`` are means over weights, the latter over those of the
        ``tested`` tensors; ``structure_bits`` and ``share`` are sums.

        Parameters
        ----------
        by : {"kind", "depth"}
        quantizer : str, optional

        Raises
        ------
        InputError
            As `layers`; and if there is no such way to group.
        """
        from kolmo.report.layers import layer_groups

        return tidy(layer_groups(self.plain, by, quantizer))

    @property
    def ledger(self) -> pd.DataFrame:
        """Facts of every tensor that explain its figures before any structure does.

        One row for each tensor: its sizes, zeros, precision, exponents and distinct values, the
        rule that makes it, the tensor that it is a copy or an average of, and the spectrum of a
        matrix (`kolmo.report.ledger.LEDGER` lists the columns). None of them is an estimate of
        complexity; a fact that has no meaning for a tensor, or was not looked for, is missing.

        Raises
        ------
        InputError
            If the report was made without a ledger.
        """
        from kolmo.report.ledger import ledger

        return tidy(ledger(self.provenance))

    def ledger_lines(self) -> list[str]:
        """The ledger in sentences, each kind of fact once, with the tensors that it holds of.

        Empty if the report was made without a ledger.
        """
        from kolmo.report.ledger import ledger_lines

        return ledger_lines(self.provenance)

    def coverage_line(self) -> str:
        """How many of the weights were measured, which were not and why, and what else there is."""
        return coverage_line(self.entries.records(), self.sources)

    def to_json(self) -> str:
        """The whole report as one JSON document."""
        return to_json(self)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the report as .parquet, .csv or .json; `load_report` reads it back.

        A CSV holds the table alone; coverage and provenance go to ``<path>.meta.json`` beside it.
        Another report there is replaced, any other file only to ``overwrite`` it.

        Raises
        ------
        InputError
            For another suffix, a path that cannot be written, or one of the files measured.
        """
        save_report(self, path, overwrite)

    def to_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a page in a single file: summary, figures, table, coverage, provenance.

        Another page of kolmo's there is replaced, any other file only to ``overwrite`` it.
        """
        from kolmo.report.html import page

        path = Path(path)
        check_page_output(path, files_of(self.provenance), overwrite)
        write_text(path, page(self))

    def _repr_html_(self) -> str:
        from kolmo.report.html import fragment

        return fragment(self)

    @classmethod
    def of(cls, data: ReportData) -> Report:
        """The report with these data."""
        return cls.of_rows(data.rows, data.entries, data.provenance, data.kind)


def load_report(path: str | os.PathLike[str]) -> Report:
    """Read a report that `Report.save` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or no report.
    """
    return Report.of(read_report(path))
