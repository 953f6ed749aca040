"""How files of each format are recognized: by their first bytes, by the members of an archive."""

from __future__ import annotations

from collections.abc import Callable

from kolmo.checkpoints.folders import File
from kolmo.checkpoints.stored import Stored

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


def is_keras(head: bytes, file: File) -> bool:
    """Whether it is an archive that Keras 3 saves a model in."""
    names = ("config.json", "model.weights.h5")
    return head.startswith(ZIP) and all(name in file.archive for name in names)


def is_flax(head: bytes, file: File) -> bool:
    """Whether it may be a nest of Flax: msgpack that begins by a map and the text of its key."""
    if len(head) < 4 or not (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        return False
    key = head[{0xDE: 3, 0xDF: 5}.get(head[0], 1) :][:1]
    return bool(key) and (0xA0 <= key[0] <= 0xBF or key[0] in (0xD9, 0xDA))


def is_flax_index(head: bytes, file: File) -> bool:
    """Whether it is JSON that maps names to shards of msgpack."""
    return is_index(head, file) and b'.msgpack"' in file.head(_INDEX)


_HDF5 = b"\x89HDF\r\n\x1a\n"


def hdf5_start(stored: Stored) -> int | None:
    """Where an HDF5 file begins: MATLAB and others put a block of their own before it."""
    places = (at for at in (0, 512, 1024, 2048) if at + len(_HDF5) <= stored.size)
    return next((at for at in places if bytes(stored.read(at, len(_HDF5))) == _HDF5), None)


def is_hdf5(head: bytes, file: File) -> bool:
    """HDF5, perhaps after a block of another program's."""
    return hdf5_start(file.stored) is not None
