"""Files with a few bytes changed, which a reader opens or refuses, and nothing else."""

import random

import kolmo
from kolmo.errors import InputError

EXTREMES = [b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80"]


def mutated(data, chance):
    """The data with a few bytes changed, cut out, doubled, or with an extreme number in it."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 1:
            del data[at : at + chance.randint(1, 200)]
        elif kind == 2:
            data[at:at] = data[at : at + chance.randint(1, 100)]
        elif kind == 3:
            extreme = chance.choice(EXTREMES)
            data[at : at + len(extreme)] = extreme
        else:
            del data[at:]
    return bytes(data)


def refused(path, data, count, seed=0):
    """How many of ``count`` mutations are refused; the others open and can be read."""
    chance, errors = random.Random(seed), 0
    for _ in range(count):
        path.write_bytes(mutated(data, chance))
        try:
            for tensor in kolmo.open_checkpoint(path).values():
                assert tensor.numel < 1 << 24
                assert tensor.read().size == tensor.numel
        except InputError:
            errors += 1
    return errors
