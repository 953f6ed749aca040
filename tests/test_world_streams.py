"""Every command on a narrow terminal of plain C, on closed streams, to a pipe that nobody reads, to
a full disk: its files are whole, and nobody sees a traceback. One process imports, others run."""

import dataclasses
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")

READING = {
    "estimators": "kolmo estimators",
    "inspect": "kolmo inspect m.safetensors",
    "verify": "kolmo verify made.kmo",
    "store ls": "kolmo store ls --store made.sqlite",
}
"""Commands that write no file."""


class Terminal(io.TextIOWrapper):
    """A stream that is a terminal."""

    def isatty(self):
        return True


def stream(number, kind=io.TextIOWrapper, encoding="ascii"):
    return kind(io.FileIO(number, "w", closefd=False), encoding=encoding, write_through=True)


def renew(kind=io.TextIOWrapper):
    """Streams as Python makes them of the descriptors that are open."""
    sys.stdout = sys.__stdout__ = stream(1, kind)
    sys.stderr = sys.__stderr__ = stream(2, kind)


def narrow():
    os.environ.update(COLUMNS="20", TERM="xterm", LANG="C", LC_ALL="C")
    renew(Terminal)


def dumb():
    os.environ.update(COLUMNS="20", TERM="dumb", LANG="C", LC_ALL="C")
    renew(Terminal)


def closed():
    for number in (0, 1, 2):
        os.close(number)
    sys.stdin = sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None


def unread():
    ours, theirs = os.pipe()
    os.close(ours)
    os.dup2(theirs, 1)
    renew()


def full():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    renew()


def errors_unread():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
    renew()


STREAMS = {narrow: {0}, dumb: {0}, closed: {0}, unread: {0, 1}, full: {1}, errors_unread: {0}}
"""What becomes of the streams, and the exit codes that a command may have."""


def faults_of(name, command, place):
    """What is wrong with a command on any of these streams."""
    from tests.world.commands import made_files
    from tests.world.contents import contents
    from tests.world.forked import forked
    from tests.world.inputs import make_inputs

    def run(which, prepare):
        folder = place / which
        shutil.copytree(place / "inputs", folder)
        ended = forked(command.main, command.words, folder, prepare=prepare)
        made = made_files(folder, inputs)
        return ended, {each: contents(folder / each) for each in made}

    (place / "inputs").mkdir()
    make_inputs(place / "inputs", [*command.words, *command.reads])
    inputs = made_files(place / "inputs", ())
    plain, whole = run("plain", command.prepare)
    assert plain.code == 0, plain.err
    for streams, codes in STREAMS.items():
        where = f"{name}, {streams.__name__}"

        def prepare(streams=streams):
            command.prepare()
            streams()

        ended, made = run(streams.__name__, prepare)
        if ended.code not in (codes if plain.out or streams is not full else {0}):
            yield f"{where}: ended with {ended.code}: {ended.err[-300:]}"
        if "Traceback" in ended.err or ended.err.count("error: ") > (streams is full):
            yield f"{where}: says {ended.err[-300:]}"
        if made != whole:
            yield f"{where}: its files are others"
        if streams in (narrow, dumb) and plain.out and not ended.out.strip():
            yield f"{where}: shows nothing"


def main(*names):
    from tests.world.commands import COMMANDS, Command, import_all

    known = COMMANDS | {name: Command(line) for name, line in READING.items()}
    chosen = names or tuple(name for name in known if name != "study")
    import_all([name for name in chosen if name in COMMANDS])
    faults = []
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="streams-") as place:
            command = dataclasses.replace(known[name], store="off")
            faults += faults_of(name, command, Path(place))
    print(*faults, sep="\n")
    sys.exit(bool(faults))


@pytest.mark.slow
def test_whatever_becomes_of_the_streams():
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_world_streams"],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    main(*sys.argv[1:])
