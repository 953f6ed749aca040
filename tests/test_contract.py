"""What holds for every estimator that is registered, plugins and those to come included."""

import itertools
import math
import pickle

import numpy as np
import pytest

from kolmo.errors import InputError, MissingExtraError, NotApplicableError
from kolmo.estimators import estimator_class, estimator_names, get_estimator
from kolmo.estimators.compressors import Compressor
from kolmo.symbols import container, symbol_bits

SPECS = {"xz": "xz:1", "brotli": "brotli:5"}  # whose strongest levels are slow to start
NAMES = estimator_names()
AGGREGATES = [f"{name},aggregate={how}" for name in ("bdm,ndim=2", "bdm", "ctm", "block-entropy",
              "qubd", "qubd,ndim=1") for how in ("sum", "pooled")]  # fmt: skip
CODES = [
    name
    for name in NAMES
    if estimator_class(name).kind == "bound" and not issubclass(estimator_class(name), Compressor)
]
SHAPES = [(), (1,), (7,), (16,), (5, 6), (8, 12), (3, 4, 5), (24, 20)]
ALPHABETS = [1, 2, 16, 255, 257, 65536, 65537, 2**32, 2**64]


def draw(shape, alphabet, seed=0):
    """Symbols with small ones common and a stretch that repeats."""
    numel = math.prod(shape)
    drawn = np.random.default_rng(seed).geometric(0.2, numel) % min(alphabet, 2**40)
    drawn[numel // 2 :] = drawn[: numel - numel // 2]
    return drawn.astype(container(alphabet)).reshape(shape)


def start(name, shapes, alphabet):
    """An accumulator; a test is skipped where a package is missing."""
    try:
        return get_estimator(SPECS.get(name, name)).start_many(shapes, alphabet)
    except MissingExtraError as error:
        pytest.skip(str(error))


def measure(name, symbols, alphabet, cuts=(), shapes=None):
    """The code length, or why there is none."""
    try:
        accumulator = start(name, shapes or [symbols.shape], alphabet)
        for chunk in np.split(symbols.reshape(-1), cuts):
            accumulator.update(chunk)
        return accumulator.finish()
    except NotApplicableError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_its_spec(name):
    made = get_estimator(name)
    assert get_estimator(str(made)) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert type(made) is estimator_class(name)
    assert made.name == name
    assert made.kind in ("bound", "estimate")
    assert "bound" in type(made).__doc__ or "estimate" in type(made).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_it_measures_every_object_or_says_why_not(name):
    for shape, alphabet in itertools.product(SHAPES, ALPHABETS):
        symbols = draw(shape, alphabet)
        code = measure(name, symbols, alphabet)
        if isinstance(code, str):
            assert name in code or "symbols" in code or "CTM" in code, code
            continue
        assert 0 <= code.bits < math.inf
        assert code.numel == symbols.size
        assert code.raw_bits == symbols.size * symbol_bits(alphabet)
        assert code.kind == get_estimator(name).kind
        assert code.sampled == 1


@pytest.mark.parametrize("name", [*NAMES, *AGGREGATES])
def test_chunks_never_change_a_bit(name):
    random = np.random.default_rng(1)
    for shape, alphabet in itertools.product(SHAPES, (2, 16, 255, 2**32)):
        symbols = draw(shape, alphabet)
        whole = measure(name, symbols, alphabet)
        cuts = np.sort(random.integers(0, symbols.size + 1, 4))
        assert measure(name, symbols, alphabet, cuts) == whole, (shape, alphabet, cuts)
        if symbols.size < 20:
            assert measure(name, symbols, alphabet, range(1, symbols.size)) == whole


@pytest.mark.parametrize("name", NAMES)
def test_the_array_behind_the_symbols_does_not_matter(name):
    symbols = draw((8, 12), 16)
    whole = measure(name, symbols, 16)
    apart = np.repeat(symbols, 2, axis=1)[:, ::2]
    others = [apart, symbols.astype(">u4"), symbols.astype(np.int64), symbols.astype(np.uint64)]
    assert not apart.flags.c_contiguous
    for other in others:
        assert measure(name, other, 16) == whole


@pytest.mark.parametrize("name", [*NAMES, *AGGREGATES])
@pytest.mark.parametrize("shapes", [[(0,)], [(0, 4)], [(4, 0, 3), (0,)]])
def test_nothing_costs_nothing(name, shapes):
    for alphabet in (2, 255):
        code = measure(name, np.empty(0, np.uint8), alphabet, shapes=shapes)
        assert isinstance(code, str) or (code.bits, code.numel, code.raw_bits) == (0, 0, 0)


@pytest.mark.parametrize("name", [*NAMES, *AGGREGATES])
def test_tensors_follow_each_other(name):
    """Model scope: chunks may span tensors, empty ones and scalars included."""
    shapes = [(8, 12), (0, 3), (), (24, 20), (5,)]
    for alphabet in (2, 255):
        symbols = np.concatenate([draw(s, alphabet, i).reshape(-1) for i, s in enumerate(shapes)])
        whole = measure(name, symbols, alphabet, shapes=shapes)
        assert measure(name, symbols, alphabet, (50, 97, 300), shapes) == whole


@pytest.mark.parametrize("name", [*NAMES, *AGGREGATES])
def test_parts_merge_into_the_whole_or_the_error_says_not(name):
    shapes = [(8, 12), (24, 20)]
    parts = [draw(shape, 2, seed) for seed, shape in enumerate(shapes)]
    together = np.concatenate([part.reshape(-1) for part in parts])
    whole = measure(name, together, 2, shapes=shapes)
    if isinstance(whole, str):
        pytest.skip(whole)
    merged, fed = start(name, shapes, 2), [start(name, [part.shape], 2) for part in parts]
    for accumulator, part in zip(fed, parts, strict=True):
        accumulator.update(part)
    if not hasattr(merged._inner, "merge"):
        with pytest.raises(InputError, match="cannot be merged"):
            merged.merge(fed[0])
        return
    for accumulator in fed:
        merged.merge(pickle.loads(pickle.dumps(accumulator)))
    assert merged.finish() == whole


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(("alphabet", "length"), [(1, 3), (2, 7), (3, 4), (5, 3)])
def test_code_words_obey_kraft(name, alphabet, length):
    """Over all sequences: no prefix code has shorter words."""
    every = itertools.product(range(alphabet), repeat=length)
    lengths = [measure(name, np.uint8(sequence), alphabet).bits for sequence in every]
    assert math.fsum(2.0**-bits for bits in lengths) <= 1


@pytest.mark.parametrize("name", CODES)
def test_code_words_of_matrices_obey_kraft(name):
    every = itertools.product(range(2), repeat=8)
    lengths = [measure(name, np.uint8(s).reshape(2, 4), 2).bits for s in every]
    assert math.fsum(2.0**-bits for bits in lengths) <= 1
