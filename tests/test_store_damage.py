"""A store of results that is damaged is noticed and built anew, never believed."""

import random
import sqlite3

import pytest

from kolmo.errors import InputError
from kolmo.store import default_path, open_store
from kolmo.store.rows import write_result
from tests.kept import key, result, results, store_folder
from tests.test_store_processes import kill_in_mid_write


@pytest.fixture
def path():
    with store_folder() as folder:
        yield folder / "results.sqlite"


def checked(path):
    """The health of a store, as its check finds it."""
    with open_store(path) as store:
        return store.check()


# --- damage ---------------------------------------------------------------------------------------

SOURCE = results(0, 800)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / "results.sqlite"
    with open_store(path) as store:
        store.put(SOURCE)
    return path.read_bytes()


def flip(data, chance):
    for _ in range(chance.choice([1, 8, 64])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def zero(data, chance):
    page = chance.randrange(len(data) // 4096) * 4096
    data[page : page + 4096] = bytes(4096)


def cut(data, chance):
    del data[chance.randrange(1, len(data)) :]


def swap(data, chance):
    """Two pages in each other's place: each is whole, and neither is where it belongs."""
    a, b = (chance.randrange(len(data) // 4096) * 4096 for _ in range(2))
    data[a : a + 4096], data[b : b + 4096] = data[b : b + 4096], data[a : a + 4096]


def fill(data, chance):
    data[:] = chance.randbytes(len(data))


@pytest.mark.filterwarnings("ignore:.*store of results:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*results are not kept:RuntimeWarning")
@pytest.mark.parametrize("harm", [flip, zero, cut, swap, fill])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_store_is_never_believed(path, filled, harm, seed):
    data = bytearray(filled)
    harm(data, random.Random(f"{harm.__name__} {seed}"))
    path.write_bytes(data)
    with open_store(path) as store:
        found = store.get(SOURCE)
        assert found.items() <= SOURCE.items()
        lost = {k: r for k, r in SOURCE.items() if k not in found}
        store.put(lost)
        store.get(SOURCE)  # damage that only writing meets may lose more
    with open_store(path) as store:
        store.check()
        store.put(SOURCE)
        assert store.get(SOURCE) == SOURCE
    with open_store(path) as store:
        assert store.check().good
        assert store.get(SOURCE) == SOURCE


def test_one_flipped_byte_of_a_row_loses_that_row_alone(path, filled):
    at = filled.index(write_result(result(434))) + 20
    path.write_bytes(filled[:at] + bytes([filled[at] ^ 1]) + filled[at + 1 :])
    with open_store(path) as store:
        assert set(SOURCE) - set(store.get(SOURCE)) == {key(434)}
        assert (store.damaged, store.moved) == (1, [])
        assert store.check().entries == len(SOURCE) - 1


def test_a_rebuilt_store_keeps_what_is_whole_and_says_so(path, filled):
    data = bytearray(filled)
    page = data.index(write_result(result(431))) // 4096 * 4096
    data[page : page + 100] = bytes(100)
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match=r"results\.sqlite: .* damaged .*damaged-1"):
        health = checked(path)
    with open_store(path) as store:
        found = store.get(SOURCE)
    assert health.moved == [path.with_name("results.sqlite.damaged-1")]
    assert health.moved[0].read_bytes()[:page] == bytes(data[:page])
    assert len(SOURCE) * 0.8 < len(found) < len(SOURCE)
    assert found.items() <= SOURCE.items()


def test_a_store_of_another_schema_is_moved_aside(path):
    open_store(path).close()
    with sqlite3.connect(path) as changed:
        changed.execute("PRAGMA user_version = 99")
    changed.close()
    with pytest.warns(RuntimeWarning, match="another version"):
        store = open_store(path)
    store.put(results(0, 5))
    assert store.get(results(0, 5)) == results(0, 5)
    store.close()


@pytest.mark.parametrize("sql", ["CREATE TRIGGER t AFTER INSERT ON results BEGIN SELECT 1; END",
                                 "CREATE VIEW v AS SELECT 1", "DROP INDEX last_use"])  # fmt: skip
def test_a_schema_with_anything_else_in_it_is_not_used(path, sql):
    open_store(path).close()
    changed = sqlite3.connect(path)
    changed.execute(sql)
    changed.commit()
    changed.close()
    with pytest.warns(RuntimeWarning, match="damaged-1"):
        open_store(path).close()


def test_the_database_of_another_program_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "kolmo" / "results.sqlite"
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE bookmarks (url TEXT)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="no store of results"):
        open_store(path)
    assert path.read_bytes() == before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KOLMO_STORE", raising=False)
    if default_path() == path:  # in our own folder nobody else's file is
        with pytest.warns(RuntimeWarning, match="damaged-1"):
            open_store().close()


@pytest.mark.parametrize("name", ["model.safetensors", "report.csv"])
def test_a_file_that_was_never_a_store_is_left_alone(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"checkpoint,tensor\n" * 99)
    with pytest.raises(InputError, match="no store of results"):
        open_store(path)
    assert path.read_bytes() == b"checkpoint,tensor\n" * 99
    with pytest.raises(InputError, match="is a directory"):
        open_store(tmp_path)


# --- what lies beside it --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A store whose writer was killed: the file, and those beside it, by what their names add."""
    path = tmp_path_factory.mktemp("killed") / "results.sqlite"
    kill_in_mid_write(path, 100)
    names = ("", "-wal", "-shm")
    return {name: path.with_name(path.name + name).read_bytes() for name in names}


@pytest.mark.parametrize("beside", ["-wal", "-shm"])
@pytest.mark.parametrize("harm", [None, cut, flip, fill])
def test_what_lies_beside_the_file_may_be_lost_or_damaged(path, killed, beside, harm):
    files = {name: bytearray(data) for name, data in killed.items()}
    if harm is None:
        del files[beside]
    else:
        harm(files[beside], random.Random(harm.__name__))
    for name, data in files.items():
        path.with_name(path.name + name).write_bytes(data)
    with open_store(path) as store:
        found = store.get(results(0, 1000))
        assert found.items() <= results(0, 1000).items()
        store.put(results(0, 100))
        assert store.get(results(0, 100)) == results(0, 100)
        assert store.check().good


def test_a_process_that_sees_damage_later_than_another_keeps_the_new_file(path, filled):
    path.write_bytes(filled)
    first, second = open_store(path), open_store(path)
    data = bytearray(filled)
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged-1"):
        first.get(SOURCE)
    first.put(results(0, 10))
    second._begin_anew(sqlite3.DatabaseError("damage"))
    assert second.get(results(0, 10)) == results(0, 10)
    assert second.moved == []
    first.close()
    second.close()
