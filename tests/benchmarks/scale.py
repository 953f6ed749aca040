"""Time and memory of large checkpoints, as one table.

Run: python -m tests.benchmarks.scale [--size small|full] [--rows NAME ...] [--folder F] [--keep]

Files are made by `tests.benchmarks.generate` (``--size full``: some 30 GB; ``small``: .3 GB, whose
ratios hold more of the start-up). Every command runs in a process of its own: wall and CPU seconds,
and its peak memory above that of an interpreter which has imported what it needs. A basis, such as
the time of reading the same file (two threads, buffers that are warm) or that of ``pack --preset
fast``, is measured in the same run, right before. *net* is without what the same command takes for
a checkpoint of one small tensor. A row that fails says so, and the others go on.

Starting on a cold machine is in coldstart.py, differences of checkpoints in delta.py, beside this.
"""

import argparse
import dataclasses
import functools
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.processes import (
    Failed,
    Spent,
    hashing,
    idle_memory,
    reading,
    run,
    run_and_kill,
)

MB = 1 << 20


@dataclasses.dataclass
class Bench:
    """Files and measurements that rows share, made when first asked for."""

    folder: Path
    full: bool
    _files: dict[str, Path] = dataclasses.field(default_factory=dict)
    _spent: dict[tuple[str, ...], Spent] = dataclasses.field(default_factory=dict)

    # --- files --------------------------------------------------------------------------------

    def model(self, gigabytes: float) -> Path:
        """A checkpoint of this size, a tenth of it in a small run."""
        size = gigabytes if self.full else gigabytes / 10
        return self._made(f"llama-{size:g}", "llama", "--gb", f"{size}")

    @property
    def many(self) -> Path:
        return self._made("small", "small")

    @property
    def tiny(self) -> Path:
        return self._made("tiny", "llama", "--gb", "0.001")

    def _made(self, name: str, kind: str, *more: str) -> Path:
        if name not in self._files:
            place = self.folder / name
            if not place.exists():
                run([sys.executable, "-m", "tests.benchmarks.generate", kind, str(place), *more])
            single = place / "model.safetensors"
            self._files[name] = single if single.exists() else place
        return self._files[name]

    # --- measurements -------------------------------------------------------------------------

    def kolmo(self, *command: str | Path, again: bool = False) -> Spent:
        """A command of kolmo, run once, or again; results are not kept in a store."""
        words = tuple(map(str, command))
        if again or words not in self._spent:
            self._spent[words] = run([sys.executable, "-m", "kolmo", *words], self.idle)
        return self._spent[words]

    def analyze(self, source: Path, *options: str, again: bool = False) -> Spent:
        return self.kolmo("analyze", source, *options, *self.no_store, again=again)

    def net(self, source: Path, *options: str) -> float:
        """Wall seconds of analyze beyond those for a small checkpoint."""
        self.analyze(self.tiny, *options)  # compiles
        start = self.analyze(self.tiny, *options, again=True).wall
        return max(1e-9, self.analyze(source, *options).wall - start)

    def net_cpu(self, source: Path, *options: str) -> float:
        """The same of CPU seconds, which tell more of what is short."""
        self.analyze(self.tiny, *options)  # compiles
        start = min(self.analyze(self.tiny, *options, again=True).cpu for _ in range(2))
        return max(1e-9, self.analyze(source, *options).cpu - start)

    def packing(self, source: Path) -> Spent:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            return self.kolmo("pack", source, "-o", Path(folder) / "x.kmo", "--preset", "fast")

    @functools.cached_property
    def idle(self) -> int:
        """Peak memory of an interpreter that has imported what commands need."""
        return idle_memory()

    @property
    def no_store(self) -> list[str]:
        return ["--no-store"] if self.has("--no-store") else []

    def has(self, option: str) -> bool:
        """Whether analyze has an option."""
        return option in self.kolmo("analyze", "--help").output if option else True


# --- rows -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; ``measure`` gives what was got, and on what basis."""

    name: str
    work: str
    must: str
    aim: str
    measure: Callable[[Bench], tuple[str, str]]


ROWS: list[Row] = []


def row(work: str, must: str, aim: str = "–"):
    """Decorate the function that measures a row; its name is the row's."""

    def decorate(measure: Callable[[Bench], tuple[str, str]]):
        ROWS.append(Row(measure.__name__.replace("_", "-"), work, must, aim, measure))
        return measure

    return decorate


@row("default analyze, 458 M weights: peak memory", "≤ 1 GB", "≤ .6 GB")
def memory(bench: Bench) -> tuple[str, str]:
    spent = bench.analyze(bench.model(0.9))
    return f"{spent.memory / 1e9:.2f} GB", f"above {bench.idle / 1e9:.2f} GB of an idle interpreter"


@row("default analyze, 458 M weights: time", "≤ 60 s", "≤ 3 × pack fast")
def default(bench: Bench) -> tuple[str, str]:
    pack, spent = bench.packing(bench.model(0.9)), bench.analyze(bench.model(0.9))
    got = f"{spent.wall:.1f} s, {spent.wall / pack.wall:.1f} ×"
    return got, f"pack fast {pack.wall:.1f} s; {spent.cpu:.1f} CPU s"


def against_reading(bench: Bench, *options: str) -> tuple[str, str]:
    source = bench.model(10)
    net = bench.net(source, *options)
    read = min(reading(source) for _ in range(2))
    wall = bench.analyze(source, *options).wall
    return f"{wall / read:.2f} ×, net {net / read:.2f} ×", f"reading {read:.2f} s; {wall:.1f} s"


@row("-q sign -e bdm, 10 GB", "≤ 1.5 × reading", "1.1 ×")
def bdm(bench: Bench) -> tuple[str, str]:
    return against_reading(bench, "-q", "sign", "-e", "bdm")


@row("-q symmetric:8 -e kt, 10 GB", "≤ 1.5 × reading", "1.1 ×")
def kt(bench: Bench) -> tuple[str, str]:
    return against_reading(bench, "-q", "symmetric:8", "-e", "kt")


DEFAULTS = (
    ("native", "zstd:3@shuffle"), ("native", "kt"),
    ("native", "mosaic"), ("symmetric:8", "zstd:3"), ("symmetric:8", "kt"),
    ("symmetric:8", "entropy"), ("symmetric:8", "mosaic"), ("sign", "zstd:3@packed"),
    ("sign", "kt"), ("sign", "bdm"),
)  # fmt: skip


@row("growth .1 → 10 GB of every default measurement", "time a weight ≤ 1.1 ×, memory flat")
def growth(bench: Bench) -> tuple[str, str]:
    small, large = bench.model(0.1 if bench.full else 0.3), bench.model(10)
    ratio = _bytes(large) / _bytes(small)
    found = []
    for quantizer, estimator in DEFAULTS:
        options = ("-q", quantizer, "-e", estimator)
        time_ratio = bench.net_cpu(large, *options) / bench.net_cpu(small, *options) / ratio
        more = bench.analyze(large, *options).memory - bench.analyze(small, *options).memory
        found.append((time_ratio, more, f"{quantizer} {estimator}"))
    rest = ", ".join(f"{each[0]:.2f}" for each in sorted(found)[:-1])
    slowest, fattest = max(found), max(found, key=lambda each: each[1])
    return (
        f"{slowest[0]:.2f} ×, {fattest[1] / MB:+.0f} MB",
        f"CPU; the worst of {len(found)}: {slowest[2]}; {fattest[2]}; the others {rest}",
    )


@row("lz76, 22.7 M symbols", "≤ 1.2 × a suffix-array parse")
def lz76(bench: Bench) -> tuple[str, str]:
    size = "22700000" if bench.full else "2270000"
    spent = run([sys.executable, "-m", "tests.benchmarks.lz76", size])
    ours, theirs = (float(line.split()[0]) for line in spent.output.splitlines())
    return f"{ours / theirs:.2f} ×", f"pydivsufsort and a parse {theirs:.2f} CPU s"


def per_draw(bench: Bench, estimator: str) -> tuple[str, str]:
    source, draws = bench.model(0.9), 9
    options = ("-q", "sign", "-e", estimator, "--threads", "2")
    nulls = ("--null", "shuffled", "--draws", str(draws))
    plain, drawn = bench.net(source, *options), bench.net(source, *options, *nulls)
    weights = _bytes(source) / 2
    return (
        f"{(drawn - plain) / draws / weights * 1e9:.1f} ns",
        f"{draws} draws; {drawn:.1f} s against {plain:.1f} s, net",
    )


@row("a shuffle under bdm, a weight and draw, 2 threads", "≤ 12 ns")
def shuffle(bench: Bench) -> tuple[str, str]:
    return per_draw(bench, "bdm")


@row("a shuffle under kt, an order-0 code", "nothing")
def shuffle_order_0(bench: Bench) -> tuple[str, str]:
    return per_draw(bench, "kt")


@row("20,000 tensors of 4,096 weights, default", "≤ 60 s", "≤ 30 s")
def small_tensors(bench: Bench) -> tuple[str, str]:
    spent = bench.analyze(bench.many)
    return f"{spent.wall:.1f} s", f"{spent.cpu:.1f} CPU s, {spent.memory / 1e9:.2f} GB"


@row("second run, unchanged file of 1 GB", "≤ 1.2 × hashing it")
def second_run(bench: Bench) -> tuple[str, str]:
    source, store = bench.model(0.9), bench.folder / "second.db"
    command = ("--store", str(store))
    first = bench.kolmo("analyze", source, *command)
    again = bench.kolmo("analyze", source, *command, again=True)
    start = bench.kolmo("analyze", bench.tiny, *command)
    start = bench.kolmo("analyze", bench.tiny, *command, again=True)
    hashed = min(hashing(source) for _ in range(2))
    return (
        f"{again.wall / hashed:.2f} ×, net {(again.wall - start.wall) / hashed:.2f} ×",
        f"hashing {hashed:.2f} s; first {first.wall:.1f} s, second {again.wall:.1f} s",
    )


@row("killed ten times at random, then finished", "identical table, total work ≤ 1.3 ×")
def killed(bench: Bench) -> tuple[str, str]:
    source, kills, chance = bench.model(0.9), 10, random.Random(0)
    whole, parts = (bench.folder / f"{name}.db" for name in ("whole", "parts"))
    tables = [bench.folder / f"{name}.csv" for name in ("whole", "parts")]
    once = bench.kolmo("analyze", source, "--store", whole, "-o", tables[0], again=True)
    command = ("analyze", str(source), "--store", str(parts), "-o", str(tables[1]))
    work = sum(
        run_and_kill([sys.executable, "-m", "kolmo", *command], chance.uniform(0, once.wall / 5))
        for _ in range(kills)
    )
    rest = bench.kolmo(*command, again=True)
    same = comparable(tables[0]) == comparable(tables[1])
    start = bench.kolmo("analyze", bench.tiny, "--store", str(bench.folder / "tiny.db")).cpu
    ratio = (work + rest.cpu) / once.cpu
    net = (work + rest.cpu - (kills + 1) * start) / (once.cpu - start)
    return (
        f"{'identical' if same else 'DIFFERENT'}, {ratio:.2f} ×, net {net:.2f} ×",
        f"uninterrupted {once.cpu:.1f} CPU s, {kills} kills within {once.wall / 5:.0f} s each; "
        f"the last run {rest.cpu:.1f}",
    )


def comparable(path: Path) -> list[list[str]]:
    """A saved table without the column of seconds."""
    import csv

    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [[value for key, value in each.items() if key != "seconds"] for each in rows]


@row("2 Dask workers against 2 threads, 5 GB", "≤ 1.3 × its time, same bits")
def dask(bench: Bench) -> tuple[str, str]:
    source = bench.model(5)
    tables = [bench.folder / f"{name}.csv" for name in ("threads", "dask")]
    threads = bench.analyze(source, "--threads", "2", "-o", str(tables[0]))
    workers = bench.analyze(source, "--dask", "local:2", "-o", str(tables[1]))
    same = comparable(tables[0]) == comparable(tables[1])
    return (
        f"{workers.wall / threads.wall:.2f} ×, {'same' if same else 'DIFFERENT'} bits",
        f"threads {threads.wall:.1f} s, workers {workers.wall:.1f} s",
    )


@row("thread scaling 1 → 2 of the default run", "≥ 1.8 ×")
def scaling(bench: Bench) -> tuple[str, str]:
    source = bench.model(0.9)
    walls = [bench.net(source, "--threads", threads) for threads in ("1", "2")]
    gross = [bench.analyze(source, "--threads", threads).wall for threads in ("1", "2")]
    got = f"{gross[0] / gross[1]:.2f} ×, net {walls[0] / walls[1]:.2f} ×"
    return got, f"{gross[0]:.1f} s and {gross[1]:.1f} s"


@row("--plan against the run, default, 458 M weights", "–")
def plan(bench: Bench) -> tuple[str, str]:
    source = bench.model(0.9)
    planned, spent = bench.analyze(source, "--plan"), bench.analyze(source)
    lines = [line for line in planned.output.splitlines() if "this takes about" in line]
    return f"{planned.wall:.1f} s to plan", f"{' '.join(lines)}; took {spent.wall:.1f} s"


@row("--budget of half the time, default, 458 M weights", "ends in time")
def budget(bench: Bench) -> tuple[str, str]:
    source = bench.model(0.9)
    allowed = max(5, round(bench.analyze(source).wall / 2))
    spent = bench.analyze(source, "--budget", f"{allowed}s")
    return f"{spent.wall:.1f} s", f"of {allowed} s"


def _bytes(source: Path) -> int:
    files = source.rglob("*.safetensors") if source.is_dir() else [source]
    return sum(file.stat().st_size for file in files)


# --- the table ------------------------------------------------------------------------------


def show(bench: Bench, rows: list[Row]) -> list[dict[str, str]]:
    """Measure and print row by row, as Markdown."""
    print("| work | must | aim | got | basis |\n|---|---|---|---|---|", flush=True)
    found = []
    for each in rows:
        try:
            got, basis = each.measure(bench)
        except (Failed, OSError, ValueError, ZeroDivisionError) as error:
            got, basis = "failed", str(error)
        print(f"| {each.work} | {each.must} | {each.aim} | {got} | {basis} |", flush=True)
        found.append({"name": each.name, "work": each.work, "must": each.must, "got": got})
    return found


def main() -> None:
    names = [each.name for each in ROWS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("--size", choices=["small", "full"], default="small")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "kolmo-scale")
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    parser.add_argument("--json", type=Path, help="write the table there, too")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(chosen.folder, chosen.size == "full")
    try:
        found = show(bench, [each for each in ROWS if each.name in chosen.rows])
    finally:
        if not chosen.keep:
            shutil.rmtree(chosen.folder, ignore_errors=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
