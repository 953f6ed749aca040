"""Curves: seconds by size, measured at a few sizes."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Sequence

Point = tuple[int, float]


@dataclasses.dataclass(frozen=True)
class CostCurve:
    """Seconds of work by its size: lines between measured points, and the last of them goes on.

    Attributes
    ----------
    points : tuple of (size, seconds)
        Sizes ascend. The first one is small: what it takes is the fixed cost of any size below.

    Examples
    --------
    >>> curve = CostCurve(((0, 0.5), (100, 1.5)))
    >>> curve.seconds(0), curve.seconds(50), curve.seconds(300)
    (0.5, 1.0, 3.5)
    """

    points: tuple[Point, ...]

    @classmethod
    def of(cls, points: Sequence[Sequence[float]]) -> CostCurve:
        """The curve of measured points; a larger size never takes less, whatever the clock says.

        >>> CostCurve.of([[0, 2.0], [10, 1.0]]).points
        ((0, 2.0), (10, 2.0))
        """
        risen: list[Point] = []
        for size, seconds in points:
            risen.append((int(size), max(float(seconds), risen[-1][1] if risen else 0.0)))
        return cls(tuple(risen))

    def seconds(self, size: int) -> float:
        """The seconds for a size."""
        if len(self.points) == 1 or size <= self.points[0][0]:
            return self.points[0][1]
        after = min(bisect_right(self.points, (size, 0.0)), len(self.points) - 1)
        (low, before), (high, then) = self.points[after - 1], self.points[after]
        return before + (size - low) * (then - before) / (high - low)

    def scaled(self, factor: float) -> CostCurve:
        """The curve with all seconds multiplied."""
        return CostCurve(tuple((size, factor * seconds) for size, seconds in self.points))
