"""The command line, as a user meets it; where the process itself matters, one of its own."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import kolmo
from kolmo.cli.app import COMMANDS, main
from kolmo.report.terminal import rich_table

TERMINAL = {**os.environ, "TERM": "xterm"}  # a dumb one shows no progress
RANDOM = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path):
    path, random = tmp_path / "noise.npz", np.random.default_rng(0)
    np.savez(path, weight=random.normal(size=(40, 30)).astype(np.float32), bias=np.zeros(40, "f4"))
    return str(path)


def run(*arguments, cwd=".", main=main):
    """What `main` prints, and its exit code."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(sys, "argv", ["kolmo", *map(str, arguments)])
        changed.setattr(sys, "stdout", out)
        changed.setattr(sys, "stderr", err)
        changed.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            main()
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return subprocess.CompletedProcess(arguments, ended.value.code, *texts)


def process(*arguments, cwd=None, **environment):
    """The same as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kolmo", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def refused(result, message, code=2):
    assert result.returncode == code
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("kolmo: error: ")
    assert message in lines[-1]
    assert "Traceback" not in result.stderr


def test_analyze_prints_a_table_and_sentences(model):
    result = run("analyze", model, "-q", "native", "-q", "sign", "-e", "kt", "-e", "zstd:3")
    assert result.returncode == 0
    assert "bits/weight" in result.stdout
    assert "bits per weight (bound, " in result.stdout
    assert "1,240 of 1,240 weights measured" in result.stdout
    assert result.stderr == ""


def test_it_ends_with_verdicts(model):
    options = ["-q", "symmetric:4", "-e", "xz:1", "-e", "planes", "--scope", "model"]
    bare = run("analyze", model, *options).stdout.split("Verdicts:\n")[1]
    assert "no verdict on structure without draws" in bare.splitlines()[0]
    assert "bit-planes differ from coin flips" in bare.splitlines()[-1]
    nulls = ["--null", "shuffled", "--null", "row-shuffled", "--draws", "2"]
    said = run("analyze", model, *options, *nulls).stdout.split("Verdicts:\n")[1]
    assert "saving beyond the value distribution, untested: " in said
    assert " beyond what each row holds" in said
    assert "a test takes 39 draws, by --draws 39; it had 2" in said
    tested = run("analyze", model, "-q", "symmetric:4", "-e", "xz:1", "--scope", "model",
                 "--null", "shuffled", "--draws", "39").stdout  # fmt: skip
    assert "at α = .05: " in tested  # noise: no structure found
    assert re.search(r"39 shuffles, p = (1|\.\d+)\)", tested)
    assert re.search(r" z +p$", tested, re.MULTILINE)  # a column, where there is a p-value


def test_the_nulls_are_named_in_the_help():
    shown = " ".join(run("analyze", "--help").stdout.split())
    for null in ("shuffled", "row-shuffled", "column-shuffled", "gaussian", "uniform"):
        assert null in shown


def test_json_is_clean(model):
    result = process("analyze", model, "--json", "-e", "kt", "-q", "sign", "--null", "shuffled")
    document = json.loads(result.stdout)
    expected = kolmo.analyze(model, name="noise", estimators=["kt"], quantizers=["sign"],
                             nulls=["shuffled"])  # fmt: skip
    assert [row["bits"] for row in document["table"]] == expected.table.bits.tolist()
    assert [row["null_bits"] for row in document["table"]] == expected.table.null_bits.tolist()
    assert document["summary"] == expected.summary().splitlines()
    assert all(" " in verdict["sentence"] for verdict in document["verdicts"])


def test_output_files(model, tmp_path):
    saved, page = tmp_path / "r.json", tmp_path / "r.html"
    result = run("analyze", model, "-e", "kt", "-q", "sign", "-o", saved, "--html", page)
    assert result.returncode == 0
    assert len(kolmo.load_report(saved).table) == 3
    assert page.read_text().startswith("<!doctype html>")
    assert f"wrote {saved}" in result.stderr
    drawn = run("plot", saved, "-o", tmp_path / "figures", "--format", "svg")
    assert drawn.returncode == 0
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        "r-layers.svg",
        "r-models.svg",
    ]


def test_compare_and_names(model, tmp_path):
    result = run("compare", f"a={model}", f"b={model}", "-e", "kt", "-q", "sign", "--json")
    names = [row["checkpoint"] for row in json.loads(result.stdout)["table"]]
    assert names == ["a", "b"]
    twin = tmp_path / "twin" / "noise.npz"
    main = tmp_path / "twin" / "model.npz"
    twin.parent.mkdir()
    for path in (twin, main):
        path.write_bytes(Path(model).read_bytes())
    short = ["-e", "kt", "-q", "sign", "--json", "--scope", "model"]
    both = json.loads(run("analyze", model, twin, *short).stdout)["table"]
    # The same stem would not tell them apart.
    assert [row["checkpoint"] for row in both] == ["noise", "twin/noise"]
    named = json.loads(run("compare", model, main, *short).stdout)["table"]
    assert [row["checkpoint"] for row in named] == ["noise", "twin"]  # a folder's one model
    refused(run("compare", f"a={model}", f"a={model}"), "is named twice")
    refused(run("compare", f"a={model}", f"a={twin}"), "both have the name 'a'")
    alone = run("compare", model, "-e", "kt", "-q", "sign", "--json")
    assert [row["checkpoint"] for row in json.loads(alone.stdout)["table"]] == ["noise"]


def test_estimators_are_listed():
    result = run("estimators")
    assert result.returncode == 0
    listed = json.loads(run("estimators", "--json").stdout)
    names = [entry["name"] for entry in listed["estimators"]]
    assert {"gzip", "bdm", "mosaic", "kt"} <= set(names)
    assert all(name in result.stdout for name in names)


def test_version_and_help():
    assert process("--version").stdout.strip() == kolmo.__version__
    for arguments in ([], ["--help"], ["analyze", "--help"]):
        result = run(*arguments)
        assert result.returncode == 0
        assert "Usage" in result.stdout


def test_the_help_lists_all_commands():
    files = Path(kolmo.cli.__file__).parent.glob("*.py")
    own = [path.stem for path in files if "\n@app.command" in path.read_text(encoding="utf-8")]
    assert sorted(COMMANDS) == sorted([*own, "store"])
    shown = run("--help").stdout
    for name, line in COMMANDS.items():
        assert line in shown
        assert run(name, "--help").returncode == 0


QUICK = [
    (["--help"], {"numpy", "kolmo.checkpoints"}),
    (["analyze", "-h"], {"numpy", "rich", "kolmo.analysis"}),
    (["pack", "-h"], {"numpy", "rich"}),
    (["-h"], {"numpy", "rich"}),
    (["inspect", "MODEL"], {"kolmo.engine", "kolmo.estimators", "kolmo.checkpoints.remote"}),
    (["inspect", "PACKED"], {"kolmo.engine", "kolmo.estimators"}),
    (["analyze", "MODEL", "--store", "STORE"], {"kolmo.budgets", "kolmo.report.html"}),
    (["analyze", "MODEL", "--store", "STORE", "--json"], set()),
    (["analyze", "MODEL", "--store", "STORE", "--plan"], set()),
]
"""Commands, and what they do without; the store holds all figures of the model."""

HEAVY = {"numba", "pandas", "pyarrow", "scipy", "pydantic", "matplotlib", "torch", "asyncio"}


@pytest.mark.parametrize(("arguments", "never"), QUICK, ids=[" ".join(a) for a, _ in QUICK])
def test_a_command_imports_no_more_than_it_needs(arguments, never, model, tmp_path):
    places = {"MODEL": model, "STORE": str(tmp_path / "results.sqlite")}
    if "PACKED" in arguments:
        places["PACKED"] = str(tmp_path / "m.kmo")
        assert run("pack", model, "-o", places["PACKED"], "--preset", "fast").returncode == 0
    argv = [places.get(word, word) for word in arguments]
    if "--store" in argv:
        process("analyze", *argv[1:4])
    program = (
        "import sys\nfrom kolmo.cli import main\n"
        f"sys.argv = ['kolmo', *{argv!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (HEAVY | never) & set(done.stderr.split()) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "nothing.pt"], "nothing.pt: there is no such file"),
        (["analyze"], "SOURCE"),
        (["analyze", "MODEL", "MODEL"], "is named twice"),
        (["analize"], "analize"),
        (["analyze", "MODEL", "--draws", "x"], "draws"),
        (["analyze", "MODEL", "-e", "gzp"], "did you mean gzip"),
        (["analyze", "MODEL", "-q", "affin:8"], "did you mean affine"),
        (["analyze", "MODEL", "--scope", "layer"], "unknown scope"),
        (["analyze", "MODEL", "--null", "shufled"], "did you mean shuffled"),
        (["analyze", "MODEL", "--null", "reference:nothing"], "nothing: there is no such file"),
        (["analyze", "MODEL", "--include", "zz*"], "leave none"),
        (["analyze", "MODEL", "-o", "r.xlsx"], "suffix must be"),
        (["analyze", "MODEL", "-o", "no/such/r.json"], "there is no directory"),
        (["analyze", "MODEL", "--html", "r.txt"], "suffix must be"),
        (["analyze", "MODEL", "-o", "/proc/r.json"], "/proc/r.json: cannot be written"),
        (["analyze", "nothing.pt", "-o", "no/such/r.json"], "there is no directory"),
        (["analyze", "MODEL", "--threads", "0"], "threads must be at least 1"),
        (["plot", "nothing.json"], "there is no such file"),
        (["plot", "MODEL"], "a report is a"),
        (["plot", "nothing.json", "--format", "gif"], "unknown format 'gif'"),
        (["plot", "nothing.json", "-o", "f.png"], "f.png: name a directory"),
    ],
)
def test_bad_usage_is_one_line(model, tmp_path, arguments, message):
    refused(run(*[model if a == "MODEL" else a for a in arguments], cwd=tmp_path), message)


def test_nan_is_reported_and_the_rest_measured(tmp_path):
    path, saved = tmp_path / "m.npz", tmp_path / "r.json"
    np.savez(path, good=np.ones(50, "f4"), bad=np.float32([1, np.nan]))
    result = run("analyze", path, "-q", "native", "-q", "symmetric:8", "-e", "kt", "-o", saved)
    refused(result, "tensor 'bad' holds NaN, which symmetric:8 cannot express")
    assert "native" in result.stdout
    table = kolmo.load_report(saved).table
    assert table.bits.notna().sum() == 4  # native: both and the model; symmetric: good


def test_a_reason_is_said_once(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, **{f"layer{i}": RANDOM.normal(size=99).astype("f4") for i in range(9)})
    shown = run("analyze", path, "-q", "symmetric:4", "-e", "bdm", "-e", "kt").stdout
    assert shown.count("no 1-D CTM table") == 1
    assert "layer8" in shown
    alone = run("analyze", path, "-q", "symmetric:4", "-e", "bdm", "-e", "kt", "--scope", "tensor")
    assert "no 1-D CTM table" in alone.stdout


def test_an_internal_failure_is_one_line(model, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import kolmo.analysis\n"
        "def fail(*a, **k): raise ZeroDivisionError('oops')\n"
        "kolmo.analysis.compare = fail\n"
    )
    failed = process("analyze", model, PYTHONPATH=str(tmp_path))
    refused(failed, "ZeroDivisionError: oops", code=1)
    shown = process("analyze", model, PYTHONPATH=str(tmp_path), KOLMO_DEBUG="1")
    assert "Traceback" in shown.stderr


def test_a_closed_pipe_is_quiet(model):
    command = f"{sys.executable} -m kolmo analyze {model} -e kt --json | head -c 10"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_a_full_disk_is_one_line(model):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "kolmo", "analyze", model, "-e", "kt", "-q", "sign"]
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    refused(result, "No space left", code=1)


def test_a_terminal_without_unicode(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, 层=np.ones(9, "f4"))
    result = process("analyze", path, "-e", "kt", "-q", "sign", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "\\u5c42" in result.stdout


def test_names_cannot_steer_the_terminal(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, **{"a\x1b[31mred\n": np.ones(9, "f4"), "[red]b": np.float32([np.nan])})
    result = run("analyze", path, "-e", "kt", "-q", "sign")
    assert result.returncode == 2  # for the NaN
    assert "\x1b" not in result.stdout + result.stderr
    assert r"a\x1b[31mred\n" in result.stdout
    assert "[red]b" in result.stdout


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_tables_fit_the_terminal(width):
    name = "encoder.layer.11.attention.output.LayerNorm.weight"
    weights = {name: RANDOM.normal(size=5000).astype("f4"), "b": np.ones(3, "f4")}
    report = kolmo.analyze(weights, quantizers=["native", "symmetric:8"], nulls=["shuffled"],
                           estimators=["zstd:19@shuffle", "kt", "entropy"], draws=2)  # fmt: skip
    console = Console(width=width, file=io.StringIO(), color_system=None)
    rows = [{**row, "p": 0.05} for row in report.rows.records(scope="tensor")]
    console.print(rich_table(rows, width))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for value in report.table[report.table.scope == "tensor"].bits_per_weight:
        assert f"{value:.4g}" in text
    if width == 200:
        assert "zstd:19@shuffle" in text
        assert "encoder.layer.11.atte…" in text


def test_a_narrow_terminal_loses_no_column(model):
    """A table takes 60 columns, which a terminal of 20 wraps."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 20))
    plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "kolmo", "analyze", model, "-q", "sign", "-e", "kt"]
    with subprocess.Popen(
        command, env={**plain, "TERM": "xterm", "LANG": "C", "LC_ALL": "C"}, stdout=theirs
    ) as running:
        os.close(theirs)
        shown = _read_until(None, ours)
    os.close(ours)
    assert running.returncode == 0
    for word in ("quantizer", "estimator", "sign", "kt", "bits/weight", "weights measured"):
        assert word in shown


def test_few_rows_are_printed_and_many_on_demand(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, **{f"layer{i}": np.ones(9, "f4") for i in range(61)})
    options = ["analyze", path, "-e", "kt", "-q", "sign"]
    short, whole = run(*options).stdout, run(*options, "--all").stdout
    assert "61 rows of single tensors: --all prints them" in short
    assert "layer60" not in short
    assert "layer60" in whole


def test_progress_goes_to_the_terminal_alone(model):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kolmo", "analyze", model, "--json", "-q", "sign", "-e", "kt"]
    with subprocess.Popen(command, env=TERMINAL, stdout=subprocess.PIPE, stderr=theirs) as running:
        out, _ = running.communicate(timeout=120)
    os.close(theirs)
    bar = os.read(ours, 100_000).decode()
    os.close(ours)
    assert running.returncode == 0
    assert json.loads(out)["provenance"]["complete"] is True
    assert "100 %" in bar


def test_an_unreadable_tensor_keeps_what_is_done(tmp_path):
    path, saved = tmp_path / "m.npz", tmp_path / "r.json"
    np.savez(path, a=np.ones(100, "f4"), b=RANDOM.normal(size=5000).astype("f4"))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("b.npy").header_offset + 1000
    data = bytearray(path.read_bytes())
    data[start] ^= 255
    path.write_bytes(data)
    result = run("analyze", path, "-e", "kt", "-q", "sign", "-o", saved, "--threads", "1")
    refused(result, "b")
    assert f"wrote {saved} (what was done until then)" in result.stderr
    report = kolmo.load_report(saved)
    assert report.provenance["complete"] is False
    assert report.table[report.table.tensor == "a"].bits.notna().all()
    assert "the run stopped before it" in report.coverage_line()


def test_a_report_without_values_is_not_drawn(tmp_path):
    report = kolmo.analyze({"w": np.float32([np.nan])}, quantizers=["sign"], estimators=["kt"])
    report.save(tmp_path / "r.json")
    refused(run("plot", "r.json", "-o", "out", cwd=tmp_path), "no measured value")
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_directory_for_figures(model, tmp_path):
    saved = tmp_path / "r.json"
    assert run("analyze", model, "-e", "kt", "-q", "sign", "-o", saved).returncode == 0
    refused(run("plot", saved, "-o", saved), "cannot be a directory")


def test_ctrl_c_keeps_what_is_done(tmp_path):
    pty = pytest.importorskip("pty")
    path, saved = tmp_path / "m.npz", tmp_path / "r.json"
    small = {f"small{i}": np.ones(100, "f4") for i in range(5)}
    np.savez(path, **small, big=RANDOM.normal(size=(1200, 2000)).astype("f4"))
    options = ["-q", "native", "-e", "xz:9", "-e", "kt", "-o", saved]
    options += ["--scope", "tensor", "--threads", "2", "--lines"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kolmo", "analyze", path, *options],
        env=TERMINAL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = _read_until("small4: bits/weight", ours)  # beside xz, which has long to go with big
    process.send_signal(signal.SIGINT)
    errors = shown + _read_until(None, ours)
    assert process.wait(120) == 130
    assert "Traceback" not in errors
    assert "kolmo: error: interrupted" in errors
    report = kolmo.load_report(saved)
    assert report.provenance["complete"] is False
    whole = kolmo.analyze(path, quantizers=["native"], estimators=["kt"], scope="tensor").table
    done = report.table[(report.table.estimator == "kt") & (report.table.scope == "tensor")]
    expected = whole.set_index("tensor").bits
    assert len(done) >= 5
    assert all(row.bits == expected[row.tensor] for row in done.itertuples())
    stopped = report.coverage[~report.coverage.measured]
    assert set(stopped.tensor).isdisjoint(done.tensor)
    assert not Path(f"{saved}.part").exists()


def _read_until(word, terminal):
    """What the terminal shows until this word, or its end."""
    shown, more = b"", b" "
    while more and (word is None or word.encode() not in shown):
        try:
            more = os.read(terminal, 100_000)
        except OSError:  # Linux's way to say that nobody writes to it any more
            more = b""
        shown += more
    return shown.decode(errors="replace")  # a read may end within a character


# --- nothing to measure -----------------------------------------------------------------------


def unmeasured(tmp_path):
    """Files of no number, of buffers alone, and of weights that nothing expresses."""
    np.savez(tmp_path / "empty.npz", w=np.zeros((0, 3), "f4"))
    np.savez(tmp_path / "nan.npz", w=np.float32([np.nan]))
    np.savez(tmp_path / "one.npz", w=np.float32([1.0]))
    return [tmp_path / f"{name}.npz" for name in ("empty", "nan", "one")]


def test_nothing_to_measure_is_an_error_and_no_empty_table(tmp_path):
    empty, nan, one = unmeasured(tmp_path)
    for command in (["analyze"], ["trajectory", one], ["delta", one], ["pack", "-o", "x.kmo"]):
        refused(run(command[0], *command[1:], empty, cwd=tmp_path), "measure")
    refused(run("compare", f"a={empty}", f"b={one}"), "nothing to measure")
    missing = "nan: nothing was measured: tensor 'w' holds NaN"
    for more in ([], ["--json"]):
        result = run("analyze", nan, "-q", "sign", "-e", "kt", *more)
        refused(result, missing, code=1)
        assert result.stdout == ""
    result = run("analyze", one, "-q", "symmetric:4", "-e", "bdm")
    refused(result, "one: nothing was measured: ", code=1)
    assert result.stderr.count("no 1-D CTM table") == 1
    assert not list(tmp_path.glob("*.kmo"))


def test_one_checkpoint_without_figures_is_an_error_and_the_others_are_shown(tmp_path):
    _, nan, one = unmeasured(tmp_path)
    result = run("compare", f"a={nan}", f"b={one}", "-q", "sign", "-e", "kt")
    assert result.returncode == 2
    assert "b" in result.stdout
    assert "a: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_error_that_is_printed_is_never_exit_code_0(tmp_path):
    (tmp_path / "text.pt").write_text("this is no checkpoint")
    saved, options = tmp_path / "r.json", ["-q", "sign", "-e", "kt"]
    np.savez(tmp_path / "one.npz", w=np.float32([1.0]))
    assert run("analyze", tmp_path / "one.npz", *options, "-o", saved).returncode == 0
    for arguments in (
        ["analyze", "text.pt"], ["inspect", "text.pt"], ["compare", "a=text.pt"],
        ["compare", "text.pt"], ["delta", "text.pt", "one.npz"], ["trajectory", "text.pt"],
        ["pack", "text.pt", "-o", "x.kmo"], ["unpack", "text.pt", "-o", "out"],
        ["verify", "text.pt"], ["plot", "text.pt"], ["plot", "r.json", "--format", "gif"],
        ["calibrate", "-e", "none"], ["estimators", "--none"], ["none"],
        ["analyze", "one.npz", "--role", "copy"], ["analyze", "one.npz", "--include", "none"],
        ["inspect", "one.npz", "--include", "none"], ["analyze", "one.npz", "-o", "x.doc"],
    ):  # fmt: skip
        result = run(*arguments, cwd=tmp_path)
        assert result.returncode == 2, arguments
        assert result.stderr.startswith("kolmo: error: "), arguments
        assert len(result.stderr.splitlines()) == 1, arguments
