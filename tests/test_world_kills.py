"""Commands that are killed or told to end: no half of a file, and the same run goes on."""

import inspect
import os
import subprocess
import sys

import pytest

from tests.test_cli_help import ALL
from tests.world.commands import COMMANDS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")


def kills(*options):
    """Run the harness, which ends with 1 where there is a fault; gives its rows."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.world.kills", *options],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    head, _, *rows = ([*map(str.strip, line.split("|")[1:-1])] for line in done.stdout.splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


READ = {"--config", "--metrics", "kolmo store ls --store"}
"""Options with a path, or commands with one, from which is read only."""


def outputs():
    """Each command of both programs with each of its options that names what is written."""
    for called, command in ALL.items():
        given = inspect.signature(command.callback, eval_str=True).parameters
        for option in command.params:
            flags = set(option.opts)
            is_path = option.name in given and "Path" in str(given[option.name].annotation)
            if option.param_type_name == "option" and is_path and not flags & READ:
                yield called, flags


def test_every_output_of_every_command_is_known_here():
    lines = [command.words for command in COMMANDS.values()]
    for called, flags in outputs():
        if f"{called} {min(flags)}" not in READ:
            own = [set(words) for words in lines if words[: len(called.split())] == called.split()]
            assert any(words & flags for words in own), f"{called} {' '.join(flags)}"


@pytest.mark.parametrize(
    ("times", "signals", "commands"),
    [("2", ("SIGKILL", "SIGTERM"), ("store", "pack")),
     *(pytest.param(times, signals, (), marks=pytest.mark.slow)
       for times, signals in (("50", ("SIGKILL",)), ("10", ("SIGINT", "SIGTERM", "SIGHUP"))))],
)  # fmt: skip
def test_a_command_that_is_killed_or_told_to_end_leaves_nothing_half_and_ends_the_same_again(
    times, signals, commands
):
    for row in kills(*commands, "--times", times, "--signal", *signals):
        assert row["half"] == "0", row
        assert row["again identical"] == times, row
        assert int(row["kills"]) > 0, row


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    ["limit", "both", pytest.param("full", marks=pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root mounts a disk"
    ))],
)  # fmt: skip
def test_a_limit_a_full_disk_and_another_process_are_one_line_and_nothing_half(point):
    for row in kills("--times", "4", "--points", point):
        assert row["half"] == "0", row
        assert row["again identical"] == "4", row
