"""The command line: arguments in, tables out; no logic.

A module a family of commands; each puts its own on the application when imported.
"""

from kolmo.cli import calibrating, comparing, measuring, packing, series, showing
from kolmo.cli.app import app, main, progress_bar, run_app

__all__ = [
    "app",
    "calibrating",
    "comparing",
    "main",
    "measuring",
    "packing",
    "progress_bar",
    "run_app",
    "series",
    "showing",
]
