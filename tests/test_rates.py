"""What work costs: the shipped table knows everything of ours, and runs correct it."""

import dataclasses
import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.defaults import DEFAULT_MEASUREMENTS
from kolmo.estimators import Estimator, estimator_class, estimator_names
from kolmo.nulls import NULLS
from kolmo.quantize import quantizer_names
from kolmo.rates import CostCurve, Rates, drawing, expected_seconds, hashing, measuring, reading
from kolmo.rates import learned as rates_learned
from kolmo.rates.work import UNKNOWN, estimating, shipped, shipped_rate

BIG = 100_000_000


@dataclasses.dataclass(frozen=True)
class Plugin(Estimator):
    """An estimator that no table knows."""

    name = "plugin-of-rates"
    kind = "estimate"


@pytest.fixture
def rates(tmp_path):
    return Rates(tmp_path / "cache" / "rates.json")


# --- curves -----------------------------------------------------------------------------------

points = st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1e6)), min_size=1, max_size=6).map(
    lambda found: sorted(dict(found).items())
)


@given(points, st.integers(0, 10**12), st.integers(0, 10**12))
def test_larger_sizes_never_take_less(found, one, other):
    curve = CostCurve.of(found)
    low, high = sorted((one, other))
    assert curve.seconds(low) <= curve.seconds(high) * (1 + 1e-12) + 1e-12


@given(points)
def test_curves_run_through_rising_points(found):
    curve = CostCurve.of(found)
    for size, seconds in curve.points:
        assert curve.seconds(size) == pytest.approx(seconds, rel=1e-12)


def test_the_last_line_goes_on():
    curve = CostCurve(((10, 1.0), (20, 2.0), (40, 8.0)))
    assert [curve.seconds(size) for size in (0, 10, 15, 30, 140)] == [1.0, 1.0, 1.5, 5.0, 38.0]


# --- the shipped table ------------------------------------------------------------------------


@pytest.mark.parametrize("name", estimator_names())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_estimator_has_a_rate(name, dtype):
    assert measuring(name, "symmetric:8", dtype, BIG).known


def test_every_quantizer_null_and_default_has_a_rate():
    needed = {"codebook": "codebook:16", "symmetric": "symmetric:8", "affine": "affine:8"}
    needed |= {"nmse": "nmse:0.01"}
    for name in quantizer_names():
        assert measuring("kt", needed.get(name, name), "float32", BIG).known
    for name in {*NULLS.names()} - {"reference"}:
        assert drawing(name, "bfloat16", BIG).basis == "measured"
    for quantizer, estimators in DEFAULT_MEASUREMENTS.items():
        for estimator in estimators:
            assert measuring(estimator, quantizer, "bfloat16", BIG).known


@pytest.mark.parametrize("name", ["gzip", "bz2", "xz", "zstd", "brotli"])
def test_every_level_has_a_rate(name):
    for level in estimator_class(name).library.levels:
        assert measuring(f"{name}:{level}", "sign", "float32", BIG).known


def test_higher_levels_take_longer():
    low, high = (measuring(s, "symmetric:8", "float32", BIG).seconds for s in ("zstd:1", "zstd:22"))
    assert high > 5 * low


def test_what_was_not_measured_has_the_rate_of_its_like():
    four, six = (measuring("kt", f"symmetric:{bits}", "float32", BIG) for bits in (4, 6))
    assert (four.basis, six.basis) == ("measured", "similar")
    packed = measuring("brotli:5@packed", "sign", "float32", BIG)
    assert packed.basis == "similar"
    assert packed.seconds == measuring("brotli:5", "sign", "float32", BIG).seconds


def test_wider_symbols_take_longer():
    assert (
        measuring("mosaic", "native", "float64", BIG).seconds
        > 1.9 * measuring("mosaic", "native", "float32", BIG).seconds
    )


def test_a_plugin_is_marked_and_dear():
    price = measuring(Plugin(), "sign", "float32", BIG)
    assert not price.known
    assert price.seconds > UNKNOWN.seconds(BIG) > BIG / 1e6


@pytest.mark.parametrize("spec", ["gzip:9,sample=65536", "xz:6,sample=131072@shuffle"])
def test_a_sample_costs_the_same_of_any_object(spec):
    rate = shipped_rate(estimating(spec, "native", "bfloat16"))
    assert rate.curve.seconds(BIG) == rate.curve.seconds(10 * BIG) > 0
    whole = shipped_rate(estimating(spec.partition(",")[0], "native", "bfloat16"))
    assert whole.curve.seconds(BIG) > 100 * rate.curve.seconds(BIG)


def test_quantized_tensors_have_the_forms_of_their_codes():
    assert measuring("kt", "native", "4-bit GPTQ", BIG).key == "kt native 4"
    own = measuring("kt", "symmetric:8", "4-bit GPTQ", BIG)
    assert own.seconds >= measuring("kt", "native", "4-bit GPTQ", BIG).seconds / 2


def test_symbols_are_made_once_for_all_that_share_them():
    alone, shared = (measuring("kt", "symmetric:8", "bfloat16", BIG, n).seconds for n in (1, 4))
    assert 0 < shared < alone


def test_reading_is_faster_than_hashing_and_both_are_linear():
    assert 0 < reading(10**9).seconds < 10
    assert 0 < hashing(10**9).seconds < 10
    assert hashing(10**11).seconds == pytest.approx(100 * hashing(10**9).seconds, rel=0.1)


def test_the_table_holds_rising_sizes_and_seconds_above_zero():
    for kind in ("reading", "hashing", "coding", "drawing", "estimating"):
        for spec, curves in shipped()[kind].items():
            for form, found in curves.items():
                sizes, seconds = zip(*found, strict=True)
                assert list(sizes) == sorted(set(sizes)), (spec, form)
                assert min(seconds) > 0, (spec, form)


# --- what runs teach --------------------------------------------------------------------------


def test_observed_work_corrects_what_is_expected(rates):
    price = measuring("kt", "sign", "float32", BIG)
    before = rates.seconds(price)
    for _ in range(20):
        rates.observe(price, 3 * before)
    assert rates.seconds(price) == pytest.approx(3 * before, rel=0.1)
    assert rates.seconds(measuring("bdm", "sign", "float32", BIG)) > 0


def test_totals_are_right_however_many_small_tensors_there_are(rates):
    small, large = (measuring("kt", "sign", "float32", n) for n in (4096, 10 * BIG))
    for _ in range(100):
        rates.observe(small, 50 * rates.factor * small.seconds)
    for _ in range(20):
        rates.observe(large, 2 * rates.factor * large.seconds)
    assert rates.seconds(large) == pytest.approx(2 * rates.factor * large.seconds, rel=0.1)


def test_the_last_minutes_count(rates):
    price = measuring("zstd:19", "native", "float32", BIG)
    base = rates.seconds(price)
    for times in (10, 10, 10, 1, 1, 1, 1, 1, 1):
        rates.observe(price, times * base)
    assert rates.seconds(price) < 3 * base


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_no_time_at_all_is_learned_from_a_broken_clock(rates, seconds):
    price = measuring("kt", "sign", "float32", BIG)
    before = rates.seconds(price)
    rates.observe(price, seconds)
    assert rates.seconds(price) == before


def test_what_was_learned_is_kept(rates):
    price = measuring("kt", "sign", "float32", BIG)
    rates.observe(price, 7.0)
    rates.save()
    again = Rates(rates.path)
    assert (again.factor, again.seconds(price)) == (rates.factor, rates.seconds(price))
    assert [file.name for file in rates.path.parent.iterdir()] == ["rates.json"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"machine": 3}', b'{"factor": "x", "sums": 4}'],
)
def test_a_damaged_file_is_ignored_and_replaced(tmp_path, damage):
    path = tmp_path / "rates.json"
    path.write_bytes(damage)
    rates = Rates(path)
    price = measuring("kt", "sign", "float32", BIG)
    assert rates.seconds(price) == price.seconds * rates.factor
    rates.save()
    assert json.loads(path.read_text())["factor"] == rates.factor


@pytest.mark.parametrize(
    "change",
    [
        {"machine": "another"},
        {"factor": 0.0},
        {"factor": float("nan")},
        {"sums": {"kt sign 32f": [1.0, 0.0]}},
        {"sums": {"kt sign 32f": [float("inf"), 1.0]}},
        {"sums": {"kt sign 32f": [1.0]}},
        {"sums": ["kt"]},
    ],
)
def test_what_cannot_be_or_is_another_machines_is_ignored(rates, change):
    rates.save()
    kept = json.loads(rates.path.read_text())
    rates.path.write_text(json.dumps({**kept, "factor": 1000.0, **change}))
    price = measuring("kt", "sign", "float32", BIG)
    again = Rates(rates.path)
    assert again.factor < 1000
    assert again.seconds(price) == price.seconds * again.factor


def test_where_nothing_can_be_written_it_stays_in_memory(tmp_path):
    (tmp_path / "file").write_text("")
    rates = Rates(tmp_path / "file" / "rates.json")
    price = measuring("kt", "sign", "float32", BIG)
    before = rates.seconds(price)
    rates.observe(price, 100 * before)
    rates.save()
    assert rates.seconds(price) > before


def test_threads_lose_no_observation(rates):
    price = measuring("kt", "sign", "float32", 1000)

    def work():
        for _ in range(200):
            rates.observe(price, 2 * price.seconds * rates.factor)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Rates(rates.path.with_name("other.json"))
    alone.factor = rates.factor
    for _ in range(800):
        alone.observe(price, 2 * price.seconds * rates.factor)
    assert rates.seconds(price) == pytest.approx(alone.seconds(price), rel=1e-9)


# --- the plain functions ----------------------------------------------------------------------


@pytest.fixture
def shared(rates, monkeypatch):
    monkeypatch.setattr(rates_learned, "shared_rates", lambda: rates)
    return rates


def test_expected_seconds_of_a_null_include_drawing(shared):
    plain = expected_seconds("bdm", "sign", "bfloat16", BIG)
    drawn = expected_seconds("bdm", "sign", np.dtype(np.float32), BIG, null="shuffled")
    assert drawn > expected_seconds("bdm", "sign", "float32", BIG) > 0
    assert plain == expected_seconds(
        kolmo.get_estimator("bdm"), kolmo.get_quantizer("sign"), "bfloat16", BIG
    )


def test_observe_teaches_expected_seconds(shared):
    before = expected_seconds("bdm", "sign", "bfloat16", BIG)
    for _ in range(30):
        rates_learned.observe("bdm", "sign", "bfloat16", BIG, 5 * before)
    assert expected_seconds("bdm", "sign", "bfloat16", BIG) == pytest.approx(5 * before, rel=0.1)


def test_the_rates_of_a_process_are_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Rates().path.is_relative_to(tmp_path)
    assert Rates().factor > 0
