"""A store of results: what is put comes back, within its cap; nowhere, where there is no place."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from kolmo import get_quantizer
from kolmo.checkpoints import array_tensor
from kolmo.estimators.mdl import KT
from kolmo.store import RunMemory, Store, Subject, default_path, make_key, open_store
from tests.kept import key, result, results, store_folder


@pytest.fixture
def path():
    with store_folder() as folder:
        yield folder / "results.sqlite"


# --- put and get ----------------------------------------------------------------------------------


def test_what_was_put_is_found_later(path):
    with open_store(path) as store:
        assert store.get(results(0, 9)) == {}
        store.put(results(0, 2000))
        assert store.get([key(7)]) == {key(7): result(7)}
    with open_store(path) as store:
        assert store.get(results(0, 3000)) == results(0, 2000)
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name]


def test_a_later_result_takes_the_place_of_the_first(path):
    with open_store(path) as store:
        store.put({key(1): result(1)})
        store.put({key(1): result(2)})
        assert store.get([key(1)]) == {key(1): result(2)}


def test_the_store_is_in_wal_mode_and_waits_for_the_disk(path):
    with open_store(path) as store:
        store.put(results(0, 3))
        assert path.with_name(f"{path.name}-wal").exists()
        assert store._database._pragma("synchronous") == 2  # FULL


def test_permissions_are_those_of_the_umask(path):
    before = os.umask(0o027)
    try:
        open_store(path).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_cap_is_kept_and_what_was_used_last_stays(path):
    cap = 300_000
    with Store(path, cap=cap) as store:
        for start in range(0, 4000, 200):
            store.put(results(start, start + 200))
        left = store.get(results(0, 4000))
        assert 0 < len(left) < 4000
        assert set(results(3800, 4000)) <= set(left)
        assert store._database.size <= cap
    assert path.stat().st_size < 2 * cap


# --- nowhere to keep anything ---------------------------------------------------------------------


def test_a_place_that_cannot_be_made_is_one_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(RuntimeWarning, match="results are not kept") as warned:
        store = open_store(tmp_path / "file" / "results.sqlite")
    assert len(warned) == 1
    assert store.put(results(0, 5))
    assert store.get(results(0, 5)) == {}
    assert not store.is_open


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("KOLMO_STORE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/kolmo"))
    assert default_path() is None
    with pytest.warns(RuntimeWarning, match="there is no home"):
        store = open_store()
    assert store.put(results(0, 3))
    assert store.get(results(0, 3)) == {}


def test_the_environment_names_the_store_or_none(monkeypatch, path):
    monkeypatch.setenv("KOLMO_STORE", str(path))
    with open_store() as store:
        assert store.path == path
    monkeypatch.setenv("KOLMO_STORE", "off")
    with open_store() as store:
        assert store.path is None
        assert not store.is_open


# --- the memory of a run --------------------------------------------------------------------------


def test_a_memory_keeps_what_many_threads_give_it(path):
    with RunMemory(open_store(path)) as memory:

        def give(first):
            for k, r in results(first, first + 300).items():
                memory.keep(k, r)
                assert memory.recall([k]) == {k: r}

        threads = [threading.Thread(target=give, args=(300 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory.keep(None, result(1))
        assert (memory.kept, memory.recalled) == (1200, 1200)
    with RunMemory(open_store(path)) as memory:
        assert memory.recall([None, *results(0, 1300)]) == results(0, 1200)


def test_a_memory_writes_within_seconds_without_being_asked(path):
    with RunMemory(open_store(path)) as memory, open_store(path) as other:
        memory.keep(key(1), result(1))
        while not other.get([key(1)]):
            pass
        assert other.get([key(1)]) == {key(1): result(1)}


def test_no_error_of_the_store_reaches_the_run(path, monkeypatch):
    def fail(*_):
        raise TypeError("a mistake in the store")

    memory = RunMemory(open_store(path))
    monkeypatch.setattr(Store, "get", fail)
    monkeypatch.setattr(Store, "put", fail)
    memory.keep(key(1), result(1))
    with pytest.warns(RuntimeWarning, match="a mistake in the store"):
        assert memory.recall([key(2)]) == {}
    with pytest.warns(RuntimeWarning, match="a mistake in the store"):
        memory.close()


def test_a_memory_without_a_store_recalls_nothing():
    with RunMemory(Store(None)) as memory:
        memory.keep(key(1), result(1))
    assert RunMemory(Store(None)).recall([key(1)]) == {}


def test_array_tensors_are_measured_once_under_any_name():
    from kolmo.digests import digest

    tensors = [array_tensor(name, np.ones(5)) for name in "ab"]
    subjects = [Subject(digest(tensor), (tensor.name,)) for tensor in tensors]
    keys = {make_key(subject, get_quantizer("sign"), KT()).content for subject in subjects}
    assert len(keys) == 1
