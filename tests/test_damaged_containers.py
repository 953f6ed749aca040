"""Damaged containers: an error of one line, or the exact weights; nothing else, and no memory."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tracemalloc
import zlib

import numpy as np
import pytest

import kolmo
from kolmo.codes import numbers
from kolmo.codes.base import code_numbers, get_code
from kolmo.container.fields import likely_words
from kolmo.container.format import MAGIC, read_contents, with_checksum, with_foot
from kolmo.container.header import decode_header, encode_header
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet
from kolmo.testing.codes import damaged
from tests.checkpoints import contents

RANDOM = np.random.default_rng(0)
MOTIFS = RANDOM.normal(size=(4, 2)).astype(np.float32)
BYTES = RANDOM.integers(0, 9, (3, 5)).astype(np.uint8)
SOURCE = {
    "a": MOTIFS[RANDOM.integers(0, 4, 60)].reshape(4, 30),
    "b": RANDOM.normal(size=20).astype(np.float16),
    "c": BYTES,
    "d": np.zeros((2, 0)),
    "e": BYTES.reshape(5, 3).copy(),
    "f": np.ones(9),
}


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    path = tmp_path_factory.mktemp("seed") / "x.kmo"
    certificate = kolmo.pack(SOURCE, path, threads=1)
    return path.read_bytes(), certificate.sha256


def outcome(path):
    """The digest of what a container holds, None where it is refused, in one line."""
    try:
        return kolmo.verify(path, threads=1).sha256
    except InputError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return None


def test_random_damage_is_an_error_or_changes_nothing(tmp_path, seed):
    data, sha256 = seed
    path, refused = tmp_path / "x.kmo", 0
    for number in range(1600):
        changed = damaged(data, number)
        path.write_bytes(changed)
        found = outcome(path)
        assert found == (sha256 if changed == data else None)
        refused += found is None
    assert refused > 1500


@pytest.mark.parametrize("spec", ["symmetric:8", "affine:3", "codebook:4"])
def test_random_damage_to_what_dequantizes(tmp_path, spec):
    """Scales and values are in the header; what is unpacked is the same, or nothing."""
    path, out = tmp_path / "x.kmo", tmp_path / "x.safetensors"
    kolmo.pack({name: SOURCE[name] for name in "abf"}, path, quantizer=spec, threads=1)
    data, right, refused = path.read_bytes(), contents(kolmo.unpack(path, out)), 0
    for number in range(500):
        changed = damaged(data, number)
        path.write_bytes(changed)
        out.unlink(missing_ok=True)
        try:
            assert contents(kolmo.unpack(path, out, threads=1)) == right
            assert changed == data
        except InputError:
            assert not out.exists()
            refused += 1
    assert refused > 450


def test_every_cut_and_every_flipped_byte_of_the_header(tmp_path, seed):
    data, _ = seed
    path = tmp_path / "x.kmo"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        assert outcome(path) is None
    for place in [*range(4), *range(len(data) - 100, len(data))]:
        changed = bytearray(data)
        changed[place] ^= 255
        path.write_bytes(changed)
        assert outcome(path) is None


def test_nothing_is_written_where_the_container_is_damaged(tmp_path, seed):
    data, _ = seed
    path = tmp_path / "x.kmo"
    path.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    with pytest.raises(InputError, match="checksum is wrong"):
        kolmo.unpack(path, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == [path]


# --- containers that lie, with checksums that are right -------------------------------------


def opened(data):
    """The header of a container, where it starts, and the digest after it."""
    length = numbers.Reader(data[:-6:-1]).number()
    foot = 20 + len(numbers.number_bytes(length))
    start = len(data) - foot - length
    return decode_header(data[start:-foot]), start, data[-foot : len(data) - foot + 16]


def forged(data, change=None, units=None):
    """The container with another header, or other units."""
    header, start, digest = opened(data)
    if change:
        header = change(header)
    body = data[4:start] if units is None else b"".join(map(with_checksum, units))
    return MAGIC + body + with_foot(encode_header(header), digest)


def change_unit(number, place, value):
    def change(header):
        units = [list(unit) for unit in header.units]
        units[number][place] = value
        return dataclasses.replace(header, units=units)

    return change


def changed(**values):
    return lambda header: dataclasses.replace(header, **values)


SHAPES = [(4, 30), (20,), (3, 5), (2, 0), (5, 3), (9,)]


@pytest.mark.parametrize(
    "change",
    [
        changed(shapes=SHAPES[:-1]),
        changed(shapes=[*SHAPES, ()]),
        changed(shapes=[(2**40, 2**40), *SHAPES[1:]]),
        changed(shapes=[(1,) * 65, *SHAPES[1:]]),
        changed(names=["a", "a", "c", "d", "e", "f"]),
        changed(names=list("abcde")),
        changed(names=list("abcdefg")),
        changed(dtypes=[10, 11]),
        changed(dtypes=[99]),
        changed(quantizer="symmetric:99"),
        changed(quantizer="symmetric:8"),
        changed(quantizer=""),
        changed(parameters=[[1.0], *[[]] * 5]),
        changed(parameters=[[1.0], []] * 2),
        changed(copies=[1]),
        changed(copies=[1, 0, 0, 0, 3, 0]),
        changed(copies=[0, 0, 6, 0, 3, 0]),
        changed(copies=[0, 0, 0, 0, 2, 0]),
        changed(copies=[0, 0, 0, 0, 99, 0]),
        changed(roles=[6]),
        changed(roles=[0, 2]),
        changed(weights=[7], roles=[2]),
        changed(weights=[7, 0]),
        changed(units=[]),
        change_unit(0, 1, 2**60),
        change_unit(0, 2, []),
        change_unit(0, 2, [(0, 2)]),
        change_unit(0, 2, [(0, 10**9)]),
        change_unit(0, 2, [(0, 10**9)] * 10**5),
        change_unit(0, 2, [(9, 1)]),
        change_unit(0, 2, [(0, 0, 0, 60)]),
        change_unit(0, 2, [(0, 0, 60, 0)]),
        change_unit(0, 2, [(0, 0, 0, 999)]),
    ],
)
def test_a_header_that_contradicts_itself(tmp_path, seed, change):
    path = tmp_path / "x.kmo"
    path.write_bytes(forged(seed[0]))
    assert outcome(path) == seed[1]
    path.write_bytes(forged(seed[0], change))
    with pytest.raises(InputError, match=r"contradicts itself|do not fill the file"):
        read_contents(path)


@pytest.mark.parametrize(
    "change",
    [
        changed(shapes=[(4, 31), *SHAPES[1:]]),
        changed(shapes=SHAPES[::-1]),
        changed(dtypes=[10]),
        changed(copies=[0]),
    ],
)
def test_a_header_of_other_weights(tmp_path, seed, change):
    path = tmp_path / "x.kmo"
    path.write_bytes(forged(seed[0], change))
    assert outcome(path) is None


@pytest.mark.parametrize("spec", ["native", "symmetric:8"])
def test_whatever_the_header_says_with_the_right_checksum(tmp_path, spec):
    path = tmp_path / "x.kmo"
    right = kolmo.pack(SOURCE, path, quantizer=spec, threads=1).sha256
    data = path.read_bytes()
    header, start, digest = opened(data)
    outer = numbers.Reader(encode_header(header))
    packed, parameters = outer.take(outer.number()), outer.rest()
    body = zlib.decompressobj(-15, zdict=likely_words()).decompress(packed)
    for number in range(1200):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=likely_words())
        packed = deflate.compress(damaged(body, number)) + deflate.flush()
        lied = damaged(parameters, number) if parameters and number % 5 == 0 else parameters
        said = numbers.number_bytes(len(packed)) + packed + lied
        path.write_bytes(data[:start] + with_foot(said, digest))
        assert outcome(path) in (None, right)  # names and scales may be others


def test_units_that_are_not_what_was_packed(tmp_path, seed):
    path = tmp_path / "x.kmo"
    path.write_bytes(seed[0])
    found = read_contents(path)
    units = [found.read_unit(number) for number in range(len(found.units))]
    for number, unit in enumerate(units):
        for trial in range(90):
            lied = damaged(unit, trial)[: len(unit)].ljust(len(unit), b"\0")
            path.write_bytes(forged(seed[0], units=[*units[:number], lied, *units[number + 1 :]]))
            assert outcome(path) in (None, seed[1])
        for code in {*code_numbers().values(), 250}:
            path.write_bytes(forged(seed[0], change_unit(number, 0, code)))
            assert outcome(path) in (None, seed[1])


@pytest.mark.parametrize("name", ["zstd", "xz", "bz2", "brotli", "deflate", "mosaic", "mixing"])
def test_a_code_that_expands_is_given_no_room(name):
    code = get_code(name)
    room = 1 << 23 if name == "mosaic" else 1 << 19  # a mosaic's motifs may need the context model
    zeros = np.zeros(room // 2, np.uint32)  # twice the room, in bytes
    zeros[-1] = 1
    alphabet = Alphabet(4 if name == "mixing" else 2**32)
    data = code.encode([zeros], alphabet)
    for _ in range(2):  # the first time code may be compiled, which takes memory of its own
        tracemalloc.start()
        with contextlib.suppress(InputError):
            code.decode(data, [(100,)], alphabet)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < room


@pytest.mark.parametrize("spec", ["symmetric:4", "codebook:4"])
def test_quantized_containers_are_checked_too(tmp_path, spec):
    path = tmp_path / "x.kmo"
    kolmo.pack({"w": SOURCE["a"]}, path, quantizer=spec)
    data = path.read_bytes()
    for fitted, message in [([1.0] * 9, "contradicts"), ([math.nan], "contradicts"), ([], None)]:
        path.write_bytes(forged(data, changed(parameters=[fitted])))
        with pytest.raises(InputError, match=message or "symbols without a value|contradicts"):
            kolmo.unpack(path, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="too many or few"):
        get_quantizer(spec).restore(np.dtype("f4"), [1.0] * 9)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a kolmo container"),
        (b"kmo", "not a kolmo container"),
        (b"PK\x03\x04" + bytes(99), "not a kolmo container"),
        (MAGIC, "cut off"),
        (b"kmo\x07" + bytes(90), "another version, or damaged; this program reads 1"),
        (MAGIC + bytes(90), "checksum is wrong"),
        (MAGIC + b"\xff" * 90, "cut off"),
    ],
)
def test_what_is_no_container(tmp_path, data, message):
    path = tmp_path / "x.kmo"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        kolmo.verify(path)
    with pytest.raises(InputError, match="cannot be read"):
        kolmo.verify(tmp_path / "missing.kmo")


def test_a_header_that_inflates_without_end(tmp_path, seed):
    path = tmp_path / "x.kmo"
    path.write_bytes(forged(seed[0], changed(names=[*"abcde", "x" * (1 << 21)])))
    assert path.stat().st_size < 1 << 13
    with pytest.raises(InputError, match="contradicts itself"):
        read_contents(path)


def test_a_header_of_more_parameters_than_it_has_bytes_for(tmp_path, seed):
    path = tmp_path / "x.kmo"
    path.write_bytes(forged(seed[0], changed(parameters=[np.zeros(1 << 25), *[[]] * 5])))
    tracemalloc.start()
    with pytest.raises(InputError, match="contradicts itself"):
        read_contents(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_seed_is_what_it_should_be(tmp_path, seed):
    path = tmp_path / "x.kmo"
    path.write_bytes(seed[0])
    assert contents(kolmo.unpack(path, tmp_path)) == contents(SOURCE)
