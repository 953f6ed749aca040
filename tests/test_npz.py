"""Archives of numpy: packed members, other files beside the arrays, dtypes that numpy drops."""

import zipfile

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError
from tests.written import same_in_pieces

ARRAY = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)


def test_other_files_beside_the_arrays_are_listed(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=ARRAY)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.txt", "x")
    found = kolmo.open_checkpoint(path)
    assert list(found) == ["w"]
    assert [(s.name, s.reason) for s in found.skipped] == [
        ("README.txt", "no array but another file of the archive")
    ]


def test_packed_members_in_every_order_of_bytes_and_axes(tmp_path):
    path = tmp_path / "w.npz"
    arrays = {"c": ARRAY, "f": np.asfortranarray(ARRAY * 2), "big": (ARRAY * 3).astype(">f8")}
    arrays |= {f"a{number}": ARRAY + 1 + number for number in range(12)}
    np.savez_compressed(path, **arrays)
    found = kolmo.open_checkpoint(path)
    for name in [*arrays, *reversed(arrays)]:
        assert np.array_equal(found[name].read(), arrays[name])
    assert same_in_pieces(found)


def test_a_bfloat16_is_read_and_said_to_be_a_guess(tmp_path):
    values = ARRAY.astype(ml_dtypes.bfloat16)
    for path, save in ((tmp_path / "w.npz", np.savez), (tmp_path / "w.npy", np.save)):
        save(path, values)
        found = kolmo.open_checkpoint(path)
        (tensor,) = found.values()
        assert np.array_equal(tensor.read(), values)
        assert [s.reason for s in found.skipped] == [
            "2 bytes a number without a dtype, read as bfloat16"
        ]


def test_a_damaged_member_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, w=np.random.default_rng(0).normal(size=20_000))
    data = bytearray(path.read_bytes())
    data[90_000:90_200] = bytes(200)
    path.write_bytes(data)
    found = kolmo.open_checkpoint(path)
    with pytest.raises(InputError, match=r"array 'w\.npy' cannot be read"):
        found["w"].load(0, 10)
