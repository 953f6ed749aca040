"""kolmo store: what is kept, less of it, and whether it is whole."""

import json
import os
import time

import pytest

from kolmo.store import open_store
from kolmo.store.upkeep import contents, parse_age, parse_size, prune
from tests.kept import key, result, results
from tests.test_cli import run


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / "results.sqlite"
    with open_store(path) as store:
        store.put(results(0, 300))
        store.put({key(n, "zstd of native"): result(n) for n in range(300, 400)})
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, filled):
    path = tmp_path / "results.sqlite"
    path.write_bytes(filled)
    return path


def age(path, seconds, where="1"):
    """Make results older than they are."""
    with open_store(path) as store:
        connection = store._database._connection
        connection.execute(f"UPDATE results SET used = used - {seconds} WHERE {where}")


def test_ls_lists_measurements(path):
    done = run("store", "ls", "--store", path)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["measurement", "results", "size", "last", "use"]
    day = time.strftime("%Y-%m-%d")
    assert lines[1][:4] == ["kt", "of", "sign", "300"]
    assert lines[2][:4] == ["zstd", "of", "native", "100"]
    assert {lines[1][-1], lines[2][-1]} <= {day, time.strftime("%Y-%m-%d")}
    assert f"{path}: 400 results" in done.stdout


def test_prune_and_verify_as_json(path):
    checked = json.loads(run("store", "verify", "--json", "--store", path).stdout)
    entries = contents(path).entries
    assert (checked["whole"], checked["removed"], checked["moved"]) == (entries, 0, [])
    options = ["--older-than", "0s", "--json", "--store", path]
    pruned = json.loads(run("store", "prune", *options).stdout)
    assert (pruned["removed"], pruned["left"], pruned["file"]) == (entries, 0, str(path))


def test_ls_as_json(path):
    document = json.loads(run("store", "ls", "--json", "--store", path).stdout)
    assert document["file"] == str(path)
    assert document["entries"] == 400
    assert {m["measurement"]: m["entries"] for m in document["measurements"]} == {
        "kt of sign": 300,
        "zstd of native": 100,
    }
    assert sum(m["bytes"] for m in document["measurements"]) <= document["bytes"]


def test_ls_makes_no_file(tmp_path):
    path = tmp_path / "none.sqlite"
    done = run("store", "ls", "--store", path)
    assert (done.returncode, done.stdout) == (0, f"{path}: 0 results, 0 B\n")
    assert not path.exists()


def test_a_label_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "results.sqlite"
    with open_store(path) as store:
        store.put({key(1, "\x1b[31mkt[bold]"): result(1)})
    assert "\\x1b[31mkt[bold]" in run("store", "ls", "--store", path).stdout


def test_prune_by_age(path):
    age(path, 40 * 86_400, "label = 'kt of sign'")
    done = run("store", "prune", "--older-than", "30d", "--store", path)
    assert done.returncode == 0
    assert "300 results removed, 100 left" in done.stdout
    assert run("store", "prune", "--older-than", "30d", "--store", path).stdout.count(" 0 results")
    assert run("store", "prune", "--older-than", "0s", "--store", path).stdout.count("0 left")


def test_use_keeps_a_result_from_being_pruned(path):
    age(path, 40 * 86_400)
    with open_store(path) as store:
        assert store.get(results(5, 10)) == results(5, 10)
    assert prune(path, parse_age("30d")) == 395
    with open_store(path) as store:
        assert store.get(results(0, 300)) == results(5, 10)


def test_prune_by_size_removes_what_was_not_used_for_longest(path):
    age(path, 40 * 86_400, "label = 'kt of sign'")
    before = path.stat().st_size
    done = run("store", "prune", "--max-size", "50kB", "--store", path)
    assert done.returncode == 0
    assert contents(path).bytes <= 50_000
    assert path.stat().st_size < before / 2
    with open_store(path) as store:
        left = store.get(results(0, 300))
        assert len(left) + 100 == contents(path).entries
    assert prune(path, max_size=0) == contents(path).entries + len(left) + 100


def test_prune_says_what_it_needs(path):
    for options in ([], ["--older-than", "soon"], ["--max-size", "much"], ["--max-size", "1IB"]):
        assert run("store", "prune", *options, "--store", path).returncode == 2
    assert contents(path).entries == 400


@pytest.mark.parametrize(("text", "size"), [("2 GB", 2 * 10**9), ("1.5MiB", 1572864), ("7b", 7)])
def test_sizes(text, size):
    assert parse_size(text) == size


def test_verify_of_a_whole_store(path):
    done = run("store", "verify", "--store", path)
    assert (done.returncode, done.stdout) == (0, f"{path}: 400 results, all of them whole\n")


def test_verify_removes_what_is_damaged_and_says_so(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"no 250")] ^= 1
    path.write_bytes(data)
    done = run("store", "verify", "--store", path)
    assert done.returncode == 1
    assert "1 results were removed; 399 are whole and kept" in done.stderr
    assert run("store", "verify", "--store", path).returncode == 0


@pytest.mark.filterwarnings("ignore:.*store of results:RuntimeWarning")
def test_verify_mends_a_malformed_file(path):
    data = bytearray(path.read_bytes())
    data[3 * 4096 : 3 * 4096 + 64] = os.urandom(64)
    path.write_bytes(data)
    done = run("store", "verify", "--store", path)
    assert done.returncode == 1
    assert "results.sqlite.damaged-1" in done.stderr
    done = run("store", "verify", "--store", path)
    assert done.returncode == 0
    assert int(done.stdout.split(": ")[1].split()[0]) > 200


def test_a_file_that_is_no_store_is_an_error(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"weights" * 999)
    for command in ("ls", "verify"):
        done = run("store", command, "--store", path)
        assert done.returncode in (1, 2)
        assert str(path) in done.stderr
    assert run("store", "verify", "--store", tmp_path / "none").returncode == 2
    assert path.read_bytes() == b"weights" * 999


def test_the_environment_names_the_file(path, monkeypatch):
    monkeypatch.setenv("KOLMO_STORE", str(path))
    assert "400 results" in run("store", "ls").stdout
    monkeypatch.setenv("KOLMO_STORE", "off")
    assert run("store", "ls").returncode == 2
