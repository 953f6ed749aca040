"""The quick search of kolmo.delta: gates, stripes, and that its codes are those of the slow one."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import array_tensor
from kolmo.difference import kernels
from kolmo.difference import stripes as stripes_module
from kolmo.difference.codes import CodeSearch, native_choice
from kolmo.difference.counted import TalliedDistances
from kolmo.difference.draws import drawn_tensor
from kolmo.difference.gate import RowSample
from kolmo.difference.lowrank import Prediction, fewer_steps, product_of
from kolmo.difference.room import memory_of
from kolmo.difference.run import DeltaRun
from kolmo.difference.stripes import Stripes
from kolmo.difference.tally import ChangeMask
from kolmo.errors import KolmoError
from kolmo.estimators.base import get_estimator
from kolmo.quantize import Native, get_quantizer

BFLOAT16 = ml_dtypes.bfloat16
ESTIMATORS = [get_estimator(spec) for spec in ("kt", "zstd:9@shuffle")]


def update(rows, columns, rank, dtype, noise=0.0, scale=0.01, seed=0):
    random = np.random.default_rng(seed)
    base = random.normal(0, 0.05, (rows, columns)).astype(dtype)
    product = random.normal(0, scale, (rows, rank)) @ random.normal(size=(rank, columns))
    extra = random.normal(0, noise, base.shape) if noise else 0
    return base, (base.astype(np.float64) + product + extra).astype(dtype)


def in_stripes(base, tuned):
    return Stripes(array_tensor("w", base), array_tensor("w", tuned))


def chosen(base, tuned, **options):
    options = {"scope": "tensor", "threads": 1, **options}
    rows = kolmo.delta({"w": base}, {"w": tuned}, **options).table.set_index("estimator")
    return rows.bits["delta"], json.loads(rows.details["delta"])


# --- gates ------------------------------------------------------------------------------------


def gate(matrix):
    sample = RowSample(*matrix.shape)
    sample.update(0, matrix.size, matrix.reshape(-1).__getitem__)
    return sample.gate()


@pytest.mark.parametrize("shape", [(30, 40), (200, 64), (64, 700), (600, 600)])
@pytest.mark.parametrize("kind", ["normal", "outliers", "heavy"])
def test_independent_entries_have_no_rank(shape, kind):
    for seed in range(2):
        random = np.random.default_rng(seed)
        noise = random.normal(size=shape)
        if kind == "outliers":
            noise *= np.where(random.random(shape[1]) < 0.05, 30, 1)
        if kind == "heavy":
            noise = random.standard_t(3, size=shape)
        assert gate(noise).reason


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_directions_in_common_are_counted(rank):
    random = np.random.default_rng(rank)
    product = random.normal(size=(300, rank)) @ random.normal(size=(rank, 260))
    found = gate(product + 0.3 * random.normal(size=product.shape))
    assert (found.rank, found.reason) == (rank, "")
    assert 0.4 < found.share < rank / (rank + 0.09)  # scaled rows are noisier where they are small


def test_what_was_not_tried_has_its_reason():
    base = np.random.default_rng(0).normal(0, 0.05, (520, 600)).astype(np.float32)
    noise = np.random.default_rng(1).normal(0, 1e-3, base.shape)
    tuned = (base + noise).astype(np.float32)
    _, details = chosen(base, tuned)
    assert details["code"] == "difference"
    assert set(details["not_tried"]) == {
        "lowrank", "alone, zstd:9@shuffle", "difference, zstd:9@shuffle", "xor, zstd:9@shuffle",
    }  # fmt: skip
    _, asked = chosen(base, tuned, estimators=["zstd:1@shuffle"])
    assert set(asked["not_tried"]) == {"lowrank"}


def test_repeats_that_lie_far_apart_are_no_reason_to_skip_a_compressor():
    half = np.random.default_rng(0).normal(0, 0.05, (300, 512)).astype(np.float32)
    base = np.random.default_rng(1).normal(0, 0.05, (600, 512)).astype(np.float32)
    bits, details = chosen(base, np.concatenate([half, half]))
    assert details["code"] == "alone, zstd:9@shuffle"
    assert bits < 0.6 * 32 * base.size


# --- the quick search for factors -------------------------------------------------------------


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16])
def test_the_compiled_count_is_that_of_the_prediction(dtype, rounded):
    base, tuned = update(37, 53, 2, dtype)
    base[3, :9] = base[:5, 7] = 0
    base[4] = np.asarray(2.0 ** -np.arange(53)).astype(dtype)
    u = np.random.default_rng(3).normal(0, 0.05, (37, 2)) * 2.0 ** -np.arange(0, 37)[:, None]
    v = np.random.default_rng(4).normal(size=(53, 2))
    v[5] = 0
    fast, slow = (TalliedDistances(np.dtype(dtype), -9, rounded) for _ in range(2))
    assert fast._compiled(base, tuned, u, v)
    slow._plain(base, tuned, u, v)
    assert (fast._counts == slow._counts).all()
    assert (fast._grid == slow._grid).all()
    assert (fast._flags == slow._flags).all()
    away = Prediction.of(base.astype(float), product_of(u, v), np.dtype(dtype), -9, rounded)
    assert fewer_steps(away.away(tuned), away.shift)[1].shape == base.shape
    assert fast.exact == int((away.away(tuned) == 0).sum())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
@pytest.mark.parametrize("rank", [1, 6])
def test_the_quick_search_finds_the_rank_and_nearly_the_bits(dtype, rank):
    base, tuned = update(280, 300, rank, dtype)
    quick, details = chosen(base, tuned)
    thorough, exhaustive = chosen(base, tuned, thorough=True)
    assert (details["code"], details["rank"]) == ("lowrank", rank)
    assert exhaustive["code"] == "lowrank"
    assert "lowrank" not in details.get("not_tried", {})
    assert quick < 1.25 * thorough


# --- counting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("signed", [False, True])
def test_many_at_once_are_counted_as_one_after_the_other(dtype, signed):
    random, bits = np.random.default_rng(0), 8 * np.dtype(dtype).itemsize
    base = random.integers(0, 1 << bits, 3000, dtype)
    tuned = np.where(random.random(3000) < 0.7, base, random.integers(0, 1 << bits, 3000, dtype))
    tuned[:1500] = base[:1500] + random.integers(0, 9, 1500, dtype)
    contexts = random.integers(0, 5, 3000)
    top, every = signed << (bits - 1), (1 << bits) - 1
    found = []
    for tally in (kernels.tally_64, kernels.tally_32 if dtype == "u4" else kernels.tally):
        counts = np.zeros((3, 5, 65, 4), np.int64), np.zeros((1, 65, 4), np.int64)
        symbols = np.empty((2, 3000), dtype)
        changed = tally(base, tuned, contexts, top, every, top, *counts, *symbols)
        found.append([changed, *counts, symbols])
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))
    assert found[0][0] == np.count_nonzero(base != tuned) > 0


def test_only_few_weights_are_searched_exhaustively():
    few, many = CodeSearch(ESTIMATORS).among(1 << 18), CodeSearch(ESTIMATORS).among(1 << 19)
    assert few.exhaustive > many.exhaustive == 0
    assert few.manner != many.manner  # what one has kept is not recalled by the other
    base, tuned = update(60, 70, 2, BFLOAT16)
    short, quick = (native_choice(in_stripes(base, tuned), s, lambda _: None) for s in (few, many))
    assert quick.best.name == short.best.name == "lowrank"
    assert short.best.bits <= quick.best.bits < 1.2 * short.best.bits


# --- stripes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda: update(260, 300, 3, BFLOAT16),
    lambda: update(90, 40, 1, np.float32, noise=1e-3),
])  # fmt: skip
def test_the_cut_into_stripes_changes_no_bit_of_what_is_counted(monkeypatch, make):
    base, tuned = make()
    search = CodeSearch(ESTIMATORS)
    whole = native_choice(in_stripes(base, tuned), search, lambda share: None)
    monkeypatch.setattr(stripes_module, "STRIPE", 7 * base.shape[1])
    monkeypatch.setattr(stripes_module, "HELD", 0)
    cut = native_choice(in_stripes(base, tuned), search, lambda share: None)
    assert cut.alone == whole.alone
    assert cut.best.name == whole.best.name
    assert cut.best.bits == pytest.approx(whole.best.bits, rel=0.01)


def test_a_row_longer_than_a_stripe_is_cut(monkeypatch):
    monkeypatch.setattr(stripes_module, "STRIPE", 16)
    base, tuned = update(5, 40, 1, np.float32)
    parts = list(in_stripes(base, tuned))
    assert [p.row for p in parts] == [row for row in range(5) for _ in range(3)]
    assert np.concatenate([p.tuned for p in parts]).tolist() == tuned.reshape(-1).tolist()


def test_a_mask_in_parts_is_the_whole_mask():
    mask = np.random.default_rng(0).random((6, 10)) < 0.2
    mask[2:4] = False
    parts, whole = ChangeMask(mask.shape), ChangeMask(mask.shape)
    whole.update(0, mask.reshape(-1))
    for row in range(6):
        parts.update(row, mask[row, :4])
        parts.update(row, mask[row, 4:])
    assert (parts.bits, parts.ones) == (whole.bits, int(mask.sum()))


@pytest.mark.parametrize("quantizer", ["native", "symmetric:8"])
def test_what_is_held_changes_no_bit(monkeypatch, quantizer):
    """Neither of the tensors nor of draws of the null."""
    base, tuned = update(90, 70, 2, BFLOAT16, noise=1e-3)
    monkeypatch.setattr(stripes_module, "STRIPE", 7 * 70)
    monkeypatch.setattr("kolmo.difference.codes.FEW", 0)
    options = {"nulls": ["shuffled"], "draws": 2, "quantizers": [quantizer], "estimators": ["kt"]}
    tables = []
    for held in (1 << 27, 0):
        monkeypatch.setattr(stripes_module, "HELD", held)
        tables.append(kolmo.delta({"w": base}, {"w": tuned}, threads=1, **options).table)
    columns = ["bits", "null_bits", "details"]
    assert tables[0][columns].equals(tables[1][columns])


@pytest.mark.parametrize(
    "make", [update, lambda *s: [np.full(s[:2], x, s[3]) for x in (1, np.inf)]]
)
def test_a_draw_is_the_same_however_it_is_read(make):
    base, tuned = (array_tensor("w", w) for w in make(40, 50, 2, np.float16))
    whole = drawn_tensor(base, tuned, (1, 2)).load(0, 2000).view(np.uint16)
    again = drawn_tensor(base, tuned, (1, 2))
    parts = [again.load(a, min(a + 333, 2000)) for a in range(0, 2000, 333)]
    assert (np.concatenate(parts).view(np.uint16) == whole).all()


# --- the store --------------------------------------------------------------------------------


def test_what_was_measured_is_recalled(tmp_path, monkeypatch):
    base, tuned = update(40, 50, 2, np.float32)
    options = {"estimators": ["kt"], "nulls": ["shuffled"], "draws": 2, "store": tmp_path / "s.db"}
    first = kolmo.delta({"w": base}, {"w": tuned}, **options).table

    def refuse(*_):
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaRun, "_choice", refuse)
        second = kolmo.delta({"w": base}, {"w": tuned}, **options).table
        for other in (
            {"thorough": True},
            {"estimators": ["zstd:1"]},
            {"seed": 1},
        ):
            again = kolmo.delta({"w": base}, {"w": tuned}, **{**options, **other})
            assert any("measured again" in line for line in again.provenance["failures"])
        turned = kolmo.delta({"w": tuned}, {"w": base}, **options)
        assert any("measured again" in line for line in turned.provenance["failures"])
    columns = ["estimator", "null", "bits", "null_bits", "details", "note"]
    assert first[columns].equals(second[columns])


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    pairs = {n: update(30, 20, 1, np.float32, seed=i) for i, n in enumerate("abc")}
    base, tuned = ({n: pair[side] for n, pair in pairs.items()} for side in (0, 1))
    options = {"estimators": ["kt"], "threads": 1}
    whole = kolmo.delta(base, tuned, **options).table
    options["store"] = tmp_path / "s.db"
    measured = []
    choice = DeltaRun._choice

    def counted(run, task):
        if len(measured) == 2:
            raise KolmoError("the power failed")
        measured.append(task.name)
        return choice(run, task)

    monkeypatch.setattr(DeltaRun, "_choice", counted)
    with pytest.raises(KolmoError, match="power"):
        kolmo.delta(base, tuned, **options)
    monkeypatch.setattr(DeltaRun, "_choice", lambda r, t: measured.append(t.name) or choice(r, t))
    finished = kolmo.delta(base, tuned, **options).table
    assert measured == ["a", "b", "c"]
    columns = ["scope", "estimator", "bits", "details"]
    assert finished[columns].equals(whole[columns])


# --- memory -----------------------------------------------------------------------------------


def test_admission_counts_what_is_held():
    tensor = array_tensor("w", np.zeros((1 << 10, 1 << 10), np.float32))
    usual = memory_of(tensor, Native(), CodeSearch(ESTIMATORS))
    thorough = memory_of(tensor, Native(), CodeSearch(ESTIMATORS, thorough=True))
    drawn = memory_of(tensor, Native(), CodeSearch(ESTIMATORS), drawn=True)
    assert thorough - usual == 148 << 20
    assert drawn - usual >= 8 << 20
    context = CodeSearch([get_estimator("context")])
    assert memory_of(tensor, get_quantizer("sign"), context) > memory_of(
        tensor, get_quantizer("sign"), CodeSearch([get_estimator("kt")])
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_threads(tmp_path):
    """Six dense updates of 4 M weights, four threads: under 1 GB above the interpreter."""
    code = """
import re, sys
import numpy as np
import kolmo
def held():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
random = np.random.default_rng(0)
base = random.normal(0, 0.02, (2048, 2048)).astype(np.float32)
tuned = base + np.float32(1e-3) * random.standard_normal(base.shape, np.float32)
before = held()
names = [f"w{i}" for i in range(6)]
kolmo.delta({n: base + i for i, n in enumerate(names)},
            {n: tuned + i for i, n in enumerate(names)}, scope="tensor", threads=4)
print((held() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    arrays = 2 * 6 * 16  # MB
    assert float(done.stdout) - arrays < 1024
