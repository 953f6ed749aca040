"""The command line: arguments in, tables out; no logic.

A command lives in the file of its name, and puts itself on the application when imported.
"""

from kolmo.cli import (
    analyze,
    calibrate,
    compare,
    delta,
    estimators,
    pack,
    plot,
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
    "main",
    "pack",
    "plot",
    "run_app",
    "trajectory",
    "unpack",
    "verify",
]
