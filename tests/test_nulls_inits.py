"""Ensembles of initializations: what recipes draw, which checkpoints are read, and their t."""

import math

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.errors import InputError, NotApplicableError
from kolmo.intervals import student_share
from kolmo.nulls import get_null
from kolmo.pvalues import permutation_p


def random(seed=0):
    return np.random.default_rng(seed)


def draw(null, weights, number=0, name="w"):
    source = get_null(null).draw(array_tensor(name, weights), number, 0)
    return source.drawn.load(0, weights.size).reshape(weights.shape)


SHAPE = (60, 8, 5, 5)  # fan_in 200, fan_out 1500
LAWS = {
    "kaiming_uniform": (1 / math.sqrt(200) / math.sqrt(3), 1 / math.sqrt(200)),
    "kaiming_normal": (math.sqrt(2 / 200), math.inf),
    "xavier_uniform": (math.sqrt(2 / 1700), math.sqrt(6 / 1700)),
    "xavier_normal": (math.sqrt(2 / 1700), math.inf),
    "normal:0.02": (0.02, math.inf),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("recipe", LAWS)
def test_recipes_have_their_deviations(recipe, dtype):
    deviation, bound = LAWS[recipe]
    found = draw(f"inits:{recipe},3", np.zeros(SHAPE, dtype))
    assert found.dtype == dtype
    wide = found.astype(np.float64)
    assert wide.std() == pytest.approx(deviation, rel=0.02)
    assert abs(wide.mean()) < 4 * deviation / math.sqrt(wide.size)
    assert np.abs(wide).max() <= bound * 1.004
    other = draw(f"inits:{recipe},3", np.zeros(SHAPE, dtype), number=1)
    assert (found != other).mean() > 0.9


def test_uniform_weights_lie_on_the_grid_of_pytorch():
    """Of 24 random bits; the law of each is the one of `torch.nn.init`, whose bits are others."""
    torch = pytest.importorskip("torch")
    weights = torch.nn.Linear(256, 4000).weight.detach().numpy()
    found = draw("inits:kaiming_uniform,2", weights)
    zeros = [np.mean(each.view(np.uint32) & 31 == 0) for each in (weights, found)]
    assert zeros[0] == pytest.approx(zeros[1], abs=0.003)
    for share in (0.01, 0.3, 0.9):
        assert np.quantile(found, share) == pytest.approx(np.quantile(weights, share), abs=2e-4)
    kt = [kolmo.estimate(each, "kt").bits_per_weight for each in (weights, found)]
    assert kt[0] == pytest.approx(kt[1], abs=0.01)


def test_biases_are_as_wide_as_the_weight_beside_them():
    source = {
        "fc.weight": random().normal(size=(3000, 64)).astype(np.float32),
        "fc.bias": np.ones(3000, np.float32),
        "norm.weight": np.full(64, 2.0, np.float32),
    }
    checkpoint = kolmo.open_checkpoint(source)
    null = get_null("inits:kaiming_uniform,2").bound(checkpoint)
    drawn = {name: null.draw(t, 0, 0).drawn.read() for name, t in checkpoint.items()}
    assert np.abs(drawn["fc.bias"]).max() == pytest.approx(1 / 8, rel=0.01)
    assert np.abs(drawn["fc.bias"]).max() <= 1 / 8
    assert drawn["norm.weight"].tolist() == source["norm.weight"].tolist()
    normal = get_null("inits:kaiming_normal,2").bound(checkpoint)
    assert (normal.draw(checkpoint["fc.bias"], 0, 0).drawn.read() == 1).all()


def test_each_checkpoint_of_a_pattern_is_a_draw(tmp_path):
    inits = [random(n).normal(size=(30, 40)).astype(np.float32) for n in range(4)]
    for number, weights in enumerate(inits):
        np.savez(tmp_path / f"init,{number}@x.npz", w=weights)
    null = get_null(f"inits:{tmp_path}/init*.npz")
    assert str(null) == f"inits:{tmp_path}/init*.npz"
    assert null.count(5) == 4
    trained = np.round(inits[0], 1)
    tensor = array_tensor("w", trained)
    for number, weights in enumerate(inits):
        drawn = null.draw(tensor, number, 0).drawn
        assert (drawn.read() == weights).all()
    with pytest.raises(NotApplicableError, match="has no tensor 'v'"):
        null.draw(array_tensor("v", trained), 0, 0)


def test_the_ensemble_has_its_own_number_of_draws_and_a_t(tmp_path):
    for number in range(5):
        np.savez(tmp_path / f"{number}.npz", w=random(number).normal(size=(30, 40)))
    trained = np.round(random(9).normal(size=(30, 40)), 1)
    run = {"quantizers": ["native"], "estimators": ["zstd:3"], "scope": "model"}
    nulls = [f"inits:{tmp_path}/*.npz", "inits:normal:1.0,39"]
    files, seeded = kolmo.analyze({"w": trained}, nulls=nulls, draws=7, **run).table.itertuples()
    assert (files.null_draws, seeded.null_draws) == (5, 39)
    bits = [kolmo.estimate(np.load(tmp_path / f"{n}.npz")["w"], "zstd:3").bits for n in range(5)]
    t = abs(files.bits - np.mean(bits)) / (np.std(bits, ddof=1) * math.sqrt(1 + 1 / 5))
    assert files.p_t == pytest.approx(1 - student_share(t, 4))
    assert math.isnan(files.p)
    assert files.p_missing == "5 draws cannot reach .05, 39 can"
    assert seeded.p == pytest.approx(permutation_p(0.0, [1.0] * 39))


def test_kept_results_never_stand_for_other_checkpoints(tmp_path):
    """Files that are there anew are measured anew."""
    run = {"estimators": ["zstd:3"], "scope": "model", "store": tmp_path / "s.sqlite"}
    weights, means = random().normal(size=(30, 40)), []
    for repeat in (1, 2):
        for number in range(3):
            np.savez(tmp_path / f"{number}.npz", w=np.repeat(weights[:, : 40 // repeat], repeat, 1))
        report = kolmo.analyze({"w": weights}, nulls=[f"inits:{tmp_path}/*.npz"], **run)
        means.append(report.table.null_bits.iloc[0])
    assert means[1] < means[0] / 1.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("inits", "needs checkpoints or a recipe"),
        ("inits:nowhere/*.npz", "names nothing"),
        ("inits:normal,20", "normal has a deviation"),
        ("inits:kaiming_uniform:2,20", "normal has a deviation"),
        ("inits:kaiming_uniform,1", "two draws at least"),
        ("inits:kaiming_uniform,many", "not inits:RECIPE,NUMBER"),
    ],
)
def test_specs_that_mean_nothing(spec, message):
    with pytest.raises(InputError, match=message):
        get_null(spec)
