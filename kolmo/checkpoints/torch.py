"""torch: tensors, modules, and files that ``torch.save`` wrote, read as data only.

A torch file is a pickle, which may name any function to call. Before torch sees it, its opcodes
are scanned (never run), and a file that names anything but tensors, storages and plain containers
is refused; torch's own restricted loader then reads it, memory-mapped.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from kolmo.checkpoints.base import Checkpoint
from kolmo.checkpoints.containers import collect
from kolmo.checkpoints.torch_tensors import import_torch
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a torch file of before 2020 begins: a pickled number."""

_SAFE_GLOBALS = {
    "torch.Size",
    "torch.Tensor",
    "torch.device",
    "torch.storage.TypedStorage",
    "torch.storage.UntypedStorage",
    "torch._tensor._rebuild_from_type_v2",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "builtins.set",
    "__builtin__.set",
    "builtins.int",
    "builtins.float",
    "builtins.complex",
    "builtins.dict",
    "builtins.list",
    "_codecs.encode",
    "numpy.dtype",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray._reconstruct",
    "numpy.ndarray",
}


_DTYPE_NAMES = {*DTYPES, "half", "float", "double", "long", "complex64"}


def open_torch_zip(path: Path, archive: zipfile.ZipFile) -> Checkpoint:
    """The model's weights in a torch file (the zip form)."""
    names = archive.namelist()
    record = next(name for name in names if name.endswith("data.pkl"))
    folder = record.removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names:
        raise InputError(
            f"{path}: a TorchScript program, which is code; save its weights instead: "
            f"torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    packed = [info.filename for info in archive.infolist() if info.compress_type]
    if packed:
        raise InputError(f"{path}: record {packed[0]!r} is compressed, which torch never does")
    with archive.open(record) as file:
        _refuse_code(path, file, pickles=1)
    return _open(path, mmap=True)


def open_torch_legacy(path: Path) -> Checkpoint:
    """The model's weights in a torch file of before 2020."""
    with open(path, "rb") as file:
        _refuse_code(path, file, pickles=4)
    return _open(path, mmap=False)


def _open(path: Path, mmap: bool) -> Checkpoint:
    torch = import_torch(f"reading {path}")
    # torch maps files by name only, and takes a name's suffix .safetensors at its word.
    mmap = mmap and path.suffix != ".safetensors"
    try:
        with open(path, "rb") as file:
            source = path if mmap else file
            contents = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises anything from KeyError to RuntimeError here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: torch cannot read it ({reason[:200]})") from None
    tensors, skipped = collect(contents, str(path))
    return Checkpoint(tensors, source=str(path), format="torch", skipped=skipped, files=[str(path)])


def _refuse_code(path: Path, file: IO[bytes], pickles: int) -> None:
    """InputError if a pickle names a global that is not plain data."""
    try:
        for _ in range(pickles):
            for name in _globals(file):
                if not _is_safe(name):
                    raise InputError(
                        f"{path}: the file would run code: it names {name!r}. It was not run. "
                        f"Save the weights alone: torch.save(model.state_dict(), path)"
                    )
    except InputError:
        raise
    except Exception as error:  # pickletools raises ValueError and more on garbage
        raise InputError(f"{path}: its pickle is damaged or truncated ({error})") from None


def _globals(file: IO[bytes]) -> Iterator[str]:
    """The globals that one pickle names; its opcodes are read, not run."""
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            yield f"({opcode.name} opcode)"


def _is_safe(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if name in _SAFE_GLOBALS or module == "numpy.dtypes":
        return True
    if module == "torch._utils":
        return attribute.startswith("_rebuild_")
    return module == "torch" and (attribute.endswith("Storage") or attribute in _DTYPE_NAMES)


# --- tensors --------------------------------------------------------------------------------


def open_module(module: Any) -> Checkpoint:
    """The parameters and persistent buffers of a live ``nn.Module``, without a copy of them."""
    tensors, skipped = collect(dict(module.state_dict()), type(module).__name__)
    return Checkpoint(tensors, source=type(module).__name__, format="module", skipped=skipped)
