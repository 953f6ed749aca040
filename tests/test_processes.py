"""Processes of the program's own: what they do, and what becomes of what they cannot do."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import CancelledError

import numpy as np
import pytest

import kolmo
from kolmo.engine import pool
from kolmo.engine.processes import Processes


class Unsendable:
    def __reduce__(self):
        raise ValueError("it stays here")


class NeedsTwo(Exception):
    """An error that cannot be read again, for pickle gives it one argument."""

    def __init__(self, one, two):
        super().__init__(one)


def fail(error):
    raise error


def fail_oddly(where):
    raise NeedsTwo(where, os.getpid())


def die(mine):
    """End the process, unless it is this one."""
    if os.getpid() != mine:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done here"


@pytest.fixture(scope="module")
def processes():
    with Processes(1) as found:
        yield found


def test_a_process_is_another_one_and_stays(processes):
    found = {processes.submit(os.getpid).result() for _ in range(3)}
    assert len(found) == 1
    assert found != {os.getpid()}


def test_errors_come_back(processes):
    with pytest.raises(KeyError, match="lost"):
        processes.submit(fail, KeyError("lost")).result()


def test_what_cannot_be_sent_is_done_here(processes):
    assert processes.submit(lambda: os.getpid()).result() == os.getpid()
    assert isinstance(processes.submit(Unsendable).result(), Unsendable)
    with pytest.raises(NeedsTwo):
        processes.submit(fail_oddly, "there").result()


def test_what_is_lost_is_done_here():
    with Processes(1) as found:
        assert found.submit(die, os.getpid()).result() == "done here"
        assert found.submit(os.getpid).result() == os.getpid()  # as all that follows


@pytest.mark.parametrize("python", ["/nowhere/python", None])
def test_where_none_can_begin_all_is_done_here(monkeypatch, python):
    monkeypatch.setattr(sys, "executable", python)
    with Processes(1) as found:
        assert found.submit(os.getpid).result() == os.getpid()


def test_the_end_cuts_off_what_is_running():
    processes = Processes(1)
    assert processes.submit(abs, -1).result() == 1  # it has begun
    future = processes.submit(_forever, 0)
    processes.shutdown(wait=True)
    with pytest.raises(CancelledError):
        future.result()


def _forever(zero):
    while zero == 0:
        pass


@pytest.fixture
def tiny(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"layer.{n}": rng.standard_normal((8, 16)).astype(np.float32) for n in range(40)}
    np.savez(tmp_path / "tiny.npz", **arrays)
    return tmp_path / "tiny.npz"


def figures(report):
    return report.table.drop(columns="seconds").to_csv()


def test_small_tensors_have_the_same_figures_in_processes(tiny, monkeypatch):
    used = []
    submit = Processes.submit

    def counted(self, function, job):
        used.append(type(job).__name__)
        return submit(self, function, job)

    here = kolmo.analyze(tiny, threads=1)
    monkeypatch.setattr(pool, "WORTH", 0.0)
    monkeypatch.setattr(Processes, "submit", counted)
    there = kolmo.analyze(tiny, threads=2)
    assert set(used) == {"FactsJob", "SpectraJob", "TensorJob", "StreamJob"}
    assert figures(there) == figures(here)


def test_a_script_needs_no_guard_of_its_main_module(tiny, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""\
        import kolmo
        from kolmo.engine import pool
        print("once")
        pool.WORTH = 0.0
        given = dict(quantizers=["sign"], estimators=["kt"], threads=2)
        print(len(kolmo.analyze({str(tiny)!r}, **given).table))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "once\n41\n"
    assert done.stderr == ""
