"""Digests of tensors: of the content alone, in any order, on any machine."""

import dataclasses
import json
import random

import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.base import CHUNK, Codes
from kolmo.digests import TensorDigest, digest, object_digest, stripe_digest, stripes
from kolmo.dtypes import DTYPES
from kolmo.symbols import Alphabet

WEIGHTS = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


def of(array, name="w"):
    return digest(array_tensor(name, np.asarray(array)))


def quantized(codes=(1, 2, 3, 0), alphabet=16, scheme="GPTQ", side_bits=32, weights=(1, 2, 3, 0)):
    codes, weights = np.uint8(codes), np.float32(weights)
    held = Codes(scheme, Alphabet(alphabet), lambda start, stop: codes[start:stop], side_bits)
    return digest(dataclasses.replace(array_tensor("w", weights), codes=held))


@given(
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 1000, CHUNK - 1, CHUNK, 3 * CHUNK + 5]), max_size=3)
)
def test_stripes_are_the_chunks_of_a_tensor(shape):
    whole = dataclasses.replace(
        array_tensor("w", np.empty(0)), shape=tuple(shape), load=lambda start, stop: (start, stop)
    )
    if whole.numel < 300 * CHUNK:
        assert stripes(tuple(shape)) == list(whole.chunks())


def test_the_digest_is_what_its_description_says():
    """By blake3 alone: contexts, header and stripes, as they are for good."""
    stripe = blake3(WEIGHTS.tobytes(), derive_key_context="kolmo 2026 stripe of a tensor").digest()
    header = json.dumps({"dtype": "float32", "shape": [6, 8]}).encode()
    framed = len(header).to_bytes(8, "little") + header + stripe
    assert of(WEIGHTS) == blake3(framed, derive_key_context="kolmo 2026 tensor").digest()


def test_names_and_places_are_no_content():
    assert of(WEIGHTS, "a") == of(WEIGHTS, "b") == of(np.asfortranarray(WEIGHTS))
    assert of(WEIGHTS.astype(">f4")) == of(WEIGHTS)
    assert of(np.repeat(WEIGHTS, 2, axis=1)[:, ::2]) == of(WEIGHTS)


def test_everything_else_is():
    changed = WEIGHTS.copy()
    changed.view(np.uint32)[3, 3] ^= 1
    digests = [
        of(WEIGHTS),
        of(changed),
        of(WEIGHTS.T.copy()),
        of(WEIGHTS.reshape(-1)),
        of(WEIGHTS[None]),
        of(WEIGHTS.view(np.int32)),
        of(WEIGHTS[:5]),
        of(-WEIGHTS),
        of(np.zeros((0, 3), np.float32)),
        of(np.zeros((3, 0), np.float32)),
        quantized(),
        quantized(codes=(1, 2, 3, 1)),
        quantized(weights=(1, 2, 3, 1)),
        quantized(alphabet=8),
        quantized(scheme="AWQ"),
        quantized(side_bits=64),
        of(np.float32([1, 2, 3, 0])),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(each) == 32 for each in digests)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_has_a_digest(name):
    zeros = np.zeros(5, DTYPES[name])
    assert of(zeros) == of(zeros.copy())
    assert of(zeros) != of(np.zeros(5, np.float64 if name != "float64" else np.float32))


def test_negative_zero_and_payloads_of_nan_are_content():
    nans = np.uint16([0x7FC0, 0x7FC1]).view(ml_dtypes.bfloat16)
    assert of(nans[:1]) != of(nans[1:])
    assert of(np.float32([0.0])) != of(np.float32([-0.0]))


def test_stripes_are_added_in_any_order(monkeypatch):
    monkeypatch.setattr("kolmo.digests.CHUNK", 8)
    tensor = array_tensor("w", WEIGHTS)
    whole = TensorDigest(tensor)
    assert whole.stripes == [(start, start + 8) for start in range(0, 48, 8)]
    order = list(enumerate(whole.stripes))
    random.Random(0).shuffle(order)
    for index, (start, stop) in order:
        with pytest.raises(ValueError, match="is missing"):
            whole.digest()
        whole.add(index, stripe_digest(tensor.load(start, stop)))
    assert whole.digest() == digest(tensor)


def test_stripes_in_each_others_place_are_another_tensor(monkeypatch):
    monkeypatch.setattr("kolmo.digests.CHUNK", 8)
    assert of(WEIGHTS) != of(WEIGHTS[::-1])


def test_an_object_is_its_tensors_in_order():
    a, b = of(WEIGHTS), of(-WEIGHTS)
    assert len({object_digest([a, b]), object_digest([b, a]), object_digest([a]), a}) == 4
    with pytest.raises(ValueError, match="32 bytes"):
        object_digest([a, b[:-1]])


def test_nothing_is_copied():
    from kolmo.digests import _little_endian

    assert np.shares_memory(np.frombuffer(_little_endian(WEIGHTS), np.uint8), WEIGHTS)
