"""Common parts of all figures: their look, their sizes, their panels, how they are written.

Figures are drawn on Figure objects of their own: no pyplot, no global state, no backend chosen.
They go to print as they are: fonts of type 42 in a PDF, text as text in an SVG, 300 dots an inch.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kolmo.errors import InputError
from kolmo.files import Paths, check_output, marked
from kolmo.replacing import write_atomically
from kolmo.specs import unknown
from kolmo.text import natural_key, shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that are no estimator's. A page replaces them by its own, light or dark.
INK, SOFT, LINE, PALE, PAPER = "#1c2430", "#777777", "#e5e5e5", "#f1f1f1", "#ffffff"
BRIGHT, DARK = "#fefefe", "#333333"  # on coloured ground: these stay

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 16,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "kolmo",
}
WIDTHS = {"column": 3.25, "text": 6.75}
"""Widths of what journals and conferences print, in inches: one of two columns, a page's text."""

NARROW = 3.6
"""The width of figures for a telephone's screen, in inches."""

MOST_CHECKPOINTS = 12  # most checkpoints in a figure of layers
MOST_LABELS = 120  # tensor names on one axis
SUFFIXES = (".png", ".svg", ".pdf")
_MOST_PIXELS = 30_000
_LEAST = 2.4  # inches that a panel takes at least

Given: TypeAlias = "Axes | Sequence[Axes] | None"
"""Axes of the caller's to draw on."""


@contextmanager
def style(font: float = 10) -> Iterator[None]:
    """The look of all figures, as a context; nothing outside it changes.

    Parameters
    ----------
    font : float
        Size of plain text in points; labels and legends are smaller in proportion.
    """
    import matplotlib as mpl

    title = "medium" if font < 9 else "large"
    with mpl.rc_context({**_STYLE, "font.size": font, "axes.titlesize": title}):
        yield


# --- where it is drawn ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where a figure is drawn: a new figure of some size, or axes of the caller's.

    Attributes
    ----------
    ax : Axes or sequence of Axes, optional
        One for each panel.
    figsize : (float, float), optional
        Width and height in inches.
    width : {"column", "text"} or float, optional
        The width alone, in inches or by name (`WIDTHS`); the height follows from what is drawn.
    """

    ax: Given = None
    figsize: tuple[float, float] | None = None
    width: str | float | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.ax, self.figsize, self.width)) > 1:
            raise InputError("a figure takes one of ax=, figsize= and width=")
        if isinstance(self.width, str) and self.width not in WIDTHS:
            raise unknown("width", self.width, tuple(WIDTHS))
        for inches in self.figsize or (self.inches or 1.0,):
            if not 0 < inches < 1000:
                raise InputError(f"a figure cannot be {inches} inches wide or high")

    @property
    def inches(self) -> float | None:
        """The width that was asked for, if any."""
        if self.figsize is not None:
            return self.figsize[0]
        return WIDTHS[self.width] if isinstance(self.width, str) else self.width

    def style(self) -> Any:
        """The look, as a context; smaller letters where little room was asked for."""
        inches = self.inches or 8.0
        return style(8.0 if inches < 5 else 9.0 if inches < 7 else 10.0)

    def panels(self, rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
        """So many panels, each of a height in inches; fewer in a row where there is no room."""
        if self.ax is not None:
            return _given(self.ax, rows * columns)
        if self.inches is not None:
            fitting = max(1, min(columns, int(self.inches / _LEAST)))
            rows, columns = -(-rows * columns // fitting), fitting
        width = self.inches or 4.4 * columns + 1.6
        figure = new_figure(self.figsize or (width, height * rows + 0.6))
        return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))

    def stack(self, heights: Sequence[float], width: float) -> tuple[Figure, list[Axes]]:
        """Panels of these heights in inches, one under the other, that share their x axis."""
        if self.ax is not None:
            return _given(self.ax, len(heights))
        figure = new_figure(self.figsize or (self.inches or width, sum(heights) + 1.1))
        axes = figure.subplots(
            len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights)
        )
        return figure, list(np.ravel(axes))

    def legend(self, figure: Figure, handles: Sequence[Any], most: int = 99) -> None:
        """One legend for all panels: below them, or on the last of the caller's axes."""
        if self.ax is not None:
            _given(self.ax, None)[1][-1].legend(handles=handles)
        elif handles:
            columns = max(1, min(len(handles), most, int(figure.get_figwidth() / 2.6)))
            figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _given(ax: Any, panels: int | None) -> tuple[Figure, list[Axes]]:
    axes: list[Axes] = list(np.ravel(np.asarray(ax, dtype=object)))
    if panels is not None and len(axes) != panels:
        raise InputError(
            f"this figure has {panels} panels, and {len(axes)} axes were given: give as many, or "
            f"choose a quantizer or a part of the table"
        )
    figure = axes[0].get_figure(root=True) if axes else None
    if figure is None:
        raise InputError("the axes belong to no figure")
    return figure, axes


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure made without pyplot, that shows itself in a notebook."""
    figure = shown_figure()(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure


@cache
def shown_figure() -> type[Figure]:
    """A Figure class that shows itself in a notebook, as otherwise only pyplot's figures do, and
    keeps the look of all figures wherever it is saved."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def savefig(self, *args: Any, **options: Any) -> None:
            with style():
                super().savefig(*args, **options)

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            width, height = (round(96 * inches) for inches in self.get_size_inches())
            return png_bytes(self, 192), {"width": width, "height": height}

    return ShownFigure


def is_narrow(axis: Axes) -> bool:
    """Whether its figure has little room for names."""
    figure = axis.get_figure(root=True)
    return figure is not None and figure.get_figwidth() < 5


def is_leftmost(axis: Axes) -> bool:
    """Whether there is no panel at its left."""
    place = axis.get_subplotspec()
    return place is None or place.is_first_col()


# --- names ----------------------------------------------------------------------------------


def name_label(name: str, most: int = 44) -> str:
    """A name as a label: short, and never read as mathematics."""
    return shorten(name, most).replace("$", r"\$")


def named_rows(rows: pd.DataFrame) -> list[Any]:
    """The rows as tuples with the columns' names."""
    return list(rows.itertuples())


def in_natural_order(rows: pd.DataFrame, column: str = "tensor") -> pd.DataFrame:
    """The rows with layer 2 before layer 10; those of one name stay in their order."""
    return rows.sort_values(column, key=lambda names: names.map(natural_key), kind="stable")


# --- writing --------------------------------------------------------------------------------


def save_figure(
    figure: Figure, path: str | Path, *, inputs: Paths = (), overwrite: bool = False
) -> None:
    """Write a figure; the suffix says the format (.png, .svg, .pdf).

    A PNG has 300 dots an inch, a PDF's fonts are of type 42, an SVG's text is text. Another figure
    of kolmo's there is replaced, any other file only to ``overwrite`` it.

    Raises
    ------
    InputError
        For another suffix, or a path that cannot be written.
    """
    path = Path(path)
    check_figure_output(path, inputs, overwrite)
    write_atomically(path, lambda file: _render(figure, file, path.suffix[1:]))


def check_figure_output(path: Path, inputs: Paths = (), overwrite: bool = False) -> None:
    """InputError unless a figure can be written there; only another figure is replaced unasked."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: a figure is a .png, .svg or .pdf file")
    check_output(path, own=_is_figure, inputs=inputs, overwrite=overwrite)


_MAKER = {"png": "Software", "svg": "Creator", "pdf": "Creator"}
_is_figure = marked(rb"Software\0kolmo|/Creator \(kolmo\)|<dc:title>kolmo</dc:title>")


def png_bytes(figure: Figure, dpi: float = 300, **options: Any) -> bytes:
    """A figure as a PNG."""
    return _bytes(lambda file: _render(figure, file, "png", dpi, **options))


def svg_text(figure: Figure, dpi: float = 120) -> str:
    """A figure as SVG without a background; `dpi` is that of images in it."""
    return _bytes(lambda file: _render(figure, file, "svg", dpi, transparent=True)).decode()


def _bytes(render: Callable[[io.BytesIO], None]) -> bytes:
    buffer = io.BytesIO()
    render(buffer)
    return buffer.getvalue()


def _render(figure: Figure, file: Any, form: str, dpi: float = 300, **options: Any) -> None:
    dpi = min(dpi, _MOST_PIXELS / max(figure.get_size_inches()))
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
    metadata = {_MAKER[form]: "kolmo", **dates}
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # names may be in any script; boxes will do
        figure.savefig(file, format=form, dpi=dpi, metadata=metadata, **options)
