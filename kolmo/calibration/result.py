"""The result of a calibration: its data with words, figure and files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kolmo.calibration.data import CalibrationData
from kolmo.calibration.figure import draw
from kolmo.calibration.loading import PARTS, read_parts
from kolmo.calibration.words import COMMAND, page, sentences
from kolmo.errors import InputError
from kolmo.files import check_output, check_readable, marked, write_text
from kolmo.replacing import write_atomically
from kolmo.report.figures.drawing import check_figure_output, save_figure
from kolmo.report.saving import DAMAGE, reason, records, schema_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class CalibrationResult(CalibrationData):
    """The result of a calibration: tables, words, figure, files.

    `CalibrationData` has the attributes: ``table``, ``false_positives``, ``power``, ``settings``,
    and ``seen``.
    """

    def summary(self) -> str:
        """The results in sentences."""
        return "\n".join(sentences(self))

    def to_json(self) -> str:
        """All tables as one JSON document."""
        parts = {name: records(getattr(self, name)) for name in ("seen", *PARTS)}
        return json.dumps({**parts, "settings": self.settings}, indent=1, allow_nan=False)

    def plot(self) -> Figure:
        """Power and ratio by estimator and family; false-positive rates in their band."""
        return draw(self)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write all rows as one .csv or .parquet (the column ``part`` says which table), as .json,
        as a page (.md, with its figure beside it as .png), or the figure (.png, .svg, .pdf).

        What another calibration wrote there is replaced, any other file only to ``overwrite`` it.

        Raises
        ------
        InputError
            For another suffix, or a path that cannot be written.
        """
        path = Path(path)
        check_calibration_output(path, overwrite)
        self._writers()[path.suffix](path)

    def _writers(self) -> dict[str, Callable[[Path], None]]:
        return {
            ".json": lambda path: write_text(path, self.to_json()),
            ".md": self._save_page,
            ".csv": lambda path: write_atomically(
                path, lambda file: self._long().to_csv(file, index=False)
            ),
            ".parquet": lambda path: write_atomically(
                path, lambda file: self._long().to_parquet(file, index=False)
            ),
            **dict.fromkeys(_FIGURES, self._save_figure),
        }

    def _save_page(self, path: Path) -> None:
        figure = path.with_suffix(".png")
        self._save_figure(figure)
        write_text(path, page(self, figure.name))

    def _save_figure(self, path: Path) -> None:
        save_figure(self.plot(), path, overwrite=True)  # which was checked before

    def _long(self) -> pd.DataFrame:
        """All tables under each other, then a row with the settings as JSON."""
        parts = [getattr(self, name).assign(part=name) for name in PARTS]
        settings = pd.DataFrame([{"part": "settings", "settings": json.dumps(self.settings)}])
        whole: pd.DataFrame = pd.concat(
            [*(part.astype(object) for part in parts), settings], ignore_index=True
        )
        whole.insert(0, "part", whole.pop("part"))
        return whole.infer_objects()


_FIGURES = (".png", ".svg", ".pdf")


def check_calibration_output(path: Path, overwrite: bool = False) -> None:
    """InputError unless a calibration can be written there; only another is replaced unasked."""
    if path.suffix in _FIGURES:
        check_figure_output(path, overwrite=overwrite)
        return
    check_output(path, (*_OWN, *_FIGURES), own=_is_calibration, overwrite=overwrite)
    if path.suffix == ".md":
        check_figure_output(path.with_suffix(".png"), overwrite=overwrite)


def _is_table(path: Path) -> bool:
    schema = schema_of(path)
    return schema is not None and {"part", "strict_rejections"} <= set(schema.names)


_OWN = {
    ".csv": marked(rb"\Apart,[^\n]*,strict_rejections\b"),
    ".parquet": _is_table,
    ".json": marked(rb'\A\{\s*"seen": \[(\s*\{\s*"estimator": |\],)'),
    ".md": marked(f"\nMade by `{COMMAND}` ".encode()),
}


def _is_calibration(path: Path) -> bool:
    return _OWN[path.suffix](path)


def load_calibration(path: str | os.PathLike[str]) -> CalibrationResult:
    """Read what `CalibrationResult.save` wrote as .csv or .parquet.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: a calibration is read from .csv or .parquet")
    check_readable(path)
    try:
        return CalibrationResult(**read_parts(path))
    except (*DAMAGE, RecursionError) as error:
        raise InputError(f"{path}: not a calibration, or damaged ({reason(error)})") from None
