"""What training added: the smallest file that makes a tuned network out of a base that is known."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kolmo.checkpoints.opening import open_source, survey
from kolmo.codes.choosing import check_preset
from kolmo.container.certificate import Certificate
from kolmo.errors import InputError, KolmoError
from kolmo.execution import Progress, thread_count
from kolmo.lossy.changes import BASE, FORMS, Arrays, Base, ChangeForm, Changes
from kolmo.lossy.describing import Description, describe
from kolmo.lossy.evaluating import Better, Evaluate, Evaluator, Tolerance
from kolmo.markup import lines_html
from kolmo.progress import Wanted, progress_bar

RANKS = (1, 2, 4, 8, 16, 32, 64)
"""Ranks of factors that are tried, in turn, until they take more bits."""

COARSE = tuple(4 / math.sqrt(2) ** n for n in range(21))
"""Steps that are tried, from the coarsest on: what is within a tolerance of a metric at one step
need not be so at every finer one."""

_LEAST, _EXPANDS = 1 << 30, 1024  # bytes that a file may expand to, and times its own
_NOTHING = 2.0**11  # a step at which nothing is left of any weight
_BETWEEN = (
    2 ** (1 / 4),
    2 ** (1 / 8),
    2 ** (1 / 16),
)  # steps tried then, beside the one that was found
_FINALISTS = 2  # forms that are coded with every code


@dataclasses.dataclass(frozen=True)
class LearnedDifference:
    """A file that makes the tuned network, or one that does the same, of its base.

    Attributes
    ----------
    certificate : Certificate
        Of the file: once the base is known, a bound on the complexity of a network within the
        tolerance.
    form : str
        How the change is written: on a grid, as factors, or both.
    step : float
        Of the grids.
    base : str
        SHA-256 of the base, which the file holds too; empty where there is none.
    distortion : float
        Σ(w − ŵ)² / Σw² over the weights.
    before, original, value : float
        The metric of the base, of the tuned network, and of the network decoded from the file.
    limit : float
        The worst value that was allowed.
    evaluations : int
        Times that the metric was evaluated.
    """

    certificate: Certificate
    form: str
    step: float
    base: str
    distortion: float
    before: float
    original: float
    value: float
    limit: float
    evaluations: int

    @property
    def bits(self) -> int:
        return self.certificate.bits

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"kind": "bound", "bits": self.bits, **own,
                "certificate": self.certificate.to_dict()}  # fmt: skip

    def __str__(self) -> str:
        what = "make it of its base" if self.base else "describe it"
        lines = [
            f"{self.certificate.path}: {self.bits:,} bits {what} (bound): {self.form}",
            f"metric: {self.before:.6g} before, {self.original:.6g} tuned, {self.value:.6g} of "
            f"the decoded file (allowed: {self.limit:.6g}; {self.evaluations} evaluations)",
        ]
        return "\n".join([*lines, *([f"sha256 of the base: {self.base}"] if self.base else [])])

    def _repr_html_(self) -> str:
        return lines_html(str(self))


def learned_difference(
    base: Any,
    tuned: Any,
    path: str | os.PathLike[str],
    *,
    evaluate: Evaluate,
    tolerance: str | float = "1%",
    better: Better = "lower",
    preset: str = "best",
    threads: int | None = None,
    progress: Wanted = None,
) -> LearnedDifference:
    """Write the smallest file that makes of a base a network as good as the tuned one.

    K_ε(w | w0) = min { K(Δ̂ | w0) : L(w0 + Δ̂) ≤ L(w) + ε }, bounded by files: Δ̂ lies on grids with
    dead zones, or is the product of factors on such grids, of ranks up to 64, or both. Of each form
    the coarsest step that will do is searched for; the file of the shortest is decoded, and
    evaluated again, before anything is reported. Where the base is itself made by a program of few
    bits, such as an initialization from a seed, the sum bounds the complexity of the network.

    Parameters
    ----------
    base : path, directory, URL, nn.Module, state dict or mapping of arrays, or None
        What is known; None for nothing: the bound is then one on the network alone, and Δ its
        weights themselves.
    tuned : path, directory, URL, nn.Module, state dict or mapping of arrays
        Tensors are matched by name; arrays without a partner of their shape and dtype, and buffers
        that changed, are kept as they are.
    path : path
        The container; `with_difference` makes the network of it.
    evaluate : callable
        Takes the network, gives a number. Where ``tuned`` is a module it gets a copy in evaluation
        mode; else a dict of arrays by name.
    tolerance : str or float
        How much worse the number may get: ``1%`` of the original's, or an amount.
    better : {"lower", "higher"}
        Whether lower numbers are better, as of a loss, or higher ones, as of an accuracy.
    preset : {"best", "default", "fast"}
        Codes of the file, as of `pack`.
    threads : int, optional
        All cores by default. The file does not depend on it.
    progress : see `pack`

    Returns
    -------
    LearnedDifference

    Raises
    ------
    InputError
        If a source cannot be read, no weights match, or no form is within the tolerance.
    KolmoError
        If the decoded file is not within the tolerance; it is then not kept.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> random = np.random.default_rng(0)
    >>> base = {"w": random.normal(size=(64, 64)).astype(np.float32)}
    >>> tuned = {"w": base["w"] + np.outer(random.normal(size=64), random.normal(size=64))}
    >>> tuned = {"w": tuned["w"].astype(np.float32)}
    >>> def error(network):
    ...     return float(np.square(network["w"] - tuned["w"]).mean())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = learned_difference(
    ...         base, tuned, Path(folder) / "d.kmo", evaluate=error, tolerance=0.01)
    ...     again = with_difference(base, found.certificate.path)
    >>> found.form, found.bits < 2500, error(again) == found.value
    ('factors of rank 1, equal steps', True, True)
    """
    path, allowed = Path(path), Tolerance.parse(tolerance, better)
    check_preset(preset)
    changes = Changes.of(None if base is None else survey(base), survey(tuned))
    evaluator = Evaluator(tuned, evaluate)
    with progress_bar(progress) as report:
        search = _Search(changes, evaluator, allowed, thread_count(threads), report)
        return search.best(path, preset)


def with_difference(base: Any, path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The network that a file of `learned_difference` makes of its base: arrays by name.

    Parameters
    ----------
    base : path, directory, URL, nn.Module, state dict or mapping of arrays, or None
        The very base that the file was made with; None if it was made with none.
    path : path

    Returns
    -------
    dict of str to ndarray
        Under the names of the base.

    Raises
    ------
    InputError
        If the file is no difference, or that to another base.
    """
    path = Path(path)
    changes = _arrays(path)
    try:
        return _known(base, changes, path).with_changes(changes)
    except InputError:
        raise
    except (ValueError, TypeError, LookupError) as error:  # its checksums hold: it was made so
        raise InputError(f"{path}: is no difference that holds together: {error}") from None


def _known(base: Any, changes: Arrays, path: Path) -> Base:
    """The base of a file of changes, which is the one that is given."""
    if FORMS in changes and base is None:
        return Base.told_by(changes, max(_LEAST, _EXPANDS * path.stat().st_size))
    if BASE not in changes or base is None:
        what = "needs its base" if BASE in changes else "is no difference to a base"
        raise InputError(f"{path}: {what}")
    known = Base.of(survey(base))
    if changes[BASE].tobytes() != known.digest:
        wanted = changes[BASE].tobytes().hex()
        raise InputError(
            f"{path}: is the difference to a base with the SHA-256 {wanted[:16]}…, and that of "
            f"{known.source} is {known.digest.hex()[:16]}…"
        )
    return known


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    opened = open_source(path).with_roles(("buffer", "copy", "book-keeping", "other"))
    return {name: tensor.read() for name, tensor in opened.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """A form at the largest step that is within the tolerance, and what a quick code takes."""

    form: ChangeForm
    description: Description
    bits: int


class _Search:
    """Tries forms in turn."""

    def __init__(
        self, changes: Changes, evaluator: Evaluator, allowed: Tolerance, threads: int,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.changes, self.evaluator, self.allowed = changes, evaluator, allowed
        self.threads, self.progress, self.evaluations = threads, progress, 0
        self.before = self._value(changes.applied({}))
        read = {kept.tensor.name: kept.tensor.read() for kept in changes.tuned}
        self.original = self._value(read)

    def best(self, path: Path, preset: str) -> LearnedDifference:
        """The shortest file of the most promising forms."""
        nothing = self._trial(ChangeForm(0, True), [_NOTHING])
        trials = [nothing] if nothing else sorted(self._trials(), key=lambda trial: trial.bits)
        if not trials:
            raise InputError(
                f"{self.changes.name}: no difference is within the tolerance: tuned, it has "
                f"{self.original:.6g}, the limit is {self.limit:.6g}; is the metric the same at "
                f"each call?"
            )
        chosen = trials[0]
        if len(trials) > 1:
            coded = [(self._bits(t.description, preset), n) for n, t in
                     enumerate(trials[:_FINALISTS])]  # fmt: skip
            chosen = trials[min(coded)[1]]
        certificate = chosen.description.write(path, preset, self.threads, None)
        decoded = self.changes.applied(_arrays(path))
        value = self._value(decoded)
        if not self.allowed.accepts(value, self.original):
            path.unlink()
            raise KolmoError(
                f"{path}: not kept: the decoded file has {value:.6g}, the limit is "
                f"{self.limit:.6g}; is the metric the same at each call?"
            )
        base, description = self.changes.base, chosen.description
        return LearnedDifference(
            certificate=certificate,
            form=str(chosen.form),
            step=description.step,
            base=base.digest.hex() if base.known else "",
            distortion=self.changes.distortion(decoded),
            before=self.before,
            original=self.original,
            value=value,
            limit=self.limit,
            evaluations=self.evaluations,
        )

    @property
    def limit(self) -> float:
        return self.allowed.limit(self.original)

    def _trials(self) -> Iterator[_Trial]:
        """Grids; factors of more and more components, then with a grid for the rest."""
        plain = [ChangeForm(0, True, by_rows) for by_rows in (False, True)]
        factored = [ChangeForm(rank, False) for rank in RANKS]
        both = [ChangeForm(rank, True) for rank in RANKS]
        for number, (forms, is_ordered) in enumerate(
            ((plain, False), (factored, True), (both, True))
        ):
            self.progress(number, 3, "searching")
            yield from self._in_turn(forms, is_ordered)

    def _in_turn(self, forms: Sequence[ChangeForm], is_ordered: bool) -> Iterator[_Trial]:
        """Trials of forms; of ordered ones until one takes more bits than that before."""
        least = None
        for form in filter(self.changes.have, forms):
            trial = self._trial(form)
            if trial is None:
                continue
            yield trial
            if is_ordered and least is not None and trial.bits > least:
                return
            least = trial.bits

    def _trial(self, form: ChangeForm, steps: Sequence[float] = COARSE) -> _Trial | None:
        """A form at the first of falling steps that will do, made a little larger if it can be."""
        state, scalings = self.changes.written(form)

        def tried(step: float) -> Description | None:
            made = describe(state, scalings, step, self.threads)
            value = self._value(self.changes.applied(made.values))
            return made if self.allowed.accepts(value, self.original) else None

        if not form.rest and not tried(steps[-1]):
            return None  # too few components, however fine
        found = next(filter(None, map(tried, steps)), None)
        if found is None:
            return None
        for share in _BETWEEN if found.step < steps[0] else ():
            found = tried(found.step * share) or found
        return _Trial(form, found, self._bits(found, "fast"))

    def _value(self, arrays: dict[str, NDArray[Any]]) -> float:
        self.evaluations += 1
        return self.evaluator(arrays)

    def _bits(self, description: Description, preset: str) -> int:
        with tempfile.TemporaryDirectory(prefix="kolmo-") as folder:
            path = Path(folder) / "difference.kmo"
            return description.write(path, preset, self.threads, None).bits
