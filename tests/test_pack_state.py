"""pack keeps all that a model is loaded from; unpack gives it back under every name."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Checkpoint, Codes, Role, Skipped, WeightTensor, array_tensor
from kolmo.container.format import Entry, is_quantized, read_contents
from kolmo.container.header import ROLES
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet
from tests.formats import kmo
from tests.test_cli import refused, run

RANDOM = np.random.default_rng(0)
W = RANDOM.normal(size=(24, 30)).astype(np.float32)


def checkpoint(tensors, skipped=()):
    return Checkpoint(
        [array_tensor(name, array) for name, array in tensors.items()],
        source="model.pt",
        format="torch",
        skipped=[
            Skipped(name, "why", np.size(array), role, array_tensor(name, array), copy_of)
            for name, array, role, copy_of in skipped
        ],
    )


@pytest.fixture
def everything():
    """Weights, buffers, copies of each sort, averages, and an optimizer's moments."""
    return checkpoint(
        {"w": W, "zero": np.zeros(30, np.float32), "none": np.zeros(30, np.float32)},
        [
            ("tied", W.copy(), Role.COPY, "w"),
            ("turned", np.ascontiguousarray(W.T), Role.COPY, "w"),
            ("average", W + 1, Role.COPY, "w"),
            ("positions", np.arange(50)[None], Role.BUFFER, ""),
            ("also", np.arange(50)[None], Role.COPY, "positions"),
            ("mask", np.tri(6, dtype=bool), Role.BUFFER, ""),
            ("mean", np.float32([np.nan, np.inf, 1e-40]), Role.BUFFER, ""),
            ("exp_avg", W * 2, Role.OPTIMIZER, ""),
        ],
    )


STATE = ["w", "zero", "none", "positions", "mask", "mean", "tied", "turned", "also"]


def unpacked(path):
    """Every array of a container, by name."""
    found = kolmo.open_checkpoint(kolmo.unpack(path, path.with_suffix(".safetensors")))
    others = {entry.name: entry.tensor for entry in found.skipped}
    return {name: tensor.read() for name, tensor in {**found, **others}.items()}


def test_the_state_of_a_model_is_kept_and_nothing_else(everything, tmp_path):
    path = tmp_path / "m.kmo"
    certificate = kolmo.pack(everything, path)
    back = unpacked(path)
    assert sorted(back) == sorted(STATE)
    known = {**everything, **{entry.name: entry.tensor for entry in everything.skipped}}
    for name, array in back.items():
        assert array.dtype == known[name].dtype
        assert array.shape == known[name].shape
        assert array.tobytes() == known[name].read().tobytes(), name
    assert {entry.name for entry in certificate.skipped} == {"average", "exp_avg"}
    assert kolmo.verify(path, everything) == certificate


def test_a_certificate_counts_weights_and_says_what_is_beside_them(everything, tmp_path):
    certificate = kolmo.pack(everything, tmp_path / "m.kmo")
    assert certificate.numel == 24 * 30 + 60
    assert certificate.bits_per_weight == 8 * (tmp_path / "m.kmo").stat().st_size / 780
    assert certificate.roles == {"buffer": 50 + 36 + 3, "copy": 720 + 720 + 50}
    assert "780 weights in 3 tensors, native\nbesides: 89 buffer, 1,490 copy" in str(certificate)
    rows = certificate.table.set_index("name")
    assert rows.code[["tied", "none", "also"]].tolist() == [
        "copy of w", "copy of zero", "copy of positions",
    ]  # fmt: skip
    assert rows.role[["w", "none", "tied", "mask"]].tolist() == [
        "weight", "weight", "copy", "buffer",
    ]  # fmt: skip
    document = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert document["roles"] == certificate.roles
    assert {entry["role"] for entry in document["skipped"]} == {"copy", "optimizer"}


def test_buffers_stay_as_they_are_where_weights_are_quantized(everything, tmp_path):
    path = tmp_path / "m.kmo"
    certificate = kolmo.pack(everything, path, quantizer="symmetric:8")
    back = unpacked(path)
    assert np.array_equal(back["positions"], np.arange(50)[None])
    assert np.array_equal(back["also"], np.arange(50)[None])
    assert np.array_equal(back["mean"], np.float32([np.nan, np.inf, 1e-40]), equal_nan=True)
    step = np.abs(W).max() / 127
    assert 0 < np.abs(back["w"] - W).max() <= 0.51 * step
    assert np.array_equal(back["tied"], back["w"])
    assert np.array_equal(back["turned"], back["w"].T)
    assert kolmo.verify(path, everything) == certificate
    found = kmo.read_weights(path.read_bytes())  # the decoder that has nothing of ours
    for name, array in back.items():
        assert found[name][0] == array.dtype.name
        assert found[name][1].tobytes() == array.tobytes(), name


def test_other_roles_are_packed_where_they_are_asked_for(everything, tmp_path):
    path = tmp_path / "m.kmo"
    certificate = kolmo.pack(everything, path, roles=["optimizer"])
    assert [row.name for row in certificate.tensors] == ["exp_avg"]
    assert np.isnan(certificate.bits_per_weight)
    assert kolmo.verify(path, everything, roles=["optimizer"]) == certificate
    weights = kolmo.pack(everything, path, roles=["weight"], exclude=["zero"])
    assert [row.name for row in weights.tensors] == ["w", "none"]


def test_nothing_but_an_optimizer_is_not_packed(tmp_path):
    source = checkpoint({}, [("m", W, Role.OPTIMIZER, ""), ("step", W[:1], Role.BUFFER, "")])
    with pytest.raises(InputError, match="nothing to measure: there is no weight in it; it holds"):
        kolmo.pack(source, tmp_path / "x.kmo")


def test_a_part_of_a_model_is_said_to_be_one(tmp_path):
    part = Checkpoint([array_tensor("w", W)], source="m", format="safetensors", shards=(1, 2))
    certificate = kolmo.pack(part, tmp_path / "m.kmo")
    assert "left out: the other shards (only 1 of 2 shards of the model were given)" in str(
        certificate
    )


# --- packed codes -----------------------------------------------------------------------------


def packed_model(beside=True):
    """64 × 32 weights of 4 bits, two in a byte, with a scale for each row."""
    codes = RANDOM.integers(0, 16, (64, 32)).astype(np.uint8)
    scales = np.ones((64, 1), np.float16)
    stored = array_tensor("fc.qweight", (codes[:, ::2] << 4 | codes[:, 1::2]).view(np.int8))
    flat = codes.reshape(-1)
    values = flat.astype(np.float32)
    logical = WeightTensor(
        "fc.weight", (64, 32), np.dtype(np.float32), lambda a, b: values[a:b],
        Codes("INT4", Alphabet(16), lambda a, b: flat[a:b], 64 * 16, (stored,)),
    )  # fmt: skip
    entry = Skipped("fc.scales", "scales", 64, Role.BOOKKEEPING, array_tensor("s", scales))
    found = [logical, array_tensor("fc.bias", np.ones(64, np.float32))]
    skipped = [entry] if beside else []
    return Checkpoint(found, source="m", format="safetensors", skipped=skipped), codes, stored


def test_codes_are_packed_as_they_are_stored(tmp_path):
    source, codes, stored = packed_model()
    certificate = kolmo.pack(source, tmp_path / "m.kmo")
    back = unpacked(tmp_path / "m.kmo")
    assert sorted(back) == ["fc.bias", "fc.qweight", "fc.scales"]
    assert np.array_equal(back["fc.qweight"], stored.read())
    assert certificate.numel == codes.size + 64
    assert certificate.bits_per_weight < 5  # of codes of 4 bits, and all the rest
    assert certificate.roles == {"book-keeping": 64}
    assert kolmo.verify(tmp_path / "m.kmo", source) == certificate
    assert kolmo.verify(tmp_path / "m.kmo").numel == certificate.numel


def test_another_quantizer_takes_the_weights_that_codes_stand_for(tmp_path):
    source, codes, _ = packed_model()
    certificate = kolmo.pack(source, tmp_path / "m.kmo", quantizer="affine:4")
    back = unpacked(tmp_path / "m.kmo")
    assert sorted(back) == ["fc.bias", "fc.weight"]
    assert np.array_equal(back["fc.weight"], codes.astype(np.float32))
    assert [entry.name for entry in certificate.skipped] == ["fc.scales"]
    assert "not needed" in certificate.skipped[0].reason


def test_codes_whose_scales_are_in_no_array_are_packed_as_weights(tmp_path):
    source, codes, _ = packed_model(beside=False)
    certificate = kolmo.pack(source, tmp_path / "m.kmo")
    assert np.array_equal(unpacked(tmp_path / "m.kmo")["fc.weight"], codes.astype(np.float32))
    assert [entry.name for entry in certificate.skipped] == ["fc.weight"]
    assert "its codes need numbers that are in no array" in str(certificate)


@pytest.mark.parametrize("listed", [True, False])
def test_book_keeping_may_be_listed_among_the_tensors(tmp_path, listed):
    source, *_ = packed_model()
    scales = source.skipped[0].tensor
    if listed:
        own = dataclasses.replace(scales, name="fc.scales", role=Role.BOOKKEEPING)
        source = source.holding([*source.values(), own], [])
    kolmo.pack(source, tmp_path / "m.kmo")
    assert sorted(unpacked(tmp_path / "m.kmo")) == ["fc.bias", "fc.qweight", "fc.scales"]


# --- real modules -----------------------------------------------------------------------------


def network():
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(40, 16)
            self.register_buffer("position_ids", torch.arange(30)[None])
            self.register_buffer("scratch", torch.zeros(3), persistent=False)
            self.norm = torch.nn.BatchNorm1d(16)
            self.head = torch.nn.Linear(16, 40)
            self.head.weight = self.embedding.weight
            self.narrow = torch.nn.Parameter(torch.randn(5, 3).to(torch.bfloat16))

    torch.manual_seed(0)
    made = Network()
    made.norm(torch.randn(9, 16))  # so that its statistics are some
    return made


def saved_by_torch(model, path):
    import torch

    torch.save(model.state_dict(), path / "model.pt")
    return path / "model.pt"


def saved_by_safetensors(model, path):
    from safetensors.torch import save_file

    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, path / "model.safetensors")
    return path / "model.safetensors"


def saved_as_a_module(model, path):
    return model


@pytest.mark.parametrize("save", [saved_by_torch, saved_by_safetensors, saved_as_a_module])
@pytest.mark.parametrize("preset", ["best", "fast"])
def test_a_module_is_loaded_from_what_was_unpacked(tmp_path, save, preset):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    model = network()
    kolmo.pack(save(model, tmp_path), tmp_path / "m.kmo", preset=preset)
    state = load_file(kolmo.unpack(tmp_path / "m.kmo", tmp_path / "back.safetensors"))
    loaded = network()
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    loaded.load_state_dict(state, strict=True)
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name


# --- the file ---------------------------------------------------------------------------------


def test_roles_are_numbered_and_the_quantizer_is_that_of_weights_and_their_copies():
    assert tuple(Role) == ROLES
    native, coder = np.dtype("f4"), get_quantizer("native").restore(np.dtype("f4"), [])
    entries = [Entry("a", (), native, coder), Entry("b", (), native, coder, None, Role.BUFFER)]
    assert [is_quantized(role, None, entries) for role in ROLES] == [
        role in ("weight", "copy") for role in ROLES
    ]
    assert [is_quantized(Role.COPY, number, entries) for number in (0, 1)] == [True, False]


def test_equal_symbols_of_other_quantizers_are_no_copies(tmp_path):
    """Levels of a weight, and a buffer that holds the very same numbers."""
    levels = np.arange(256, dtype=np.uint8)
    source = checkpoint({"w": levels}, [("b", levels.copy(), Role.BUFFER, "")])
    kolmo.pack(source, tmp_path / "m.kmo", quantizer="affine:8")
    contents = read_contents(tmp_path / "m.kmo")
    assert [entry.copy_of for entry in contents.entries] == [None, None]
    assert [entry.role for entry in contents.entries] == [Role.WEIGHT, Role.BUFFER]


def test_names_that_are_there_twice_are_told_apart(tmp_path):
    source = checkpoint({"w": W}, [("w", W + 1, Role.BUFFER, "")])
    kolmo.pack(source, tmp_path / "m.kmo")
    assert np.array_equal(unpacked(tmp_path / "m.kmo")["w (2)"], W + 1)


def test_the_command_packs_by_role(tmp_path):
    np.savez(tmp_path / "m.npz", w=W)
    packed = run("pack", tmp_path / "m.npz", "-o", tmp_path / "m.kmo", "--role", "weight", "--json")
    assert json.loads(packed.stdout)["numel"] == 720
    refused(run("pack", tmp_path / "m.npz", "-o", "x.kmo", "--role", "weigt"), "unknown role")
    refused(run("pack", tmp_path / "m.npz", "-o", "x.kmo", "--role", "copy"), "nothing to measure")


def test_bfloat16_is_a_dtype_of_buffers_too(tmp_path):
    odd = np.arange(9).astype(ml_dtypes.bfloat16)
    kolmo.pack(checkpoint({"w": W}, [("b", odd, Role.BUFFER, "")]), tmp_path / "m.kmo")
    assert np.array_equal(unpacked(tmp_path / "m.kmo")["b"], odd)
