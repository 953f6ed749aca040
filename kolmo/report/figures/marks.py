"""Marks: one colour and one marker for one estimator, in every figure of every report.

A colour belongs to an estimator, or to a small family of them; within it each has markers of its
own: the first for its bare name, the others for its variants (`zstd:3@bytes`, `zstd:19@packed`).
A name that is in no table, a plugin's, takes its colour and marker from its letters, so that it too
looks the same everywhere. Quantizers differ by the style of their lines.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from kolmo.report.figures.drawing import PAPER
from kolmo.report.table import estimator_labels

if TYPE_CHECKING:
    import pandas as pd

# Okabe & Ito's palette, which colour-blind readers can distinguish, its light and dark hues moved
# so that each has a contrast of 2.5 at least against both white and a dark page.
BLUE, VERMILION, GREEN, PINK = "#1a7abf", "#d55e00", "#009e73", "#cc79a7"
SKY, OCHRE, GREY, BROWN = "#3a9bdc", "#b98800", "#7d7d7d", "#a3622c"
PURPLE, OLIVE, TEAL = "#8f62d9", "#7b8c1f", "#12908f"
PALETTE = (BLUE, VERMILION, GREEN, PINK, SKY, OCHRE, GREY, BROWN, PURPLE, OLIVE, TEAL)
MARKERS = ("o", "s", "^", "D", "v", "P", "p", "X", "h", "d", "*", "<")

_FAMILIES = {
    BLUE: ("context", "shortest", "prequential", "lowrank", "linear", "predictive"),
    VERMILION: ("zstd",),
    GREEN: ("kt", "nml", "enumerative"),
    PINK: ("bdm", "ctm", "qubd"),
    SKY: ("xz",),
    OCHRE: ("entropy", "block-entropy", "lz76", "lz78"),
    GREY: ("gaussian", "laplace"),
    BROWN: ("brotli",),
    PURPLE: ("mosaic", "planes"),
    OLIVE: ("pack", "gzip"),
    TEAL: ("bz2", "lz4", "ppmd"),
}
_LINES: dict[str, Any] = {
    "native": "-",
    "symmetric": (0, (5, 2)),
    "sign": (0, (1, 1.5)),
    "affine": (0, (5, 2, 1, 2)),
    "codebook": (0, (9, 3)),
    "nmse": (0, (3, 1, 1, 1, 1, 1)),
}
_NULLS = {
    "shuffled": GREY,
    "row-shuffled": GREEN,
    "column-shuffled": TEAL,
    "scaled": OCHRE,
    "gaussian": PURPLE,
    "signs": PINK,
}


class Mark(NamedTuple):
    """How an estimator is drawn: a colour, and a marker of matplotlib."""

    colour: str
    marker: str


def mark_of(label: str) -> Mark:
    """The colour and the marker of an estimator, by its label in a table.

    Parameters
    ----------
    label : str
        The estimator's name, with what makes it a variant, if anything: ``zstd:3@bytes``.

    Examples
    --------
    >>> mark_of("context")
    Mark(colour='#1a7abf', marker='o')
    >>> mark_of("zstd:3@bytes").colour == mark_of("zstd:19@packed").colour
    True
    """
    name, variant = _split(label)
    colour, markers = _own(name)
    return Mark(colour, markers[_place(variant, len(markers))])


def marks_of(labels: Iterable[str]) -> dict[str, Mark]:
    """The marks of the estimators in one figure, no two of them alike.

    Where two variants of one estimator would share a marker, the later one takes its next free
    one.
    """
    found: dict[str, Mark] = {}
    for label in dict.fromkeys(labels):
        colour, marker = mark_of(label)
        markers = _own(_split(label)[0])[1]
        first = markers.index(marker)
        candidates = [Mark(colour, m) for m in (*markers[first:], *markers[:first])]
        taken = set(found.values())
        found[label] = next((one for one in candidates if one not in taken), candidates[0])
    return found


def line_of(quantizer: str) -> Any:
    """The style of a quantizer's lines, as matplotlib takes it."""
    name = _split(quantizer)[0]
    return _LINES.get(name, list(_LINES.values())[_hash(name) % len(_LINES)])


def null_colour(null: str) -> str:
    """The colour of a null model, by its name in a table."""
    name = _split(null)[0]
    return _NULLS.get(name, PALETTE[_hash(name) % len(PALETTE)])


def _split(label: str) -> tuple[str, str]:
    """The name, and what follows it."""
    found = re.match(r"[^:,@]*", label)
    name = found.group() if found else ""
    return name, label[len(name) :]


def _own(name: str) -> tuple[str, tuple[str, ...]]:
    """The colour of an estimator, and its own markers among those of the colour."""
    for colour, names in _FAMILIES.items():
        if name in names:
            each = len(MARKERS) // len(names)
            first = each * names.index(name)
            return colour, _turned(PALETTE.index(colour))[first : first + each]
    return PALETTE[_hash(name) % len(PALETTE)], _turned(_hash(name))


def _turned(places: int) -> tuple[str, ...]:
    """The markers from another one on, so that estimators of two colours differ in marker too."""
    first = places % len(MARKERS)
    return (*MARKERS[first:], *MARKERS[:first])


def _place(variant: str, markers: int) -> int:
    return 1 + _hash(variant) % (markers - 1) if variant else 0


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


@dataclasses.dataclass(frozen=True)
class Series:
    """An estimator of one kind in a figure: filled if a bound, hollow if an estimate."""

    label: str
    kind: str
    look: Mark

    @property
    def colour(self) -> str:
        return self.look.colour

    @property
    def mark(self) -> dict[str, Any]:
        colour, marker = self.look
        return {
            "linestyle": "none",
            "marker": marker,
            "markersize": 6,
            "markerfacecolor": colour if self.kind == "bound" else PAPER,
            "markeredgecolor": colour,
            "markeredgewidth": 1.4,
            "label": f"{self.label} ({self.kind})",
            "zorder": 3,
        }

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(estimator_labels(rows) == self.label) & (rows["kind"] == self.kind)]


def series_of(rows: pd.DataFrame) -> list[Series]:
    """The estimators of these rows, one for each kind of figure that it gave."""
    pairs = list(dict.fromkeys(zip(estimator_labels(rows), rows["kind"], strict=True)))
    looks = marks_of(label for label, _ in pairs)
    return [Series(label, kind, looks[label]) for label, kind in pairs]
