"""inspect: every array with its facts, from the header alone, whatever the source."""

import json
import os

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Checkpoint, Codes, Role, Skipped, WeightTensor
from kolmo.errors import InputError
from kolmo.inspection.arrays import Inspected
from kolmo.inspection.folding import fold
from kolmo.symbols import Alphabet
from tests import giants
from tests.test_cli import refused, run


def unread(start, stop):
    raise AssertionError("inspecting reads no values")


def lazy(name, shape, dtype=np.float32, **more):
    return WeightTensor(name, shape, np.dtype(dtype), unread, **more)


@pytest.fixture
def checkpoint():
    """One tensor of 4 bits and one of 32, book-keeping, an optimizer, a copy and an epoch."""
    codes = Codes("GPTQ", Alphabet(16), unread, 640)
    return Checkpoint(
        [lazy("fc.weight", (64, 32), codes=codes), lazy("fc.bias", (32,))],
        source="model.pt",
        format="torch",
        networks=["unet", "vae"],
        skipped=[
            Skipped("m", "Adam's moments", 32, Role.OPTIMIZER, lazy("exp_avg", (32,))),
            Skipped("fc.scales", "scales", 40, Role.BOOKKEEPING, lazy("s", (40,), np.float16)),
            Skipped("tied", "the same", 32, Role.COPY, lazy("t", (32,)), copy_of="fc.bias"),
            Skipped("epoch", "not a tensor but int"),
            Skipped("odd", "dtype F6 is not supported", 50, Role.WEIGHT),
        ],
    )


def test_every_entry_is_there_with_its_facts(checkpoint):
    found = kolmo.inspect(checkpoint)
    rows = found.table.set_index("name")
    assert list(rows.index) == ["fc.weight", "fc.bias", "m", "fc.scales", "tied", "epoch", "odd"]
    assert rows.loc["fc.weight"].to_dict() == {
        "role": "weight", "shape": (64, 32), "form": "4-bit GPTQ", "numbers": 2048, "bits": 8192,
        "side_bits": 640, "scheme": "GPTQ", "copy_of": "", "reason": "",
    }  # fmt: skip
    assert rows.role.to_dict()["m"] == "optimizer"
    assert rows.bits.to_dict()["fc.scales"] == 640
    assert rows.copy_of.to_dict()["tied"] == "fc.bias"
    assert rows.loc["odd", "shape"] is None
    assert (found.weights, found.unreadable) == (2048 + 32, 50)
    assert found.bits_per_weight == (8192 + 640 + 1024) / (2048 + 32)
    assert found.schemes == ["GPTQ"]
    assert {str(role): total.numbers for role, total in found.roles.items()} == {
        "weight": 2130, "optimizer": 32, "book-keeping": 40, "copy": 32, "other": 0,
    }  # fmt: skip


def test_the_text_says_what_the_table_says(checkpoint):
    text = str(kolmo.inspect(checkpoint))
    assert text.startswith(
        "model.pt: torch, 2,080 weights in 2 tensors, 4.738 bits a weight, 50 weights more that "
        "cannot be read\n"
        "2 networks: unet, vae\nquantized: GPTQ\n\nname "
    )
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert lines["fc.weight"][1:] == [
        "weight",
        "[64,",
        "32]",
        "4-bit",
        "GPTQ",
        "2,048",
        "1.02",
        "kB",
    ]
    assert lines["tied"][-4:] == ["of", "fc.bias;", "the", "same"]
    assert lines["optimizer"] == ["optimizer", "1", "32", "128", "B"]


def test_roles_and_names_choose_what_is_listed(checkpoint):
    def names(**options):
        return [array.name for array in kolmo.inspect(checkpoint, **options).arrays]

    assert names(roles=["optimizer", "copy"]) == ["m", "tied"]
    assert names(include=["fc.*"], exclude=["*.bias"]) == ["fc.weight", "fc.scales"]
    with pytest.raises(InputError, match="unknown role 'bias'; known: weight, book-keeping, buf"):
        names(roles=["bias"])
    with pytest.raises(InputError, match="nothing in it is of these roles and names"):
        names(include=["no"])
    assert names(include="fc.*", roles="weight") == ["fc.weight", "fc.bias"]


def test_arrays_in_memory_and_live_modules_are_inspected():
    torch = pytest.importorskip("torch")
    found = kolmo.inspect(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)))
    shapes = {array.name: array.shape for array in found.arrays}
    assert shapes["0.weight"] == (2, 3)
    assert {"1.running_mean", "1.num_batches_tracked"} <= set(shapes)
    half = kolmo.inspect({"w": np.zeros((2, 3), np.float16), "note": "text"})
    assert [(a.name, a.bits, str(a.role)) for a in half.arrays] == [
        ("w", 96, "weight"), ("note", 0, "other"),
    ]  # fmt: skip


# --- long checkpoints -------------------------------------------------------------------------


def layers(count):
    for n in range(count):
        yield Inspected(f"h.{n}.mlp.weight", Role.WEIGHT, (4, 4), "float32", 16, 512)
        yield Inspected(f"h.{n}.mlp.bias", Role.WEIGHT, (4,), "float32", 4, 128)


def test_layers_that_are_alike_are_one_row():
    odd = Inspected("h.7.mlp.weight", Role.WEIGHT, (5, 4), "float32", 20, 640)
    rows = fold([*layers(7), odd])
    assert [(row.name, len(row.arrays), row.numbers, row.bits) for row in rows] == [
        ("h.{0-6}.mlp.weight", 7, 112, 3584),
        ("h.{0-6}.mlp.bias", 7, 28, 896),
        ("h.7.mlp.weight", 1, 20, 640),
    ]


def test_experts_fold_in_both_numbers_and_names_of_hashes_do_not():
    names = [f"layers.{n}.experts.{e}.w1" for n in range(3) for e in range(4)]
    names += ["conv1d", "conv2d", f"at.{10**40}"]
    arrays = [Inspected(name, Role.WEIGHT, (1,), "float32", 1, 32) for name in names]
    assert [row.name for row in fold(arrays)] == [
        "layers.{0-2}.experts.{0-3}.w1", "conv1d", "conv2d", f"at.{10**40}",
    ]  # fmt: skip


def test_long_checkpoints_are_folded_and_all_rows_can_be_had(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, **{f"layer.{n}.w": np.zeros(n % 2 + 1, "f4") for n in range(100)})
    folded = run("inspect", path).stdout
    assert "layer.{0-98}.w" in folded
    assert "layer.51.w" not in folded
    assert "layer.51.w" in run("inspect", path, "--all").stdout
    assert len(json.loads(run("inspect", path, "--json").stdout)["arrays"]) == 100


def test_what_folding_cannot_shorten_is_cut_and_counted():
    source = {f"w{n}": np.zeros(n + 1, np.float32) for n in range(99)}
    text = str(kolmo.inspect(source))
    assert "and 39 rows more: .table has them all" in text
    assert "w98" not in text
    assert "w98" in kolmo.inspect(source).text(all_rows=True)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_cut_to_the_width(width):
    name = ".".join(["encoder"] * 40)
    text = kolmo.inspect({name: np.zeros(3, np.float32)}).text(width)
    table = text.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= max(width, 70)
    assert ("…" in table) == (width < 330)


# --- strings of others ------------------------------------------------------------------------


def test_names_cannot_change_the_terminal_or_the_page():
    name = "<script>\x1b[31m\nnext"
    found = kolmo.inspect({name: np.zeros(3, np.float32)})
    assert all(line.isprintable() for line in str(found).splitlines())
    page = found._repr_html_()
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


def test_errors_are_one_line(tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint at all, but text")
    refused(run("inspect", tmp_path / "text.pt"), "text.pt")
    refused(run("inspect", tmp_path / "none.pt"), "there is no such file")
    np.save(tmp_path / "a.npy", np.zeros(3, "f4"))
    refused(run("inspect", tmp_path / "a.npy", "--role", "bias"), "unknown role 'bias'")
    refused(run("inspect", tmp_path / "a.npy", "--role", "copy"), "nothing in it is of these")


def test_the_json_document_is_as_it_is_documented(checkpoint):
    document = json.loads(json.dumps(kolmo.inspect(checkpoint).to_dict(), allow_nan=False))
    assert list(document) == [
        "schema", "source", "format", "weights", "unreadable", "bits_per_weight", "schemes",
        "networks", "shards", "files", "roles", "arrays",
    ]  # fmt: skip
    assert document["schema"] == 1
    assert document["roles"]["book-keeping"] == {"arrays": 1, "numbers": 40, "bits": 640}
    assert document["arrays"][0] == {
        "name": "fc.weight", "role": "weight", "shape": [64, 32], "form": "4-bit GPTQ",
        "numbers": 2048, "bits": 8192, "side_bits": 640, "scheme": "GPTQ", "copy_of": "",
        "reason": "",
    }  # fmt: skip


# --- 100 GB -----------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="counts what Linux counts")
@pytest.mark.parametrize("name", giants.GIANTS)
def test_100_gigabytes_are_inspected_by_reading_kilobytes(tmp_path, name):
    path = tmp_path / "huge"
    numbers = giants.GIANTS[name](path)
    kolmo.inspect(path)  # which imports what it needs
    before = giants.bytes_read()
    found = kolmo.inspect(path)
    assert giants.bytes_read() - before < 100_000
    assert found.weights == numbers
    assert sum(found.files.values()) > 0.99 * giants.HUGE
    assert found.bits_per_weight == 32
    assert "100 GB" in str(found)
