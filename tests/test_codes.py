"""Codes in closed form: KT and the mosaic code against brute force, decoders and identities."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kolmo
from kolmo.codes.lengths import integer_bits, kt_log2, word_bits
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators import get_estimator
from kolmo.estimators.entropy import entropy_bits
from kolmo.symbols import container, symbol_bits


def measure(spec, symbols, alphabet, shapes=None, chunks=1):
    symbols = np.asarray(symbols)
    accumulator = get_estimator(spec).start_many(shapes or [symbols.shape], alphabet)
    for chunk in np.array_split(symbols.reshape(-1), chunks):
        accumulator.update(chunk)
    return accumulator.finish()


# --- integers and words ---------------------------------------------------------------------


def elias_delta(number):
    """The code word itself, as a string of bits (Elias 1975)."""
    binary = f"{number + 1:b}"
    length = f"{len(binary):b}"
    return "0" * (len(length) - 1) + length + binary[1:]


def test_integer_bits_are_those_of_a_prefix_code():
    words = [elias_delta(number) for number in range(2000)]
    assert [len(word) for word in words] == [integer_bits(number) for number in range(2000)]
    assert not any(b.startswith(a) for a, b in itertools.pairwise(sorted(words)))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_words_obey_kraft(weights):
    total = sum(weights)
    lengths = [word_bits(math.log2(weight / total)) for weight in weights if weight < total]
    assert sum(2.0**-length for length in lengths) <= 1


# --- KT -------------------------------------------------------------------------------------


def kt_sequential(sequence, alphabet):
    counts, log2 = [0] * alphabet, 0.0
    for position, symbol in enumerate(sequence):
        log2 += math.log2((counts[symbol] + 0.5) / (position + alphabet / 2))
        counts[symbol] += 1
    return log2


@given(st.integers(1, 7).flatmap(lambda a: st.tuples(st.just(a), st.lists(st.integers(0, a - 1)))))
def test_kt_is_the_sequential_product(drawn):
    alphabet, sequence = drawn
    counts = np.bincount(np.array(sequence, np.int64), minlength=alphabet)
    assert kt_log2(counts) == pytest.approx(kt_sequential(sequence, alphabet), abs=1e-9)


@pytest.mark.parametrize(("alphabet", "length"), [(2, 8), (3, 5), (4, 4)])
def test_kt_probabilities_sum_to_one_and_words_obey_kraft(alphabet, length):
    probabilities, kraft = 0.0, 0.0
    for sequence in itertools.product(range(alphabet), repeat=length):
        counts = np.bincount(np.array(sequence), minlength=alphabet)
        probabilities += 2 ** kt_log2(counts)
        kraft += 2.0 ** -measure("kt", np.uint8(sequence), alphabet).bits
    assert probabilities == pytest.approx(1)
    assert kraft <= 1


@given(
    hnp.arrays(np.uint8, st.integers(0, 200), elements=st.integers(0, 9)),
    st.sampled_from([10, 255, 256, 65536]),
)
def test_kt_is_at_least_the_entropy(symbols, alphabet):
    kt, entropy = (measure(name, symbols, alphabet) for name in ("kt", "entropy"))
    assert kt.bits >= entropy.bits - 1e-9
    assert (kt.kind, entropy.kind) == ("bound", "estimate")
    assert kt.bits <= entropy.bits + alphabet * math.log2(len(symbols) + 2) + 2


def test_wide_alphabets_are_coded_by_byte_plane():
    symbols = np.random.default_rng(0).integers(0, 2**20, 500).astype(np.uint32)
    planes = symbols.view(np.uint8).reshape(-1, 4).T
    code = measure("kt", symbols, 2**32, chunks=3)
    each = [kt_log2(np.bincount(plane, minlength=256)) for plane in planes]
    assert code.details["byte_planes"] == pytest.approx([-e for e in each])
    assert code.bits == word_bits(sum(each))
    entropy = measure("entropy", symbols, 2**32)
    assert entropy.bits == pytest.approx(sum(entropy_bits(np.bincount(p)) for p in planes))


def test_known_entropies():
    assert entropy_bits(np.array([5, 0])) == 0
    assert entropy_bits(np.array([0])) == 0
    assert entropy_bits(np.array([1, 1, 1, 1])) == 8
    uniform = np.arange(256, dtype=np.uint8)
    assert measure("entropy", uniform, 256).bits_per_weight == 8


@pytest.mark.parametrize("name", ["kt", "entropy", "mosaic"])
def test_nothing_costs_nothing(name):
    assert measure(name, np.empty(0, np.uint8), 4).bits == 0


# --- mosaic ---------------------------------------------------------------------------------


def mosaic_brute_force(symbols, shapes, alphabet, size):
    """The code length at one block size, from dictionaries of tuples."""
    blocks, ends, start = [], [], 0
    for shape in shapes:
        numel = math.prod(shape)
        flat = symbols[start : start + numel].tolist()
        whole = numel // size * size
        blocks += [tuple(flat[i : i + size]) for i in range(0, whole, size)]
        ends += flat[whole:]
        start += numel
    counts = {}
    for block in blocks:
        counts[block] = counts.get(block, 0) + 1
    motifs = [count for count in counts.values() if count > 1]
    others = sum(count == 1 for count in counts.values())
    written = np.array([s for block in counts for s in block] + ends).astype(container(alphabet))
    planes = written.view(np.uint8).reshape(-1, written.dtype.itemsize).T
    used = min(256, alphabet)
    adaptive = word_bits(sum(kt_log2(np.bincount(p, minlength=256)[:used]) for p in planes))
    pool = 1 + min(written.size * symbol_bits(alphabet), adaptive)
    kinds = motifs + ([others] if others else [])
    if len(kinds) < 2:
        indices = 1
    else:
        fixed = len(blocks) * math.ceil(math.log2(len(kinds)))
        numberings = math.log2(math.factorial(len(motifs)))
        indices = 1 + min(fixed, word_bits(kt_log2(np.array(kinds)) + numberings))
    return integer_bits(len(motifs)) + integer_bits(others) + pool + indices


def mosaic_expected(symbols, shapes, alphabet):
    sizes = [s for s in (1, 2, 4, 8, 16, 32) if s <= max(math.prod(shape) for shape in shapes)]
    lengths = [mosaic_brute_force(symbols, shapes, alphabet, size) for size in sizes]
    return 3 + min([symbols.size * symbol_bits(alphabet), *lengths])


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=3),
    st.sampled_from([2, 3, 16, 256, 1000, 2**32]),
    st.integers(1, 6),
    st.integers(0, 10_000),
)
def test_mosaic_is_the_brute_force(sizes, alphabet, motifs, seed):
    random = np.random.default_rng(seed)
    choices = random.integers(0, alphabet, (motifs, 4), dtype=np.uint64)
    drawn = choices[random.integers(0, motifs, sum(sizes))].reshape(-1)
    symbols = drawn[: sum(sizes)].astype(container(alphabet))
    shapes = [(size,) for size in sizes]
    code = measure("mosaic", symbols, alphabet, shapes, chunks=3)
    assert code.bits == mosaic_expected(symbols, shapes, alphabet)
    assert code.kind == "bound"


def read_bits(stream, count):
    return int("".join(itertools.islice(stream, count)) or "0", 2)


def read_elias_delta(stream):
    zeros = sum(1 for _ in itertools.takewhile(lambda bit: bit == "0", stream))
    length = (1 << zeros) | read_bits(stream, zeros)
    return ((1 << (length - 1)) | read_bits(stream, length - 1)) - 1


def test_a_decoder_exists_for_the_plain_form():
    """Motifs as they are and indices at fixed width: write the bits, count them, read them."""
    random = np.random.default_rng(0)
    size, k, m = 8, 2, 400
    motifs = random.integers(0, 2**32, (k, size), dtype=np.uint64).astype(np.uint32)
    indices = random.permutation(np.arange(m) % k)
    symbols = motifs[indices].reshape(-1)
    code = measure("mosaic,block=8", symbols, 2**32)
    written = "1" + elias_delta(k) + elias_delta(0)  # a mosaic, k motifs, no other block
    written += "0" + "".join(f"{v:032b}" for v in motifs.reshape(-1))
    written += "0" + "".join(f"{i:01b}" for i in indices)
    assert code.details == {"block": 8, "motifs": k, "share_motifs": 1.0, "indices": "fixed"}
    assert len(written) == code.bits
    stream = iter(written)
    assert next(stream) == "1"
    found, others = read_elias_delta(stream), read_elias_delta(stream)
    assert (found, others, next(stream)) == (k, 0, "0")
    values = np.array([read_bits(stream, 32) for _ in range(found * size)], np.uint32)
    assert next(stream) == "0"
    decoded = values.reshape(-1, size)[[read_bits(stream, 1) for _ in range(m)]]
    assert (decoded.reshape(-1) == symbols).all()
    assert next(stream, None) is None


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32])
def test_mosaic_finds_the_motifs(size):
    random = np.random.default_rng(size)
    motifs = random.normal(size=(32, size)).astype(np.float32)
    used = np.concatenate([np.arange(32), random.integers(0, 32, 3000)])
    code = kolmo.estimate(motifs[used], "mosaic")
    assert (code.details["block"], code.details["motifs"]) == (size, 32)
    assert code.bits <= 32 * size * 32 + used.size * 5 + 100


def test_mosaic_is_never_much_longer_than_the_symbols():
    for alphabet in (2, 255, 2**32):
        symbols = np.random.default_rng(0).integers(0, alphabet, 4000, dtype=np.uint64)
        code = measure("mosaic", symbols, alphabet)
        assert code.bits <= code.raw_bits + 3


def test_model_scope_shares_the_motifs():
    motifs = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    one = motifs[np.random.default_rng(1).integers(0, 8, 50)]
    report = kolmo.analyze(
        {"a": one, "b": one[::-1].copy()}, quantizers=["native"], estimators=["mosaic"]
    )
    by_scope = report.table.groupby("scope").bits.sum()
    assert by_scope["model"] < by_scope["tensor"] - 4 * 8 * 32 / 2


def test_mosaic_says_why_not():
    with pytest.raises(InputError, match="1 to 65536"):
        get_estimator("mosaic,block=0")
    with pytest.raises(NotApplicableError, match="over its limit"):
        get_estimator("mosaic").start((1 << 15, 1 << 15), 2**32)
