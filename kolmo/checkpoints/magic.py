"""How formats are recognized: by first bytes, by the members of an archive, by names of files."""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable

from kolmo.checkpoints.compressed import compression_of
from kolmo.checkpoints.folders import File, Folder, SubFolder
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
    """Whether it is a zip archive of arrays; other files may lie beside them."""
    return head.startswith(ZIP) and any(name.endswith(".npy") for name in file.archive.members)


def is_text(head: bytes) -> bool:
    """Whether it is plain text, such as that of a README or a configuration."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def is_tflite(head: bytes, file: File) -> bool:
    """Whether it is a flatbuffer of TensorFlow Lite."""
    return head[4:8] == b"TFL3"


def is_mil_blobs(head: bytes, file: File) -> bool:
    """Whether it is a file of blobs of CoreML: its header, and that of the first blob."""
    return head[4:8] == b"\2\0\0\0" and head[64:68] == b"\xef\xbe\xad\xde" and not any(head[8:64])


def is_paddle_parameters(head: bytes, file: File) -> bool:
    """Whether it begins with a parameter of Paddle: versions of 0, no levels, a description."""
    size = int.from_bytes(head[16:20], "little")
    return not any(head[:16]) and 2 <= size <= 999 and head[20:21] == b"\x08" and len(head) > 22


def is_openvino(head: bytes, file: File) -> bool:
    """Whether it is XML whose outermost element is a net."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith((b"<?xml", b"<net")) and b"<net" in head


def may_be_pickle(head: bytes, file: File) -> bool:
    """Whether it may be a pickle, or a torch file of before 2020; only reading it tells."""
    is_marked = head[:1] == b"\x80" and head[1:2] < b"\x06"
    is_old = is_tar(head) or head.startswith(b"ZF0x")
    return is_marked or is_old or _may_be_old_pickle(head, file)


def is_packed(head: bytes, file: File) -> bool:
    """Whether it is an archive, or compressed."""
    return head.startswith(ZIP) or is_tar(head) or compression_of(head) is not None


def is_tar(head: bytes) -> bool:
    """Whether it is a tar archive."""
    return head[257:].startswith(b"ustar")


def _may_be_old_pickle(head: bytes, file: File) -> bool:
    """Whether it begins and ends as a pickle of protocol 0 or 1 does, which has no mark."""
    if head[:1] not in [b"%c" % letter for letter in b"(]}lcdIFSVN"] or file.stored.size < 2:
        return False
    return bytes(file.stored.read(file.stored.size - 1, 1)) in (b".", b"\n")


def is_keras(head: bytes, file: File) -> bool:
    """Whether it is an archive that Keras 3 saves a model in."""
    names = ("config.json", "model.weights.h5")
    return head.startswith(ZIP) and all(name in file.archive for name in names)


def is_flax(head: bytes, file: File) -> bool:
    """Whether it may be a nest of Flax: msgpack that begins by a map and the text of its key."""
    if len(head) < 4 or not (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        return False
    key = head[{0xDE: 3, 0xDF: 5}.get(head[0], 1) :][:1]
    return bool(key) and (0xA0 <= key[0] <= 0xBF or key[0] in (0xD9, 0xDA, 0xDB))


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


def is_matlab(head: bytes, file: File) -> bool:
    """Whether it is one, by the text, the version and the order of bytes in its header."""
    orders = {b"\x00\x01IM", b"\x01\x00MI"}
    return head.startswith(b"MATLAB") and head[124:128] in orders


def is_darknet(head: bytes, file: File) -> bool:
    """Whether the name and the version say so: the numbers that follow cannot."""
    if not file.name.endswith(".weights") or len(head) < 16:
        return False
    major, minor, revision = struct.unpack("<3i", head[:12])
    return major == 0 and minor in (1, 2, 3) and 0 <= revision <= 5


# --- folders --------------------------------------------------------------------------------

_ZERO = re.compile(r"(bf16_)?zero_pp_rank_[0-9]+_mp_rank_[0-9]+_optim_states\.pt")


def has(name: str, part: str) -> Callable[[Folder], bool]:
    """A recognizer of folders that have this file, and others with a part in their names."""
    return lambda folder: folder.has(name) and any(part in other for other in folder.names())


def has_ir(folder: Folder) -> bool:
    """Whether it has a graph of OpenVINO and its weights, and no other model that was first."""
    names = set(folder.names())
    pairs = any(name.removesuffix(".xml") + ".bin" in names for name in names if ".xml" in name)
    return pairs and not any(name.endswith(".safetensors") for name in names)


def is_zero(folder: Folder) -> bool:
    """Whether it has the states of the optimizers of DeepSpeed's ZeRO, and of a model."""
    names = [name for name in folder.names() if "/" not in name]
    is_model = any(name.endswith("mp_rank_00_model_states.pt") for name in names)
    return is_model and any(map(_ZERO.fullmatch, names))


def is_hub_cache(folder: Folder) -> bool:
    """Whether it is a model's folder in the cache of the Hugging Face Hub."""
    return any(name.startswith("snapshots/") for name in folder.names())


def is_orbax(folder: Folder) -> bool:
    """Whether a folder is a tree of arrays of JAX: a database, or a folder of zarr for each."""
    return "manifest.ocdbt" in folder.names() or any(
        name.endswith(("/.zarray", "/zarr.json")) and name.count("/") == 1
        for name in folder.names()
    )


def orbax_items(folder: Folder) -> list[str]:
    """The folders of a folder that are trees of arrays of JAX."""
    tops = dict.fromkeys(name.partition("/")[0] for name in folder.names() if "/" in name)
    return [top for top in tops if is_orbax(SubFolder(folder, top))]


def is_orbax_items(folder: Folder) -> bool:
    """Whether a folder holds several trees of arrays of JAX that were saved together."""
    return folder.has("_CHECKPOINT_METADATA") and bool(orbax_items(folder))


def is_spacy(folder: Folder) -> bool:
    """Whether a folder is a pipeline of spaCy: its settings, and the model of a component."""
    models = (name for name in folder.names() if name.count("/") == 1 and name.endswith("/model"))
    return folder.has("meta.json") and folder.has("config.cfg") and any(models)


_TABLE = bytes.fromhex("57fb808b247547db")  # how a sorted table ends
_DATA = re.compile(r"(.*)\.data-\d{5}-of-\d{5}")
_OTHERS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx")


def is_tensorflow_index(head: bytes, file: File) -> bool:
    """Whether it is the index of a checkpoint of TensorFlow."""
    size = file.stored.size
    return size >= 48 and bytes(file.stored.read(size - len(_TABLE), len(_TABLE))) == _TABLE


def is_tensorflow_data(head: bytes, file: File) -> bool:
    """Whether it is, by its name, a data file of a checkpoint of TensorFlow."""
    said = _DATA.fullmatch(file.name)
    return said is not None and file.folder.has(f"{said[1]}.index")


def is_tensorflow_folder(folder: Folder) -> bool:
    """Whether a folder holds checkpoints of TensorFlow, and none of another program."""
    names = [name for name in folder.names() if "/" not in name]
    has_data = any(_DATA.fullmatch(name) for name in names)
    return has_data and not any(name.endswith(_OTHERS) for name in names)


def is_tfjs(head: bytes, file: File) -> bool:
    """Whether it may be the description of a model of TensorFlow.js."""
    if not head.lstrip().startswith(b"{"):
        return False
    start = file.head(_INDEX)
    return b'"modelTopology"' in start or b'"weightsManifest"' in start


def is_tfjs_folder(folder: Folder) -> bool:
    """Whether a folder holds a model of TensorFlow.js."""
    file = File(folder, "model.json")
    return file.exists and is_tfjs(file.head(), file)
