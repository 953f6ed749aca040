"""Compiled code is kept, is never stale, needs no folder, and comes from nobody else's."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from numba.core import types
from numba.core.errors import NumbaError

from kolmo import ahead, compiled

ROOT = Path(compiled.__file__).parents[1]
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY = 65534

HELPERS = """
from kolmo.compiled import compiled

STEP = 1

@compiled(inline=True)
def inlined(x):
    return x + 1

@compiled
def linked(x):
    return x + 10
"""

KERNELS = """
from kolmo.compiled import compiled
from kolmo.helpers import STEP, inlined, linked

@compiled
def run(x):
    return 1000 * STEP + linked(inlined(x))
"""

PROGRAM = """
from kolmo.kernels import run

value = run(5)
print(value, sum(run.stats.cache_hits.values()), run.stats.cache_path)
"""


def run(program: str, folder: Path, *, prefix: tuple[str, ...] = (), **environment: str) -> str:
    """What a new process says that imports from a folder."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def run_small(folder: Path, **environment: str) -> tuple[int, int, str]:
    """The result of the small package, how often it came from the folder, and which one."""
    value, hits, path = run(PROGRAM, folder, **environment).split()
    return int(value), int(hits), path


@pytest.fixture
def small(tmp_path):
    """A package with the real decorator and two files of kernels, one of which needs the other."""
    package = tmp_path / "kolmo"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(compiled.__file__, package)
    (package / "helpers.py").write_text(HELPERS)
    (package / "kernels.py").write_text(KERNELS)
    (package / ".#kernels.py").symlink_to("somebody@somewhere.1234")  # an editor has it open
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def copy_packages(folder: Path) -> None:
    for name in ("kolmo", "momos"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)


# --- never stale ----------------------------------------------------------------------------


def test_unchanged_sources_are_compiled_once(small):
    value, hits, path = run_small(small)
    assert (value, hits) == (1016, 0)
    assert run_small(small) == (1016, 1, path)


def test_code_is_loaded_without_what_only_a_compiler_needs(small):
    """Also code that makes arrays, in a function or in one that it calls."""
    made = (
        "import numpy as np\n\n@compiled(allocates=True)\ndef total(n):\n"
        "    return np.ones(n)[0] * n\n\n@compiled\ndef more(n):\n    return total(n) + 1\n"
    )
    kernels = small / "kolmo" / "kernels.py"
    kernels.write_text(KERNELS + made)
    program = (
        "import sys\nfrom kolmo.kernels import more, run, total\n"
        "heavy = ['numba.np.arraymath', 'numba.np.linalg', 'scipy.linalg']\n"
        "print(run(5), more(3), total(3), [name in sys.modules for name in heavy])"
    )
    assert run(program, small).startswith("1016 4.0 3.0 ")  # compiled
    assert run(program, small) == "1016 4.0 3.0 [False, False, False]\n"  # loaded


def test_an_edited_helper_is_seen(small):
    helpers = small / "kolmo" / "helpers.py"
    first = run_small(small)
    edit(helpers, "x + 1\n", "x + 2\n")
    assert run_small(small)[:2] == (1017, 0)
    edit(helpers, "x + 10", "x + 20")
    assert run_small(small)[:2] == (1027, 0)
    edit(helpers, "STEP = 1", "STEP = 2")
    assert run_small(small)[:2] == (2027, 0)
    helpers.write_text(HELPERS)  # as when a branch is left and entered again
    assert run_small(small) == (first[0], 1, first[2])


def test_an_edited_arithmetic_coder_codes_anew(tmp_path):
    """The coder is inlined into the kernels of other files."""
    copy_packages(tmp_path)
    program = """
import numpy as np
from kolmo.codes.base import get_code
from kolmo.codes.kernels_counts import code
from kolmo.symbols import Alphabet

symbols = (np.arange(500) ** 2 % 251).astype(np.uint8)
data = get_code("counts").encode([symbols], Alphabet(256))
print(data.hex(), sum(code.stats.cache_hits.values()))
"""
    old = run(program, tmp_path).split()
    coder = tmp_path / "kolmo" / "codes" / "arithmetic.py"
    edit(coder, "stream[place] = high >> 24", "stream[place] = (high >> 24) ^ 1")
    new = run(program, tmp_path).split()
    assert (old[1], new[1]) == ("0", "0")
    assert old[0] != new[0]
    assert run(program, tmp_path).split() == [new[0], "1"]


def test_only_the_newest_of_old_kernels_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_digest", lambda: "new")
    for version in range(9):
        (tmp_path / f"compiled-{version}").mkdir(0o700)
        os.utime(tmp_path / f"compiled-{version}", (version, version))
    (tmp_path / "else").mkdir()
    assert compiled._make(tmp_path / "compiled-new")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["compiled-5", "compiled-6", "compiled-7", "compiled-8", "compiled-new", "else"]


def test_damaged_code_is_compiled_anew(small):
    path = Path(run_small(small)[2])
    for file in path.glob("*.nb[ic]"):
        file.write_bytes(file.read_bytes()[: 0 if "linked" in file.name else 50])
    assert run_small(small) == (1016, 0, str(path))
    assert run_small(small) == (1016, 1, str(path))


def test_a_lost_folder_is_said_once_and_stops_nothing(small):
    said = run(
        """
import shutil
from kolmo.compiled import folder_of_code
from kolmo.kernels import run

folder = folder_of_code()
shutil.rmtree(folder)
folder.touch()
print(run(5))
""",
        small,
    )
    assert said.startswith("1016\n")
    assert said.count("compiled code is not kept") == 1


# --- compiled ahead of time -----------------------------------------------------------------


def test_code_that_came_with_the_package_is_used(small, tmp_path_factory):
    """Whatever folder new code goes to, and whatever times installed files have."""
    run_small(small)
    for file in (small / "kolmo").glob("[a-z]*.py"):
        os.utime(file, (0, 0))
    chosen = str(tmp_path_factory.mktemp("chosen"))
    assert run_small(small, NUMBA_CACHE_DIR=chosen)[:2] == (1016, 1)
    assert not list(Path(chosen).rglob("*.nbc"))


def test_code_beside_the_package_that_others_can_write_is_not_used(small, tmp_path_factory):
    Path(run_small(small)[2]).chmod(0o777)
    chosen = str(tmp_path_factory.mktemp("chosen"))
    assert run_small(small, NUMBA_CACHE_DIR=chosen)[:2] == (1016, 0)
    assert list(Path(chosen).rglob("*.nbc"))


def test_types_survive_their_spelling():
    """Those of all kinds that functions take."""
    kinds = [
        kind
        for signatures in ahead.read_list().values()
        for signature in signatures
        for kind in signature
    ]
    assert len(kinds) > 100
    assert all(ahead.spell(ahead.read(kind)) == kind for kind in kinds)


LOADED = """
import sys
from kolmo.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
from kolmo import ahead, compiled
listed = ahead.read_list()
used = ahead.spell_all(compiled.kept.items())
assert used
print("\\n", [name for name, its in used.items() for one in its if one not in listed.get(name, [])])
"""


@pytest.mark.parametrize(
    "command",
    ["analyze MODEL", "analyze MODEL -e context", "pack MODEL -o packed.kmo", "delta OTHER MODEL"],
)
def test_what_the_commands_call_is_compiled_ahead(tmp_path, command):
    files = {
        "MODEL": str(ROOT / "data" / "trained.safetensors"),
        "OTHER": str(ROOT / "data" / "random.safetensors"),
    }
    arguments = [files.get(word, word) for word in command.split()]
    path = {"PYTHONPATH": str(ROOT), "KOLMO_STORE": "off"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "[]"


# --- compiling less -------------------------------------------------------------------------


def test_a_function_is_compiled_once_for_all_constants():
    @compiled.compiled
    def step(x, by):
        return 10 * x + by

    @compiled.compiled
    def steps(x):
        return step(step(step(x, 1), by=2), 3)

    assert steps(7) == 7123
    assert len(step.signatures) == 1


def test_a_function_that_makes_arrays_says_so():
    def sums(n):
        return np.ones(n).sum()

    with pytest.raises(NumbaError):
        compiled.compiled(sums)(3)
    assert compiled.compiled(allocates=True)(sums)(3) == 3


def test_other_functions_are_compiled_as_numba_does():
    resolve = types.BaseFunction.get_call_type

    @compiled.compiled
    def wrong(x):
        return x + "text"

    with pytest.raises(NumbaError):
        wrong(1)
    assert types.BaseFunction.get_call_type is resolve


# --- whose folder ---------------------------------------------------------------------------


def test_a_folder_is_made_for_its_user_alone(small):
    path = Path(run_small(small)[2])
    assert path.parent == small / "kolmo" / "__pycache__"
    assert path.stat().st_mode & 0o777 == 0o700
    assert compiled._is_private(path)


def test_a_folder_may_be_named(small, tmp_path_factory):
    chosen = tmp_path_factory.mktemp("chosen")
    assert Path(run_small(small, NUMBA_CACHE_DIR=str(chosen))[2]).parent == chosen


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_nothing_comes_from_a_folder_that_others_can_write_to(small, tmp_path_factory, mode):
    chosen = tmp_path_factory.mktemp("chosen")
    planted = Path(run_small(small, NUMBA_CACHE_DIR=str(chosen))[2])
    planted.chmod(mode)
    value, hits, path = run_small(small, NUMBA_CACHE_DIR=str(chosen))
    assert (value, hits) == (1016, 0)
    assert Path(path).parent == small / "kolmo" / "__pycache__"


def test_a_folder_is_not_private_if_another_can_take_its_place(tmp_path):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(0o700, parents=True)
    assert compiled._is_private(inner)
    inner.parent.chmod(0o777)
    assert not compiled._is_private(inner)
    inner.parent.chmod(0o1777)  # as temporary folders are: only its owner can move it
    assert compiled._is_private(inner)
    assert not compiled._is_private(tmp_path / "absent")
    (tmp_path / "link").symlink_to(inner)
    assert not compiled._is_private(tmp_path / "link")


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_private(tmp_path):
    tmp_path.chmod(0o700)
    os.chown(tmp_path, NOBODY, NOBODY)
    assert not compiled._is_private(tmp_path)


# --- no folder ------------------------------------------------------------------------------


@pytest.fixture
def installed():
    """A copy of the repository's packages that the user nobody can read and not write to."""
    folder = Path(tempfile.mkdtemp())
    copy_packages(folder)
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data" / "trained.safetensors", folder / "data")
    (folder / "kolmo" / "__pycache__").mkdir()
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", folder], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become the user nobody")
@pytest.mark.parametrize(
    ("mode", "home"),
    [(0o1777, "/nonexistent"), (0o777, "/nonexistent"), (0o1777, "closed")],
    ids=["temporary folder", "no folder", "somebody else's home"],
)
def test_a_read_only_installation_works_without_a_home(installed, mode, home):
    """Code is kept in the temporary folder, but not where others could put theirs in its place."""
    temporary = installed / "tmp"
    temporary.mkdir()
    temporary.chmod(mode)
    (installed / "closed").mkdir(0o700)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    command = ["-m", "kolmo", "analyze", "data/trained.safetensors", "-q", "sign", "-e", "bdm"]
    places = {
        "HOME": str(installed / home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(installed),
    }
    done = subprocess.run(
        [*user, sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=installed,
        env={"PATH": os.environ["PATH"], **places},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "bdm" in done.stdout
    kept = [path for path in temporary.rglob("*.nbc") if path.stat().st_uid == NOBODY]
    assert bool(kept) == (mode == 0o1777)
    assert ("compiled code is not kept" in done.stderr) == (not kept)


# --- one decorator --------------------------------------------------------------------------


def python_files() -> list[Path]:
    return [path for name in ("kolmo", "momos") for path in sorted((ROOT / name).rglob("*.py"))]


def test_every_kernel_has_the_one_decorator():
    for path in python_files():
        if path != Path(compiled.__file__):
            text = path.read_text()
            assert "njit" not in text, path
            assert "numba.jit" not in text, path
            assert "cache=True" not in text, path


def test_numba_is_entered_by_one_door():
    """Its files import each other in circles, so that two threads that enter by two find it half
    imported."""
    for path in python_files():
        if path != Path(compiled.__file__):
            found = {name.split(".")[0] for name in all_imports(path)}
            assert not {"numba", "llvmlite"} & found, path


def test_threads_may_need_their_first_kernels_at_the_same_time():
    """A job counts signs while another one shuffles."""
    program = """
import numpy as np
from kolmo import compare
weights = {f"w{i}": np.random.default_rng(i).normal(size=(64, 64)) for i in range(6)}
chosen = {"quantizers": ["sign"], "estimators": ["bdm"], "nulls": ["shuffled"], "draws": 4}
report = compare({"m": weights}, **chosen, threads=4)
print(report.table["bits"].notna().all())
"""
    for _ in range(3):
        assert run(program, ROOT, KOLMO_STORE="off").split()[-1] == "True"


def all_imports(path: Path) -> set[str]:
    """The names that a file imports, and those of the modules that it takes them from."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def own_imports(path: Path) -> set[Path]:
    """The files of kolmo and momos that a file imports from."""
    names = all_imports(path)
    return {file for name in names if (file := ROOT / f"{name.replace('.', '/')}.py").exists()}


def test_all_that_kernels_need_is_watched():
    """A constant from a file that is not would be compiled in and go stale."""
    watched = set(compiled.kernel_files())
    assert {path.name for path in watched} >= {"arithmetic.py", "compiled.py", "vectors.py"}
    for path in watched:
        assert own_imports(path) <= watched, path
