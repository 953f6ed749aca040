"""A store of results: what is put comes back to the bit, whatever happens to the file."""

import dataclasses
import math
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo import get_estimator, get_null, get_quantizer
from kolmo.checkpoints import array_tensor
from kolmo.errors import InputError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.estimators.mdl import KT
from kolmo.outcomes import Missing, Result
from kolmo.store import RunMemory, Store, Subject, default_path, make_key, open_store
from kolmo.store.rows import read_result, write_result
from tests.kept import key, result, results

NATIVE, SIGN, KT_, ZSTD = (
    get_quantizer("native"),
    get_quantizer("sign"),
    KT(),
    get_estimator("zstd"),
)


SHARED = Path("/dev/shm")
"""Memory that is a folder, where writing to the disk is not waited for."""


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as folder:
        yield Path(folder, "results.sqlite")


# --- texts ----------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
CODES = st.builds(
    CodeLength,
    bits=FLOATS | st.integers(0, 2**70),
    numel=st.integers(0, 2**50),
    raw_bits=st.integers(0, 2**60),
    kind=st.sampled_from(["bound", "estimate"]),
    details=st.dictionaries(st.text(), VALUES),
    sampled=FLOATS,
    standard_error=FLOATS,
    note=st.text(),
    side_bits=FLOATS,
    saturated=st.booleans(),
    degrees=FLOATS,
)
MISSING = st.builds(Missing, reason=st.text(st.characters()), problem=st.booleans())


def exact(value):
    """A value with its floats as the bytes that they are, NaN as one of them."""
    if isinstance(value, float):
        return struct.pack(">d", math.nan if math.isnan(value) else value)
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    return type(value), value


@given(outcome=CODES | MISSING, seconds=st.floats(0, 1e9))
def test_every_result_is_restored_to_the_bit(outcome, seconds):
    back = read_result(write_result(Result(outcome, seconds)))
    assert type(back.outcome) is type(outcome)
    assert exact(dataclasses.asdict(back)) == exact(dataclasses.asdict(Result(outcome, seconds)))


@given(text=st.binary() | st.text().map(str.encode) | VALUES.map(repr).map(str.encode))
def test_a_text_that_is_no_result_is_refused(text):
    with pytest.raises(ValueError):
        read_result(text)


@pytest.mark.parametrize(
    "text",
    [
        b'["code",1.0,1.5,3,96,"bound",{},1.0,NaN,"",0.0,false]',
        b'["code",1.0,"1.5",3,96,"bound",{},1.0,NaN,"",0.0,false,NaN]',
        b'["code",1.0,1.5,3,96,"proof",{},1.0,NaN,"",0.0,false,NaN]',
        b'["code",1.0,1.5,true,96,"bound",{},1.0,NaN,"",0.0,false,NaN]',
        b'["code",null,1.5,3,96,"bound",{},1.0,NaN,"",0.0,false,NaN]',
        b'[["code"],1.0]',
        b"[" * 100_000,
    ],
)
def test_a_text_of_another_form_is_refused(text):
    with pytest.raises(ValueError):
        read_result(text)


@pytest.mark.parametrize("details", [{"a": (1, 2)}, {1: 2}, {"a": {3}}, {"a": "x" * (1 << 22)}])
def test_what_json_does_not_restore_is_not_kept(path, details):
    code = CodeLength(1.0, 1, 32, "bound", details)
    with open_store(path) as store:
        assert store.put({key(1): Result(code, 0.0), key(2): result(2)})
        assert list(store.get([key(1), key(2)])) == [key(2)]


def test_numbers_of_numpy_are_restored_as_numbers():
    code = CodeLength(np.float64(0.1), 3, 96, "bound", {"n": np.int64(3)}, sampled=np.float32(0.5))
    back = read_result(write_result(Result(code, np.float64(2)))).outcome
    assert (back.bits, back.details, back.sampled) == (0.1, {"n": 3}, 0.5)


# --- keys -----------------------------------------------------------------------------------

ONE, TIED = Subject(bytes(32), ("a",)), Subject(bytes(32), ("b",))


def test_a_figure_belongs_to_the_content_and_a_reason_to_the_name_too(path):
    mine, its = make_key(ONE, SIGN, KT_), make_key(TIED, SIGN, KT_)
    assert mine.content == its.content
    with open_store(path) as store:
        store.put({mine: Result(Missing("tensor 'a' holds NaN", problem=True), 0.0)})
        assert store.get([its]) == {}
        store.put({mine: result(1)})
        assert store.get([its]) == {its: result(1)}


def test_keys_differ_in_all_that_a_figure_depends_on():
    shuffled, gaussian = get_null("shuffled"), get_null("gaussian")
    keys = [
        make_key(ONE, SIGN, KT_),
        make_key(dataclasses.replace(ONE, digest=b"1" * 32), SIGN, KT_),
        make_key(dataclasses.replace(ONE, scope="model"), SIGN, KT_),
        make_key(ONE, NATIVE, KT_),
        make_key(ONE, SIGN, ZSTD),
        make_key(ONE, SIGN, get_estimator("zstd:3")),
        make_key(ONE, SIGN, ZSTD, also=[KT_]),
        make_key(ONE, SIGN, KT_, shuffled),
        make_key(ONE, SIGN, KT_, gaussian),
        make_key(ONE, SIGN, KT_, shuffled, 1),
        make_key(ONE, SIGN, KT_, shuffled, 0, 1),
        make_key(TIED, SIGN, KT_, shuffled),  # draws are seeded with the name
    ]
    assert len({each.content for each in keys}) == len(keys)
    assert len({each.named for each in keys}) == len(keys)


def test_the_seed_counts_for_draws_alone():
    assert make_key(ONE, SIGN, KT_, seed=1) == make_key(ONE, SIGN, KT_, seed=2)


def test_a_default_that_is_named_is_the_same_measurement():
    assert make_key(ONE, SIGN, get_estimator("zstd:19@bytes")) == make_key(ONE, SIGN, ZSTD)


def test_a_reference_is_known_by_its_content(tmp_path):
    keys = []
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", w=np.zeros(3))
        null = get_null(f"reference:{tmp_path / name}.npz")
        assert make_key(ONE, SIGN, KT_, null) is None
        keys.append(make_key(ONE, SIGN, KT_, null, partner=b"p" * 32))
    assert keys[0].content == keys[1].content
    assert keys[0].named != keys[1].named
    other = make_key(ONE, SIGN, KT_, null, partner=b"q" * 32)
    assert other.content != keys[1].content


@pytest.mark.parametrize("attribute", ["version", "software"])
def test_a_new_version_forgets_results(monkeypatch, attribute):
    before = make_key(ONE, SIGN, KT_)
    from kolmo.store import keys

    monkeypatch.setattr(KT, attribute, {"version": 2, "software": ("pytest",)}[attribute])
    keys._identity.cache_clear()
    after = make_key(ONE, SIGN, KT_)
    keys._identity.cache_clear()
    assert before.content != after.content


def test_a_class_without_a_version_has_no_key():
    @dataclasses.dataclass(frozen=True)
    class Mine(Estimator):
        name = "mine"
        kind = "estimate"

    Mine.__module__ = "__main__"  # as in a notebook
    assert make_key(ONE, SIGN, Mine()) is None


def test_an_estimator_of_another_package_has_a_key():
    @dataclasses.dataclass(frozen=True)
    class Plugin(Estimator):
        name = "plugin"
        kind = "estimate"

    Plugin.__module__ = "hypothesis"  # a package with a version
    assert make_key(ONE, SIGN, Plugin()) is not None


# --- put and get ----------------------------------------------------------------------------


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


def checked(path):
    """The health of a store, as its check finds it."""
    with open_store(path) as store:
        return store.check()


# --- damage ---------------------------------------------------------------------------------

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
    page = data.index(write_result(result(434))) // 4096 * 4096
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


# --- other processes ------------------------------------------------------------------------

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


# --- nowhere to keep anything ---------------------------------------------------------------


def test_a_place_that_cannot_be_made_is_one_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(RuntimeWarning, match="results are not kept") as warned:
        store = open_store(tmp_path / "file" / "results.sqlite")
    assert len(warned) == 1
    assert store.put(results(0, 5))
    assert store.get(results(0, 5)) == {}
    assert not store.is_open


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


# --- the memory of a run --------------------------------------------------------------------


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
    keys = {make_key(Subject(digest(t), (t.name,)), SIGN, KT_).content for t in tensors}
    assert len(keys) == 1
