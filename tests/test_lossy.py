"""Lossy files: what they hold, how far it is from the source, and what is promised of it."""

import itertools
import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kolmo
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError, KolmoError
from kolmo.files import sealed
from kolmo.lossy.evaluating import Tolerance, named_function
from kolmo.lossy.workshop import Workshop, largest_step


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.fixture(scope="module")
def weights():
    return {
        "a.weight": 0.1 * normal(96, 64),
        "a.bias": normal(96, seed=1),
        "b.weight": normal(16, 3, 3, 3, seed=2),
        "b.num_batches_tracked": np.array(7),
    }


def distortion(before, after):
    """Of all floating-point arrays, by its definition."""
    floats = [name for name, w in before.items() if w.dtype.kind == "f"]
    error = sum(np.square(before[n].astype(float) - after[n].astype(float)).sum() for n in floats)
    return error / sum(np.square(before[n].astype(float)).sum() for n in floats)


@pytest.fixture(scope="module")
def curve(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve")
    return kolmo.curve(weights, steps=[0.1, 0.3, 0.6, 1.2], folder=folder, shuffled=True)


# --- curves ---------------------------------------------------------------------------------


def test_each_point_is_a_file_whose_distortion_another_process_finds(curve, weights, tmp_path):
    save_file(weights, tmp_path / "w.safetensors")
    script = """
import json, sys, kolmo, numpy as np
from safetensors.numpy import load_file
before, found = load_file(sys.argv[1]), []
for path in sys.argv[2:]:
    after = load_file(kolmo.unpack(path, path + ".safetensors"))
    names = [n for n, w in before.items() if w.dtype.kind == "f"]
    error = sum(((before[n] - after[n].astype(float)) ** 2).sum() for n in names)
    found.append(error / sum((before[n].astype(float) ** 2).sum() for n in names))
print(json.dumps(found))
"""
    paths = [point.path for point in curve.points]
    command = [sys.executable, "-c", script, tmp_path / "w.safetensors", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx([p.distortion for p in curve.points], rel=1e-9)


def test_points_are_certificates(curve):
    for point in curve.points:
        certificate = kolmo.verify(point.path)
        assert (certificate.bits, certificate.sha256) == (point.bits, point.sha256)
        assert certificate.distortion == pytest.approx(point.distortion, rel=1e-5)


def test_curves_fall_and_their_hull_is_convex(curve):
    bits = [point.bits for point in curve.points]
    errors = [point.distortion for point in curve.points]
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    hull = curve.hull
    slopes = [(b.bits - a.bits) / np.log(b.distortion / a.distortion)
              for a, b in itertools.pairwise(hull)]  # fmt: skip
    assert slopes == sorted(slopes)
    assert {point.step for point in hull} <= {point.step for point in curve.points}


def test_a_point_above_the_hull_is_left_out():
    found = kolmo.curve({"w": normal(64, 64)}, steps=[0.2, 0.4, 0.8])
    worse = [p if p.step != 0.4 else type(p)(p.step, 4 * p.bits, p.distortion, None, "")
             for p in found.points]  # fmt: skip
    raised = type(found)("w", 4096, None, tuple(worse), (), found._shop)
    assert [point.step for point in raised.hull] == [0.2, 0.8]


def test_bits_at_a_distortion_are_those_of_a_file_within_it(curve):
    assert (
        curve.points[-1].bits
        <= curve.bits_at(curve.points[1].distortion)
        <= 1.01 * (curve.points[1].bits)
    )
    with pytest.raises(InputError, match="a distortion or a tolerance"):
        curve.bits_at()
    with pytest.raises(InputError, match="there is no metric"):
        curve.bits_at(tolerance="1%")


def test_bits_at_a_tolerance_of_the_metric():
    w = {"w": normal(64, 64)}
    calls = []

    def loss(values):
        calls.append(1)
        return 1 + float(np.square(values["w"] - w["w"]).mean())

    found = kolmo.curve(w, steps=[0.3], evaluate=loss)
    bits = found.bits_at(tolerance=0.05)
    assert 2 < bits / 4096 < 3.2  # ½ log₂ 20 is 2.2
    before = len(calls)
    assert found.bits_at(tolerance=0.05) == bits
    assert len(calls) == before


def test_weights_at_random_places_cost_as_much_where_there_is_no_structure(curve):
    whole, moved = curve.points[1], curve.shuffled[1]
    assert moved.distortion == pytest.approx(whole.distortion, rel=0.2)
    smooth = {"w": np.cumsum(normal(64, 64), axis=1)}
    found = kolmo.curve(smooth, steps=[0.3], shuffled=True)
    assert found.points[0].bits < 0.8 * found.shuffled[0].bits


def test_the_table_and_the_figure(curve, tmp_path):
    table = curve.table
    assert list(table["bits_per_weight"]) == [p.bits / curve.numel for p in curve.points]
    assert curve.numel == 96 * 64 + 96 + 16 * 27
    figure = curve.plot(curve, width="column")
    assert figure.axes[0].get_xscale() == "log"
    assert len(figure.axes[0].get_lines()) == 7  # marks, hull and shuffle of two; R(D)
    with pytest.raises(InputError, match="no metric"):
        curve.plot(metric=True)
    assert str(curve).count("\n") == 5


@pytest.mark.parametrize("steps", [[], [0.0], [-1.0]])
def test_steps_are_positive(steps):
    with pytest.raises(InputError, match="steps are positive"):
        kolmo.curve({"w": normal(4, 4)}, steps=steps)


# --- what is kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_files_hold_exactly_what_was_evaluated(dtype, tmp_path):
    source = {
        "matrix": normal(40, 50).astype(DTYPES[dtype]),
        "vector": normal(50).astype(DTYPES[dtype]),
        "zeros": np.zeros((40, 3), DTYPES[dtype]),
        "scalar": np.array(0.3, DTYPES[dtype]),
        "empty": np.zeros((0, 4), DTYPES[dtype]),
    }
    seen = []

    def evaluate(values):
        seen.append({name: np.array(value) for name, value in values.items()})
        return float(np.square(values["matrix"].astype(float) - source["matrix"]).sum())

    kolmo.simplify(source, tmp_path / "s.kmo", evaluate=evaluate, tolerance=100.0)
    evaluated = next(each for each in seen[::-1][1:]
                     if each["matrix"].tobytes() == seen[-1]["matrix"].tobytes())  # fmt: skip
    for name, array in source.items():
        assert seen[-1][name].dtype == array.dtype
        assert seen[-1][name].shape == array.shape
        assert seen[-1][name].tobytes() == evaluated[name].tobytes()
    assert not seen[-1]["zeros"].any()


def test_buffers_and_excluded_tensors_are_kept_exactly(weights, tmp_path):
    kolmo.simplify(weights, tmp_path / "s.kmo", distortion=0.3, exclude="b.*")
    after = load_file(kolmo.unpack(tmp_path / "s.kmo", tmp_path / "s.safetensors"))
    assert after.keys() == weights.keys()
    for name in ("b.weight", "b.num_batches_tracked"):
        assert after[name].tobytes() == weights[name].tobytes()
    assert after["a.weight"].tobytes() != weights["a.weight"].tobytes()


def test_tied_tensors_are_described_once(tmp_path):
    torch = pytest.importorskip("torch")

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(64, 32)
            self.head = torch.nn.Linear(32, 64, bias=False)
            self.head.weight = self.embedding.weight

    found = kolmo.simplify(Tied(), tmp_path / "t.kmo", distortion=0.1)
    rows = {row.name: row for row in found.certificate.tensors}
    assert rows["head.weight"].code == "copy of embedding.weight"
    after = load_file(kolmo.unpack(tmp_path / "t.kmo", tmp_path / "t.safetensors"))
    assert after["head.weight"].tobytes() == after["embedding.weight"].tobytes()


def test_weights_that_are_no_numbers_are_named():
    with pytest.raises(InputError, match="'w' holds NaN, which lossy cannot express"):
        kolmo.curve({"w": np.float32([[1, np.nan]])}, steps=[0.3])


def test_lossy_is_no_quantizer_to_ask_for(weights, tmp_path):
    with pytest.raises(InputError, match="unknown quantizer"):
        kolmo.pack(weights, tmp_path / "s.kmo", quantizer="lossy:0.1")
    kolmo.simplify(weights, tmp_path / "s.kmo", distortion=0.1)
    with pytest.raises(InputError, match="a lossy file is verified on its own"):
        kolmo.verify(tmp_path / "s.kmo", weights)


def test_the_bytes_do_not_depend_on_threads(weights, tmp_path):
    files = []
    for threads in (1, 3):
        path = tmp_path / f"{threads}.kmo"
        kolmo.simplify(weights, path, distortion=0.1, threads=threads)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_a_lossy_file_is_a_source_like_any_other(weights, tmp_path):
    kolmo.simplify(weights, tmp_path / "s.kmo", distortion=0.1)
    report = kolmo.analyze(tmp_path / "s.kmo", estimators=["kt", "pack:fast"], nulls=[])
    whole = report.table[report.table["scope"] == "model"]
    assert set(whole["numel"]) == {96 * 64 + 96 + 16 * 27}
    assert (whole["bits"] > 0).all()


# --- importance -----------------------------------------------------------------------------


def test_important_weights_have_smaller_errors():
    w = {"w": normal(64, 128)}
    columns = np.where(np.arange(128) < 64, 16.0, 1.0)
    found = kolmo.curve(w, steps=[0.3], importance={"w": columns})
    after = found._shop.describe(0.3).tensors["w"].values
    error = np.square(after - w["w"]).mean(axis=0)
    assert error[64:].mean() / error[:64].mean() == pytest.approx(16, rel=0.15)


@pytest.mark.parametrize(
    ("importance", "what"),
    [
        ({"v": np.ones(3)}, "no weights of that name"),
        ({"w": np.ones(5)}, "its importance is of shape"),
        ({"w": np.zeros(8)}, "not all 0"),
        ({"w": np.full(8, np.nan)}, "finite"),
    ],
)
def test_importance_fits_its_tensor(importance, what):
    with pytest.raises(InputError, match=what):
        kolmo.curve({"w": normal(4, 8)}, steps=[0.3], importance=importance)


def test_equal_weighting_gives_all_weights_one_step():
    w = {"small": normal(64, 64), "large": 8 * normal(64, 64, seed=1)}
    shop = kolmo.curve(w, steps=[0.5], weighting="equal")._shop
    tensors = shop.describe(0.5).tensors
    errors = [np.square(tensors[n].values - w[n]).mean() for n in w]
    assert errors[0] == pytest.approx(errors[1], rel=0.2)


# --- simplify -------------------------------------------------------------------------------


def test_simplify_stays_within_a_distortion(weights, tmp_path):
    found = kolmo.simplify(weights, tmp_path / "s.kmo", distortion=0.05)
    after = load_file(kolmo.unpack(found.certificate.path, tmp_path / "s.safetensors"))
    assert distortion(weights, after) <= 0.05
    assert found.distortion == pytest.approx(distortion(weights, after))
    assert found.bits == 8 * (tmp_path / "s.kmo").stat().st_size
    assert "bits per weight (bound)" in str(found)
    assert len(found.table) == 4


def model_and_loss():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 48), torch.nn.ReLU(), torch.nn.Linear(48, 33), torch.nn.Dropout(0.5)
    )
    inputs = torch.randn(256, 20) @ torch.randn(20, 20)  # correlated
    target = model.eval()(inputs).detach()

    def loss(candidate):
        assert not candidate.training
        with torch.no_grad():
            return 1 + float((candidate(inputs) - target).square().mean() / target.square().mean())

    return model.train(), inputs, loss


def test_simplify_a_module_stays_within_its_tolerance(tmp_path):
    model, inputs, loss = model_and_loss()
    plain = kolmo.simplify(model, tmp_path / "a.kmo", evaluate=loss, tolerance="1%")
    assert 1 < plain.value <= 1.01
    assert model.training
    fed = kolmo.simplify(
        model, tmp_path / "b.kmo", evaluate=loss, tolerance="1%", inputs=inputs.split(64)
    )
    assert 1 < fed.value <= 1.01
    assert fed.bits < plain.bits  # it knows which directions of the inputs matter
    assert list(fed.layers) == ["0", "2"]
    assert 0 < fed.layers["0"] < 0.2
    json.dumps(fed.to_dict())


def test_a_file_outside_its_tolerance_is_not_kept(tmp_path):
    """A metric that is not the same when weights come again."""
    seen = set()

    def fickle(values):
        again = values["w"].tobytes() in seen
        seen.add(values["w"].tobytes())
        return 9.0 if again or not values["w"].any() else 1.0

    with pytest.raises(KolmoError, match="not kept: the decoded file has 9"):
        kolmo.simplify({"w": normal(8, 8)}, tmp_path / "s.kmo", evaluate=fickle, tolerance=0.1)
    assert not (tmp_path / "s.kmo").exists()


def test_a_metric_that_no_description_meets(tmp_path):
    w = {"w": normal(8, 8)}
    same = w["w"].tobytes()
    with pytest.raises(InputError, match="no description is within the tolerance"):
        kolmo.simplify(
            w, tmp_path / "s.kmo", evaluate=lambda v: float(v["w"].tobytes() != same), tolerance=0.5
        )


def test_an_interrupted_call_goes_on_where_it_stopped(weights, tmp_path):
    calls = []

    def loss(values, until=None):
        calls.append(1)
        if until is not None and len(calls) > until:
            raise KeyboardInterrupt
        return 1 + distortion(weights, values)

    options = {"tolerance": 0.05}
    kolmo.simplify(weights, tmp_path / "whole.kmo", evaluate=loss, **options)
    whole = len(calls)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        kolmo.simplify(weights, tmp_path / "s.kmo", evaluate=lambda v: loss(v, until=4), **options)
    assert [path.name for path in tmp_path.glob("s.kmo*")] == ["s.kmo.tried.json"]
    calls.clear()
    kolmo.simplify(weights, tmp_path / "s.kmo", evaluate=loss, **options)
    assert len(calls) == whole - 4
    assert (tmp_path / "s.kmo").read_bytes() == (tmp_path / "whole.kmo").read_bytes()
    assert [path.name for path in tmp_path.glob("s.kmo*")] == ["s.kmo"]


@pytest.mark.parametrize(
    "damage", ["", '{"of": "', '{"of": "x", "values": {}}', sealed({"of": "x"})]
)
def test_notes_of_another_call_and_damaged_ones_do_not_matter(damage, weights, tmp_path):
    (tmp_path / "s.kmo.tried.json").write_text(damage)
    is_whole = "checksum" in damage
    with nullcontext() if is_whole else pytest.warns(UserWarning, match=r"tried\.json: damaged"):
        kolmo.simplify(
            weights, tmp_path / "s.kmo", evaluate=lambda v: 1 + distortion(weights, v),
            tolerance=0.1,
        )  # fmt: skip
    assert (tmp_path / "s.kmo").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "needs evaluate"),
        ({"evaluate": lambda v: 0.0, "distortion": 0.1}, "needs evaluate"),
        ({"distortion": 1.5}, "in \\(0, 1\\)"),
        ({"evaluate": lambda v: 0.0, "tolerance": "x%"}, "a tolerance is a share"),
        ({"evaluate": lambda v: 0.0, "better": "best"}, "lower or higher"),
        ({"evaluate": lambda v: float("nan")}, "gave NaN"),
        ({"evaluate": lambda v: v["nothing"]}, "evaluate failed \\(KeyError"),
        ({"distortion": 0.1, "preset": "quick"}, "unknown preset"),
        ({"distortion": 0.1, "weighting": "columns"}, "weighting is rows or equal"),
        ({"distortion": 0.1, "inputs": []}, "torch module"),
        ({"distortion": 0.1, "include": "x*"}, "leave none"),
    ],
)
def test_what_simplify_refuses(options, what, weights, tmp_path):
    with pytest.raises(InputError, match=what):
        kolmo.simplify(weights, tmp_path / "s.kmo", **options)
    assert not (tmp_path / "s.kmo").exists()


def test_weights_that_are_no_network_are_too_coarse(weights, tmp_path):
    """A trial whose metric is NaN is not accepted; a point of a curve says so."""

    def loss(values):
        error = distortion(weights, values)
        return error if error < 0.05 else float("nan")

    found = kolmo.simplify(weights, tmp_path / "s.kmo", evaluate=loss, tolerance=1.0)
    assert 0.04 < found.value < 0.05
    drawn = kolmo.curve(weights, steps=[0.3, 2.0], evaluate=loss)
    assert [point["value"] == "nan" for point in drawn.to_dict()["points"]] == [False, True]
    json.dumps(drawn.to_dict(), allow_nan=False)


def test_no_step_is_described_twice(weights, tmp_path, monkeypatch):
    """What is written is the description that was accepted."""
    steps, describe = [], Workshop.describe

    def noted(shop, step):
        steps.append(step)
        return describe(shop, step)

    monkeypatch.setattr(Workshop, "describe", noted)
    kolmo.simplify(weights, tmp_path / "s.kmo", distortion=0.1)
    kolmo.simplify(weights, tmp_path / "t.kmo", evaluate=lambda v: distortion(weights, v),
                   tolerance=0.1)  # fmt: skip
    halves = len(steps) - steps[1:].index(0.5) - 1
    assert len(set(steps[:-halves])) == len(steps) - halves
    assert len(set(steps[-halves:])) == halves


def test_tolerances():
    assert Tolerance.parse("2%", "higher").accepts(0.98, 1.0)
    assert not Tolerance.parse("2%", "higher").accepts(0.97, 1.0)
    assert Tolerance.parse("10%").limit(-2.0) == pytest.approx(-1.8)
    assert not Tolerance.parse(1).accepts(float("nan"), 0.0)


def test_the_largest_step_that_is_accepted():
    tried = []

    def below(limit):
        def accepts(step):
            tried.append(step)
            return step <= limit

        return accepts

    for limit in (0.003, 0.4, 0.5, 77.0):
        found = largest_step(below(limit))
        assert limit / 1.031 <= found <= limit
    assert largest_step(below(0)) is None
    assert len(set(tried)) < 80


def test_functions_by_name():
    assert named_function("os.path:join")("a", "b")
    for spec in ("join", "os.path", "os.path:nothing", "no.such.module:f", "math:pi"):
        with pytest.raises(InputError, match="'"):
            named_function(spec)


# --- the command line -----------------------------------------------------------------------

METRIC = """
import numpy as np
from safetensors.numpy import load_file

def loss(values):
    before = load_file("w.safetensors")
    return 1 + float(np.square(before["a.weight"] - values["a.weight"]).mean())

def calibration():
    import torch
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(64, 96)})
    return model, [torch.randn(64, 64)], lambda model, batch: model["a"](batch)

def error(model):
    return loss({"a.weight": model["a"].weight.detach().numpy()})
"""


@pytest.fixture
def place(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({name: w for name, w in weights.items() if name.startswith("a")}, "w.safetensors")
    (tmp_path / "lossy_metric.py").write_text(METRIC)
    yield tmp_path
    sys.modules.pop("lossy_metric", None)


def run(*words):
    command = [sys.executable, "-m", "kolmo", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_simplify_from_the_shell(place):
    words = "simplify w.safetensors -o s.kmo --evaluate lossy_metric:loss --json"
    done = run(*words.split())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 1 < found["value"] <= found["limit"] == pytest.approx(1.01)
    done = run(*words.replace("lossy_metric", "nothing").split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_curve_with_inputs_from_the_shell(place):
    words = "curve w.safetensors --step 0.5 --inputs lossy_metric:calibration --plot c.png -o kept"
    done = run(*words.split(), "--evaluate", "lossy_metric:error", "--metric")
    assert done.returncode == 0, done.stderr
    assert (place / "c.png").stat().st_size > 10_000
    assert kolmo.verify(place / "kept" / "step-0.5.kmo").distortion > 0
