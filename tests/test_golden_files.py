"""Containers and mosaic files of every version still say what they said, and are written alike."""

from __future__ import annotations

import json

import pytest

import kolmo
from kolmo.codes.base import RESERVED, code_numbers
from momos import Mosaic
from tests.golden.containers import (
    CONTAINERS,
    MOSAIC_VERSION,
    MOSAICS,
    VERSION,
    container_libraries,
    mosaic_facts,
    mosaic_libraries,
    mosaic_path,
    tensors_of,
)
from tests.golden.measured import DATA, FOLDER
from tests.golden.remaking import update

PACKED = FOLDER / f"kmo-{VERSION}.json"
SLOW = ("repeat-best",)


def index(path):
    return json.loads(path.read_text(encoding="utf-8"))


def golden(path):
    """What is kept of a file, beside its folder."""
    return index(path.parent.with_suffix(".json"))[path.stem]


def kept(pattern):
    """Files of all versions."""
    return [pytest.param(p, id=f"{p.parent.name}/{p.stem}") for p in sorted(FOLDER.glob(pattern))]


def skip_where_another_wrote(path, here):
    made_with = golden(path)["library"]
    if made_with != here:
        pytest.skip(f"not compared: {path.name} was made with {made_with}, and here is {here}")


# --- containers -----------------------------------------------------------------------------


def container_facts(path, folder):
    """What a file holds, once it is decoded."""
    certificate = kolmo.verify(path)
    return {
        "bits": certificate.bits,
        "codes": sorted({unit.code for unit in certificate.units}),
        "sha256": certificate.sha256,
        "tensors": tensors_of(kolmo.unpack(path, folder / "back.safetensors")),
    }


@pytest.mark.parametrize("path", kept("kmo-*/*.kmo"))
def test_a_container_holds_what_it_held(path, tmp_path):
    assert container_facts(path, tmp_path).items() <= golden(path).items()
    assert golden(path)["bits"] == 8 * path.stat().st_size


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(packed, id=packed.name, marks=[pytest.mark.slow] * (packed.name in SLOW))
        for packed in CONTAINERS
    ],
)
def test_packing_again_writes_the_same_bytes(packed, tmp_path, request):
    if request.config.getoption("remake_golden"):
        packed.pack(packed.path)
        facts = container_facts(packed.path, tmp_path)
        update(PACKED, packed.name, {"library": container_libraries(), **facts})
        pytest.skip(f"remade {packed.path}")
    skip_where_another_wrote(packed.path, container_libraries())
    packed.pack(tmp_path / "again.kmo")
    assert (tmp_path / "again.kmo").read_bytes() == packed.path.read_bytes()


@pytest.mark.parametrize("packed", CONTAINERS, ids=lambda packed: packed.name)
def test_a_container_is_what_its_source_says(packed):
    certificate = kolmo.verify(packed.path, packed.weights())
    assert certificate.quantizer == packed.quantizer


def test_every_code_is_in_a_container():
    """Of some version: all but the one by which mosaics code their indices alone, and what repeats
    besides."""
    indexes = [index(path) for path in PACKED.parent.glob("kmo-*.json")]
    found = {code for each in indexes for facts in each.values() for code in facts["codes"]}
    assert found | {"mixing"} == {*code_numbers(), *RESERVED}


def test_mosaics_in_containers_are_of_every_kind():
    """Of one dictionary, of one for each tensor, and of one with scales."""
    whole = [p.path for p in CONTAINERS if golden(p.path)["codes"] == ["mosaic"]]
    assert {path.read_bytes()[4] for path in whole} == {0, 1, 2}


def test_no_container_is_left_over_or_of_another_version():
    files = list(PACKED.with_suffix("").iterdir())
    assert {path.stem for path in files} == {p.name for p in CONTAINERS} == set(index(PACKED))
    assert {path.read_bytes()[:4] for path in files} == {b"kmo" + bytes([VERSION])}


# --- mosaic files ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", kept("mosaic-*/*.mosaic"))
def test_a_mosaic_file_holds_what_it_held(path):
    """The bits are those of the version that is written: an earlier one has the file's own."""
    facts = mosaic_facts(Mosaic.load(path))
    if path.parent.name != f"mosaic-{MOSAIC_VERSION}":
        assert facts["bits"] < golden(path)["bits"]
        facts["bits"] = 8 * path.stat().st_size
    assert facts.items() <= golden(path).items()


@pytest.mark.parametrize("name", MOSAICS)
def test_saving_again_writes_the_same_bytes(name, tmp_path, request):
    made, path = MOSAICS[name](), mosaic_path(name)
    if request.config.getoption("remake_golden"):
        made.save(path)
        update(
            path.parent.with_suffix(".json"),
            name,
            {"library": mosaic_libraries(), **mosaic_facts(Mosaic.load(path))},
        )
        pytest.skip(f"remade {path}")
    assert mosaic_facts(made)["tensors"] == golden(path)["tensors"]
    skip_where_another_wrote(path, mosaic_libraries())
    made.save(tmp_path / "again.mosaic")
    assert (tmp_path / "again.mosaic").read_bytes() == path.read_bytes()


def test_no_mosaic_file_is_left_over_or_of_another_version():
    files = list((FOLDER / f"mosaic-{MOSAIC_VERSION}").iterdir())
    kept_facts = index(FOLDER / f"mosaic-{MOSAIC_VERSION}.json")
    assert {path.stem for path in files} == set(MOSAICS) == set(kept_facts)
    magic = b"momos\0" + bytes([MOSAIC_VERSION])
    assert {path.read_bytes()[: len(magic)] for path in files} == {magic}


def test_the_mosaic_of_the_demo_is_its_weights():
    loaded = mosaic_facts(Mosaic.load(DATA / "momos.mosaic"))
    assert loaded["tensors"] == tensors_of(DATA / "momos.safetensors")
