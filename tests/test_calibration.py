"""Calibration: objects are worth what they are said to be, rates are what chance allows."""

import dataclasses
import importlib
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import kolmo
from kolmo.calibration import FAMILIES, Effort, known_object, load_calibration, trials
from kolmo.calibration.bits import Coin, Markov
from kolmo.calibration.probes import Trial, all_estimators, natural
from kolmo.calibration.ranks import ALPHA, DRAWS, binomial_band, is_seen, wilson_interval
from kolmo.calibration.student import level_probabilities, student_cdf
from kolmo.calibration.trials import NOISES, usual_nulls
from kolmo.calibration.words import page
from kolmo.checkpoints import array_tensor
from kolmo.errors import InputError, KolmoError
from kolmo.estimators.base import Estimator
from kolmo.nulls import Shuffled, Weights
from kolmo.quantize import get_quantizer
from kolmo.testing import registered
from tests.test_cli import run

ROOT = Path(__file__).parent.parent
ESTIMATORS = ["kt", "zstd", "entropy", "mosaic"]
TINY = Effort(20, 6, ((32, 32),), (64, 64), 1)


@pytest.fixture(scope="module")
def result():
    return kolmo.calibrate(ESTIMATORS, effort=TINY)


# --- known values -----------------------------------------------------------------------------


def entropy(chances):
    return -math.fsum(p * math.log2(p) for p in chances if p > 0)


@pytest.mark.parametrize("grade", [0.1, 0.5, 0.8])
def test_entropies_of_bits_are_sums_over_all_strings(grade):
    """Each of the 256 strings of length 8 with its probability."""
    coins, chains = [], []
    for bits in itertools.product((0, 1), repeat=8):
        coins.append(math.prod(grade if bit else 1 - grade for bit in bits))
        same = [a == b for a, b in itertools.pairwise(bits)]
        chains.append(0.5 * math.prod(grade if s else 1 - grade for s in same))
    assert Coin(grade, (2, 4)).known_bits == pytest.approx(entropy(coins))
    assert Markov(grade, (2, 4)).known_bits == pytest.approx(entropy(chains))


def test_entropies_of_levels_follow_from_their_probabilities():
    p = 0.3
    sparse = known_object("sparse", p, (1, 1))
    assert sparse.known_bits == pytest.approx(entropy([1 - p, *[p / 14] * 14]))
    assert sparse.known_sign_bits == pytest.approx(entropy([1 - p / 2, p / 2]))
    for degrees in (1, 2, 3, 4):
        step = stats.t.ppf(0.999, degrees) / 7
        borders = stats.t.cdf((np.arange(-7, 7) + 0.5) * step, degrees)
        chances = np.diff([0, *borders, 1])
        assert level_probabilities(degrees, 7) == pytest.approx(chances)
        heavy = known_object("heavy", degrees, (1, 1))
        assert heavy.known_bits == pytest.approx(entropy(chances))
        assert heavy.known_sign_bits == pytest.approx(
            entropy([chances[:8].sum(), chances[8:].sum()])
        )


def test_what_is_drawn_has_the_law_that_the_known_value_is_of():
    for family in ("coin", "sparse", "heavy"):
        for grade in FAMILIES[family].grades:
            thing = known_object(family, grade, (128, 128))
            measured = kolmo.estimate(thing.weights(), "entropy", thing.quantizer).bits
            assert measured == pytest.approx(thing.known_bits, rel=0.06), (family, grade)
    chain = Markov(0.8, (128, 128)).weights().reshape(-1)
    assert (chain[1:] == chain[:-1]).mean() == pytest.approx(0.8, abs=0.02)


def test_objects_are_what_their_descriptions_say():
    string = known_object("periodic", 31).weights().reshape(-1)
    assert (string[31:] == string[:-31]).all()
    blocks = known_object("mosaic", 16).weights().reshape(-1, 4)
    assert len(np.unique(blocks, axis=0)) == 16
    assert np.linalg.matrix_rank(known_object("lowrank", 4).weights()) == 4
    smooth = known_object("smooth", 4, (64, 32)).weights().astype(float)
    for matrix in (smooth, smooth.T):
        side = len(matrix)
        waves = np.cos(np.pi * np.outer(np.arange(side) + 0.5, np.arange(4)) / side)
        fitted = waves @ np.linalg.lstsq(waves, matrix, rcond=None)[0]
        assert np.abs(fitted - matrix).max() < 1e-3 * np.abs(matrix).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_repeat_and_their_quantizer_loses_nothing(family):
    thing = known_object(family, shape=(32, 32), seed=3)
    weights = thing.weights()
    assert (weights == known_object(family, shape=(32, 32), seed=3).weights()).all()
    assert (weights != known_object(family, shape=(32, 32), seed=4).weights()).any()
    assert weights.shape == (32, 32)
    assert weights.dtype == np.float32
    assert 0 < thing.known_bits <= weights.size * math.log2(15)
    if thing.exact or family == "mosaic":
        symbols = get_quantizer(thing.quantizer).fit(array_tensor("w", weights)).encode(weights)
        pairs = np.unique(np.stack([weights.reshape(-1), symbols.reshape(-1)]), axis=1)
        assert pairs.shape[1] == len(np.unique(weights)) == len(np.unique(symbols))


@pytest.mark.parametrize("grade", Coin.grades)
def test_kt_is_within_its_known_redundancy(grade):
    """n H of the counts ≤ KT ≤ n H + ½ log2 n + 1 (Krichevsky & Trofimov), + 2 for a code word."""
    weights = Coin(grade, (128, 128)).weights()
    bits = kolmo.estimate(weights, "kt", "sign").bits
    counted = kolmo.estimate(weights, "entropy", "sign").bits
    assert counted <= bits <= counted + 0.5 * math.log2(weights.size) + 1 + 2


def test_known_values_hold_against_bounds(result):
    """A bound is above the entropy of the source, but for chance; kt is at it for coins."""
    exact = result.table[result.table["exact"] & (result.table["kind"] == "bound")]
    slack = 5 / exact["numel"] ** 0.5 * exact["numel"]
    assert (exact["bits"] >= exact["known_bits"] - slack).all()
    seen = result.seen.set_index(["estimator", "family"])
    assert seen.loc[("kt", "coin"), "ratio"] == pytest.approx(1, abs=0.06)
    assert seen.loc[("mosaic", "mosaic"), "ratio"] == pytest.approx(1, abs=0.06)
    assert seen.loc[("kt", "generator"), "ratio"] > 60  # 64 bits, and nobody sees it


def test_order_is_right_where_an_estimator_sees(result):
    order = result.seen.set_index(["estimator", "family"])["order"]
    for pair in (("kt", "coin"), ("kt", "sparse"), ("zstd", "mosaic"), ("mosaic", "mosaic")):
        assert order[pair] == pytest.approx(1.0), pair
    assert order["kt", "lowrank"] < 0.5  # the marginals say nothing of the rank
    assert math.isnan(order["kt", "generator"])


def test_what_is_seen(result):
    verdict = result.seen.set_index(["estimator", "family"])["verdict"]
    assert verdict["kt", "coin"] == "✓"
    assert verdict["kt", "markov"] == "✗"
    assert verdict["zstd", "periodic"] == "✓"
    assert (verdict.xs("generator", level="family") == "✗").all()


# --- rates ------------------------------------------------------------------------------------


def test_the_rank_test_is_of_its_size_and_ties_are_fair():
    numbers = np.random.default_rng(0).permutation(DRAWS + 1)
    found = [
        is_seen(numbers[i], np.delete(numbers, i), np.random.default_rng(i))
        for i in range(DRAWS + 1)
    ]
    assert found.count((True, True)) == 1  # exactly one of twenty
    tied = [is_seen(1.0, [1.0] * DRAWS, np.random.default_rng(i)) for i in range(2000)]
    low, high = binomial_band(2000)
    assert low <= sum(seen for seen, _ in tied) <= high
    assert not any(strictly for _, strictly in tied)


@pytest.mark.parametrize("n", [1, 20, 200, 1000])
def test_the_band_is_the_binomials(n):
    law = stats.binom(n, ALPHA)
    assert binomial_band(n) == (law.ppf(0.005), law.ppf(0.995))


def test_the_interval_is_wilsons():
    interval = stats.binomtest(7, 50).proportion_ci(0.99, method="wilson")
    assert wilson_interval(7, 50) == pytest.approx((interval.low, interval.high), abs=1e-4)


EXACT = [null for null in usual_nulls() if NOISES[null].exact]
TIES = np.random.default_rng(0)
RATES = Effort(1000, 1, ((16, 16),), (16, 16), 1)


@pytest.mark.parametrize(
    ("estimators", "nulls"),
    [(["kt", "zstd", "context", "lz78", "prequential"], ["shuffled"]), (["bdm"], EXACT)],
)
def test_false_positives_lie_in_the_band_over_a_thousand_trials(estimators, nulls):
    found = kolmo.calibrate(estimators, nulls=nulls, families=["coin"], effort=RATES)
    rates = found.false_positives
    assert len(rates) == len(estimators) * len(nulls)
    assert (rates["trials"] == 1000).all()
    assert (rates["band_low"] == 0.033).all()
    assert (rates["band_high"] == 0.069).all()
    assert rates["within"].all(), rates[["label", "null", "rate"]]
    assert (rates["strict_rate"] <= rates["rate"]).all()
    blind = rates[rates["label"] == "kt"]
    assert (blind["strict_rate"] == 0).all()  # a shuffle changes nothing: all ties


@pytest.mark.parametrize(
    ("null", "axis", "estimator"),
    [("row-shuffled", 1, "prequential"), ("column-shuffled", 0, "context")],
)
def test_lines_differ_in_the_noise_of_nulls_that_keep_them(null, axis, estimator):
    """So that what is tested is the null's own claim: shuffled whole, such noise has structure."""
    weights = NOISES[null].weights(0, 0, "sign")
    expected = weights.std() / math.sqrt(weights.shape[axis])
    assert weights.mean(axis=axis).std() > 1.5 * expected
    measurement = natural(estimator, "symmetric:4")
    for seed in range(3):
        assert Trial("w", weights, Shuffled(), seed).is_seen(measurement, TIES) == (True, True)


def test_every_pair_of_estimator_and_null_is_tested():
    found = kolmo.calibrate(families=["coin"], effort=Effort(1, 1, ((16, 16),), (16, 16), 1))
    pairs = set(zip(found.false_positives["label"], found.false_positives["null"], strict=True))
    assert pairs == set(itertools.product(all_estimators(), NOISES))
    assert set(found.power["label"]) == set(all_estimators())


def test_what_chance_puts_outside_the_band_is_tried_again():
    """With this seed 5 of the first 20 trials are false positives, of the next 20 there is 1."""
    few = Effort(20, 1, ((16, 16),), (16, 16), 1)
    options = {"nulls": ["shuffled"], "families": ["coin"], "effort": few}
    found = kolmo.calibrate(["kt", "gzip"], seed=545, **options)
    rates = found.false_positives.set_index("label")
    assert rates["repeated"].to_dict() == {"kt": True, "gzip": False}
    assert rates.loc["kt", ["rejections", "trials"]].tolist() == [1, 20]
    assert rates["within"].all()
    assert "1 of them had been outside at first" in found.summary()
    assert "fresh trials: kt with shuffled." in found.summary()


def test_a_null_that_is_none_is_found_out(monkeypatch):
    """Draws that are sorted are too simple; noise that has structure is seen."""

    def sorted_draw(self, tensor, seed):
        return Weights(array_tensor("w", np.sort(tensor.read(), axis=None).reshape(tensor.shape)))

    few = dataclasses.replace(RATES, trials=200)
    with monkeypatch.context() as patch:
        patch.setattr(Shuffled, "_draw", sorted_draw)
        broken = kolmo.calibrate(["zstd"], nulls=["shuffled"], families=["coin"], effort=few)
    assert broken.false_positives["rate"].tolist() == [0]
    assert broken.false_positives["repeated"].all()
    assert not broken.false_positives["within"].any()

    class Striped(trials.Noise):
        def weights(self, trial, seed, quantizer):
            return np.tile(super().weights(trial, seed, quantizer)[:, :8], 4)

    monkeypatch.setitem(NOISES, "shuffled", Striped("shuffled", exact=True))
    broken = kolmo.calibrate(["zstd"], nulls=["shuffled"], families=["coin"], effort=few)
    assert (broken.false_positives["rate"] > 0.9).all()
    assert "Outside the band: zstd with shuffled" in broken.summary()


def test_lengths_are_those_of_estimate():
    weights = known_object("sparse").weights()
    for spec in ("kt", "gzip:9", "mosaic", "lz76"):
        trial = Trial("w", weights, Shuffled(), 0)
        measured = trial.bits(natural(spec, "symmetric:4"))
        found = kolmo.estimate(weights, spec, "symmetric:4")
        side = found.side_bits if found.kind == "bound" else 0  # trials are of symbols alone
        assert measured == found.bits - side


def test_every_registered_estimator_takes_part():
    assert {kolmo.get_estimator(spec).name for spec in all_estimators()} == set(
        kolmo.estimators.estimator_names()
    )
    for spec in all_estimators():
        assert natural(spec, "sign") is not None, spec
    assert str(natural("qubd", "symmetric:4").quantizer) == "affine:4"
    assert str(natural("gzip", "sign").estimator) == "gzip:9@packed"


def test_workers_do_not_matter(result):
    again = kolmo.calibrate(ESTIMATORS, effort=TINY, workers=2)
    for part in ("table", "false_positives", "power"):
        pd.testing.assert_frame_equal(getattr(result, part), getattr(again, part))


# --- runs that are cut ------------------------------------------------------------------------


INTERRUPTED = """
import os, signal
from kolmo.calibration.journal import Journal
from kolmo.cli import main
keep = Journal.keep
def stopped(*given):
    keep(*given)
    os.killpg(0, signal.SIGINT)  # as a terminal does, to the workers too
Journal.keep = stopped
main()
"""


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(tmp_path):
    page, journal = tmp_path / "c.csv", tmp_path / "c.csv.journal"
    command = ["calibrate", "--quick", "-o", str(page), "-e", "kt"]
    command += ["--family", "coin", "--null", "shuffled"]
    process = [sys.executable, "-c", INTERRUPTED, *command, "--workers", "2"]
    first = subprocess.run(process, capture_output=True, text=True, start_new_session=True)
    assert first.returncode == 130
    assert f"{journal} keeps what is done; the same command goes on" in first.stderr
    assert first.stderr.endswith("kolmo: error: interrupted\n")
    assert not page.exists()

    with journal.open("a") as file:
        file.write('\n{"piece": "half a li')
    again = run(*command)
    assert again.returncode == 0
    assert f"going on from {journal}" in again.stderr
    assert not journal.exists()
    assert load_calibration(page).false_positives["trials"].tolist() == [40]


def test_what_is_in_the_journal_is_not_done_again(tmp_path):
    journal = tmp_path / "journal"

    class StoppedError(Exception):
        pass

    def stop(done, total, label):
        if done == 2:
            raise StoppedError

    options = {"families": ["coin"], "nulls": ["shuffled"], "effort": TINY, "journal": journal}
    with pytest.raises(StoppedError):
        kolmo.calibrate(["kt"], progress=stop, **options)
    calls = []
    found = kolmo.calibrate(["kt"], progress=lambda *call: calls.append(call), **options)
    assert calls[0][0] == 3  # the first that was left
    assert not journal.exists()
    whole = kolmo.calibrate(["kt"], **{**options, "journal": None})
    for part in ("table", "false_positives", "power"):
        pd.testing.assert_frame_equal(getattr(found, part), getattr(whole, part), check_exact=True)


@dataclasses.dataclass(frozen=True)
class Broken(Estimator):
    """Fails on objects of the largest size."""

    name = "broken"
    kind = "bound"

    def _start(self, shapes, alphabet):
        if sum(map(math.prod, shapes)) > 1024:
            raise ZeroDivisionError("no such size")
        return kolmo.get_estimator("kt").start_many(shapes, alphabet).inner


@pytest.fixture
def broken():
    with registered(Broken):
        yield


@pytest.mark.usefixtures("broken")
def test_an_estimator_that_fails_takes_no_other_with_it(tmp_path):
    journal = tmp_path / "journal"
    options = {"families": ["coin"], "nulls": ["shuffled"], "effort": TINY}
    found = kolmo.calibrate(["kt", "broken"], journal=journal, **options)
    alone = kolmo.calibrate("kt", **options)  # one needs no brackets
    for part in ("table", "false_positives", "power"):
        pd.testing.assert_frame_equal(getattr(found, part), getattr(alone, part))
    assert found.settings["failed"] == {"broken": "ZeroDivisionError: no such size"}
    assert "broken failed and is left out: ZeroDivisionError: no such size." in found.summary()
    assert journal.exists()  # the rest need not be done again once it is mended
    with pytest.raises(KolmoError, match=r"nothing could be calibrated .*no such size"):
        kolmo.calibrate(["broken"], **options)


# --- results ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_saved_calibration_comes_back(result, tmp_path, suffix):
    result.save(tmp_path / f"c{suffix}")
    again = load_calibration(tmp_path / f"c{suffix}")
    for part in ("table", "false_positives", "power"):
        columns = list(getattr(result, part).columns)
        pd.testing.assert_frame_equal(
            getattr(again, part)[columns], getattr(result, part), check_exact=True
        )
    assert again.settings == json.loads(json.dumps(result.settings))
    assert page(again) == page(result)


def test_pages_and_figures_are_written(result, tmp_path):
    result.save(tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "![Which estimator sees what](page.png)" in text
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    for family in FAMILIES:
        assert f"| {family} |" in text
    assert "`mosaic` | bound | ✓" in text
    parsed = json.loads(result.to_json())
    assert {"seen", "table", "false_positives", "power", "settings"} == set(parsed)


def test_the_figure_shows_every_cell_and_rate(result):
    left, right = result.plot().axes
    assert len(left.texts) == len(result.seen)
    labels = [text.get_text() for text in left.get_yticklabels()]
    assert labels == ["kt (bound)", "zstd (bound)", "mosaic (bound)", "entropy (estimate)"]
    drawn = np.concatenate(
        [line.get_xdata() for line in right.lines if line.get_marker() != "None"]
    )
    assert sorted(drawn) == pytest.approx(sorted(100 * result.false_positives["rate"]))


def test_wrong_options_are_one_line(tmp_path):
    for options, message in (
        ({"estimators": []}, "nothing to calibrate"),
        ({"estimators": ["kt"], "nulls": ["shufled"]}, "did you mean shuffled"),
        ({"estimators": ["kt"], "families": ["coins"]}, "did you mean coin"),
        ({"estimators": ["kt"], "effort": "quik"}, "did you mean quick"),
        ({"estimators": ["zzip"]}, "did you mean"),
        ({"estimators": "zzip"}, "did you mean"),
        ({"workers": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            kolmo.calibrate(**options)
    with pytest.raises(InputError, match="unknown family"):
        known_object("coins")
    with pytest.raises(InputError, match="1 to 4"):
        student_cdf(9, 0.0)
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a calibration"):
        load_calibration(tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("part", "column", "value", "message"),
    [
        ("table", "family", "coins", "row 1 of table, family is one of coin"),
        ("table", "bits", "many", "row 1 of table, bits is a number"),
        ("table", "bits", 1e999, "row 1 of table, bits is a number"),
        ("table", "bits", 9.0, "row 1 of table, ratio does not follow"),
        ("table", "known_bits", 0.0, "row 1 of table, known_bits is a number"),
        ("table", "numel", 63, "numel is not the product of its shape"),
        ("table", "shape", "64", "numel is not the product of its shape"),
        ("table", "shape", "8xx8", "row 1 of table, shape is no shape"),
        ("table", "label", "\x1b[31m", "label is no name"),
        ("table", "label", "zstd", "two rows of table have the same label, family, grade, seed"),
        ("table", "exact", "maybe", "exact is true or false"),
        ("false_positives", "null", "shufled", "null is one of"),
        ("false_positives", "rejections", 99, "more rejections than trials"),
        ("false_positives", "rejections", 0.5, "rejections is a whole number"),
        ("false_positives", "trials", 10**7, "trials is more than 1,000,000"),
        ("false_positives", "trials", 41, "rate does not follow from its other figures"),
        ("false_positives", "within", "False", "within does not follow from its other figures"),
        ("power", "label", "xz", "power has estimators that the table lacks"),
        ("settings", "settings", "{}", "settings has no seed"),
        ("settings", "settings", '{"seed": NaN}', "NaN is no number of JSON"),
        ("settings", "settings", "[" * 9999, "RecursionError|is nested|JSONDecodeError|Expecting"),
        ("settings", "part", "other", "its parts are not"),
    ],
)
def test_what_no_calibration_has_measured_is_refused(
    result, tmp_path, part, column, value, message
):
    path = tmp_path / "c.csv"
    whole = result._long().astype(object)
    first = whole.index[whole["part"] == part][0]
    whole.at[first, column] = value
    whole.to_csv(path, index=False)
    with pytest.raises(InputError, match=rf"c\.csv: not a calibration, or damaged \(.*{message}"):
        load_calibration(path)


def test_what_the_documentation_names_is_there_after_a_plain_import():
    """In another process nothing has imported it before."""
    for name in ("calibration", "callbacks", "testing"):
        assert kolmo.__getattr__(name) is importlib.import_module(f"kolmo.{name}")
    with pytest.raises(AttributeError, match="no attribute 'calibrations'"):
        kolmo.__getattr__("calibrations")


def test_the_command_prints_tables_or_json(tmp_path):
    base = ["calibrate", "--quick", "--workers", "1"]
    base += ["-e", "kt", "--family", "coin", "--null", "uniform"]
    saved = tmp_path / "c.csv"
    done = run(*base, "--json", "-o", saved)
    assert done.returncode == 0
    assert json.loads(done.stdout)["seen"][0]["verdict"] == "✓"
    assert load_calibration(saved).seen.loc[0, "family"] == "coin"
    bad = run(*base, "-o", "x.txt")
    assert bad.returncode == 2
    assert bad.stderr.count("\n") == 1


def test_the_page_in_the_documentation_is_whole():
    """It is of the full run, and names every family and the command that remakes it."""
    text = (ROOT / "docs" / "calibration.md").read_text()
    assert "kolmo calibrate -o docs/calibration.md" in text
    assert "over 1,000 trials" in text
    for family in FAMILIES:
        assert re.search(rf"\| {family} \|", text), family
    for name in all_estimators():
        assert f"| `{name}` |" in text, name
    assert f"| estimator | {' | '.join(NOISES)} |" in text
