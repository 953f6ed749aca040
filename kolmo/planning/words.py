"""An outlook in words: a table for a terminal, and sentences."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from kolmo.planning.outlook import Outlook, PlannedRow
from kolmo.text import byte_text, printable

if TYPE_CHECKING:
    from rich.table import Table

_REASONS = 3  # of what is refused that are told for one row
_HEADINGS = ("quantizer", "estimator", "scope", "tensors", "how", "core time", "memory", "reads")
_RIGHT = ("tensors", "core time", "memory", "reads")


def plan_text(outlook: Outlook, width: int = 160) -> str:
    """The table and the sentences, plain, for a terminal of this width."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(plan_table(outlook))
    table = console.file.getvalue()  # type: ignore[attr-defined]
    lines = "\n".join(line.rstrip() for line in table.splitlines())
    return f"{lines}\n\n{sentences(outlook)}\n"


def plan_table(outlook: Outlook) -> Table:
    """One line for each measurement and scope."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading in _RIGHT else "left")
    for row in outlook.rows:
        table.add_row(*map(Text, _cells(row)))
    return table


def sentences(outlook: Outlook) -> str:
    """What the run takes as a whole, and what it leaves out."""
    return "\n".join([*_totals(outlook), *_refusals(outlook), *_unknown(outlook)])


def duration(seconds: float) -> str:
    """A time in the units that people use, to two of them at most.

    >>> duration(0.4), duration(42.4), duration(130), duration(9000), duration(200_000)
    ('< 1 s', '42 s', '2 min 10 s', '2 h 30 min', '2 d 7 h')
    """
    if seconds < 1:
        return "< 1 s"
    whole = round(seconds)
    for unit, size, smaller, part in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _cells(row: PlannedRow) -> tuple[str, ...]:
    if not row.tensors:
        return (row.quantizer, row.estimator, row.scope, "0", "refused", "–", "–", "–")
    return (
        row.quantizer,
        row.estimator,
        row.scope,
        f"{row.tensors:,}",
        _how(row),
        duration(row.seconds) + ("" if row.known else " ?"),
        byte_text(row.memory),
        byte_text(row.read),
    )


def _how(row: PlannedRow) -> str:
    """Exact or sampled, and how many tensors are refused."""
    exact = row.tensors - row.sampled if row.scope == "tensor" else not row.sampled
    counts = {"exact": exact, "sampled": row.sampled}
    used = [word for word, count in counts.items() if count]
    shown = used if len(used) < 2 else [f"{counts[word]:,} {word}" for word in used]
    refused = sum(row.refused.values())
    return ", ".join([*shown, *([f"{refused:,} refused"] if refused else [])])


def _totals(outlook: Outlook) -> list[str]:
    threads = f"{outlook.threads} threads" if outlook.threads > 1 else "1 thread"
    return [
        f"{printable(outlook.source)}: {outlook.tensors:,} tensors, {outlook.weights:,} weights.",
        f"On {threads} this takes about {duration(outlook.wall_seconds)} "
        f"({duration(outlook.cpu_seconds)} of one core), if storage keeps up with reading "
        f"{byte_text(outlook.read)}.",
        f"Memory: up to {byte_text(outlook.memory)} more than Python and its packages take.",
        *([_TESTS] if outlook.tests else []),
    ]


_TESTS = (
    "Structure is tested besides, on a sample, by as many draws as settle it: that is not counted "
    "here, and takes less than the rest as a rule."
)


def _refusals(outlook: Outlook) -> list[str]:
    lines = []
    for row in outlook.rows:
        reasons = Counter(dict(row.refused))
        for reason, count in reasons.most_common(_REASONS):
            what = f"{row.estimator} on {row.quantizer} ({row.scope})"
            lines.append(f"Not measured by {what}: {count:,} tensors, as {printable(reason)}.")
        if left := len(reasons) - _REASONS:
            lines += [f"  … and {left:,} more reasons of its kind."] if left > 0 else []
    return lines


def _unknown(outlook: Outlook) -> list[str]:
    unknown = {row.estimator for row in outlook.rows if not row.known}
    if not unknown:
        return []
    return [f"?: the speed of {', '.join(sorted(unknown))} is not known; its time is a guess."]
