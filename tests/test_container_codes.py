"""The codes of containers: each lossless, or none; the shortest; and units for them."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints.base import array_tensor
from kolmo.codes.base import KINDS, code_numbers, get_code, register_code
from kolmo.codes.choosing import shortest_code
from kolmo.codes.mosaic import find_block_size
from kolmo.container.finding import find_mosaics
from kolmo.container.format import Entry
from kolmo.container.planning import CUT, SOLID, plan_units
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer

RANDOM = np.random.default_rng(0)


def test_numbers_and_names_are_a_contract():
    numbers = code_numbers()
    assert len(set(numbers.values())) == len(numbers)
    known = {"raw": 0, "constant": 1, "mosaic": 2, "zstd": 3, "xz": 4, "brotli": 5, "bz2": 6}
    assert known.items() <= numbers.items()
    with pytest.raises(InputError, match="is number 0"):
        register_code(get_code("raw"))
    with pytest.raises(InputError, match="no code of number 250"):
        get_code(250)
    with pytest.raises(InputError, match="unknown code 'zst'; did you mean zstd"):
        get_code("zst")


def test_repeated_stretches_are_found_whatever_the_layout():
    rows = RANDOM.normal(size=(40, 1000)).astype(np.float32)
    symbols = rows[RANDOM.integers(0, 40, 200)].view(np.uint32)
    code, data = shortest_code([symbols], 2**32, "float32", "best")
    assert len(data) < 1.1 * rows.nbytes
    assert np.array_equal(
        get_code(code).decode(data, [symbols.shape], 2**32, "float32")[0], symbols
    )


def test_never_longer_than_raw():
    noise = RANDOM.integers(0, 2**32, 5000, np.uint32)
    assert len(shortest_code([noise], 2**32, "", "best")[1]) <= noise.nbytes


def test_units_are_bounded_and_cover_everything():
    quantizer = get_quantizer("native")
    shapes = [
        (3, 5),
        (SOLID // 2,),
        (CUT // 1000 * 3, 1001),
        (0,),
        (SOLID // 2 + 1,),
        (CUT * 2 + 1,),
    ]
    dtypes = ["f4", "f4", "f4", "f4", "f4", "u1"]
    entries = [
        Entry(str(n), shape, np.dtype(d), quantizer.restore(np.dtype(d), []))
        for n, (shape, d) in enumerate(zip(shapes, dtypes, strict=True))
    ]
    units = plan_units(entries, quantizer)
    assert all(unit.numel <= CUT for unit in units)
    reached = [0] * len(entries)
    for unit in units:
        for part in unit.parts:
            assert part.start == reached[part.tensor]
            assert part.stop - part.start == math.prod(part.shape)
            reached[part.tensor] = part.stop
    assert reached == [entry.numel for entry in entries]
    assert [len(unit.parts) for unit in units] == [1] * 4 + [2] + [1] * 3 + [1]
    assert set(KINDS) >= {entry.kind(quantizer) for entry in entries}


def test_16_bit_floats_that_repeat_are_no_mosaic():
    """There are few of them; a table of as many motifs saves nothing."""
    normal = RANDOM.normal(0, 0.05, (500, 400)).astype(ml_dtypes.bfloat16)
    motifs = RANDOM.normal(0, 0.05, (16, 4)).astype(ml_dtypes.bfloat16)
    mosaic = motifs[RANDOM.integers(0, 16, 50_000)].reshape(500, 400)
    assert find_block_size([normal.view(np.uint16)], 16) is not None

    def found(weights):
        native = get_quantizer("native")
        coder = native.fit(array_tensor("w", weights))
        entry = Entry("w", weights.shape, weights.dtype, coder)
        return find_mosaics(
            [entry], native, lambda part: weights.view(np.uint16).ravel()[part.start : part.stop]
        )

    assert not found(normal)
    assert len(found(mosaic)) == 1
