"""Models over several files: distributed checkpoints, DeepSpeed's ZeRO, slices of a Llama."""

import json
import pickle
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import kolmo
from kolmo.checkpoints.pieces import Box, assembled
from kolmo.errors import InputError
from tests.checkpoints import save_torch

WRITTEN = Path(__file__).parent / "data" / "distributed" / "step-7"


def raw(tensor):
    """The bytes of a torch tensor."""
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].shape == tuple(tensor.shape), name
        assert found[name].dtype.name == str(tensor.dtype).removeprefix("torch."), name
        assert found[name].read().tobytes() == raw(tensor), name
        pieces = [found[name].load(n, n + 1) for n in range(found[name].numel)]
        assert b"".join(piece.tobytes() for piece in pieces) == raw(tensor), name


# --- boxes ----------------------------------------------------------------------------------


@st.composite
def cut(draw):
    """An array, cuts along each of its axes, and a range of its entries."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    cuts = [sorted(draw(st.sets(st.integers(1, side)))) for side in shape]
    numel = int(np.prod(shape))
    start = draw(st.integers(0, numel))
    return shape, cuts, start, draw(st.integers(start, numel))


def boxes_of(array, cuts):
    edges = [[0, *(c for c in cut if c < side), side]
             for side, cut in zip(array.shape, cuts, strict=True)]  # fmt: skip
    grids = np.meshgrid(*(range(len(edge) - 1) for edge in edges), indexing="ij")
    for place in zip(*(grid.ravel() for grid in grids), strict=True):
        begin = tuple(edges[axis][n] for axis, n in enumerate(place))
        end = tuple(edges[axis][n + 1] for axis, n in enumerate(place))
        part = array[tuple(slice(a, b) for a, b in zip(begin, end, strict=True))]
        flat = part.ravel()
        yield Box(begin, part.shape, lambda a, b, flat=flat: flat[a:b])


@given(cut())
def test_boxes_make_up_their_tensor(case):
    shape, cuts, start, stop = case
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    made = assembled("w", shape, array.dtype, list(boxes_of(array, cuts)), "here")
    assert made.load(start, stop).tolist() == list(range(start, stop))
    assert (made.read() == array).all()


def test_boxes_that_leave_a_hole_or_leave_the_tensor():
    full = Box((0, 0), (2, 2), lambda a, b: np.arange(4.0)[a:b])
    with pytest.raises(InputError, match=r"no boxes that make it up \(4 of 6 weights\)"):
        assembled("w", (2, 3), np.dtype(float), [full], "here")
    with pytest.raises(InputError, match="no boxes that make it up"):
        assembled("w", (2, 1), np.dtype(float), [full], "here")
    row = Box((0, 0), (1, 3), lambda a, b: np.arange(3.0)[a:b])
    twice = assembled("w", (2, 3), np.dtype(float), [full, row], "here")
    with pytest.raises(InputError, match="leave a hole"):
        twice.read()
    assert twice.load(0, 2).tolist() == [0, 1]


def test_boxes_may_be_there_as_often_as_they_like_but_not_lie_upon_each_other_without_end():
    row = np.arange(40.0)
    full = Box((0,), (40,), lambda a, b: row[a:b])
    made = assembled("w", (40,), row.dtype, [full] * 1000, "here")  # of a thousand processes
    assert (made.read() == row).all()
    parts = [Box((a,), (b - a,), full.load) for b in range(41) for a in range(b)]
    with pytest.raises(InputError, match=r"\(11,480 of 40 weights\)"):
        assembled("w", (40,), row.dtype, parts, "here")


# --- torch.distributed.checkpoint -----------------------------------------------------------


def test_two_ranks_with_tensors_cut_in_several_ways(tmp_path):
    dcp_to_torch_save(WRITTEN, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt")
    found = kolmo.open_checkpoint(WRITTEN)
    assert_same(found, {f"model.{name}": tensor for name, tensor in whole["model"].items()})
    left = {entry.name: (str(entry.role), entry.numel) for entry in found.skipped}
    assert left == {
        "optimizer.state.rows.exp_avg": ("optimizer", 15),
        "optimizer.state.rows.step": ("optimizer", 1),
        "lr_scheduler.last_epoch": ("other", 0),
        "step": ("other", 0),
    }
    moment = next(e.tensor for e in found.skipped if e.name.endswith("exp_avg"))
    assert moment.read().tobytes() == raw(whole["optimizer"]["state"]["rows"]["exp_avg"])
    assert len(found.files) == 3


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_one_process(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    dcp.save(model.state_dict(), checkpoint_id=tmp_path / "c")
    found = kolmo.open_checkpoint(tmp_path / "c")
    assert_same(found, dict(model.named_parameters()))
    buffers = {entry.name for entry in found.skipped if str(entry.role) == "buffer"}
    assert buffers == {name for name, _ in model.named_buffers()}


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_only_an_optimizer(tmp_path):
    dcp.save({"optim": {"m": torch.ones(3)}}, checkpoint_id=tmp_path / "c")
    with pytest.raises(InputError, match="with no tensor of a model in it"):
        kolmo.open_checkpoint(tmp_path / "c")


def test_a_rank_that_is_missing_or_cut(tmp_path):
    shutil.copytree(WRITTEN, tmp_path / "c")
    shard = tmp_path / "c" / "__1_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match="the file is shorter than it claims"):
        kolmo.open_checkpoint(tmp_path / "c")
    shard.unlink()
    with pytest.raises(InputError, match=r"there is no file '__1_0\.distcp' in it"):
        kolmo.open_checkpoint(tmp_path / "c")


def test_metadata_that_lead_outside(tmp_path):
    shutil.copytree(WRITTEN, tmp_path / "c")
    metadata = (tmp_path / "c" / ".metadata").read_bytes()
    (tmp_path / "c" / ".metadata").write_bytes(metadata.replace(b"__1_0.distcp", b"../../secret"))
    with pytest.raises(InputError, match="points outside its folder"):
        kolmo.open_checkpoint(tmp_path / "c")
    (tmp_path / "c" / ".metadata").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(InputError, match="not the metadata of a distributed checkpoint"):
        kolmo.open_checkpoint(tmp_path / "c")


# --- DeepSpeed ------------------------------------------------------------------------------


def parameters():
    torch.manual_seed(1)
    shapes = {"a.weight": (5, 3), "a.bias": (5,), "b.weight": (7, 2), "scale": ()}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def split(vector, ranks, multiple=1):
    """A vector in equal parts, padded."""
    size = -(-len(vector) // (ranks * multiple)) * multiple
    return list(torch.cat([vector, torch.zeros(size * ranks - len(vector))]).split(size))


def write_zero(folder, stage, ranks, frozen=()):
    """The layout of DeepSpeed's engine: a folder of a step, and a file that names it."""
    step = folder / "global_step10"
    step.mkdir(parents=True)
    (folder / "latest").write_text("global_step10")
    trained = {n: t for n, t in parameters().items() if n not in frozen}
    groups = [dict(list(trained.items())[:2]), dict(list(trained.items())[2:])]
    module = {n: t.bfloat16() for n, t in parameters().items()}
    module |= {"norm.running_mean": torch.randn(4), "tied": module["b.weight"]}
    model = {
        "module": OrderedDict(module),
        "buffer_names": ["norm.running_mean"],
        "param_shapes": [OrderedDict((n, t.shape) for n, t in g.items()) for g in groups],
        "shared_params": {"tied": "b.weight"},
        "frozen_param_shapes": OrderedDict((n, parameters()[n].shape) for n in frozen) or None,
        "optimizer": None,
        "global_steps": 10,
    }
    for rank in range(ranks):
        if stage < 3:
            flat = {"single_partition_of_fp32_groups": [
                split(torch.cat([t.flatten() for t in g.values()]), ranks, 2)[rank] for g in groups
            ]}  # fmt: skip
            name = "mp_rank_00_model_states.pt"
        else:
            flat = {"fp32_flat_groups": [
                torch.cat([split(t.flatten(), ranks)[rank] for t in g.values()]) for g in groups
            ]}  # fmt: skip
            name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
            model["module"] = {"norm.running_mean": module["norm.running_mean"]}
        moments = {"state": {0: {"exp_avg": torch.zeros(11)}}}
        state = {"zero_stage": stage, "partition_count": [ranks, ranks] if stage < 3 else ranks,
                 "base_optimizer_state": moments, **flat}  # fmt: skip
        save_torch(step / name, model)
        kind = "bf16_" if stage == 1 else ""
        path = step / f"{kind}zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        save_torch(path, {"optimizer_state_dict": state, "ds_version": "0.16"})
    return step


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3, 11])
def test_parameters_of_all_ranks_in_float32(tmp_path, stage, ranks):
    write_zero(tmp_path, stage, ranks)
    found = kolmo.open_checkpoint(tmp_path)
    assert_same(found, parameters())
    left = {str(entry.role): entry for entry in found.skipped}
    assert left["optimizer"].numel == 11
    assert (left["buffer"].name, left["buffer"].numel) == ("norm.running_mean", 4)
    if stage < 3:
        tied = next(entry for entry in found.skipped if entry.name == "tied")
        assert (str(tied.role), tied.copy_of) == ("copy", "b.weight")


def test_frozen_parameters_come_from_the_model(tmp_path):
    write_zero(tmp_path, 2, 2, frozen=["a.bias"])
    found = kolmo.open_checkpoint(tmp_path)
    assert found["a.bias"].dtype.name == "bfloat16"
    assert found.numel == sum(t.numel() for t in parameters().values())


def test_ranks_that_are_missing(tmp_path):
    step = write_zero(tmp_path, 2, 3)
    (step / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(InputError, match=r"2 of the 3 ranks .*; the states of rank 1 are missing"):
        kolmo.open_checkpoint(tmp_path)


def test_a_model_cut_for_tensor_parallelism_too(tmp_path):
    step = write_zero(tmp_path, 2, 1)
    for kind in ("mp_rank_{}_model", "zero_pp_rank_0_mp_rank_{}_optim"):
        name = f"{kind}_states.pt"
        shutil.copy(step / name.format("00"), step / name.format("01"))
    with pytest.raises(InputError, match=r"run its zero_to_fp32\.py"):
        kolmo.open_checkpoint(tmp_path)


def test_a_model_of_huggings_face_beside_comes_first(tmp_path):
    write_zero(tmp_path, 2, 2)
    save_torch(tmp_path / "pytorch_model.bin", {"w": torch.ones(3)})
    assert list(kolmo.open_checkpoint(tmp_path)) == ["w"]


# --- Llama ----------------------------------------------------------------------------------


def llama(words=12, width=8, hidden=20):
    torch.manual_seed(2)
    shapes = {"tok_embeddings.weight": (words, width), "norm.weight": (width,)}
    for layer in range(2):
        at = f"layers.{layer}."
        shapes |= {f"{at}attention.{n}.weight": (width, width) for n in ("wq", "wk", "wv", "wo")}
        shapes |= {f"{at}feed_forward.w{n}.weight": (hidden, width) for n in (1, 3)}
        shapes |= {f"{at}feed_forward.w2.weight": (width, hidden)}
        shapes |= {f"{at}ffn_norm.weight": (width,)}
    shapes["output.weight"] = (words, width)
    return {name: torch.randn(shape).bfloat16() for name, shape in shapes.items()}


def write_slices(folder, count, by_words):
    whole = llama()
    for number in range(count):
        part = {}
        for name, tensor in whole.items():
            is_columns = name.endswith(("wo.weight", "w2.weight"))
            is_columns |= name.startswith("tok_embeddings") and not by_words
            axis = 1 if is_columns else 0
            is_same = tensor.ndim == 1
            part[name] = tensor if is_same else tensor.chunk(count, axis)[number].clone()
        save_torch(folder / f"consolidated.{number:02}.pth", part)
    (folder / "params.json").write_text(json.dumps({"dim": 8, "vocab_size": 12}))
    return whole


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("by_words", [False, True])
def test_slices_of_a_llama_are_one_model(tmp_path, count, by_words):
    whole = write_slices(tmp_path, count, by_words)
    found = kolmo.open_checkpoint(tmp_path)
    assert_same(found, whole)
    copies = {entry.copy_of for entry in found.skipped}
    assert (len(found.skipped), "norm.weight" in copies) == (3 * (count - 1), count > 1)


@pytest.mark.parametrize("by_words", [False, True])
@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_slice_that_is_missing(tmp_path, by_words, lost):
    write_slices(tmp_path, 4, by_words)
    (tmp_path / f"consolidated.{lost:02}.pth").unlink()
    with pytest.raises(InputError, match=r"is missing"):
        kolmo.open_checkpoint(tmp_path)


def test_a_slice_that_is_named(tmp_path):
    write_slices(tmp_path, 4, True)
    found = kolmo.open_checkpoint(tmp_path / "consolidated.01.pth")
    assert found.shards == (1, 4)


def test_slices_of_something_else(tmp_path):
    for number in range(2):
        save_torch(tmp_path / f"consolidated.{number:02}.pth", {"experts.w": torch.ones(2, 3)})
    with pytest.raises(InputError, match="are put together is not known; join the model first"):
        kolmo.open_checkpoint(tmp_path)
    save_torch(tmp_path / "consolidated.01.pth", {"other.w": torch.ones(2, 3)})
    assert kolmo.open_checkpoint(tmp_path).numel == 12


# --- damage ---------------------------------------------------------------------------------


def write_all(folder):
    """One of each, to be damaged."""
    shutil.copytree(WRITTEN, folder / "dcp")
    write_zero(folder / "zero2", 2, 2)
    write_zero(folder / "zero3", 3, 2)
    (folder / "llama").mkdir()
    write_slices(folder / "llama", 2, True)
    return [folder / name for name in ("dcp", "zero2", "zero3", "llama")]
