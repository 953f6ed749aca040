"""Rows of a store of results: texts that restore a result to the bit, and keys."""

import dataclasses
import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo import get_estimator, get_null, get_quantizer
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.estimators.mdl import KT
from kolmo.outcomes import KeptFacts, Missing, Result
from kolmo.store import Subject, make_key, open_store, record_key
from kolmo.store.rows import read_result, write_result
from tests.kept import key, result, store_folder

NATIVE, SIGN, KT_, ZSTD = (
    get_quantizer("native"),
    get_quantizer("sign"),
    KT(),
    get_estimator("zstd"),
)


@pytest.fixture
def path():
    with store_folder() as folder:
        yield folder / "results.sqlite"


# --- texts ----------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FIGURES = st.floats(0, 1e30)
UNKNOWN = FIGURES | st.just(math.nan)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
CODES = st.builds(
    CodeLength,
    bits=FIGURES | st.integers(0, 2**70),
    numel=st.integers(0, 2**50),
    raw_bits=st.integers(0, 2**60),
    kind=st.sampled_from(["bound", "estimate"]),
    details=st.dictionaries(st.text(), VALUES),
    sampled=st.floats(0, 1),
    standard_error=UNKNOWN,
    note=st.text(),
    side_bits=FIGURES,
    saturated=st.booleans(),
    degrees=UNKNOWN,
    squared_error=UNKNOWN,
    squared_weights=UNKNOWN,
)
MISSING = st.builds(Missing, reason=st.text(st.characters()), problem=st.booleans())


def exact(value):
    """A value with its floats as the bytes that they are, NaN as one of them."""
    if isinstance(value, float):
        return struct.pack(">d", math.nan if math.isnan(value) else value)
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    return type(value), value


@given(outcome=CODES | MISSING, seconds=st.floats(0, 1e9))
def test_every_result_is_restored_to_the_bit(outcome, seconds):
    back = read_result(write_result(Result(outcome, seconds)))
    assert type(back.outcome) is type(outcome)
    assert exact(dataclasses.asdict(back)) == exact(dataclasses.asdict(Result(outcome, seconds)))


@given(text=st.binary() | st.text().map(str.encode) | VALUES.map(repr).map(str.encode))
def test_a_text_that_is_no_result_is_refused(text):
    with pytest.raises(ValueError):
        read_result(text)


@pytest.mark.parametrize(
    "text",
    [
        b'["code",1.0,1.5,3,96,"bound",{},1.0,NaN,"",0.0,false]',
        b'["code",1.0,"1.5",3,96,"bound",{},1.0,NaN,"",0.0,false,NaN]',
        b'["code",1.0,1.5,3,96,"proof",{},1.0,NaN,"",0.0,false,NaN]',
        b'["code",1.0,1.5,true,96,"bound",{},1.0,NaN,"",0.0,false,NaN]',
        b'["code",1.0,1%b,3,96,"bound",{},1.0,NaN,"",0.0,false,NaN,NaN,NaN]' % (b"0" * 400),
        b'["code",null,1.5,3,96,"bound",{},1.0,NaN,"",0.0,false,NaN]',
        b'[["code"],1.0]',
        b"[" * 100_000,
    ],
)
def test_a_text_of_another_form_is_refused(text):
    with pytest.raises(ValueError):
        read_result(text)


@pytest.mark.parametrize(
    "figures",
    [
        {"bits": math.inf}, {"bits": math.nan}, {"bits": -1.0}, {"bits": 10**400},
        {"numel": 1 << 54}, {"raw_bits": 10**400}, {"sampled": 1.5}, {"side_bits": -0.5},
        {"standard_error": math.inf}, {"degrees": -1.0}, {"squared_error": 10**400},
        {"details": {"order": math.inf}}, {"details": {"order": [10**400]}},
    ],
)  # fmt: skip
def test_figures_that_no_run_measures_are_neither_kept_nor_read(figures):
    code = dataclasses.replace(CodeLength(1.0, 1, 32, "bound"), **figures)
    with pytest.raises(ValueError):
        write_result(Result(code, 0.5))
    text = ["code", 0.5, *(getattr(code, field.name) for field in dataclasses.fields(code))]
    with pytest.raises(ValueError):
        read_result(json.dumps(text).encode())


@pytest.mark.parametrize("details", [{"a": (1, 2)}, {1: 2}, {"a": {3}}, {"a": "x" * (1 << 22)}])
def test_what_json_does_not_restore_is_not_kept(path, details):
    code = CodeLength(1.0, 1, 32, "bound", details)
    with open_store(path) as store:
        assert store.put({key(1): Result(code, 0.0), key(2): result(2)})
        assert list(store.get([key(1), key(2)])) == [key(2)]


def test_numbers_of_numpy_are_restored_as_numbers():
    code = CodeLength(np.float64(0.1), 3, 96, "bound", {"n": np.int64(3)}, sampled=np.float32(0.5))
    back = read_result(write_result(Result(code, np.float64(2)))).outcome
    assert (back.bits, back.details, back.sampled) == (0.1, {"n": 3}, 0.5)


# --- keys -----------------------------------------------------------------------------------------

ONE, TIED = Subject(bytes(32), ("a",)), Subject(bytes(32), ("b",))


def test_a_figure_belongs_to_the_content_and_a_reason_to_the_name_too(path):
    mine, its = make_key(ONE, SIGN, KT_), make_key(TIED, SIGN, KT_)
    assert mine.content == its.content
    with open_store(path) as store:
        store.put({mine: Result(Missing("tensor 'a' holds NaN", problem=True), 0.0)})
        assert store.get([its]) == {}
        store.put({mine: result(1)})
        assert store.get([its]) == {its: result(1)}


def test_keys_differ_in_all_that_a_figure_depends_on():
    shuffled, gaussian = get_null("shuffled"), get_null("gaussian")
    keys = [
        make_key(ONE, SIGN, KT_),
        make_key(dataclasses.replace(ONE, digest=b"1" * 32), SIGN, KT_),
        make_key(dataclasses.replace(ONE, scope="model"), SIGN, KT_),
        make_key(ONE, NATIVE, KT_),
        make_key(ONE, SIGN, ZSTD),
        make_key(ONE, SIGN, get_estimator("zstd:3")),
        make_key(ONE, SIGN, ZSTD, also=[KT_]),
        make_key(ONE, SIGN, KT_, shuffled),
        make_key(ONE, SIGN, KT_, gaussian),
        make_key(ONE, SIGN, KT_, shuffled, 1),
        make_key(ONE, SIGN, KT_, shuffled, 0, 1),
        make_key(TIED, SIGN, KT_, shuffled),  # draws are seeded with the name
    ]
    assert len({each.content for each in keys}) == len(keys)
    assert len({each.named for each in keys}) == len(keys)


def test_the_seed_counts_for_draws_alone():
    assert make_key(ONE, SIGN, KT_, seed=1) == make_key(ONE, SIGN, KT_, seed=2)


def test_a_default_that_is_named_is_the_same_measurement():
    assert make_key(ONE, SIGN, get_estimator("zstd:19@bytes")) == make_key(ONE, SIGN, ZSTD)


def test_a_reference_is_known_by_its_content(tmp_path):
    keys = []
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", w=np.zeros(3))
        null = get_null(f"reference:{tmp_path / name}.npz")
        assert make_key(ONE, SIGN, KT_, null) is None
        keys.append(make_key(ONE, SIGN, KT_, null, partner=b"p" * 32))
    assert keys[0].content == keys[1].content
    assert keys[0].named != keys[1].named
    other = make_key(ONE, SIGN, KT_, null, partner=b"q" * 32)
    assert other.content != keys[1].content


@pytest.mark.parametrize("attribute", ["version", "software"])
def test_a_new_version_forgets_results(monkeypatch, attribute):
    before = make_key(ONE, SIGN, KT_)
    from kolmo.store import keys

    monkeypatch.setattr(KT, attribute, {"version": 2, "software": ("pytest",)}[attribute])
    keys._identity.cache_clear()
    keys._measurement.cache_clear()
    after = make_key(ONE, SIGN, KT_)
    keys._identity.cache_clear()
    keys._measurement.cache_clear()
    assert before.content != after.content


def test_a_class_without_a_version_has_no_key():
    @dataclasses.dataclass(frozen=True)
    class Mine(Estimator):
        name = "mine"
        kind = "estimate"

    Mine.__module__ = "__main__"  # as in a notebook
    assert make_key(ONE, SIGN, Mine()) is None


def test_an_estimator_of_another_package_has_a_key():
    @dataclasses.dataclass(frozen=True)
    class Plugin(Estimator):
        name = "plugin"
        kind = "estimate"

    Plugin.__module__ = "hypothesis"  # a package with a version
    assert make_key(ONE, SIGN, Plugin()) is not None


# --- facts ----------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | FLOATS | st.text()))
def test_facts_are_restored_as_well(facts):
    restored = read_result(write_result(Result(KeptFacts(facts), 0.0))).outcome
    assert type(restored) is KeptFacts
    assert repr(restored.facts) == repr(dict(sorted(facts.items())))


def test_facts_belong_to_a_content_a_kind_and_a_version():
    keys = [
        record_key(content, what, version, fields).content
        for content in (bytes(32), b"a" * 32)
        for what in ("facts", "spectrum")
        for version in (1, 2)
        for fields in (["sd"], ["sd", "mean"])
    ]
    assert len(set(keys)) == len(keys) == 16
