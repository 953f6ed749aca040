"""Headers of containers: names whose numbers are marks, parameters apart, and earlier forms."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.codes.numbers import number_bytes
from kolmo.container.fields import deflate
from kolmo.container.header import Header, decode_header, encode_header
from kolmo.container.names import mark, unmark
from kolmo.container.parameters import decode_parameters, encode_parameters
from kolmo.errors import InputError, KolmoError

PIECES = st.sampled_from(
    ["layers.", "0", "7", "10", "99", "x", "é", ".", "007", "9" * 17, "9" * 30]
)
NAMES = st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=12)


def encoded(names):
    return [name.encode() for name in names]


# --- names ----------------------------------------------------------------------------------


@given(NAMES)
def test_names_come_back(names):
    marked = list(mark(encoded(names)))
    assert list(unmark(marked)) == encoded(names)
    assert list(unmark(encoded(names))) == encoded(names)  # a writer need not mark any


def test_numbers_are_said_by_how_far_they_are_from_the_last_ones():
    names = ["h.9.1", "h.10.1", "h.10.b", "h.74.2", "x07.8", "x7"]
    wanted = [b"h.\xffI.\xffA", b"h.\xffA.\xff@", b"h.\xff@.b", b"h.74.\xffB", b"x07.8", b"x\xff?"]
    assert list(mark(encoded(names))) == wanted
    assert list(unmark(wanted)) == encoded(names)


@pytest.mark.parametrize("names", [[b"a\xff"], [b"a\xff\x80"], [b"\xff\xff@"], [b"a\xff?"]])
def test_marks_that_say_nothing_are_refused(names):
    with pytest.raises(InputError, match="a number in a name is"):
        list(unmark(names))


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_any_bytes_are_names_or_an_error(names):
    try:
        found = list(unmark(names))
    except InputError:
        return
    assert len(found) == len(names)
    assert sum(map(len, found)) <= 10 * sum(map(len, names))


def test_many_names_that_count_take_next_to_nothing():
    names = [f"model.layers.{n // 2}.{'bias' if n % 2 else 'weight'}" for n in range(3000)]
    units = [(0, 3000, [(0, 3000)])]
    none = [0] * 3000
    header = Header(
        "native", names, [(5,)] * 3000, [10] * 3000, none, none, none, [()] * 3000, units
    )
    assert len(encode_header(header)) < 400
    found = decode_header(encode_header(header))
    assert dataclasses.replace(found, parameters=header.parameters) == header


def test_before_version_3_no_name_has_a_mark():
    body = b"\x06native\x01\x03h\xff@" + b"\x01\x01" + b"\x01\x0a" + b"\x01\x00" * 4 + b"\x00"
    packed = deflate(body)
    data = number_bytes(len(packed)) + packed
    assert decode_header(data, 3).names == ["h0"]
    with pytest.raises(UnicodeDecodeError):
        decode_header(data, 2)


# --- parameters -----------------------------------------------------------------------------

SMALL = st.integers(0, 300).map(float)
NUMBERS = st.one_of(SMALL, st.just(-0.0), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(st.lists(NUMBERS, max_size=30), max_size=4))
def test_parameters_come_back_to_the_bit(parameters):
    found = decode_parameters(encode_parameters(parameters), [len(each) for each in parameters])
    assert [list(map(float.hex, each)) for each in found] == [
        list(map(float.hex, each)) for each in parameters
    ]


def nmse():
    """As many scales as `nmse` has for a few tensors, by integers."""
    random = np.random.default_rng(0)
    codes = [np.rint(random.normal(100, 6, 60)).tolist() for _ in range(4)]
    return [[*random.normal(size=1).astype("f4").tolist(), 300.0, 60.0, *each] for each in codes]


def test_small_whole_numbers_are_apart_where_that_is_shorter():
    parameters = nmse()
    data = encode_parameters(parameters)
    assert data[0] == 2
    assert len(data) < 240 * 5 / 8 + 60
    assert encode_parameters([[0.1, 0.7, 1e300]])[0] == 1
    assert encode_parameters([[1.0] * 9])[0] == 0


def test_damaged_parameters_are_an_error_or_as_many():
    parameters = nmse()
    data, counts = encode_parameters(parameters), [63] * 4
    random, refused = np.random.default_rng(1), 0
    for _ in range(600):
        changed = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            changed[place] = random.integers(256)
        cut = random.integers(len(data) // 2, len(data) + 1)
        try:
            found = decode_parameters(bytes(changed[:cut]), counts)
            assert list(map(len, found)) == counts
        except (KolmoError, LookupError):
            refused += 1
    assert refused > 100


def test_before_version_3_none_are_apart():
    header = Header("nmse:0.01", ["w"], [(60, 5)], [10], [0], [0], [0], nmse()[:1], [])
    data = encode_header(header)
    assert decode_header(data, 3).parameters == header.parameters
    with pytest.raises(InputError, match="later version"):
        decode_header(data, 2)


def test_files_of_small_networks_are_shorter_than_in_version_2(tmp_path):
    """Where they had 7,901 bytes."""
    source = Path(kolmo.__file__).parent / "demo" / "random.safetensors"
    certificate = kolmo.pack(source, tmp_path / "x.kmo", quantizer="nmse:0.01")
    assert certificate.bits <= 8 * 7777
