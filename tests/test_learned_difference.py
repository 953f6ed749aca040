"""What training added: files that make a network of its base, and are what they say."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kolmo
from kolmo.checkpoints.opening import survey
from kolmo.errors import InputError, KolmoError
from kolmo.lossy.changes import BASE as BASE_NAME
from kolmo.lossy.changes import FORMS, LEFT, REST, Base, Change, ChangeForm, Changes
from kolmo.lossy.describing import describe
from tests.test_cli import refused, run


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


BASE = {"a.weight": normal(48, 40), "a.bias": normal(48, seed=1), "steps": np.array(3)}
LOW = np.outer(normal(48, seed=2), normal(40, seed=3)).astype(np.float32)
TUNED = {"a.weight": BASE["a.weight"] + LOW, "a.bias": BASE["a.bias"] + np.float32(0.5),
         "steps": np.array(9)}  # fmt: skip


def far(network):
    """Root mean square of what is wrong with the weights."""
    names = ("a.weight", "a.bias")
    return float(sum(np.square(network[n].astype(float) - TUNED[n]).mean() for n in names) ** 0.5)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("d") / "d.kmo"
    return kolmo.learned_difference(BASE, TUNED, path, evaluate=far, tolerance=0.1, threads=1)


def test_the_file_and_its_base_make_the_network_in_another_process(found, tmp_path):
    save_file(BASE, tmp_path / "base.safetensors")
    script = """
import sys, kolmo
from safetensors.numpy import save_file
save_file(kolmo.with_difference(sys.argv[1], sys.argv[2]), sys.argv[3])
"""
    out = tmp_path / "out.safetensors"
    arguments = [str(tmp_path / "base.safetensors"), str(found.certificate.path), str(out)]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True)
    made = load_file(out)
    assert {name: (w.shape, w.dtype) for name, w in made.items()} == {
        name: (w.shape, w.dtype) for name, w in TUNED.items()
    }
    assert far(made) == found.value <= found.limit == 0.1
    assert made["steps"] == 9  # a counter is no weight: it is kept as it is
    error = sum(np.square(made[n].astype(float) - TUNED[n]).sum() for n in ("a.weight", "a.bias"))
    power = sum(np.square(TUNED[n].astype(float)).sum() for n in ("a.weight", "a.bias"))
    assert found.distortion == pytest.approx(error / power)


def test_bits_are_those_of_the_file_and_factors_are_found(found):
    assert found.bits == 8 * found.certificate.path.stat().st_size
    assert found.form == "factors of rank 1, equal steps"
    assert found.before == far(BASE) > 1 > found.original == 0
    alone = kolmo.delta(BASE, TUNED, scope="model", estimators=["kt"]).table
    assert found.bits < alone.bits.min()  # which is exact, and knows rank 1 too
    assert json.loads(json.dumps(found.to_dict()))["bits"] == found.bits
    assert "sha256 of the base" in str(found)


def test_the_same_file_whatever_the_threads(found, tmp_path):
    again = kolmo.learned_difference(
        BASE, TUNED, tmp_path / "d.kmo", evaluate=far, tolerance=0.1, threads=3
    )
    assert again.certificate.path.read_bytes() == found.certificate.path.read_bytes()


def test_another_base_is_refused(found):
    other = {**BASE, "steps": np.array(4)}
    with pytest.raises(InputError, match="SHA-256"):
        kolmo.with_difference(other, found.certificate.path)
    with pytest.raises(InputError, match="needs its base"):
        kolmo.with_difference(None, found.certificate.path)


def test_a_network_file_is_no_difference(tmp_path):
    kolmo.pack({"w": normal(8, 8)}, tmp_path / "w.kmo", preset="fast")
    with pytest.raises(InputError, match="no difference"):
        kolmo.with_difference(BASE, tmp_path / "w.kmo")


def test_no_change_takes_hardly_more_than_naming_the_base(tmp_path):
    same = kolmo.learned_difference(
        BASE, BASE, tmp_path / "d.kmo", evaluate=lambda _: 1.0, tolerance=0, threads=1
    )
    assert same.bits < 2000
    made = kolmo.with_difference(BASE, same.certificate.path)
    assert all(made[name].tobytes() == w.tobytes() for name, w in BASE.items())


def test_without_a_base_the_file_stands_alone(tmp_path):
    alone = kolmo.learned_difference(
        None, TUNED, tmp_path / "d.kmo", evaluate=far, tolerance=0.1, threads=1
    )
    made = kolmo.with_difference(None, alone.certificate.path)
    assert far(made) == alone.value <= 0.1
    assert (alone.base, made["steps"], made["a.bias"].shape) == ("", 9, (48,))
    assert "describe it" in str(alone)
    with pytest.raises(InputError, match="no difference to a base"):
        kolmo.with_difference(BASE, alone.certificate.path)


def test_a_metric_of_a_function_that_computes_nothing_takes_nothing(tmp_path):
    nothing = kolmo.learned_difference(
        None, {"w": normal(64, 64)}, tmp_path / "d.kmo", evaluate=lambda _: 2.3, threads=1
    )
    assert nothing.bits < 1200
    assert nothing.evaluations == 4  # before, tuned, all zeros, decoded


def test_a_metric_that_changes_is_found_out(tmp_path):
    values = iter(np.linspace(1, 3, 10_000))
    with pytest.raises(InputError, match="the same at each call"):
        kolmo.learned_difference(
            BASE, TUNED, tmp_path / "d.kmo", evaluate=lambda _: next(values), tolerance=0
        )
    given = iter([1.0, 1.0, 1.0, 9.0])  # as good until the file is decoded
    with pytest.raises(KolmoError, match="not kept"):
        kolmo.learned_difference(
            BASE, TUNED, tmp_path / "d.kmo", evaluate=lambda _: next(given), tolerance=0
        )
    assert not (tmp_path / "d.kmo").exists()


def test_nothing_in_common_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no weights of .* have a partner"):
        kolmo.learned_difference(
            {"a.weight": normal(3, 3)}, {"a.weight": normal(4, 4)}, tmp_path / "d.kmo", evaluate=far
        )


@pytest.mark.parametrize(
    "form",
    [ChangeForm(0, True), ChangeForm(0, True, True), ChangeForm(3, False), ChangeForm(3, True)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_every_form_comes_near_as_steps_become_fine(form, dtype):
    """Ranks of up to 3 suffice for this difference, and all errors vanish but the dtype's."""
    base = {"w": normal(40, 36, dtype=dtype), "v": normal(40, dtype=dtype)}
    change = (normal(40, 3, seed=5) @ normal(3, 36, seed=6)).astype(dtype)
    tuned = {"w": base["w"] + change, "v": base["v"] * dtype(1.5)}
    changes = Changes.of(survey(base), survey(tuned))
    state, scalings = changes.written(form)
    made = [changes.applied(describe(state, scalings, step, 1).values) for step in (0.5, 0.0005)]
    wrong = [changes.distortion(network) for network in made]
    assert wrong[1] < wrong[0] < 0.5
    assert wrong[1] < (1e-4 if dtype == ml_dtypes.bfloat16 else 1e-6)
    assert all(made[1][name].dtype == w.dtype for name, w in tuned.items())


def test_factors_are_those_of_the_difference():
    change = Change("w", BASE["a.weight"], TUNED["a.weight"])
    left, sizes, right = change.factors
    assert np.allclose(left * sizes @ right.T, change.matrix)
    assert sizes[0] ** 2 / np.square(sizes).sum() > 0.999
    assert [change.rank(rank) for rank in (1, 4, 64)] == [1, 4, 0]  # 64 (m + n) > m n


def test_tied_weights_are_told_once_and_come_back_tied(tmp_path):
    torch = pytest.importorskip("torch")

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(40, 32)
            self.head = torch.nn.Linear(32, 40, bias=False)
            self.head.weight = self.embed.weight

    torch.manual_seed(0)
    base, tuned = Tied(), Tied()

    def wrong(model):
        assert model.head.weight is model.embed.weight
        wrong = (model.head.weight - tuned.embed.weight).detach()
        return float(wrong.square().mean().sqrt())

    found = kolmo.learned_difference(
        base, tuned, tmp_path / "d.kmo", evaluate=wrong, tolerance=0.2, threads=1
    )
    assert found.value <= 0.2
    made = kolmo.with_difference(base, found.certificate.path)
    assert made["head.weight"].tobytes() == made["embed.weight"].tobytes()
    assert found.bits < 8 * 40 * 32


def test_names_of_wrappers_find_their_partners(tmp_path):
    wrapped = {f"module.{name}": w for name, w in TUNED.items()}

    def wrong(network):
        return far({name.removeprefix("module."): w for name, w in network.items()})

    found = kolmo.learned_difference(
        BASE, wrapped, tmp_path / "d.kmo", evaluate=wrong, tolerance=0.1, threads=1
    )
    made = kolmo.with_difference(BASE, found.certificate.path)
    assert list(made) == list(BASE)
    assert far(made) == found.value


def test_a_tensor_that_only_the_tuned_network_has_is_kept_whole(tmp_path):
    head = normal(4, 5, seed=9)
    found = kolmo.learned_difference(
        BASE, {**TUNED, "head": head}, tmp_path / "d.kmo", evaluate=far, tolerance=0.1, threads=1
    )
    made = kolmo.with_difference(BASE, found.certificate.path)
    assert made["head"].tobytes() == head.tobytes()


def test_names_of_arrays_in_a_file_are_no_tensors():
    base = Base("x", {"w": np.ones((2, 2), np.float32)}, {})
    made = base.with_changes({REST + "w": np.full((2, 2), 2.0), REST + "other": np.zeros(1)})
    assert made["w"].tolist() == [[3, 3], [3, 3]]
    assert list(made) == ["w", REST + "other"]  # a tensor that happens to be called so


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        (b"nonsense", "holds together"),
        (b'[["w","float32",[1000000,1000000],""]]', "bytes of arrays"),
        (b'[["w","object",[2],""]]', "no dtype"),
        (b'[["w","float32",[2],"other"]]', "other"),
        (b'[["w"]]', "holds together"),
    ],
)
def test_files_that_do_not_hold_together_are_refused(forms, message, tmp_path):
    state = {FORMS: np.frombuffer(forms, np.uint8), "v": np.zeros(2, np.float32)}
    kolmo.pack(state, tmp_path / "d.kmo", preset="fast")
    with pytest.raises(InputError, match=message):
        kolmo.with_difference(None, tmp_path / "d.kmo")


def test_factors_that_lack_a_side_are_refused(tmp_path):
    digest = np.frombuffer(Base.of(survey(BASE)).digest, np.uint8)
    half = {BASE_NAME: digest, LEFT + "a.weight": normal(48, 2)}
    kolmo.pack(half, tmp_path / "d.kmo", preset="fast")
    with pytest.raises(InputError, match="holds together"):
        kolmo.with_difference(BASE, tmp_path / "d.kmo")


def test_not_a_number_is_named(tmp_path):
    with pytest.raises(InputError, match=r"'a.weight'.*NaN"):
        kolmo.learned_difference(
            BASE, {**TUNED, "a.weight": TUNED["a.weight"] * np.nan}, tmp_path / "d.kmo",
            evaluate=lambda _: 1.0,
        )  # fmt: skip


def test_from_a_recipe_and_a_seed_a_network_takes_what_training_added(tmp_path):
    start = kolmo.initialization(BASE, seed=7)
    again = kolmo.initialization({name: np.zeros_like(w) for name, w in BASE.items()}, seed=7)
    assert list(start) == ["a.weight", "a.bias"]
    assert all(start[name].tobytes() == w.tobytes() for name, w in again.items())
    assert np.abs(start["a.weight"]).max() <= 1 / np.sqrt(40)
    assert kolmo.initialization(BASE, seed=8)["a.weight"].tobytes() != start["a.weight"].tobytes()
    tuned = {"a.weight": start["a.weight"] + LOW, "a.bias": start["a.bias"]}

    def wrong(network):
        return float(np.square(network["a.weight"] - tuned["a.weight"]).mean() ** 0.5)

    added, alone = (
        kolmo.learned_difference(
            base, tuned, tmp_path / "d.kmo", evaluate=wrong, tolerance=0.05, threads=1
        ).bits
        for base in (start, None)
    )
    assert added + 8 * len("kaiming_uniform,7") < alone


def test_recipes_draw_what_they_say():
    network = {"norm.weight": normal(30), "norm.bias": normal(30, seed=1), "w": normal(300, 200)}
    made = kolmo.initialization(network, "normal:0.02", seed=1)
    assert made["norm.weight"].tolist() == [1] * 30
    assert made["norm.bias"].tolist() == [0] * 30
    assert made["w"].std() == pytest.approx(0.02, rel=0.02)
    with pytest.raises(InputError, match="inits"):
        kolmo.initialization(network, "normal")


# --- in reports -------------------------------------------------------------------------------


def test_a_delta_with_a_metric_has_a_row_of_what_training_added(found):
    report = kolmo.delta(BASE, TUNED, estimators=["kt"], evaluate=far, tolerance=0.1, threads=1)
    row = report.table.query("estimator == 'function'").iloc[0]
    assert (row.bits, row.kind, row.scope, row.quantizer) == (found.bits, "bound", "model", "lossy")
    assert row.nmse == found.distortion
    assert json.loads(row.details)["base"] == found.base
    assert f"at most {found.bits:,} bits are needed" in report.summary()
    plain = kolmo.delta(BASE, TUNED, estimators=["kt"], threads=1)
    assert "function" not in plain.summary()
    rest = report.table[report.table.estimator != "function"]
    assert rest.bits.tolist() == plain.table.bits.tolist()


def test_a_series_with_a_metric_has_function_bits(tmp_path):
    silent = {"w": normal(64, 64), "size": np.float32([0])}
    learned = {"w": normal(64, 64), "size": np.float32([1])}

    def loss(network):
        return 2.0 - float(network["size"][0] * (network["w"] * learned["w"]).mean())

    report = kolmo.trajectory(
        {0: silent, 5: learned}, evaluate=loss, tolerance="1%", quantizers=["native"],
        estimators=["kt"], nulls=[], threads=1,
    )  # fmt: skip
    table = report.table
    assert table.estimator.tolist() == ["kt", "function", "kt", "function"]
    assert table.checkpoint.tolist() == ["step 0", "step 0", "step 5", "step 5"]
    before, after = table.bits[table.estimator == "function"]
    assert before < 2500 < 5000 < after < 64 * 64 * 8
    assert (table.kind == "bound").all()
    assert "compare errors" not in report.summary()
    report.save(tmp_path / "series.parquet")
    again = kolmo.load_report(tmp_path / "series.parquet")
    assert again.summary() == report.summary()
    titles = [axis.get_title(loc="left") for axis in again.plot.trajectory().axes]
    assert "quantizer lossy" in titles


def test_the_command_line_takes_a_function(tmp_path):
    save_file(BASE, tmp_path / "base.safetensors")
    save_file(TUNED, tmp_path / "tuned.safetensors")
    (tmp_path / "metric_of_delta.py").write_text(
        "def value(network):\n    return 2 - float(network['a.bias'].mean())\n"
    )
    arguments = ["delta", "base.safetensors", "tuned.safetensors", "-e", "kt", "--scope", "model"]
    given = ["--evaluate", "metric_of_delta:value", "--tolerance", "0.1", "--json"]
    result = run(*arguments, *given, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = {row["estimator"]: row for row in json.loads(result.stdout)["table"]}
    assert rows["function"]["bits"] < rows["delta"]["bits"]
    refused(run(*arguments, "--evaluate", "nowhere", cwd=tmp_path), "package.module:function")
    refused(run(*arguments, "--evaluate", "math:sqrt", cwd=tmp_path), "evaluate failed")
