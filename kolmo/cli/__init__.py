"""The command line: arguments in, tables out; no logic.

Each command has a file of its own name, which registers it with the application when imported.
"""

from kolmo.cli.app import app, main, run_app

__all__ = ["app", "main", "run_app"]
