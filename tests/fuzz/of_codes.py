"""Each decoder alone: data that are damaged, or another code's, of these shapes or of others."""

import json
from functools import cache

from kolmo.codes.base import code_numbers
from kolmo.errors import NotApplicableError
from kolmo.testing.access import decode, encode, find_code, is_taken
from kolmo.testing.cases import Case
from tests.fuzz.damage import damaged, pick
from tests.fuzz.kinds import Fuzzer

SHAPES = (((8, 12), (30, 8)), ((40,),), ((5, 3, 4), (7,), (0, 3)), ((1, 9), (9, 1)))
OTHERS = (*SHAPES, (), ((0,),), ((),), ((3,),), ((5000,),), ((8, 13), (30, 8)), ((2, 2, 2, 2),))
KINDS = (
    (2, ""),
    (15, ""),
    (255, ""),
    (65536, "bfloat16"),
    (65536, "float16"),
    (1 << 32, "float32"),
)


@cache
def sound():
    """(code, shapes, alphabet, format, bytes) of small arrays, by each code that takes them."""
    cases = [
        Case(SHAPES[number % 3], alphabet, content, kind)
        for number, (alphabet, kind) in enumerate(KINDS)
        for content in ("motifs", "like weights" if kind else "few values")
    ]
    return [found for name in code_numbers() for case in cases if (found := _encoded(name, case))]


def _encoded(name, case):
    code = find_code(name)
    if not is_taken(code, case):
        return None
    try:
        return name, case.shapes, case.alphabet, case.format, encode(code, case)
    except NotApplicableError:
        return None


def written(folder, random):
    """What a decoder is given, and as what."""
    name, shapes, alphabet, kind, data = pick(sound(), random)
    others = [pick(sound(), random)[-1] for _ in range(2)]
    if random.random() < 0.9:
        data = bytes(damaged(data or b"\0", [other or b"\0" for other in others], random))
    if random.random() < 0.2:
        name = pick([*code_numbers()], random)
    if random.random() < 0.2:
        shapes = pick(OTHERS, random)
    if random.random() < 0.1:
        alphabet, kind = pick(KINDS, random)
    path = folder / "data"
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps([name, shapes, alphabet, kind]))
    return path


def read(path):
    """The symbols that a decoder makes of it."""
    name, shapes, alphabet, kind = json.loads(path.with_suffix(".json").read_text())
    case = Case(tuple(map(tuple, shapes)), alphabet, "uniform", kind)
    return case, decode(find_code(name), path.read_bytes(), case)


def are_symbols(path, found):
    """Whether what comes back has the shapes that were asked for, and symbols of the alphabet."""
    if found is None:
        return None
    case, parts = found
    if [part.shape for part in parts] != list(case.shapes):
        return "symbols come back in other shapes"
    if any(int(part.max(initial=0)) >= case.alphabet for part in parts):
        return "symbols outside of the alphabet come back"
    return None


FUZZERS = [Fuzzer("code alone", written, read, are_symbols)]
