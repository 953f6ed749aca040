"""Outputs: never what is read, never another's file unasked; whole, of the right mode, in place."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading

import matplotlib.figure
import numpy as np
import pytest
import safetensors.numpy

import kolmo
from kolmo import replacing
from kolmo.calibration.journal import Journal
from kolmo.cli import demo
from kolmo.errors import InputError, KolmoError
from kolmo.files import directory
from kolmo.replacing import write_atomically, write_together
from kolmo.report.figures.drawing import save_figure
from momos.checkpoint import project_checkpoint
from momos.cli import main as momos_main
from momos.config import SampledMosaic
from momos.lab.config import TrainConfig
from momos.lab.datasets import fetch_dataset
from momos.lab.folder import begin, begin_study
from momos.lab.training import train
from momos.mosaic.mosaic import Mosaic
from tests.house import ROOT
from tests.test_cli import run

POSIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes in folders")
ROOT_ONLY = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files away"
)
WEIGHTS = {"w": np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)}
QUICK = ["-q", "sign", "-e", "kt", "--null", "none", "--scope", "model"]
FOREIGN = b"somebody's"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the commands read, made once."""
    folder = tmp_path_factory.mktemp("made")
    safetensors.numpy.save_file(WEIGHTS, folder / "model-1.safetensors")
    safetensors.numpy.save_file({"w": 2 * WEIGHTS["w"]}, folder / "model-2.safetensors")
    kolmo.pack(folder / "model-1.safetensors", folder / "packed.kmo", preset="fast")
    project_checkpoint(WEIGHTS, SampledMosaic(motifs=4))[0].save(folder / "small.mosaic")
    options = {"quantizers": "sign", "estimators": "kt", "nulls": [], "progress": False}
    kolmo.analyze(folder / "model-1.safetensors", **options).save(folder / "report.json")
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A folder of a test's own with all of that, in which it runs."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    shutil.copytree(demo.FOLDER, tmp_path / "demo")
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FIRST = "model-1.safetensors"
ANALYZE = ["kolmo", "analyze", FIRST, *QUICK]
COMMANDS = {
    "pack": (["kolmo", "pack", FIRST, "--preset", "fast", "-o"], "out.kmo", FIRST),
    "simplify": (
        ["kolmo", "simplify", FIRST, "--distortion", "0.1", "--preset", "fast", "-o"],
        "out.kmo",
        FIRST,
    ),
    "curve": (
        ["kolmo", "curve", FIRST, "--step", "1", "--preset", "fast", "-o", ".", "--json", "--step"],
        "step-2.kmo",
        FIRST,
    ),
    "curve, drawn": (
        ["kolmo", "curve", FIRST, "--step", "1", "--preset", "fast", "--plot"],
        "out.svg",
        FIRST,
    ),
    "unpack": (["kolmo", "unpack", "packed.kmo", "-o"], "out.safetensors", "packed.kmo"),
    "unpack, into a folder": (
        ["kolmo", "unpack", "packed.kmo", "--threads", "1", "-o"],
        "packed.safetensors",
        "packed.kmo",
    ),
    "analyze": ([*ANALYZE, "-o"], "out.json", FIRST),
    "analyze, as CSV": ([*ANALYZE, "-o"], "out.csv", FIRST),
    "analyze, as parquet": ([*ANALYZE, "-o"], "out.parquet", FIRST),
    "analyze, a page": ([*ANALYZE, "--html"], "out.html", FIRST),
    "analyze, a name": (["kolmo", "analyze", f"a={FIRST}", *QUICK, "-o"], "out.json", FIRST),
    "compare": (
        ["kolmo", "compare", "model-[12].safetensors", *QUICK, "-o"],
        "out.json",
        "model-2.safetensors",
    ),
    "trajectory": (
        ["kolmo", "trajectory", "model-[12].safetensors", *QUICK, "-o"],
        "out.json",
        "model-2.safetensors",
    ),
    "delta": (
        ["kolmo", "delta", FIRST, "model-2.safetensors", "--scope", "model", "-o"],
        "out.json",
        FIRST,
    ),
    "plot": (["kolmo", "plot", "report.json", "-o", ".", "--format"], "report-layers.svg",
             "report.json"),
    "demo": (["kolmo", "demo", "-o"], "out.svg", "demo/random.safetensors"),
    "project": (["momos", "project", FIRST, "--motifs", "4", "-o"], "out.mosaic", FIRST),
    "expand": (["momos", "expand", "small.mosaic", "-o"], "out.safetensors", "small.mosaic"),
}  # fmt: skip
"""What is called before the output's name, that name, and a file that is read."""

LAST = {"curve": "2", "plot": "svg", "unpack, into a folder": "."}
"""What is given in place of the output's name, where that follows from others."""

ONCE = {"unpack", "unpack, into a folder", "expand"}
"""What writes checkpoints, of which nobody knows whose they are."""

SLOW = {"demo", "curve", "curve, drawn", "analyze, a page", "plot", "trajectory"}
"""What takes seconds, and is called twice in vain and once to its end elsewhere."""


def call(name, *more):
    arguments, output, _ = COMMANDS[name]
    words = [*arguments, LAST.get(name, output), *more]
    return run(*words[1:]) if words[0] == "kolmo" else run(*words[1:], main=momos_main)


def refused(result, *said):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    line = result.stderr.strip().splitlines()[-1]
    assert "error: " in line
    assert all(each in line for each in said), line


# --- never what is read -------------------------------------------------------------------------

LINKS = {
    "a symlink": lambda output, source: output.symlink_to(source),
    "a symlink to a symlink": lambda output, source: (
        output.with_name("hop").symlink_to(source),
        output.symlink_to("hop"),
    ),
    "a hard link": lambda output, source: os.link(source, output),
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_is_never_what_is_read(name, link, place):
    _, output, source = COMMANDS[name]
    LINKS[link](place / output, place / source)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    refused(call(name, "--overwrite"), f"{output}: is what is read")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "spelled", ["{}", "./{}", "sub/../{}", "{folder}/{}", "file://{folder}/{}"]
)
def test_whatever_name_the_source_goes_by(spelled, place):
    (place / "sub").mkdir()
    source = spelled.format(FIRST, folder=place)
    before = (place / FIRST).read_bytes()
    for arguments in (["pack", source, "-o"], ["simplify", source, "--distortion", "0.1", "-o"]):
        for output in (FIRST, f"./{FIRST}", place / FIRST):
            refused(run(*arguments, output, "--overwrite"), "is what is read")
    refused(run("project", source, "-o", FIRST, "--overwrite", main=momos_main), "is what is read")
    assert (place / FIRST).read_bytes() == before


def test_every_file_of_a_source_counts(place):
    folder = place / "model"
    folder.mkdir()
    weights = {f"w{i}": WEIGHTS["w"] + i for i in range(2)}
    names = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for name, (key, array) in zip(names, weights.items(), strict=True):
        safetensors.numpy.save_file({key: array}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(
        f'{{"weight_map": {{"w0": "{names[0]}", "w1": "{names[1]}"}}}}', encoding="utf-8"
    )
    (folder / "config.json").write_text("{}")
    for source in (folder, index):
        for name in (*names, index.name):
            with pytest.raises(InputError, match="is what is read"):
                kolmo.pack(source, folder / name, overwrite=True)
    os.link(folder / names[1], place / "out.json")
    refused(run("analyze", index, *QUICK, "-o", "out.json", "--overwrite"), "is what is read")
    refused(run("analyze", folder, *QUICK, "-o", folder / "config.json", "--overwrite"), "is what")
    own = folder / "report.json"
    for _ in range(2):  # a report of our own in the folder is none of its files
        assert run("analyze", folder, *QUICK, "-o", own).returncode == 0


def test_what_else_a_command_reads_counts(place):
    (place / "log.csv").write_text("step,loss\n1,0.5\n2,0.4\n", encoding="utf-8")
    given = ["trajectory", "model-[12].safetensors", *QUICK, "--metrics", "log.csv"]
    refused(run(*given, "-o", "log.csv", "--overwrite"), "is what is read")
    null = ["analyze", FIRST, "-q", "sign", "-e", "kt", "--null", "reference:model-2.safetensors"]
    os.link("model-2.safetensors", "out.json")
    refused(run(*null, "-o", "out.json", "--overwrite"), "is what is read")


def test_a_report_is_not_saved_over_what_it_measured(place, made):
    report = kolmo.load_report("report.json")
    for name, save in (("out.json", report.save), ("out.html", report.to_html)):
        os.link(made / FIRST, name)
        with pytest.raises(InputError, match="is what is read"):
            save(name, overwrite=True)


# --- never another's file unasked ---------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_another_file_is_replaced_only_where_that_is_asked_for(name, place):
    output = place / COMMANDS[name][1]
    output.write_bytes(FOREIGN)
    refused(call(name), f"{output.name}: another file is there already", "--overwrite")
    assert output.read_bytes() == FOREIGN
    if name in SLOW:
        return
    assert call(name, "--overwrite").returncode == 0
    assert output.read_bytes() != FOREIGN
    again = call(name)
    if name in ONCE:
        refused(again, "another file is there already")
    else:
        assert again.returncode == 0, again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_what_takes_longer_is_replaced_where_that_is_asked_for(name, place):
    output = place / COMMANDS[name][1]
    output.write_bytes(FOREIGN)
    for more in (["--overwrite"], []):
        assert call(name, *more).returncode == 0
        assert output.read_bytes() != FOREIGN


def test_nothing_is_drawn_that_may_not_be_written(place, monkeypatch):
    for draw in ("figures.plots.figures", "interactive.interactive_figures"):
        monkeypatch.setattr(f"kolmo.report.{draw}", lambda *_: pytest.fail("it is drawn"))
    for name, way in (("report-models.svg", ["--format", "svg"]),
                      ("report-layers.html", ["--interactive"])):  # fmt: skip
        (place / name).write_bytes(FOREIGN)
        refused(run("plot", "report.json", *way), f"{name}: another file is there already")


def test_what_stands_beside_an_output_counts_too(place):
    (place / "out.csv.meta.json").write_bytes(FOREIGN)
    refused(run(*ANALYZE[1:], "-o", "out.csv"), "out.csv.meta.json: another file is there")
    (place / "out.kmo.tried.json").write_bytes(FOREIGN)
    with pytest.raises(InputError, match=r"out\.kmo\.tried\.json: another file is there"):
        kolmo.simplify(FIRST, "out.kmo", evaluate=lambda _: 0.0)
    (place / "c.csv.journal").write_bytes(FOREIGN)
    with pytest.raises(InputError, match=r"c\.csv\.journal: another file is there"):
        Journal(place / "c.csv.journal")
    for output in ("c.csv", "c.json", "c.parquet", "c.md", "c.png"):
        (place / output).write_bytes(FOREIGN)
        refused(run("calibrate", "--quick", "-o", output), f"{output}: another file is there")
    (place / "d.png").write_bytes(FOREIGN)
    refused(run("calibrate", "--quick", "-o", "d.md"), "d.png: another file is there")


def test_empty_files_are_nobodys(place):
    for output in ("out.json", "out.csv", "out.html"):
        (place / output).touch()
    assert run(*ANALYZE[1:], "-o", "out.json", "--html", "out.html").returncode == 0
    assert run(*ANALYZE[1:], "-o", "out.csv").returncode == 0
    found = [kolmo.load_report(name).table["bits"].tolist() for name in ("out.json", "out.csv")]
    assert found[0] == found[1]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_of_others_are_told_from_our_own(suffix, tmp_path):
    figure, path = matplotlib.figure.Figure(), tmp_path / f"f.{suffix}"
    for _ in range(2):
        save_figure(figure, path)
    figure.savefig(path)  # by matplotlib itself, as anybody does
    with pytest.raises(InputError, match=r"another file is there already: .*overwrite=True"):
        save_figure(figure, path)


def test_a_report_of_another_kind_of_file_is_anothers(place):
    report = kolmo.load_report("report.json")
    for name in ("a.csv", "b.parquet", "c.json"):
        shutil.copy(FIRST, name)
        with pytest.raises(InputError, match="another file is there"):
            report.save(name)
    report.table.to_parquet("d.parquet")  # somebody's table, with the same columns
    with pytest.raises(InputError, match="another file is there"):
        report.save("d.parquet")


def test_the_runs_of_momos_keep_to_their_own(place, monkeypatch):
    settings = place / "run" / "config.toml"
    settings.parent.mkdir()
    settings.write_text("epochs = 1  # a note of mine\nhidden = 4\nlayers = 2\n", encoding="utf-8")
    small = TrainConfig(epochs=1, hidden=4, layers=2)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"config\.toml: is there already, and momos train"):
            begin(settings.parent, small, overwrite)
    assert "a note of mine" in settings.read_text(encoding="utf-8")
    own = begin(place / "own", small, False) / "config.toml"
    written = own.stat()
    begin(place / "own", small, False)
    assert own.stat().st_mtime_ns == written.st_mtime_ns
    train_again = ["train", "--config", own, "--seed", "1", "-o", place / "own", "--overwrite"]
    refused(run(*train_again, main=momos_main), "config.toml: is what is read")


def test_steps_of_a_run_are_told_from_other_checkpoints(tmp_path):
    path = tmp_path / "steps" / "epoch-000000.safetensors"
    path.parent.mkdir()
    safetensors.numpy.save_file(WEIGHTS, path)
    config = TrainConfig(epochs=1, hidden=4, layers=2)
    with pytest.raises(InputError, match=r"epoch-000000\.safetensors: another file is there"):
        train(config, tmp_path / "run", save_every=1, save_to=path.parent)


@pytest.mark.parametrize("name", ["results.csv", "index.html", "checkpoints", "accuracy.png"])
def test_a_study_keeps_to_its_own_folder(name, tmp_path):
    (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).write_bytes(FOREIGN)
    with pytest.raises(InputError, match=f"{name}: is there already, and momos study did not"):
        begin_study(tmp_path, [], overwrite=False)
    begin_study(tmp_path, [], overwrite=True)
    begin_study(tmp_path, [], overwrite=False)  # now it is one
    if "." in name:
        with pytest.raises(InputError, match="is what is read"):
            begin_study(tmp_path, [tmp_path / name], overwrite=True)


def test_a_study_of_an_earlier_momos_goes_on(tmp_path):
    (tmp_path / "runs").mkdir()
    record = json.dumps({"key": "0" * 64, "files": {}}, indent=1)
    (tmp_path / "runs" / "dense-seed0.json").write_text(record, encoding="utf-8")
    (tmp_path / "results.csv").write_bytes(FOREIGN)
    assert begin_study(tmp_path, [], overwrite=False) == tmp_path


def test_what_is_fetched_replaces_no_other_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(FOREIGN)
    sources = {"mnist": {"http://127.0.0.1:1/a.gz": "0" * 64}}
    with pytest.raises(InputError, match=r"a\.gz: another file is there already"):
        fetch_dataset("mnist", tmp_path, sources)
    assert (tmp_path / "a.gz").read_bytes() == FOREIGN


# --- nothing half done --------------------------------------------------------------------------


def test_a_file_that_is_not_good_enough_takes_no_place(place):
    """The metric is another when it is evaluated for the last time, of the decoded file."""

    def simplify(last):
        calls = []

        def metric(_):
            calls.append(1)
            return 9.0 if len(calls) == last else 1.0

        kolmo.simplify(FIRST, "out.kmo", evaluate=metric, tolerance=0.5, preset="fast")
        return len(calls)

    last = simplify(0)
    before = (place / "out.kmo").read_bytes()
    with pytest.raises(KolmoError, match=r"not kept: the decoded file has 9, the limit is 1\.5"):
        simplify(last)
    assert (place / "out.kmo").read_bytes() == before


def test_a_damaged_container_leaves_no_folder(place):
    data = bytearray((place / "packed.kmo").read_bytes())
    data[10] ^= 1
    (place / "packed.kmo").write_bytes(data)
    with pytest.raises(InputError):
        kolmo.unpack("packed.kmo", place / "new" / "below")
    assert not (place / "new").exists()


def test_folders_that_were_there_or_are_used_stay(tmp_path):
    def fail(place, *files):
        with directory(tmp_path / place):
            for file in files:
                (tmp_path / place / file).touch()
            raise RuntimeError

    (tmp_path / "old").mkdir()
    for place, *files in (("old/new",), ("used/below", "file")):
        with pytest.raises(RuntimeError):
            fail(place, *files)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert found == ["old", "used", "used/below", "used/below/file"]


# --- modes and kinds ----------------------------------------------------------------------------


def written(path, content=b"new"):
    write_atomically(path, lambda file: file.write_bytes(content))
    assert path.read_bytes() == content
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o007])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@POSIX
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path, umask):
    assert written(tmp_path / "new") == 0o666 & ~umask


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o4755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode, umask):
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(mode)
    assert written(tmp_path / "old") == mode


@POSIX
def test_nobody_else_reads_what_is_to_be_private_while_it_is_made(tmp_path):
    (tmp_path / "old").touch(mode=0o600)
    modes = []

    def write(file):
        modes.append(stat.S_IMODE(file.stat().st_mode))
        file.write_bytes(b"new")

    write_atomically(tmp_path / "old", write)
    assert modes == [0o600]


@ROOT_ONLY
def test_root_keeps_the_owner(tmp_path):
    (tmp_path / "old").touch(mode=0o640)
    os.chown(tmp_path / "old", 65534, 65533)
    assert written(tmp_path / "old") == 0o640
    status = (tmp_path / "old").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65533)


def test_a_link_is_followed(tmp_path):
    target = tmp_path / "far" / "file"
    target.parent.mkdir()
    (tmp_path / "link").symlink_to("hop")
    (tmp_path / "hop").symlink_to(target)
    for content in (b"first", b"second"):  # it leads nowhere at first
        written(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert not target.is_symlink()
        assert target.read_bytes() == content
    found = sorted(path.name for path in tmp_path.rglob("*"))
    assert found == ["far", "file", "hop", "link"]


@POSIX
@pytest.mark.parametrize("command", ["pack", "project"])
def test_a_pipe_is_written_to(place, command):
    os.mkfifo("out")
    got = []
    reader = threading.Thread(target=lambda: got.append((place / "out").read_bytes()))
    reader.start()
    if command == "pack":
        kolmo.pack(FIRST, "out", preset="fast")
    else:
        project_checkpoint(WEIGHTS, SampledMosaic(motifs=4))[0].save("out")
    reader.join()
    same = {"pack": "packed.kmo", "project": "small.mosaic"}[command]
    assert got == [(place / same).read_bytes()]
    assert stat.S_ISFIFO((place / "out").stat().st_mode)
    assert not list(place.glob(".kolmo-*"))


@ROOT_ONLY
def test_a_device_is_written_to(place):
    try:
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (place / "null").write_bytes(b"x")
    except OSError:
        pytest.skip("a machine that gives no devices")
    before = (place / "null").stat()
    assert kolmo.pack(FIRST, "null", preset="fast").bits
    after = (place / "null").stat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (
        before.st_ino,
        before.st_mode,
        before.st_rdev,
    )


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="a system without /dev/fd")
def test_an_open_file_is_written_where_it_is(place):
    with open("out.kmo", "w+b") as file:
        file.write(b"before ")
        file.flush()
        kolmo.pack(FIRST, f"/dev/fd/{file.fileno()}", preset="fast")
        file.write(b" after")
    assert (place / "out.kmo").read_bytes() == (
        b"before " + (place / "packed.kmo").read_bytes() + b" after"
    )


KINDS = {"a directory": lambda path: path.mkdir()}
if hasattr(socket, "AF_UNIX"):
    KINDS["a socket"] = lambda path: socket.socket(socket.AF_UNIX).bind(path.name)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_no_file_is_an_error(kind, place):
    KINDS[kind](place / "out.json")
    before = (place / "out.json").stat()
    refused(run(*ANALYZE[1:], "-o", "out.json", "--overwrite"), f"out.json: is {kind}")
    with pytest.raises(InputError, match=f"is {kind}"):
        write_atomically(place / "out.json", lambda file: file.write_bytes(b"new"))
    assert os.path.samestat((place / "out.json").stat(), before)


@pytest.mark.parametrize("name", ["a" * 255 + ".json", "a\0b.json"])
def test_names_that_no_file_can_have(name, place):
    report = kolmo.load_report("report.json")
    calls = {
        "save": lambda: report.save(name),
        "to_html": lambda: report.to_html(name + ".html"),
        "pack": lambda: kolmo.pack(WEIGHTS, name + ".kmo"),
        "unpack": lambda: kolmo.unpack("packed.kmo", name + ".safetensors"),
        "unpack into": lambda: kolmo.unpack("packed.kmo", name),
        "simplify": lambda: kolmo.simplify(WEIGHTS, name + ".kmo", distortion=0.1),
        "curve": lambda: kolmo.curve(WEIGHTS, steps=[1.0], folder=name),
        "mosaic": lambda: Mosaic.load("small.mosaic").save(name),
        "figure": lambda: save_figure(matplotlib.figure.Figure(), name + ".png"),
    }
    for call_it in calls.values():
        with pytest.raises(InputError, match="a"):
            call_it()
    with pytest.raises(InputError, match=r"\.csv\.meta\.json: cannot be written"):
        report.save("a" * 250 + ".csv")  # which would fit, but for what lies beside it
    refused(run("pack", FIRST, "-o", name.replace("\0", "") + "a" * 250), "File name too long")


def test_a_name_that_just_fits_is_written(tmp_path):
    written(tmp_path / ("a" * 3 + "." + "b" * 251))


# --- what is left, what is kept -----------------------------------------------------------------

MAKES = """
import sys, time
from pathlib import Path
from kolmo.replacing import write_atomically

def write(file):
    file.write_bytes(b"half")
    print(file.name, flush=True)
    sys.stdin.read()

write_atomically(Path(sys.argv[1]), write)
"""


@POSIX
def test_what_a_killed_run_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    old, other = tmp_path / "file", tmp_path / ".kolmo-mine"
    old.write_bytes(b"old")
    other.touch()
    command = [sys.executable, "-c", MAKES, old]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as alive:
        left, kept = (each.stdout.readline().strip() for each in (killed, alive))
        assert left != kept
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert old.read_bytes() == b"old"
        assert (tmp_path / left).read_bytes() == b"half"
        written(tmp_path / "next")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [kept, other.name, "file", "next"]
        )
        alive.communicate()
    assert old.read_bytes() == b"half"  # which the other finished
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "file", "next"]


def test_the_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    sync = os.fsync

    def synced(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append((kind, (tmp_path / "file").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    written(tmp_path / "file")
    assert done[0] == ("file", False)
    assert done[1:] == ([("folder", True)] if hasattr(os, "O_DIRECTORY") else [])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a").write_bytes(b"old")

    def fail(file):
        file.write_bytes(b"half")
        raise error

    wanted = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted):
        write_together({tmp_path / "b": lambda file: file.write_bytes(b"1"), tmp_path / "a": fail})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def interrupted(step, call):
    """Whether a call is interrupted before this step of the machine, of those that write files."""
    rooms, steps = {replacing.__file__, contextlib.__file__}, itertools.count(1)

    def trace(frame, event, _):
        if frame.f_code.co_filename not in rooms:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(steps) == step:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_whenever_an_interruption_comes_nothing_is_left_but_the_old_or_the_new(
    tmp_path, monkeypatch, stride
):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "a"
    for step in itertools.count(1, stride):
        path.write_bytes(b"old")
        whole = {path: lambda file: file.write_bytes(b"new")}
        cut = interrupted(step, lambda: write_together(whole))  # noqa: B023
        replacing.remove_unfinished()  # as at the end of the program
        assert list(tmp_path.iterdir()) == [path], step
        assert path.read_bytes() in ((b"old", b"new") if cut else (b"new",)), step
        if not cut:
            break
    assert step > 300


# --- two at once --------------------------------------------------------------------------------


def test_a_table_with_the_coverage_of_another_run_is_refused(place):
    first = kolmo.load_report("report.json")
    second = kolmo.analyze("model-2.safetensors", quantizers="sign", estimators="kt", nulls=[])
    first.save("a.csv")
    second.save("b.csv")
    shutil.copy("b.csv", "a.csv")
    with pytest.raises(InputError, match=r"a\.csv: is not the table that a\.csv\.meta\.json was"):
        kolmo.load_report("a.csv")
    meta = place / "b.csv.meta.json"
    lines = meta.read_text(encoding="utf-8").splitlines(keepends=True)
    older = [line for line in lines if "table_sha256" not in line]
    assert len(older) == len(lines) - 1
    meta.write_text("".join(older), encoding="utf-8")
    assert kolmo.load_report("b.csv").table["bits"].tolist() == second.table["bits"].tolist()


def test_of_two_at_once_the_last_whole_one_wins(place):
    reports = [kolmo.load_report("report.json")]
    reports.append(
        kolmo.analyze("model-2.safetensors", quantizers="sign", estimators="kt", nulls=[])
    )

    def save(report):
        for _ in range(8):
            report.save("out.csv")
            report.save("out.json")

    threads = [threading.Thread(target=save, args=(report,)) for report in reports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bits = [report.table["bits"].tolist() for report in reports]
    names = [set(report.provenance["sources"]) for report in reports]
    for path in ("out.csv", "out.json"):
        found = kolmo.load_report(path)
        assert set(found.provenance["sources"]) in names
        number = names.index(set(found.provenance["sources"]))
        assert found.table["bits"].tolist() == bits[number]
    assert not list(place.glob(".kolmo-*"))
