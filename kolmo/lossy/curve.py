"""curve: code length against distortion, each point a file that decodes."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from kolmo.checkpoints.opening import inputs_of
from kolmo.container.format import is_container
from kolmo.errors import InputError
from kolmo.files import check_standing, make_directory
from kolmo.lossy.evaluating import Better, Evaluate, Tolerance
from kolmo.lossy.scalings import Weighting
from kolmo.lossy.workshop import Lossiness, Workshop, open_workshop
from kolmo.markup import lines_html
from kolmo.progress import Wanted, progress_bar

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STEPS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7)
"""Steps of a curve by default, in units of the root mean square of a row: 5 to .5 bits a weight of
a Gaussian source."""


class LossyOptions(TypedDict, total=False):
    """The options of `kolmo.lossy.workshop.Lossiness`."""

    weighting: Weighting
    importance: Mapping[str, Any]
    inputs: Iterable[Any] | None
    outputs: Callable[[Any, Any], Any] | None
    include: Sequence[str]
    exclude: Sequence[str]
    preset: str
    threads: int | None


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """One certified point: a file of so many bits holds weights of this distortion.

    Attributes
    ----------
    step : float
    bits : int
        Of the whole file: a bound.
    distortion : float
        Σ(w − ŵ)² / Σw².
    value : float, optional
        The metric of these weights; NaN if the function gave that.
    sha256 : str
        Of the file's symbols.
    path : str
        The file, where it was kept.
    """

    step: float
    bits: int
    distortion: float
    value: float | None
    sha256: str
    path: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; a metric that is no number is ``"nan"``, ``"inf"`` or ``"-inf"``."""
        value = self.value
        told = value if value is None or math.isfinite(value) else str(value)
        return {**dataclasses.asdict(self), "value": told}


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Code length against distortion of one network.

    Attributes
    ----------
    name : str
    numel : int
        Weights.
    original : float, optional
        The metric of the network as it is.
    points : tuple of CurvePoint
        By falling bits.
    shuffled : tuple of CurvePoint
        Those of the same weights at random places, where they were asked for.
    """

    name: str
    numel: int
    original: float | None
    points: tuple[CurvePoint, ...]
    shuffled: tuple[CurvePoint, ...]
    _shop: Workshop = dataclasses.field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each point, with bits per weight."""
        import pandas as pd

        rows = [dataclasses.asdict(point) for point in self.points]
        table = pd.DataFrame(rows, columns=[f.name for f in dataclasses.fields(CurvePoint)])
        table.insert(2, "bits_per_weight", table["bits"] / self.numel)
        return table

    @property
    def hull(self) -> list[CurvePoint]:
        """The points on the lower convex hull of bits against the logarithm of distortion."""
        found: list[CurvePoint] = []
        for point in sorted(self.points, key=lambda point: (-point.distortion, point.bits)):
            if point.distortion <= 0:
                continue
            while len(found) > 1 and _is_above(found[-2], found[-1], point):
                found.pop()
            found.append(point)
        return found[::-1]

    def bits_at(
        self, distortion: float | None = None, *, tolerance: str | float | None = None,
        better: Better = "lower",
    ) -> int:  # fmt: skip
        """The least bits of a file within a distortion, or within a tolerance of the metric.

        The step is bisected: a bound, since the file was made and decoded.

        Raises
        ------
        InputError
            If not one of both is given, there is no metric, or no step is good enough.
        """
        if (distortion is None) == (tolerance is None):
            raise InputError("bits_at needs a distortion or a tolerance")
        shop = self._shop
        if distortion is not None:
            found = shop.coarsest_within(distortion)
        else:
            assert tolerance is not None
            found = shop.coarsest_allowed(Tolerance.parse(tolerance, better))
        if found is None:
            raise InputError(f"{self.name}: no step is good enough")
        return shop.measure(found).bits

    def plot(
        self, *others: Curve, metric: bool = False, ax: Any = None,
        figsize: tuple[float, float] | None = None, width: str | float | None = None,
    ) -> Figure:  # fmt: skip
        """Bits per weight against distortion, or the metric against bits per weight.

        Parameters
        ----------
        *others : Curve
            Of other models, in the same figure.
        metric : bool
            Whether to draw the metric.
        ax, figsize, width : see `kolmo.report.figures.plots.Plots`

        Returns
        -------
        matplotlib.figure.Figure
        """
        from kolmo.report.figures.curve import draw_curves
        from kolmo.report.figures.drawing import Canvas

        return draw_curves([self, *others], metric, Canvas(ax, figsize, width))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        own = {"name": self.name, "numel": self.numel, "original": self.original, "kind": "bound"}
        points = {
            name: [point.to_dict() for point in found]
            for name, found in (("points", self.points), ("shuffled", self.shuffled))
        }
        return own | points

    def __str__(self) -> str:
        head = f"{'bits/weight':>12}{'distortion':>13}{'metric':>14}{'bytes':>14}"
        lines = [f"{self.name}: {self.numel:,} weights; each point is a file (bound)", head]
        for point in self.points:
            value = "" if point.value is None else f"{point.value:.6g}"
            lines.append(
                f"{point.bits / self.numel:12.4f}{point.distortion:13.3g}{value:>14}"
                f"{point.bits // 8:14,}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return lines_html(str(self))


def _is_above(first: CurvePoint, middle: CurvePoint, last: CurvePoint) -> bool:
    """Whether a point lies on or above the line between its neighbours."""
    x0, x1, x2 = (math.log(point.distortion) for point in (first, middle, last))
    share = (x1 - x0) / (x2 - x0) if x2 != x0 else 0.0
    return middle.bits >= first.bits + share * (last.bits - first.bits)


def curve(
    source: Any,
    *,
    steps: Sequence[float] = STEPS,
    evaluate: Evaluate | None = None,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    shuffled: bool = False,
    progress: Wanted = None,
    **options: Unpack[LossyOptions],
) -> Curve:
    """Code length against distortion: the algorithmic rate–distortion curve, bounded by files.

    r(D) = min { K(ŵ) : d(w, ŵ) ≤ D } (Vereshchagin & Vitányi, "Rate distortion and denoising of
    individual data using Kolmogorov complexity", IEEE Trans. IT 2010). Each point is the length of
    a container that holds ŵ exactly, and so a bound.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    steps : sequence of float
        Of the grids, in units of the root mean square of a matrix's row (or of what weighting,
        importance or inputs say): one point each.
    evaluate : callable, optional
        Takes the network with the weights of a point, gives a number: a loss, an accuracy, the
        cosine of embeddings. Of a module it gets a copy in evaluation mode, of any other source a
        dict of arrays by name.
    folder : path, optional
        Where the files are kept, as ``step-0.3.kmo``; other containers there are replaced.
    overwrite : bool
        Replace any other files of these names, too; never one of the source.
    shuffled : bool
        Whether to describe the same weights at random places too, for comparison.
    progress : see `pack`
    **options
        See `kolmo.lossy.workshop.Lossiness`: weighting, importance, inputs, outputs, include,
        exclude, preset, threads.

    Returns
    -------
    Curve

    Raises
    ------
    InputError
        If the source cannot be read, or an option does not fit.

    Examples
    --------
    >>> import kolmo, numpy as np
    >>> weights = {"w": np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)}
    >>> found = kolmo.curve(weights, steps=[0.3, 1.0])
    >>> [round(point.distortion, 2) for point in found.points]
    [0.02, 0.22]
    """
    wanted = sorted({float(step) for step in steps})
    if not wanted or wanted[0] <= 0:
        raise InputError("steps are positive numbers, one for each point")
    where = None if folder is None else Path(folder)
    for path in (_path(where, step) for step in wanted if where):
        check_standing(path, own=is_container, inputs=inputs_of(source), overwrite=overwrite)
    with progress_bar(progress) as report:
        shop = open_workshop(source, Lossiness(**options), evaluate, report)
        points = tuple(_point(shop, step, where) for step in wanted)
        moved: tuple[CurvePoint, ...] = ()
        if shuffled:
            moved = tuple(_point(shop.shuffled, step, None) for step in wanted)
        return Curve(shop.name, shop.numel, shop.original, points, moved, shop)


def _path(folder: Path, step: float) -> Path:
    return folder / f"step-{step:g}.kmo"


def _point(shop: Workshop, step: float, folder: Path | None) -> CurvePoint:
    description = shop.describe(step)
    if folder is None:
        certificate, path = shop.measure(description), ""
    else:
        make_directory(folder)
        certificate = shop.write(description, _path(folder, step))
        path = str(certificate.path)
    value = shop.value_of(description)
    return CurvePoint(
        step, certificate.bits, description.distortion, value, certificate.sha256, path
    )
