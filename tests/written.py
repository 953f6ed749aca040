"""Files that other programs wrote (``tests/data``), and what those read from them."""

import hashlib
import json
import lzma
import tarfile
from pathlib import Path

import numpy as np

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_checkpoint, open_path

DATA = Path(__file__).parent / "data"


def unpacked(name, folder):
    """The path of a file of ``tests/data``, unpacked into a folder."""
    path = folder / Path(name).name
    path.write_bytes(lzma.decompress((DATA / f"{name}.xz").read_bytes()))
    return path


def truth(form):
    """What the scripts note of their files."""
    return json.loads((DATA / form / "truth.json").read_text())


def noted(tensor):
    """Shape, dtype and a hash of the values, as the scripts note them."""
    array = tensor.read()
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return [list(array.shape), array.dtype.name, hashlib.sha256(data).hexdigest()[:16]]


def opened(path):
    """What the reader of a file or folder gives, before roles are told by names and values."""
    return open_path(Path(path))


def contents(checkpoint, *roles):
    """All tensors of a checkpoint that have one of these roles (None: not told), noted."""
    return {t.name: noted(t) for t in checkpoint.values() if t.role in (roles or (None, *Role))}


def same_in_pieces(checkpoint, seed=0):
    """Whether all pieces of all tensors are what the whole tensors say."""
    random = np.random.default_rng(seed)
    for tensor in checkpoint.values():
        whole = tensor.read().reshape(-1).tobytes()
        item = tensor.dtype.itemsize
        for _ in range(5):
            start, stop = sorted(int(at) for at in random.integers(0, tensor.numel + 1, 2))
            if tensor.load(start, stop).tobytes() != whole[start * item : stop * item]:
                return False
    return True


def untarred(name, folder):
    """The path of a folder of ``tests/data`` that is kept as an archive, unpacked into another."""
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / Path(name).name


def with_left_out(path):
    """All tensors of a source by name, those that are left out too."""
    found = open_checkpoint(path)
    return {**found, **{entry.name: entry.tensor for entry in found.skipped if entry.tensor}}


def equal_values(tensors, true):
    """Whether tensors have the values of arrays, to the last bit, and every array has a tensor."""
    assert true
    assert set(true) <= set(tensors)
    for key, array in true.items():
        found = tensors[key].read()
        assert found.shape == array.shape, key
        np.testing.assert_array_equal(found.astype(array.dtype), array, err_msg=key)
    return True


def arrays_of(path, start):
    """The arrays of an .npz whose names begin so, by the rest of their names."""
    with np.load(path) as found:
        return {key.removeprefix(start): found[key] for key in found.files if key.startswith(start)}
