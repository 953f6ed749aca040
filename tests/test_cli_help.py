"""Help and completion: as wide as the terminal, choices as choices, examples that are right."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from kolmo.cli.app import COMMANDS, app
from kolmo.cli.examples import EXAMPLES, STORE_EXAMPLES
from kolmo.cli.help import metavar
from momos.cli import app as momos_app
from momos.cli.app import EXAMPLES as MOMOS_EXAMPLES
from tests.test_cli import process, refused, run


def commands():
    """All commands of both programs, by the words that call them."""
    for name in COMMANDS:
        import_module(f"kolmo.cli.{name}")
    found = {}
    for program, application in (("kolmo", app), ("momos", momos_app)):
        for name, command in typer.main.get_command(application).commands.items():
            inner = getattr(command, "commands", None)
            for below, one in inner.items() if inner else [("", command)]:
                found[f"{program} {name} {below}".strip()] = one
    return found


ALL = commands()


def options(command):
    context = typer.Context(command, **command.context_settings)
    return [p for p in command.get_params(context) if p.param_type_name == "option"]


@pytest.mark.parametrize("called", ALL)
def test_every_command_has_h_examples_and_metavars(called):
    command = ALL[called]
    flags = {flag for option in options(command) for flag in (*option.opts, *option.secondary_opts)}
    assert {"-h", "--help"} <= flags
    assert command.epilog
    for line in command.epilog.splitlines():
        assert called in line
        own = [part for part in line.split(";") if part.strip().startswith(called)]
        words = [word for part in own for word in shlex.split(part)]
        assert {word for word in words if re.fullmatch(r"--?[a-z-]+", word)} <= flags
    for option in options(command):
        assert option.is_flag or re.fullmatch(r"[A-Z|.a-z]+|\[[\w|. -]+\]", metavar(option))
        assert option.is_flag or metavar(option) != "VALUE"


def test_every_example_is_of_a_command_that_is_there():
    known = {called.split()[-1] for called in ALL}
    assert {*EXAMPLES, *STORE_EXAMPLES, *MOMOS_EXAMPLES} <= known


@pytest.mark.parametrize("called", [["-h"], ["analyze", "-h"], ["store", "-h"], ["pack", "--help"]])
def test_help_wraps_at_the_width_of_the_terminal_and_cuts_nothing_off(called, monkeypatch):
    texts = set()
    for width in (20, 60, 100, 150):
        monkeypatch.setenv("COLUMNS", str(width))
        shown = run(*called).stdout
        texts.add("".join(shown.split()))
        longest = max(map(len, shown.partition("\nExamples:")[0].splitlines()))
        assert longest <= width or width == 20  # the longest flag alone takes more
        assert longest > min(width - 20, 60)
    assert len(texts) == 1


def test_choices_are_shown_and_nothing_is_typed_as_a_class():
    shown = run("analyze", "-h").stdout
    assert "--scope [tensor|model|both]" in shown
    assert "-q, --quantizer SPEC" in shown
    assert "<" not in shown
    assert "[repeatable]" in " ".join(shown.split())
    assert shown.index("Measurement:") < shown.index("Output:") < shown.index("Examples:")
    assert "--preset [best|default|fast]" in run("pack", "-h").stdout


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--bad", "no such option: --bad; -h lists those that there are"),
        ("--incldue", "did you mean --include?"),
        ("--quant", "did you mean --quantizer?"),
        ("--no-stor", "did you mean --no-store?"),
    ],
)
def test_an_option_that_is_not_there_is_told_with_close_ones(flag, hint):
    refused(run("analyze", "x.npz", flag), hint)


def test_a_command_that_is_not_there_is_told_with_close_ones():
    refused(run("analize", "x.npz"), "'analyze'")
    refused(run("store", "prunee"), "'prune'")


# --- completion -------------------------------------------------------------------------------


def completed(typed, program="kolmo"):
    """What a shell offers for the last of these words."""
    words = typed.split(" ")
    asked = {
        f"_{program.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", program], env={**os.environ, **asked}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kolmo an", {"analyze"}),
        ("kolmo analyze --sc", {"--scope"}),
        ("kolmo analyze --scope ", {"tensor", "model", "both"}),
        ("kolmo analyze -e lz", {"lz76", "lz78"}),
        ("kolmo pack x -q sy", {"symmetric"}),
        ("kolmo analyze --null row", {"row-shuffled"}),
        ("kolmo inspect --role bu", {"buffer"}),
        ("kolmo store p", {"prune"}),
        ("momos ex", {"expand"}),
    ],
)
def test_a_shell_completes(typed, offered):
    assert set(completed(typed, typed.split()[0])) == offered


def test_all_commands_are_offered_and_none_is_imported():
    assert set(completed("kolmo ")) == set(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_completion_is_printed(shell):
    done = process("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_KOLMO_COMPLETE" in done.stdout


def test_pipes_that_close_are_quiet():
    command = f"{sys.executable} -m kolmo analyze -h | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
