"""The coverage in a sentence: how many of the weights were measured, and what was left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kolmo.report.columns import Row, grouped
from kolmo.text import printable

_SHOWN = 5  # reasons for which weights were left out
_WEIGHT = "weight"


def coverage_line(coverage: Sequence[Row], sources: Mapping[str, Any]) -> str:
    """What was measured, and what was left out, by role, the most numbers first.

    ``1,000 of 1,010 weights measured; skipped: b (excluded by 'b'; 10 weights); left out: 2,020
    optimizer, 12 buffer; 1 entry without numbers``

    Parameters
    ----------
    coverage : list of rows
    sources : mapping
        By checkpoint the facts of its source: its ``networks``, where there are several; how many
        of its ``shards`` were named, of how many, where it is a part of a model.
    """
    done = [row for row in coverage if row["measured"]]
    missed = [row for row in coverage if not row["measured"]]
    asked = {row["role"] for row in done} or {_WEIGHT}
    skipped = _WEIGHT in asked
    parts = [
        _measured(coverage, done, asked),
        *_skipped([row for row in missed if skipped and row["role"] == _WEIGHT]),
        *_left_out([row for row in missed if not skipped or row["role"] != _WEIGHT]),
        *(_networks(name, facts, len(sources)) for name, facts in sources.items()),
        *(_shards(name, facts, len(sources)) for name, facts in sources.items()),
    ]
    return "; ".join(part for part in parts if part)


def _measured(coverage: Iterable[Row], done: Iterable[Row], asked: Collection[str]) -> str:
    """The figures of each role that was asked for."""
    measured, there = _by_role(done), _by_role(coverage)
    wholes = [
        f"{measured.get(role, 0):,} of {there.get(role, 0):,} {_plural(role)}"
        for role in sorted(asked, key=lambda role: -measured.get(role, 0))
    ]
    return f"{' and '.join(wholes)} measured"


def _plural(role: str) -> str:
    return "weights" if role == _WEIGHT else role


def _skipped(missed: Sequence[Row]) -> Iterator[str]:
    """Weights that were not measured: each reason once, with the tensor, or with how many."""
    if not missed:
        return
    reasons = list(grouped(missed, "reason").items())
    shown = [
        f"{_tensors(rows)} ({reason}; {_weights(sum(row['numel'] for row in rows))})"
        for (reason,), rows in reasons[:_SHOWN]
    ]
    more = f" and for {len(reasons) - _SHOWN} more reasons" if len(reasons) > _SHOWN else ""
    yield f"skipped: {', '.join(shown)}{more}"


def _tensors(rows: Sequence[Row]) -> str:
    return str(rows[0]["tensor"]) if len(rows) == 1 else f"{len(rows):,} tensors"


def _left_out(missed: Sequence[Row]) -> Iterator[str]:
    counts = [f"{count:,} {role}" for role, count in _by_role(missed).items() if count]
    if counts:
        yield f"left out: {', '.join(counts)}"
    empty = sum(row["numel"] == 0 for row in missed)
    if empty:
        yield f"{empty:,} {'entry' if empty == 1 else 'entries'} without numbers"


def _by_role(coverage: Iterable[Row]) -> dict[str, int]:
    """Numbers by role, the most first."""
    sums = {
        str(role): sum(row["numel"] for row in rows)
        for (role,), rows in sorted(grouped(coverage, "role").items())
    }
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
