"""Runs as TOML files, flags that replace single settings, and the options of the command line."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.errors import InputError
from momos import cli
from momos.cli.options import DATA, MODEL, MOSAIC, OPTIMIZATION, QUANTIZATION, SEED
from momos.cli.study import ARMS, MEASURING, SAMPLED
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.arms import StudyConfig
from momos.lab.config import TrainConfig
from momos.lab.settings import asked_kind, to_toml, train_config

MOSAICS = st.one_of(
    st.none(),
    st.builds(
        SampledMosaic,
        selection=st.sampled_from(["sample", "kmeans"]),
        block_size=st.integers(1, 9),
        motifs=st.none() | st.integers(1, 99),
        zero_motif=st.booleans(),
        unit=st.sampled_from(["step", "epoch"]),
        exclude=st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=2).map(tuple),
    ),
    st.builds(
        LearnedMosaic,
        rate=st.none() | st.floats(0, 1e6),
        sparsity=st.none() | st.floats(0.01, 0.99),
        capacity=st.none() | st.floats(1e-9, 1),
        policy=st.sampled_from(["all", "no-norms", "matrices"]),
    ),
)
RUNS = st.builds(
    TrainConfig,
    epochs=st.integers(1, 999),
    learning_rate=st.floats(1e-300, 1e300),
    optimizer=st.sampled_from(["adamw", "sgd"]),
    folder=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
    mosaic=MOSAICS,
)


@given(RUNS)
def test_a_written_run_is_read_back(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    again = train_config(path, {})
    assert again.settings() == config.settings()
    assert to_toml(again) == to_toml(config)


def test_a_written_run_names_every_setting():
    config = TrainConfig(mosaic=LearnedMosaic())
    names = [line.removeprefix("# ").split()[0] for line in to_toml(config).splitlines() if line]
    run = [field.name for field in dataclasses.fields(TrainConfig) if field.name != "mosaic"]
    mosaic = [field.name for field in dataclasses.fields(LearnedMosaic)]
    assert names == [*run, "[mosaic]", "kind", *mosaic]


def write(folder, text):
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_flags_replace_single_settings(tmp_path):
    path = write(
        tmp_path, 'epochs = 3\nseed = 7\n[mosaic]\nkind = "learned"\nmotifs = 3\nrate = 2\n'
    )
    config = train_config(path, {"epochs": 5, "rate": 0.5, "exclude": ("*.bias",)})
    learned = LearnedMosaic(motifs=3, rate=0.5, exclude=("*.bias",))
    assert config == TrainConfig(epochs=5, seed=7, mosaic=learned)
    share = train_config(path, {"capacity": 0.1}).mosaic
    assert (share.motifs, share.capacity) == (None, 0.1)  # in place of the file's number


@pytest.mark.parametrize(
    ("given", "mosaic"),
    [
        ({}, None),
        ({"momos": True}, SampledMosaic(unit="epoch")),
        ({"momos": True, "motifs": 9, "unit": "step"}, SampledMosaic(motifs=9)),
        ({"selection": "kmeans"}, SampledMosaic(selection="kmeans", unit="epoch")),
        ({"rate": 3.0}, LearnedMosaic(rate=3.0)),
        ({"momos": True, "rate": 3.0}, LearnedMosaic(rate=3.0)),
        ({"sparsity": 0.9}, LearnedMosaic(sparsity=0.9)),
        ({"selection": "learned"}, LearnedMosaic()),
    ],
)
def test_the_mosaic_that_flags_ask_for(given, mosaic):
    assert train_config(None, given) == TrainConfig(mosaic=mosaic)


def test_which_kind_settings_ask_for():
    assert asked_kind({"block_size": 4, "motifs": 3}) is None
    assert asked_kind({"rate": 0.0}) == asked_kind({"selection": "learned"}) == "learned"
    assert asked_kind({"selection": "sample"}) == "sampled"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'; did you mean epochs"),
        ("epochs = 0", "epochs is at least 1"),
        ("epochs = 3.0", "epochs is a whole number, not 3.0"),
        ("epochs = true", "epochs is a whole number, not True"),
        ('learning_rate = "fast"', "learning_rate is a number, not 'fast'"),
        ('model = "mpl"', "unknown model 'mpl'; did you mean mlp"),
        ("model = 3", "model is a text, not 3"),
        ("mosaic = 3", "mosaic is a table"),
        ("[mosaic]\nrate = 3", "begins with kind"),
        ('[mosaic]\nkind = "found"', "not 'found'"),
        ("[mosaic]\nkind = ['learned']", "begins with kind"),
        (f"learning_rate = {10**400}", "learning_rate is a number, not 1000"),
        ('[mosaic]\nkind = "learned"\nmotif = 3', "unknown setting 'motif'; did you mean motifs"),
        ('[mosaic]\nkind = "sampled"\nrate = 3', "rate is a setting of learned mosaics"),
        ('[mosaic]\nkind = "learned"\nunit = "epoch"', "unit is a setting of sampled mosaics"),
        ('[mosaic]\nkind = "sampled"\ninclude = "w"', "include is a list of texts"),
        ('[mosaic]\nkind = "sampled"\ninclude = [1]', "include is a list of texts"),
        ("epochs = \nseed = 1", "not a TOML file: .*line 1"),
        ("bits = 4\n[mosaic]\nkind = 'learned'", "takes no bits"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"run\.toml: .*{message}"):
        train_config(write(tmp_path, text), {})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml: cannot be read"):
        train_config(tmp_path / "absent.toml", {})
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"run\.toml: not a TOML file"):
        train_config(tmp_path / "run.toml", {})


def test_flags_that_contradict_are_refused(tmp_path):
    path = write(tmp_path, '[mosaic]\nkind = "sampled"\n')
    with pytest.raises(InputError, match="the file describes a sampled mosaic, the options a lear"):
        train_config(path, {"rate": 1.0})
    with pytest.raises(InputError, match="need --momos"):
        train_config(None, {"capacity": 0.1})


# --- options ----------------------------------------------------------------------------------


def test_every_setting_of_a_run_has_one_option():
    named = [
        name for group in (DATA, MODEL, OPTIMIZATION, SEED, QUANTIZATION) for name in group.helps
    ]
    assert sorted(named) == sorted(
        field.name for field in dataclasses.fields(TrainConfig) if field.name != "mosaic"
    )
    kinds = (SampledMosaic, LearnedMosaic)
    # --bits serves both: with --rate they are those of the grid that is learned.
    assert {*MOSAIC.helps, "bits"} == {
        field.name for kind in kinds for field in dataclasses.fields(kind)
    }


def test_every_setting_of_a_study_has_one_option_but_three():
    named = {name for group in (ARMS, SAMPLED, MEASURING) for name in group.helps}
    own = {field.name for field in dataclasses.fields(StudyConfig)}
    assert own - named == {"train", "seeds", "learn", "zeros_rate"}  # --seeds is how many
    assert named <= own


@pytest.fixture
def run(monkeypatch, capsys):
    def go(*arguments):
        monkeypatch.setattr(sys, "argv", ["momos", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return go


def test_printed_settings_repeat_a_run(run, tmp_path):
    options = ["--epochs", 1, "--hidden", 8, "--layers", 2, "--momos", "--motifs", 5]
    code, printed, _ = run("train", *options, "--print-config")
    assert code == 0
    path = write(tmp_path, printed)
    assert tomllib.loads(printed)["mosaic"]["unit"] == "epoch"
    bytes_of = []
    for name, how in (("a", options), ("b", ["--config", path])):
        code, out, _ = run("train", *how, "--out", tmp_path / name, "--json")
        assert code == 0
        assert (tmp_path / name / "config.toml").read_text().split("\n", 1)[1] == printed
        bytes_of.append((tmp_path / name / "weights.mosaic").read_bytes())
        assert json.loads(out)["metrics"]["motifs"] == 5
    assert bytes_of[0] == bytes_of[1]


def test_help_groups_the_options(run):
    for command, panels in {
        "train": ["Data", "Model", "Optimization", "Mosaic", "Quantization", "Output"],
        "study": ["Data", "Model", "Optimization", "Arms", "Mosaic", "Measuring", "Output"],
        "project": ["Mosaic"],
    }.items():
        code, out, _ = run(command, "--help")
        assert code == 0
        found = [line.rstrip(":") for line in out.splitlines() if re.match(r"\S.*:$", line)]
        assert [heading for heading in found if heading in panels] == panels


def test_help_and_print_config_need_no_torch():
    script = """
import sys
from momos.cli import main
for arguments in (["train", "--help"], ["study", "--help"], ["train", "--print-config"]):
    sys.argv = ["momos", *arguments]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, arguments
    assert "torch" not in sys.modules and "pandas" not in sys.modules, arguments
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
