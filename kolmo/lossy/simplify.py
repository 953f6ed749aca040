"""simplify: the smallest file of a network that still does the same, to within a tolerance."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kolmo.checkpoints.opening import inputs_of
from kolmo.container.certificate import Certificate
from kolmo.container.format import is_container
from kolmo.errors import InputError, KolmoError
from kolmo.files import Own, check_output, marked, read_sealed, sealed, write_text
from kolmo.lossy.curve import LossyOptions
from kolmo.lossy.evaluating import Better, Evaluate, Tolerance, arrays_of, with_weights
from kolmo.lossy.layers import layer_errors
from kolmo.lossy.workshop import Lossiness, Workshop, open_workshop
from kolmo.markup import lines_html
from kolmo.progress import Wanted, progress_bar

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Simplified:
    """A file that does the same, and what it is worth.

    Attributes
    ----------
    certificate : Certificate
        Of the file: a bound on the complexity of the weights that it holds.
    stored_bits : int
        Of the source's arrays.
    step : float
    distortion : float
        Σ(w − ŵ)² / Σw².
    original, value : float, optional
        The metric of the source, and of the weights decoded from the file.
    limit : float
        The worst value, or the largest distortion, that was allowed.
    evaluations : int
        Times that the metric was evaluated.
    layers : mapping of str to float
        Where inputs were given, the relative squared error of each layer's output for them
        (`kolmo.lossy.layers.layer_errors`).
    """

    certificate: Certificate
    stored_bits: int
    step: float
    distortion: float
    original: float | None
    value: float | None
    limit: float
    evaluations: int
    layers: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def bits(self) -> int:
        return self.certificate.bits

    @property
    def bits_per_weight(self) -> float:
        return self.certificate.bits_per_weight

    @property
    def table(self) -> pd.DataFrame:
        """What each tensor got: as `Certificate.table`."""
        return self.certificate.table

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**own, "certificate": self.certificate.to_dict()}

    def __str__(self) -> str:
        certificate = self.certificate
        lines = [
            f"{certificate.path}: {certificate.bits // 8:,} bytes, "
            f"{certificate.bits_per_weight:.3f} bits per weight (bound), "
            f"{self.stored_bits / certificate.bits:.1f} times smaller than the source's arrays",
            f"relative squared error of the weights: {self.distortion:.3g}",
        ]
        if self.value is not None:
            lines.append(
                f"metric: {self.original:.6g} before, {self.value:.6g} of the decoded file "
                f"(allowed: {self.limit:.6g}; {self.evaluations} evaluations)"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return lines_html(str(self))


def simplify(
    source: Any,
    path: str | os.PathLike[str],
    *,
    evaluate: Evaluate | None = None,
    tolerance: str | float = "1%",
    better: Better = "lower",
    distortion: float | None = None,
    overwrite: bool = False,
    progress: Wanted = None,
    **options: Unpack[LossyOptions],
) -> Simplified:
    """Write the smallest file whose network is as good as the source, to within a tolerance.

    The step of all grids is bisected; each trial is evaluated, none is coded before the last. The
    file is then decoded, and its weights are evaluated again, before anything is reported.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    path : path
        The container, such as ``small.kmo``; `kolmo.unpack` makes safetensors of it. What has been
        evaluated is kept beside it, in a file that ends with ``.tried.json``, until it is written:
        called again after an interruption, no step is evaluated twice.
    evaluate : callable, optional
        Takes the network, gives a number. Of a module it gets a copy in evaluation mode; of any
        other source a dict of arrays by name.
    tolerance : str or float
        How much worse the number may get: ``1%`` of the original's, or an amount.
    better : {"lower", "higher"}
        Whether lower numbers are better, as of a loss, or higher ones, as of an accuracy.
    distortion : float, optional
        Instead of an evaluation: Σ(w − ŵ)² / Σw² that is allowed.
    overwrite : bool
        Replace any other file than a container that stands there, too; never one of the source.
    progress : see `pack`
    **options
        See `kolmo.lossy.workshop.Lossiness`: weighting, importance, inputs, outputs, include,
        exclude, preset, threads.

    Returns
    -------
    Simplified

    Raises
    ------
    InputError
        If the source cannot be read, no metric and no distortion is given, or no step is within
        the tolerance.
    KolmoError
        If the decoded file is not within the tolerance; it is then not kept.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> weights = {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = simplify(weights, Path(folder) / "small.kmo", distortion=0.1)
    >>> small.distortion <= 0.1, small.bits_per_weight < 2.5
    (True, True)
    """
    path = Path(path)
    if (evaluate is None) == (distortion is None):
        raise InputError("simplify needs evaluate, a function of the network, or a distortion")
    if distortion is not None and not 0 < distortion < 1:
        raise InputError(f"the distortion is in (0, 1), not {distortion}")
    allowed = Tolerance.parse(tolerance, better)
    kept = {path: is_container} if evaluate is None else _kept_files(path)
    for output, own in kept.items():
        check_output(output, own=own, inputs=inputs_of(source), overwrite=overwrite)
    with progress_bar(progress) as report:
        shop = open_workshop(source, Lossiness(**options), evaluate, report)
        if distortion is not None:
            found = _within_distortion(shop, path, distortion)
        else:
            found = _within_tolerance(shop, path, allowed)
    batches = options.get("inputs")
    if batches is None:
        return found
    changed = with_weights(source, arrays_of(path))
    return dataclasses.replace(found, layers=layer_errors(source, changed, batches))


def _within_distortion(shop: Workshop, path: Path, distortion: float) -> Simplified:
    found = shop.coarsest_within(distortion, precision=0.005)
    if found is None:
        raise InputError(f"{shop.name}: no step has a distortion of {distortion:g} or less")
    certificate = shop.write(found, path)
    return Simplified(
        *(certificate, shop.stored_bits, found.step, found.distortion, None, None, distortion, 0)
    )


def _within_tolerance(shop: Workshop, path: Path, tolerance: Tolerance) -> Simplified:
    tried = _tried_path(path)
    shop.values.update(_read_tried(tried, shop))
    original = shop.original
    assert original is not None

    found = shop.coarsest_allowed(tolerance, lambda: _keep_tried(tried, shop))
    if found is None:
        raise InputError(
            f"{shop.name}: no description is within the tolerance: the original has "
            f"{original:.6g}, the limit is {tolerance.limit(original):.6g}; is the metric the same "
            f"at each call?"
        )
    value = original

    def check(file: Path) -> None:
        nonlocal value
        value = _decoded_value(shop, file)
        if not tolerance.accepts(value, original):
            raise KolmoError(
                f"{path}: not kept: the decoded file has {value:.6g}, the limit is "
                f"{tolerance.limit(original):.6g}; is the metric the same at each call?"
            )

    certificate = shop.write(found, path, check)
    tried.unlink(missing_ok=True)
    return Simplified(
        certificate,
        shop.stored_bits,
        found.step,
        found.distortion,
        original,
        value,
        tolerance.limit(original),
        len(shop.values),
    )


def _decoded_value(shop: Workshop, path: Path) -> float:
    """The metric of the weights in the file."""
    assert shop.evaluator is not None
    return shop.evaluator(arrays_of(path))


def _kept_files(path: Path) -> dict[Path, Own]:
    """The file and the notes beside it, and what is told to be such a one."""
    return {path: is_container, _tried_path(path): _is_tried}


def _tried_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.tried.json")


_is_tried = marked(rb'\A\{\s*"of": ')


def _read_tried(tried: Path, shop: Workshop) -> Mapping[float, float]:
    """Values of an interrupted call for the same source and scalings."""
    kept = read_sealed(tried)
    if kept is None and tried.exists():
        warnings.warn(f"{tried}: damaged; all is evaluated anew", stacklevel=2)
    if kept is None or kept["of"] != shop.digest:
        return {}
    return {float(step): value for step, value in kept["values"].items()}


def _keep_tried(tried: Path, shop: Workshop) -> None:
    values = {repr(step): value for step, value in shop.values.items()}
    write_text(tried, sealed({"of": shop.digest, "values": values}))
