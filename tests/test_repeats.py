"""Stretches that repeat what came before cost next to nothing, and come back."""

from __future__ import annotations

import numpy as np
import pytest

import kolmo
from kolmo.container.decoding import Digests, decode_parts
from kolmo.container.format import encode_end, read_contents, with_checksum
from kolmo.container.repeats import LONG, REPEAT, source_bytes
from kolmo.errors import InputError
from tests.checkpoints import contents

RANDOM = np.random.default_rng(0)
BLOCK = RANDOM.normal(size=(700, 500)).astype(np.float32)


def packed(source, path, **options):
    certificate = kolmo.pack(source, path, threads=1, preset="default", **options)
    assert contents(kolmo.unpack(path, path.with_suffix(".safetensors"))) == contents(source)
    return certificate


def test_a_tensor_tiled_from_one_block(tmp_path):
    once = kolmo.pack({"w": BLOCK}, tmp_path / "once.kmo", threads=1, preset="default")
    certificate = packed({"w": np.tile(BLOCK, (4, 1))}, tmp_path / "x.kmo")
    assert certificate.bits < 1.001 * once.bits
    assert certificate.tensors[0].code == "context+repeat"


def test_a_vocabulary_with_some_rows_changed_and_more_of_them(tmp_path):
    tuned = np.concatenate([BLOCK, RANDOM.normal(size=(10, 500)).astype(np.float32)])
    tuned[50] += 1
    source = {"embed": BLOCK, "norm": np.ones(9, np.float32), "head": tuned}
    certificate = packed(source, tmp_path / "x.kmo", quantizer="native")
    once = kolmo.pack({"w": BLOCK}, tmp_path / "once.kmo", threads=1, preset="default")
    assert certificate.bits < once.bits + 32 * 61 * 500  # the changed row, those before it, the new


@pytest.mark.parametrize("spec", ["symmetric:8", "symmetric:4"])
def test_symbols_repeat_too_wherever_they_lie(tmp_path, spec):
    """Of two vectors, one holds the other at an odd place."""
    vector = BLOCK.reshape(-1)
    longer = np.concatenate([vector[:12_345], vector, vector[:777]])
    certificate = packed_symbols({"a": vector, "b": longer}, tmp_path / "x.kmo", spec)
    once = kolmo.pack(
        {"a": vector}, tmp_path / "once.kmo", quantizer=spec, threads=1, preset="default"
    )
    assert certificate.bits < 1.06 * once.bits
    assert "repeat" in certificate.tensors[1].code


def test_stretches_with_a_piece_that_occurred_elsewhere_still_earlier(tmp_path):
    vector = RANDOM.normal(size=620_000).astype(np.float32)
    other = RANDOM.normal(size=LONG).astype(np.float32)
    other[100_000:130_000] = vector[300_000:330_000]
    source = {"other": other, "a": vector, "b": np.append(vector, other[:9])}
    certificate = packed(source, tmp_path / "x.kmo")
    assert [unit.code for unit in certificate.units].count("repeat") >= 1
    apart = sum(unit.numel for unit in certificate.units if unit.code != "repeat")
    assert apart < other.size + vector.size + 20


def packed_symbols(source, path, spec):
    certificate = kolmo.pack(source, path, quantizer=spec, threads=1, preset="default")
    assert kolmo.verify(path, source) == certificate
    return certificate


def test_one_symbol_over_and_over_is_no_repeat(tmp_path):
    sparse = np.zeros(2 * LONG, np.float32)
    sparse[::9999] = 1
    certificate = packed({"w": sparse, "v": sparse[: LONG + 5].copy()}, tmp_path / "x.kmo")
    assert certificate.bits_per_weight < 0.02


# --- containers that lie --------------------------------------------------------------------


@pytest.fixture(scope="module")
def seed(tmp_path_factory):
    path = tmp_path_factory.mktemp("seed") / "x.kmo"
    source = {"a": BLOCK, "b": np.concatenate([BLOCK, BLOCK[:1]]), "c": np.ones(9)}
    kolmo.pack(source, path, threads=1, preset="default")
    return path


def forged(seed, path, data):
    """The container whose last repeat has other bytes; the digest it has is right."""
    found = read_contents(seed)
    units, pieces = [], []
    for number, unit in enumerate(found.units):
        code = found.read_unit(number)
        if unit.code == REPEAT:
            code = data
        units.append(type(unit)(unit.parts, unit.code, len(code)))
        pieces.append(with_checksum(code))
    end = encode_end(found.quantizer, found.entries, units, found.digest)
    path.write_bytes(seed.read_bytes()[:4] + b"".join(pieces) + end)
    return path


def decoded(path):
    found = read_contents(path)
    return list(decode_parts(found, Digests(found.entries), 1))


def test_repeats_of_what_is_not_there_are_refused(tmp_path, seed):
    assert "repeat" in kolmo.verify(seed).tensors[1].code
    path = tmp_path / "x.kmo"
    assert decoded(forged(seed, path, source_bytes(0, 0)))
    for data, message in [
        (source_bytes(0, 1), "not there"),
        (source_bytes(0, 1 << 60), "not there"),
        (source_bytes(1, 0), "repeats a repeat"),
        (source_bytes(2, 0), "not alike"),
        (source_bytes(3, 0), "not alike"),
        (b"", "ends before"),
        (b"\x80" * 20, "too large"),
    ]:
        with pytest.raises(InputError, match=rf"unit \d cannot be decoded: .*{message}"):
            decoded(forged(seed, path, data))
