"""The command line: arguments in, files and tables out; no logic.

A module a command; each puts its own on the application when imported.
"""

from momos.cli import expand, fetch, project, study, train
from momos.cli.app import app, main

__all__ = ["app", "expand", "fetch", "main", "project", "study", "train"]
