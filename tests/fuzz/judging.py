"""What the library that owns a format makes of an input, beside what kolmo makes of it."""

import re
from importlib.util import find_spec

import kolmo

ROLES = ("book-keeping", "buffer", "optimizer", "copy", "other")


def installed(package):
    """Whether a package is, and not only a folder of its name."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


class Whole(dict):
    """The arrays of a file by name, whatever they are to a network, and what was left out."""

    def __init__(self, found):
        super().__init__((name, tensor.read()) for name, tensor in found.items())
        self.left_out = [entry.name for entry in found.skipped]

    def lists(self, name):
        """Whether it has this array, or says of it or of what is in it that it was left out."""
        return name in self or any(f"{left}.".startswith(f"{name}.") for left in self.left_out)


def read_whole(path):
    """Open a file and read all arrays in it."""
    return Whole(kolmo.open_checkpoint(path, roles=ROLES))


def difference(path, found, library, ours_alone=(), theirs_alone=()):
    """How what kolmo found differs from the arrays by name that a library reads; None if nowhere.

    Where one of them refuses and the other reads, the message tells why: ``ours_alone`` has parts
    of the library's messages, and ``theirs_alone`` of kolmo's, that are right to refuse alone.
    """
    try:
        expected = library(path)
    except Exception as error:  # whatever it raises, it refuses
        text = f"{type(error).__name__}: {error}"
        if found is None or any(part in text for part in ours_alone):
            return None
        return f"read, and refused by the library: {_short(text)}\n{text}"
    if found is None:
        text = _refusal(path)
        if any(part in text for part in theirs_alone):
            return None
        return f"refused, and read by the library: {_short(text)}\n{text}"
    return _other_values(found, expected)


def _refusal(path):
    try:
        read_whole(path)
    except kolmo.KolmoError as error:
        return str(error).removeprefix(f"{path}: ")
    return "once, and read the next time"


QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[\d,]+|\s+")


def _short(text):
    """The first line of a message without what varies from file to file."""
    return QUOTED.sub(" ", text.split("\n")[0])[:120]


def _other_values(found, expected):
    for name, array in expected.items():
        if not found.lists(name):
            return f"an array is missing\n{name!r} of {sorted(expected)}, found {sorted(found)}"
        mine = found.get(name, array)
        if mine.tobytes() != array.tobytes():
            return f"other values\n{name!r}: {mine.dtype} {mine.shape}, {array.dtype} {array.shape}"
        if mine.shape != array.shape and len(array.shape) <= 64:
            return f"another shape\n{name!r}: {mine.shape}, {array.shape}"
    return None
