"""Parts of tensors, cut by the grain and merged, give the bits of one pass."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators import get_estimator

CASES = [
    *((name, 2) for name in ("kt", "nml", "enumerative", "entropy", "gaussian", "laplace")),
    *((name, 2**32) for name in ("kt", "nml", "enumerative", "entropy")),
    *(
        (f"{name}{boundary}{aggregate}", 2)
        for name in ("bdm", "ctm", "block-entropy", "bdm,ndim=2", "ctm,ndim=2")
        for boundary in ("", ",boundary=recursive", ",boundary=recursive,min_length=3")
        for aggregate in ("", ",aggregate=sum")
    ),
    *(
        (f"{name},boundary=correlated,shift={shift}{aggregate}", 2)
        for name in ("bdm", "block-entropy")
        for shift in (1, 5, 12, 17)
        for aggregate in ("", ",aggregate=sum")
    ),
    ("bdm", 4),
    ("ctm,boundary=recursive", 9),
    *((f"qubd,ndim={ndim}{aggregate}", size) for ndim in (1, 2) for size in (8, 256, 4096)
      for aggregate in ("", ",aggregate=pooled")),
]  # fmt: skip

SHAPES = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 60)),
        st.tuples(st.integers(0, 14), st.integers(0, 9)),
        st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=4,
)


def symbols_of(shapes, alphabet, seed):
    random = np.random.default_rng(seed)
    return [random.integers(0, alphabet, math.prod(shape), dtype=np.uint64) for shape in shapes]


def cuts_of(data, numel, grain):
    """Where a tensor is cut: its ends, and multiples of the grain between them."""
    inner = st.lists(st.integers(0, numel // grain), max_size=4)
    return [0, *sorted(grain * cut for cut in data.draw(inner)), numel]


def merged_tensor(estimator, alphabet, shape, symbols, cuts, before):
    """The part that is the whole tensor, merged of smaller ones, each pickled on its way."""
    whole = estimator.start_part(shape, alphabet, 0, symbols.size, before)
    for start, stop in itertools.pairwise(cuts):
        part = estimator.start_part(shape, alphabet, start, stop, before)
        part.update(symbols[start:stop])
        whole.merge(pickle.loads(pickle.dumps(part)))
    return whole


@pytest.mark.parametrize(("spec", "alphabet"), CASES)
@settings(max_examples=5)
@given(st.data(), SHAPES, st.integers(0, 99))
def test_parts_merge_into_one_pass(spec, alphabet, data, shapes, seed):
    estimator, given_symbols = get_estimator(spec), symbols_of(shapes, alphabet, seed)
    try:
        whole = estimator.start_many(shapes, alphabet)
    except NotApplicableError:
        return
    merged, before = estimator.start_many(shapes, alphabet), 0
    for shape, symbols in zip(shapes, given_symbols, strict=True):
        whole.update(symbols)
        cuts = cuts_of(data, symbols.size, estimator.grain([shape], alphabet))
        merged.merge(merged_tensor(estimator, alphabet, shape, symbols, cuts, before))
        before += symbols.size
    assert str(merged.finish()) == str(whole.finish())  # texts: NaN is not equal to itself


@pytest.mark.parametrize(("spec", "alphabet"), CASES)
def test_parts_merge_into_their_tensor(spec, alphabet):
    estimator, shape = get_estimator(spec), (13, 7)
    (symbols,) = symbols_of([shape], alphabet, 0)
    whole, merged = (estimator.start(shape, alphabet) for _ in range(2))
    whole.update(symbols)
    grain = estimator.grain([shape], alphabet)
    for start in range(0, symbols.size, grain):
        stop = min(start + grain, symbols.size)
        part = estimator.start_part(shape, alphabet, start, stop)
        part.update(symbols[start:stop])
        merged.merge(part)
    assert str(merged.finish()) == str(whole.finish())


def test_what_has_no_grain_has_no_parts():
    for spec in ("gzip", "bdm,window=24", "bdm,ndim=2,boundary=correlated"):
        estimator = get_estimator(spec)
        assert estimator.grain([(40, 40)], 2) is None
        with pytest.raises(InputError, match=r"grain .* is None"):
            estimator.start_part((40, 40), 2, 0, 80)


def test_parts_begin_at_multiples_of_the_grain():
    squares = get_estimator("bdm,ndim=2")
    assert squares.grain([(40, 10)], 2) == 40
    for start, stop in ((0, 41), (1, 40), (10, 400)):
        with pytest.raises(InputError, match="grain"):
            squares.start_part((40, 10), 2, start, stop)
    assert squares.start_part((39, 10), 2, 360, 390).inner.plan.matrices == ((3, 10),)


def test_parts_out_of_order_are_refused():
    bdm, symbols = get_estimator("bdm"), np.zeros(40, np.uint8)
    first, last = (bdm.start_part((40,), 2, *cut) for cut in ((0, 17), (17, 40)))
    first.update(symbols[:17])
    last.update(symbols[17:])
    with pytest.raises(InputError, match="in order"):
        bdm.start((40,), 2).merge(last)
    overlapping = get_estimator("bdm,boundary=correlated")
    whole, second = overlapping.start((30,), 2), overlapping.start((15,), 2)
    for accumulator in (whole, second):
        accumulator.update(symbols[:15])
    with pytest.raises(InputError, match="how many symbols come before"):
        whole.merge(second)
