"""Progress: a bar where somebody watches, and options in the words of who reads them."""

import contextlib
import io
import os
import sys

import numpy as np
import pytest

import kolmo
from kolmo import progress, spoken
from kolmo.errors import InputError

SOURCE = {"w": np.random.default_rng(0).normal(size=(40, 30)).astype("f4")}
QUICK = {"quantizers": "sign", "estimators": "kt", "scope": "model"}


@contextlib.contextmanager
def terminal(monkeypatch):
    """stderr as a terminal; what it showed is in the list afterwards."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    shown = []
    with open(theirs, "w", encoding="utf-8") as stream, monkeypatch.context() as changed:
        changed.setattr(sys, "stderr", stream)
        changed.setenv("TERM", "xterm")
        yield shown
        stream.flush()
        with contextlib.suppress(BlockingIOError):
            os.set_blocking(ours, False)
            shown.append(os.read(ours, 100_000).decode())
    os.close(ours)


def test_a_pipe_sees_nothing_unless_it_is_asked_for(capsys, monkeypatch):
    kolmo.analyze(SOURCE, **QUICK)
    kolmo.analyze(SOURCE, progress=False, **QUICK)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "_PLAIN_PAUSE", 0.0)
    kolmo.analyze(SOURCE, progress=True, **QUICK)
    assert "100 % done\n" in capsys.readouterr().err


def test_a_terminal_has_a_bar(monkeypatch):
    with terminal(monkeypatch) as shown:
        kolmo.analyze(SOURCE, progress=True, **QUICK)
    assert "100 %" in shown[0]
    with terminal(monkeypatch) as shown:
        kolmo.analyze(SOURCE, progress=False, **QUICK)
    assert shown == []


def test_a_short_call_shows_no_bar_that_nobody_asked_for(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 1e9)
    with terminal(monkeypatch) as shown:
        kolmo.analyze(SOURCE, **QUICK)
    assert shown == []
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with terminal(monkeypatch) as shown:
        kolmo.analyze(SOURCE, **QUICK)
    assert "100 %" in shown[0]


def test_all_that_takes_long_tells(tmp_path):
    told = []

    def tell(done, total, label):
        told.append((done, total))

    path = tmp_path / "w.kmo"
    for call in (
        lambda: kolmo.compare({"a": SOURCE, "b": SOURCE}, progress=tell, **QUICK),
        lambda: kolmo.delta(SOURCE, SOURCE, progress=tell),
        lambda: kolmo.pack(SOURCE, path, progress=tell),
        lambda: kolmo.verify(path, SOURCE, progress=tell),
        lambda: kolmo.unpack(path, tmp_path / "w.safetensors", progress=tell),
    ):
        told.clear()
        call()
        assert told
        assert told[-1][0] == told[-1][1]
        assert all(0 <= done <= total for done, total in told)


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, picture):
        self.shown.append(picture)


def test_a_notebook_has_a_bar_in_its_place_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    handle, first = Handle(), []

    def display(picture, display_id):
        first.append(picture)
        return handle

    with progress._notebook_bar(display) as report:
        report(1, 4, "<model>: layer " + "x" * 99)
        report(4, 4, "done")
    assert repr(first[0]) == "  0 % reading"
    middle = handle.shown[0]._repr_html_()
    assert middle.startswith('<progress value="0.2500" max="1"></progress> 25 % &lt;model&gt;')
    assert len(middle) < 150
    assert repr(handle.shown[1]) == "100 % done"
    assert (repr(handle.shown[-1]), handle.shown[-1]._repr_html_()) == ("", "")


def test_an_interrupt_says_where_the_report_is():
    def stop(done, total, label):
        raise KeyboardInterrupt

    with pytest.raises(kolmo.Interrupted, match=r"its \.report, which is sys\.last_value") as one:
        kolmo.analyze(SOURCE, progress=stop, **QUICK)
    assert one.value.report.finished is False
    assert repr(one.value.report).endswith(": not finished")
    with spoken.in_shell(), pytest.raises(kolmo.Interrupted) as other:
        kolmo.analyze(SOURCE, progress=stop, **QUICK)
    assert "sys.last_value" not in str(other.value)


# --- words ----------------------------------------------------------------------------------


def test_a_hint_is_in_the_language_of_its_reader():
    report = kolmo.analyze(SOURCE, **QUICK)
    with pytest.raises(InputError, match=r'measure with nulls="shuffled"$'):
        report.attribution()
    with spoken.in_shell(), pytest.raises(InputError, match=r"measure with --null shuffled$"):
        report.attribution()
    assert not spoken.is_shell()


def test_a_failure_leaves_the_language_as_it_was():
    with contextlib.suppress(ZeroDivisionError), spoken.in_shell():
        raise ZeroDivisionError
    assert spoken.option("draws", 39) == "draws=39"


def test_the_bar_writes_nothing_to_stdout(capsys):
    with contextlib.redirect_stderr(io.StringIO()):
        kolmo.analyze(SOURCE, progress=True, **QUICK)
    assert capsys.readouterr().out == ""
