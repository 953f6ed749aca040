"""Folders: which checkpoint is chosen, by names; what is left is said; nothing else is opened."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
import torch

import kolmo
from kolmo.checkpoints.folders import File, LocalFolder, SubFolder
from kolmo.checkpoints.naming import is_training, parsed
from kolmo.errors import InputError
from tests.checkpoints import save_torch, write_shards

ENDINGS = (".safetensors", ".bin", ".pth", ".gguf", ".h5", ".weights.h5")


def save(path, **sizes):
    """A safetensors file of vectors of these sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file({n: np.arange(s, dtype="f4") for n, s in sizes.items()}, path)
    return path


def names(found):
    return {entry.name: entry.reason for entry in found.skipped}


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", ("model", "", ".safetensors", 0, 0)),
        ("model-00001-of-00002.safetensors", ("model", "", ".safetensors", 1, 2)),
        ("model.fp16-00003-of-00004.safetensors", ("model", "fp16", ".safetensors", 3, 4)),
        ("model-00003-of-00004.fp16.safetensors", ("model", "fp16", ".safetensors", 3, 4)),
        ("pytorch_model_00001-of-00010.bin", ("pytorch_model", "", ".bin", 1, 10)),
        ("Qwen-7B-Q4_K_M-00001-of-00003.gguf", ("Qwen-7B-Q4_K_M", "", ".gguf", 1, 3)),
        ("llama-fp16.gguf", ("llama", "fp16", ".gguf", 0, 0)),
        ("consolidated.01.pth", ("consolidated", "", ".pth", 1, 0)),
        ("m.weights.h5", ("m", "", ".weights.h5", 0, 0)),
        ("v1.5-pruned.safetensors", ("v1.5-pruned", "", ".safetensors", 0, 0)),
        ("README.md", ("README.md", "", "", 0, 0)),
    ],
)
def test_names_of_files(name, said):
    found = parsed(name, ENDINGS)
    assert (found.stem, found.variant, found.ending, found.number, found.total) == said


def test_names_of_indexes():
    for name, variant in (
        ("model.safetensors.index.json", ""),
        ("model.safetensors.index.fp16.json", "fp16"),
        ("pytorch_model.bin.index.json", ""),
    ):
        found = parsed(name, ENDINGS)
        assert (found.is_index, found.model, found.variant) == (True, "model", variant)
    assert not parsed("config.json", ENDINGS).is_index


@pytest.mark.parametrize(
    "name",
    ["optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "rng_state_3.pth",
     "training_args.bin", "random_states_0.pkl", "scaler.pt", "optimizer_0", "optim.pt",
     "zero_pp_rank_0_mp_rank_00_optim_states.pt", "custom_checkpoint_0.pkl", "my_optimizer.pt"],
)  # fmt: skip
def test_names_of_what_belongs_to_a_training(name):
    assert is_training(name)


@pytest.mark.parametrize("name", ["model.pt", "resampler.pt", "optimized.bin", "unet", "scaled.pt"])
def test_names_of_models(name):
    assert not is_training(name)


# --- one model ------------------------------------------------------------------------------


def test_safetensors_come_first_and_the_others_are_told(tmp_path):
    save(tmp_path / "model.safetensors", w=6)
    save(tmp_path / "model.fp16.safetensors", w=7)
    save_torch(tmp_path / "pytorch_model.bin", {"w": torch.ones(8)})
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        (tmp_path / name).write_bytes(b"never opened")
    (tmp_path / "config.json").write_text("{}")
    save(tmp_path / "onnx" / "model.safetensors", w=9)
    found = kolmo.open_checkpoint(tmp_path)
    assert (found.numel, found.source) == (6, str(tmp_path / "model.safetensors"))
    said = names(found)
    assert said.pop("onnx/") == "a folder beside the checkpoint, not opened"
    assert said.pop("pytorch_model.bin") == (
        "the same model by its name; model.safetensors was chosen"
    )
    assert "was chosen" in said.pop("model.fp16.safetensors")
    assert set(said) == {"optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"}
    assert set(said.values()) == {"state of the training, not opened"}


def test_the_whole_comes_before_a_variant_in_any_format(tmp_path):
    save(tmp_path / "model.fp16.safetensors", w=7)
    save_torch(tmp_path / "pytorch_model.bin", {"w": torch.ones(8)})
    assert kolmo.open_checkpoint(tmp_path).numel == 8
    (tmp_path / "pytorch_model.bin").unlink()
    assert kolmo.open_checkpoint(tmp_path).numel == 7


def test_a_file_that_is_only_called_as_a_checkpoint_gives_way(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="a Git LFS pointer"):
        kolmo.open_checkpoint(tmp_path)
    save_torch(tmp_path / "pytorch_model.bin", {"w": torch.ones(8)})
    found = kolmo.open_checkpoint(tmp_path)
    assert found.numel == 8
    assert "model.safetensors" in names(found)


def test_an_index_comes_before_single_files(tmp_path):
    write_shards(tmp_path)
    save(tmp_path / "consolidated.safetensors", other=3)
    found = kolmo.open_checkpoint(tmp_path)
    assert list(found) == ["a", "b"]
    assert list(names(found)) == ["consolidated.safetensors"]


def test_an_index_without_its_shards_leaves_the_whole_file(tmp_path):
    save(tmp_path / "model.safetensors", w=6)
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = kolmo.open_checkpoint(tmp_path)
    assert found.numel == 6
    assert "its shards are not all there" in names(found)["model.safetensors.index.json"]


def test_a_broken_index_is_told_if_nothing_else_is_there(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{not json")
    with pytest.raises(InputError, match="by its name, which maps no names to shards"):
        kolmo.open_checkpoint(tmp_path)
    save(tmp_path / "model.safetensors", w=6)
    assert kolmo.open_checkpoint(tmp_path).numel == 6


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("first", [0, 1])
def test_shards_without_an_index(tmp_path, ending, first):
    for number in range(12):
        path = tmp_path / f"model-{first + number:05}-of-00012.{ending}"
        if ending == "bin":
            save_torch(path, {f"w{number}": torch.ones(number + 1)})
        else:
            save(path, **{f"w{number}": number + 1})
    found = kolmo.open_checkpoint(tmp_path)
    assert list(found) == [f"w{number}" for number in range(12)]
    assert (len(found.files), found.shards) == (12, None)


def test_shards_that_lack(tmp_path):
    for number in (1, 3):
        save(tmp_path / f"model-{number:05}-of-00004.safetensors", **{f"w{number}": 2})
    wanted = r"2 of 4 shards of a model; missing: model-00002-of-00004\.safetensors, model-00004"
    with pytest.raises(InputError, match=wanted):
        kolmo.open_checkpoint(tmp_path)


def test_a_shard_that_is_named_says_what_it_is_a_part_of(tmp_path):
    path = save(tmp_path / "model-00001-of-00002.safetensors", w=4)
    found = kolmo.open_checkpoint(path)
    assert (found.numel, found.shards) == (4, (1, 2))
    assert found.select(["w"]).shards == (1, 2)
    report = kolmo.analyze(path, quantizers=["sign"], estimators=["kt"])
    assert report.coverage_line() == "4 of 4 weights measured; 1 of 2 shards of the model"
    assert "1 of 2 shards of the model" in str(kolmo.inspect(path))
    whole = kolmo.open_checkpoint(save(tmp_path / "model-00001-of-00001.safetensors", w=4))
    assert (whole.shards, whole.skipped) == (None, [])


def test_shards_of_the_same_tensor_are_no_model(tmp_path):
    for number in (1, 2):
        save(tmp_path / f"model-{number:05}-of-00002.safetensors", w=4)
    with pytest.raises(InputError, match="these are no shards of one model"):
        kolmo.open_checkpoint(tmp_path)


def test_an_index_of_indexes_is_refused(tmp_path):
    for name in ("model", "x"):
        index = {"weight_map": {"a": "x.safetensors.index.json"}}
        (tmp_path / f"{name}.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="as a shard, which is an index"):
        kolmo.open_checkpoint(tmp_path / "model.safetensors.index.json")


# --- several models -------------------------------------------------------------------------


def test_several_models_are_named(tmp_path):
    for name in ("b-Q8_0", "a-Q4_0", "c-Q5_0"):
        save_torch(tmp_path / f"{name}.pt", {"w": torch.ones(2)})
    with pytest.raises(InputError) as caught:
        kolmo.open_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: holds 3 checkpoints; name one: a-Q4_0.pt, b-Q8_0.pt, c-Q5_0.pt "
        f"(such as {tmp_path}/a-Q4_0.pt)"
    )


def test_a_folders_own_model_comes_before_others(tmp_path):
    save_torch(tmp_path / "pytorch_model.bin", {"w": torch.ones(5)})
    np.save(tmp_path / "embeddings.npy", np.ones(3))
    found = kolmo.open_checkpoint(tmp_path)
    assert (found.numel, found.format) == (5, "torch")
    assert "another checkpoint of the folder" in names(found)["embeddings.npy"]


def test_a_checkpoint_without_an_ending_is_known_by_its_content(tmp_path):
    save(tmp_path / "weights", w=5)
    (tmp_path / "README").write_text("(a text")
    (tmp_path / "blob").write_bytes(bytes(100))
    assert kolmo.open_checkpoint(tmp_path).numel == 5


def test_only_a_training(tmp_path):
    save_torch(tmp_path / "optimizer.pt", {"state": {}})
    with pytest.raises(InputError, match=r"state of a training and no model \(optimizer\.pt\)"):
        kolmo.open_checkpoint(tmp_path)


# --- folders in folders ---------------------------------------------------------------------


def test_the_one_folder_with_a_checkpoint(tmp_path):
    save(tmp_path / "a" / "b" / "model.safetensors", w=5)
    save_torch(tmp_path / "optimizer.pt", {"w": torch.ones(3)})
    assert kolmo.open_checkpoint(tmp_path).numel == 5


def test_steps_of_a_training(tmp_path):
    for step in (500, 1000):
        save(tmp_path / f"checkpoint-{step}" / "model.safetensors", w=step)
    with pytest.raises(InputError, match="name one: checkpoint-500, checkpoint-1000"):
        kolmo.open_checkpoint(tmp_path)
    (tmp_path / "latest").write_text("checkpoint-1000\n")
    assert kolmo.open_checkpoint(tmp_path).numel == 1000
    (tmp_path / "latest").write_text("../..")
    with pytest.raises(InputError, match="holds 2 checkpoints"):
        kolmo.open_checkpoint(tmp_path)


def test_ranks_of_megatron(tmp_path):
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("5000")
    for step in (10, 5000):
        save(tmp_path / f"iter_{step:07}" / "mp_rank_00" / "model_optim_rng.pt", w=step)
    assert kolmo.open_checkpoint(tmp_path).numel == 5000
    save(tmp_path / "iter_0005000" / "mp_rank_01" / "model_optim_rng.pt", w=5)
    with pytest.raises(InputError, match="cut over 2 ranks of tensor parallelism"):
        kolmo.open_checkpoint(tmp_path)


def pipeline(folder, index):
    for number, part in enumerate(("unet", "vae", "text_encoder")):
        save(folder / part / "diffusion_pytorch_model.safetensors", w=number + 1)
        (folder / part / "config.json").write_text("{}")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("listed", [False, True])
def test_a_pipeline_is_all_its_networks(tmp_path, listed):
    parts = {n: ["diffusers", "X"] for n in ("unet", "vae", "text_encoder", "scheduler")}
    index = {"_class_name": "StableDiffusionPipeline", **parts, "safety_checker": [None, None]}
    found = kolmo.open_checkpoint(pipeline(tmp_path, index if listed else {}))
    assert set(found) == {"unet.w", "vae.w", "text_encoder.w"}
    assert set(found.networks) == {"unet", "vae", "text_encoder"}
    assert (found.numel, found.format, found.skipped) == (6, "safetensors", [])


def test_what_a_pipeline_lacks_or_has_beside_it(tmp_path):
    index = {
        "unet": ["diffusers", "X"],
        "vae": ["diffusers", "X"],
        "prior": ["diffusers", "X"],
        "lost": ["diffusers", "X"],
    }
    pipeline(tmp_path, index)
    save(tmp_path / "sd-v1.safetensors", w=99)
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "config.json").write_text("{}")
    found = kolmo.open_checkpoint(tmp_path)
    assert set(found.networks) == {"unet", "vae"}
    assert names(found) == {
        "text_encoder/": "a folder that is no part of the pipeline",
        "prior/": "a part of the pipeline whose weights are not there",
        "lost/": "a part of the pipeline whose weights are not there",
        "sd-v1.safetensors": "beside the pipeline",
    }


def test_a_sentence_transformer_is_all_its_modules(tmp_path):
    save(tmp_path / "model.safetensors", w=5)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    modules = [{"idx": n, "name": str(n), "path": path} for n, path in
               enumerate(["", "1_Pooling", "2_Dense"])]  # fmt: skip
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert list(kolmo.open_checkpoint(tmp_path)) == ["w"]
    save(tmp_path / "2_Dense" / "model.safetensors", **{"linear.weight": 3})
    found = kolmo.open_checkpoint(tmp_path)
    assert list(found) == ["0.w", "2_Dense.linear.weight"]
    assert found.networks == ("0", "2_Dense")


def test_a_list_of_parts_that_is_none(tmp_path):
    pipeline(tmp_path, {})
    (tmp_path / "model_index.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="the list of the model's parts is not valid JSON"):
        kolmo.open_checkpoint(tmp_path)


# --- links ----------------------------------------------------------------------------------


def hub_cache(folder):
    """A model as the cache of the Hugging Face Hub has it."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "abc123"
    for place in (blobs, snapshot, folder / "refs"):
        place.mkdir(parents=True)
    save(blobs / "0f3a", w=5)
    os.symlink("../../blobs/0f3a", snapshot / "model.safetensors")
    (folder / "refs" / "main").write_text("abc123")
    return snapshot


def test_links_of_a_hubs_cache_are_followed(tmp_path):
    snapshot = hub_cache(tmp_path / "models--x--y")
    for source in (snapshot, snapshot / "model.safetensors", tmp_path / "models--x--y"):
        assert kolmo.open_checkpoint(source).numel == 5
    elsewhere = tmp_path / "downloaded"
    elsewhere.mkdir()
    os.symlink(tmp_path / "models--x--y" / "blobs" / "0f3a", elsewhere / "model.safetensors")
    assert kolmo.open_checkpoint(elsewhere).numel == 5
    save(tmp_path / "models--x--y" / "snapshots" / "def" / "model.safetensors", w=6)
    assert kolmo.open_checkpoint(tmp_path / "models--x--y").numel == 5
    (tmp_path / "models--x--y" / "refs" / "main").unlink()
    with pytest.raises(InputError, match="holds 2 checkpoints; name one: snapshots/abc123"):
        kolmo.open_checkpoint(tmp_path / "models--x--y")


def test_links_out_of_a_folder_are_not_followed_unless_they_are_named(tmp_path):
    outside = save(tmp_path / "outside.safetensors", w=5)
    folder = tmp_path / "folder"
    folder.mkdir()
    os.symlink(outside, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"a link out of its folder, to .*, which is not followed"):
        kolmo.open_checkpoint(folder)
    assert kolmo.open_checkpoint(folder / "model.safetensors").numel == 5
    (folder / "x.index.json").write_text(json.dumps({"weight_map": {"w": "model.safetensors"}}))
    with pytest.raises(InputError, match="a link out of its folder"):
        kolmo.open_checkpoint(folder / "x.index.json")


def test_a_cache_whose_blobs_are_a_link_is_not_trusted(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    save(secret / "0f3a", w=5)
    snapshot = tmp_path / "m" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    os.symlink(secret, tmp_path / "m" / "blobs")
    os.symlink("../../blobs/0f3a", snapshot / "model.safetensors")
    with pytest.raises(InputError, match="a link out of its folder"):
        kolmo.open_checkpoint(snapshot)


def test_devices_and_pipes_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    for source in (tmp_path, tmp_path / "model.safetensors", "/dev/zero"):
        with pytest.raises(InputError, match=r"is a (device|pipe), not a file"):
            kolmo.open_checkpoint(source)


def test_links_within_a_folder_are_followed(tmp_path):
    save(tmp_path / "data" / "x", w=5)
    os.symlink("data/x", tmp_path / "model.safetensors")
    assert kolmo.open_checkpoint(tmp_path).numel == 5


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..", "", "a\0b", "a\\b"])
def test_no_file_is_found_outside_a_folder(tmp_path, name):
    save(tmp_path / "in" / "x.safetensors", w=5)
    file = File(LocalFolder(tmp_path / "in"), "x.safetensors")
    with pytest.raises(InputError, match="points outside its folder"):
        file.beside(name)


def test_sub_folders_are_folders(tmp_path):
    save(tmp_path / "a" / "b" / "x.safetensors", w=5)
    inner = SubFolder(SubFolder(LocalFolder(tmp_path), "a"), "b")
    assert inner.names() == ["x.safetensors"]
    assert inner.has("x.safetensors")
    assert not inner.has("y")
    assert inner.where == f"{tmp_path}/a/b"
    assert inner.path("x.safetensors") == str(tmp_path / "a" / "b" / "x.safetensors")


def test_a_folder_of_far_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr("kolmo.checkpoints.folders.MOST", 10)
    for number in range(11):
        (tmp_path / str(number)).touch()
    with pytest.raises(InputError, match="holds more than 10 files; name the one that you mean"):
        kolmo.open_checkpoint(tmp_path)


# --- nothing else is opened -----------------------------------------------------------------


def test_nothing_but_the_chosen_file_is_opened(tmp_path, monkeypatch):
    save(tmp_path / "model.safetensors", w=5)
    for name in ("pytorch_model.bin", "optimizer.pt", "flax_model.msgpack", "x.npz", "README.md"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    opened = []
    stored = LocalFolder.stored

    def watched(self, name):
        opened.append(name)
        return stored(self, name)

    monkeypatch.setattr(LocalFolder, "stored", watched)
    assert kolmo.open_checkpoint(tmp_path).numel == 5
    assert {name for name in opened if not name.endswith("config.json")} == {"model.safetensors"}
