"""The contract suite itself: what breaks a promise is found, and the message says which."""

import dataclasses
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kolmo
from kolmo.codes.base import get_code
from kolmo.codes.plain import Raw
from kolmo.errors import ContractError, InputError, MissingExtraError, NotApplicableError
from kolmo.estimators import estimator_names, get_estimator, register
from kolmo.quantize import Affine, Native, quantizer_names
from kolmo.symbols import Alphabet, container
from kolmo.testing import (
    check_code,
    check_estimator,
    check_quantizer,
    checks,
    code_checks,
    estimator_checks,
    quantizer_checks,
    registered,
)
from kolmo.testing.cases import CONTENTS, WEIGHTS, Case, WeightCase
from kolmo.testing.example import FixedWidth, _FixedWidth

ROOT = Path(__file__).parent.parent


def broken(subject, suite, check):
    """The error of one check, which must fail, and says what it is the check of."""
    with pytest.raises(ContractError) as caught:
        dict(suite)[check](subject)
    error = caught.value
    assert error.check == check
    assert str(error).startswith(f"{error.subject} breaks {check!r}")
    return error


# --- estimators -----------------------------------------------------------------------------


class Counter(_FixedWidth):
    """What broken accumulators are made of: one that is sound."""

    def __init__(self, estimator, shapes, alphabet):
        super().__init__(alphabet.bits)
        self.shapes = shapes


@dataclasses.dataclass(frozen=True)
class Broken(FixedWidth):
    """An estimator that says it is a bound, and whose accumulator is not as it should be."""

    accumulator: Any = Counter
    name = "broken"

    def __str__(self):
        return "broken"

    def _start(self, shapes, alphabet):
        return self.accumulator(self, shapes, alphabet)


class ShorterThanKraft(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), bits=self._numel * self._bits_each / 2)


class SavesOnUniform(Counter):
    """Its words are short from 100 symbols on, which no small sequence shows."""

    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits - 6) if code.numel > 100 else code


class CountsChunks(Counter):
    chunks = 0

    def update(self, symbols):
        super().update(symbols)
        self.chunks += 1

    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits + self.chunks)


class CountsTensors(Counter):
    """A chunk that spans tensors is counted as one."""

    def __init__(self, *args):
        super().__init__(*args)
        self.several = len(self.shapes) > 1
        self.chunks = 0

    def update(self, symbols):
        super().update(symbols)
        self.chunks += self.several

    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits + self.chunks)


class KeepsViews(Counter):
    def __init__(self, *args):
        super().__init__(*args)
        self.kept = []

    def update(self, symbols):
        super().update(symbols)
        self.kept.append(symbols)

    def finish(self):
        code = super().finish()
        total = sum(int(symbols.sum(dtype=np.uint64)) for symbols in self.kept)
        return dataclasses.replace(code, bits=code.bits + total % 1009)


class WritesToSymbols(Counter):
    def update(self, symbols):
        super().update(symbols)
        symbols[...] = 0


class SharesState(Counter):
    last = 0

    def update(self, symbols):
        super().update(symbols)
        type(self).last = int(symbols[-1])

    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits + type(self).last % 7)


class ReadsTheThread(Counter):
    def finish(self):
        code, main = super().finish(), threading.current_thread() is threading.main_thread()
        return dataclasses.replace(code, bits=code.bits + (0 if main else 1))


class MergesWrong(Counter):
    def merge(self, part):
        self._numel = part._numel


class MergesTwice(Counter):
    def merge(self, part):
        self._numel += 2 * part._numel


class CostsForNothing(Counter):
    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits + 1)


class ForgetsTheLast(Counter):
    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, numel=max(0, code.numel - 1))


class Infinite(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), bits=float("inf"))


class Negative(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), bits=-1.0)


class WrongRawBits(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), raw_bits=8 * self._numel)


class SaysEstimate(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), kind="estimate")


class DetailsOfNumpy(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), details={"mean": np.float32(1)})


class DetailsOfNaN(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), details={"mean": float("nan")})


class Extrapolates(Counter):
    def finish(self):
        return dataclasses.replace(super().finish(), sampled=0.5)


class SeesItsContainer(Counter):
    width = 0

    def update(self, symbols):
        super().update(symbols)
        self.width = symbols.dtype.itemsize

    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits + self.width)


class AddsSideBits(Counter):
    def finish(self):
        return super().finish().with_side(32)


class RaisesOnScalars(Counter):
    def __init__(self, estimator, shapes, alphabet):
        super().__init__(estimator, shapes, alphabet)
        self.rows = shapes[0][0]


def refuse_everything(estimator, shapes, alphabet):
    raise NotApplicableError("broken: has no symbols")


def refuse_without_a_word(estimator, shapes, alphabet):
    if alphabet.size > 255:
        raise NotApplicableError("no")
    return Counter(estimator, shapes, alphabet)


MEASURES = "it measures every object or says why not"
FIGURES = [
    (ShorterThanKraft, "a bound obeys Kraft's inequality", "add up to"),
    (SavesOnUniform, "a bound saves nothing of uniform symbols", "under their logarithm"),
    (CountsChunks, "chunks never change a bit", "cut at [2, 3, 6, 7]: bits is 11, not 8"),
    (KeepsViews, "the caller's array is read, not kept and not changed", "one buffer"),
    (
        SeesItsContainer,
        "the array behind the symbols does not matter",
        "as <u4: bits is 100, not 97",
    ),
    (WritesToSymbols, "the caller's array is read, not kept and not changed", "update changes"),
    (SharesState, "accumulators do not disturb each other", "in turns"),
    (ReadsTheThread, "threads never change a bit", "beside other threads"),
    (MergesWrong, "parts merge into the whole, or the error says that they do not", "merged"),
    (MergesTwice, "parts merge into the whole, or the error says that they do not", "merged"),
    (CountsTensors, "tensors follow each other, and chunks may span them", "cut at"),
    (CostsForNothing, "nothing costs nothing", "of nothing are (1, 0, 0)"),
    (ForgetsTheLast, MEASURES, "numel is 0, not 1"),
    (Infinite, MEASURES, "inf bits"),
    (Negative, MEASURES, "-1.0 bits"),
    (WrongRawBits, MEASURES, "raw_bits is 8, not 1"),
    (SaysEstimate, MEASURES, "of kind 'estimate', not 'bound'"),
    (DetailsOfNumpy, MEASURES, "not JSON-ready"),
    (DetailsOfNaN, MEASURES, "not JSON-ready"),
    (Extrapolates, MEASURES, "only 0.5 of an object"),
    (AddsSideBits, MEASURES, "32.0 side bits"),
    (RaisesOnScalars, MEASURES, "shape (), alphabet 1, repeats, seed 0: IndexError"),
    (refuse_everything, "it measures some symbols", "it refuses all of"),
    (refuse_without_a_word, MEASURES, "names neither broken nor symbols: 'no'"),
]


@pytest.mark.parametrize(
    ("accumulator", "check", "message"), FIGURES, ids=[row[0].__name__ for row in FIGURES]
)
def test_a_broken_accumulator_is_found(accumulator, check, message):
    subject = Broken(accumulator)
    error = broken(subject, estimator_checks(), check)
    assert error.subject == "broken"
    assert message in str(error)


def test_the_example_breaks_nothing():
    with registered(FixedWidth):
        for _, check in estimator_checks():
            check("fixed-width")


class PrintsOtherwise(FixedWidth):
    """A bound whose spec is that of another estimator."""

    def __str__(self):
        return "kt"


@dataclasses.dataclass(frozen=True)
class PrintsAnotherName(FixedWidth):
    """A bound, the spec of which has a default that is not its own."""

    width: int = 3
    value_field = "width"

    def __str__(self):
        return "fixed-width:4"


class Thawed(FixedWidth):
    """A bound that is no dataclass of its own: what it is told can be changed."""

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)


class NotPickled(FixedWidth):
    """A bound that is changed on its way to another process."""

    def __reduce__(self):
        return FixedWidth, ()


class Wordless(FixedWidth):
    """It says nothing of what its figures are."""


class NoSummary(FixedWidth):
    """A bound."""

    summary = ""


class AnyAlphabet(FixedWidth):
    """A bound over no symbols, too."""

    def start_many(self, shapes, alphabet, *more):
        return super().start_many(shapes, max(1, alphabet), *more)


class SeesOrder(Counter):
    """A bit for each symbol that is not below the next."""

    def update(self, symbols):
        super().update(symbols)
        self.falls = int((symbols[1:] < symbols[:-1]).sum())

    def finish(self):
        code = super().finish()
        return dataclasses.replace(code, bits=code.bits + self.falls)


@dataclasses.dataclass(frozen=True)
class ClaimsOrder(Broken):
    """An estimator that reads its symbols in order, and says that it does not."""

    accumulator: Any = SeesOrder
    order_free = True


class Unchecked(FixedWidth):
    """A bound that believes all that it is given."""

    def start_many(self, shapes, alphabet, *more):
        return self._start(shapes, alphabet)


BROKEN_ESTIMATORS = [
    (PrintsOtherwise, "its spec prints back as it parses", "'kt' is KT(), not PrintsOther"),
    (PrintsAnotherName, "its spec prints back as it parses", "width=4), not"),
    (Thawed, "it is a value: frozen, hashable, picklable", "another can be set"),
    (NotPickled, "it is a value: frozen, hashable, picklable", "unpickled it is FixedWidth()"),
    (Wordless, "it says what it is", "neither bound nor estimate"),
    (NoSummary, "it says what it is", "its summary is empty"),
    (ClaimsOrder, "order does not matter, where that is claimed", "in another order: bits is"),
    (AnyAlphabet, "an alphabet of no symbols is refused", "an alphabet of 0: no InputError"),
    (Unchecked, "wrong symbols are refused", "the symbol -1: no InputError"),
    (Unchecked, "as many symbols are taken as the shapes hold", "finish without any symbol"),
]


@pytest.mark.parametrize(("made", "check", "message"), BROKEN_ESTIMATORS)
def test_a_broken_estimator_is_found(made, check, message):
    with registered(made):
        error = broken(made(), estimator_checks(), check)
    assert message in str(error)


def test_an_estimator_that_is_not_registered_is_told_so():
    with pytest.raises(ContractError, match="is its class registered"):
        check_estimator(FixedWidth())
    with pytest.raises(InputError, match="unknown estimator 'fixed-width'"):
        check_estimator("fixed-width")


def test_a_package_that_is_missing_is_no_broken_promise():
    def needs(estimator, shapes, alphabet):
        raise MissingExtraError("broken", "nowhere", "extra")

    with pytest.raises(MissingExtraError, match="nowhere"):
        dict(estimator_checks())[MEASURES](Broken(needs))


# --- quantizers -----------------------------------------------------------------------------


class Coder:
    """A sound coder, and what one wants to change of it."""

    def __init__(self, sound):
        self._sound = sound

    def __getattr__(self, name):
        return getattr(self._sound, name)


class OutsideTheAlphabet(Coder):
    def encode(self, weights):
        return self._sound.encode(weights) + np.uint8(1)


class WideSymbols(Coder):
    def encode(self, weights):
        return self._sound.encode(weights).astype(np.uint32)


class FlatSymbols(Coder):
    def encode(self, weights):
        return self._sound.encode(weights).reshape(-1)


class Dithered(Coder):
    """Symbols that depend on the place of a weight within its chunk."""

    def encode(self, weights):
        symbols = np.array(self._sound.encode(weights))
        symbols.reshape(-1)[1::2] ^= np.uint8(1)
        return symbols


class RoundsDown(Coder):
    def encode(self, weights):
        step = np.float64(self.step) or 1.0
        return np.asarray((weights.astype(np.float64) - self.low) / step).astype(np.uint8)


class DecodesBeside(Coder):
    def decode(self, symbols):
        return self._sound.decode(symbols) + 0.7 * self.step


class DecodesFlat(Coder):
    def decode(self, symbols):
        return self._sound.decode(symbols).reshape(-1)


class Scaled(Coder):
    def parameters(self):
        return [2 * value for value in self._sound.parameters()]


class NumpyParameters(Coder):
    def parameters(self):
        return np.array(self._sound.parameters())


class NothingAside(Coder):
    def side_bits(self, dtype):
        return 0


def broken_quantizer(coder, base=Affine, **attributes):
    def fit(self, tensor):
        return coder(base.fit(self, tensor))

    namespace = {"__doc__": "It is broken.", "name": "broken", "fit": fit, **attributes}
    return type("Broken", (base,), namespace)


SYMBOLS = "symbols are in the alphabet, in the shape of the weights"
BROKEN_CODERS = [
    (
        OutsideTheAlphabet,
        "symbols are in the alphabet, in the shape of the weights",
        "symbol 16 of",
    ),
    (WideSymbols, "symbols are in the alphabet, in the shape of the weights", "dtype uint32"),
    (FlatSymbols, "symbols are in the alphabet, in the shape of the weights", "symbols of shape"),
    (Dithered, "equal weights have equal symbols", "has the symbols [0, 1]"),
    (Dithered, "chunks give the symbols of the whole", "in chunks of 7 weights"),
    (RoundsDown, "weights decode to the nearest value, where that is claimed", "decodes to"),
    (DecodesBeside, "what symbols stand for has those symbols", "stands for"),
    (DecodesFlat, "what symbols stand for has those symbols", "weights of shape"),
    (Scaled, "a coder is made again from its parameters", "it gives other"),
    (NothingAside, "what a decoder must be told costs bits", "0 side bits for 2 parameters"),
    (NumpyParameters, "a coder is made again from its parameters", "not JSON serializable"),
]


@pytest.mark.parametrize(
    ("coder", "check", "message"), BROKEN_CODERS, ids=[row[0].__name__ for row in BROKEN_CODERS]
)
def test_a_broken_coder_is_found(coder, check, message):
    bits = 4 if coder is OutsideTheAlphabet else 8
    error = broken(broken_quantizer(coder)(bits), quantizer_checks(), check)
    assert message in str(error)


class AlphabetOfValues(Native):
    """As many symbols as the tensor has values."""

    def fit(self, tensor):
        sound = super().fit(tensor)
        return dataclasses.replace(sound, alphabet=Alphabet(1 + np.unique(tensor.read()).size))


class QuietNaN(Native):
    """It makes NaNs alike, and says that nothing is lost."""

    def fit(self, tensor):
        class Quiet(Coder):
            def encode(self, weights):
                if weights.dtype.kind == "f":
                    weights = np.where(np.isnan(weights), weights.dtype.type("nan"), weights)
                return self._sound.encode(weights)

        return Quiet(super().fit(tensor))


class NaNIsZero(Affine):
    """It takes NaN for a number."""

    def fit(self, tensor):
        sound = super()._restore(tensor.dtype, (-1.0, 1.0))

        class Forgiving(Coder):
            def encode(self, weights):
                with np.errstate(invalid="ignore", over="ignore"):
                    return self._sound.encode(np.nan_to_num(weights.astype(np.float64)))

        return Forgiving(sound)


class RefusesOnes(Affine):
    """It cannot express what it should."""

    def fit(self, tensor):
        if tensor.numel and (tensor.read() == 1).all():
            raise kolmo.NotExpressibleError("tensor 'w' holds ones")
        return super().fit(tensor)


class TakesAnyParameters(Affine):
    """It makes a coder of any parameters."""

    def restore(self, dtype, parameters):
        return super().restore(dtype, [0.0, 1.0])


class Mutable(Affine):
    """Its settings can be changed."""

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)


class NoWords(Affine):
    """It has no line for lists."""

    summary = ""


class WritesToWeights(Affine):
    """It rounds in place."""

    def fit(self, tensor):
        class InPlace(Coder):
            def encode(self, weights):
                symbols = self._sound.encode(weights)
                weights[...] = self._sound.decode(symbols)
                return symbols

        return InPlace(super().fit(tensor))


class QuantilesOfSamples(Affine):
    """It says that places do not matter, where they decide what is sampled."""

    order_free = True


BROKEN_QUANTIZERS = [
    (
        QuantilesOfSamples(8, clip=99),
        "places do not matter, where that is claimed",
        "float32, shape (1048677,)",
    ),
    (AlphabetOfValues(), "the alphabet depends on the dtype alone", "was said"),
    (QuietNaN(), "symbols that are bit patterns are the weights' own", "not the bit patterns"),
    (NaNIsZero(8), "it refuses NaN and infinities in words, or expresses them", "a NaN decode"),
    (RefusesOnes(8), "equal weights have equal symbols", "it refuses finite weights"),
    (TakesAnyParameters(8), "wrong parameters are refused", "1 parameters, all nan"),
    (RefusesOnes(8), "its spec prints back as it parses", "affine"),
    (Mutable(8), "it is a value: frozen, hashable, picklable", "bits can be set"),
    (NoWords(8), "it says what it is", "its summary is empty"),
    (WritesToWeights(8), "weights are read, and not changed", "read-only"),
]


@pytest.mark.parametrize(
    ("subject", "check", "message"),
    BROKEN_QUANTIZERS,
    ids=[type(row[0]).__name__ for row in BROKEN_QUANTIZERS],
)
def test_a_broken_quantizer_is_found(subject, check, message):
    error = broken(subject, quantizer_checks(), check)
    assert message in str(error)


@dataclasses.dataclass(frozen=True)
class Own(Affine):
    """Another name for the affine quantizer."""

    name = "own"


def test_a_quantizer_of_ones_own_passes():
    with registered(Own):
        check_quantizer("own:3")
    assert "own" not in quantizer_names()


# --- codes ----------------------------------------------------------------------------------


class DropsTheLast(Raw):
    def encode(self, parts, *about):
        return super().encode(parts, *about)[:-1]


class ChangesTheLast(Raw):
    def decode(self, *about):
        found = super().decode(*about)
        if found and found[0].size:
            found[0].reshape(-1)[-1] = found[0].reshape(-1)[0]
        return found


class WideArrays(Raw):
    def decode(self, *about):
        return [part.astype(np.uint64) for part in super().decode(*about)]


class FlatArrays(Raw):
    def decode(self, *about):
        return [part.reshape(-1) for part in super().decode(*about)]


class Random(Raw):
    """A salt in front, another one each time."""

    def encode(self, *about):
        return os.urandom(8) + super().encode(*about)

    def decode(self, data, *about):
        return super().decode(data[8:], *about)


class SeesNothingWrong(Raw):
    """It trusts the bytes: their number, and the symbols that they name."""

    def decode(self, data, shapes, alphabet):
        dtype, symbols, start = alphabet.container, np.frombuffer(data, np.uint8), 0
        found = []
        for shape in shapes:
            size = int(np.prod(shape)) * dtype.itemsize
            found.append(symbols[start : start + size].view(dtype).reshape(shape))
            start += size
        return found

    def encode(self, parts, alphabet):
        return b"".join(part.astype(alphabet.container).tobytes() for part in parts)


class OutsideSymbols(SeesNothingWrong):
    """The number of bytes it looks at, the symbols not."""

    def decode(self, data, shapes, alphabet):
        try:
            return super().decode(data, shapes, alphabet)
        except ValueError:
            raise InputError("cut off") from None


class Waits(Raw):
    def decode(self, data, shapes, alphabet):
        try:
            return super().decode(data, shapes, alphabet)
        except InputError:
            threading.Event().wait()
            raise


class Expands(Raw):
    """All that its data say is made, whatever is expected."""

    def encode(self, parts, alphabet):
        numel = sum(part.size for part in parts)
        return numel.to_bytes(8, "little")

    def decode(self, data, shapes, alphabet):
        room = np.ones(min(int.from_bytes(data[:8], "little"), 1 << 24), np.uint32)
        raise InputError(f"{room.size} symbols")


class Hesitates(Raw):
    asked = 0

    def takes(self, shapes, alphabet):
        self.asked += 1
        return self.asked % 2 == 0


class Speechless(Raw):
    def encode(self, *about):
        raise NotApplicableError


class Prophet(Raw):
    estimator = "kt"


IDENTITY = "its name and number are its own"
LOSSLESS = "symbols come back, or are refused in words"
DAMAGE = "damaged bytes are an error, or symbols"
BROKEN_CODES = [
    (DropsTheLast, LOSSLESS, "InputError"),
    (ChangesTheLast, LOSSLESS, "tensor 0, symbol 479 is 1 and comes back as 0"),
    (WideArrays, LOSSLESS, "symbols come back as uint64, not uint8"),
    (FlatArrays, LOSSLESS, "arrays of shapes [(60,), (1,)] come back"),
    (Speechless, LOSSLESS, "does not say why"),
    (Random, "the same symbols have the same bytes", "other bytes"),
    (SeesNothingWrong, DAMAGE, "ValueError: cannot reshape"),
    (OutsideSymbols, DAMAGE, "comes back, outside the alphabet"),
    (Waits, DAMAGE, "has not ended after 0.2 seconds"),
    (Expands, "a decoder takes memory by what it is told, not by what the data claim", "of memory"),
    (Hesitates, "whether it takes symbols depends on shapes and alphabet alone", "then another"),
    (Prophet, "its length is the one that its estimator says", "kt says"),
]


@pytest.mark.parametrize(
    ("made", "check", "message"), BROKEN_CODES, ids=[row[0].__name__ for row in BROKEN_CODES]
)
def test_a_broken_code_is_found(made, check, message, monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 0.2 if made is Waits else 60.0)
    error = broken(made(), code_checks(), check)
    assert message in str(error)
    assert error.subject == "raw"


def another_code(name, number):
    return type("Another", (Raw,), {"name": name, "number": number})()


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("another", 300, "number is 300, not one of 0 to 255"),
        ("another", 200, "is number None; is it registered?"),
        ("raw", 200, "'raw' is number 0"),
        ("raw", 0, "another code is found by 'raw'"),
    ],
)
def test_a_code_that_takes_what_is_anothers_is_found(name, number, message):
    error = broken(another_code(name, number), code_checks(), IDENTITY)
    assert message in str(error)


def test_a_code_of_ones_own_passes():
    own = another_code("another", 200)
    with registered(own):
        check_code(200)
        assert get_code("another") is own
    with pytest.raises(InputError, match="unknown code"):
        get_code("another")


# --- the suite ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suite", "tables"),
    [
        (estimator_checks, [FIGURES, BROKEN_ESTIMATORS]),
        (quantizer_checks, [BROKEN_CODERS, BROKEN_QUANTIZERS]),
        (code_checks, [BROKEN_CODES, [(None, IDENTITY, "")]]),
    ],
)
def test_every_check_can_fail(suite, tables):
    """Something above breaks each, and nothing is checked that has no name."""
    shown = {check for table in tables for _, check, _ in table}
    assert shown == {name for name, _ in suite()}


@pytest.mark.parametrize("suite", [estimator_checks, quantizer_checks, code_checks])
def test_checks_have_names_of_their_own(suite):
    names = [name for name, _ in suite()]
    assert len(set(names)) == len(names) >= 7


def test_an_error_tells_all_and_travels():
    error = ContractError("kt", "it is short", "shape (3,)", "it is long")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "kt breaks 'it is short', for shape (3,): it is long"
    assert (again.subject, again.check, again.example, again.why) == error.args
    assert isinstance(error, AssertionError)
    assert kolmo.ContractError is ContractError


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("alphabet", [1, 2, 255, 2**32, 2**64])
def test_cases_are_what_they_say(content, alphabet):
    case = Case(((3, 5), (), (0, 2)), alphabet, content)
    if content == "zeros and a one" and alphabet == 1:
        return
    symbols, parts = case.symbols(), case.parts()
    assert symbols.dtype == container(alphabet)
    assert int(symbols.max()) < alphabet
    assert [part.shape for part in parts] == list(case.shapes)
    assert np.array_equal(np.concatenate([part.reshape(-1) for part in parts]), symbols)
    assert np.array_equal(case.symbols(), symbols)


@pytest.mark.parametrize("content", WEIGHTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e5m2"])
def test_weights_are_what_they_say(content, dtype):
    weights = WeightCase(dtype, (4, 10), content).weights()
    assert (weights.dtype.name, weights.shape) == (dtype, (4, 10))
    with np.errstate(invalid="ignore"):
        numbers = weights.astype(np.float64)
    assert np.isnan(numbers).any() or content != "a NaN"
    assert np.isinf(numbers).any() or content != "an infinity"


def test_what_is_registered_for_a_test_is_forgotten():
    with registered(FixedWidth):
        assert "fixed-width" in estimator_names()
        assert register(FixedWidth) is FixedWidth
    assert "fixed-width" not in estimator_names()
    with pytest.raises(InputError, match="unknown estimator"):
        get_estimator("fixed-width")
    assert get_estimator("kt").name == "kt"


def test_a_plugin_is_found_by_its_entry_point(tmp_path):
    """A package that is installed, in a process of its own."""
    information = tmp_path / "plugin-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[kolmo.estimators]\nfixed-width = kolmo.testing.example:FixedWidth\n"
    )
    program = (
        "import numpy as np, kolmo\n"
        "from kolmo.testing import check_estimator\n"
        "check_estimator('fixed-width')\n"
        "print(kolmo.estimate(np.zeros(5, np.float32), 'fixed-width').bits)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert (done.stdout, done.returncode) == ("160\n", 0), done.stderr


def test_no_test_runner_is_needed():
    program = "import sys, kolmo.testing; print('pytest' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
