"""Inputs that fuzzers make are read or refused (`python -m tests.fuzz` tries more)."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError
from tests.fuzz import kinds
from tests.fuzz.kinds import Fuzzer, Result, fuzzers, result_of
from tests.fuzz.minimal import shrink
from tests.fuzz.running import run

ALARM = 60  # seconds of the processor's time; far more than any input takes
FEW = 8
NAMES = list(fuzzers())


def check(name, first, count):
    found = run(fuzzers()[name], first, count, seconds=ALARM)
    assert not found.faults, "\n".join(r.text for kind in found.faults.values() for r in kind)
    assert found.counts["refused"] + found.counts["read"] == count


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_read_or_refused(name, tmp_path):
    check(name, 0, FEW)
    assert digest(name, tmp_path / "a") == digest(name, tmp_path / "b")  # of one seed, one input


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_inputs_are_read_or_refused(name):
    check(name, FEW, 3000)


def digest(name, folder):
    """Of the input of a seed."""
    folder.mkdir()
    path = fuzzers()[name].make(folder, np.random.default_rng(7))
    made = hashlib.sha256(bytes(path.relative_to(folder)))
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        made.update(bytes(file.relative_to(folder)) + file.read_bytes())
    return made.hexdigest()


# --- what finds faults ----------------------------------------------------------------------


def write(folder, random):
    (folder / "x").write_bytes(random.bytes(20) + b"BAD" + random.bytes(40))
    return folder / "x"


def use(path):
    data = path.read_bytes()
    if b"BAD" in data:
        raise IndexError("for nobody to see")
    raise InputError("not sound")


BROKEN = Fuzzer("broken", write, use)


def test_a_fault_is_of_the_kind_of_its_exception_and_line():
    result = result_of(BROKEN, 3)
    assert (result.seed, result.what) == (3, "fault")
    assert result.kind.startswith("IndexError at ")
    assert "for nobody to see" in result.text
    assert run(BROKEN, 0, 5).faults == {result.kind: [result_of(BROKEN, n) for n in range(5)]}


def test_a_fault_is_shrunk_to_what_it_needs(tmp_path):
    path = write(tmp_path, np.random.default_rng(0))
    shrink(BROKEN, path, tmp_path, result_of(BROKEN, 0).kind)
    assert path.read_bytes() == b"BAD"


def test_a_judge_is_believed():
    judged = dataclasses.replace(
        BROKEN, use=Path.read_bytes, judge=lambda path, found: "differs\n!"
    )
    assert result_of(judged, 0) == Result(0, "fault", "differs", "differs\n!")


def test_a_message_that_is_no_line_is_a_fault():
    class Raw(InputError):
        def __str__(self):
            return "one\ntwo"

    def refuse(path):
        raise Raw("")

    result = result_of(dataclasses.replace(BROKEN, use=refuse), 0)
    assert (result.what, result.kind) == ("fault", "a message that is no line")


DEADLY = """
import os, signal
from pathlib import Path
from tests.fuzz.kinds import Fuzzer

def make(folder, random):
    (folder / "x").write_bytes(random.bytes(1))
    return folder / "x"

def use(path):
    if path.read_bytes()[0] < 128:
        os.kill(os.getpid(), signal.SIGKILL)

FUZZERS = [Fuzzer("deadly", make, use)]
"""


def test_an_input_that_ends_its_process_is_a_fault(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    shutil.copytree(
        Path(kinds.__file__).parent,
        tmp_path / "tests" / "fuzz",
        ignore=shutil.ignore_patterns("of_*", "__pycache__"),
    )
    (tmp_path / "tests" / "fuzz" / "of_deadly.py").write_text(DEADLY)
    paths = os.pathsep.join([str(tmp_path), str(Path(kolmo.__file__).parent.parent)])
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--count", "8", "--jobs", "2", "--keep", "kept"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    dead = [n for n in range(8) if np.random.default_rng(n).bytes(1)[0] < 128]
    assert dead
    assert ran.returncode == 1
    row = next(line for line in ran.stdout.splitlines() if line.startswith("deadly "))
    assert row.split()[1:5] == ["8", "0", str(8 - len(dead)), str(len(dead))]
    assert "the process ended by itself, code -9" in ran.stdout
    kept = tmp_path / "kept" / f"deadly {dead[0]}"
    assert (kept / "input" / "x").read_bytes() == np.random.default_rng(dead[0]).bytes(1)
