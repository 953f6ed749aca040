"""What is shared by many reads and many small tensors: open files, and memory."""

import collections
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.checkpoints.files import LocalFile, kept_open
from kolmo.errors import InputError
from kolmo.estimators.counts import Histogram
from kolmo.estimators.rooms import empty_table
from kolmo.symbols import Alphabet


def times_open(path):
    """How often this process has a file open; files of others may be closed meanwhile."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}") == str(path)
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the system lists no open files")
def test_a_file_is_open_only_while_it_is_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    path = (tmp_path / "a").resolve()
    file = LocalFile(path)
    with kept_open(), kept_open():
        assert [bytes(file(at, 2)) for at in (0, 4, 8)] == [b"01", b"45", b"89"]
        assert times_open(path) == 1
    assert times_open(path) == 0
    assert bytes(file(1, 3)) == b"123"
    assert times_open(path) == 0


def test_a_file_that_changes_while_it_is_kept_open_is_noticed(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    file = LocalFile(tmp_path / "a")
    with kept_open():
        file(0, 2)
        (tmp_path / "a").write_bytes(b"01234")
        with pytest.raises(InputError, match="changed"):
            file(0, 2)


def test_a_file_that_is_gone_says_so_whether_it_is_kept_open_or_not(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    file = LocalFile(tmp_path / "a")
    (tmp_path / "a").unlink()
    with kept_open(), pytest.raises(InputError, match="cannot be read"):
        file(0, 2)


@given(st.lists(st.lists(st.integers(0, 65_535), max_size=30), min_size=1, max_size=3))
def test_a_few_symbols_are_tallied_and_leave_the_table_empty(chunks):
    histogram = Histogram(Alphabet(1 << 16))
    for chunk in chunks:
        histogram.update(np.array(chunk, np.uint16))
    every = collections.Counter(symbol for chunk in chunks for symbol in chunk)
    expected = {0: (1 << 16) - len(every), **collections.Counter(every.values())}
    assert histogram.few_times == expected
    assert not empty_table(1 << 16).any()
