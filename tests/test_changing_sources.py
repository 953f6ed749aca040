"""Sources that change while they are read, or are no files: what was opened, or one line."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import kolmo
from kolmo.checkpoints.opening import check_unchanged, open_source
from kolmo.errors import InputError, KolmoError
from kolmo.replacing import write_atomically
from kolmo.report.rows import changes_of
from kolmo.series.metrics import read_metrics
from momos.lab.settings import train_config
from momos.mosaic.mosaic import Mosaic
from tests.fuzz.seeds import FORMATS, cases
from tests.house import ROOT
from tests.test_cli import run

WEIGHTS = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32)
MEASURED = {"quantizers": "sign", "estimators": "kt", "nulls": [], "scope": "model"}
CASES = 2
"""Sound checkpoints of each format that are tried."""


@pytest.fixture
def path(tmp_path):
    safetensors.numpy.save_file({"w": WEIGHTS}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def values(found):
    """The bytes of every array of a checkpoint."""
    tensors = [*found.values(), *(entry.tensor for entry in found.skipped if entry.tensor)]
    return {tensor.name: tensor.read().tobytes() for tensor in tensors}


def outcome(found):
    """The values of a checkpoint, or that it was changed."""
    try:
        return values(found)
    except InputError as error:
        return "changed" if "changed" in str(error) else str(error)


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def replace(file):
    """Another file takes its place, of the same size and the same time of writing."""
    status, other = file.stat(), file.with_name("other")
    other.write_bytes(bytes(status.st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, file)


# --- changed between opening and reading --------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_changes_after_opening_gives_what_was_opened_or_is_refused(name, tmp_path):
    tried = 0
    for number, case in enumerate(cases(name)[:CASES]):
        path = case.write(tmp_path / str(number))
        try:
            before = values(open_source(path))
        except KolmoError:
            continue  # the corpus has some that nobody can read
        file = tmp_path / str(number) / max(case.files, key=lambda each: len(case.files[each]))
        content = file.read_bytes()
        for change in (truncate, replace):
            found = open_source(path)
            change(file)
            assert outcome(found) in (before, "changed")
            if str(file) in found.files:
                with pytest.raises(InputError, match="changed while it was read"):
                    check_unchanged(found)
            write_atomically(file, lambda made, content=content: made.write_bytes(content))
            tried += 1
    assert tried


@pytest.mark.parametrize("change", [truncate, replace])
def test_a_report_says_which_file_changed(path, change):
    size = path.stat().st_size

    def lose(name, *_):
        if name == "whole":
            change(path)

    report = kolmo.compare({"whole": path, "other": {"w": WEIGHTS}}, **MEASURED, each=lose)
    facts = report.provenance["sources"]["whole"]
    assert (facts["changed"], report.provenance["sources"]["other"]["changed"]) == ([str(path)], [])
    assert facts["files"][str(path)].startswith(f"size={size} ")
    assert any("changed while it was read" in line for line in report.provenance["problems"])


def test_a_report_says_nothing_of_files_that_stay(path):
    report = kolmo.analyze(path, **MEASURED)
    assert [facts["changed"] for facts in report.provenance["sources"].values()] == [[]]


def test_a_base_that_changed_is_told(path):
    opened = kolmo.open_checkpoint(path)
    assert changes_of(opened) == ([], [])
    replace(path)
    assert changes_of(opened) == ([str(path)], [f"{path}: it was changed while it was read"])


@pytest.mark.parametrize("change", [truncate, replace])
def test_a_certificate_is_of_what_was_opened(path, tmp_path, change):
    opened = kolmo.open_checkpoint(path)
    change(path)
    with pytest.raises(InputError, match=r"model\.safetensors: it was changed while it was read"):
        kolmo.pack(opened, tmp_path / "out.kmo")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.safetensors"]


def test_a_new_name_or_mode_is_no_change(path, tmp_path):
    opened = kolmo.open_checkpoint(path)
    os.link(path, tmp_path / "second")
    path.chmod(0o600)
    assert opened["w"].read().tobytes() == WEIGHTS.tobytes()
    check_unchanged(opened)


# --- no files -----------------------------------------------------------------------------------


def pipe(path):
    os.mkfifo(path)


def listen(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def device(path):
    path.symlink_to("/dev/null")


KINDS = {"a pipe": pipe, "a socket": listen, "a device": device}

READERS = {
    "model.safetensors": [kolmo.open_checkpoint, kolmo.analyze, kolmo.inspect],
    "model.kmo": [kolmo.verify, kolmo.open_checkpoint],
    "model.mosaic": [Mosaic.load],
    "report.json": [kolmo.load_report],
    "report.csv": [kolmo.load_report],
    "settings.toml": [lambda path: train_config(path, {})],
    "log.csv": [read_metrics],
    "step-1.safetensors": [lambda path: kolmo.trajectory([path, path.with_name("step-2.npy")])],
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes in folders")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_and_named_and_nothing_hangs(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    np.save("step-2.npy", WEIGHTS)
    KINDS[kind](tmp_path / name)
    for read in READERS[name]:
        with pytest.raises(InputError, match=name.replace(".", r"\.")) as refused:
            read(tmp_path / name)
        assert kind in str(refused.value)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="a system without /dev/fd")
def test_what_a_shell_passes_as_a_pipe_is_to_be_saved_first(tmp_path):
    reading, writing = os.pipe()
    os.close(writing)
    found = run("analyze", f"/dev/fd/{reading}")
    os.close(reading)
    assert found.returncode == 2
    assert "a pipe, not a file; save what it gives to a file" in found.stderr


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a" * 300 + ".json"])
def test_names_that_no_file_can_have(name, tmp_path):
    for read in (kolmo.open_checkpoint, kolmo.verify, kolmo.load_report, Mosaic.load):
        with pytest.raises(InputError):
            read(tmp_path / name)


AS_NOBODY = """
import os, sys
import kolmo
kolmo.inspect(sys.argv[1])  # what that imports may be root's, too
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
try:
    kolmo.inspect(sys.argv[2])
except kolmo.InputError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes nobody")
@pytest.mark.parametrize("name", ["secret.safetensors", "closed", "closed/model.safetensors"])
def test_what_may_not_be_read_is_an_error_of_input(name, path):
    """Of the user nobody, in a process of its own: root reads every file."""
    folder = Path("/tmp") / f"kolmo-unreadable-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        (folder / "closed").mkdir(mode=0o700)
        for target in (folder / "secret.safetensors", folder / "closed" / "model.safetensors"):
            shutil.copy(path, target)
            target.chmod(0o600)
        command = [sys.executable, "-c", AS_NOBODY, path, folder / name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(folder)
    assert done.stdout.startswith(f"{folder / name}: "), done.stderr
