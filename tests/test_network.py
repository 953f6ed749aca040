"""Servers that lie, stall, and never end: one line that says why, in bounds, and nothing is left.

`tests.liars` has the lies; each is told here what a person reads of it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import safetensors.numpy

import kolmo
from kolmo.checkpoints import answers, web
from kolmo.checkpoints.remote import open_url
from kolmo.cli.app import COMMANDS
from kolmo.errors import InputError, UnansweredError
from momos.config import SampledMosaic
from momos.lab.datasets import fetch_dataset
from momos.mosaic.mosaic import Mosaic
from momos.sampled.projection import project_tensors
from tests.liars import BOMB, LIES, lying
from tests.test_cli import run as run_kolmo

RANDOM = np.random.default_rng(0)
WEIGHTS = {"w": RANDOM.normal(size=(400, 300)).astype(np.float32), "b": np.ones(300, np.float32)}
MODEL = "model.safetensors"
FILES = {MODEL: safetensors.numpy.save(WEIGHTS)}
QUERY = "?signature=s3cret"

UNREADABLE = "sends no sound HTTP"
BROKEN = "the server broke off"
OTHER_RANGE = "another range than was asked for"
OTHER_BYTES = "sent other bytes than the 65,536 it tells of"
CHANGED = "changed on the server while it was read"
SLOW = "did not answer within 0.2 s"
TOO_LONG = r"sends whole files only .* download it:  curl -LO http"

SAID = {
    "endless": TOO_LONG,
    "endless_range": OTHER_BYTES,
    "endless_head": UNREADABLE,
    "endless_line": UNREADABLE,
    "short": BROKEN,
    "long": "the tensors take 481,200 bytes, the file has 480,200",
    "negative": UNREADABLE,
    "two_lengths": UNREADABLE,
    "huge": TOO_LONG,
    "huge_range": "the file has 4,611,686,018,427,387,768 for them",
    "digits": "does not say how long it is",
    "silent": SLOW,
    "slow_head": SLOW,
    "one_byte": SLOW,
    "one_byte_whole": SLOW,
    "closed": "closed the connection without an answer",
    "other_range": OTHER_RANGE,
    "other_bytes": "begins with zeros",
    "past_the_end": OTHER_RANGE,
    "no_range_told": "does not say how long it is",
    "unknown_length": "does not say how long it is",
    "whole_as_part": OTHER_BYTES,
    "few": OTHER_BYTES,
    "multipart": "does not say how long it is",
    "first_only": "answers ranges now and then only",
    "changing_tag": CHANGED,
    "changing_date": CHANGED,
    "changing_size": CHANGED,
    "not_found": "there is no such file or folder",
    "forbidden": "access is denied",
    "later": r"refused \(HTTP status 429\); try again later",
    "failing": r"refused \(HTTP status 500\); try again later",
    "strange_status": "answers with HTTP status 299, not with the file",
    "bad_request": r"refused \(HTTP status 400\); is the URL right",
    "garbage": UNREADABLE,
    "ssh": UNREADABLE,
    "bomb": TOO_LONG,
    "bomb_range": "packs its ranges",
    "not_gzip": BROKEN,
    "html": "an HTML page, not a checkpoint",
    "empty": "the file is empty",
    "no_content": "HTTP status 204, not with the file",
    "no_range_there": "HTTP status 416",
    "loop": "redirects again and again",
    "longer_loop": "redirects again and again",
    "no_location": "HTTP status 302, not with the file",
    "not_modified": "HTTP status 304, not with the file",
    "to_file": "redirects to what is not on the web",
    "to_ftp": "redirects to what is not on the web",
    "to_data": "redirects to what is not on the web",
    "to_nobody": "cannot be reached",
    "to_nonsense": "redirects to what is no URL",
    "many_links": "an HTML page|a text",
    "a_long_page": TOO_LONG,
    "odd_links": "an HTML page|a text",
}
"""What is said of each lie about a checkpoint."""

TRUTHS = {"honest", "elsewhere"}


@pytest.fixture(autouse=True)
def bounds(tmp_path, monkeypatch):
    """Small ones; and in the end nothing is left in the folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(answers, "_PAUSE", 0)
    monkeypatch.setattr(answers, "_EXPANDED", BOMB // 4)
    monkeypatch.setattr(web, "WHOLE_LIMIT", 1 << 24)
    yield
    assert not list((tmp_path / "temporary").iterdir())


@pytest.fixture(scope="module")
def liar():
    with lying(FILES) as server:
        yield server


def read(url):
    """All weights, each checked to be right."""
    found = kolmo.open_checkpoint(url)
    for name, tensor in found.items():
        assert (tensor.read() == WEIGHTS[name]).all()
    return found


# --- a checkpoint ---------------------------------------------------------------------------


def test_each_lie_is_told():
    assert set(SAID) == set(LIES) - TRUTHS


@pytest.mark.parametrize("lie", SAID)
def test_a_lie_ends_in_one_line_in_bounds(lie, monkeypatch):
    if SAID[lie] == SLOW:
        monkeypatch.setenv("KOLMO_TIMEOUT", ".2")
    with lying(FILES) as server:
        url = f"{server.url}/{lie}/{MODEL}"
        with pytest.raises(InputError, match=SAID[lie]) as refused:
            read(url.replace("//", "//me:passw0rd@") + QUERY)
        assert server.sent < 1 << 26
        assert len(server.heads) <= 36  # three tries of eleven redirects
    assert str(refused.value).startswith(f"{url}: ")
    assert not re.search(r"s3cret|passw0rd|\n", str(refused.value))


def test_the_truth_is_read(liar):
    found = read(f"{liar.url}/honest/{MODEL}{QUERY}")
    assert found.hashes() == {f"{liar.url}/honest/{MODEL}": f'size={len(FILES[MODEL])} ETag="1"'}


def test_a_password_stays_with_its_server(liar):
    """A redirect to another host is followed; that host is not told what the first one was."""
    with lying(FILES) as other:
        liar.elsewhere = other.url
        read(f"{liar.url.replace('//', '//me:passw0rd@')}/elsewhere/{MODEL}")
        assert any("Authorization" in head for head in liar.heads)
        assert other.heads
        assert not any("Authorization" in head for head in other.heads)


@pytest.mark.parametrize("lie", ["silent", "failing", "short", "garbage"])
def test_settings_that_cannot_be_had_are_not_taken_for_none(liar, monkeypatch, lie):
    """Weights of a quantized model are others if its configuration is not there."""
    monkeypatch.setenv("KOLMO_TIMEOUT", ".2")
    with pytest.raises(UnansweredError, match=f"config.json: .*({SAID[lie]})"):
        read(f"{liar.url}/{lie}@config.json/{MODEL}")


@pytest.mark.parametrize("lie", ["not_found", "forbidden", "html", "empty", "huge_range"])
def test_settings_that_are_not_there_say_nothing(liar, lie):
    read(f"{liar.url}/{lie}@config.json/{MODEL}")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_a_timeout_is_a_time(liar, monkeypatch, seconds):
    monkeypatch.setenv("KOLMO_TIMEOUT", seconds)
    with pytest.raises(InputError, match="KOLMO_TIMEOUT is seconds, over 0"):
        read(f"{liar.url}/honest/{MODEL}")


# --- TLS ------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate by openssl")
def test_a_certificate_that_nobody_vouches_for(tmp_path):
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    both = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", *made, *names, "-keyout", both, "-out", tmp_path / "certificate.pem"],
        check=True,
        capture_output=True,
    )
    both.write_bytes(both.read_bytes() + (tmp_path / "certificate.pem").read_bytes())
    with lying(FILES, both) as server:
        with pytest.raises(InputError, match="the certificate of the server is not trusted"):
            read(f"{server.url}/honest/{MODEL}")
        assert not server.heads


def test_a_server_without_encryption(liar):
    with pytest.raises(InputError, match="no secure connection can be made; is it  http://"):
        read(f"{liar.url.replace('http', 'https')}/honest/{MODEL}")


# --- folders and indexes --------------------------------------------------------------------


def test_a_page_links_what_lies_in_its_folder(liar):
    assert open_url(f"{liar.url}/odd_links/").names() == ["a b.npy", "c.npy"]


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ("many_links", "more than 100,000 files"),
        ("a_long_page", "sends whole files only"),
        ("endless", "sends whole files only"),
        ("digits", "does not say how long"),
        ("one_byte_whole", SLOW),
        ("bomb", "sends whole files only"),
        ("to_file", "not on the web"),
        ("failing", "HTTP status 500"),
    ],
)
def test_pages_that_are_no_folders(liar, monkeypatch, lie, message):
    monkeypatch.setenv("KOLMO_TIMEOUT", ".2" if message == SLOW else "60")
    with pytest.raises(InputError, match=message):
        open_url(f"{liar.url}/{lie}/{QUERY}")


@pytest.mark.parametrize(
    "shard",
    ["http://127.0.0.1:1/x.safetensors", "//127.0.0.1:1/x.safetensors", "/etc/passwd", "../x",
     "file:///etc/passwd", "..%2Fx.safetensors", "x/../../y.safetensors", "x?y#z"],
)  # fmt: skip
def test_an_index_names_files_of_its_folder(shard):
    index = f'{{"weight_map": {{"w": "{shard}"}}}}'.encode()
    with lying({"model.safetensors.index.json": index}) as server:
        with pytest.raises(InputError) as refused:
            read(f"{server.url}/honest/model.safetensors.index.json{QUERY}")
        assert "s3cret" not in str(refused.value)
        assert all(path.startswith("/honest/") for path in server.paths)
        assert not any("/../" in path for path in server.paths)


# --- all commands ---------------------------------------------------------------------------

TAKE_SOURCES = {
    "analyze": ["URL"],
    "compare": ["URL", "NEXT"],
    "curve": ["URL"],
    "delta": ["URL", "NEXT"],
    "inspect": ["URL"],
    "pack": ["URL", "-o", "out.kmo"],
    "simplify": ["URL", "-o", "out.kmo", "--evaluate", "math:exp", "--tolerance", "1%"],
    "trajectory": ["URL", "NEXT"],
    "unpack": ["URL", "-o", "out.safetensors"],
    "verify": ["URL"],
}
"""Words of the commands of kolmo that take a source, or a container."""

TAKE_NONE = {"calibrate", "demo", "estimators", "plot", "store"}


def test_no_command_is_left_out():
    assert set(TAKE_SOURCES) | TAKE_NONE == set(COMMANDS)


@pytest.mark.parametrize("command", TAKE_SOURCES)
def test_every_command_says_why_and_leaves_nothing(liar, tmp_path, command):
    (tmp_path / "here").mkdir()
    for lie in ("short", "to_file", "no_content"):
        refused(command, f"{liar.url}/{lie}/step-1.kmo{QUERY}", SAID[lie], tmp_path / "here")


def refused(command, url, message, folder):
    stands_for = {"URL": url, "NEXT": url.replace("step-1", "step-2")}
    words = [stands_for.get(word, word) for word in TAKE_SOURCES[command]]
    result = run_kolmo(command, *words, cwd=folder)
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert re.match(r"kolmo: error: .*http://127\.0\.0\.1:\d+/", line)
    assert re.search(message, line)
    assert "s3cret" not in line
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("lie", SAID)
def test_every_command_with_every_lie(tmp_path, monkeypatch, lie):
    """A container is read in another way than a checkpoint, and told of in other words; what lies
    after the header only is not met by ``inspect``."""
    monkeypatch.setenv("KOLMO_TIMEOUT", ".2" if SAID[lie] == SLOW else "60")
    (tmp_path / "here").mkdir()
    shows_later = lie in ("first_only", "changing_tag", "changing_date", "changing_size")
    for command in sorted(set(TAKE_SOURCES) - ({"inspect"} if shows_later else set())):
        with lying({f"step-{number}.kmo": FILES[MODEL] for number in (1, 2)}) as server:
            refused(command, f"{server.url}/{lie}/step-1.kmo{QUERY}", "", tmp_path / "here")
            assert server.sent < 1 << 26


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A container and a mosaic, by name."""
    folder = tmp_path_factory.mktemp("written")
    kolmo.pack({"w": WEIGHTS["w"][:20]}, folder / "m.kmo", preset="fast")
    source = {"w": np.resize(np.float32([1, 2, 3, 4]), (8, 8))}
    random = np.random.default_rng(0)
    mosaic, _ = project_tensors(source, SampledMosaic(block_size=4, motifs=3), random)
    mosaic.save(folder / "m.mosaic")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_containers_and_mosaics_are_read_where_they_are(tmp_path, written):
    with lying(written) as server:
        url = f"{server.url}/honest/m.kmo{QUERY}"
        certificate = kolmo.verify(url)
        assert (str(certificate.path), certificate.numel) == ("m.kmo", 6000)
        out = kolmo.unpack(url, tmp_path / "out.safetensors")
        assert (safetensors.numpy.load_file(out)["w"] == WEIGHTS["w"][:20]).all()
        mosaic = Mosaic.load(f"{server.url}/honest/m.mosaic{QUERY}")
        assert mosaic.partition.numel == 64
        for lie in ("short", "to_file"):
            with pytest.raises(InputError, match=SAID[lie]) as refused:
                Mosaic.load(f"{server.url}/{lie}/m.mosaic{QUERY}")
            assert str(refused.value).startswith(f"{server.url}/{lie}/m.mosaic: ")


def test_damage_far_away_names_the_url(written):
    damaged = bytearray(written["m.kmo"])
    damaged[100] ^= 1
    with lying({"m.kmo": bytes(damaged)}) as server:
        url = f"{server.url}/honest/m.kmo"
        with pytest.raises(InputError, match="checksum is wrong") as refused:
            kolmo.verify(url)
        assert str(refused.value).startswith(f"{url}: ")


# --- interrupted ----------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_leaves_nothing(tmp_path, sent):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    with lying(FILES) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "kolmo", "pack", f"{server.url}/one_byte_whole/{MODEL}",
             "-o", "out.kmo"],
            cwd=tmp_path / "here",
            env={**os.environ, "TMPDIR": str(tmp_path / "there")},
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert server.stalled.wait(60)
        process.send_signal(sent)
        _, errors = process.communicate()
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[sent]
    assert (process.returncode, errors) == (128 + sent, f"kolmo: error: {word}\n")
    assert not [*(tmp_path / "here").iterdir(), *(tmp_path / "there").iterdir()]


# --- data sets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lie, SAID[lie])
        for lie in ("endless", "short", "one_byte", "to_file", "changing_tag", "bomb")
    ]
    + [("honest", "its SHA-256 is"), ("huge_range", "bytes are more than any of these")],
)
def test_a_data_set_is_whole_or_not_there(liar, tmp_path, monkeypatch, lie, message):
    monkeypatch.setenv("KOLMO_TIMEOUT", ".2" if message == SLOW else "60")
    with pytest.raises(InputError, match=message):
        fetch_dataset("x", tmp_path / "sets", {"x": {f"{liar.url}/{lie}/{MODEL}": "0" * 64}})
    assert not (tmp_path / "sets").exists() or not list((tmp_path / "sets").iterdir())
