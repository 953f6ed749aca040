"""The data of a calibration: three tidy tables, and a verdict on each estimator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pandas as pd

from kolmo.calibration.objects import FAMILIES
from kolmo.calibration.trials import sees


@dataclasses.dataclass(frozen=True)
class CalibrationData:
    """The measurements of each estimator on objects whose complexity is known.

    Attributes
    ----------
    table : pandas.DataFrame
        Bits beside the known bits, for each family, grade, seed and estimator. ``exact`` says that
        the known value is the entropy of the source rather than a description's length; ``ratio``
        = bits / known_bits. Of an estimator that takes bits alone the quantizer is ``sign``, and
        the known value that of the signs.
    false_positives : pandas.DataFrame
        For each estimator and null the ``rate`` at which noise is called structured at α = .05,
        ties broken at random; ``strict_rate``, where a tie is no finding; the binomial 99 % band
        and whether the rate is ``within`` it. ``exact`` says that noise and draws are exchangeable.
        Where the first rate was outside, it is that of fresh trials, as many, and ``repeated``.
    power : pandas.DataFrame
        For each estimator, family and size the ``power``: the share of objects of the typical
        grade that are told from their null at α = .05, with its 99 % interval.
    settings : dict
        Seed, numbers of trials, versions.
    """

    table: pd.DataFrame
    false_positives: pd.DataFrame
    power: pd.DataFrame
    settings: dict[str, Any]

    @cached_property
    def seen(self) -> pd.DataFrame:
        """The structure that each estimator sees: one row for each estimator and family.

        ``verdict`` is ✓ (power at the largest size .9 or more), ✗ (no more than chance explains)
        or –; ``ratio`` is bits / known bits of the typical grade, the median over seeds; ``order``
        the rank correlation of bits and known bits over the grades, the mean over seeds.
        """
        return pd.DataFrame(self._seen())

    def _seen(self) -> Iterator[dict[str, Any]]:
        for (estimator, family), rows in self.table.groupby(["label", "family"], sort=False):
            typical = rows[rows["grade"] == FAMILIES[str(family)].typical]
            first = rows.iloc[0]
            power = self.power[
                (self.power["label"] == estimator) & (self.power["family"] == family)
            ]
            largest = power[power["numel"] == power["numel"].max()].iloc[0]
            yield {
                "estimator": estimator,
                "kind": first["kind"],
                "family": family,
                "quantizer": first["quantizer"],
                "null": largest["null"],
                "numel": largest["numel"],
                "power": largest["power"],
                "verdict": sees(int(largest["rejections"]), int(largest["trials"])),
                "ratio": float(typical["ratio"].median()),
                "order": _order(rows),
            }

    def outside(self) -> pd.DataFrame:
        """The exact pairs whose false-positive rate lies outside the band."""
        pairs = self.false_positives
        return pairs[pairs["exact"] & ~pairs["within"]]


def _order(rows: pd.DataFrame) -> float:
    """Spearman's rank correlation of bits and known bits over grades, the mean over seeds.

    Bits that are all the same order nothing: 0. NaN where there is one grade.
    """
    correlations = []
    for _, group in rows.groupby("seed"):
        if len(group) < 2:
            return math.nan
        bits, known = group["bits"].rank(), group["known_bits"].rank()
        correlations.append(float(bits.corr(known)) if bits.nunique() > 1 else 0.0)
    return sum(correlations) / len(correlations)
