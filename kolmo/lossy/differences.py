"""What training added: the smallest file that makes a tuned network out of a base that is known."""

from __future__ import annotations

import dataclasses
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
from kolmo.lossy.changes import BASE, Base, Changes, Form
from kolmo.lossy.describing import Description, describe
from kolmo.lossy.evaluating import Better, Evaluate, Evaluator, Tolerance
from kolmo.lossy.workshop import largest_step
from kolmo.markup import lines_html
from kolmo.progress import Wanted, progress_bar

RANKS = (1, 2, 4, 8, 16, 32, 64)
"""Ranks of factors that are tried, in turn, until they take more bits."""

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
        SHA-256 of the base, which the file holds too.
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
        return (
            f"{self.certificate.path}: {self.bits:,} bits make it of its base (bound): {self.form}"
            f"\nmetric: {self.before:.6g} of the base, {self.original:.6g} tuned, {self.value:.6g} "
            f"of the decoded file (allowed: {self.limit:.6g}; {self.evaluations} evaluations)"
            f"\nsha256 of the base: {self.base}"
        )

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
    dead zones, or is the product of factors on such grids, of ranks up to 64, or both. Steps are
    bisected for each form; the file of the shortest is decoded and evaluated again before anything
    is reported. Where the base is itself made by a program of few bits, such as an initialization
    from a seed, the sum bounds the complexity of the network outright.

    Parameters
    ----------
    base, tuned : path, directory, URL, nn.Module, state dict or mapping of arrays
        Tensors are matched by name; arrays without a partner of their shape and dtype, and buffers
        that changed, are kept as they are.
    path : path
        The container; `with_difference` makes the network of it.
    evaluate : callable
        Takes the network, gives a number. Where ``tuned`` is a module it gets a copy in evaluation
        mode; else a dict of arrays by name.
    tolerance, better : see `simplify`
    preset, threads, progress : see `pack`

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
    changes = Changes.of(survey(base), survey(tuned))
    evaluator = Evaluator(tuned, evaluate)
    with progress_bar(progress) as report:
        search = _Search(changes, evaluator, allowed, thread_count(threads), report)
        return search.best(path, preset)


def with_difference(base: Any, path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The network that a file of `learned_difference` makes of its base: arrays by name.

    Parameters
    ----------
    base : path, directory, URL, nn.Module, state dict or mapping of arrays
        The very base that the file was made with.
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
    known, changes = Base.of(survey(base)), _arrays(Path(path))
    if BASE not in changes:
        raise InputError(f"{path}: is no difference to a base, but a network of its own")
    if changes[BASE].tobytes() != known.digest:
        wanted = changes[BASE].tobytes().hex()
        raise InputError(f"{path}: is the difference to a base with the SHA-256 {wanted[:16]}…, "
                         f"and that of {known.source} is {known.digest.hex()[:16]}…")  # fmt: skip
    return known.with_changes(changes)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    opened = open_source(path).with_roles(("buffer", "copy", "book-keeping", "other"))
    return {name: tensor.read() for name, tensor in opened.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """A form at the largest step that is within the tolerance, and what a quick code takes."""

    form: Form
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
        trials = sorted(self._trials(), key=lambda trial: trial.bits)
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
        value = self._value(self.changes.applied(_arrays(path)))
        if not self.allowed.accepts(value, self.original):
            path.unlink()
            raise KolmoError(
                f"{path}: not kept: the decoded file has {value:.6g}, the limit is "
                f"{self.limit:.6g}; is the metric the same at each call?"
            )
        return LearnedDifference(
            certificate, str(chosen.form), chosen.description.step, self.changes.base.digest.hex(),
            self.before, self.original, value, self.limit, self.evaluations,
        )  # fmt: skip

    @property
    def limit(self) -> float:
        return self.allowed.limit(self.original)

    def _trials(self) -> Iterator[_Trial]:
        """Grids; factors of more and more components, then with a grid for the rest."""
        plain = [Form(0, True, by_rows) for by_rows in (False, True)]
        factored = [Form(rank, False) for rank in RANKS]
        both = [Form(rank, True) for rank in RANKS]
        for number, (forms, is_ordered) in enumerate(
            ((plain, False), (factored, True), (both, True))
        ):
            self.progress(number, 3, "searching")
            yield from self._in_turn(forms, is_ordered)

    def _in_turn(self, forms: Sequence[Form], is_ordered: bool) -> Iterator[_Trial]:
        """Trials of forms; of ordered ones until one takes more bits than that before."""
        least = None
        for form in forms:
            trial = self._trial(form)
            if trial is None:
                continue
            yield trial
            if is_ordered and least is not None and trial.bits > least:
                return
            least = trial.bits

    def _trial(self, form: Form) -> _Trial | None:
        state, scalings = self.changes.written(form)
        made: dict[float, Description] = {}

        def accepts(step: float) -> bool:
            made[step] = describe(state, scalings, step, self.threads)
            value = self._value(self.changes.applied(made[step].values))
            return self.allowed.accepts(value, self.original)

        if not form.rest and not accepts(_FINE):
            return None  # too few components, however fine
        step = largest_step(accepts)
        if step is None:
            return None
        return _Trial(form, made[step], self._bits(made[step], "fast"))

    def _value(self, arrays: dict[str, NDArray[Any]]) -> float:
        self.evaluations += 1
        return self.evaluator(arrays)

    def _bits(self, description: Description, preset: str) -> int:
        with tempfile.TemporaryDirectory(prefix="kolmo-") as folder:
            path = Path(folder) / "difference.kmo"
            return description.write(path, preset, self.threads, None).bits


_FINE = 1 / 64  # a step that loses next to nothing
