"""The coverage in a sentence: how many of the weights were measured, and what was left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from kolmo.text import printable

_SHOWN = 5  # weights that were left out, by name
_WEIGHT = "weight"


def coverage_line(coverage: pd.DataFrame, sources: Mapping[str, Any]) -> str:
    """What was measured, and what was left out, by role, the most numbers first.

    ``1,000 of 1,010 weights measured; 1 skipped: b (excluded by 'b'; 10 weights); left out: 2,020
    optimizer, 12 buffer; 1 entry without numbers``

    Parameters
    ----------
    coverage : pandas.DataFrame
    sources : mapping
        By checkpoint the facts of its source: its ``networks``, where there are several; how many
        of its ``shards`` were named, of how many, where it is a part of a model.
    """
    done = coverage["measured"].astype(bool)
    missed = coverage[~done]
    asked = set(coverage["role"][done]) or {_WEIGHT}
    wanted = missed["role"].isin(asked)
    parts = [
        _measured(coverage, done, asked),
        *_skipped(missed[wanted & (missed["role"] == _WEIGHT)]),
        *_left_out(missed[~wanted | (missed["role"] != _WEIGHT)]),
        *(_networks(name, facts, len(sources)) for name, facts in sources.items()),
        *(_shards(name, facts, len(sources)) for name, facts in sources.items()),
    ]
    return "; ".join(part for part in parts if part)


def _measured(coverage: pd.DataFrame, done: pd.Series, asked: Collection[str]) -> str:
    """The figures of each role that was asked for."""
    measured, there = _by_role(coverage[done]), _by_role(coverage)
    wholes = [
        f"{measured.get(role, 0):,} of {there.get(role, 0):,} {_plural(role)}"
        for role in sorted(asked, key=lambda role: -measured.get(role, 0))
    ]
    return f"{' and '.join(wholes)} measured"


def _plural(role: str) -> str:
    return "weights" if role == _WEIGHT else role


def _skipped(missed: pd.DataFrame) -> Iterator[str]:
    """Weights that were not measured, by name, each with its reason."""
    if missed.empty:
        return
    shown = [
        f"{r.tensor} ({r.reason}; {_weights(int(str(r.numel)))})"
        for r in missed.head(_SHOWN).itertuples()
    ]
    more = f" and {len(missed) - _SHOWN} more" if len(missed) > _SHOWN else ""
    yield f"{len(missed)} skipped: {', '.join(shown)}{more}"


def _left_out(missed: pd.DataFrame) -> Iterator[str]:
    counts = [f"{count:,} {role}" for role, count in _by_role(missed).items() if count]
    if counts:
        yield f"left out: {', '.join(counts)}"
    empty = int((missed["numel"] == 0).sum())
    if empty:
        yield f"{empty:,} {'entry' if empty == 1 else 'entries'} without numbers"


def _by_role(coverage: pd.DataFrame) -> dict[str, int]:
    """Numbers by role, the most first."""
    sums = {str(role): int(part["numel"].sum()) for role, part in coverage.groupby("role")}
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _networks(name: str, facts: Mapping[str, Any], sources: int) -> str:
    networks = facts.get("networks", ())
    if not networks:
        return ""
    where = f"{name}: " if sources > 1 else ""
    return printable(f"{where}{len(networks)} networks: {', '.join(networks)}")


def _shards(name: str, facts: Mapping[str, Any], sources: int) -> str:
    if not facts.get("shards"):
        return ""
    here, whole = facts["shards"]
    where = f"{name}: " if sources > 1 else ""
    return printable(f"{where}{here:,} of {whole:,} shards of the model")


def _weights(count: int) -> str:
    return f"{count:,} weight" + ("" if count == 1 else "s")
