"""What Windows and macOS need of the source: encodings that are named, nothing that POSIX alone
has without a way around it, no text read where bytes are meant."""

import ast
import functools
import os
import threading

import numpy as np
import pytest

from kolmo.checkpoints import files
from kolmo.checkpoints.files import LocalFile
from tests.house import KNOWN, ROOT

SOURCES = {**KNOWN, "setup": ROOT / "setup.py"}

POSIX = {
    "os": {
        *("preadv", "pread", "pwrite", "pwritev", "sched_getaffinity", "sched_setaffinity", "fork"),
        *("getuid", "geteuid", "getgid", "mkfifo", "killpg", "setsid", "statvfs", "nice", "chown"),
        *("posix_fadvise", "posix_fallocate", "sysconf", "uname", "getloadavg", "openpty"),
    },
    "signal": {"pthread_sigmask", "pthread_kill", "SIGKILL", "SIGALRM", "alarm", "setitimer"},
}
"""What modules of the standard library have on POSIX alone, or not everywhere."""

POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "posix"}


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def texts_without_encoding(tree):
    """Lines that open or read a text, and name no encoding."""
    for node in ast.walk(tree):
        named = any(k.arg in ("encoding", None) for k in getattr(node, "keywords", ()))
        if isinstance(node, ast.Call) and _is_text(node) and not named:
            yield node.lineno


def _is_text(call):
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and "b" not in mode(call)
    given = {"read_text": 0, "write_text": 1}.get(getattr(call.func, "attr", ""))
    return given is not None and len(call.args) <= given


def mode(call):
    given = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
    return given[0].value if given and isinstance(given[0], ast.Constant) else "r"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("open(p)", 1), ("open(p, 'w')", 1), ("open(p, 'rb')", 0), ("open(p, encoding='ascii')", 0),
        ("p.read_text()", 1), ("p.write_text(t)", 1), ("p.read_text('utf-8')", 0),
        ("os.open(p, flags)", 0), ("write_text(p, t)", 0), ("open(p, mode='w+b')", 0),
    ],
)  # fmt: skip
def test_texts_without_encoding_are_found(line, found):
    assert len(list(texts_without_encoding(ast.parse(line)))) == found


def test_texts_name_their_encoding():
    found = {name: list(texts_without_encoding(parsed(path))) for name, path in SOURCES.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def unguarded(tree, source):
    """Uses of what not every system has, in functions that do not ask whether it is there."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and POSIX_MODULES & {a.name for a in node.names}:
            yield node.lineno
        owner, name = getattr(getattr(node, "value", None), "id", ""), getattr(node, "attr", "")
        if name in POSIX.get(owner, ()):
            around = [f for f in functions if f.lineno <= node.lineno <= f.end_lineno]
            text = ast.get_source_segment(source, around[-1]) if around else ""
            if f'hasattr({owner}, "{name}")' not in text and "sys.platform" not in text:
                yield node.lineno


def test_what_posix_alone_has_is_found():
    bare = "import os\ndef f():\n    return os.fork()\n"
    asked = 'import os\ndef f():\n    if hasattr(os, "fork"):\n        return os.fork()\n'
    assert list(unguarded(ast.parse(bare), bare)) == [3]
    assert list(unguarded(ast.parse(asked), asked)) == []
    assert list(unguarded(ast.parse("import fcntl"), "import fcntl")) == [1]


def test_what_posix_alone_has_is_asked_for():
    found = {name: list(unguarded(parsed(p), p.read_text("utf-8"))) for name, p in SOURCES.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_file_is_read_where_the_system_reads_from_one_place_alone(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    content = np.random.default_rng(0).integers(0, 256, 1 << 16).astype(np.uint8).tobytes()
    (tmp_path / "a").write_bytes(content)
    read, wrong = LocalFile(tmp_path / "a"), []

    def reads(seed):
        places = np.random.default_rng(seed).integers(0, 1 << 16, 200)
        with files.kept_open():
            wrong.extend(p for p in places.tolist() if bytes(read(p, 99)) != content[p : p + 99])

    threads = [threading.Thread(target=reads, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
