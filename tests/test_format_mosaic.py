"""docs/formats/mosaic.md is enough: a decoder written from it reads what momos writes."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from kolmo.errors import InputError
from momos.mosaic.blocks import Partition
from momos.mosaic.files import read_header
from momos.mosaic.mosaic import Mosaic
from tests.formats import mosaic
from tests.formats.cases import FLOATS, as_contents, example, facts, random, summed
from tests.golden.measured import FOLDER

KEPT = sorted(FOLDER.glob("mosaic-*/*.mosaic"))


def same_mosaic(made, data):
    expected = {
        name: (array.dtype.name, array.shape, array.tobytes())
        for name, array in made.arrays().items()
    }
    assert as_contents(mosaic.read_weights(data)) == expected


def agreed_mosaic(path, made):
    made.save(path, {"made": "by a test"})
    same_mosaic(Mosaic.load(path), path.read_bytes())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("motif_dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("scales", ["none", "one", "rows"])
def test_mosaics_at_every_precision(tmp_path, dtype, motif_dtype, scales):
    random_ = random()
    shapes = {"conv": (6, 2, 3, 3), "scalar": (), "head": (5, 7), "bias": (9,), "empty": (0, 4)}
    partition = Partition(shapes, 3)
    motifs = random_.normal(size=(11, 3)).astype(FLOATS[motif_dtype])
    indices = random_.integers(0, 11, partition.count).astype(np.uint8)
    rows = {name: shape[0] if shape else 1 for name, shape in shapes.items() if name != "empty"}
    numbers = {"none": {}, "one": dict.fromkeys(shapes, 1), "rows": rows}[scales]
    factors = {name: random_.normal(size=n).astype(np.float32) for name, n in numbers.items()}
    dense = {"steps": np.array(7), "flags": np.array([True, False])}
    names = ("steps", *shapes, "flags")
    made = Mosaic(partition, motifs, indices, dense, names, factors, np.dtype(FLOATS[dtype]))
    agreed_mosaic(tmp_path / "x.mosaic", made)


@pytest.mark.parametrize(("motifs", "code"), [(1, "packed"), (256, "packed"), (4, "mixed")])
def test_mosaics_with_both_codes_of_indices(tmp_path, motifs, code):
    random_ = random()
    partition = Partition({"a": (30, 20), "b": (13, 30)}, 2)
    skewed = np.minimum(random_.geometric(0.7, partition.count) - 1, motifs - 1)
    indices = random_.integers(0, motifs, partition.count) if motifs > 4 else skewed
    made = Mosaic(
        partition,
        random_.normal(size=(motifs, 2)).astype(np.float32),
        indices.astype(np.uint8),
        {},
        ("a", "b"),
    )
    agreed_mosaic(tmp_path / "x.mosaic", made)
    assert read_header(tmp_path / "x.mosaic")["indices"] == code


def test_a_mosaic_of_tied_tensors(tmp_path):
    shared, flags = random().normal(size=(6, 4)).astype(np.float32), np.array([1, 2])
    tensors = {"a": shared, "flags": flags, "b": shared, "too": flags, "c": shared[:2].copy()}
    made = dataclasses.replace(Mosaic.from_model(tensors, 2), absent=("base.weight",))
    assert made.aliases == {"b": "a", "too": "flags"}
    agreed_mosaic(tmp_path / "x.mosaic", made)
    read = Mosaic.load(tmp_path / "x.mosaic")
    assert (read.names, read.absent) == (made.names, ("base.weight",))


@pytest.mark.parametrize(
    "entry",
    [["b", [4], ["a"]], ["b", [6, 4], ["c"]], ["b", [6, 4], ["b"]], ["b", [6, 4], []],
     ["b", [6, 4], ["a", "a"]], ["b", [6, 4], [1]]],
)  # fmt: skip
def test_aliases_of_nothing_are_refused(entry):
    header = {
        "block_size": 2, "motifs": [1, "float32"], "dtype": "float32", "indices": "packed",
        "tensors": [["a", [6, 4], 0], entry],
    }  # fmt: skip
    packed = zlib.compress(json.dumps(header).encode())
    values = np.ones(2, np.float32).tobytes()
    body = b"momos\0\3\n" + len(packed).to_bytes(4, "little") + packed + values
    with pytest.raises(InputError, match="description of the mosaic is damaged"):
        Mosaic.decode(body + zlib.crc32(body).to_bytes(4, "little"), "x")


def test_the_mosaic_that_the_repository_has():
    path = Path("data/momos.mosaic")
    same_mosaic(Mosaic.load(path), path.read_bytes())


def test_the_example_of_a_mosaic_file_holds_what_the_page_says(tmp_path):
    data, path = example("mosaic.md"), tmp_path / "example.mosaic"
    path.write_bytes(data)
    found = mosaic.read_weights(data)
    assert found["w"][1].view(np.float32).tolist() == [[1, 2, 0, 0], [1, 2, 1, 2]]
    assert found["step"][1].view(np.int64).tolist() == 7
    same_mosaic(Mosaic.load(path), data)
    assert len(data) == 61
    assert data == Mosaic.from_model(Mosaic.load(path).arrays(), 2, exclude="step").encode()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_mosaic_files_that_are_kept(path):
    assert summed(mosaic.read_weights(path.read_bytes())) == facts(path)
