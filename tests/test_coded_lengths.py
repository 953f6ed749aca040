"""Lengths in closed form are those of bits: each code here is written out, and read again.

An interval of exact integers is narrowed, event by event, with what encoder and decoder both know;
a word names it. The bits are then as many as the estimator says, but for rounding.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from kolmo import get_estimator
from kolmo.codes.base import get_code
from kolmo.symbols import Alphabet

PRECISION = 1 << 44


class Coder:
    """Writes events, given their numbers, or reads them from a word."""

    def __init__(self, word=None, bits=0):
        self.low, self.width, self.scale = 0, 1, 1
        self.word, self.bits = word, bits

    def event(self, frequencies, number=None):
        """Code the event of this number, or find the number of the one that was coded."""
        sums = np.cumsum([0, *frequencies], dtype=object)
        if number is None:
            # The word lies inside the interval that the event leaves.
            reach = (self.word * self.scale * sums[-1] >> self.bits) - self.low * sums[-1]
            number = int(np.searchsorted(sums * self.width, reach, "right")) - 1
        self.low = self.low * sums[-1] + self.width * sums[number]
        self.width *= frequencies[number]
        self.scale *= sums[-1]
        return number

    def finish(self):
        """The word, and how many bits it has: ceil(−log2 P) + 1."""
        bits = (-(-self.scale // self.width) - 1).bit_length() + 1
        return ((2 * self.low + self.width) << bits) // (2 * self.scale), bits


# --- codes: events from symbols, or symbols from events --------------------------------------


def adaptive(more, each):
    """Frequencies of each symbol so far: ``each`` times that, plus ``more``."""

    def code(coder, size, alphabet, given):
        counts, found = [more] * alphabet, []
        for place in range(size):
            found.append(coder.event(counts, given[place] if given else None))
            counts[found[-1]] += each
        return found

    return code


def compositions(parts, total):
    if parts == 1:
        return [(total,)]
    return [(n, *rest) for n in range(total + 1) for rest in compositions(parts - 1, total - n)]


def normalized_maximum_likelihood(coder, size, alphabet, given):
    """Which counts, by their likelihood; then the order, as if drawn without putting back."""
    each = compositions(alphabet, size)
    likelihoods = [
        math.factorial(size) // math.prod(map(math.factorial, counts))
        * math.prod(count**count for count in counts)
        for counts in each
    ]  # fmt: skip
    own = each.index(tuple(np.bincount(given, minlength=alphabet).tolist())) if given else None
    left, found = list(each[coder.event(likelihoods, own)]), []
    for place in range(size):
        found.append(coder.event(left, given[place] if given else None))
        left[found[-1]] -= 1
    return found


def two_part(name):
    density = {"gaussian": lambda z: -(z**2) / 2, "laplace": lambda z: -abs(z)}[name]

    def code(coder, size, alphabet, given):
        octaves, numbers = math.log2(16 * alphabet), (None, None, None)
        if given:
            sent = measured(name, given, alphabet).details
            top = (1 << sent["precision"]) - 1
            location = round(sent["location"] / (alphabet - 1) * top)
            scale = round(math.log2(16 * sent["scale"]) / octaves * top)
            numbers = (sent["precision"] - 1, location, scale)
        top = (1 << coder.event([1] * 16, numbers[0]) + 1) - 1
        location = coder.event([1] * (top + 1), numbers[1]) / top * (alphabet - 1)
        scale = 2 ** (coder.event([1] * (top + 1), numbers[2]) / top * octaves) / 16
        logs = np.array([density((x - location) / scale) for x in range(alphabet)])
        shares = np.exp(logs - logs.max())
        frequencies = [1 + int(share * PRECISION) for share in shares / shares.sum()]
        return [coder.event(frequencies, given[n] if given else None) for n in range(size)]

    return code


def prequential(coder, size, alphabet, given):
    """A prediction is how much further the length would grow."""
    from kolmo.estimators import kernels_prequential as kernels

    state, found = kernels.new_state(alphabet), []

    def learned(symbol):
        after = type(state)(*(np.copy(field) for field in state))
        kernels.predict_symbols(np.array([symbol]), after)
        return after

    for place in range(size):
        after = [learned(symbol) for symbol in range(alphabet)]
        growth = [2 ** float(one.scalars[3] - state.scalars[3]) for one in after]
        frequencies = [1 + int(share * PRECISION) for share in growth]
        found.append(coder.event(frequencies, given[place] if given else None))
        state = after[found[-1]]
    return found


def measured(name, symbols, alphabet):
    accumulator = get_estimator(name).start((len(symbols),), alphabet)
    accumulator.update(np.array(symbols, np.uint8))
    return accumulator.finish()


def drawn(size, alphabet):
    random = np.random.default_rng(size + alphabet)
    return random.binomial(alphabet - 1, 0.3, size).tolist()


CASES = {
    "kt": (adaptive(1, 2), [(3000, 2), (2000, 15), (1000, 255)]),
    "enumerative": (adaptive(1, 1), [(3000, 2), (2000, 15), (1000, 255)]),
    "nml": (normalized_maximum_likelihood, [(300, 2), (40, 3)]),
    "gaussian": (two_part("gaussian"), [(2000, 15), (1500, 255)]),
    "laplace": (two_part("laplace"), [(2000, 15), (1500, 255)]),
    "prequential": (prequential, [(700, 2), (300, 15)]),
}


@pytest.mark.parametrize(
    ("name", "size", "alphabet"),
    [(name, *case) for name, (_, cases) in CASES.items() for case in cases],
)
def test_a_closed_form_is_the_length_of_bits_that_decode(name, size, alphabet):
    code, symbols = CASES[name][0], drawn(size, alphabet)
    writer = Coder()
    code(writer, size, alphabet, symbols)
    word, bits = writer.finish()
    assert code(Coder(word, bits), size, alphabet, None) == symbols
    assert measured(name, symbols, alphabet).bits == pytest.approx(bits, rel=1e-6, abs=3)


@pytest.mark.parametrize("alphabet", [2, 15, 255])
def test_the_order_0_code_of_containers_is_near_the_closed_form(alphabet):
    """It may be shorter than ``kt``, for its prior is smooth, and is never much longer."""
    symbols = drawn(20_000, alphabet)
    data = get_code("counts").encode([np.array(symbols, np.uint8)], Alphabet(alphabet))
    assert 8 * len(data) <= 1.001 * measured("kt", symbols, alphabet).bits + 64
