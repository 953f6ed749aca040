"""Common parts of all figures: their look, their panels, how they are written.

Figures are drawn on Figure objects of their own: no pyplot, no global state, no backend chosen.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.files import write_atomically
from kolmo.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 16,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "kolmo",
}
MOST_CHECKPOINTS = 12  # most checkpoints in a figure of layers
MOST_LABELS = 120  # tensor names on one axis
_MOST_PIXELS = 30_000


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, as a context; nothing outside it changes."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the suffix says the format (.png, .svg, .pdf).

    Raises
    ------
    InputError
        For another suffix, or a path that cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path}: a figure is a .png, .svg or .pdf file")
    write_atomically(path, lambda file: _render(figure, file, path.suffix[1:]))


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG."""
    buffer = io.BytesIO()
    _render(figure, buffer, "png")
    return buffer.getvalue()


def grid(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with panels of one height in inches, made without pyplot."""
    size = (4.4 * columns + 1.6, height * rows + 0.6)
    figure = shown_figure()(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


@cache
def shown_figure() -> type[Figure]:
    """A Figure class that shows itself in a notebook, as otherwise only pyplot's figures do."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    return ShownFigure


def name_label(name: str, most: int = 44) -> str:
    """A name as a label: short, and never read as mathematics."""
    return shorten(name, most).replace("$", r"\$")


def _render(figure: Figure, file: Any, form: str) -> None:
    dpi = min(160.0, _MOST_PIXELS / max(figure.get_size_inches()))
    metadata = (
        {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
    )
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # names may be in any script; boxes will do
        figure.savefig(file, format=form, dpi=dpi, metadata=metadata)
