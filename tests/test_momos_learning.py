"""Learned mosaics: costs against brute force, straight-through gradients, exact resume, DDP."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import momos
from kolmo.errors import InputError
from momos import LearnedMosaic, MoMos, Mosaic, ProjectEvery, SampledMosaic, freeze, wrap
from momos.checkpoint import project_checkpoint
from momos.lab.config import TrainConfig
from momos.lab.models import MLP
from momos.lab.qat import quantized_state_dict
from momos.nearest.exact import nearest_motifs
from momos.wrapping import mosaic_of

pytestmark = pytest.mark.filterwarnings("ignore:.*the model saw")  # freezes before the last step


def data(seed=0, count=64, features=12):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, features, generator=random)
    return x, (x[:, :4].argmax(dim=1))


def fit(model, steps, x, y, optimizer=None):
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return optimizer


def test_without_a_rate_it_is_the_nearest_motif():
    model = MLP([12, 16, 4])
    learner = wrap(model, LearnedMosaic(block_size=4, motifs=8, rate=0), steps=10)
    motifs, mosaic = learner.motifs.numpy(), mosaic_of(model)
    blocks = learner._scaled_blocks()
    found = np.concatenate(
        [slot.indices[: slot.latent.numel() // 4].numpy() for slot in learner.slots]
    )
    assert np.array_equal(found, nearest_motifs(blocks, motifs))
    assert len(mosaic.motifs) == 8


@pytest.mark.parametrize("block_size", [1, 3, 4])
@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_the_forward_pass_sees_the_mosaic_and_freezing_keeps_it(tmp_path, block_size, scale):
    x, y = data()
    model = MLP([12, 24, 4])
    wrap(
        model,
        LearnedMosaic(block_size=block_size, motifs=6, rate=0.3, scale=scale, every=5),
        steps=30,
    )
    fit(model, 30, x, y)
    model.eval()
    with torch.no_grad():
        seen = model(x)
    assert sorted(quantized_state_dict(model)) == sorted(MLP([12, 24, 4]).state_dict())
    mosaic = freeze(model)
    assert torch.equal(model(x), seen)
    assert not hasattr(model, momos.tensors.LEARNER)
    fresh = MLP([12, 24, 4])
    fresh.load_state_dict(Mosaic.load(mosaic.save(tmp_path / "m.mosaic")).state_dict())
    assert torch.equal(fresh(x), seen)
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)
    assert (mosaic.motifs[0] == 0).all()
    assert mosaic.motifs.dtype == np.float16


def test_gradients_pass_straight_through():
    x, y = data()
    model = MLP([12, 8, 4])
    wrap(model, LearnedMosaic(motifs=5, rate=0.5), steps=10)
    plain = MLP([12, 8, 4])
    nn.functional.cross_entropy(model(x), y).backward()
    plain.load_state_dict(quantized_state_dict(model))
    nn.functional.cross_entropy(plain(x), y).backward()
    latent = dict(model.named_parameters())["layers.0.weight"]
    assert torch.equal(latent.grad, plain.layers[0].weight.grad)
    assert not torch.equal(latent, plain.layers[0].weight)


def test_motifs_are_the_means_of_their_blocks_without_padding():
    model = nn.Sequential(nn.Linear(5, 3))
    learner = wrap(model, LearnedMosaic(block_size=2, motifs=3, precision="float32"), steps=10)
    learner.refresh()
    blocks = learner._scaled_blocks()
    assert len(blocks) == 15 // 2 + 3 // 2
    whole = np.concatenate(
        [slot.indices[: slot.latent.numel() // 2].numpy() for slot in learner.slots]
    )
    learner.refit(0.0)
    for motif in range(1, 3):
        if (whole == motif).any():
            expected = blocks[whole == motif].astype(np.float64).mean(axis=0)
            assert learner.motifs[motif].numpy() == pytest.approx(expected, rel=1e-5)
    assert (learner.motifs[0] == 0).all()


def test_a_higher_rate_makes_a_smaller_file():
    x, y = data(count=200)
    sizes = []
    for rate in (0.0, 3.0, 12.0):
        model = MLP([12, 64, 64, 4])
        wrap(model, LearnedMosaic(rate=rate), steps=100)
        fit(model, 100, x, y)
        sizes.append(freeze(model).code_length())
    assert sizes[0] > 1.5 * sizes[1]
    assert sizes[1] > 1.1 * sizes[2]


def test_a_resumed_run_gives_the_same_bits():
    x, y = data()

    def begin():
        model = MLP([12, 24, 4])
        wrap(model, LearnedMosaic(motifs=4, rate=1, every=7), steps=40)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2)

    whole, optimizer = begin()
    fit(whole, 40, x, y, optimizer)
    first, optimizer = begin()
    fit(first, 23, x, y, optimizer)
    states = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
    second, optimizer = begin()
    second.load_state_dict(states[0])
    optimizer.load_state_dict(states[1])
    fit(second, 17, x, y, optimizer)
    assert freeze(second).encode() == freeze(whole).encode()


def test_looking_at_the_model_changes_nothing():
    x, y = data()
    found = []
    for look in (False, True):
        model = MLP([12, 24, 4])
        wrap(model, LearnedMosaic(rate=1), steps=20)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            if look:
                model.eval()
                model(x)
                mosaic_of(model)
                model.train()
            fit(model, 1, x, y, optimizer)
        found.append(freeze(model).encode())
    assert found[0] == found[1]


def test_two_forward_passes_may_precede_a_backward_pass():
    x, y = data()
    model, plain = MLP([12, 8, 4]), MLP([12, 8, 4])
    learner = wrap(model, LearnedMosaic(), steps=4)
    first = nn.functional.cross_entropy(model(x), y)
    states = [quantized_state_dict(model)]
    second = nn.functional.cross_entropy(model(-x), y)  # at another rate: other weights
    states.append(quantized_state_dict(model))
    assert not torch.equal(*(state["layers.0.weight"] for state in states))
    (first + second).backward()
    for state, sign in zip(states, (1, -1), strict=True):
        plain.load_state_dict(state)
        nn.functional.cross_entropy(plain(sign * x), y).backward()
    found = dict(model.named_parameters())["layers.0.weight"].grad
    assert torch.allclose(found, plain.layers[0].weight.grad, atol=1e-7)
    assert learner.step == 2


def test_weights_that_diverge_are_an_error_whenever_they_are_looked_at():
    x, y = data()
    model = MLP([12, 8, 4])
    wrap(model, LearnedMosaic(every=7), steps=20)
    fit(model, 10, x, y)
    with torch.no_grad():
        dict(model.named_parameters())["layers.1.weight"][0, 0] = float("inf")
    with pytest.raises(InputError, match=r"layers\.1\.weight.*NaN or infinite"):
        freeze(model)


def test_a_copy_is_a_model_of_its_own():
    x, y = data()
    model = MLP([12, 16, 4])
    wrap(model, LearnedMosaic(rate=0.5), steps=40)
    optimizer = fit(model, 10, x, y)
    copied = copy.deepcopy(model)
    before = quantized_state_dict(copied)
    fit(model, 10, x, y, optimizer)
    mosaics = [freeze(model), freeze(copied)]
    found = copied.state_dict()
    assert not torch.equal(found["layers.0.weight"], model.state_dict()["layers.0.weight"])
    for name, tensor in mosaics[1].state_dict().items():
        assert torch.equal(tensor, found[name])
    assert sorted(before) == sorted(found)
    assert type(model.layers[0]) is type(copied.layers[0]) is nn.Linear


def test_pruning_keeps_the_largest():
    x, y = data()
    model = MLP([12, 64, 4])
    wrap(model, LearnedMosaic(motifs=3, sparsity=0.9, every=1), steps=60)
    fit(model, 60, x, y)
    zeros = sum(int((tensor == 0).sum()) for tensor in mosaic_of(model).state_dict().values())
    total = sum(tensor.numel() for tensor in MLP([12, 64, 4]).state_dict().values())
    assert zeros / total == pytest.approx(0.9, abs=0.02)


def test_pruning_by_price_silences_rows_and_columns():
    x, y = data()
    silent = []
    for rate in (0.0, 1.0):
        model = MLP([12, 64, 4])
        wrap(model, LearnedMosaic(motifs=3, sparsity=0.9, rate=rate, every=1), steps=60)
        fit(model, 60, x, y)
        mosaic = freeze(model)
        assert (mosaic.indices == 0).mean() == pytest.approx(0.9, abs=0.02)
        matrix = mosaic.arrays()["layers.0.weight"]
        silent.append(int((matrix == 0).all(axis=1).sum()) + int((matrix == 0).all(axis=0).sum()))
    assert silent[1] > silent[0]


@pytest.mark.parametrize(("every", "steps"), [(1, 5), (2, 5), (3, 6), (9, 4)])
@pytest.mark.parametrize("selection", ["sample", "kmeans"])
def test_three_lines_sample_a_mosaic_as_the_hook_does(every, steps, selection):
    x, y = data()
    config = SampledMosaic(selection=selection, motifs=7, every=every)
    wrapped, hooked = MLP([12, 16, 4]), MLP([12, 16, 4])
    wrap(wrapped, config, seed=3)
    fit(wrapped, steps, x, y)
    mosaic = freeze(wrapped)
    optimizer = torch.optim.AdamW(hooked.parameters(), lr=1e-2, weight_decay=0.1)
    projector = MoMos(hooked, SampledMosaic(motifs=7, selection=selection), seed=3)
    with ProjectEvery(optimizer, projector, every):
        fit(hooked, steps, x, y, optimizer)
    assert mosaic.encode() == projector.mosaic().encode()
    assert list(wrapped.state_dict()) == list(hooked.state_dict())
    for name, tensor in hooked.state_dict().items():
        assert torch.equal(wrapped.state_dict()[name], tensor)


def test_a_resumed_sampled_run_gives_the_same_bits():
    x, y = data()

    def begin():
        model = MLP([12, 24, 4])
        wrap(model, SampledMosaic(motifs=9, every=4))
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2)

    whole, optimizer = begin()
    fit(whole, 16, x, y, optimizer)
    for stop in (8, 11):
        first, optimizer = begin()
        fit(first, stop, x, y, optimizer)
        states = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
        second, optimizer = begin()
        second.load_state_dict(states[0])
        optimizer.load_state_dict(states[1])
        fit(second, 16 - stop, x, y, optimizer)
        frozen = freeze(copy.deepcopy(whole))
        assert freeze(second).encode() == frozen.encode()


def test_a_loop_of_ones_own_counts_steps():
    with pytest.raises(InputError, match="no epochs"):
        wrap(MLP([12, 8, 4]), SampledMosaic(unit="epoch"))
    with pytest.raises(InputError, match="how many steps"):
        wrap(MLP([12, 8, 4]), LearnedMosaic())


def test_norm_layers_and_buffers_are_kept_dense_by_policy():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    learner = wrap(model, LearnedMosaic(policy="no-norms", motifs=3), steps=4)
    assert {entry.name for entry in learner.skipped} == {"1.weight", "1.bias"}
    model(torch.randn(3, 2, 3, 3)).sum().backward()
    mosaic = freeze(model)
    assert {"1.weight", "1.bias", "1.running_mean", "1.num_batches_tracked"} <= set(mosaic.dense)
    model.load_state_dict(mosaic.state_dict())
    matrices = wrap(model, LearnedMosaic(policy="matrices", motifs=3), steps=4)
    assert set(matrices.partition.shapes) == {"0.weight", "3.weight"}


def test_half_precision_comes_back_bit_for_bit():
    model = MLP([12, 8, 4]).to(torch.bfloat16)
    wrap(model, LearnedMosaic(motifs=4), steps=4)
    mosaic = freeze(model)
    for name, tensor in mosaic.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, model.state_dict()[name])


def test_a_model_of_zeros_can_be_wrapped():
    model = nn.Linear(4, 4)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    wrap(model, LearnedMosaic(motifs=2), steps=4)
    assert (freeze(model).indices == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block size"),
        ({"motifs": 1}, "motifs"),
        ({"every": 0}, "every"),
        ({"rate": -1.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"ramp": 1.5}, "ramp"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"sparsity": 0.5, "block_size": 2}, "sparsity"),
        ({"scale": "row"}, "scale"),
        ({"precision": "float8"}, "precision"),
        ({"policy": "some"}, "policy"),
        ({"motifs": 3, "capacity": 0.1}, "not both"),
    ],
)
def test_settings_of_learned_mosaics_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LearnedMosaic(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 0}, "block size"),
        ({"motifs": 0}, "motifs"),
        ({"every": 0}, "every"),
        ({"capacity": 0.0}, "capacity"),
        ({"selection": "learned"}, "selection"),
        ({"unit": "week"}, "unit"),
        ({"policy": "some"}, "policy"),
        ({"motifs": 3, "capacity": 0.1}, "not both"),
    ],
)
def test_settings_of_sampled_mosaics_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SampledMosaic(**options)


def test_no_kind_of_mosaic_has_settings_of_the_other():
    kinds = (SampledMosaic, LearnedMosaic)
    sampled, learned = ({field.name for field in dataclasses.fields(kind)} for kind in kinds)
    assert sampled - learned == {"selection", "zero_motif", "unit"}
    assert learned - sampled == {"bits", "rate", "sparsity", "ramp", "scale", "precision"}


def test_settings_left_open_are_told_as_the_values_that_they_take():
    assert SampledMosaic().settings()["capacity"] == 0.01
    assert SampledMosaic(motifs=3).settings()["capacity"] is None
    assert (LearnedMosaic().settings()["motifs"], LearnedMosaic().settings()["rate"]) == (5, 6.0)
    assert LearnedMosaic(capacity=0.1).settings()["motifs"] is None
    assert LearnedMosaic(sparsity=0.5).settings()["rate"] == 0.0


@pytest.mark.parametrize("config", [{"rate": 1}, 3.0, "learned", LearnedMosaic])
def test_what_is_no_mosaics_settings_is_refused_by_both_names(config):
    both = r"momos\.SampledMosaic or a momos\.LearnedMosaic, not"
    for use in (
        lambda: wrap(MLP([12, 8, 4]), config, steps=3),
        lambda: project_checkpoint({"w": np.ones((4, 4), np.float32)}, config),
        lambda: TrainConfig(mosaic=config),
    ):
        with pytest.raises(InputError, match=both):
            use()


def test_models_that_cannot_learn_a_mosaic_are_refused():
    model = MLP([12, 8, 4])
    with pytest.raises(InputError, match="not wrapped"):
        freeze(model)
    with pytest.raises(InputError, match="at least one step"):
        wrap(model, steps=0)
    with pytest.raises(InputError, match="do not end with its channels"):
        wrap(model, LearnedMosaic(block_size=5, scale="channel"), steps=1)
    with pytest.raises(InputError, match="leave none"):
        wrap(model, LearnedMosaic(include="nothing.*"), steps=1)
    with pytest.raises(InputError, match="motifs were asked for"):
        wrap(nn.Linear(1, 1), LearnedMosaic(motifs=5), steps=1)
    wrap(model, steps=1)
    with pytest.raises(InputError, match="wrapped already"):
        wrap(model, steps=1)
    broken = MLP([12, 8, 4])
    with torch.no_grad():
        broken.layers[0].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"layers\.0\.weight.*NaN"):
        wrap(broken, steps=1)


DISTRIBUTED = """
import hashlib
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import momos

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))
momos.wrap(model, momos.LearnedMosaic(motifs=4, rate=1.0, every=5), steps=30)
parallel = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
random = torch.Generator().manual_seed(rank)  # each rank has its own data
for _ in range(30):
    x = torch.randn(16, 12, generator=random)
    optimizer.zero_grad()
    nn.functional.cross_entropy(parallel(x), x[:, :4].argmax(dim=1)).backward()
    optimizer.step()
digest = hashlib.sha256(momos.freeze(model).encode()).hexdigest()
(Path(__file__).parent / f"rank{rank}").write_text(digest)
dist.destroy_process_group()
"""


def test_all_ranks_hold_the_same_mosaic(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DISTRIBUTED)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert len(first) == 64
    assert first == second


@pytest.mark.parametrize("config", [LearnedMosaic(rate=2.0), LearnedMosaic(sparsity=0.8, rate=0.3)])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_model_that_moves_to_a_gpu_is_learned_there(config):
    def learned(device):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
        x, y = torch.randn(64, 8), torch.arange(64) % 3
        learner = wrap(model, config, steps=50)
        model.to(device)
        fit(model, 50, x.to(device), y.to(device))
        assert {slot.indices.device.type for slot in learner.slots} == {device}
        mosaic = freeze(model)
        state = mosaic.state_dict()
        assert all(torch.equal(state[n], t.cpu()) for n, t in model.state_dict().items())
        return mosaic

    here, there = learned("cpu"), learned("cuda")
    assert (here.indices == there.indices).mean() > 0.9  # sums run in another order
