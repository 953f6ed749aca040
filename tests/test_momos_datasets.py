"""The data sets that are generated, read from official files, or fetched."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest

from kolmo.errors import InputError
from momos.lab.datasets import cifar, fetch_dataset, load_dataset
from momos.lab.datasets.mnist1d import make_mnist1d

NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def cifar_records(count, seed, label=None):
    random = np.random.default_rng(seed)
    records = random.integers(0, 256, (count, 3073)).astype(np.uint8)
    records[:, 0] = np.arange(count) % 10 if label is None else label
    return records


@pytest.fixture
def small_batches(monkeypatch):
    """Six files of 40 images each; the real ones have 10,000."""
    monkeypatch.setattr(cifar, "_RECORDS", 40)
    return {name: cifar_records(40, number).tobytes() for number, name in enumerate(NAMES)}


def pack(path, batches):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_cifar_is_the_same_from_files_and_from_the_archive(tmp_path, small_batches):
    (tmp_path / "files").mkdir()
    for name, data in small_batches.items():
        (tmp_path / "files" / name).write_bytes(data)
    pack(tmp_path / cifar.ARCHIVE, small_batches)
    loose, packed = load_dataset("cifar10", tmp_path / "files"), load_dataset("cifar10", tmp_path)
    assert loose.shape == (3, 32, 32)
    assert loose.classes == 10
    assert [len(loose.train), len(loose.validation), len(loose.test)] == [184, 16, 40]
    assert np.array_equal(loose.train.images, packed.train.images)
    assert np.array_equal(loose.test.labels, np.arange(40) % 10)
    channels = loose.train.images.reshape(184, 3, -1)
    assert channels.mean(axis=(0, 2)) == pytest.approx(0, abs=1e-4)
    assert channels.std(axis=(0, 2)) == pytest.approx(1, abs=1e-4)
    # A pixel of a record lies where the format says: the green one of row 2, column 3.
    (_, _), (images, _) = cifar.read_cifar10(tmp_path)
    assert images.reshape(-1, 3, 32, 32)[7, 1, 2, 3] == cifar_records(40, 5)[7, 1 + 1024 + 67]


def test_what_is_not_cifar_is_refused(tmp_path, small_batches):
    with pytest.raises(InputError, match=r"there is no data_batch_1\.bin"):
        load_dataset("cifar10", tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="pickles"):
        load_dataset("cifar10", tmp_path)
    packed = pack(tmp_path / cifar.ARCHIVE, small_batches).read_bytes()
    (tmp_path / cifar.ARCHIVE).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        load_dataset("cifar10", tmp_path)
    without = {name: data for name, data in small_batches.items() if name != "test_batch.bin"}
    pack(tmp_path / cifar.ARCHIVE, without)
    with pytest.raises(InputError, match=r"holds no .*test_batch"):
        load_dataset("cifar10", tmp_path)
    for name, data in small_batches.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / NAMES[2]).write_bytes(cifar_records(40, 0, label=11).tobytes())
    with pytest.raises(InputError, match=r"label of its image 0 is 11"):
        load_dataset("cifar10", tmp_path)
    (tmp_path / NAMES[2]).write_bytes(b"short")
    with pytest.raises(InputError, match="holds 5 bytes"):
        load_dataset("cifar10", tmp_path)


def test_mnist1d_is_balanced_reproducible_and_hidden_in_noise():
    signals, labels = make_mnist1d()
    assert signals.shape == (5000, 40)
    assert np.isfinite(signals).all()
    assert np.bincount(labels).tolist() == [500] * 10
    assert np.array_equal(make_mnist1d()[0], signals)
    assert not np.array_equal(make_mnist1d(seed=1)[0], signals)
    dataset = load_dataset("mnist1d")
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [3600, 400, 1000]
    assert dataset.shape == (40,)


def test_mnist1d_is_hard_for_a_linear_model_as_published():
    # Greydanus (arXiv 2011.14439), table 1: logistic regression reaches 32 %, an MLP 68 %.
    from sklearn.linear_model import LogisticRegression

    dataset = load_dataset("mnist1d")
    linear = LogisticRegression(max_iter=300).fit(dataset.train.images, dataset.train.labels)
    assert 0.25 < linear.score(dataset.test.images, dataset.test.labels) < 0.40


def test_unbundled_sets_say_how_to_get_them():
    with pytest.raises(InputError, match="momos fetch cifar10 --folder"):
        load_dataset("cifar10")


@pytest.fixture
def server(tmp_path):
    """A web server of this folder, and the requests made to it."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    (tmp_path / "served").mkdir()
    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "served", asked
        running.shutdown()


def test_fetching_checks_hashes_and_goes_on_where_it_was(tmp_path, server):
    url, served, asked = server
    files = {"a.gz": b"first", "b.gz": b"second"}
    sources = {f"{url}/{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (served / "a.gz").write_bytes(b"first")
    with pytest.raises(InputError, match=r"b\.gz: there is no such file"):
        fetch_dataset("mnist", tmp_path / "out", {"mnist": sources})
    (served / "b.gz").write_bytes(b"not the second")
    with pytest.raises(InputError, match=r"b\.gz: its SHA-256 is \w{64}, not"):
        fetch_dataset("mnist", tmp_path / "out", {"mnist": sources})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.gz"]
    (served / "b.gz").write_bytes(b"second")
    paths = fetch_dataset("mnist", tmp_path / "out", {"mnist": sources})
    assert [path.read_bytes() for path in paths] == [b"first", b"second"]
    assert asked.count("/a.gz") == 1  # what was there is not fetched again


def test_only_sets_with_files_are_fetched(tmp_path):
    with pytest.raises(InputError, match="digits"):
        fetch_dataset("digits", tmp_path)
