"""The command line: arguments in, tables out; no logic.

Each command has a file of its own name, which registers it with the application when imported.
"""

from kolmo.cli import (
    analyze,
    calibrate,
    compare,
    delta,
    estimators,
    inspect,
    pack,
    plot,
    store,
    trajectory,
    unpack,
    verify,
)
from kolmo.cli.app import app, main, run_app

__all__ = [
    "analyze",
    "app",
    "calibrate",
    "compare",
    "delta",
    "estimators",
    "inspect",
    "main",
    "pack",
    "plot",
    "run_app",
    "store",
    "trajectory",
    "unpack",
    "verify",
]
