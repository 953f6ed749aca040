"""Every bit count of known weights is the one that is kept in tests/golden (see its README)."""

from __future__ import annotations

import csv
import json

import pytest

import kolmo
from kolmo.estimators import estimator_class, estimator_names
from kolmo.layout import LAYOUTS
from kolmo.nulls import Null
from kolmo.quantize import quantizer_class, quantizer_names
from tests.golden.libraries import library
from tests.golden.measured import (
    COMPRESSORS,
    FOLDER,
    MEASURES,
    NULLS,
    QUANTIZERS,
    SOURCES,
    SPECS,
    Row,
)
from tests.golden.remaking import update

MADE = FOLDER / "made.json"
SLOW = ("few-symbols",)
NUMBERS = ("covered", "raw_bits", "bits", "side_bits", "standard_error", "null_bits")


def path_of(name):
    return FOLDER / "bits" / f"{name}.csv"


def read(name) -> list[Row]:
    assert path_of(name).exists(), f"there is no golden of {name}: pytest --remake-golden -k {name}"
    with open(path_of(name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def remake(name, rows):
    with open(path_of(name), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    update(MADE, name, {"library": library(name), "version": version(name)})


def is_newer(name):
    """Whether the library or the estimator of a golden is of another version than its maker was."""
    was = json.loads(MADE.read_text()).get(name, {})
    return (was.get("version", 1), was.get("library", "")) != (version(name), library(name))


def version(name):
    """That of the estimator of a golden; results that are kept are forgotten when it rises."""
    estimator = name.rpartition("-")[2]
    return estimator_class(estimator).version if estimator in estimator_names() else 1


def exact(row):
    """The row with its numbers as the bits that they are."""
    return {
        column: float(text).hex() if column in NUMBERS and text else text
        for column, text in row.items()
    }


def differences(kept, made):
    """What is no longer as it was, a line a row."""
    return [f"{a}\n  is now\n{b}" for a, b in zip(kept, made, strict=True) if exact(a) != exact(b)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in sorted(MEASURES)],
)
def test_every_bit_is_as_it_was(name, request):
    if request.config.getoption("remake_golden"):
        rows = MEASURES[name]()
        old = read(name) if path_of(name).exists() else []
        changed = len(differences(old, rows)) if len(old) == len(rows) else len(rows)
        if changed and len(old) == len(rows) and not is_newer(name):
            pytest.fail(f"{changed} bit counts of {name} moved: raise its class's `version` first")
        remake(name, rows)
        pytest.skip(f"remade {path_of(name)}: {changed} of {len(rows)} rows are new")
    kept = read(name)
    made_with, now = json.loads(MADE.read_text())[name]["library"], library(name)
    if made_with != now:
        pytest.skip(f"not compared: {name} was made with {made_with}, and here is {now}")
    made = MEASURES[name]()
    assert len(made) == len(kept)
    changed = differences(kept, made)
    assert not changed, "\n".join([f"{len(changed)} of {len(kept)} rows changed", *changed[:5]])


def own(names, class_of):
    """Those of this package, without what a plugin or another test registered."""
    return {name for name in names if class_of(name).__module__.startswith("kolmo.")}


def subclasses(cls):
    return {cls, *(each for child in cls.__subclasses__() for each in subclasses(child))}


def test_everything_registered_has_a_golden():
    assert own(estimator_names(), estimator_class) == set(SPECS)
    assert {kolmo.get_estimator(s).name for specs in SPECS.values() for s in specs} == set(SPECS)
    kept = {kolmo.get_quantizer(spec).name for spec in QUANTIZERS}
    assert own(quantizer_names(), quantizer_class) == kept
    named = {
        n.name
        for n in subclasses(Null)
        if hasattr(n, "name") and n.__module__.startswith("kolmo.nulls.")
    }
    kept = {spec.partition(":")[0] for spec in NULLS}
    assert named - {"reference"} == kept  # a reference is weights as any are


def test_no_golden_is_left_over_or_missing():
    files = {path.stem for path in (FOLDER / "bits").iterdir()}
    assert files == set(MEASURES) == set(json.loads(MADE.read_text()))


@pytest.mark.parametrize("name", sorted(SPECS))
def test_the_files_hold_every_combination(name):
    rows = read(name)
    layouts = {row["layout"] for row in rows}
    assert layouts == (set(LAYOUTS) if hasattr(kolmo.get_estimator(name), "layout") else {""})
    wanted = {(str(kolmo.get_quantizer(q)), layout) for q in QUANTIZERS for layout in layouts}
    assert {(row["quantizer"], row["layout"]) for row in rows} >= wanted
    assert all(bool(row["bits"]) != bool(row["reason"]) for row in rows)


@pytest.mark.parametrize("name", sorted(set(SPECS) - set(COMPRESSORS)))
def test_one_array_costs_what_the_tensor_does(name):
    """`kolmo.estimate` has ways of its own, which give the same bits."""
    array = kolmo.open_checkpoint(SOURCES["trained"])["layers.4.weight"].read()
    rows = [row for row in read(name) if row["tensor"] == "layers.4.weight" and row["bits"]]
    for row in rows:
        code = kolmo.estimate(array, row["estimator"], row["quantizer"])
        assert float(code.bits).hex() == float(row["bits"]).hex(), row
        assert (code.kind, code.raw_bits) == (row["kind"], float(row["raw_bits"]))
    assert rows
