"""Sound checkpoints of every format, one file of each damaged, emptied or gone."""

from functools import partial

from tests.fuzz.damage import mutated, pick
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.reading import read
from tests.fuzz.seeds import FORMATS, Case, cases


def damaged(name, folder, random):
    """Write a checkpoint of a format with one of its files damaged."""
    sound = cases(name)
    others = [data for case in sound for data in case.files.values() if data]
    case = pick(sound, random)
    files, victim, chance = dict(case.files), pick(list(case.files), random), random.random()
    if chance < 0.01 and len(files) > 1:
        del files[victim]
    else:
        files[victim] = mutated(files[victim], others, random) if chance < 0.99 else b""
    return Case(case.opened, files).write(folder)


FUZZERS = [Fuzzer(f"{name} damaged", partial(damaged, name), read) for name in FORMATS]
