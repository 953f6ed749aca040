"""Signals, streams and locks of the command line, in processes of their own."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import kolmo
from kolmo.calibration.journal import Journal
from kolmo.cli.signals import orderly
from kolmo.errors import InputError, KolmoError
from kolmo.temporary import nameless_file
from kolmo.workers import process_pool
from momos.lab.folder import held

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of Unix")

QUICK = ["-q", "sign", "-e", "kt"]


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    weights = {f"layer.{i}": random.normal(size=(24, 16)).astype(np.float32) for i in range(3)}
    save_file(weights, tmp_path / "m.safetensors")
    return tmp_path


def shell(line, folder):
    """What a command line of the shell prints on both streams, and how it ends."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m kolmo {line}', sys.executable],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip


# --- signals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "hung up")],
)
def test_the_first_signal_interrupts_and_a_second_one_ends(name, code, word):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with orderly() as ending:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert (ending.code, ending.word, ending.came) == (code, word, True)
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with orderly() as ending:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not ending.came
    finally:
        signal.signal(signal.SIGHUP, before)


def test_processes_that_work_for_a_killed_one_end():
    code = (
        "import os, signal\n"
        "from kolmo.workers import process_pool\n"
        "if __name__ == '__main__':\n"
        "    with process_pool(2) as pool:\n"
        "        pool.submit(os.getpid).result()\n"
        "        print('begun', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    out, _ = running.communicate(timeout=120)  # the workers hold this pipe open while they live
    assert out == b"begun\n"
    assert running.returncode == -signal.SIGKILL


def test_a_worker_that_is_killed_is_an_error_that_says_what_to_do():
    with pytest.raises(KolmoError, match="the same command goes on"), process_pool(1) as pool:
        pool.submit(os._exit, 1).result()


# --- streams --------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [">&- 2>&- <&-", "2>/dev/full"])
def test_what_is_closed_or_full(folder, streams):
    """A closed stream takes what is printed nowhere; no file that is opened is written to by it."""
    if "full" in streams and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    done = shell(f"analyze m.safetensors {' '.join(QUICK)} -o r.json {streams}", folder)
    assert done.returncode == 0
    assert done.stderr == ""
    assert kolmo.load_report(folder / "r.json").provenance["complete"]
    assert {path.name for path in folder.iterdir()} == {"m.safetensors", "r.json"}


# --- limits ---------------------------------------------------------------------------------


def test_a_temporary_file_without_room_says_so_once():
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = nameless_file()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(KolmoError, match=r"File too large.*TMPDIR"):
            file.write(bytes(100_000))
        file.close()  # what is still in its buffer is dropped
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- two processes --------------------------------------------------------------------------


def test_two_runs_do_not_share_a_folder(tmp_path):
    with held(tmp_path / "run"):
        for refused in (held(tmp_path / "run"), held(str(tmp_path / "." / "run"))):
            with pytest.raises(InputError, match="another run is writing there"), refused:
                pass
        with held(tmp_path / "other"), held(None):
            pass
    with held(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_two_calibrations_do_not_share_a_journal(tmp_path):
    path = tmp_path / "c.csv.journal"
    with Journal(path), pytest.raises(InputError, match="another calibration writes there"):
        Journal(path)
    assert not path.exists()  # an empty one is none


@pytest.mark.slow
def test_two_trainings_at_once(tmp_path):
    """The second ends with one line, and the first as if it had been alone."""
    options = ["--layers", "2", "--hidden", "8", "--epochs", "1", "-o", str(tmp_path / "run")]
    with held(tmp_path / "run"):
        done = subprocess.run(
            [sys.executable, "-m", "momos", "train", *options],
            capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("momos: error: ")
    assert "another run is writing there" in done.stderr
    assert list((tmp_path / "run").iterdir()) == []


# --- places ---------------------------------------------------------------------------------


def test_what_may_not_be_looked_into_is_no_empty_folder(folder):
    """Root may look everywhere, unless it gives that up."""
    (folder / "locked").mkdir()
    (folder / "m.safetensors").rename(folder / "locked" / "m.safetensors")
    (folder / "locked").chmod(0)
    alone = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    if alone and not shutil.which("setpriv"):
        pytest.skip("there is no setpriv")
    code = """
import kolmo
for source in ("locked", "locked/m.safetensors"):
    try:
        kolmo.open_checkpoint(source)
    except kolmo.InputError as error:
        print(error)
"""
    done = subprocess.run(
        [*alone, sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONPATH": str(Path(kolmo.__file__).parents[1])},
    )  # fmt: skip
    (folder / "locked").chmod(0o700)
    assert done.stdout.splitlines() == [
        "locked: cannot be listed (Permission denied)",
        "locked/m.safetensors: cannot be read (Permission denied)",
    ], done.stderr
