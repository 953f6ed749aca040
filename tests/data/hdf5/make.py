"""Writes the HDF5 files here by h5py 3.16 (HDF5 2.0): python make.py, then commit what it writes.

One file for each generation of the format: every dtype, layout, filter and index of chunks, links
of all kinds, groups and attributes that are many.
"""

import itertools
import pathlib
import sys

import h5py
import ml_dtypes
import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from written import noted, pack, write_truth  # noqa: E402

DTYPES = ["<f2", "<f4", ">f4", "<f8", ">f8", "i1", "u1", "<i2", ">i4", "<u8", "bool"]
SIDES = [(3, 4, 5), (1, 9, 2), (10, 9, 8), (4, 4, 4)]
FILTERS = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "shuffle": {"shuffle": True},
    "grows": {"maxshape": (None, None, 8), "compression": "gzip"},
}


def fill(file):
    """All sorts of datasets."""
    random = np.random.default_rng(0)
    for number, dtype in enumerate(DTYPES):
        file[f"dtypes/{number}"] = (random.normal(size=(5, 7)) * 9).astype(dtype)
    for sides, (name, options) in itertools.product(SIDES, FILTERS.items()):
        data = (np.arange(720, dtype="f4") ** 2 % 97).reshape(10, 9, 8)
        path = f"chunked/{name}-{'x'.join(map(str, sides))}"
        file.create_dataset(path, data=data, chunks=sides, **options)
    file["scalar"] = np.float32(3)
    file.create_dataset("zero", shape=(0, 4), dtype="f4")
    file.create_dataset("unwritten", shape=(6, 5), dtype="f4", fillvalue=2.5)
    file.create_dataset("unwritten-chunks", shape=(6, 5), dtype="f4", fillvalue=2.5, chunks=(4, 2))
    file.create_dataset("long", data=np.arange(5000.0), chunks=(7,))
    file.create_dataset("wide", data=np.arange(2500).reshape(50, 50), chunks=(3, 5))
    file.create_dataset("partly", shape=(50, 50), dtype="i4", chunks=(7, 7), fillvalue=-3)
    file["partly"][10:20, 3:30] = 7
    file["many"] = np.arange(3)
    for number in range(40):
        file["many"].attrs[f"a{number}"] = number
    for number in range(150):
        file[f"group/d{number}"] = np.float32(number)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((3, 3))
    made = h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_FLOAT, space, plist)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(9, dtype="f4").reshape(3, 3))
    noted_as = file.create_dataset("noted", data=np.arange(4).astype(ml_dtypes.bfloat16))
    noted_as.attrs["dtype"] = "bfloat16"
    for name, value in {"text": "héé", "texts": ["a", "bbb"], "bytes": b"zz", "number": 4}.items():
        file.attrs[name] = value
    file.attrs["long"] = "y" * 100_000
    file.attrs["fixed"] = np.array([b"q", b"rr"])
    file.attrs["numbers"] = np.arange(4)


def no_numbers(file):
    """What is listed and not read."""
    file["soft"] = h5py.SoftLink("/scalar")
    file["outside"] = h5py.ExternalLink("other.h5", "/x")
    file["zz-again"] = file["scalar"]
    file["group/loop"] = file["group"]
    file["words"] = ["a", "b"]
    file["table"] = np.zeros(3, [("a", "f4"), ("b", "i2")])
    file["void"] = np.zeros(4, "V3")
    file["unsaid"] = np.arange(4).astype(ml_dtypes.bfloat16)
    file.create_dataset("raw", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("virtual", layout)


truth = {}
for version in ("earliest", "v110", "latest"):
    path = HERE / f"{version}.h5"
    with h5py.File(path, "w", libver=version) as file:
        fill(file)
        found = {}
        file.visititems(
            lambda name, item, found=found: (
                found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None
            )
        )
        found["noted"] = found["noted"].view(ml_dtypes.bfloat16)
        truth["versions"] = {name.replace("/", "."): noted(a) for name, a in found.items()}
        no_numbers(file)
    pack(path)
path = HERE / "after-512-bytes.h5"
with h5py.File(path, "w", userblock_size=512) as file:
    file["x"] = np.arange(4.0)
    file.create_dataset("y", data=np.arange(5.0), chunks=(2,), compression="gzip")
    truth[path.name] = {name: noted(file[name][...]) for name in "xy"}
pack(path)
write_truth(HERE, truth)
