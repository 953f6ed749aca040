"""Files made to harm who reads them end soon, in one line or in right numbers."""

import json

import pytest

import kolmo
import momos
from kolmo.errors import KolmoError
from tests.corpus.bombs import BOMBS, write
from tests.fuzz.limits import MEMORY, limited_memory, limited_time
from tests.fuzz.seeds import HOSTILE
from tests.test_cli import run

ALARM = 60  # seconds of the processor's time; far more than any of these takes

EXPECTED = {
    "index-exponential/model.safetensors.index.json": "as a shard, which is an index",
    "index-long": "the index names 'xxx",
    "index-self": "as a shard, which is an index",
    "index-superscript": "the index names '²', which is not in",
    "kmo-repeats.kmo": "not those that were packed",
    "kmo-units-x-tensors-small.kmo": "",
    "legacy-fifth-pickle.pth": "storage '0' is missing",
    "legacy-good.pth": 4,
    "legacy-huge-storage.pth": "claims 8,589,934,592 bytes, the file has 16 for it",
    "npy-65-axes.npy": "an array of 65 axes",
    "npy-skip-huge.npy": "no array can have its shape",
    "npy-true-shape.npy": "a shape of (True,) does not exist",
    "npz-65-axes.npz": "an array of 65 axes",
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
    "st-surrogate.safetensors": 128,
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


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_files_end_soon_in_an_error_or_right_numbers(name):
    path, wanted = HOSTILE / name, EXPECTED[name]
    memory = 2 * MEMORY if path.suffix == ".kmo" else MEMORY  # a unit of a container takes more
    with limited_memory(memory), limited_time(ALARM):
        if path.suffix == ".kmo":
            ended = run("verify", path, "--threads", 1)
        else:
            ended = run("analyze", path, "-q", "symmetric:8", "-e", "kt", "--json")
        if isinstance(wanted, int):
            assert (ended.returncode, ended.stderr) == (0, "")
            assert json.loads(ended.stdout)
            assert kolmo.open_checkpoint(path).numel == wanted
        else:
            assert (ended.returncode, ended.stdout) == (2, "")
            said = [line for line in ended.stderr.splitlines() if "error" in line]  # not progress
            assert len(said) == 1
            assert wanted in said[0]


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
