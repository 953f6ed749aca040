"""How files of each format are recognized: by their first bytes, by the members of an archive."""

from __future__ import annotations

from collections.abc import Callable

from kolmo.checkpoints.compressed import compression_of
from kolmo.checkpoints.folders import File, Folder

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


def is_text(head: bytes) -> bool:
    """Whether it is plain text, such as that of a README or a configuration."""
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def may_be_pickle(head: bytes, file: File) -> bool:
    """Whether it may be a pickle, or be packed around one; only reading it tells."""
    is_marked = head[:1] == b"\x80" and head[1:2] < b"\x06"
    return is_marked or is_packed(head) or _may_be_old_pickle(head, file)


def is_packed(head: bytes) -> bool:
    """Whether it is a tar archive, or compressed."""
    is_tar = head[257:].startswith(b"ustar")
    return is_tar or head.startswith(b"ZF0x") or compression_of(head) is not None


def _may_be_old_pickle(head: bytes, file: File) -> bool:
    """Whether it begins and ends as a pickle of protocol 0 or 1 does, which has no mark."""
    if head[:1] not in [b"%c" % letter for letter in b"(]}lcdIFSVN"] or file.stored.size < 2:
        return False
    return bytes(file.stored.read(file.stored.size - 1, 1)) in (b".", b"\n")


def is_spacy(folder: Folder) -> bool:
    """Whether a folder is a pipeline of spaCy: its settings, and the model of a component."""
    models = (name for name in folder.names() if name.count("/") == 1 and name.endswith("/model"))
    return folder.has("meta.json") and folder.has("config.cfg") and any(models)
