"""What reading the source alone does not find, for the API reference: public names, which a package
imports when they are first used, and the options that several functions share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import griffe


class PublicNames(griffe.Extension):
    """Names of the table ``_PUBLIC`` become aliases, ``**options`` the fields of `Settings`."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        table = pkg.members.get("_PUBLIC")
        if isinstance(table, griffe.Attribute):
            for name, module in ast.literal_eval(str(table.value)).items():
                pkg.set_member(name, griffe.Alias(name, f"{module}.{name}", parent=pkg))
        if "options" in pkg.members:
            fields = pkg["options.Settings"].attributes.values()
            spell_out(pkg, [field for field in fields if "property" not in field.labels])


def spell_out(package: griffe.Module, fields: list[griffe.Attribute]) -> None:
    """Put the fields in place of ``**options`` wherever a function takes them."""
    for function in functions(package):
        if any("takes_options" in str(one.value) for one in function.decorators):
            del function.parameters["options"]
            for field in fields:
                function.parameters.add(
                    griffe.Parameter(
                        field.name,
                        annotation=field.annotation,
                        kind=griffe.ParameterKind.keyword_only,
                        default=str(field.value),
                    )
                )


def functions(module: griffe.Module) -> Iterator[griffe.Function]:
    for member in module.members.values():
        if isinstance(member, griffe.Function):
            yield member
        elif isinstance(member, griffe.Module):
            yield from functions(member)
