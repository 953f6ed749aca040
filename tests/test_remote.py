"""Sources far away are read by ranges: what is asked for is what is sent."""

import concurrent.futures
import json
import os
import re
import subprocess
import sys

import fsspec
import numpy as np
import pytest
import safetensors.numpy
import torch

import kolmo
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.ranges import BLOCK, PAGE
from kolmo.checkpoints.remote import RemoteFolder, hub_url, open_url, public
from kolmo.errors import InputError
from tests.checkpoints import write_shards
from tests.hub import HubHandler
from tests.servers import serving

DATA = os.urandom(3_000_000)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "model.bin").write_bytes(DATA)
    (tmp_path / "deep" / "a b#c?.bin").write_bytes(DATA[:100])
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/kolmo/model.bin": DATA, "/kolmo/deep/x.bin": DATA[:100], "/kolmo/.git/x": b"1"})
    yield "memory://kolmo"
    fs.rm("/kolmo", recursive=True)


# --- the web --------------------------------------------------------------------------------


def test_a_header_costs_one_block_and_a_tensor_its_own_bytes(folder):
    with serving(folder) as server:
        stored = open_url(f"{server.url}/model.bin").stored
        assert (stored.size, server.sent) == (len(DATA), BLOCK)
        assert [bytes(stored.read(at, 8)) for at in (0, 8, 500)] == [
            DATA[at : at + 8] for at in (0, 8, 500)
        ]
        assert server.sent == BLOCK
        assert stored.read(1_000_000, 500_000) == DATA[1_000_000:1_500_000]
        assert server.sent == BLOCK + 500_000


def test_a_directory_at_the_end_costs_one_block(folder):
    with serving(folder) as server:
        stored = open_url(f"{server.url}/model.bin").stored
        for back in (22, 100, 5000, 40_000):
            assert stored.read(len(DATA) - back, 20) == DATA[len(DATA) - back :][:20]
        assert len(server.requests) == 2


def test_reading_from_front_to_back_takes_few_requests(folder):
    with serving(folder) as server, open_url(f"{server.url}/model.bin").stored.open() as file:
        assert b"".join(iter(lambda: file.read(1000), b"")) == DATA
        assert len(server.requests) < 10
        assert server.sent == len(DATA)


def test_threads_read_what_lies_there(folder):
    with serving(folder) as server:
        stored = open_url(f"{server.url}/model.bin").stored
        places = [(at * 29_989, 10 + 700 * at) for at in range(90)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda place: bytes(stored.read(*place)), places))
        assert read == [DATA[at : at + size] for at, size in places]


def test_a_server_without_ranges_sends_the_file_once(folder):
    with serving(folder, ranges=False) as server:
        file = open_url(f"{server.url}/model.bin")
        assert file.stored.read(1_000_000, 500_000) == DATA[1_000_000:1_500_000]
        assert file.stored.read(2_999_990, 10) == DATA[-10:]
        assert server.requests == [("/model.bin", len(DATA))]
        assert "downloaded whole" in file.folder.versions[f"{server.url}/model.bin"]


def test_a_long_file_of_a_server_without_ranges_is_refused(folder, monkeypatch):
    monkeypatch.setattr("kolmo.checkpoints.web.WHOLE_LIMIT", 1_000_000)
    refused = pytest.raises(InputError, match=r"ignores ranges.*3,000,000 bytes.*curl -LO http")
    with serving(folder, ranges=False) as server, refused:
        open_url(f"{server.url}/model.bin").stored  # noqa: B018


def test_names_are_quoted_and_queries_kept(folder):
    with serving(folder) as server:
        file = open_url(f"{server.url}/deep/a%20b%23c%3F.bin?token=secret")
        assert (file.name, file.stored.size) == ("a b#c?.bin", 100)
        assert file.where == f"{server.url}/deep/a b#c?.bin"
        assert "secret" not in str(file.folder.versions)


def test_files_beside_a_file_of_the_web(folder):
    with serving(folder) as server:
        file = open_url(f"{server.url}/model.bin")
        assert file.folder.names() == ["model.bin"]
        assert file.beside("deep/a b#c?.bin").stored.read(0, 100) == DATA[:100]
        with pytest.raises(InputError, match=r"nothing\.bin: there is no such file"):
            file.beside("nothing.bin").stored  # noqa: B018
        with pytest.raises(InputError, match="outside its folder"):
            file.beside("../x")


def test_a_page_of_links_is_a_folder(folder):
    with serving(folder) as server:
        found = open_url(f"{server.url}/deep/")
        assert found.names() == ["a b#c?.bin"]
        assert found.stored("a b#c?.bin").size == 100


def test_an_empty_file(folder):
    with serving(folder) as server:
        assert open_url(f"{server.url}/empty").stored.size == 0


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "there is no such file"),
        (403, "access is denied"),
        (401, "access is denied"),
        (500, "HTTP status 500"),
    ],
)
def test_refusals_are_told_plainly(folder, monkeypatch, status, message):
    monkeypatch.setattr("kolmo.checkpoints.answers._PAUSE", 0)
    with serving(folder, refuse=lambda path: status) as server:
        url = server.url.replace("//", "//me:password@")
        with pytest.raises(InputError, match=message) as refused:
            open_url(f"{url}/model.bin?signature=x1y2").stored  # noqa: B018
        assert str(refused.value).startswith(f"{server.url}/model.bin: ")
        assert not any(secret in str(refused.value) for secret in ("password", "x1y2"))


def test_a_server_that_is_busy_is_asked_again(folder, monkeypatch):
    monkeypatch.setattr("kolmo.checkpoints.answers._PAUSE", 0)
    statuses = iter([503, 429, None, None])
    with serving(folder, refuse=lambda path: next(statuses)) as server:
        assert open_url(f"{server.url}/model.bin").stored.size == len(DATA)
        assert len(server.requests) == 3


def test_a_file_that_changes_meanwhile(folder):
    with serving(folder) as server:
        stored = open_url(f"{server.url}/model.bin").stored
        (folder / "model.bin").write_bytes(DATA[::-1])
        with pytest.raises(InputError, match="changed on the server"):
            stored.read(1_000_000, 100_000)


def test_a_server_that_is_not_there(folder, monkeypatch):
    monkeypatch.setattr("kolmo.checkpoints.answers._PAUSE", 0)
    with serving(folder) as server:
        url = f"{server.url}/model.bin"
    with pytest.raises(InputError, match="cannot be reached"):
        open_url(url).stored  # noqa: B018


# --- other file systems ---------------------------------------------------------------------


def test_a_file_and_its_folder(memory):
    file = open_url(f"{memory}/model.bin")
    assert (file.name, file.where) == ("model.bin", "memory://kolmo/model.bin")
    assert file.stored.read(1_000_000, 9) == DATA[1_000_000:1_000_009]
    assert file.beside("deep/x.bin").stored.size == 100
    assert file.files == []
    assert file.folder.versions["memory://kolmo/model.bin"].startswith(f"size={len(DATA)} ")


def test_a_folder(memory):
    folder = open_url(f"{memory}/")
    assert isinstance(folder, RemoteFolder)
    assert folder.names() == ["deep/x.bin", "model.bin"]
    with pytest.raises(InputError, match="a folder, not a file"):
        folder.stored("deep")
    with pytest.raises(InputError, match="nothing: there is no such file"):
        folder.stored("nothing")


def test_local_urls_are_local_files(folder):
    file = open_url(f"file://{folder}/model.bin")
    assert isinstance(file, File)
    assert file.files == [str(folder / "model.bin")]
    assert open_url(f"file://{folder}").names() == ["deep/a b#c?.bin", "empty", "model.bin"]
    assert open_url(f"file://{folder}/deep/a%20b%23c%3F.bin").stored.size == 100
    with pytest.raises(InputError, match="there is no such file"):
        open_url(f"file://{folder}/nothing")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://kolmo-nothing/x", "memory://kolmo-nothing/x: there is no such file"),
        ("nosuch://x/y.npz", "no file system is known for nosuch://"),
        ("s3://bucket/model.pt?x=secret", "s3://bucket/model.pt: .* pip install s3fs"),
        ("gs://bucket/model.pt", "pip install gcsfs"),
    ],
)
def test_urls_that_cannot_be_opened(url, message):
    with pytest.raises(InputError, match=message) as refused:
        open_url(url)
    assert "secret" not in str(refused.value)


def test_pages_of_the_hub_name_its_models():
    page = "https://huggingface.co/org/model"
    assert hub_url(page) == hub_url(f"{page}/") == hub_url(f"{page}/tree/main") == "hf://org/model"
    assert hub_url(f"{page}/blob/v1/a/x.bin?a=1") == "hf://org/model@v1/a/x.bin"
    for other in (f"{page}/resolve/main/x.bin", "https://huggingface.co/datasets/a/b", "s3://a/b"):
        assert hub_url(other) == other


def test_no_url_shows_a_secret():
    assert public("https://u:p@ss@host/a@b?key=1#x") == "https://host/a@b"
    assert public("hf://org/model@v1/x") == "hf://org/model@v1/x"


# --- checkpoints ----------------------------------------------------------------------------

LAYERS = {f"layers.{n}.weight": np.full((500, 500), n, np.float32) for n in range(20)}
NORMS = {f"layers.{n}.norm": np.full(500, n, np.float32) for n in range(20)}


def write_model(path):
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file({**LAYERS, **NORMS}, path)
    elif path.suffix == ".pt":
        torch.save({k: torch.from_numpy(v) for k, v in {**LAYERS, **NORMS}.items()}, path)
    else:
        np.savez(path, **LAYERS, **NORMS)


@pytest.mark.parametrize(
    ("name", "blocks"), [("model.safetensors", 1), ("model.pt", 4), ("model.npz", 9)]
)
def test_a_checkpoint_costs_its_header_and_the_tensors_that_are_read(tmp_path, name, blocks):
    write_model(tmp_path / name)
    with serving(tmp_path) as server:
        found = kolmo.open_checkpoint(f"{server.url}/{name}")
        header, size = server.sent, (tmp_path / name).stat().st_size
        assert size > 20_000_000
        assert header < blocks * BLOCK + 20 * PAGE + 8000  # a page of each tensor of one shape
        assert {k: v.shape for k, v in found.items()} == {
            k: v.shape for k, v in {**LAYERS, **NORMS}.items()
        }
        assert (found["layers.7.weight"].read() == 7).all()
        assert server.sent - header < 1_000_000 + 3 * BLOCK
        assert found.hashes() == {
            f"{server.url}/{name}": f'size={size} ETag="{(tmp_path / name).stat().st_mtime_ns}"'
        }


def test_selected_tensors_alone_are_downloaded(tmp_path):
    write_model(tmp_path / "model.safetensors")
    with serving(tmp_path) as server:
        url = f"{server.url}/model.safetensors"
        report = kolmo.analyze(url, estimators=["entropy"], include=["layers.3.weight"], nulls=[])
        [source] = report.provenance["sources"].values()
        assert list(source["files"]) == [url]
        assert server.sent < 1_000_000 + 2 * BLOCK + 20 * PAGE


def test_shards_of_an_index_are_found_beside_it(tmp_path):
    write_shards(tmp_path)
    with serving(tmp_path) as server:
        found = kolmo.open_checkpoint(f"{server.url}/model.safetensors.index.json")
        assert {name: tensor.read().tolist() for name, tensor in found.items()} == {
            "a": [32.0] * 4,
            "b": [32.0] * 4,
        }
        assert len(found.hashes()) == 3


def test_a_remote_folder_is_searched_for_its_checkpoint(tmp_path, memory):
    fs = fsspec.filesystem("memory")
    fs.pipe("/kolmo/model.safetensors", safetensors.numpy.save({"a": np.ones(3)}))
    found = kolmo.open_checkpoint(memory)
    assert (list(found), found.source) == (["a"], memory)
    assert list(found.hashes()) == [f"{memory}/model.safetensors"]


def test_a_missing_path_names_the_hub():
    with pytest.raises(InputError, match="Hub is  hf://org/model"):
        kolmo.open_checkpoint("org/model")
    with pytest.raises(InputError, match=r"no such file$"):
        kolmo.open_checkpoint("some/where/model")


# --- the Hugging Face Hub -------------------------------------------------------------------

HUB = """
import json, sys
import kolmo
from kolmo.checkpoints.remote import open_url

found = kolmo.open_checkpoint("hf://org/model")
first = found["layers.3.weight"].read().tolist()[0][:2]
told = {"first": first, "hashes": found.hashes(), "names": open_url("hf://org/model").names()}
for url in ("hf://org/nothing", "hf://org/model/nothing"):
    try:
        open_url(url)
    except kolmo.InputError as error:
        told[url] = str(error)
print(json.dumps(told))
"""


def test_the_hub(tmp_path):
    (tmp_path / "org" / "model" / "deep").mkdir(parents=True)
    write_model(tmp_path / "org" / "model" / "deep" / "model.safetensors")
    (tmp_path / "org" / "model" / "config.json").write_text("{}")
    with serving(tmp_path, handler=HubHandler) as server:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-c", HUB]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert server.sent < 1_000_000 + 2 * BLOCK + 20 * PAGE
    told = json.loads(run.stdout)
    assert told["first"] == [3, 3]
    assert told["names"] == ["config.json", "deep/model.safetensors"]
    [version] = told["hashes"].values()
    assert re.fullmatch(r"size=20\d+ sha256=[0-9a-f]{64}", version)
    assert "hf auth login" in told["hf://org/nothing"]
    assert told["hf://org/model/nothing"].endswith("there is no such file or folder")
