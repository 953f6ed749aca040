"""GGUF files that are damaged or hostile: one clear line, little read, nothing else."""

import os
from pathlib import Path

import pytest

import kolmo
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.gguf import open_gguf
from kolmo.errors import InputError
from tests.corpus.gguf import Writer, floats, gguf, normal
from tests.corpus.reads import Counting

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests/data/gguf"
SEEDS = [path.read_bytes() for path in sorted(DATA.glob("*.gguf"))]


def refused(path, data, message):
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        kolmo.open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [1, 2, 12])
def test_a_file_of_100_gb_is_opened_in_kilobytes(tmp_path, kind):
    path = tmp_path / "x.gguf"
    metadata = {"tokens": [f"token {n}" for n in range(99)], "types": [("i32", 1)] * (1 << 15)}
    data = gguf({"small": floats(normal(32)), "big": ((1 << 17, 1 << 20), kind, b"")}, metadata)
    path.write_bytes(data)
    os.truncate(path, len(data) + (1 << 38))
    folder = Counting(tmp_path)
    found = open_gguf(File(folder, path.name))
    assert found.numel == 2**37 + 32
    assert sum(folder.reads) <= 2 << 14
    folder.reads.clear()
    assert not found["big"].load(2**37 - 5, 2**37).any()
    assert sum(folder.reads) <= 144


def test_a_vocabulary_is_read_once(tmp_path):
    write, many = Writer(), 250_000
    words = write.pack("II", 9, 8) + write.count(many) + write.text("a token") * many
    scores = write.pack("II", 9, 6) + write.count(many) + bytes(4 * many)
    pairs = write.text("tokens") + words + write.text("scores") + scores
    head = headed(pairs, write.entry("a", [8], 0, 0), keys=2)
    path = tmp_path / "x.gguf"
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(32))
    folder = Counting(tmp_path)
    assert open_gguf(File(folder, path.name)).numel == 8
    assert len(folder.reads) < 20
    assert sum(folder.reads) < 2 * len(words)


# --- claims -------------------------------------------------------------------------------------


def headed(*pieces, version=3, tensors=1, keys=0):
    write = Writer(version)
    head = b"GGUF" + write.pack("I", version) + write.count(tensors) + write.count(keys)
    return head + b"".join(pieces)


WRITE = Writer()
HUGE = 1 << 62
CLAIMS = {
    "count of tensors": (headed(tensors=HUGE), "claims 4,611,686,018,427,387,904 tensors"),
    "count of keys": (headed(keys=HUGE), "metadata entries, more than its bytes can hold"),
    "nothing more": (b"GGUF", "a damaged or truncated GGUF file: it ends within its header"),
    "version 0": (b"GGUF" + bytes(99), "a GGUF file of version 0"),
    "version 4": (b"GGUF\4\0\0\0" + bytes(99), "a GGUF file of version 4, .* versions 1, 2 and 3"),
    "name": (headed(WRITE.count(HUGE), bytes(40)), "a name of 4,611,686,018,427,387,904 bytes"),
    "name beyond the end": (headed(WRITE.count(99), bytes(40)), "ends within its header"),
    "axes": (headed(WRITE.text("a"), WRITE.pack("I", 65), bytes(999)), "'a' claims 65 axes"),
    "sides": (headed(WRITE.entry("a", [HUGE, 4], 0, 0)), "'a' claims the sides"),
    "no rows": (headed(WRITE.entry("a", [0, 1 << 61], 0, 0)), "'a' claims the sides"),
    "offset": (headed(WRITE.entry("a", [1], 0, 1 << 63)), "'a' ends at byte"),
    "size": (headed(WRITE.entry("a", [1 << 40], 0, 0)), "join all pieces:  cat PIECES > WHOLE"),
    "part of a block": (headed(WRITE.entry("a", [33, 32], 2, 0)), "rows of its tensor 'a' are no"),
    "number as a block": (headed(WRITE.entry("a", [], 8, 0)), "rows of its tensor 'a' are no"),
    "text": (
        headed(WRITE.text("k"), WRITE.pack("I", 8), WRITE.count(HUGE), bytes(40), keys=1),
        "ends within its header",
    ),
    "array of numbers": (
        headed(WRITE.text("k"), WRITE.pack("II", 9, 5), WRITE.count(HUGE), bytes(40), keys=1),
        "ends within its header",
    ),
    "array of texts": (
        headed(WRITE.text("k"), WRITE.pack("II", 9, 8), WRITE.count(HUGE), bytes(40), keys=1),
        "claims 4,611,686,018,427,387,904 texts",
    ),
    "array of arrays": (
        headed(WRITE.text("k"), WRITE.pack("II", 9, 9), WRITE.count(HUGE), bytes(40), keys=1),
        "claims 4,611,686,018,427,387,904 arrays",
    ),
    "arrays without end": (
        headed(
            WRITE.text("k"), WRITE.pack("I", 9), (WRITE.pack("I", 9) + WRITE.count(1)) * 99, keys=1
        ),
        "array of the unknown type 9|arrays in arrays",
    ),
    "unknown type": (
        headed(WRITE.text("k"), WRITE.pack("I", 13), bytes(99), keys=1),
        "a value of the unknown type 13",
    ),
    "twice": (headed(WRITE.pair("k", ("u8", 1)) * 2, bytes(99), keys=2), "have 'k' twice"),
    "nothing": (gguf({}), "a GGUF file of metadata alone, without any tensor"),
    "alignment": (gguf({}, {"general.alignment": ("u32", 48)}), "48 is no power of two"),
    "alignment of text": (gguf({}, {"general.alignment": "a"}), "'a' is no power of two"),
    "part": (
        gguf({}, {"split.no": ("u16", 3), "split.count": ("u16", 3)}),
        "claims to be part 3 of parts 0 to 2",
    ),
    "part of text": (
        gguf({}, {"split.no": "a"}),
        "its number as a part, or their count, is no",
    ),
    "one name": (
        headed(*[WRITE.entry("a", [2], 0, 32 * n) for n in (0, 1)], bytes(99), tensors=2),
        "two of its tensors have the name 'a'",
    ),
    "overlap": (
        headed(*[WRITE.entry(f"{n}", [9], 0, 4 * n) for n in (0, 1)], bytes(99), tensors=2),
        "its tensors '0' and '1' overlap",
    ),
    "control": (headed(WRITE.entry("\x1b[31m", [33, 32], 2, 0)), r"tensor '\\x1b\[31m' are no"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_are_not_true(tmp_path, name):
    refused(tmp_path / "x.gguf", *CLAIMS[name])


@pytest.mark.parametrize("data", SEEDS)
def test_any_truncation_is_refused(tmp_path, data):
    path = tmp_path / "x.gguf"
    for size in {*range(4, len(data) - 32, 37), len(data) - 32}:  # the last bytes are padding
        refused(path, data[:size], "truncated|part [123] of 3")


ENDLESS = {
    "texts": headed(WRITE.text("k"), WRITE.pack("II", 9, 8), WRITE.count(1 << 33), keys=1),
    "keys": headed(keys=1 << 33),
    "tensors": headed(tensors=1 << 33),
    "equal keys": headed(keys=1 << 17),
    "equal tensors": headed(tensors=1 << 17),
    "arrays": headed(WRITE.text("k"), WRITE.pack("II", 9, 9), WRITE.count(1 << 33), keys=1),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_headers_end(tmp_path, name):
    """A sparse file has room for any claim; what it would cost is bounded."""
    path = tmp_path / "x.gguf"
    path.write_bytes(ENDLESS[name])
    os.truncate(path, 1 << 42)
    folder = Counting(tmp_path)
    with pytest.raises(InputError, match=r"items to look at|characters of names|twice|the name ''"):
        open_gguf(File(folder, path.name))
    assert sum(folder.reads) <= 1 << 26
