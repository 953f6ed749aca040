"""A hand that writes files right in most places, and wrong in few."""

from tests.fuzz.damage import pick

SLIPS = (0, 0.01, 0.03, 0.1, 0.3)
"""How often a hand slips: each writes one input, and one in five writes none wrong."""

COUNTS = (0, 1, 2, 7, 63, 64, 65, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1)
SIDES = ((), (1,), (0,), (5,), (3, 4), (2, 3, 2), (0, 7), (1, 1, 1, 1), (6, 1), (33,))
NAMES = ("w", "b", "layer.0.weight", "layer.1.bias", "emb", "é", "a/b", "x.y.z", "head", "n")


class Hand:
    """Decides by a generator where it is wrong."""

    def __init__(self, random, slip=None):
        self.random = random
        self.slip = pick(SLIPS, random) if slip is None else slip

    def other(self):
        """A hand for the parts of a whole, which mostly makes no mistake."""
        return Hand(self.random, None if self.random.random() < 0.25 else 0)

    def slips(self):
        """Whether it is wrong this time."""
        return bool(self.random.random() < self.slip)

    def put(self, sound, *wrong):
        """The sound value, and seldom one of the wrong ones."""
        return pick(wrong, self.random) if self.slips() else sound

    def count(self, sound):
        """A number, and seldom another."""
        return self.put(sound, pick(COUNTS, self.random), sound + 1, max(sound - 1, 0), 2 * sound)

    def any(self, values):
        """One of sound values."""
        return pick(values, self.random)

    def below(self, limit):
        """A number from 0 on."""
        return int(self.random.integers(limit))

    def some(self, values, most):
        """Different ones of the values, at least one."""
        many = 1 + self.below(min(most, len(values)))
        return [values[n] for n in self.random.permutation(len(values))[:many]]

    def bytes(self, count):
        """Bytes of a tensor, and seldom some more or fewer."""
        return self.random.bytes(max(self.put(count, count - 1, count + 1, 0, count + 40), 0))
