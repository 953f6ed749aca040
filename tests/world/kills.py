"""Kills commands that write, by signal 9 at random points, and looks at what is left.

    python -m tests.world.kills                                  every command, fifty times
    python -m tests.world.kills pack train --times 5 --seed 3    some
    python -m tests.world.kills --signal SIGTERM SIGINT          sends signals that are heeded
    python -m tests.world.kills --points limit memory            sets limits, and kills nothing
    python -m tests.world.kills --points full                    on a full disk (root mounts one)
    python -m tests.world.kills --points both                    two processes at once

Points are drawn by seeds, in turn: before one of the calls that change files, at a number of bytes
of the file that is being written, after a share of the processor's time that the whole run takes.
Every other time an earlier run's files, of other weights, are there. Afterwards each file is
absent, the old one, whole, partial (a report that says so), or half; the same command is then run
to its end, and must give what a run gives that nothing disturbed. A signal that is heeded ends with
its exit code, one line, and no temporary file.
"""

import argparse
import collections
import dataclasses
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.world.commands import COMMANDS, import_all, made_files
from tests.world.contents import contents, is_partial
from tests.world.forked import FILLER, Fate, started
from tests.world.inputs import make_inputs

POINTS = ("calls", "bytes", "time")
LIMITS = ("limit", "memory", "full", "both")
HEAD = ["command", "signal", "kills", *POINTS, *LIMITS, "absent", "some", "old", "mixed",
        "partial", "whole", "half", "temporary left", "again identical"]  # fmt: skip
DISK = "16m"  # of a disk that is filled
WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


@dataclasses.dataclass
class Story:
    """A command, what it makes when nothing disturbs it, and what became of it when killed."""

    name: str
    place: Path
    signal: int = signal.SIGKILL
    points: tuple[str, ...] = POINTS
    command: object = None
    inputs: tuple[str, ...] = ()
    whole: dict = dataclasses.field(default_factory=dict)
    old: dict = dataclasses.field(default_factory=dict)
    found: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    faults: list[str] = dataclasses.field(default_factory=list)

    def begin(self) -> None:
        """Run it undisturbed, on these weights and on others."""
        self.command = COMMANDS[self.name]
        for seed, which in ((1, "old"), (0, "new")) if self.command.replaces else ((0, "new"),):
            folder = self.place / which
            folder.mkdir()
            make_inputs(folder, [*self.command.words, *self.command.reads], seed)
            self.inputs = tuple(
                name for name in made_files(folder, ()) if name not in self.command.changes
            )
            shutil.copytree(folder, self.place / f"{which} before")
            ended = self.run(folder)
            if ended.code:
                raise SystemExit(f"{self.name}: {ended.err}")
            said = {n: contents(folder / n) for n in made_files(folder, self.inputs)}
            if which == "old":
                self.old = said
        self.whole, self.calls, self.seconds = said, ended.calls, ended.seconds
        sizes = [(folder / name).stat().st_size for name in self.whole]
        self.bytes = max(sizes)

    def run(self, folder: Path, fate: Fate | None = None, again: bool = False):
        return self.start(folder, fate, again)()

    def start(self, folder: Path, fate: Fate | None = None, again: bool = False):
        words = [*self.command.words, *(self.command.again if again else ())]
        return started(self.command.main, words, folder, fate, self.prepare)

    def prepare(self) -> None:
        """In the process: a store of its own, and a cache of nobody else's."""
        import os

        os.environ["KOLMO_STORE"] = self.command.store
        os.environ["XDG_CACHE_HOME"] = str(self.place / "cache")
        self.command.prepare()

    def kill(self, number: int, seed: int) -> None:
        """Kill it once, look at what is left, and run it to its end."""
        chance = random.Random(f"{self.name} {seed} {number}")
        fate = self.fate(number, chance)
        with _disk(self.place / f"kill-{number}", small=fate.point == "full") as folder:
            with_old = self.command.replaces and number // len(self.points) % 2 == 1
            for earlier in (["old"] if with_old else []) + ["new before"]:
                shutil.copytree(self.place / earlier, folder, dirs_exist_ok=True)
            self.end(folder, fate, f"kill {number} ({fate.point} {fate.at:g}, seed {seed})")

    def end(self, folder: Path, fate: Fate, which: str) -> None:
        """Let it come to this end, look at the folder, and run it once more."""
        where = f"{self.name}, {which}"
        for ended in self.ends(folder, fate):
            if ended.code:
                self.found["kills"] += 1
                self.found[fate.point] += 1
                self.look(ended, fate, where)
        (folder / FILLER).unlink(missing_ok=True)
        state = self.state(folder, where)
        self.found[state] += 1
        if fate.point == "both" and state != "whole":
            self.faults.append(f"{where}: is {state}")
        temporary = [n for n in made_files(folder, self.inputs) if ".kolmo-" in n]
        self.found["temporary left"] += bool(temporary)
        if temporary and (self.signal != signal.SIGKILL or fate.point in LIMITS):
            self.faults.append(f"{where}: left {temporary}")
        self.finish(folder, where)

    def ends(self, folder: Path, fate: Fate):
        """How it ended; and another one, where there are two at once."""
        if fate.point != "both":
            return [self.run(folder, fate)]
        other = folder.with_name(f"other of {folder.name}")  # which prints to files of its own
        other.symlink_to(folder)
        return [ended() for ended in [self.start(folder), self.start(other)]]

    def look(self, ended, fate: Fate, where: str) -> None:
        """Whether it ended as what happened to it makes it end."""
        name = signal.Signals(self.signal).name
        lines = ended.err.splitlines()
        told = f"{self.command.line.split()[0]}: error: {WORDS.get(name, '')}"
        if fate.point in LIMITS:
            good = ended.code in (1, 2) and lines[-1].startswith(told)
            good = good and ended.err.count(": error: ") == 1 and "Traceback" not in ended.err
        elif name == "SIGKILL":
            good = ended.code < 0
        else:
            good = ended.code == 128 + self.signal and lines[-1:] == [told]
            good = good and "Traceback" not in ended.err
        if not good:
            self.faults.append(f"{where}: ended with {ended.code}: {lines[-3:]}")

    def fate(self, number: int, chance: random.Random) -> Fate:
        point = self.points[number % len(self.points)]
        if self.signal != signal.SIGKILL and point == "bytes":
            point = "time"
        if point == "calls":
            return Fate(point, chance.randint(1, self.calls), self.signal)
        if point == "memory":
            return Fate(point, 2 ** chance.uniform(10, 26))
        if point == "full" and chance.random() < 0.5:
            return Fate(point, 0)
        if point in ("bytes", *LIMITS):
            return Fate(point, chance.randrange(self.bytes))
        return Fate(point, chance.random() * self.seconds, self.signal)

    def state(self, folder: Path, where: str) -> str:
        """What the files are that the command makes."""
        states = {name: self.state_of(folder / name, name) for name in self.whole}
        halves = [name for name, state in states.items() if state == "half"]
        if halves:
            self.faults.append(f"{where}: half: {', '.join(halves)}")
            return "half"
        if len(set(states.values())) == 1:
            return next(iter(states.values()))
        return "mixed" if "old" in states.values() else "some"

    def state_of(self, path: Path, name: str) -> str:
        if not path.exists():
            return "absent"
        try:
            said = contents(path)
        except Exception as error:
            return self.excused(path, error)
        if said == self.whole[name]:
            return "whole"
        if self.signal != signal.SIGKILL and is_partial(path):
            return "partial"
        return "old" if said == self.old.get(name) else "half"

    def excused(self, path: Path, error: Exception) -> str:
        print(f"{self.name}: {path.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return "half"

    def finish(self, folder: Path, where: str) -> None:
        """Run it to its end, which must be that of a run that nothing disturbed."""
        ended = self.run(folder, again=True)
        if ended.code:
            self.faults.append(f"{where}: again: exit code {ended.code}: {ended.err.strip()}")
            return
        made = made_files(folder, self.inputs)
        differ = [n for n in self.whole if n not in made or contents(folder / n) != self.whole[n]]
        stay = [name for name in made if name not in self.whole and ".kolmo-" not in name]
        self.found["again identical"] += not differ
        self.found["stays"] += any(".kolmo-" in name for name in made)
        if differ or stay:
            self.faults.append(f"{where}: again: differ {differ}, stay {stay}")

    @property
    def row(self) -> list[str]:
        which = signal.Signals(self.signal).name
        return [self.name, which, *(str(self.found[name]) for name in HEAD[2:])]


@contextmanager
def _disk(folder: Path, small: bool) -> Iterator[Path]:
    """A folder that goes again; if it is to be small, a disk of its own."""
    folder.mkdir()
    if small:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "world", str(folder)]
        subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        if small:
            subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder)


def tell(name: str, times: int, seed: int, **how) -> Story:
    """Kill a command so many times."""
    with tempfile.TemporaryDirectory(prefix="world-") as place:
        story = Story(name, Path(place), **how)
        story.begin()
        for each in range(times):
            story.kill(each, seed)
    return story


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", nargs="+", default=["SIGKILL"], choices=["SIGKILL", *WORDS])
    parser.add_argument("--points", nargs="+", default=POINTS, choices=[*POINTS, *LIMITS])
    asked = parser.parse_args()
    if unknown := set(asked.commands) - set(COMMANDS):
        parser.error(f"no such command: {', '.join(sorted(unknown))}")
    import_all(asked.commands or COMMANDS)
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    faults = []
    for which, name in itertools.product(asked.signal, asked.commands or COMMANDS):
        how = {"signal": getattr(signal, which), "points": tuple(asked.points)}
        story = tell(name, asked.times, asked.seed, **how)
        print("| " + " | ".join(story.row) + " |", flush=True)
        faults += story.faults
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
