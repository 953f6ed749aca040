"""The projection against brute force, exact rational arithmetic and the published formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kolmo.errors import InputError
from momos.checkpoint import project_checkpoint
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.models import MLP
from momos.mosaic.blocks import Partition
from momos.mosaic.mosaic import Mosaic
from momos.nearest.exact import nearest_motifs
from momos.sampled import projection
from momos.sampled.projection import MoMos, project_tensors

# --- the partition ----------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=4),
    st.integers(1, 7),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_cut_and_join_are_inverse_and_padding_is_zero(shapes, size, dtype):
    random = np.random.default_rng(0)
    tensors = {str(i): random.normal(size=s).astype(dtype) for i, s in enumerate(shapes)}
    partition = Partition({name: array.shape for name, array in tensors.items()}, size)
    blocks = partition.cut(tensors)
    assert blocks.shape == (sum(-(-t.size // size) for t in tensors.values()), size)
    assert blocks.size - np.count_nonzero(blocks) >= blocks.size - partition.numel
    for number, numel in partition.padded():
        assert not blocks[number, numel:].any()
        assert blocks[number, :numel].all()
    joined = partition.join(blocks)
    assert all(np.array_equal(joined[name], tensors[name]) for name in tensors)


# --- what a projection does -------------------------------------------------------------------


def test_a_projection_looks_for_motifs_where_the_model_is(monkeypatch):
    asked = []
    monkeypatch.setattr(
        projection, "_nearest", lambda b, m, d: asked.append(d) or nearest_motifs(b, m)
    )
    MoMos(nn.Linear(8, 4), SampledMosaic(motifs=3)).project()
    assert [device.type for device in asked] == ["cpu"]


def project_by_hand(tensors, motifs, size):
    """The paper's projection, block by block in Python."""
    changed, distortion, after = 0, 0.0, {}
    for name, array in tensors.items():
        flat = array.reshape(-1).astype(np.float64)
        new = flat.copy()
        for start in range(0, flat.size, size):
            block = np.zeros(size)
            block[: flat[start : start + size].size] = flat[start : start + size]
            motif = motifs[((motifs - block) ** 2).sum(axis=1).argmin()]
            new[start : start + size] = motif[: flat[start : start + size].size]
        changed += int((new != flat).sum())
        distortion += float(((new - flat) ** 2).sum())
        after[name] = new.reshape(array.shape)
    return after, changed, distortion


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("zero_motif", [True, False])
def test_projection_by_hand(size, zero_motif):
    random = np.random.default_rng(7)
    tensors = {n: random.normal(size=s).astype(np.float32) for n, s in [("w", (5, 3)), ("b", (5,))]}
    config = SampledMosaic(block_size=size, motifs=3, zero_motif=zero_motif)
    mosaic, stats = project_tensors(tensors, config, np.random.default_rng(0))
    after, changed, distortion = project_by_hand(tensors, mosaic.motifs, size)
    for name, array in mosaic.arrays().items():
        assert np.array_equal(array, after[name].astype(np.float32))
    assert (stats.changed, stats.weights, stats.motifs) == (changed, 20, 3)
    assert stats.distortion == pytest.approx(distortion, rel=1e-12)
    assert stats.blocks == -(-15 // size) + -(-5 // size)
    assert stats.motifs_used == np.unique(mosaic.indices).size


def test_motifs_are_blocks_at_distinct_positions_and_the_zero_block():
    weights = np.arange(1, 41, dtype=np.float32).reshape(5, 8)
    config = SampledMosaic(block_size=4, motifs=8)
    mosaic, _ = project_tensors({"w": weights}, config, np.random.default_rng(3))
    rows = [tuple(row) for row in weights.reshape(-1, 4).tolist()]
    drawn = [tuple(row) for row in mosaic.motifs.tolist()]
    assert drawn[0] == (0, 0, 0, 0)
    assert set(drawn[1:]) < set(rows)
    assert len(set(drawn)) == 8


def test_with_a_motif_for_every_block_nothing_changes():
    model = MLP([6, 5, 3])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stats = MoMos(model, SampledMosaic(motifs=8 + 2 + 4 + 1, zero_motif=False)).project()
    assert (stats.changed, stats.distortion, stats.blocks) == (0, 0.0, 15)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@given(st.integers(1, 6), st.integers(0, 50), st.sampled_from([np.float16, np.float32]))
@settings(max_examples=25)
def test_projecting_a_mosaic_onto_its_own_motifs_changes_nothing(size, seed, dtype):
    random = np.random.default_rng(seed)
    tensors = {
        "a": random.normal(size=(7, 3)).astype(dtype),
        "b": random.normal(size=5).astype(dtype),
    }
    config = SampledMosaic(block_size=size, motifs=4)
    mosaic, _ = project_tensors(tensors, config, random)
    again = nearest_motifs(mosaic.motifs[mosaic.indices], mosaic.motifs)
    assert np.array_equal(mosaic.motifs[again], mosaic.motifs[mosaic.indices])


def test_zero_blocks_stay_zero_and_take_the_zero_motif():
    weights = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    weights[[2, 3, 11]] = 0
    mosaic, _ = project_tensors({"w": weights}, SampledMosaic(motifs=5), np.random.default_rng(0))
    assert (mosaic.indices[[2, 3, 11]] == 0).all()
    assert not mosaic.arrays()["w"][[2, 3, 11]].any()


def test_padding_of_a_motif_never_leaks_into_weights_or_counts():
    # The last block of "b" is (5, 0, 0, 0) with its padding; motif (9, 9, 9, 9) is the only other.
    tensors = {"a": np.full(4, 9, np.float32), "b": np.full(1, 8, np.float32)}
    config = SampledMosaic(motifs=1, zero_motif=False)
    for seed in range(4):
        mosaic, stats = project_tensors(tensors, config, np.random.default_rng(seed))
        after = mosaic.arrays()
        assert after["b"].shape == (1,)
        if mosaic.motifs[0, 1] == 9:
            assert (stats.changed, stats.distortion) == (1, 1.0)
        else:  # motif (8, 0, 0, 0): the padding of b's block is no weight of a
            assert after["a"].tolist() == [8, 0, 0, 0]
            assert (stats.changed, stats.distortion) == (4, 1.0 + 3 * 81)


@pytest.mark.parametrize(
    ("config", "blocks", "count"),
    [
        (SampledMosaic(), 100_227, 1002),
        (SampledMosaic(capacity=0.05), 100_227, 5011),
        (SampledMosaic(capacity=0.1), 100_227, 10022),
        (SampledMosaic(capacity=0.01), 7, 1),
        (SampledMosaic(capacity=1.0), 7, 7),
        (SampledMosaic(motifs=7), 7, 7),
    ],
)
def test_motif_count(config, blocks, count):
    assert config.motif_count(blocks) == count


def test_kmeans_moves_motifs_nearer():
    weights = {"w": np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)}
    distortion = {}
    for selection in ("sample", "kmeans"):
        config = SampledMosaic(selection=selection, block_size=2, motifs=9)
        mosaic, stats = project_tensors(weights, config, np.random.default_rng(0))
        distortion[selection] = stats.distortion
        assert not mosaic.motifs[0].any()
    assert distortion["kmeans"] < 0.9 * distortion["sample"]


def test_kmeans_finds_separate_clusters_exactly():
    random = np.random.default_rng(0)
    centres = np.array([[0, 0], [50, 0], [0, 50]], np.float32)
    weights = centres[np.concatenate([np.arange(3), random.integers(0, 3, 300)])]
    config = SampledMosaic(selection="kmeans", block_size=2, motifs=3, zero_motif=False)
    for seed in range(20):  # some draw takes one of each cluster, and then it is exact
        _, stats = project_tensors({"w": weights}, config, np.random.default_rng(seed))
        if stats.motifs_used == 3:
            assert stats.distortion == 0
            return
    pytest.fail("no draw of 20 took one of each cluster")


# --- models -----------------------------------------------------------------------------------


def test_global_generators_and_optimizer_state_are_untouched():
    model = MLP([6, 8, 3])
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    state = [s["exp_avg"].clone() for s in optimizer.state.values()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    pointers = [p.data_ptr() for p in model.parameters()]
    MoMos(model, SampledMosaic(motifs=3)).project()
    MLP([3, 2])
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert [p.data_ptr() for p in model.parameters()] == pointers
    for before, after in zip(state, optimizer.state.values(), strict=True):
        assert torch.equal(before, after["exp_avg"])


def test_motifs_are_drawn_anew_and_by_the_seed():
    def motifs(seed):
        model = MLP([6, 8, 3])
        projector = MoMos(model, SampledMosaic(motifs=5), seed=seed)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        drawn = []
        for _ in range(2):
            model.load_state_dict(start)
            projector.project()
            drawn.append(projector.mosaic().motifs)
        return drawn

    first, second = motifs(seed=0)
    assert not np.array_equal(first, second)
    assert np.array_equal(motifs(seed=0)[1], second)
    assert not np.array_equal(motifs(seed=1)[0], first)


def test_layers_are_selected_by_globs_and_coverage_says_so():
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].bias.requires_grad = False
    stats = MoMos(model, SampledMosaic(motifs=2, exclude=("1.*",))).project()
    assert torch.equal(model[1].weight, torch.ones(4))
    assert {entry.name: entry.reason for entry in stats.skipped} == {
        "1.weight": "excluded by '1.*'",
        "1.bias": "excluded by '1.*'",
    }
    assert stats.weights == 8 * 4 + 4 + 4 * 2  # the frozen bias is not trainable
    assert stats.coverage == stats.weights / (stats.weights + 8)
    assert MoMos(model, SampledMosaic(motifs=2)).project().coverage == 1.0


def test_bfloat16_models_are_projected():
    model = MLP([8, 8, 2]).to(torch.bfloat16)
    stats = MoMos(model, SampledMosaic(motifs=3)).project()
    assert model.layers[0].weight.dtype == torch.bfloat16
    assert torch.unique(model.layers[0].weight.float().reshape(-1, 4), dim=0).shape[0] <= 3
    assert stats.changed > 0


@pytest.mark.parametrize("bits", [0.5, 2.2, 3.5])
def test_a_projection_has_about_the_bits_that_were_asked_for(bits):
    weights = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    told = []
    mosaic, stats = project_checkpoint(
        {"w": weights}, bits=bits, progress=lambda *news: told.append(news)
    )
    scales = 32 * 512  # bits
    assert (mosaic.code_length() - scales) / weights.size == pytest.approx(bits, rel=0.08)
    assert stats.relative_error < 1.6 * 4.0**-bits  # 1.42 is a uniform grid's
    assert told[-1][:2] == (19, 20)


@pytest.mark.parametrize(
    ("config", "bits", "message"),
    [
        (None, None, "bits a weight"),
        (SampledMosaic(), 2, "those of a momos.LearnedMosaic"),
        (LearnedMosaic(block_size=2), 2, "of single weights"),
        (LearnedMosaic(), 9, r"in \(0, 8\]"),
        (LearnedMosaic(), 0, r"in \(0, 8\]"),
    ],
)
def test_bits_of_what_has_none_are_refused(config, bits, message):
    with pytest.raises(InputError, match=message):
        project_checkpoint({"w": np.ones((8, 8), np.float32)}, config, bits=bits)


def test_relative_errors_of_tensors():
    weights = {"a": np.array([3, 4], np.float32), "b": np.zeros(2, np.float32)}
    _, stats = project_checkpoint(weights, SampledMosaic(block_size=2, motifs=1))
    assert stats.relative_errors == {"a": 1.0, "b": 0.0}
    assert stats.relative_error == 1.0


def test_a_checkpoint_is_projected_and_left_as_it_is():
    weights = {"w": np.ones((3, 4), np.float32), "steps": np.arange(3)}
    mosaic, stats = project_checkpoint(weights, SampledMosaic(motifs=1))
    assert not mosaic.arrays()["w"].any()
    assert weights["w"].all()
    assert mosaic.arrays()["steps"].tolist() == [0, 1, 2]
    assert (stats.coverage, stats.changed) == (1.0, 12)
    assert [entry.name for entry in stats.skipped] == ["steps"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_weights_are_an_error_that_names_the_tensor(value):
    model = MLP([4, 4, 2])
    with torch.no_grad():
        model.layers[1].weight[0, 1] = value
    before = model.layers[0].weight.detach().clone()
    with pytest.raises(InputError, match=r"layers\.1\.weight"):
        MoMos(model).project()
    assert torch.equal(model.layers[0].weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block size is at least 1"),
        ({"capacity": 0.0}, "capacity"),
        ({"capacity": 1.5}, "capacity"),
        ({"capacity": float("nan")}, "capacity"),
        ({"motifs": 0}, "motifs are at least 1"),
        ({"motifs": 2, "capacity": 0.1}, "not both"),
        ({"selection": "best"}, "sample"),
        ({"include": ["nothing*"]}, "leave none"),
        ({"include": "nothing*"}, "leave none"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        MoMos(MLP([4, 2]), SampledMosaic(**options))


def test_more_motifs_than_blocks_and_mixed_dtypes_are_errors():
    with pytest.raises(InputError, match="100 motifs"):
        MoMos(MLP([4, 2]), SampledMosaic(motifs=100)).project()
    mixed = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).half())
    with pytest.raises(InputError, match=r"'1\.weight' is float16"):
        MoMos(mixed)
    with pytest.raises(InputError, match="no trainable parameter"):
        MoMos(nn.ReLU())


def test_a_mosaic_is_not_claimed_of_changed_weights():
    model = MLP([4, 4, 2])
    projector = MoMos(model, SampledMosaic(motifs=2))
    with pytest.raises(InputError, match="call project"):
        projector.mosaic()
    projector.project()
    projector.mosaic()
    with torch.no_grad():
        model.layers[1].bias += 1
    with pytest.raises(InputError, match=r"layers\.1\.bias.*changed"):
        projector.mosaic()


# --- policies and notes -----------------------------------------------------------------------


def normed():
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        ("all", {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}),
        ("no-norms", {"0.weight", "0.bias", "3.weight", "3.bias"}),
        ("matrices", {"0.weight", "3.weight"}),
    ],
)
def test_a_policy_says_what_takes_part_and_the_rest_is_counted_dense(policy, names):
    model = normed()
    projector = MoMos(model, SampledMosaic(motifs=5, policy=policy))
    stats = projector.project()
    mosaic = projector.mosaic()
    assert set(mosaic.partition.shapes) == names
    numel = {name: parameter.numel() for name, parameter in model.named_parameters()}
    left = set(numel) - names
    assert {entry.name for entry in stats.skipped} == left
    assert stats.coverage == 1 - sum(numel[name] for name in left) / sum(numel.values())
    dense = sum(array.nbytes for array in mosaic.dense.values())
    assert mosaic.description_length() == mosaic.description_length(dense=False) + 8 * dense
    assert left <= set(mosaic.dense)


def test_checkpoints_take_the_policies_that_they_can_tell():
    state = {name: tensor.numpy() for name, tensor in normed().state_dict().items()}
    mosaic, _ = project_checkpoint(state, SampledMosaic(motifs=5, policy="matrices"))
    assert set(mosaic.partition.shapes) == {"0.weight", "3.weight"}
    with pytest.raises(InputError, match="does not say which tensors belong to norm layers"):
        project_checkpoint(state, SampledMosaic(motifs=5, policy="no-norms"))
    with pytest.raises(InputError, match="policy"):
        SampledMosaic(policy="some")


def test_norm_layers_that_shrink_are_noted():
    stats = MoMos(normed(), SampledMosaic(block_size=4, motifs=2)).project()
    assert any("'1.weight' shrank from a mean of 1 to" in note for note in stats.notes)
    dense = MoMos(normed(), SampledMosaic(block_size=4, motifs=2, policy="no-norms")).project()
    assert not any("shrank" in note for note in dense.notes)


def test_motifs_that_collapse_are_noted():
    projector = MoMos(MLP([32, 32, 4]), SampledMosaic(motifs=200))
    assert projector.project().notes == ()
    for _ in range(20):  # without training in between
        stats = projector.project()
    assert stats.motifs_used < 100
    assert f"only {stats.motifs_used} of 200 motifs are in use" in stats.notes[0]


# --- motifs fitted to a finished checkpoint ---------------------------------------------------


def trained_like(seed=0):
    """Weights that a fitting has something to do with: heavy tails, rows of different scales."""
    random = np.random.default_rng(seed)
    rows = random.uniform(0.1, 2, size=(40, 1))
    matrix = (random.standard_t(4, size=(40, 60)) * rows).astype(np.float32)
    return {"a.weight": matrix, "a.bias": random.normal(size=40).astype(np.float32)}


def test_a_higher_rate_fits_a_smaller_mosaic_farther_away():
    found = [
        project_checkpoint(trained_like(), LearnedMosaic(motifs=9, rate=rate))
        for rate in (0.0, 0.2, 1.0)
    ]
    sizes = [mosaic.code_length() for mosaic, _ in found]
    distortions = [stats.distortion for _, stats in found]
    assert sizes == sorted(sizes, reverse=True)
    assert distortions == sorted(distortions)
    assert sizes[0] > 1.5 * sizes[2]


def test_the_distortion_of_a_fitting_is_that_of_the_expanded_weights(tmp_path):
    weights = trained_like()
    mosaic, stats = project_checkpoint(weights, LearnedMosaic(block_size=2, motifs=8, rate=0.1))
    expanded = Mosaic.load(mosaic.save(tmp_path / "fitted.mosaic")).arrays()
    changes = [expanded[n].astype(np.float64) - a.astype(np.float64) for n, a in weights.items()]
    assert stats.distortion == pytest.approx(sum(float((c**2).sum()) for c in changes))
    assert stats.changed == sum(int((c != 0).sum()) for c in changes)
    assert stats.coverage == 1


def test_a_scale_for_each_channel_is_nearer_where_channels_differ():
    weights = {"w": trained_like()["a.weight"]}
    tensor, channel = (
        project_checkpoint(weights, LearnedMosaic(motifs=5, rate=0, scale=scale))[1].distortion
        for scale in ("tensor", "channel")
    )
    assert channel < 0.9 * tensor


def test_a_sparsity_is_the_share_of_zeros():
    mosaic, _ = project_checkpoint(trained_like(), LearnedMosaic(motifs=3, sparsity=0.8))
    assert (mosaic.indices == 0).mean() == pytest.approx(0.8, abs=0.01)


def test_without_scales_none_are_stored():
    mosaic, _ = project_checkpoint(trained_like(), LearnedMosaic(motifs=5, scale="none", rate=0.1))
    assert mosaic.scales == {}


def test_learned_motifs_are_no_business_of_a_projector():
    with pytest.raises(InputError, match=r"momos\.wrap"):
        MoMos(nn.Linear(4, 4), LearnedMosaic())
