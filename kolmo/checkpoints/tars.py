"""tar archives whose members are read in place."""

from __future__ import annotations

import dataclasses
import tarfile

from kolmo.checkpoints.allowance import ENTRY, allowance_for
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

TORCH_2017 = frozenset({"pickle", "tensors", "storages"})
"""The members of a torch file of 2017, which is a tar archive."""


_UNREADABLE = (tarfile.TarError, ValueError, LookupError, OSError, EOFError, ArithmeticError,
               MemoryError)  # fmt: skip


def tar_members(stored: Stored) -> dict[str, Stored]:
    """The files in a tar archive by name, unread; links and devices are no files of it."""
    found: dict[str, Stored] = {}
    charge = allowance_for(stored.where, stored.size).charge
    try:
        with stored.open() as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                charge(3 * ENTRY, len(member.name))
                name = member.name.removeprefix("./")
                if not member.isreg() or member.issparse():
                    continue
                if name in found:
                    why = f"two members are called {name[:60]!r}"
                    raise InputError(f"{stored.where}: a tar archive that is not read: {why}")
                part = stored.part(member.offset_data, member.size)
                found[name] = dataclasses.replace(part, where=f"{stored.where}/{name[:200]}")
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"{stored.where}: a damaged or truncated tar archive ({type(error).__name__}); "
            f"download or copy it again"
        ) from None
    return found
