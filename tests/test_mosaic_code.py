"""The mosaic code has a decoder: this one. Exact arithmetic, slow and plain, on small objects."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.estimators import get_estimator
from kolmo.estimators.mosaic import BLOCK_SIZES
from kolmo.symbols import container, symbol_bits


def measure(symbols, shapes, alphabet, chunks=1, spec="mosaic"):
    accumulator = get_estimator(spec).start_many(shapes, alphabet)
    for chunk in np.array_split(symbols, chunks):
        accumulator.update(chunk)
    return accumulator.finish()


# --- code words -----------------------------------------------------------------------------


class Writer:
    """Narrows an interval, event by event; then one word of ceil(−log2 P) + 1 bits names it."""

    def __init__(self):
        self.low, self.width = Fraction(0), Fraction(1)

    def event(self, probabilities, index):
        self.low += self.width * sum(probabilities[:index], Fraction(0))
        self.width *= probabilities[index]
        return index

    def word(self):
        bits = word_length(self.width)
        middle = self.low + self.width / 2
        return f"{math.floor(middle * 2**bits):0{bits}b}" if bits else ""


class Reader:
    """The same events from the bits of such a word, whatever follows it."""

    def __init__(self, bits):
        self.value = Fraction(int(bits or "0", 2), 2 ** len(bits))
        self.low, self.width = Fraction(0), Fraction(1)

    def event(self, probabilities, _=None):
        index = 0
        while self.value >= self.low + self.width * probabilities[index]:
            self.low += self.width * probabilities[index]
            index += 1
        self.width *= probabilities[index]
        return index

    def length(self):
        return word_length(self.width)


def word_length(probability):
    if probability == 1:
        return 0
    bits = 0
    while probability * 2**bits < 1:
        bits += 1
    return bits + 1


def elias_delta(number):
    binary = f"{number + 1:b}"
    length = f"{len(binary):b}"
    return "0" * (len(length) - 1) + length + binary[1:]


def read_elias_delta(bits):
    zeros = bits.index("1")
    length = int(bits[zeros : 2 * zeros + 1], 2)
    end = 2 * zeros + length
    return int("1" + bits[2 * zeros + 1 : end], 2) - 1, bits[end:]


# --- models, the same for both sides ----------------------------------------------------------


def code_planes(coder, count, planes, used, bytes_of=None):
    """Each byte-plane by a KT code of its own over ``used`` symbols."""
    out = np.zeros((planes, count), np.uint8)
    for plane in range(planes):
        seen = [Fraction(1, 2)] * used
        for i in range(count):
            total = i + Fraction(used, 2)
            given = None if bytes_of is None else int(bytes_of[plane, i])
            out[plane, i] = coder.event([s / total for s in seen], given)
            seen[out[plane, i]] += 1
    return out


def code_indices(coder, blocks, motifs, others, given=None):
    """Motifs are numbered as they appear; −1 is a block that is none."""
    kinds, counts, other, out = motifs + (others > 0), [], 0, []
    for i in range(blocks):
        left = motifs - len(counts)
        events = [Fraction(2 * c + 1, 2) for c in counts] + [Fraction(left, 2)]
        events += [Fraction(2 * other + 1, 2)] if others else []
        probabilities = [e / (i + Fraction(kinds, 2)) for e in events]
        index = None if given is None else (given[i] if given[i] >= 0 else len(events) - 1)
        index = coder.event(probabilities, index)
        if others and index == len(events) - 1:
            other += 1
            out.append(-1)
            continue
        if index == len(counts):
            counts.append(0)
        counts[index] += 1
        out.append(index)
    return out


def planes_of(symbols):
    return symbols.view(np.uint8).reshape(-1, symbols.itemsize).T


# --- encoder and decoder ----------------------------------------------------------------------


def spans(shapes, size):
    """First symbol, number of whole blocks and numel of each tensor."""
    numels = [math.prod(shape) for shape in shapes]
    starts = itertools.accumulate([0, *numels[:-1]])
    return [(start, numel // size, numel) for start, numel in zip(starts, numels, strict=True)]


def encode(symbols, shapes, alphabet):
    width = symbol_bits(alphabet)
    codes = ["000" + "".join(f"{s:0{width}b}" for s in symbols.tolist())]
    for which, size in enumerate(BLOCK_SIZES, start=1):
        if any(blocks for _, blocks, _ in spans(shapes, size)):
            codes.append(f"{which:03b}" + encode_blocks(symbols, shapes, alphabet, size))
    return min(codes, key=len)


def encode_blocks(symbols, shapes, alphabet, size):
    blocks, ends = [], []
    for start, count, numel in spans(shapes, size):
        flat = symbols[start : start + numel].tolist()
        blocks += [tuple(flat[i * size : (i + 1) * size]) for i in range(count)]
        ends += flat[count * size :]
    distinct = list(dict.fromkeys(blocks))
    motifs = [block for block in distinct if blocks.count(block) > 1]
    indices = [motifs.index(block) if block in motifs else -1 for block in blocks]
    others = len(distinct) - len(motifs)
    written = np.array([*itertools.chain(*distinct), *ends], symbols.dtype)
    header = elias_delta(len(motifs)) + elias_delta(others)
    return header + encode_written(written, alphabet) + encode_indices(indices, motifs, others)


def encode_written(written, alphabet):
    plain = "".join(f"{s:0{symbol_bits(alphabet)}b}" for s in written.tolist())
    writer = Writer()
    planes = planes_of(written)
    code_planes(writer, written.size, len(planes), min(256, alphabet), planes)
    adaptive = writer.word()
    return "1" + adaptive if len(adaptive) < len(plain) else "0" + plain


def encode_indices(indices, motifs, others):
    kinds = len(motifs) + (others > 0)
    width = (kinds - 1).bit_length()
    numbers = [kinds - 1 if i < 0 else i for i in indices]
    fixed = "".join(f"{i:0{width}b}" for i in numbers) if width else ""
    writer = Writer()
    code_indices(writer, len(indices), len(motifs), others, indices)
    adaptive = writer.word()
    return "1" + adaptive if len(adaptive) < len(fixed) else "0" + fixed


def decode(bits, shapes, alphabet):
    which, bits = int(bits[:3], 2), bits[3:]
    dtype, numel = container(alphabet), sum(math.prod(shape) for shape in shapes)
    if which == 0:
        values, rest = read_plain(bits, numel, alphabet)
        assert rest == ""
        return np.array(values, dtype)
    cuts = spans(shapes, size := BLOCK_SIZES[which - 1])
    motifs, bits = read_elias_delta(bits)
    others, bits = read_elias_delta(bits)
    count = (motifs + others) * size + sum(n - b * size for _, b, n in cuts)
    written, bits = read_written(bits, count, alphabet)
    indices, bits = read_indices(bits, sum(b for _, b, _ in cuts), motifs, others)
    assert bits == ""
    return rebuild(written, indices, cuts, size)


def read_plain(bits, count, alphabet):
    width = symbol_bits(alphabet)
    return [int(bits[i * width : (i + 1) * width], 2) for i in range(count)], bits[count * width :]


def read_written(bits, count, alphabet):
    form, bits = bits[0], bits[1:]
    if form == "0":
        values, bits = read_plain(bits, count, alphabet)
        return np.array(values, container(alphabet)), bits
    reader = Reader(bits)
    planes = code_planes(reader, count, container(alphabet).itemsize, min(256, alphabet))
    written = np.ascontiguousarray(planes.T).view(container(alphabet)).reshape(-1)
    return written, bits[reader.length() :]


def read_indices(bits, blocks, motifs, others):
    form, bits = bits[0], bits[1:]
    kinds = motifs + (others > 0)
    if form == "0":
        width = (kinds - 1).bit_length()
        numbers = [int(bits[i * width : (i + 1) * width] or "0", 2) for i in range(blocks)]
        indices = [-1 if others and n == kinds - 1 else n for n in numbers]
        return indices, bits[blocks * width :]
    reader = Reader(bits)
    return code_indices(reader, blocks, motifs, others), bits[reader.length() :]


def rebuild(written, indices, cuts, size):
    """Distinct blocks are taken from ``written`` as they first appear, then the tensors' ends."""
    supply, indices, known = iter(written.tolist()), iter(indices), {}
    tensors = []
    for _, count, _ in cuts:
        tensor = []
        for index in itertools.islice(indices, count):
            block = known.get(index) or list(itertools.islice(supply, size))
            if index >= 0:
                known[index] = block
            tensor += block
        tensors.append(tensor)
    for tensor, (_, count, numel) in zip(tensors, cuts, strict=True):
        tensor += itertools.islice(supply, numel - count * size)
    return np.array([*itertools.chain(*tensors)], written.dtype)


@st.composite
def objects(draw):
    """One to three tensors, drawn from few motifs and now and then something else."""
    alphabet = draw(st.sampled_from([1, 2, 3, 16, 256, 300, 2**32]))
    numels = draw(st.lists(st.integers(0, 40), min_size=1, max_size=3).filter(any))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    size, count = draw(st.sampled_from([1, 2, 3, 4, 8])), draw(st.integers(1, 5))
    motifs = random.integers(0, alphabet, (count, size), dtype=np.uint64)
    symbols = motifs[random.integers(0, count, sum(numels))].reshape(-1)[: sum(numels)]
    noise = random.random(symbols.size) < draw(st.sampled_from([0, 0.05, 1]))
    symbols[noise] = random.integers(0, alphabet, noise.sum(), dtype=np.uint64)
    return symbols.astype(container(alphabet)), [(numel,) for numel in numels], alphabet


@settings(max_examples=40, deadline=None)
@given(objects(), st.integers(1, 4))
def test_the_length_is_that_of_bits_that_decode(drawn, chunks):
    symbols, shapes, alphabet = drawn
    bits = encode(symbols, shapes, alphabet)
    assert measure(symbols, shapes, alphabet, chunks).bits == len(bits)
    assert (decode(bits, shapes, alphabet) == symbols).all()


@pytest.mark.parametrize(
    ("shapes", "alphabet"), [([(8,)], 2), ([(5,), (4,)], 2), ([(6,)], 3), ([(2, 2)], 5)]
)
def test_kraft(shapes, alphabet):
    numel = sum(math.prod(shape) for shape in shapes)
    lengths = [
        measure(np.array(sequence, np.uint8), shapes, alphabet).bits
        for sequence in itertools.product(range(alphabet), repeat=numel)
    ]
    assert sum(2.0**-bits for bits in lengths) <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.sampled_from([2, 4, 8]), st.integers(0, 1000))
def test_a_mosaic_costs_no_more_than_its_description_length(k, size, seed):
    """k·s·q + m·ceil(log2 k), arXiv 2602.14896, plus a header, where every motif occurs twice."""
    random = np.random.default_rng(seed)
    motifs = random.integers(0, 2**32, (k, size), dtype=np.uint64).astype(np.uint32)
    indices = random.permutation(np.concatenate([np.arange(k), np.arange(k), [0] * 3 * k]))
    symbols = motifs[indices].reshape(-1)
    code = measure(symbols, [symbols.shape], 2**32, spec=f"mosaic,block={size}")
    assert code.details["motifs"] == k
    assert code.bits <= k * size * 32 + indices.size * (k - 1).bit_length() + 20


def test_equal_hashes_do_not_make_equal_blocks():
    """Some pairs of 400,000 blocks have the same hash of 32 bits."""
    blocks = np.random.default_rng(0).integers(0, 2**32, (400_000, 2), dtype=np.uint64)
    symbols = np.concatenate([blocks, blocks]).astype(np.uint32).reshape(-1)
    code = measure(symbols, [symbols.shape], 2**32, spec="mosaic,block=2")
    assert code.details["motifs"] == 400_000
    assert code.details["share_motifs"] == 1
