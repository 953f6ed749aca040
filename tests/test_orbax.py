"""Folders of Orbax and TensorStore: every layout of trees, of zarr, of databases; damaged ones."""

import pytest

from kolmo.checkpoints import ocdbt
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.ocdbt import values_of
from kolmo.errors import InputError
from tests.written import contents, opened, same_in_pieces, truth, untarred

LAYOUTS = ["ocdbt", "zarr", "zarr3", "zarr3-folders"]


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return untarred("orbax/trees", tmp_path_factory.mktemp("orbax"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_are_those_of_the_tree(layout, trees):
    found = opened(trees / layout)
    assert contents(found, None, Role.OPTIMIZER) == truth("orbax")["trees"]
    assert found.format == "orbax"
    assert same_in_pieces(found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_roles(layout, trees):
    found = opened(trees / layout)
    roles = {t.name: t.role for t in found.values()}
    assert {name for name, role in roles.items() if role is None} == {
        "params.dense.bias",
        "params.dense.kernel",
        "params.list.0",
        "params.list.1",
    }
    assert roles["rate"] is roles["step"] is Role.OTHER
    assert all(name.startswith("opt_state") for name, r in roles.items() if r is Role.OPTIMIZER)


def test_a_step_of_several_trees(trees):
    found = opened(trees / "manager" / "10")
    assert contents(found) == truth("orbax")["trees"]
    assert found["opt_state.0.mu.dense.kernel"].role is Role.OPTIMIZER
    assert contents(opened(trees / "manager")) == truth("orbax")["trees"]


def test_an_old_tree_in_a_msgpack_file_with_a_folder_beside_it(trees):
    found = opened(trees / "aggregate")
    assert contents(found) == truth("orbax")["aggregate"]


def test_every_way_to_pack_zarr(tmp_path):
    found = opened(untarred("orbax/zarr", tmp_path))
    wanted = truth("orbax")["zarr"]
    left_out = {s.name: s.reason for s in found.skipped}
    assert set(left_out) == {name for name in wanted if "blosc" in name}
    assert set(left_out.values()) == {"packed by 'blosc', which is not undone"}
    assert contents(found) == {k: v for k, v in wanted.items() if k not in left_out}
    assert same_in_pieces(found)


def test_a_database_of_several_levels_and_versions(tmp_path):
    folder = untarred("orbax/database", tmp_path)
    found = values_of(File.local(folder / "manifest.ocdbt"))
    read = {key: bytes(value.read(0, value.size)).hex() for key, value in found.items()}
    assert read == truth("orbax")["database"]


def test_a_missing_file_of_a_database(tmp_path):
    folder = untarred("orbax/trees", tmp_path) / "ocdbt"
    for file in folder.glob("d/*"):
        file.unlink()
    with pytest.raises(InputError, match="there is no file"):
        opened(folder)


def test_a_database_does_not_leave_its_folder(tmp_path):
    folder = untarred("orbax/trees", tmp_path) / "ocdbt"
    manifest = folder / "manifest.ocdbt"
    data = manifest.read_bytes()
    at = data.index(b"d/")
    manifest.write_bytes(data[:at] + b"../../" + data[at + 6 :])
    with pytest.raises(InputError, match="points outside its folder"):
        opened(folder)


def test_a_description_that_claims_too_much(tmp_path):
    folder = untarred("orbax/trees", tmp_path) / "zarr"
    description = folder / "params.list.0" / ".zarray"
    text = description.read_text()
    description.write_text(text.replace('"shape":[2]', '"shape":[2000000000000]'))
    found = opened(folder)
    assert [(s.name, s.reason) for s in found.skipped] == [
        ("params.list.0", "most of its chunks are missing")
    ]
    description.write_text(text.replace('"chunks":[2]', '"chunks":[2000000000000]'))
    with pytest.raises(InputError, match="a chunk is damaged"):
        opened(folder)["params.list.0"].read()


@pytest.mark.parametrize("read", [ocdbt._children, lambda *node: list(ocdbt._leaf(*node, None))])
def test_a_node_of_a_database_has_entries(read):
    node = ocdbt._Decoder(bytes(9), "here", "")  # no files, no entries
    with pytest.raises(InputError, match="a damaged or truncated database"):
        read(node, b"")
