"""Roles: the weights of a checkpoint are the parameters of its networks, and nothing else."""

import collections
import copy
import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_source, survey
from kolmo.checkpoints.roles import sort_out
from kolmo.errors import InputError


class Tied(nn.Module):
    """A language model whose head is its embedding, with a causal mask and positions."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(50, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.wte.weight
        self.register_buffer("position_ids", torch.arange(20)[None])
        self.register_buffer("mask", torch.tril(torch.ones(20, 20)))
        self.register_buffer("inv_freq", 1 / 10 ** torch.linspace(0, 1, 8))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.InstanceNorm2d(
            4, affine=True, track_running_stats=True),
        nn.Flatten(), nn.LazyLinear(5),
    )  # fmt: skip


def built(name):
    torch.manual_seed(0)
    model = {
        "convolutional": convolutional,
        "tied": Tied,
        "attention": lambda: nn.MultiheadAttention(16, 4),
        "recurrent": lambda: nn.LSTM(6, 8, num_layers=2, bidirectional=True),
        "spectral": lambda: nn.utils.spectral_norm(nn.Linear(9, 7)),
        "parametrized": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(9, 7)),
        "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(9, 7)),
        "pruned": pruned,
        "averaged": lambda: torch.optim.swa_utils.AveragedModel(nn.Linear(5, 4)),
    }[name]()
    if name == "convolutional":
        model(torch.zeros(2, 3, 9, 9))
    return model


def pruned():
    from torch.nn.utils import prune

    return prune.l1_unstructured(nn.Linear(9, 7), "weight", 0.5)


MODELS = ["convolutional", "tied", "attention", "recurrent", "spectral", "parametrized",
          "weight norm", "pruned", "averaged"]  # fmt: skip


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def trained(model, make, steps=2):
    """An optimizer after a few steps."""
    optimizer = make(model.parameters())
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step(lambda: torch.tensor(1.0))
    return optimizer


def totals(checkpoint):
    """Numbers left out, by role."""
    found = collections.Counter()
    for entry in checkpoint.skipped:
        found[str(entry.role)] += entry.numel
    return {role: number for role, number in found.items() if number}


def saved(contents, path):
    torch.save(contents, path)
    return path


# --- parameters and buffers -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_the_count_is_that_of_the_parameters(tmp_path, name):
    """Of a live module, its state dict in memory and in two formats."""
    model = built(name)
    state = model.state_dict()
    sources = [model, dict(state), saved(state, tmp_path / "x.pt")]
    safetensors.torch.save_file(
        {k: v.clone() for k, v in state.items()}, tmp_path / "x.safetensors"
    )
    for source in (*sources, tmp_path / "x.safetensors"):
        found = kolmo.open_checkpoint(source)
        assert found.numel == count(model), (source, found.skipped)
        entries = {*found, *(entry.name for entry in found.skipped)}
        assert entries == set(state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["convolutional", "tied", "attention", "recurrent"])
def test_a_pickled_module_tells_its_buffers(tmp_path, name):
    model = built(name)
    model.register_buffer("centres", torch.randn(6, 6))  # a buffer by no name that is known
    assert kolmo.open_checkpoint(saved(model, tmp_path / "x.pt")).numel == count(model)
    assert kolmo.open_checkpoint(model).numel == count(model)
    left = totals(kolmo.open_checkpoint(model))
    assert left["buffer"] == sum(buffer.numel() for buffer in model.buffers())


@pytest.mark.filterwarnings("ignore")
def test_programs_tell_their_buffers(tmp_path):
    """TorchScript and torch.export: a parameter called like a buffer, and a buffer like none."""
    model = Odd().eval()
    torch.jit.save(torch.jit.script(model), tmp_path / "x.pt")
    torch.export.save(torch.export.export(model, (torch.zeros(2, 9),)), tmp_path / "x.pt2")
    for name in ("x.pt", "x.pt2"):
        found = kolmo.open_checkpoint(tmp_path / name)
        assert found.numel == count(model)
        assert set(found) == {name for name, _ in model.named_parameters()}
        assert totals(found)["buffer"] == 81 + 9 + 9 + 1


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(9, 9), nn.BatchNorm1d(9))
        self.running_mean = nn.Parameter(torch.randn(9))
        self.register_buffer("centres", torch.randn(9, 9))

    def forward(self, x):
        return self.inner(x) @ self.centres + self.running_mean


NAMED = {
    "bn.running_mean": np.zeros(8), "batch_normalization/moving_variance:0": np.ones(8),
    "batch_stats.BatchNorm_0.mean": np.zeros(8), "state/batch_stats/norm/var": np.ones(8),
    "h.0.attn.bias": np.tril(np.ones((1, 1, 8, 8))), "h.0.attn.masked_bias": np.array(-1e4),
    "layers.0.rotary_emb.inv_freq": np.ones(4), "rope.freqs": np.ones(4),
    "tril": np.tril(np.ones((8, 8))), "pos_encoder.pe": None, "encoder.positional_embedding": None,
    "model_ema.num_updates": np.array(3), "alphas_cumprod": np.linspace(1, 0, 50),
    "codebook.cluster_size": np.ones(9), "ids": np.arange(9), "causal": np.ones((9, 9), bool),
    "num_batches_tracked": np.array(7), "relative_position_index": np.arange(49).reshape(7, 7),
}  # fmt: skip


def sinusoid(positions, width, halves):
    angles = np.arange(positions)[:, None] / 100 ** np.linspace(0, 1, width // 2)[None]
    sines, cosines = np.sin(angles), np.cos(angles)
    if halves:
        return np.concatenate([sines, cosines], 1)
    return np.stack([sines, cosines], 2).reshape(positions, width)


NAMED["pos_encoder.pe"] = sinusoid(20, 8, False)[:, None]
NAMED["encoder.positional_embedding"] = sinusoid(20, 8, True)


@pytest.mark.parametrize("name", NAMED)
def test_buffers_are_known_by_name_and_value(name):
    found = kolmo.open_checkpoint(
        {"w": np.random.default_rng(0).normal(size=(4, 4)), name: NAMED[name]}
    )
    assert list(found) == ["w"]
    (entry,) = found.skipped
    assert (entry.name, entry.role, entry.numel) == (name, Role.BUFFER, NAMED[name].size)
    assert (entry.tensor.read() == NAMED[name]).all()


WEIGHTS = {
    "mask_token": (1, 1, 16), "mask_decoder.weight": (4, 4), "attn.bias": (16,),
    "rel_pos.bias": (1, 1, 8, 8), "pos_embed": (1, 9, 16), "positional_embedding": (9, 16),
    "weight_g": (16, 1), "weight_v": (16, 9), "freqs": (9,), "mu.weight": (4, 4), "mask": (8, 8),
    "m.0.weight": (4, 4), "v.0.weight": (4, 4), "sum.weight": (4, 4), "average_pool.weight": (4, 4),
    "upsampler.weight": (4, 4), "loss_head.weight": (4, 4), "optimizer_net.weight": (4, 4),
    "scale": (1,), "step_size": (9,), "window_bias": (9, 9), "temporal_ema.beta": (9,),
}  # fmt: skip


def test_names_that_resemble_those_of_buffers_are_weights():
    random = np.random.default_rng(1)
    source = {name: random.normal(size=shape) for name, shape in WEIGHTS.items()}
    found = kolmo.open_checkpoint(source)
    assert (list(found), found.skipped) == (list(WEIGHTS), [])


# --- integers -------------------------------------------------------------------------------


def test_integers_alone_are_measured():
    found = kolmo.open_checkpoint({"codes": np.arange(9, dtype=np.int8)})
    assert (found.numel, found.skipped) == (9, [])
    assert kolmo.open_checkpoint(np.arange(9)).numel == 9


PACKED = {
    "layer.qweight": np.random.default_rng(0).integers(-(2**31), 2**31, (8, 8)).astype(np.int32),
    "layer.weight": np.random.default_rng(0).integers(-128, 128, (8, 8)).astype(np.int8),
    "experts": np.random.default_rng(0).integers(0, 256, (4, 8, 8)).astype(np.uint8),
    "layer.w_packed": np.random.default_rng(0).integers(0, 256, 99).astype(np.uint8),
}


@pytest.mark.parametrize("name", PACKED)
def test_codes_that_nothing_understands_are_said_to_be_so(name):
    found = kolmo.open_checkpoint({"norm": np.linspace(0, 1, 9), name: PACKED[name]})
    assert list(found) == ["norm"]
    (entry,) = found.skipped
    assert (entry.name, entry.role, entry.numel) == (name, Role.OTHER, PACKED[name].size)
    assert "codes" in entry.reason or "packed" in entry.reason


# --- optimizers -----------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, 0.1, amsgrad=True),
    "AdamW": torch.optim.AdamW,
    "Adagrad": torch.optim.Adagrad,
    "Adadelta": torch.optim.Adadelta,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "ASGD": torch.optim.ASGD,
    "RMSprop": lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True),
    "Rprop": torch.optim.Rprop,
    "LBFGS": torch.optim.LBFGS,
    "Adafactor": torch.optim.Adafactor,
}


def numbers(value):
    """Entries of all tensors in an optimizer's state."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    inner = value.values() if isinstance(value, dict) else value
    return sum(map(numbers, inner)) if isinstance(value, (dict, list, tuple)) else 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("key", ["optimizer", "o", "inner.state"])
def test_an_optimizer_is_known_whatever_its_key(tmp_path, name, key):
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    state = trained(model, OPTIMIZERS[name]).state_dict()
    path = saved(
        {"net": model.state_dict(), key: state, "loss": torch.tensor(0.3)}, tmp_path / "x.pt"
    )
    found = kolmo.open_checkpoint(path)
    assert list(found) == list(model.state_dict())
    assert totals(found) == {"optimizer": numbers(state["state"]), "other": 1}
    again = kolmo.open_checkpoint(path, roles=["optimizer"])
    assert again.numel == count(model) + numbers(state["state"])
    with pytest.raises(InputError, match="the state of an optimizer alone"):
        kolmo.open_checkpoint(saved(state, tmp_path / "o.pt"))
    whole = kolmo.open_checkpoint(saved({"m": model, "o": trained(model, OPTIMIZERS[name])}, path))
    assert whole.numel == count(model)


FLAT = {
    "distributed": ("model.", "optimizer.state.{}.exp_avg", "optimizer.state.{}.step"),
    "optax": ("params.", "opt_state.0.mu.{}", "opt_state.0.nu.{}"),
    "any key": ("params.", "s.inner.0.mu.{}", "s.inner.0.nu.{}"),
    "moments": ("params.", "state.m.{}", "state.v.{}"),
    "tensorflow": ("", "{}/Adam", "{}/Adam_1"),
    "keras": ("", "optimizer/vars/{}", "optimizer/iteration/{}"),
    "t5x": ("target.", "state.param_states.{}.v_row", "state.param_states.{}.m"),
    "slots": ("", "{}.momentum_buffer", "{}.step"),
}


@pytest.mark.parametrize("name", FLAT)
def test_an_optimizer_is_known_by_names_alone(tmp_path, name):
    before, *slots = FLAT[name]
    random = np.random.default_rng(0)
    source = {}
    for weight in ("a.kernel", "b.kernel"):
        source[f"{before}{weight}"] = random.normal(size=(4, 3))
        source |= {slot.format(weight): random.normal(size=(4, 3)) for slot in slots}
    np.savez(tmp_path / "x.npz", **source)
    found = kolmo.open_checkpoint(tmp_path / "x.npz")
    assert list(found) == [f"{before}a.kernel", f"{before}b.kernel"]
    assert totals(found) == {"optimizer": 48}


# --- networks -------------------------------------------------------------------------------


def net(seed=0, sizes=(7, 5)):
    torch.manual_seed(seed)
    return nn.Sequential(
        collections.OrderedDict(fc=nn.Linear(*sizes), norm=nn.BatchNorm1d(sizes[1]))
    )


BESIDE = {
    "a loss": {"loss": torch.tensor(0.5)},
    "losses": {"train_losses": torch.rand(100), "best": np.float64(3)},
    "features": {"text_features": torch.rand(9, 9)},
    "random numbers": {"rng": torch.get_rng_state(), "numpy": np.arange(9)},
    "a history": {"history": {"loss": torch.rand(9), "epochs": [1, 2]}},
    "settings": {"args": {"lr": 0.1}, "arch": "resnet"},
}  # fmt: skip


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "net", "params"])
def test_what_lies_beside_a_model_is_no_weight(tmp_path, key, beside):
    model = net()
    adam = trained(model, torch.optim.Adam).state_dict()
    contents = {"epoch": 3, **BESIDE[beside], key: model.state_dict(), "x": adam}
    found = kolmo.open_checkpoint(saved(contents, tmp_path / "x.pt"))
    assert found.numel == count(model)
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert found.networks == ()
    assert totals(found)["optimizer"] == numbers(adam["state"])


def states(*keys):
    return {key: net(number).state_dict() for number, key in enumerate(keys)}


SEVERAL = {
    "a GAN": ("generator", "discriminator"),
    "a GAN and its average": ("G", "D", "G_ema"),
    "one is called a model": ("model", "text_encoder", "vae"),
    "state dicts": ("state_dict_G", "state_dict_D"),
    "actor and critic": ("actor", "critic", "target_critic"),
    "names like training's": ("upsampler", "sample_net", "loss_net"),
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("wrapped", ["plain", "modules", "beside", "within", "in a tuple"])
def test_several_networks_are_measured_under_their_names(tmp_path, name, wrapped):
    keys = SEVERAL[name]
    contents = states(*keys)
    if wrapped == "modules":
        contents = {key: net(number) for number, key in enumerate(keys)}
    if wrapped == "beside":
        contents |= {"epoch": 3, "opt": trained(net(), torch.optim.Adam).state_dict()}
    if wrapped == "within":
        contents = {"checkpoint": {"model": contents, "step": 3}}
    if wrapped == "in a tuple":
        contents = (contents, trained(net(), torch.optim.Adam).state_dict(), 3)
    found = kolmo.open_checkpoint(saved(contents, tmp_path / "x.pt"))
    assert found.numel == len(keys) * count(net())
    names = found.networks
    assert len(names) == len(keys)
    assert all(name.endswith(key) for name, key in zip(names, keys, strict=True))
    each = [name for name, _ in net().named_parameters()]
    assert list(found) == [f"{network}.{name}" for network in names for name in each]
    assert not any("training" in entry.reason for entry in found.skipped)


def test_networks_whose_weights_are_equal_are_networks_all_the_same():
    state = net().state_dict()
    other = {name: tensor.clone() for name, tensor in state.items()}
    assert kolmo.open_checkpoint({"G": state, "D": other}).numel == 2 * count(net())


TREE = {"params": {"Dense_0": {"kernel": np.ones((4, 3)), "bias": np.arange(3.0)},
                   "model": {"cls": np.arange(5.0)}, "head": np.arange(6.0)},
        "batch_stats": {"BatchNorm_0": {"mean": np.zeros(4)}}, "step": np.array(7)}  # fmt: skip


def test_a_tree_of_arrays_is_one_network():
    found = kolmo.open_checkpoint(TREE)
    assert set(found) == {"Dense_0.kernel", "Dense_0.bias", "model.cls", "head"}
    assert found.networks == ()
    assert totals(found) == {"buffer": 4, "other": 1}


# --- averages -------------------------------------------------------------------------------


def averaged(model):
    """A model's average, and the names that programs give to its tensors."""
    ema = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)
    ema.update_parameters(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)
    ema.update_parameters(model)
    return ema


def test_averaged_weights_beside_the_originals_are_copies(tmp_path):
    model = net()
    ema = averaged(model)
    weights, average = model.state_dict(), ema.module.state_dict()
    shadow = [parameter for _, parameter in ema.module.named_parameters()]
    forms = {
        "timm": {"state_dict": weights, "state_dict_ema": average},
        "BasicSR": {"params": weights, "params_ema": average},
        "torchvision": {"model": weights, "model_ema": ema.state_dict(), "epoch": 3},
        "DiT": {"model": weights, "ema": average, "opt": trained(net(), torch.optim.Adam)},
        "modules": {"model": model, "ema": ema.module, "updates": 30},
        "shadow": {"model": weights, "ema": {"shadow": average, "decay": 0.9}},
        "list": {"model": weights, "ema": {"shadow_params": shadow, "num_updates": 3}},
        "ema-pytorch": {"model": weights, "ema": {f"ema_model.{k}": v for k, v in average.items()}},
    }
    for form, contents in forms.items():
        found = kolmo.open_checkpoint(saved(contents, tmp_path / "x.pt"))
        assert set(found) == {name for name, _ in model.named_parameters()}, form
        assert (found["fc.weight"].read() == model.fc.weight.detach().numpy()).all()
        copies = [entry for entry in found.skipped if entry.role is Role.COPY]
        assert {entry.copy_of for entry in copies} >= set(found), form
        assert found.networks == ()


def test_averages_alone_are_the_model(tmp_path):
    state = net().state_dict()
    for contents in ({"params_ema": state}, {"ema": state, "model": None}):
        assert kolmo.open_checkpoint(saved(contents, tmp_path / "x.pt")).numel == count(net())


def test_averages_are_known_by_prefix(tmp_path):
    model = net()
    average = averaged(model).module.state_dict()
    weights = {f"model.inner.{name}": tensor for name, tensor in model.state_dict().items()}
    forms = [
        {f"model_ema.inner{name.replace('.', '')}": t for name, t in average.items()},  # LDM
        {f"ema_model.inner.{name}": t for name, t in average.items()},
        {f"ema_model_inner_{name.replace('.', '_')}": t for name, t in average.items()},  # MMCV
        {f"model.inner_ema.{name}": t for name, t in average.items()},
    ]
    for averages in forms:
        path = tmp_path / "x.safetensors"
        safetensors.torch.save_file({**weights, **averages}, path)
        found = kolmo.open_checkpoint(path)
        assert set(found) == {f"model.inner.{name}" for name, _ in model.named_parameters()}
        copies = {entry.copy_of for entry in found.skipped if entry.role is Role.COPY}
        assert copies >= set(found)


# --- copies ---------------------------------------------------------------------------------


def test_the_same_bytes_stored_twice_count_once(tmp_path):
    random = torch.Generator().manual_seed(0)
    weight, other = torch.randn(50, 16, generator=random), torch.randn(16, 16, generator=random)
    almost = weight.clone()
    almost[25, 3] += 1e-3
    source = {"wte": weight, "norm1": torch.ones(64), "norm2": torch.ones(64),
              "head": weight.clone(), "turned": weight.t().contiguous(), "almost": almost,
              "other": other, "zero": torch.zeros(50, 16), "zero2": torch.zeros(50, 16),
              }  # fmt: skip
    safetensors.torch.save_file(source, tmp_path / "x.safetensors")
    np.savez_compressed(tmp_path / "x.npz", **{name: t.numpy() for name, t in source.items()})
    for path in (tmp_path / "x.npz", source):
        found = kolmo.open_checkpoint(path)
        assert {s.name: s.copy_of for s in found.skipped} == {"head": "wte", "turned": "wte"}
        assert all(entry.role is Role.COPY for entry in found.skipped)
        assert found.numel == sum(t.numel() for t in source.values()) - 2 * 800
    back = kolmo.open_checkpoint(tmp_path / "x.npz", roles=["copy"])
    assert back["turned"].read().tolist() == weight.t().tolist()


def test_views_of_one_storage_count_once(tmp_path):
    flat = torch.randn(60)
    contents = {"a": flat[:40].view(8, 5), "slice": flat[:10], "expanded": flat[3:4].expand(9, 9),
                "b": flat[40:].view(4, 5), "turned": flat[:40].view(8, 5).t()}  # fmt: skip
    for source in (contents, saved(contents, tmp_path / "x.pt")):
        found = kolmo.open_checkpoint(source)
        assert list(found) == ["a", "b"]
        assert {s.name: s.copy_of for s in found.skipped} == {
            "slice": "a",
            "expanded": "a",
            "turned": "a",
        }


def test_a_flat_parameter_is_the_copy_of_those_it_is_made_of(tmp_path):
    flat = torch.randn(60)
    contents = {"_fsdp_wrapped_module._flat_param": flat, "fc.weight": flat[:55].view(11, 5),
                "fc.bias": flat[55:]}  # fmt: skip
    found = kolmo.open_checkpoint(saved(contents, tmp_path / "x.pt"))
    assert list(found) == ["fc.weight", "fc.bias"]
    assert [entry.copy_of for entry in found.skipped] == ["fc.weight"]
    fused = {"qkv": flat.view(12, 5), "q": flat[:20].view(4, 5), "k": flat[20:40].view(4, 5)}
    assert list(kolmo.open_checkpoint(fused)) == ["qkv"]


# --- what is asked for, and what is refused -------------------------------------------------


def test_roles_are_asked_for_by_name():
    model = net()
    found = kolmo.open_checkpoint(model)
    assert found.with_roles() is found
    asked = kolmo.open_checkpoint(model, roles=["buffer"])
    assert asked.numel == count(model) + 5 + 5 + 1
    assert not [entry for entry in asked.skipped if entry.role is Role.BUFFER]
    with pytest.raises(
        InputError, match="no role 'buffers'; roles are weight, book-keeping, buffer"
    ):
        kolmo.open_checkpoint(model, roles=["buffers"])
    assert list(kolmo.open_checkpoint(model, roles="buffer")) == list(asked)


def test_every_array_is_a_weight_or_left_out_with_its_tensor(tmp_path):
    model = net()
    contents = {"model": model.state_dict(), "opt": trained(model, torch.optim.Adam).state_dict(),
                "loss": torch.rand(3)}  # fmt: skip
    found = survey(saved(contents, tmp_path / "x.pt"))
    everything = found.with_roles(list(Role))
    arrays = numbers(contents["model"]) + numbers(contents["opt"]) + 3
    assert everything.numel == arrays
    assert len({t.name for t in everything.values()}) == len(everything)


EMPTY = {
    "nothing": ({"a": np.zeros((0, 4))}, "its tensors are empty"),
    "buffers": ({"running_mean": np.zeros(4)}, "it holds no weights, but 4 buffer"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_measure_is_an_error(name):
    source, message = EMPTY[name]
    with pytest.raises(InputError, match=message):
        kolmo.open_checkpoint(source)
    assert len(open_source(source)) == 1


def test_opening_reads_little(tmp_path):
    """A hundred equal shapes of which no two are equal, and norms that are all alike."""
    random = np.random.default_rng(0)
    source = {f"layers.{n}.weight": random.normal(size=(300, 300)) for n in range(20)}
    source |= {f"layers.{n}.norm": np.ones(300) for n in range(20)}
    read = []

    def counted(tensor):
        def load(start, stop):
            read.append((stop - start) * tensor.dtype.itemsize)
            return tensor.load(start, stop)

        return dataclasses.replace(tensor, load=load)

    whole = open_source(source)
    opened = sort_out(whole.holding([counted(tensor) for tensor in whole.values()], []))
    assert opened.numel == whole.numel
    assert sum(read) < 200_000


def test_an_average_is_no_copy_of_a_model_of_another_shape():
    contents = {"model": net().state_dict(), "model_ema": net(1, (7, 6)).state_dict()}
    found = kolmo.open_checkpoint(contents)
    assert found.networks == ("model", "model_ema")
    assert found.numel == count(net()) + count(net(1, (7, 6)))


def test_a_copied_module_is_a_copy(tmp_path):
    """But not where the format says that both are parameters."""
    model = nn.ModuleDict({"a": nn.Linear(9, 9)})
    model["b"] = copy.deepcopy(model["a"])
    assert kolmo.open_checkpoint(model).numel == count(model) == 180
    assert kolmo.open_checkpoint(saved(model, tmp_path / "x.pt")).numel == 180
    found = kolmo.open_checkpoint(saved(model.state_dict(), tmp_path / "x.pt"))
    assert {entry.name: entry.copy_of for entry in found.skipped} == {"b.weight": "a.weight"}


def test_a_head_beside_a_backbone_is_a_network_too(tmp_path):
    backbone = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 5))
    head = {"weight": torch.randn(2, 5), "bias": torch.randn(2)}
    whole = {"model": {"backbone": {f"net.{k}": v for k, v in backbone.state_dict().items()}}}
    whole["model"]["head"] = head
    torch.save(whole | {"epoch": 3}, tmp_path / "m.pt")
    found = kolmo.open_checkpoint(tmp_path / "m.pt")
    assert found.numel == sum(p.numel() for p in backbone.parameters()) + 12
