"""kolmo.delta: what tuned weights cost once the base is known, and what that is compared with."""

import json
import math
import sys

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.analysis import Interrupted
from kolmo.checkpoints.base import Checkpoint, Codes, WeightTensor, array_tensor
from kolmo.checkpoints.opening import open_source
from kolmo.difference.draws import drawn_tensor
from kolmo.errors import InputError, MissingExtraError
from kolmo.symbols import Alphabet
from tests.checkpoints import tensors
from tests.test_cli import refused, run

RANDOM = np.random.default_rng(0)
BASE = RANDOM.normal(0, 0.05, (120, 100)).astype(np.float32)


def noisy(base, scale, seed=1):
    return (base + np.random.default_rng(seed).normal(0, scale, base.shape)).astype(base.dtype)


def measured(base, tuned, **options):
    """The rows of one pair of tensors, by estimator, and the details of the winner."""
    options = {"scope": "tensor", "estimators": ["kt"], **options}
    report = kolmo.delta({"w": base}, {"w": tuned}, **options)
    rows = report.table.set_index("estimator")
    return rows, json.loads(rows.details["delta"])


def test_the_same_weights_cost_nearly_nothing():
    rows, details = measured(BASE, BASE.copy())
    assert rows.bits["delta"] < 20
    assert details["code"] in ("changed", "replaced")
    assert details["changed"] == 0
    assert set(rows.kind) == {"bound"}


def test_a_few_changed_entries_cost_where_and_what():
    tuned = BASE.copy()
    places = RANDOM.choice(BASE.size, 120, replace=False)
    tuned.reshape(-1)[places] = RANDOM.normal(size=120)
    rows, details = measured(BASE, tuned)
    where = math.log2(math.comb(BASE.size, 120))
    assert details["code"] in ("changed", "replaced")
    assert details["changed"] == pytest.approx(0.01)
    assert where + 120 * 23 < rows.bits["delta"] < where + 120 * 33 + 60


def test_pruned_weights_cost_where():
    tuned = np.where(RANDOM.random(BASE.shape) < 0.1, np.float32(0), BASE)
    rows, details = measured(BASE, tuned)
    share = details["changed"]
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert details["code"] == "replaced"
    assert rows.bits["delta"] == pytest.approx(BASE.size * entropy, abs=40)


def test_changed_rows_are_seen():
    tuned = BASE.copy()
    tuned[[5, 80]] = noisy(BASE[[5, 80]], 1)
    rows, details = measured(BASE, tuned)
    assert rows.bits["delta"] < 200 * 34 + 100
    assert details["code"] in ("changed", "replaced")


def test_small_steps_everywhere_cost_their_size():
    """Steps of sd s at weights of step u have some log2(s / u) + 2 bits: far below all 32."""
    rows, details = measured(BASE, noisy(BASE, 1e-5))
    each = rows.bits["delta"] / BASE.size
    steps = np.log2(1e-5 / np.spacing(np.abs(BASE))) + math.log2(math.sqrt(2 * math.pi * math.e))
    assert details["code"] == "difference"
    assert each == pytest.approx(float(steps.mean()), abs=0.7)


def test_signs_that_flip_are_an_exclusive_or():
    tuned = np.where(RANDOM.random(BASE.shape) < 0.5, -BASE, BASE)
    rows, details = measured(BASE, tuned)
    assert details["code"].startswith("xor")
    assert rows.bits["delta"] < 1.4 * BASE.size  # each byte-plane learns 256 symbols


def test_a_low_rank_update_is_found():
    a, b = RANDOM.normal(size=(120, 3)) * 0.03, RANDOM.normal(size=(3, 100)) * 0.03
    rows, details = measured(BASE, (BASE + a @ b).astype(np.float32))
    assert (details["code"], details["rank"]) == ("lowrank", 3)
    assert rows.bits["delta"] < 1.2 * 32 * 3 * 220


def test_a_new_start_costs_what_it_costs_alone():
    """The base is no help, and the choice is all that is lost."""
    other = np.random.default_rng(9).integers(0, 2**32, BASE.shape, dtype=np.uint32)
    tuned = (other >> 8).astype(np.float32)
    rows, details = measured(BASE, tuned, estimators=["zstd:3@shuffle", "kt"])
    assert details["code"].startswith("alone")
    assert rows.bits["delta"] == rows.bits["alone"] + math.ceil(math.log2(11))


@pytest.mark.parametrize("quantizer", ["native", "sign", "symmetric:8", "affine:4", "codebook:9"])
@pytest.mark.parametrize("scale", [0, 1e-6, 1e-3, 1])
def test_it_is_never_above_coding_it_alone(quantizer, scale):
    rows, _ = measured(BASE[:40], noisy(BASE[:40], scale), quantizers=[quantizer])
    codes = 8 if quantizer == "native" else 3
    assert rows.bits["delta"] <= rows.bits["alone"] + math.ceil(math.log2(codes))
    assert rows.raw_bits["delta"] == rows.raw_bits["alone"]


def test_quantized_symbols_are_those_of_the_tuned_weights_grid():
    rows, _ = measured(BASE, noisy(BASE, 1e-4), quantizers=["symmetric:8"])
    assert rows.bits["alone"] == kolmo.estimate(noisy(BASE, 1e-4), "kt", "symmetric:8").bits
    assert rows.bits["delta"] < 0.3 * rows.bits["alone"]
    wider = 3 * BASE  # most of the base's range is beyond the grid of the tuned weights
    rows, _ = measured(wider, BASE, quantizers=["symmetric:8"])
    assert rows.bits["delta"] <= rows.bits["alone"] + 2


def test_every_dtype_has_a_difference():
    """Scalars, empty tensors, NaN payloads, infinities, integers, booleans, small floats."""
    source = open_source(tensors())
    report = kolmo.delta(source, source, estimators=["kt"], nulls=["shuffled"], draws=2)
    assert report.provenance["problems"] == []
    table = report.table[report.table.estimator == "delta"]
    assert (table.bits <= 16 + 2 * 15).sum() >= len(table) - 1
    assert (table.null_bits == table.bits).all()  # nothing at random places is nothing
    arrays = {name: t.read() for name, t in source.items()}
    turned = {name: a.reshape(-1)[::-1].reshape(a.shape) for name, a in arrays.items()}
    report = kolmo.delta(
        source, open_source(turned), estimators=["kt"], nulls=["shuffled"], draws=2
    )
    assert report.table.bits.notna().all()
    assert report.coverage.measured.all()


# --- the null ---------------------------------------------------------------------------------


def drawn_array(base, tuned):
    return drawn_tensor(array_tensor("w", base), array_tensor("w", tuned), (3,)).read()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8, bool])
def test_shuffled_differences_are_the_same_elsewhere(dtype):
    base = np.maximum(40 * BASE, 0).astype(dtype)
    changes = RANDOM.random(BASE.shape) < 0.1
    tuned = np.where(changes, ~base if dtype is bool else 1 + base, base).astype(dtype)
    drawn = drawn_array(base, tuned)
    assert drawn.dtype == tuned.dtype
    changed = (drawn != base).sum()
    assert changed == (tuned != base).sum()
    assert (drawn != tuned).any()
    assert (drawn_array(base, tuned) == drawn).all()


@pytest.mark.parametrize("scale", [1e-6, 1e-3])
def test_noise_is_no_structure(scale):
    rows, _ = measured(BASE, noisy(BASE, scale), nulls=["shuffled"], draws=8)
    ratio = rows.bits["delta"] / rows.null_bits["delta"]
    assert ratio == pytest.approx(1, abs=0.002)
    assert abs(rows.z["delta"]) < 5


def test_structure_is_told_from_its_null():
    a, b = RANDOM.normal(size=(120, 2)) * 0.03, RANDOM.normal(size=(2, 100)) * 0.03
    rows, _ = measured(BASE, (BASE + a @ b).astype(np.float32), nulls=["shuffled"], draws=3)
    assert rows.bits["delta"] < 0.6 * rows.null_bits["delta"]
    tuned = BASE.copy()
    tuned[:4] += 1
    rows, _ = measured(BASE, tuned, nulls=["shuffled"], draws=3)
    assert rows.bits["delta"] < 0.9 * rows.null_bits["delta"]


# --- the report -------------------------------------------------------------------------------


def pair():
    b, c, gone, half, new = (BASE[:rows].copy() for rows in (9, 3, 2, 4, 5))
    base = {"a": BASE, "b": b, "c": c, "gone": gone, "half": half}
    tuned = {"a": noisy(BASE, 1e-4), "b": b, "c": c[:2], "new": new}
    return base, {**tuned, "half": half.astype(np.float16)}


def test_tensors_without_a_partner_are_named_and_the_rest_measured():
    report = kolmo.delta(*pair(), estimators=["kt"], name="mine")
    coverage = report.coverage.set_index("tensor")
    assert coverage.measured.to_dict() == {
        "a": True,
        "b": True,
        **dict.fromkeys(("gone", "c", "new", "half"), False),
    }
    assert coverage.reason["gone"] == "only in the base"
    assert coverage.reason["new"] == "not in the base"
    assert coverage.reason["c"] == "float32 [2, 100], but float32 [3, 100] in the base"
    assert "float16" in coverage.reason["half"]
    assert len(report.provenance["problems"]) == 4
    assert "mine: tensor 'gone' is only in the base" in report.provenance["problems"]
    assert report.provenance["base"]["format"] == "arrays"


def test_tied_tensors_are_no_mismatch_unless_they_part():
    tied = {"w": BASE, "v": BASE}
    report = kolmo.delta(tied, tied, estimators=["kt"])
    assert report.provenance["problems"] == []
    report = kolmo.delta({"w": BASE, "v": BASE + 1}, tied, estimators=["kt"])
    assert report.provenance["problems"] == []
    parted = {"w": BASE, "v": BASE + 1}
    problem = kolmo.delta(tied, parted, estimators=["kt"]).provenance["problems"]
    assert "tensor 'v' is left out of the base (" in problem[0]


def test_the_whole_is_the_sum_of_its_tensors():
    report = kolmo.delta(*pair(), estimators=["kt"], nulls=["shuffled"], draws=2)
    sums = report.table.groupby(["scope", "estimator"])[["bits", "null_bits", "numel"]].sum()
    assert (sums.loc["model"] == sums.loc["tensor"]).all().all()
    whole = report.table[report.table.scope == "model"].set_index("estimator")
    assert sum(json.loads(whole.details["delta"])["tensors"].values()) == 2


def test_threads_never_change_a_figure():
    tables = [
        kolmo.delta(*pair(), nulls=["shuffled"], draws=2, threads=threads).table
        for threads in (1, 2, 5)
    ]
    for table in tables[1:]:
        assert table.drop(columns="seconds").equals(tables[0].drop(columns="seconds"))


def test_reports_are_saved_and_summed_up(tmp_path):
    report = kolmo.delta(*pair(), estimators=["kt"], nulls=["shuffled"], draws=2)
    report.save(tmp_path / "r.json")
    assert kolmo.load_report(tmp_path / "r.json").table.equals(report.table)
    summary = report.summary()
    assert "tuning added at most" in summary
    assert "% of what they cost alone (bound, delta)" in summary
    assert "of the same differences at random places" in summary
    assert "gone (only in the base" in summary


def test_nan_is_a_problem_for_a_quantizer_only():
    broken = BASE.copy()
    broken[3, 4] = np.nan
    for base, tuned in ((BASE, broken), (broken, BASE)):
        report = kolmo.delta({"w": base, "v": -BASE}, {"w": tuned, "v": -BASE},
                             quantizers=["native", "symmetric:8"])  # fmt: skip
        rows = report.table.set_index(["tensor", "quantizer", "estimator"])
        assert rows.bits["w", "native", "delta"] < 100
        assert math.isnan(rows.bits["w", "symmetric:8", "delta"])
        assert "NaN" in rows.note["w", "symmetric:8", "delta"]
        assert len(report.provenance["problems"]) == 1


def test_an_interrupted_run_keeps_what_is_done():
    def stop(done, total, label):
        if done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        kolmo.delta(*pair(), estimators=["kt"], threads=1, nulls=["shuffled"], progress=stop)
    report = caught.value.report
    assert not report.provenance["complete"]
    assert "The run was not finished" in report.summary()
    kept = set(report.table.tensor.dropna())
    assert "a" in kept
    # the thread may have come to b before it was stopped; the whole is known then, and only then
    assert (report.table.scope == "model").any() == (kept == {"a", "b"})


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    with pytest.raises(MissingExtraError, match=r"\[ppmd\]"):
        kolmo.delta({"w": BASE}, {"w": BASE}, estimators=["ppmd"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimators": ["entropy"]}, "delta takes bounds, and entropy is an estimate"),
        ({"nulls": ["gaussian"]}, "delta has one null"),
        ({"estimators": ["zstdd"]}, "did you mean zstd"),
        ({"scope": "all"}, "unknown scope"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"include": ["x*"]}, "leave none"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(InputError, match=message):
        kolmo.delta({"w": BASE}, {"w": BASE}, **options)


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match=r"no tensor of .* has a partner .*'v' is not in the base"):
        kolmo.delta({"w": BASE}, {"v": BASE})
    big = np.zeros(1 << 18, np.float32)
    with pytest.raises(InputError, match="is an estimate here"):
        kolmo.delta({"w": big}, {"w": big}, estimators=["zstd:1,sample=131072"])


# --- the command line -------------------------------------------------------------------------


def test_the_command_prints_and_saves(tmp_path):
    base, tuned = ({k: v for k, v in c.items() if k in "ab"} for c in pair())
    np.savez(tmp_path / "base.npz", **base)
    np.savez(tmp_path / "tuned.npz", **tuned)
    paths = [str(tmp_path / "base.npz"), str(tmp_path / "tuned.npz")]
    result = run("delta", *paths, "-e", "kt", "--null", "shuffled", "--draws", 2,
                 "-o", tmp_path / "d.csv", "--html", tmp_path / "d.html")  # fmt: skip
    assert result.returncode == 0
    assert "delta" in result.stdout
    assert "alone" in result.stdout
    assert "same differences at random places" in result.stdout
    assert set(kolmo.load_report(tmp_path / "d.csv").table.checkpoint) == {"tuned"}
    assert "delta" in (tmp_path / "d.html").read_text()
    document = json.loads(run("delta", *paths, "-e", "kt", "--json").stdout)
    assert {row["estimator"] for row in document["table"]} == {"delta", "alone"}


def test_the_command_names_mismatches_and_measures_the_rest(tmp_path):
    base, tuned = pair()
    np.savez(tmp_path / "base.npz", **base)
    np.savez(tmp_path / "tuned.npz", **tuned)
    result = run("delta", tmp_path / "base.npz", tmp_path / "tuned.npz", "-e", "kt")
    assert "(bound, delta)" in result.stdout
    refused(result, "tensor 'gone' is only in the base (and 3 more like it); everything else")
    refused(run("delta", tmp_path / "base.npz", tmp_path / "none.npz"), "none.npz")


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_alone_is_what_analyze_says_of_the_tuned_weights(dtype):
    """The context code knows the floats of both, and ``alone`` adds no more than the choice."""
    base, tuned = BASE.astype(dtype), noisy(BASE.astype(dtype), 1e-3)
    rows, _ = measured(base, tuned, estimators=["context"])
    report = kolmo.analyze({"w": tuned}, quantizers=["native"], estimators=["context"])
    (expected,) = report.table[report.table.scope == "tensor"].bits
    codes = 8  # three with the estimator, and five without
    assert 0 <= rows.bits["alone"] - expected <= math.log2(codes)


def quantized(values, **more):
    """A tensor of the weights 0 to 15 in codes of 4 bits, beside one that is not quantized."""
    codes = values.astype(np.uint8).reshape(-1)
    weights = codes.astype(np.float32)
    packed = Codes("GPTQ", Alphabet(16), lambda a, b: codes[a:b], 640)
    tensor = WeightTensor(
        "w", values.shape, np.dtype(np.float32), lambda a, b: weights[a:b], packed
    )
    plain = array_tensor("b", np.arange(9, dtype=np.float32))
    return Checkpoint([tensor, plain], source="q", format="safetensors")


def test_quantized_tensors_are_compared_by_the_weights_that_codes_stand_for():
    before = np.random.default_rng(0).integers(0, 16, (40, 32))
    after = before.copy()
    after[5] = 15 - after[5]
    table = kolmo.delta(quantized(before), quantized(after)).table
    row = table[(table.tensor == "w") & (table.estimator == "delta")].iloc[0]
    assert row.note == "of the float32 weights that codes stand for"
    assert json.loads(row.details)["dequantized"] == {"tuned": "4-bit GPTQ", "base": "4-bit GPTQ"}
    assert (row["dtype"], row.raw_bits, row.side_bits) == ("float32", 40 * 32 * 32, 0)
    plain = kolmo.delta({"w": before.astype("f4")}, {"w": after.astype("f4")}, scope="tensor").table
    assert row.bits == plain[plain.estimator == "delta"].bits.item()
    whole = table[(table.scope == "model") & (table.estimator == "delta")].iloc[0]
    assert whole.note == "of the float32 weights that codes stand for"
    rest = table[(table.tensor == "b") & (table.estimator == "delta")].iloc[0]
    assert (rest.note, "dequantized" in json.loads(rest.details)) == ("", False)


def test_a_quantized_model_has_a_plain_base():
    before = np.random.default_rng(0).integers(0, 16, (40, 32))
    report = kolmo.delta(
        {"w": before.astype("f4"), "b": np.arange(9, dtype="f4")}, quantized(before)
    )
    row = report.table[(report.table.tensor == "w") & (report.table.estimator == "delta")].iloc[0]
    assert row.bits < 20
    assert json.loads(row.details)["dequantized"] == {"tuned": "4-bit GPTQ"}
    assert "[of the float32 weights that codes stand for]" in report.summary()
