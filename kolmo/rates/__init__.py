"""What work costs: seconds of one core, expected from rates that were measured once and are learned
further as runs go.

::

    shipped table × this machine's factor × what its runs took  ──►  expected seconds

Rates plan and announce; no result depends on them, except under an explicit limit of time.
"""

from kolmo.rates.curves import CostCurve
from kolmo.rates.learned import (
    Rates,
    expected_seconds,
    hashing_seconds,
    observe,
    reading_seconds,
    shared_rates,
)
from kolmo.rates.work import Basis, Price, drawing, hashing, measuring, reading

__all__ = [
    "Basis",
    "CostCurve",
    "Price",
    "Rates",
    "drawing",
    "expected_seconds",
    "hashing",
    "hashing_seconds",
    "measuring",
    "observe",
    "reading",
    "reading_seconds",
    "shared_rates",
]
