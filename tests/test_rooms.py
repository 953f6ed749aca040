"""What is shared by many reads and many small tensors: open files, and memory."""

import collections
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.checkpoints.files import LocalFile, kept_open
from kolmo.errors import InputError
from kolmo.estimators.counts import Histogram
from kolmo.estimators.rooms import empty_table
from kolmo.symbols import Alphabet


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the system lists no open files")
def test_a_file_is_open_only_while_it_is_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    file, before = LocalFile(tmp_path / "a"), open_files()
    with kept_open(), kept_open():
        assert [bytes(file(at, 2)) for at in (0, 4, 8)] == [b"01", b"45", b"89"]
        assert open_files() == before + 1
    assert open_files() == before
    assert bytes(file(1, 3)) == b"123"
    assert open_files() == before


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
