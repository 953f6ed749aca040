"""fastText and word vectors, against what their own libraries read (tests/data/words/make.py)."""

from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError

DATA = Path(__file__).parent / "data" / "words"
VECTORS = np.load(DATA / "word2vec.npy")


# --- fastText -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["skipgram.bin", "plain.bin", "supervised.bin"])
def test_fasttext_has_an_input_and_an_output_matrix(name):
    found, truth = kolmo.open_checkpoint(DATA / name), np.load(DATA / f"{name}.npz")
    assert (list(found), found.format) == (["input", "output"], "fastText")
    for matrix in found:
        assert found[matrix].read().tobytes() == truth[matrix].tobytes()
        assert found[matrix].load(3, 11).tolist() == truth[matrix].ravel()[3:11].tolist()


@pytest.mark.parametrize("name", ["quantized.ftz", "normed.ftz"])
def test_quantized_fasttext_is_decoded(name):
    found, truth = kolmo.open_checkpoint(DATA / name), np.load(DATA / f"{name}.npz")
    rows = truth["rows"]
    matrix = found["input"].read()
    assert matrix.shape[1] == 6
    np.testing.assert_array_equal(matrix[: len(rows)], rows)
    assert found["input"].load(5, 20).tolist() == matrix.ravel()[5:20].tolist()
    scores = np.exp(truth["hidden"] @ found["output"].read().T)
    np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), truth["chances"], rtol=1e-3)


def test_a_long_dictionary_is_not_read(tmp_path):
    data = (DATA / "skipgram.bin").read_bytes()
    at = data.index(b"__label__") if b"__label__" in data else data.index(b"</s>")
    torn = bytearray(data)
    torn[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "torn.bin").write_bytes(torn)
    truth = np.load(DATA / "skipgram.bin.npz")["input"]
    assert (kolmo.open_checkpoint(tmp_path / "torn.bin")["input"].read() == truth).all()


def test_other_versions_of_fasttext(tmp_path):
    data = bytearray((DATA / "plain.bin").read_bytes())
    data[4] = 13
    (tmp_path / "new.bin").write_bytes(data)
    with pytest.raises(InputError, match="version 13; 11 and 12 are read"):
        kolmo.open_checkpoint(tmp_path / "new.bin")


# --- word vectors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"),
    [("word2vec.bin", "word2vec"), ("word2vec.vec", "word2vec (text)"), ("glove.txt", "GloVe")],
)
def test_word_vectors(name, form):
    found = kolmo.open_checkpoint(DATA / name)
    assert (list(found), found.format, found.files) == (["vectors"], form, (str(DATA / name),))
    assert found["vectors"].read().tobytes() == VECTORS.tobytes()
    assert found["vectors"].load(7, 33).tolist() == VECTORS.ravel()[7:33].tolist()
    assert found["vectors"].load(4, 4).size == 0


def opened(tmp_path, data, name="vectors.any"):
    path = tmp_path / name
    path.write_bytes(data)
    return kolmo.open_checkpoint(path)["vectors"].read().tolist()


def test_lines_of_other_writers(tmp_path):
    rows = [[1, -0.5, 0.25, 2e-3], [3, 4, 5, 6]]
    expected = np.float32(rows).tolist()
    lines = [" ".join(map(str, row)) for row in rows]
    assert opened(tmp_path, f"2 4\nof {lines[0]} \na b {lines[1]} \n".encode()) == expected
    assert opened(tmp_path, f"of {lines[0]}\n. . . {lines[1]}".encode()) == expected
    assert opened(tmp_path, f"of {lines[0]}\r\n1,5 {lines[1]}\r\n\r\n".encode()) == expected
    tabs = "\t".join(["of", *lines[0].split()]) + "\n" + "\t".join(["to", *lines[1].split()])
    assert opened(tmp_path, f"{tabs}\n".encode()) == expected


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_binary_rows_with_and_without_an_end_of_line(tmp_path, end):
    rows = np.float32([[1, 2, np.nan], [0, 5, 6]])
    body = b"".join(
        word + b" " + row.tobytes() + end for word, row in zip([b"a", b"b"], rows, strict=True)
    )
    assert str(opened(tmp_path, b"2 3\n" + body)) == str(rows.tolist())


@pytest.mark.parametrize(
    "text",
    [
        b"2 3\n1.123456 2.123456 3.123456\n4.123456 5.123456 6.123456\n",  # a matrix as text
        b"0.1 0.2 0.3 0.4 0.5\n0.1 0.2 0.3 0.4 0.5\n",
        b"name 1 2\nother 3 4\n",
        b"12 5\n",
    ],
)
def test_other_texts_are_no_word_vectors(tmp_path, text):
    with pytest.raises(InputError, match="not a checkpoint"):
        opened(tmp_path, text, "table")


def test_many_columns_are_vectors_whatever_the_name(tmp_path):
    rows = np.random.default_rng(0).normal(size=(3, 25)).astype(np.float32)
    text = "".join(f"w{n} {' '.join(map(repr, row.tolist()))}\n" for n, row in enumerate(rows))
    assert opened(tmp_path, text.encode(), "table") == rows.tolist()


def test_damaged_vectors(tmp_path):
    for name in ("word2vec.bin", "word2vec.vec"):
        data = (DATA / name).read_bytes()
        with pytest.raises(InputError, match=r"damaged or truncated|shorter|not a checkpoint"):
            opened(tmp_path, data[:-40])
        with pytest.raises(InputError, match="damaged or truncated"):
            opened(tmp_path, data + data[20:])


@pytest.mark.parametrize(
    "body",
    [
        b"a 1 2 3 4\n" + b"a 1 2 3 4\n" * 9 + b"\n" * 5_000_000,  # each line would take 8 bytes
        b"a 1 2 3 4\n" * 2 + b"a " + b"1" * 900_000 + b" 2 3 4\n",  # a number as wide as a row
    ],
)
def test_lines_that_would_fill_the_memory(tmp_path, body):
    with pytest.raises(InputError, match=r"shorter than its vectors|without its 4 numbers"):
        opened(tmp_path, body)


def test_long_words_are_read_in_pieces(tmp_path):
    rows = np.arange(300, dtype=np.float32).reshape(100, 3)
    body = b"".join(b"w" * 60_000 + b" " + row.tobytes() for row in rows)
    assert opened(tmp_path, b"100 3\n" + body) == rows.tolist()


# --- mutations ------------------------------------------------------------------------------
