"""The estimator `pack` says what the units of a container take."""

import numpy as np
import pytest

import kolmo
from kolmo.codes.choosing import PRESETS
from kolmo.codes.lengths import integer_bits
from kolmo.container.format import read_contents
from kolmo.errors import InputError
from kolmo.estimators import get_estimator
from kolmo.estimators import packed as estimator
from kolmo.symbols import Alphabet


def units_of(path):
    """Bits of the units of a file, as the estimator counts them."""
    units = read_contents(path).units
    return sum(8 + integer_bits(unit.size + 1) + 8 * unit.size for unit in units)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("quantizer", ["native", "symmetric:4"])
def test_it_is_what_the_units_of_a_file_take(preset, quantizer, tmp_path):
    random = np.random.default_rng(0)
    model = {f"layers.{n}.weight": random.standard_t(4, (40, 30)).astype("f4") for n in range(3)}
    model |= {f"layers.{n}.bias": random.normal(size=30).astype("f4") for n in range(3)}
    certificate = kolmo.pack(model, tmp_path / "x.kmo", quantizer=quantizer, preset=preset)
    report = kolmo.analyze(
        model, quantizers=[quantizer], estimators=[f"pack:{preset}"], scope="model"
    )
    assert report.table.bits[0] - report.table.side_bits[0] == units_of(tmp_path / "x.kmo")
    assert units_of(tmp_path / "x.kmo") < certificate.bits


@pytest.mark.parametrize("preset", PRESETS)
def test_large_tensors_are_cut_as_a_file_cuts_them(preset, tmp_path, monkeypatch):
    """Small ones wait for others, whatever comes between."""
    for module in ("kolmo.codes.units", "kolmo.container.planning", "kolmo.estimators.packed"):
        monkeypatch.setattr(f"{module}.CUT", 2000)
        if module != "kolmo.codes.units":
            monkeypatch.setattr(f"{module}.SOLID", 900)
    random = np.random.default_rng(1)
    shapes = [(20, 20), (110, 50), (30, 10), (30, 11), (1, 4100), (7,)]
    model = {f"w{n}": random.normal(size=shape).astype("f2") for n, shape in enumerate(shapes)}
    kolmo.pack(model, tmp_path / "x.kmo", preset=preset)
    accumulator = get_estimator(f"pack:{preset}").start_many(
        shapes, Alphabet.of_dtype(np.dtype("f2"))
    )
    for weights in model.values():
        accumulator.update(weights.view("u2").reshape(-1))
    code = accumulator.finish()
    assert code.details["units"] == len(read_contents(tmp_path / "x.kmo").units) == 8
    assert code.bits == units_of(tmp_path / "x.kmo")


def test_best_is_what_is_meant_and_never_longer():
    weights = np.repeat(np.random.default_rng(0).normal(size=(30, 20)).astype("f4"), 3, axis=0)
    bits = {spec: kolmo.estimate(weights, spec).bits for spec in ("pack", "pack:best", "pack:fast")}
    assert bits["pack"] == bits["pack:best"] <= bits["pack:fast"]
    assert str(get_estimator("pack")) == "pack:best"


def test_it_says_why_not():
    with pytest.raises(InputError, match="unknown preset 'bets'; did you mean best"):
        get_estimator("pack:bets")


def test_memory_is_that_of_the_largest_code():
    fast, best = (
        get_estimator(f"pack:{preset}").working_memory([(4000, 4000)], Alphabet(2**32))
        for preset in ("fast", "best")
    )
    assert 90 << 20 < fast < best < 1 << 30
    assert estimator.Pack("best").kind == "bound"
