"""HDF5 files of h5py, in each generation of the format; damaged and hostile ones."""

import zlib

import numpy as np
import pytest

from kolmo.checkpoints.filters import inflate, unlzf
from kolmo.checkpoints.grids import Grid
from kolmo.checkpoints.hdf5 import Hdf5
from kolmo.checkpoints.recent import Recent, boxes
from kolmo.checkpoints.stored import file_bytes
from kolmo.errors import InputError
from tests.written import contents, opened, same_in_pieces, truth, unpacked

VERSIONS = ["earliest", "v110", "latest"]


@pytest.mark.parametrize("version", VERSIONS)
def test_all_datasets_are_those_of_h5py(version, tmp_path):
    found = opened(unpacked(f"hdf5/{version}.h5", tmp_path))
    wanted = truth("hdf5")["versions"]
    read = contents(found)
    guessed = read.pop("unsaid")
    assert read == wanted
    assert guessed[:2] == [[4], "bfloat16"]
    assert found.format == "hdf5"
    assert same_in_pieces(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_not_read_is_listed_and_links_are_not_followed(version, tmp_path):
    found = opened(unpacked(f"hdf5/{version}.h5", tmp_path))
    assert {(s.name, s.reason, s.numel) for s in found.skipped} == {
        ("group.loop", "the same object as 'group'", 0),
        ("outside", "a link to another file, 'other.h5'; not followed", 0),
        ("raw", "its numbers lie in another file, which is not opened", 4),
        ("soft", "a link to '/scalar' in this file", 0),
        ("table", "a table with fields 'a', 'b'", 3),
        ("unsaid", "2 bytes a number without a dtype, read as bfloat16", 0),
        ("virtual", "put together from other datasets (virtual); not read", 4),
        ("void", "3 bytes without a dtype", 4),
        ("words", "text", 0),
        ("zz-again", "the same object as 'scalar'", 0),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_attributes(version, tmp_path):
    file = Hdf5(file_bytes(unpacked(f"hdf5/{version}.h5", tmp_path)))
    found = file.attributes()
    assert found.pop("numbers").tolist() == [0, 1, 2, 3]
    assert found == {
        "text": "héé",
        "texts": ["a", "bbb"],
        "bytes": "zz",
        "number": 4,
        "long": "y" * 100_000,
        "fixed": ["q", "rr"],
    }
    assert file.attributes("no", "such") == {}


def test_a_block_before_the_file(tmp_path):
    found = opened(unpacked("hdf5/after-512-bytes.h5", tmp_path))
    assert contents(found) == truth("hdf5")["after-512-bytes.h5"]


def test_a_truncated_file_is_said_to_be_so(tmp_path):
    path = unpacked("hdf5/earliest.h5", tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="a damaged or truncated HDF5 file; fetch it again"):
        opened(path)


def test_a_chunk_that_holds_more_than_it_may_is_refused():
    bomb = zlib.compress(bytes(1 << 24))
    with pytest.raises(ValueError, match="other than the 64 bytes"):
        inflate(bomb, 64)
    assert inflate(zlib.compress(b"x" * 64), 64) == b"x" * 64


def test_lzf_of_references_that_overlap_themselves():
    assert unlzf(b"\x00a\xe0\x0a\x00", 64) == b"a" * 20
    for damaged in (b"\x00a\x20\x05", b"\x00a\xe0", b"\x20"):
        with pytest.raises(ValueError, match="LZF"):
            unlzf(damaged, 64)


# --- grids of chunks --------------------------------------------------------------------------


def grid_of(array, sides, budget=1 << 20):
    """The array in chunks, and the coordinates of those that were decoded."""
    decoded = []

    def decode(index):
        decoded.append(index)
        chunk = np.zeros(sides, array.dtype)
        part = array[tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, sides, strict=True))]
        chunk[tuple(map(slice, part.shape))] = part
        return chunk

    return Grid(array.shape, sides, array.dtype, decode, 0, Recent(budget)), decoded


@pytest.mark.parametrize("budget", [1 << 20, 64])
@pytest.mark.parametrize("sides", [(1, 1, 1), (2, 3, 4), (7, 5, 3), (1, 9, 1), (9, 9, 9)])
def test_each_chunk_is_decoded_once_on_the_way_through(sides, budget):
    array = np.arange(7 * 5 * 3.0).reshape(7, 5, 3)
    grid, decoded = grid_of(array, sides, budget)
    read = [grid.load(at, min(at + 11, array.size)) for at in range(0, array.size, 11)]
    assert np.array_equal(np.concatenate(read), array.reshape(-1))
    assert (
        len(decoded)
        == len(set(decoded))
        == np.prod([-(-n // s) for n, s in zip(array.shape, sides, strict=True)])
    )


def test_runs_of_entries_are_boxes():
    array = np.arange(4 * 3 * 5).reshape(4, 3, 5)
    for start in range(61):
        for stop in range(start, 61):
            parts = [
                array[tuple(slice(*side) for side in box)].reshape(-1)
                for box in boxes(array.shape, start, stop)
            ]
            read = np.concatenate([np.empty(0, int), *parts])
            assert np.array_equal(read, np.arange(start, stop))


def test_missing_chunks_have_the_fill_value():
    for budget in (1 << 20, 8):
        grid = Grid((3, 4), (2, 2), np.dtype("f4"), lambda index: None, 2.5, Recent(budget))
        assert grid.load(0, 12).tolist() == [2.5] * 12


# --- damaged files ----------------------------------------------------------------------------
