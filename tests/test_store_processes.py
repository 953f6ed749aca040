"""A store of results among processes: shared, killed, out of room, not to be written to."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kolmo.store import Store, open_store
from tests.kept import results, store_folder


@pytest.fixture
def path():
    with store_folder() as folder:
        yield folder / "results.sqlite"


WRITER = """
import sys
from pathlib import Path
from kolmo.store import open_store
from tests.kept import results
path, first, last, step = Path(sys.argv[1]), *map(int, sys.argv[2:])
with open_store(path) as store:
    for start in range(first, last, step):
        assert store.put(results(start, start + step))
        print(start + step, flush=True)
"""


def writer(path, first, last, step, **options):
    command = [sys.executable, "-c", WRITER, *map(str, (path, first, last, step))]
    root = Path(__file__).parents[1]
    return subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def kill_in_mid_write(path, after):
    """Kill a process that writes; the number of results that it said were kept."""
    process = writer(path, 0, 400_000, 20)
    kept = 0
    for line in process.stdout:
        kept = int(line)
        if kept >= after:
            process.send_signal(signal.SIGKILL)
            break
    rest, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    return max(kept, *map(int, rest.split()), 0)


def test_two_processes_share_a_store(path):
    both = [writer(path, first, first + 1000, 10) for first in (0, 500)]
    for process in both:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert errors == ""
    with open_store(path) as store:
        assert store.get(results(0, 1500)) == results(0, 1500)
        assert store.check().good


@pytest.mark.parametrize("after", [20, 300])
def test_a_process_killed_in_mid_write_loses_nothing_that_was_committed(path, after):
    kept = kill_in_mid_write(path, after)
    assert kept >= after
    with open_store(path) as store:
        assert store.get(results(0, kept)) == results(0, kept)
        health = store.check()
        assert health.good
        assert health.entries % 20 == 0  # all of a batch or none


def test_a_store_that_is_held_too_long_is_tried_again(path):
    open_store(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    with Store(path, timeout=0.01) as store:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.warns(RuntimeWarning, match="another process holds"):
            assert not store.put(results(0, 5))
        assert not store.put(results(0, 5))  # and no second warning
        holder.execute("ROLLBACK")
        assert store.put(results(0, 5))
        assert store.get(results(0, 5)) == results(0, 5)
    holder.close()


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_a_full_disk_is_one_warning_and_what_was_kept_stays(path):
    import resource

    with open_store(path) as store:
        store.put(results(0, 100))
    limit = path.stat().st_size + 50_000
    process = writer(
        path, 100, 20_100, 1000,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.count("RuntimeWarning") == 1
    assert "results are not kept" in errors
    with open_store(path) as store:
        assert store.get(results(0, 100)) == results(0, 100)
        assert store.check().good


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes nobody")
def test_a_store_that_cannot_be_written_is_read():
    """Of the user nobody, in a process of its own: for root every file can be written."""
    folder = Path("/tmp") / f"kolmo-read-only-{os.getpid()}"
    folder.mkdir(mode=0o755)
    path = folder / "results.sqlite"
    try:
        with open_store(path) as store:
            store.put(results(0, 50))
        code = f"""
import os, warnings
from pathlib import Path
from tests.kept import results
from kolmo.store import open_store
path = Path({str(path)!r})
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    with open_store(path) as store:
        assert store.get(results(0, 60)) == results(0, 50)
        assert store.put(results(50, 60))
        assert store.get(results(0, 60)) == results(0, 50)
assert ["results are not kept" in str(each.message) for each in warned] == [True], warned
"""
        root = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    finally:
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
