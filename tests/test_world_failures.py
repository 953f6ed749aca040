"""What measures raises an error: its figure is missing with the reason, and all others are made."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import kolmo
from kolmo.analysis import plan_of
from kolmo.cli.app import main
from kolmo.difference import run
from kolmo.difference.run import native_choice
from kolmo.engine import cutting, feeding, pool
from kolmo.errors import InputError, KolmoError
from kolmo.estimators.bdm import BDM
from kolmo.estimators.lz78 import LempelZiv78
from kolmo.estimators.mdl import KT
from kolmo.estimators.shortest import ShortestOf
from kolmo.nulls import RowShuffled
from kolmo.quantize import SymbolCoder
from kolmo.quantize.native import Sign
from kolmo.testing import registered

RANDOM = np.random.default_rng(3)
WEIGHTS = {f"layer.{i}": RANDOM.normal(size=(40, 30 + i)).astype(np.float32) for i in range(4)}
KEY = ["scope", "tensor", "quantizer", "estimator", "null"]


def deep():
    return deep()


def raises(error):
    """A method that raises it; a recursion without end really has none."""

    def method(*_):
        if error is RecursionError:
            deep()
        raise error("out of\norder")

    return method


ERRORS = [ValueError, MemoryError, RecursionError, InputError, KolmoError, AssertionError]


@dataclasses.dataclass(frozen=True)
class Broken:
    """What an accumulator is replaced by: the same, but for one method."""

    inner: object
    method: str
    error: type[Exception]

    def __getattr__(self, name):
        if name == self.method:
            return raises(self.error)
        if name in ("histogram", "signs") and self.method == "update":
            raise AttributeError(name)  # it cannot be passed by
        return getattr(self.inner, name)

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


def faulty(cls, method, error):
    """An estimator whose accumulators raise an error, or that cannot even start one."""

    @dataclasses.dataclass(frozen=True)
    class Faulty(cls):
        name = "faulty"
        __reduce__ = raises(TypeError)  # it is measured where it was made

        def _start(self, *arguments):
            if method == "start":
                raises(error)()
            return Broken(super()._start(*arguments), method, error)

        def _start_part(self, *arguments):
            return Broken(super()._start_part(*arguments), method, error)

        if method in ("working_memory", "grain"):
            locals()[method] = raises(error)

    return Faulty()


def table(source=WEIGHTS, estimators=(), quantizers=("sign", "symmetric:8"), nulls=(), **options):
    report = kolmo.analyze(
        source, name="m", estimators=["kt", "zstd:3", *estimators], quantizers=quantizers,
        nulls=["shuffled", *nulls], draws=2, **options,
    )  # fmt: skip
    figures = report.table.drop(columns="seconds").astype(object)
    figures[KEY] = figures[KEY].fillna("")
    return report, figures.set_index(KEY).sort_index()


@pytest.fixture(scope="module")
def undisturbed():
    return table()[1]


def all_others_are_measured(found, undisturbed):
    pd.testing.assert_frame_equal(found.loc[undisturbed.index], undisturbed)


@pytest.mark.parametrize(
    ("cls", "method", "error"),
    [(LempelZiv78, "start", MemoryError), (LempelZiv78, "finish", RecursionError),
     (LempelZiv78, "working_memory", ValueError), (KT, "finish", MemoryError),
     (KT, "grain", ValueError), (BDM, "merge", MemoryError), (BDM, "update", KolmoError),
     *((LempelZiv78, "update", error) for error in ERRORS)],
)  # fmt: skip
def test_an_estimator_that_fails_leaves_out_its_own_figures_alone(cls, method, error, undisturbed):
    report, found = table(estimators=[faulty(cls, method, error)])
    all_others_are_measured(found, undisturbed)
    its = found[found.index.get_level_values("estimator").str.startswith("faulty")]
    failed = its[its.bits.isna() & ~its.note.str.contains("no 1-D CTM table")]
    assert len(failed)
    assert failed.note.str.contains(f"faulty.* failed: {error.__name__}").all()
    assert not failed.note.str.contains("\n").any()
    assert report.provenance["finished"]
    assert all("faulty" in told for told in report.provenance["failures"])
    assert report.provenance["problems"] == []


@pytest.mark.parametrize("method", ["start", "working_memory", "grain"])
def test_a_plan_says_which_estimator_fails(method):
    broken = faulty(LempelZiv78, method, ValueError)
    (plan,) = plan_of({"m": WEIGHTS}, quantizers=["sign"], estimators=["kt", broken]).values()
    its, others = plan.rows[2:], plan.rows[:2]
    assert {row.estimator for row in its} == {"faulty"}
    for row in its:
        assert dict(row.refused) == {
            "faulty of sign failed: ValueError: out of order": len(WEIGHTS)
        }
    assert {row.tensors for row in others} == {len(WEIGHTS)}


@dataclasses.dataclass(frozen=True, eq=False)
class LateCoder(SymbolCoder):
    encode = raises(ArithmeticError)


@dataclasses.dataclass(frozen=True)
class FaultyQuantizer(Sign):
    method: str = "fit"
    name = "faulty"

    def alphabet(self, dtype):
        if self.method == "alphabet":
            raises(ArithmeticError)()
        return super().alphabet(dtype)

    def fit(self, tensor):
        if self.method == "fit":
            raises(ArithmeticError)()
        return LateCoder(Sign().alphabet(tensor.dtype))


@pytest.mark.parametrize("method", ["fit", "encode", "alphabet"])
def test_a_quantizer_that_fails(method, undisturbed):
    report, found = table(quantizers=["sign", "symmetric:8", FaultyQuantizer(method)])
    all_others_are_measured(found, undisturbed)
    its = found[found.index.get_level_values("quantizer").str.startswith("faulty")]
    assert len(its) == 10
    assert its.bits.isna().all()
    assert its.note.str.contains("faulty.*failed: ArithmeticError").all()
    assert report.provenance["failures"]


@dataclasses.dataclass(frozen=True)
class FaultyNull(RowShuffled):
    name = "faulty"
    method: str = "draw"
    kept = False

    def working_memory(self, tensor):
        return raises(ValueError)() if self.method == "memory" else super().working_memory(tensor)

    def _draw(self, tensor, seed):
        if self.method == "draw":
            raises(MemoryError)()
        source = super()._draw(tensor, seed)
        return dataclasses.replace(
            source, tensor=dataclasses.replace(source.tensor, load=raises(OSError))
        )


@pytest.mark.parametrize("method", ["draw", "read", "memory"])
def test_a_null_that_fails(method, undisturbed):
    _, found = table(nulls=[FaultyNull(method)])
    all_others_are_measured(found, undisturbed)
    its = found[found.index.get_level_values("null").str.startswith("faulty")]
    known = undisturbed.xs("shuffled", level="null").bits
    pd.testing.assert_series_equal(its.droplevel("null").bits, known)
    its = its.drop("kt", level="estimator")  # whose figure no order changes
    assert its.null_bits.isna().all()
    assert its.note.str.contains("no null: .*faulty.*failed: ").all()


def test_a_large_tensor_in_stripes(monkeypatch, undisturbed):
    monkeypatch.setattr(cutting, "STRIPE", 512)
    monkeypatch.setattr(feeding, "HELD", 100)
    broken = [faulty(BDM, "update", ValueError)]
    _, found = table(estimators=broken, quantizers=["sign", "symmetric:8", FaultyQuantizer("fit")])
    all_others_are_measured(found, undisturbed)
    missing = found[found.bits.isna() & ~found.note.str.contains("no 1-D CTM table")]
    assert set(missing.index.get_level_values("quantizer")) == {"sign", "faulty"}
    assert missing.note.str.contains("faulty.*failed: ").all()


def test_in_processes(monkeypatch, undisturbed):
    monkeypatch.setattr(pool, "WORTH", 0.0)
    _, found = table(estimators=[faulty(LempelZiv78, "update", MemoryError)], threads=2)
    all_others_are_measured(found, undisturbed)


def test_an_unreadable_tensor_is_no_estimators_fault(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(WEIGHTS, path)
    opened = kolmo.open_checkpoint(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError) as raised:
        table(opened, estimators=[faulty(LempelZiv78, "update", ValueError)])
    assert "faulty" not in str(raised.value)
    assert raised.value.report is not None


def test_no_store_keeps_a_failure(tmp_path, undisturbed):
    """The next run tries again: memory that ran out may be there then."""
    store = tmp_path / "results.sqlite"
    broken = faulty(LempelZiv78, "update", MemoryError)
    for estimator, fails in ((broken, True), (LempelZiv78Healed(), False)):
        _, found = table(estimators=[estimator], store=store)
        all_others_are_measured(found, undisturbed)
        assert found.bits.isna().any() == fails


@dataclasses.dataclass(frozen=True)
class LempelZiv78Healed(LempelZiv78):
    name = "faulty"


def test_a_code_of_the_test_that_fails_is_an_error_and_no_smaller_figure(monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(ShortestOf, "start_inner", fails)
    with pytest.raises(KolmoError, match="MemoryError") as raised:
        kolmo.analyze(WEIGHTS)
    assert raised.value.report.table.bits.notna().any()
    assert set(raised.value.report.table.scope) == {"tensor", "model"}


def test_a_difference_of_a_tensor_that_fails(monkeypatch):
    measured, changed = native_choice, {n: w + (w > 1) for n, w in WEIGHTS.items()}

    def fails(stripes, *rest):
        if stripes.numel == WEIGHTS["layer.2"].size:
            raise MemoryError
        return measured(stripes, *rest)

    whole = kolmo.delta(WEIGHTS, changed).table
    monkeypatch.setattr(run, "native_choice", fails)
    report = kolmo.delta(WEIGHTS, changed)
    its = report.table.tensor == "layer.2"
    assert report.table.bits[its].isna().all()
    others = ~its & (report.table.scope == "tensor")
    assert report.table.bits[others].tolist() == whole.bits[others].tolist()
    assert report.provenance["failures"]


def test_the_command_says_what_failed_and_saves_the_rest(tmp_path, monkeypatch, capsys):
    save_file(WEIGHTS, tmp_path / "m.safetensors")
    broken = type(faulty(LempelZiv78, "update", MemoryError))
    arguments = ["analyze", "m.safetensors", "-q", "sign", "-e", "faulty", "-e", "kt"]
    monkeypatch.setattr("sys.argv", ["kolmo", *arguments, "-o", "r.json"])
    monkeypatch.chdir(tmp_path)
    with registered(broken), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "wrote r.json"
    assert lines[1] == (
        "kolmo: error: m: faulty of sign failed: MemoryError: out of order; "
        "everything else was measured"
    )
    kept = kolmo.load_report(tmp_path / "r.json")
    assert kept.table[kept.table.estimator == "kt"].bits.notna().all()
    assert kept.provenance["failures"] == ["m: faulty of sign failed: MemoryError: out of order"]
