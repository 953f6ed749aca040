"""Files made to harm who reads them end soon, in one line or in right numbers."""

import pytest

import kolmo
import momos
from kolmo.errors import KolmoError
from tests.corpus.bombs import BOMBS, write
from tests.corpus.forks import Forks
from tests.corpus.traps import SLOW_TRAPS, TRAPS, lay
from tests.corpus.traps_late import LATE
from tests.corpus.traps_own import OWN_TRAPS
from tests.fuzz.limits import limited_memory, limited_time
from tests.fuzz.seeds import HOSTILE
from tests.test_cli import run

ALARM = 60  # seconds of the processor's time; far more than any of these takes

EXPECTED = {
    "index-exponential/model.safetensors.index.json": "as a shard, which is an index",
    "index-long": "the index names 'xxx",
    "index-self": "as a shard, which is an index",
    "index-superscript": "the index names '²', which is not in",
    "kmo-repeats.kmo": "decoding it would take",
    "kmo-units-x-tensors-small.kmo": "",
    "legacy-fifth-pickle.pth": "storage '0' is missing",
    "legacy-good.pth": 4,
    "legacy-huge-storage.pth": "claims 8,589,934,592 bytes, the file has 16 for it",
    "mosaic-header-bomb.mosaic": "its description of the mosaic is damaged",
    "npy-65-axes.npy": "an array of 65 axes",
    "npy-skip-huge.npy": "no array can have its shape",
    "npy-true-shape.npy": "a shape of (True,) does not exist",
    "npz-65-axes.npz": "an array of 65 axes",
    "npz-bomb-1GiB.npz": "it holds more than",
    "npz-lzma-damaged.npz": "cannot be read",
    "npz-skip-huge.npz": "no array can have its shape",
    "npz-true-shape.npz": "a shape of (True,) does not exist",
    "st-64-axes.safetensors": 2,
    "st-ansi-int.safetensors": 128,
    "st-empty.safetensors": "nothing to measure",
    "st-emptyname.safetensors": 128,
    "st-good.safetensors": 128,
    "st-mathtext-0.safetensors": 128,
    "st-mathtext-1.safetensors": 128,
    "st-mathtext-2.safetensors": 128,
    "st-names.safetensors": 960,
    "st-only-meta.safetensors": "nothing to measure",
    "st-surrogate.safetensors": "surrogates not allowed",
    "st-unknown-huge.safetensors": "has 0 bytes, which is not F4",
    "st-zero-huge.safetensors": 16,
    "torch-alias-views.pt": 4,
    "torch-billion-laughs.pt": 4,
    "torch-decoy-name.pt": "no arrays in it; it holds: a call of 'os.system', which was not made",
    "torch-deep.pt": 4,
    "torch-duplicate-pkl.pt": "two records of the archive have one name",
    "torch-expanded-to-2-30.pt": "'w': an expanded view of 4 numbers",
    "torch-expanded-to-2-35.pt": "'w': an expanded view of 4 numbers",
    "torch-good.pt": 4,
    "torch-name-collision.pt": 4,  # four views of one storage, of which one holds the others
    "torch-neg-bit.pt": 4,
    "torch-script-decoy.pt": 4,
    "torch-selfref.pt": 4,
    "torch-stride-overlap.pt": 9,
}
"""What is said of each, or its number of weights."""


def test_each_hostile_file_has_its_case():
    assert {path.name for path in HOSTILE.iterdir()} == {name.split("/")[0] for name in EXPECTED}


@pytest.fixture(scope="module")
def forks():
    with Forks() as server:
        yield server


def command(path, out):
    """How a file is used for what it is: measured, checked, expanded."""
    if path.suffix == ".kmo":
        return "kolmo", "verify", path
    if path.suffix == ".mosaic":
        return "momos", "expand", path, "-o", out / "expanded.safetensors"
    return "kolmo", "analyze", path, "-q", "symmetric:8", "-e", "kt", "--json"


def others(path, out):
    """All other commands that open a file."""
    measured = ("-q", "symmetric:8", "-e", "kt", "--json")
    yield "kolmo", "analyze", path, *measured
    yield "kolmo", "inspect", path
    yield "kolmo", "pack", path, "-o", out / "packed.kmo"
    yield "kolmo", "delta", path, path
    yield "kolmo", "compare", f"A={path}", f"B={path}", *measured
    if path.suffix == ".kmo":
        yield "kolmo", "unpack", path, "-o", out / "unpacked.safetensors"


def check_end(ended):
    """The line of an error, with exit code 2; an empty one of success."""
    assert ended.returncode in (0, 2), ended
    said = [line for line in ended.stderr.splitlines() if "error" in line]  # not progress
    assert len(said) == bool(ended.returncode), ended
    assert all(line.isprintable() for line in said)
    return "".join(said)


def check(ended, wanted):
    """Some words in one line, with exit code 2, or success."""
    if isinstance(wanted, int):
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return
    assert ended.returncode == 2, ended
    assert wanted in check_end(ended)


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_files_end_soon_in_an_error_or_right_numbers(name, forks, tmp_path):
    path, wanted = HOSTILE / name, EXPECTED[name]
    check(forks.run(*command(path, tmp_path)), wanted)
    if isinstance(wanted, int):
        assert kolmo.open_checkpoint(path).numel == wanted
        return
    for other in others(path, tmp_path):
        check_end(forks.run(*other))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPECTED if isinstance(EXPECTED[name], int)])
def test_odd_files_end_soon_whatever_is_done_with_them(name, forks, tmp_path):
    for other in others(HOSTILE / name, tmp_path):
        check_end(forks.run(*other))


@pytest.mark.parametrize("name", [*TRAPS, *OWN_TRAPS])
def test_traps_do_not_close(name, forks, tmp_path):
    make, wanted = (TRAPS | OWN_TRAPS)[name]
    path = lay(make(), tmp_path / "trap")
    check(forks.run(*command(path, tmp_path)), wanted)
    if isinstance(wanted, int):
        assert kolmo.open_checkpoint(path).numel == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_TRAPS)
def test_large_traps_do_not_close(name, forks, tmp_path):
    make, wanted = SLOW_TRAPS[name]
    check(forks.run(*command(lay(make(), tmp_path / "trap"), tmp_path)), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", LATE)
def test_late_traps_do_not_close(name, forks, tmp_path):
    check_end(forks.run(*command(lay(LATE[name](), tmp_path / "trap"), tmp_path)))


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(tmp_path, name):
    path, (_, wanted) = write(name, tmp_path), BOMBS[name]
    with limited_memory(), limited_time(ALARM):
        if wanted is None:
            assert [tensor.read().tolist() for tensor in kolmo.open_checkpoint(path).values()] == [
                [0, 0, 0, 0]
            ]
            return
        opened = momos.Mosaic.load if path.suffix == ".mosaic" else kolmo.open_checkpoint
        with pytest.raises(KolmoError) as caught:
            opened(path)
    assert wanted in str(caught.value)
    assert str(caught.value).isprintable()


ODD = [name for name in EXPECTED if name.startswith("st-") and isinstance(EXPECTED[name], int)]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_and_not_obeyed(tmp_path, name):
    """Terminal, inspection, CSV and HTML."""
    path, table, page = HOSTILE / name, tmp_path / "r.csv", tmp_path / "r.html"
    for arguments in (
        ("analyze", path, "-q", "symmetric:8", "-e", "kt", "-o", table, "--html", page),
        ("inspect", path),
    ):
        ended = run(*arguments)
        assert ended.returncode == 0, ended.stderr
        assert all(line.isprintable() for line in ended.stdout.split("\n"))
    assert "<script>alert" not in page.read_text()
    assert "\x1b" not in table.read_text() + page.read_text()
