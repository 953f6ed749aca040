"""The folder of a run: checkpoints along training, no other run overwritten, nothing stale left."""

from __future__ import annotations

import json
import sys

import pytest
import safetensors.torch
import torch

from kolmo.errors import InputError
from momos import cli
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.config import TrainConfig
from momos.lab.folder import begin
from momos.lab.training import train
from momos.mosaic.mosaic import Mosaic

SMALL = {"epochs": 2, "hidden": 8, "layers": 2}
DENSE = TrainConfig(**SMALL)
MOSAIC = TrainConfig(**SMALL, mosaic=SampledMosaic(motifs=5, unit="epoch"))


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def metadata_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["momos"])


# --- checkpoints along training -----------------------------------------------------------------

KINDS = {
    "dense": {},
    "quantized": {"bits": 4},
    "sampled": {"mosaic": SampledMosaic(motifs=5, every=7, unit="step")},
    "learned": {"mosaic": LearnedMosaic(rate=1.0, every=3)},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_what_is_saved_on_the_way_changes_nothing(tmp_path, options):
    config = TrainConfig(**SMALL, **options)
    plain = train(config)
    result = train(config, tmp_path, save_every=7, save_unit="step")
    for state in ("init", "best", "last"):
        for name, tensor in plain.states[state].items():
            assert torch.equal(result.states[state][name], tensor)
    steps = sorted(result.checkpoints["steps"].iterdir())
    assert [path.name for path in steps] == [
        f"step-{number:06d}.safetensors" for number in (0, 7, 14, 20)
    ]
    for path, state in ((steps[0], "init"), (steps[-1], "last")):
        saved = safetensors.torch.load_file(path)
        assert all(torch.equal(saved[name], tensor) for name, tensor in plain.states[state].items())
    assert [metadata_of(path)["step"] for path in steps] == [0, 7, 14, 20]
    projected = [metadata_of(path)["projected"] for path in steps]
    assert projected == [False, *[config.mosaic is not None] * 3]


def test_what_a_mosaic_saves_right_after_a_projection_is_one(tmp_path):
    config = TrainConfig(epochs=3, hidden=8, mosaic=SampledMosaic(motifs=5, every=2, unit="epoch"))
    train(config, tmp_path, save_every=1)
    for path in sorted((tmp_path / "steps").iterdir())[1:]:
        found = Mosaic.from_model(safetensors.torch.load_file(path))
        assert (len(found.motifs) <= 5) == metadata_of(path)["projected"]


def test_a_run_that_goes_on_has_all_its_checkpoints(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    train(DENSE, tmp_path / "whole", save_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(DENSE, tmp_path / "cut", save_every=1, progress=stop)
    train(DENSE, tmp_path / "cut", save_every=1, resume=True)
    for path in (tmp_path / "whole" / "steps").iterdir():
        assert (tmp_path / "cut" / "steps" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_every": 0}, "every 1 or more epochs"),
        ({"save_every": 1, "save_unit": "day"}, "unknown unit 'day'"),
        ({"resume": True, "overwrite": True}, "not both"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_touched(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(DENSE, tmp_path, **options)
    assert names(tmp_path) == []
    with pytest.raises(InputError, match="name the folder"):
        train(DENSE, save_every=1)


# --- another run's folder -----------------------------------------------------------------------


def test_another_run_is_never_overwritten_unless_asked(tmp_path):
    train(MOSAIC, tmp_path, save_every=1)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "steps" / "mine-1.safetensors").write_bytes(b"mine")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(
        InputError,
        match=r"config\.toml: is of another run \(mosaic kind sampled there, None now\): .*over",
    ):
        train(DENSE, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    train(DENSE, tmp_path, overwrite=True)
    train(DENSE, tmp_path / "fresh")
    left = set(names(tmp_path)) - {f"fresh/{name}" for name in names(tmp_path / "fresh")}
    assert left == {*names(tmp_path / "fresh"), "notes.txt", "steps/mine-1.safetensors"}


def test_the_same_run_again_leaves_nothing_of_the_first(tmp_path):
    train(DENSE, tmp_path, save_every=1)
    train(DENSE, tmp_path)
    assert not list((tmp_path / "steps").iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_no_run_wrote_are_left_alone(tmp_path, overwrite):
    (tmp_path / "best.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"best\.safetensors: .* did not write it"):
        train(DENSE, tmp_path, overwrite=overwrite)
    assert (tmp_path / "best.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("text", ["epochs = 2\nhidden = 8\nlayers = 2\n", "no toml"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_settings_that_no_run_wrote_is_left_alone(tmp_path, text, overwrite):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"config\.toml: is there already, and momos train did not"
    ):
        train(DENSE, tmp_path, overwrite=overwrite)
    assert (names(tmp_path), path.read_text()) == (["config.toml"], text)


def test_damaged_settings_of_a_run_are_replaced_where_that_is_asked_for(tmp_path):
    path = begin(tmp_path, DENSE, overwrite=False) / "config.toml"
    whole = path.read_text()
    path.write_text(whole.splitlines()[0] + "\nno toml")
    with pytest.raises(InputError, match="no configuration of a run"):
        begin(tmp_path, DENSE, overwrite=False)
    begin(tmp_path, DENSE, overwrite=True)
    assert path.read_text() == whole


def test_the_command_refuses_and_says_what_to_do(tmp_path, monkeypatch, capsys):
    def momos(*arguments):
        monkeypatch.setattr(sys, "argv", ["momos", "train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr()

    options = ["--hidden", 8, "--layers", 2, "-o", tmp_path]
    assert momos("--momos", "--epochs", 2, "--save-every", 1, *options)[0] == 0
    code, said = momos("--epochs", 1, *options)
    assert code == 2
    assert "(epochs 2 there, 1 now)" in said.err
    assert "--overwrite" in said.err
    assert momos("--epochs", 1, "--overwrite", *options)[0] == 0
    assert not (tmp_path / "weights.mosaic").exists()
    assert not list((tmp_path / "steps").iterdir())
