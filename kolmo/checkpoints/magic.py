"""How files of each format are recognized: by their first bytes, by the members of an archive."""

from __future__ import annotations

from collections.abc import Callable

from kolmo.checkpoints.folders import File

ZIP = b"PK\x03\x04"
"""How a zip archive begins."""

_INDEX = 1 << 16  # bytes within which an index names its map


def starts(*beginnings: bytes) -> Callable[[bytes, File], bool]:
    """A recognizer of files that begin by one of these."""
    return lambda head, file: head.startswith(beginnings)


def is_safetensors(head: bytes, file: File) -> bool:
    """Whether it may be: a header length, then the opening brace of JSON."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


def is_index(head: bytes, file: File) -> bool:
    """Whether it is JSON that maps names to shards."""
    return head.lstrip().startswith(b"{") and b'"weight_map"' in file.head(_INDEX)


def is_torch_zip(head: bytes, file: File) -> bool:
    """Whether it is what torch.save or torch.jit.save writes since torch 1.6."""
    return head.startswith(ZIP) and bool(file.archive.names("data.pkl"))


def is_torch_export(head: bytes, file: File) -> bool:
    """Whether it is an archive of torch.export."""
    return head.startswith(ZIP) and any(
        file.archive.names(name)
        for name in ("data/weights/model_weights_config.json", "serialized_state_dict.pt")
    )


def is_npz(head: bytes, file: File) -> bool:
    """Whether it is a zip archive of arrays."""
    if not head.startswith(ZIP):
        return False
    members = file.archive.members
    return bool(members) and all(name.endswith(".npy") for name in members)


def may_be_pickle(head: bytes, file: File) -> bool:
    """Whether it may be a pickle, or hold one; only reading it tells."""
    return not head.startswith(ZIP)
