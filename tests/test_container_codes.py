"""The codes of containers: each lossless, or none; the shortest; and units for them."""

from __future__ import annotations

import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints.base import array_tensor
from kolmo.codes import base
from kolmo.codes.base import (
    CODES,
    RESERVED,
    code_name,
    code_numbers,
    get_code,
    register_code,
)
from kolmo.codes.choosing import shortest_code
from kolmo.codes.mosaic import find_block_size
from kolmo.container.finding import find_mosaics
from kolmo.container.format import Entry
from kolmo.container.planning import CUT, SOLID, plan_units
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet

RANDOM = np.random.default_rng(0)
FLOATS = Alphabet(2**32, "float32")


NUMBERS = {
    "raw": 0,
    "constant": 1,
    "mosaic": 2,
    "zstd": 3,
    "xz": 4,
    "brotli": 5,
    "bz2": 6,
    "deflate": 7,
    "mixing": 8,
    "context": 9,
    "byteplanes": 10,
    "counts": 11,
    "repeat": 12,
    "grid": 13,
    "records": 14,
    "predictive": 15,
    "trellis": 16,
}
"""What is written in files: another number for a name, or another name, and none can be read."""


def test_numbers_and_names_are_a_contract():
    assert code_numbers() | RESERVED == NUMBERS
    assert len(set(NUMBERS.values())) == len(NUMBERS)
    for name, number in code_numbers().items():
        assert (get_code(name).name, get_code(name).number) == (name, number)
        assert get_code(number) is get_code(name)


def test_unknown_codes_are_explained():
    with pytest.raises(InputError, match="no code of number 250"):
        get_code(250)
    with pytest.raises(InputError, match="unknown code 'zst'; did you mean zstd"):
        get_code("zst")


def another_code(name, number):
    return type("Another", (type(get_code("raw")),), {"name": name, "number": number})()


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("raw", 0, r"'raw' is number 0, in kolmo\..*plain"),
        ("raw", 200, "'raw' is number 0"),
        ("another", 0, "'raw' is number 0"),
        ("repeat", 11, "'counts' is number 11"),
        ("another", 256, "0 to 255, not 256"),
        ("another", -1, "0 to 255, not -1"),
    ],
)
def test_a_code_takes_no_name_or_number_of_another(name, number, message):
    with pytest.raises(InputError, match=message):
        register_code(another_code(name, number))
    with pytest.raises(InputError, match=message):
        CODES.declare_number(name, number, "elsewhere")
    assert code_numbers() | RESERVED == NUMBERS


def test_a_code_may_be_registered_again():
    """As when its module is loaded anew."""
    raw = get_code("raw")
    assert register_code(raw) is raw


def test_a_code_of_ones_own_is_found():
    own = another_code("another", 200)
    with CODES.lent(own):
        assert get_code("another") is get_code(200) is own
        second = type("Second", (type(own),), {})()
        with pytest.raises(InputError, match="a code named 'another' exists already, in tests"):
            register_code(second)
    with pytest.raises(InputError, match="no code of number 200"):
        get_code(200)


def test_what_repeats_is_no_code():
    assert code_name(12) == "repeat"
    for which in (12, "repeat"):
        with pytest.raises(InputError, match="unknown code 'repeat'"):
            get_code(which)
    with pytest.raises(InputError, match="'repeat' is number 12, in every container"):
        register_code(another_code("again", 12))


def test_a_builtin_code_is_not_replaced_before_it_is_imported():
    program = (
        f"from {base.__name__} import get_code, register_code\n"
        "raw = type(get_code('raw'))\n"
        "register_code(type('Own', (raw,), {'name': 'counts', 'number': 11})())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (
        done.stderr.rstrip().splitlines()[-1].startswith("kolmo.errors.InputError: code 'counts'")
    )


def test_repeated_stretches_are_found_whatever_the_layout():
    rows = RANDOM.normal(size=(40, 1000)).astype(np.float32)
    symbols = rows[RANDOM.integers(0, 40, 200)].view(np.uint32)
    code, data = shortest_code([symbols], FLOATS, "best")
    assert len(data) < 1.1 * rows.nbytes
    assert np.array_equal(get_code(code).decode(data, [symbols.shape], FLOATS)[0], symbols)


def test_never_longer_than_raw():
    noise = RANDOM.integers(0, 2**32, 5000, np.uint32)
    assert len(shortest_code([noise], Alphabet(2**32), "best")[1]) <= noise.nbytes


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
    units = plan_units(entries)
    assert all(unit.numel <= CUT for unit in units)
    reached = [0] * len(entries)
    for unit in units:
        for part in unit.parts:
            assert part.start == reached[part.tensor]
            assert part.stop - part.start == math.prod(part.shape)
            reached[part.tensor] = part.stop
    assert reached == [entry.numel for entry in entries]
    assert [len(unit.parts) for unit in units] == [1] * 4 + [2] + [1] * 3 + [1]
    assert {entry.alphabet.format for entry in entries} == {"float32", ""}


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
            [entry], lambda part: weights.view(np.uint16).ravel()[part.start : part.stop]
        )

    assert not found(normal)
    assert len(found(mosaic)) == 1


@pytest.mark.parametrize(("preset", "quick"), [("best", "predictive"), ("default", "context")])
def test_codes_that_take_long_run_on_large_units_where_a_sample_is_shorter(
    preset, quick, monkeypatch
):
    random, patient = np.random.default_rng(0), type(get_code("records"))
    noise = random.normal(size=(300, 200)).astype(np.float32).view(np.uint32)
    places = np.subtract.outer(np.arange(300), np.arange(200)) + 199
    toeplitz = random.normal(size=499).astype(np.float32).view(np.uint32)[places]
    sizes, encode = [], patient.encode

    def counted(self, parts, alphabet):
        sizes.append(sum(part.size for part in parts))
        return encode(self, parts, alphabet)

    monkeypatch.setattr(patient, "encode", counted)
    assert shortest_code([noise], FLOATS, preset)[0] == get_code(quick).number
    assert max(sizes) < noise.size / 5
    assert shortest_code([toeplitz], Alphabet(1 << 32), preset)[0] == get_code("records").number
    assert max(sizes) == toeplitz.size


def test_weights_are_not_coded_as_they_are_where_a_grid_is_shorter_on_a_sample(monkeypatch):
    random, context = np.random.default_rng(0), type(get_code("context"))
    noise = random.normal(size=(400, 300)).astype(np.float32).view(np.uint32)
    zeros = random.choice(np.uint32([0, 0, 10]), (400, 1))
    rows = noise >> zeros << zeros
    sizes, encode = [], context.encode

    def counted(self, parts, alphabet):
        sizes.append(sum(part.size for part in parts))
        return encode(self, parts, alphabet)

    monkeypatch.setattr(context, "encode", counted)
    code, data = shortest_code([rows], FLOATS, "default")
    assert code == get_code("grid").number
    assert max(sizes) < rows.size
    assert len(data) < len(get_code("context").encode([rows], FLOATS))
