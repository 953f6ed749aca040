"""calibrate: the experiments cut into pieces, run here or in processes, put together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from kolmo.calibration.base import Shape
from kolmo.calibration.journal import Journal
from kolmo.calibration.objects import FAMILIES
from kolmo.calibration.probes import all_estimators
from kolmo.calibration.result import CalibrationResult
from kolmo.calibration.trials import (
    NOISES,
    FalsePositives,
    KnownValues,
    Outcome,
    Piece,
    Power,
    Row,
    false_positive_row,
    known_row,
    power_row,
    run_piece,
    usual_nulls,
)
from kolmo.errors import InputError, KolmoError
from kolmo.estimators import get_estimator
from kolmo.execution import Progress
from kolmo.progress import Wanted, progress_bar
from kolmo.provenance import versions
from kolmo.specs import several, unknown
from kolmo.workers import process_pool

_COUNTS = ("trials", "rejections", "strict_rejections")


@dataclasses.dataclass(frozen=True)
class Effort:
    """The amount of work of a calibration.

    Attributes
    ----------
    trials : int
        Noise objects for every pair of estimator and null.
    power_trials : int
        Objects for every estimator, family and shape.
    shapes : tuple of shapes
        Shapes at which power is measured, from small to large.
    known_shape : shape
        Shape of the objects that are compared with their known value.
    seeds : int
        Objects of each grade.
    """

    trials: int
    power_trials: int
    shapes: tuple[Shape, ...]
    known_shape: Shape
    seeds: int


EFFORTS = {
    "full": Effort(1000, 50, ((16, 16), (32, 32), (64, 64)), (128, 128), 3),
    "quick": Effort(40, 8, ((32, 32),), (64, 64), 1),
}


def calibrate(
    estimators: str | Sequence[str] | None = None,
    *,
    nulls: str | Sequence[str] | None = None,
    families: str | Sequence[str] | None = None,
    effort: str | Effort = "full",
    seed: int = 0,
    workers: int = 1,
    journal: str | os.PathLike[str] | None = None,
    progress: Wanted = None,
) -> CalibrationResult:
    """Measure the estimators themselves, on objects of known complexity.

    Parameters
    ----------
    estimators : spec or list of specs, optional
        All that are registered by default, each with the quantizer natural for it.
    nulls : spec or list of specs, optional
        Nulls whose false positives are counted; all random ones by default.
    families : str or list of str, optional
        Names from `kolmo.calibration.FAMILIES`; all by default.
    effort : {"full", "quick"} or Effort
        Minutes on two cores with 1,000 trials of every pair, or some seconds.
    seed : int
        The same seed gives the same result, for any number of workers.
    workers : int
        Processes. More than one needs a program that may be imported anew (``if __name__ ==
        "__main__"``), as the command line is.
    journal : path, optional
        A file to which every finished piece of work is written at once. If it exists, pieces of
        the same work in it are not repeated; it is removed at the end.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(done, total, label)``, called now and then from this thread.

    Returns
    -------
    CalibrationResult
        An estimator that fails is left out, and its error is in ``settings["failed"]``.

    Raises
    ------
    InputError
        If an option does not fit.
    KolmoError
        If every estimator fails.

    Examples
    --------
    >>> import kolmo
    >>> few = kolmo.calibration.Effort(20, 5, ((16, 16),), (32, 32), 1)
    >>> result = kolmo.calibrate(["kt"], nulls=["shuffled"], families=["coin"], effort=few)
    >>> result.seen.loc[0, "verdict"]
    '✓'
    """
    specs = tuple(_checked(estimators, all_estimators(), "estimators"))
    for spec in specs:
        get_estimator(spec)
    chosen = _known("null", nulls, usual_nulls(), NOISES)
    named = _known("family", families, FAMILIES, FAMILIES)
    if isinstance(effort, str) and effort not in EFFORTS:
        raise unknown("effort", effort, EFFORTS)
    if workers < 1 or seed < 0:
        raise InputError("workers is at least 1, and seed at least 0")
    amount = EFFORTS[effort] if isinstance(effort, str) else effort
    pieces = [*_pieces(specs, chosen, named, amount, seed)]
    with Journal(Path(journal) if journal else None) as kept, progress_bar(progress) as report:
        rows, failed = _run(pieces, workers, kept, report)
        again, failed_again = _run([*_repeats(rows, amount, seed)], workers, kept, report)
        rows[FalsePositives.part] += again[FalsePositives.part]
        failed |= failed_again
        if not failed:
            kept.remove()
    settings = {"seed": seed, **dataclasses.asdict(amount), "versions": versions()}
    return _result(rows, failed, settings)


def _result(
    rows: dict[str, list[Row]], failed: dict[str, str], settings: dict[str, Any]
) -> CalibrationResult:
    whole = {
        part: _gather(row for row in found if row["label"] not in failed)
        for part, found in rows.items()
    }
    if not whole[KnownValues.part]:
        why = "; ".join(f"{spec}: {error}" for spec, error in failed.items())
        raise KolmoError(f"nothing could be calibrated ({why or 'no estimator applies'})")
    return CalibrationResult(
        table=pd.DataFrame(map(known_row, whole[KnownValues.part])),
        false_positives=pd.DataFrame(_latest(whole[FalsePositives.part])),
        power=pd.DataFrame(map(power_row, whole[Power.part])),
        settings={**settings, **({"failed": failed} if failed else {})},
    )


def _checked(given: str | Sequence[str] | None, usual: Iterable[str], what: str) -> list[str]:
    names = list(dict.fromkeys(several(usual if given is None else given)))
    if not names:
        raise InputError(f"there is nothing to calibrate: {what} is empty")
    return names


def _known(
    what: str, given: str | Sequence[str] | None, usual: Iterable[str], known: Iterable[str]
) -> list[str]:
    names = _checked(given, usual, f"the list of each {what}")
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
    return names


def _pieces(
    specs: tuple[str, ...], nulls: Sequence[str], families: Sequence[str], effort: Effort, seed: int
) -> Iterator[Piece]:
    """All work, in stretches of some seconds at most."""
    for family in families:
        yield KnownValues(specs, seed, 0, effort.seeds, family, effort.known_shape)
    for null in nulls:
        for first, last in _stretches(effort.trials, 50):
            yield FalsePositives(specs, seed, first, last, null)
    for family in families:
        for shape in effort.shapes:
            for first, last in _stretches(effort.power_trials, 10):
                yield Power(specs, seed, first, last, family, shape)


def _repeats(rows: dict[str, list[Row]], effort: Effort, seed: int) -> Iterator[Piece]:
    """Fresh trials of every pair outside the band: of a hundred pairs one is there by chance."""
    for row in map(false_positive_row, _gather(rows[FalsePositives.part])):
        if row["exact"] and not row["within"]:
            for first, last in _stretches(effort.trials, 50):
                fresh = (effort.trials + first, effort.trials + last)
                yield FalsePositives((row["label"],), seed, *fresh, row["null"], repeated=True)


def _latest(rows: Iterable[Row]) -> list[Row]:
    """The rates of all pairs; for a pair that was tried again, the fresh rate."""
    latest = {(row["label"], row["null"]): false_positive_row(row) for row in rows}
    return list(latest.values())


def _stretches(whole: int, most: int) -> Iterator[tuple[int, int]]:
    for first in range(0, whole, most):
        yield first, min(first + most, whole)


def _run(
    pieces: Sequence[Piece], workers: int, journal: Journal, progress: Progress
) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Rows of each part, in the order of the pieces, and the error of each failed estimator."""
    done = {piece: rows for piece in pieces if (rows := journal.find(piece)) is not None}
    failed: dict[str, str] = {}
    for piece, rows, failures in _outcomes([p for p in pieces if p not in done], workers):
        if not failures:
            journal.keep(piece, rows)
        done[piece] = rows
        failed |= failures
        progress(len(done), len(pieces), piece.part)
    rows_of: dict[str, list[Row]] = {cls.part: [] for cls in (KnownValues, FalsePositives, Power)}
    for piece in pieces:
        rows_of[piece.part] += done[piece]
    return rows_of, failed


def _outcomes(pieces: Sequence[Piece], workers: int) -> Iterator[tuple[Piece, *Outcome]]:
    """Every piece with its outcome, as soon as it is done."""
    if workers == 1:
        for piece in pieces:
            yield piece, *run_piece(piece)
        return
    with _one_blas_thread(), process_pool(workers) as pool:
        waiting = {pool.submit(run_piece, piece): piece for piece in pieces}
        for future in as_completed(waiting):
            yield waiting[future], *future.result()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Of each process that is started inside: on small matrices more are slower."""
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _gather(rows: Iterable[Row]) -> list[Row]:
    """Counts of rows that are otherwise the same, added up."""
    sums: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = tuple(value for name, value in row.items() if name not in _COUNTS)
        if key not in sums:
            sums[key] = dict(row)
            continue
        for name in _COUNTS:
            if name in row:
                sums[key][name] += row[name]
    return list(sums.values())
