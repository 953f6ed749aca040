"""Command lines: whatever is typed ends with 0, 1 or 2, and an error is one line.

They are run in this process, in a folder of small files, and write nowhere else: no value leads out
of it, no source is a URL, and commands that train or take minutes are only asked wrongly.
"""

import io
import json
import os
import sys
from contextlib import contextmanager
from functools import cache
from importlib import import_module

import numpy as np
import typer

import kolmo
from momos.checkpoint import project_checkpoint
from momos.config import SampledMosaic
from momos.lab.config import TrainConfig
from momos.lab.settings import to_toml
from tests.fuzz.damage import pick
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.of_texts import NUMBERS
from tests.fuzz.values import NAMES

QUICK = ("-e", "kt", "-q", "sign")
SLOW = ("calibrate", "demo", "store", "study", "fetch")
"""Commands that take their time, or work on what is the user's, or ask the network: only their help
is asked for."""

INSIDE = [n for n in NAMES if ".." not in n and not n.startswith(("/", "~")) and len(n) < 999]
"""Names that stay in a folder."""

FILES = ("a.npz", "b.npz", "a.kmo", "bad.kmo", "r.json", "r.csv", "empty", "text.txt", ".", "gone",
         "a.mosaic", "run.toml")  # fmt: skip
VALUES = (
    *("kt", "sign", "native", "symmetric:4", "shuffled", "model", "tensor", "both", "auto", "png"),
    *("column", "weight", "a*", "*", "bits > 3", "bits >", "math:sqrt", "best", "fast", "1%", "5s"),
)


@cache
def commands():
    """The options of each command of each program, and whether they are flags."""
    app = import_module("kolmo.cli.app")
    for name in app.COMMANDS:
        import_module(f"kolmo.cli.{name}")
    return {"kolmo": _options(app.app), "momos": _options(import_module("momos.cli").app)}


def _options(app):
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        options = [p for p in command.params if p.param_type_name == "option"]
        found[name] = [(opt, p.is_flag) for p in options for opt in (*p.opts, *p.secondary_opts)]
    return found


# --- what is typed --------------------------------------------------------------------------


def typed(folder, random):
    """The words of a command line, in a file, beside small files that they may name."""
    _files(folder)
    program = pick(["kolmo", "kolmo", "kolmo", "momos"], random)
    name = pick([*commands()[program]], random)
    words = [name, *_words(name, commands()[program][name], random)]
    if name in SLOW:
        words = [name, pick(["--help", "--nonsense", "-o", "--workers"], random)]
    elif random.random() < 0.05:
        words = [pick(INSIDE, random) for _ in range(int(random.integers(3)))]
    path = folder / "words.json"
    path.write_text(json.dumps([program, *words]))
    return path


def _words(name, options, random):
    count = int(random.integers(4)) if random.random() < 0.3 else 1 + (name in ("compare", "delta"))
    found = [_source(random) for _ in range(count)]
    if name in ("analyze", "compare", "delta", "trajectory") and random.random() < 0.9:
        found += QUICK[: 4 if name != "delta" else 0]
    if name in ("pack", "unpack", "plot", "simplify", "curve") and random.random() < 0.8:
        found += ["-o", pick(["out.kmo", "out", "out.safetensors", *INSIDE], random)]
    if name in ("pack", "simplify", "curve"):
        found += ["--preset", "fast"]
    if name in ("expand", "project") and random.random() < 0.8:
        found += ["-o", pick(["out.mosaic", "out.safetensors", *INSIDE], random)]
    if name == "train":
        found = ["--print-config"]  # which trains nothing
    for _ in range(int(random.integers(4))):
        option, is_flag = pick(options or [("--help", True)], random)
        if option not in ("--dask", "--workers", "--help"):
            found += [option] if is_flag and random.random() < 0.9 else [option, _value(random)]
    return [word for word in found if "\0" not in word]


def _source(random):
    if random.random() < 0.8:
        return pick(FILES, random)
    return pick(INSIDE, random) if random.random() < 0.5 else f"{pick(INSIDE, random)}=a.npz"


def _value(random):
    return pick(pick([VALUES, VALUES, NUMBERS, INSIDE, FILES], random), random)


@cache
def _contents():
    """Small files of every kind that commands read."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = {"w": np.arange(24, dtype=np.float32).reshape(4, 6), "b": np.ones(3, np.float32)}
        np.savez(folder / "a.npz", **weights)
        np.savez(folder / "b.npz", **{n: a + 1 for n, a in weights.items()})
        kolmo.pack(folder / "a.npz", folder / "a.kmo", preset="fast", threads=1)
        report = kolmo.analyze(weights, estimators=["kt"], quantizers=["sign"], nulls=["shuffled"])
        report.save(folder / "r.json")
        report.save(folder / "r.csv")
        (folder / "bad.kmo").write_bytes((folder / "a.kmo").read_bytes()[:-9])
        (folder / "empty").write_bytes(b"")
        (folder / "text.txt").write_text("step,loss\n1,2\n")
        mosaic, _ = project_checkpoint(folder / "a.npz", SampledMosaic(motifs=4))
        mosaic.save(folder / "a.mosaic")
        (folder / "run.toml").write_text(to_toml(TrainConfig()))
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _files(folder):
    for name, data in _contents().items():
        (folder / name).write_bytes(data)


# --- what comes of it -----------------------------------------------------------------------


def run(path):
    """The exit code of a command line, and what it printed."""
    words = json.loads(path.read_text())
    with _typed(words, path.parent) as streams:
        try:
            import_module(f"{words[0]}.cli").main()
            code = None
        except SystemExit as ended:
            code = ended.code
    return words, code, *streams


@contextmanager
def _typed(words, folder):
    """In a folder, as if these words had been typed: what is printed is put into a list."""
    old, here, texts = (sys.argv, sys.stdout, sys.stderr), os.getcwd(), []
    kept = {name: os.environ.get(name) for name in ("KOLMO_STORE", "XDG_CACHE_HOME", "KOLMO_DEBUG")}
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    os.environ |= {"KOLMO_STORE": "off", "XDG_CACHE_HOME": str(folder)}
    os.environ.pop("KOLMO_DEBUG", None)
    os.chdir(folder)
    sys.argv, (sys.stdout, sys.stderr) = words, streams
    try:
        yield texts
    finally:
        (sys.argv, sys.stdout, sys.stderr) = old
        os.chdir(here)
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        for stream in streams:
            stream.seek(0)
            texts.append(stream.read())


def is_plain(path, found):
    """What is wrong with what a command did."""
    words, code, out, err = found
    told = f"{' '.join(words)!r}\n{err}"
    if code not in (0, 1, 2):
        return f"exit code {code}\n{told}"
    if "internal failure" in err or "Traceback" in err:
        return f"{' '.join(err.split('internal failure')[-1].split())[:90]}\n{told}"
    if code and len([line for line in err.split("\n") if f"{words[0]}: error:" in line]) != 1:
        return f"an error that is no line\n{told}"
    if not all(line.isprintable() for line in (out + err).split("\n")):
        return f"control characters are printed\n{told}\n{out!r}"
    if not code and "--json" in words and "--help" not in words and out.strip():
        try:
            json.loads(out)
        except ValueError:
            return f"no JSON is printed\n{told}\n{out}"
    return None


FUZZERS = [Fuzzer("command lines", typed, run, is_plain)]
