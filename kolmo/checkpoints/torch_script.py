"""What a TorchScript archive says of its modules' tensors: parameters, buffers, and neither.

The archive holds the modules' program as text. It is never run or compiled; of each class the two
lines are read that list the names of its parameters and its buffers.
"""

from __future__ import annotations

import re
from typing import Any

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.inert import Record
from kolmo.checkpoints.nests import Marked, is_array

_LIMIT = 1 << 24  # bytes of program that are read
_CLASS = re.compile(
    r"^class (\w+)\(Module\): *\n"
    r"  __parameters__ = \[([^\]\n]*)\] *\n"
    r"  __buffers__ = \[([^\]\n]*)\]",
    re.MULTILINE,
)
_NAME = re.compile(r'"([^"]*)"')
_REASON = "an attribute of a module, neither a parameter nor a buffer"

Names = tuple[frozenset[str], frozenset[str]]
"""Those of a class's parameters and of its buffers."""


def mark_tensors(contents: Any, archive: Archive, folder: str) -> None:
    """Mark each tensor of each module with its role, as far as the program tells it."""
    classes = _classes(archive, f"{folder}code/")
    left, seen = [contents], set()
    while left:
        record = left.pop()
        if not isinstance(record, Record) or not isinstance(record.state, dict):
            continue
        if id(record) in seen:
            continue
        seen.add(id(record))
        left += record.state.values()
        if record.name in classes:
            for key, value in record.state.items():
                if is_array(value):
                    record.state[key] = _marked(str(key), value, classes[record.name])


def _marked(key: str, value: Any, names: Names) -> Marked:
    parameters, buffers = names
    if key in parameters:
        return Marked(Role.WEIGHT, value)
    return Marked(Role.BUFFER, value) if key in buffers else Marked(Role.OTHER, value, _REASON)


def _classes(archive: Archive, folder: str) -> dict[str, Names]:
    """The names that each class of the program lists, by the class's full name."""
    found, left = {}, _LIMIT
    for name in archive.members:
        if not (name.startswith(folder) and name.endswith(".py")):
            continue
        text = archive.small(name, left)
        left -= len(text)
        module = name[len(folder) : -len(".py")].replace("/", ".")
        for match in _CLASS.finditer(text.decode("utf-8", "replace")):
            parameters, buffers = (frozenset(_NAME.findall(match[n])) for n in (2, 3))
            found[f"{module}.{match[1]}"] = parameters, buffers
    return found
