"""Names from outside: made safe to show, and in the order in which people number them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.text import natural_key, raised


def test_numbers_are_compared_as_numbers():
    names = [f"encoder.layer.{n}.weight" for n in (0, 1, 2, 10, 11, 100)]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a", "a1"),  # what ends comes first
        ("a2b10", "a10b2"),
        ("7", "a"),
        ("a.1", "a.1.b"),
        ("a.01", "a.1"),  # the same number: the names decide
        ("h.9", "h." + "1" * 5000),  # longer than Python makes an int of
    ],
)
def test_any_two_names_have_an_order(before, after):
    assert natural_key(before) < natural_key(after)


def test_different_names_have_different_keys():
    names = ["a1", "a01", "a001", "", "0", "00", "a0b", "a00b"]
    assert len({natural_key(name) for name in names}) == len(names)


@given(value=st.floats(0, exclude_min=True, allow_infinity=False), digits=st.integers(2, 6))
def test_what_is_at_most_a_number_is_no_less_than_it(value, digits):
    shown = raised(value, digits)
    assert value <= shown * (1 + 1e-12)
    assert shown - value <= 10 ** (1 - digits) * (1 + 1e-6) * value + 5e-324
