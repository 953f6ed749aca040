"""momos.wrap where people train: each way of building and training a model ends in an exact mosaic.

Every case makes a model, trains it for some steps, freezes it, and hands back what shall be equal:
the frozen model's state and outputs, and those of the mosaic that was read from its file.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations

import kolmo
import momos
from kolmo.errors import InputError
from momos import LearnedMosaic, MoMos, Mosaic, SampledMosaic, freeze, wrap
from momos.lab.qat import quantize_in_training
from momos.tensors import LEARNER, save_safetensors

STEPS = 8
CONFIG = LearnedMosaic(motifs=5, rate=0.3, every=2)
SAMPLED = SampledMosaic(motifs=9, every=3, zero_motif=False)  # a row of zeros has no direction


class Net(nn.Module):
    """A model of parts, which may be called alone."""

    def __init__(self, width=16):
        super().__init__()
        self.features = nn.Linear(8, width)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        return self.head(torch.relu(self.features(x)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(12, 8)
        self.mid = nn.Linear(8, 8)
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.emb.weight

    def forward(self, tokens):
        return self.out(torch.tanh(self.mid(self.emb(tokens)))).mean(dim=1)


class Adapter(nn.Module):
    """A LoRA: a frozen base, and two small matrices that train."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(8, 64)
        self.base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(2, 8) * 0.1)
        self.b = nn.Parameter(torch.randn(64, 2) * 0.1)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(torch.relu(self.base(x) + x @ self.a.T @ self.b.T))


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cell = kind(8, 6, batch_first=True, **options)
        self.head = nn.Linear(12 if options.get("bidirectional") else 6, 4)

    def forward(self, x):
        return self.head(self.cell(x[:, None].expand(-1, 3, -1))[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x[:, None].expand(-1, 3, -1)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.layer(x[:, None].expand(-1, 3, -1)).mean(dim=1))


class OwnParameter(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x * self.gain


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([torch.randn(8, 16) * 0.3, torch.randn(16, 4) * 0.3])
        self.named = nn.ParameterDict({"bias": torch.zeros(4)})

    def forward(self, x):
        return torch.relu(x @ self.weights[0]) @ self.weights[1] + self.named["bias"]


class Checkpointed(Net):
    def forward(self, x):
        hidden = torch.utils.checkpoint.checkpoint(self.features, x, use_reentrant=False)
        return self.head(torch.relu(hidden))


def conv(groups=1):
    return nn.Sequential(
        nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 8, 3, padding=1, groups=groups), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def normed():
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def constrained(constraint):
    return nn.Sequential(constraint(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 4))


def shared_module():
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 4))


def data(count=32):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(1))
    return x, x[:, :4].argmax(dim=1)


def tokens():
    x = torch.randint(12, (16, 5), generator=torch.Generator().manual_seed(1))
    return x, x[:, 0]


def train(model, batch=None, steps=STEPS, optimizer=None, call=None):
    x, y = batch or data()
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy((model if call is None else call)(x).float(), y).backward()
        optimizer.step()


def require_exact(model, mosaic, fresh, x=None):
    """The file holds the frozen model, bit for bit, under the names of a model never wrapped."""
    x = data()[0] if x is None else x
    assert LEARNER not in model.__dict__
    read = Mosaic.decode(mosaic.encode(), "file")
    state, made = model.state_dict(), fresh.state_dict()
    assert list(state) == list(made)
    assert set(read.arrays()) == set(state)
    fresh.load_state_dict(read.state_dict())
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    kinds = [[type(module).__name__ for module in one.modules()] for one in (model, fresh)]
    assert kinds[0] == kinds[1]
    assert not any(hasattr(type(module), "_momos_base") for module in model.modules())
    with torch.no_grad():
        model.eval(), fresh.eval()
        assert torch.equal(model(x), fresh(x))


MODELS = {
    "plain": Net,
    "sequential": lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)),
    "sequential with a parameter of its own": OwnParameter,
    "parameter list and dict": Listed,
    "convolution": conv,
    "convolution in groups": lambda: conv(2),
    "batch norm": normed,
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru, both ways": lambda: Recurrent(nn.GRU, bidirectional=True),
    "attention": Attention,
    "transformer layer": Encoder,
    "activation checkpointing": Checkpointed,
    "a module used twice": shared_module,
    "spectral norm": lambda: constrained(parametrizations.spectral_norm),
    "weight norm": lambda: constrained(parametrizations.weight_norm),
    "orthogonal": lambda: constrained(parametrizations.orthogonal),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=lambda c: c.kind)
def test_models(make, config):
    model = make()
    wrap(model, config, steps=STEPS)
    train(model)
    require_exact(model, freeze(model), make())


def test_what_a_constraint_holds_it_holds_in_the_mosaic():
    model = constrained(parametrizations.spectral_norm)
    wrap(model, CONFIG, steps=STEPS)
    train(model, steps=STEPS)
    for _ in range(60):  # of the power iteration
        model(data()[0])
    freeze(model)
    norm = torch.linalg.matrix_norm(model[0].weight.detach(), 2)
    assert float(norm) == pytest.approx(1, abs=1e-3)


@pytest.mark.filterwarnings("ignore")  # torch's own: it is deprecated
def test_the_earlier_weight_norm():
    make = lambda: constrained(torch.nn.utils.weight_norm)  # noqa: E731
    model = make()
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    require_exact(model, freeze(model), make())


@pytest.mark.parametrize("size", [2, 4])
def test_blocks_of_a_convolution(size):
    model = conv()
    wrap(model, LearnedMosaic(block_size=size, motifs=6, rate=0.1), steps=STEPS)
    train(model)
    require_exact(model, freeze(model), conv())


# --- precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cast_before_and_while_wrapped(dtype, when):
    model = Net()
    if when == "before":
        model.to(dtype)
    wrap(model, CONFIG, steps=STEPS)
    model.to(dtype)
    x = data()[0].to(dtype)
    train(model, (x, data()[1]), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    require_exact(model, freeze(model), Net().to(dtype), x)


def test_half_while_wrapped_and_read_before_any_forward_pass():
    model = Net()
    wrap(model, CONFIG, steps=STEPS)
    model.half()
    assert model.head.weight.dtype == torch.float16


def test_autocast():
    model = Net()
    wrap(model, CONFIG, steps=STEPS)
    with torch.autocast("cpu", torch.bfloat16):
        train(model)
    require_exact(model, freeze(model), Net())


# --- optimizers and loops -------------------------------------------------------------------


def optimizers(model):
    weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
    biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
    assert (len(weights), len(biases)) == (2, 2)
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0}]
    return {
        "groups by name": torch.optim.AdamW(groups, lr=1e-2),
        "fused": torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
        "momentum": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    }


@pytest.mark.parametrize("name", ["groups by name", "fused", "momentum"])
def test_optimizers(name):
    model = Net()
    wrap(model, CONFIG, steps=STEPS)
    train(model, optimizer=optimizers(model)[name])
    require_exact(model, freeze(model), Net())


def test_an_optimizer_made_before_wrapping():
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    wrap(model, CONFIG, steps=STEPS)
    before = copy.deepcopy(model.state_dict())
    train(model, optimizer=optimizer)
    assert not torch.equal(before["head.weight"], model.state_dict()["head.weight"])
    require_exact(model, freeze(model), Net())


@pytest.mark.filterwarnings("ignore:.*the model saw")  # it decides how often
def test_lbfgs():
    model, (x, y) = Net(), data()
    wrap(model, CONFIG, steps=STEPS)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
    require_exact(model, freeze(model), Net())


def test_gradient_accumulation_and_clipping():
    model, (x, y) = Net(), data()
    wrap(model, CONFIG, steps=2 * STEPS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        optimizer.zero_grad()
        for part in (slice(0, 16), slice(16, 32)):
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    require_exact(model, freeze(model), Net())


def test_a_sparse_embedding():
    def make():
        return nn.Sequential(nn.Embedding(12, 8, sparse=True), nn.Flatten(), nn.Linear(40, 12))

    model = make()
    wrap(model, CONFIG, steps=STEPS)
    train(model, tokens(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    require_exact(model, freeze(model), make(), tokens()[0])


def test_two_models_trained_together():
    first, second = Net(), Net()
    for model in (first, second):
        wrap(model, CONFIG, steps=STEPS)
    both = nn.ModuleList([first, second])
    train(both, call=lambda x: first(x) + second(x))
    state = both.state_dict()
    assert f"0.{LEARNER}.steps_seen" in state
    both.load_state_dict(state)
    for model in (first, second):
        require_exact(model, freeze(model), Net())


def test_a_part_of_a_model():
    model = nn.Sequential(Net(), nn.Linear(4, 4))
    wrap(model[0], CONFIG, steps=STEPS)
    train(model)
    require_exact(model[0], freeze(model[0]), Net())


def test_weights_of_another_model_by_functional_call():
    model, plain, x = Net(), Net(), data()[0]
    wrap(model, CONFIG, steps=STEPS)
    shown = torch.func.functional_call(model, dict(plain.named_parameters()), (x,))
    shown.sum().backward()
    assert all(p.grad is not None for p in plain.parameters())
    assert all(p.grad is None for p in model.parameters())


# --- what torch makes of models -------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after", "called before", "inner", "in place"])
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of torch's tracing
def test_compiled(when):
    torch._dynamo.reset()
    model, x = Net(), data()[0]
    if when in ("before", "called before", "inner"):
        called = torch.compile(model, backend="eager")
        if when != "before":
            called(x)
        wrap(model if when == "inner" else called, CONFIG, steps=STEPS)
    else:
        wrap(model, CONFIG, steps=STEPS)
        called = torch.compile(model, backend="eager") if when == "after" else model
        if when == "in place":
            model.compile(backend="eager")
    train(model, call=called)
    mosaic = freeze(called)
    assert list(model.state_dict()) == list(Net().state_dict())
    assert torch.equal(called(x), model.forward(x))
    if when != "in place":
        require_exact(model, mosaic, Net())


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_compiled_training_is_that_of_the_model_itself():
    torch._dynamo.reset()
    made = [Net(), Net()]
    made[1].load_state_dict(made[0].state_dict())
    mosaics = []
    for model, is_compiled in zip(made, (False, True), strict=True):
        wrap(model, CONFIG, steps=STEPS)
        train(model, call=torch.compile(model, backend="eager") if is_compiled else model)
        mosaics.append(freeze(model).encode())
    assert mosaics[0] == mosaics[1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_distributed(when):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        model = Net()
        if when == "after":
            wrap(model, CONFIG, steps=STEPS)
        parallel = nn.parallel.DistributedDataParallel(model)
        if when == "before":
            wrap(parallel, CONFIG, steps=STEPS)
        train(parallel)
        require_exact(model, freeze(parallel), Net())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("save", ["pickle", "torch.save", "deepcopy"])
def test_copies_of_a_wrapped_model(save):
    model = Net()
    wrap(model, CONFIG, steps=STEPS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, steps=3, optimizer=optimizer)
    if save == "pickle":
        copied = pickle.loads(pickle.dumps(model))
    elif save == "deepcopy":
        copied = copy.deepcopy(model)
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    assert torch.equal(copied(data()[0]), model(data()[0]))
    found = []
    for one in (model, copied):
        train(one, steps=STEPS - 4, optimizer=torch.optim.SGD(one.parameters(), lr=0.1))
        found.append(freeze(one))
        require_exact(one, found[-1], Net())
    assert found[0].encode() == found[1].encode()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("made", ["export", "script", "trace", "pickle"])
def test_a_frozen_model_is_a_plain_one(made):
    model, x = Net(), data()[0]
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    freeze(model)
    made = {
        "export": lambda: torch.export.export(model, (x,)).module(),
        "script": lambda: torch.jit.script(model),
        "trace": lambda: torch.jit.trace(model, x),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
    }[made]()
    assert torch.equal(made(x), model(x))


def test_an_average_of_weights():
    model = Net()
    wrap(model, CONFIG, steps=2 * STEPS)
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        train(model, steps=2, optimizer=optimizer)
        average.update_parameters(model)
    require_exact(model, freeze(model), Net())


# --- states ---------------------------------------------------------------------------------


def test_names_are_those_of_the_model():
    model, names = Net(), list(Net().state_dict())
    learner = wrap(model, CONFIG, steps=STEPS)
    assert [name for name, _ in model.named_parameters()] == names
    assert [name for name, _ in model.named_modules()] == [n for n, _ in Net().named_modules()]
    assert [name for name in model.state_dict() if LEARNER not in name] == names
    train(model)
    latent = model.state_dict()["head.weight"]
    assert torch.equal(latent, learner.slots[2].latent)
    assert not torch.equal(latent, model.head.weight)


@pytest.mark.parametrize("assign", [False, True])
def test_pretrained_weights_loaded_after_wrapping(assign):
    torch.manual_seed(3)
    trained = Net()
    with torch.no_grad():
        trained.head.weight.mul_(40)
    first, second = Net(), Net()
    first.load_state_dict(trained.state_dict())
    wrap(first, CONFIG, steps=STEPS)
    learner = wrap(second, CONFIG, steps=STEPS)
    assert not second.load_state_dict(trained.state_dict(), assign=assign).missing_keys
    assert float(learner.scales[2]) > 2  # those of the weights that came
    for model in (first, second):
        train(model)
    assert freeze(first).encode() == freeze(second).encode()


def test_plain_weights_in_mid_training_keep_the_step():
    model = Net()
    learner = wrap(model, CONFIG, steps=STEPS)
    train(model, steps=4)
    model.load_state_dict(Net().state_dict())
    assert learner.step == 4


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=lambda c: c.kind)
def test_a_state_resumes_bit_for_bit(config):
    x, whole = data(), Net()
    wrap(whole, config, steps=STEPS)
    begin = copy.deepcopy(whole.state_dict())
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)
    train(whole, x, 5, optimizer)
    states = copy.deepcopy(whole.state_dict())
    train(whole, x, STEPS - 5, optimizer)
    other = Net()
    wrap(other, config, steps=STEPS)
    for state, left in ((begin, STEPS), (states, STEPS - 5)):
        other.load_state_dict(state)
        train(other, x, left, torch.optim.SGD(other.parameters(), lr=0.1))
    assert freeze(other).encode() == freeze(whole).encode()


def test_a_damaged_state_is_torchs_error():
    model = Net()
    wrap(model, CONFIG, steps=STEPS)
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.weight"):
        model.load_state_dict({n: t for n, t in Net().state_dict().items() if n != "head.weight"})


# --- tied weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CONFIG, SampledMosaic(motifs=9)], ids=lambda c: c.kind)
def test_tied_weights_are_one_tensor_under_both_names(config, tmp_path):
    model = Tied()
    wrap(model, config, steps=STEPS)
    train(model, tokens())
    assert model.out.weight is not None
    mosaic = freeze(model)
    assert mosaic.aliases == {"out.weight": "emb.weight"}
    assert model.out.weight is model.emb.weight
    require_exact(model, mosaic, Tied(), tokens()[0])
    checkpoint = kolmo.open_checkpoint(mosaic.save(tmp_path / "tied.mosaic"))
    assert [entry.reason for entry in checkpoint.skipped] == ["tied to 'emb.weight', counted once"]
    for name, tensor in checkpoint.items():
        assert np.array_equal(tensor.read(), model.state_dict()[name].numpy())
    untied = Mosaic.from_model({n: t.clone() for n, t in model.state_dict().items()}, 1)
    assert mosaic.partition.numel == untied.partition.numel - 12 * 8


def test_a_tied_mosaic_is_expanded_under_both_names(tmp_path):
    mosaic = Mosaic.from_model(Tied(), 1)
    path = save_safetensors(tmp_path / "x.safetensors", mosaic.state_dict(), {})
    stored = safetensors.torch.load_file(path)
    assert torch.equal(stored["out.weight"], stored["emb.weight"])
    assert sorted(stored) == sorted(Tied().state_dict())


def test_tied_weights_left_out_are_dense_once():
    model = Tied()
    wrap(model, LearnedMosaic(motifs=5, exclude=("emb.weight",)), steps=STEPS)
    train(model, tokens())
    mosaic = freeze(model)
    assert set(mosaic.dense) == {"emb.weight"}
    require_exact(model, mosaic, Tied(), tokens()[0])


def test_tied_weights_of_a_projected_model():
    model = Tied()
    projector = MoMos(model, SampledMosaic(motifs=9))
    projector.project()
    require_exact(model, projector.mosaic(), Tied(), tokens()[0])
    require_exact(model, Mosaic.from_model(model), Tied(), tokens()[0])


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_a_tied_language_model():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=8, use_cache=False
    )
    model = transformers.GPT2LMHeadModel(config)
    wrap(model, LearnedMosaic(motifs=5, rate=0.3, policy="matrices"), steps=3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    text = torch.randint(20, (2, 8))
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=text, labels=text).loss.backward()
        optimizer.step()
    mosaic = freeze(model)
    assert mosaic.aliases == {"lm_head.weight": "transformer.wte.weight"}
    fresh = transformers.GPT2LMHeadModel(config)
    fresh.load_state_dict(Mosaic.decode(mosaic.encode(), "file").state_dict())
    assert torch.equal(fresh.eval()(text).logits, model.eval()(text).logits)


def test_a_square_tensor_and_its_transpose_are_two():
    square = torch.arange(9.0).reshape(3, 3)
    mosaic = Mosaic.from_model({"a": square, "b": square.T, "c": square}, 3)
    assert mosaic.aliases == {"c": "a"}
    assert torch.equal(mosaic.state_dict()["b"], square.T)


# --- adapters -------------------------------------------------------------------------------


def test_the_frozen_base_of_adapters_is_left_out_and_named(tmp_path):
    model = Adapter()
    base = model.base.weight.clone()
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    with pytest.warns(UserWarning, match=r"2 \(base\.weight, base\.bias\)"):
        mosaic = freeze(model)
    assert torch.equal(model.base.weight, base)
    read = Mosaic.load(mosaic.save(tmp_path / "adapter.mosaic"))
    assert read.absent == ("base.weight", "base.bias")
    assert "without 2 parameters" in repr(read)
    assert set(read.arrays()) == {"a", "b", "head.weight", "head.bias"}
    fresh = Adapter()
    fresh.base.load_state_dict(model.base.state_dict())
    fresh.load_state_dict(read.state_dict(), strict=False)
    assert torch.equal(fresh(data()[0]), model(data()[0]))


@pytest.mark.parametrize("whole", [False, True])
def test_whether_the_base_is_wanted_may_be_said(whole):
    model = Adapter()
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    mosaic = freeze(model, whole=whole)
    assert ("base.weight" in mosaic.arrays()) == whole
    assert bool(mosaic.absent) != whole


# --- notes ----------------------------------------------------------------------------------


def test_parts_called_alone_are_told():
    model = Net()
    wrap(model, CONFIG, steps=20)
    train(model, steps=20, call=lambda x: model.head(torch.relu(model.features(x))))
    with pytest.warns(UserWarning, match=r"saw 0 of the 20 steps.*not its parts"):
        freeze(model)


def test_a_sampler_that_saw_nothing_is_told():
    model = Net()
    wrap(model, SampledMosaic(motifs=5))
    with pytest.warns(UserWarning, match=r"no training step was seen.*not its parts"):
        freeze(model)


def test_fewer_steps_than_told_are_told():
    model = Net()
    wrap(model, LearnedMosaic(rate=6.0, ramp=1.0), steps=20)
    train(model, steps=4)
    with pytest.warns(UserWarning, match=r"4 of the 20 steps.*rate reached 1\.2 of 6"):
        freeze(model)


def test_as_many_steps_as_told_are_not():
    model = Net()
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    with warnings.catch_warnings(record=True) as told:
        freeze(model)
    assert told == []


# --- the door -------------------------------------------------------------------------------


class Meta(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 4, device="meta"))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Net, {"config": {"rate": 1}}, "LearnedMosaic"),
        (Net, {"config": 3.0}, "LearnedMosaic"),
        (Net, {"config": LearnedMosaic}, "LearnedMosaic"),
        (Net, {"steps": "20"}, "steps is an integer, not '20'"),
        (Net, {"steps": 1.5}, "steps is an integer"),
        (Net, {"steps": 0}, "at least one step"),
        (Net, {"steps": None}, "give steps"),
        (Net, {"seed": "zero"}, "seed"),
        (dict, {}, "takes a torch.nn.Module, not dict"),
        (lambda: Net().state_dict(), {}, "takes a torch.nn.Module"),
        (lambda: torch.jit.script(Net()), {}, "TorchScript"),
        (lambda: nn.LazyLinear(4), {}, "'weight' has no shape yet"),
        (Meta, {}, "'weight' is on the meta device"),
        (nn.ReLU, {}, "no trainable parameter"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_cannot_be_wrapped_is_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        wrap(make(), **{"steps": STEPS, **options})


def test_wrapping_twice_and_freezing_what_is_not_wrapped():
    model = Net()
    with pytest.raises(InputError, match="not wrapped"):
        freeze(model)
    wrap(model, CONFIG, steps=STEPS)
    with pytest.raises(InputError, match="wrapped already"):
        wrap(model, CONFIG, steps=STEPS)
    train(model)
    freeze(model)
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    require_exact(model, freeze(model), Net())


def test_quantized_in_training_and_wrapped():
    model = Net()
    quantize_in_training(model, 4)
    wrap(model, CONFIG, steps=STEPS)
    train(model)
    mosaic = freeze(model)
    assert sorted(mosaic.arrays()) == sorted(Net().state_dict())
    latent = dict(model.named_parameters())["head.parametrizations.weight.original"]
    assert np.array_equal(mosaic.arrays()["head.weight"], latent.detach().numpy())


def test_the_package_says_what_it_has():
    assert {"wrap", "freeze"} <= set(dir(momos))
