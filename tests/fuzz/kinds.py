"""What a fuzzer is, and what becomes of one input."""

import dataclasses
import tempfile
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np

from kolmo.errors import KolmoError
from tests.fuzz.limits import SECONDS, limited_time

MODULES = [f"tests.fuzz.{path.stem}" for path in sorted(Path(__file__).parent.glob("of_*.py"))]
"""The modules of fuzzers."""
OURS = ("/kolmo/", "/momos/")


@dataclasses.dataclass(frozen=True)
class Fuzzer:
    """Makes inputs and uses them.

    Attributes
    ----------
    name : str
        The format and how the inputs are made: ``GGUF damaged``, ``GGUF written``.
    make : callable
        ``make(folder, random)`` writes one input into an empty folder and gives the path to open;
        the same of a generator of the same seed.
    use : callable
        ``use(path)`` reads it; a `KolmoError` refuses it, any other exception is a fault.
    judge : callable, optional
        ``judge(path, found)`` compares what ``use`` gave, or None where it refused, with what the
        format's own library makes of the input: None, or a text whose first line says in which
        way the two differ.
    """

    name: str
    make: Callable[[Path, np.random.Generator], Path]
    use: Callable[[Path], object]
    judge: Callable[[Path, object | None], str | None] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one input: it was ``refused``, it was ``read``, or there was a ``fault``."""

    seed: int
    what: str
    kind: str = ""
    text: str = ""


@cache
def fuzzers():
    """Every fuzzer of this folder, by name."""
    found = [fuzzer for module in MODULES for fuzzer in import_module(module).FUZZERS]
    named = {fuzzer.name: fuzzer for fuzzer in found}
    assert len(named) == len(found), "two fuzzers have one name"
    return named


def chosen(beginnings):
    """The fuzzers whose names begin with one of these words; all, if there are none."""
    known = fuzzers()
    for word in beginnings:
        if not any(name.lower().startswith(word.lower()) for name in known):
            raise SystemExit(f"no fuzzer begins with {word!r}; there are: {', '.join(known)}")
    starts = tuple(word.lower() for word in beginnings) or ("",)
    return [fuzzer for name, fuzzer in known.items() if name.lower().startswith(starts)]


def result_of(fuzzer, seed, seconds=SECONDS):
    """What becomes of the input of a seed."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn about some of what they write and refuse
        path = fuzzer.make(Path(folder), np.random.default_rng(seed))
        return result_at(fuzzer, path, seed, seconds)


def result_at(fuzzer, path, seed=0, seconds=SECONDS):
    """What becomes of the input at a path."""
    found = None
    try:
        with limited_time(seconds):
            found = fuzzer.use(path)
        result = Result(seed, "read")
    except KolmoError as error:
        result = _refusal(seed, str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Result(seed, "fault", kind_of(error), traceback.format_exc(limit=-8))
    text = fuzzer.judge(path, found) if fuzzer.judge and result.what != "fault" else None
    return Result(seed, "fault", text.splitlines()[0], text) if text else result


def _refusal(seed, text):
    if len(text.splitlines()) == 1 and text.isprintable():
        return Result(seed, "refused")
    return Result(seed, "fault", "a message that is no line", repr(text))


def kind_of(error):
    """The kind of a crash: the exception, and the line of ours that it went through last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(room in frame.filename for room in OURS)]
    last = (ours or frames)[-1]
    return f"{type(error).__name__} at {'/'.join(last.filename.split('/')[-3:])}:{last.lineno}"
