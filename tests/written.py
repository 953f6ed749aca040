"""Files that other programs wrote (``tests/data``), and what those read from them."""

import hashlib
import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_path

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


def fuzzed(folder, count):
    """The numbers of inputs, made from a folder's files, that were refused and read; in a process
    of its own, of bounded memory."""
    command = [sys.executable, "-m", "tests.corpus.fuzzing", str(folder), "0", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=DATA.parent.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    refused, read = map(int, done.stdout.split())
    return refused, read


_FUZZ = """
import pathlib, sys
import numpy as np
from kolmo.errors import KolmoError
from tests.corpus.fuzzing import damaged, limit_memory, read
limit_memory()
folder, count, refused = pathlib.Path(sys.argv[1]), int(sys.argv[2]), 0
sources = [folder / name for name in sys.argv[3:]]
files = {s: [f for f in sorted(s.rglob("*")) if f.is_file()] for s in sources}
others = [f.read_bytes() or b"." for s in sources for f in files[s]]
for seed in range(count):
    random = np.random.default_rng(seed)
    source = sources[seed % len(sources)]
    victim = files[source][int(random.integers(len(files[source])))]
    data = victim.read_bytes()
    victim.write_bytes(damaged(data or b".", others, random))
    try:
        read(source)
    except KolmoError:
        refused += 1
    except BaseException:
        print(f"seed {seed}: {victim}", file=sys.stderr)
        raise
    victim.write_bytes(data)
print(refused, count - refused)
"""


def fuzzed_folders(folder, names, count):
    """As `fuzzed`, of folders that are checkpoints: one file of one of them is damaged a time."""
    command = [sys.executable, "-c", _FUZZ, str(folder), str(count), *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=DATA.parent.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    refused, read = map(int, done.stdout.split())
    return refused, read


def untarred(name, folder):
    """The path of a folder of ``tests/data`` that is kept as an archive, unpacked into another."""
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / Path(name).name
