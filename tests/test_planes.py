"""The bit-plane code: a code, an exact test, and a count of planes that are no noise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kolmo
from kolmo.estimators.planes import CONTEXTS, effective_bits, plane_p_values

RANDOM = np.random.default_rng(0)


def measure(symbols, alphabet, chunks=1):
    symbols = np.asarray(symbols)
    accumulator = kolmo.get_estimator("planes").start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols.reshape(-1), chunks):
        accumulator.update(chunk)
    return accumulator.finish()


def sequential(symbols, planes, plane, kind, depth):
    """Bits of one plane by the definition: each bit after the counts of its own context."""
    seen, bits, recent = {}, 0.0, (0,) * 8
    for symbol in symbols.tolist():
        all_bits = [(symbol >> (planes - 1 - p)) & 1 for p in range(planes)]
        near = ([0] * 8 + all_bits[:plane]) if kind == "above" else list(recent)
        context = tuple(near[len(near) - depth :])
        counts = seen.setdefault(context, [0.5, 0.5])
        bits -= math.log2(counts[all_bits[plane]] / sum(counts))
        counts[all_bits[plane]] += 1
        recent = (*recent[1:], all_bits[plane])
    return bits


@given(
    hnp.arrays(np.uint16, st.integers(1, 30), elements=st.integers(0, 2999)),
    st.integers(1, 5),
)
def test_each_plane_costs_what_the_definition_says(symbols, chunks):
    details = measure(symbols, 3000, chunks).details
    for plane, (bits, context) in enumerate(
        zip(details["planes"], details["contexts"], strict=True)
    ):
        costs = {"none": sequential(symbols, 12, plane, "above", 0)}
        for depth in range(1, 9):
            for kind in ("above", "before"):
                costs[f"{depth} {kind}"] = sequential(symbols, 12, plane, kind, depth)
        assert set(costs) == set(CONTEXTS)
        assert bits == pytest.approx(min(costs.values()) + math.log2(17), abs=2e-3)
        assert costs[context] == pytest.approx(min(costs.values()), abs=1e-6)


@pytest.mark.parametrize(("alphabet", "length"), [(2, 9), (3, 5), (4, 4)])
def test_words_obey_kraft(alphabet, length):
    sequences = itertools.product(range(alphabet), repeat=length)
    assert sum(2.0 ** -measure(np.uint8(s), alphabet).bits for s in sequences) <= 1


def test_p_is_valid_for_every_sequence_of_coin_flips():
    """Exactly: of all 2^11 sequences at most a share α has p ≤ α."""
    bits = [measure(np.uint8(s), 2).details["planes"] for s in itertools.product((0, 1), repeat=11)]
    p = np.sort([plane_p_values(each, 11)[0] for each in bits])
    assert (np.arange(1, p.size + 1) / p.size <= p + 1e-12).all()
    assert p[0] < 0.05  # and it can be small: all zeros


def test_coin_flips_raise_few_alarms():
    random = np.random.default_rng(1)
    alarms = sum(
        measure(random.integers(0, 2**32, 300, np.uint32), 2**32).details["effective_bits"] > 0
        for _ in range(200)
    )
    assert alarms <= 0.05 * 200


@pytest.mark.parametrize("known", [0, 1, 5, 16])
def test_planted_planes_are_counted(known):
    """The top planes hold a counter, the others coin flips."""
    noise = RANDOM.integers(0, 2 ** (16 - known), 4000)
    symbols = (np.arange(4000) % 2**known << (16 - known)) + noise
    details = measure(symbols.astype(np.uint16), 2**16).details
    differs = [p < 1e-6 for p in plane_p_values(details["planes"], 4000)]
    assert differs == [True] * known + [False] * (16 - known)
    assert details["effective_bits"] == known


def test_a_repeat_in_the_mantissa_and_a_run_in_a_sign_are_seen():
    weights = np.abs(RANDOM.normal(size=6000)).astype(np.float32)
    plain = kolmo.estimate(weights, "planes").details
    runs = kolmo.estimate(weights * np.repeat([1, -1], 100).repeat(30), "planes").details
    assert plain["effective_bits"] <= runs["effective_bits"]
    assert runs["contexts"][0].endswith("before")
    assert runs["planes"][0] < 700
    short = weights.view(np.uint32) & np.uint32(0xFFFFFF00)  # eight trailing zeros
    assert (
        kolmo.estimate(short.view(np.float32), "planes").details["planes"][-8:]
        == [
            pytest.approx(plain["planes"][0], abs=2)  # as constant as the sign is
        ]
        * 8
    )


def test_sizes_at_the_edge():
    assert measure(np.empty(0, np.uint8), 4).bits == 0
    one = measure(np.uint64([2**63]), 2**64)
    assert len(one.details["planes"]) == 64
    assert one.details["effective_bits"] == 0
    assert measure(np.zeros(9, np.uint8), 1).raw_bits == 9
    assert effective_bits([0.0, 0.0], 3000) == 2  # 2^-3000 is 0 in double precision
