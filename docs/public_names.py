"""Public names for the API reference: a package imports them when they are first used, so that
reading its source finds none of them. Here each becomes an alias of what it names."""

from __future__ import annotations

import ast
from typing import Any

import griffe


class PublicNames(griffe.Extension):
    """Reads the table ``_PUBLIC`` of a package, name → module."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        table = pkg.members.get("_PUBLIC")
        if not isinstance(table, griffe.Attribute):
            return
        public = ast.literal_eval(str(table.value))
        for name, module in public.items():
            alias = griffe.Alias(name, f"{module}.{name}", parent=pkg)
            pkg.set_member(name, alias)
        pkg.exports = list(public)
