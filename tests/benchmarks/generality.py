"""What `kolmo pack` makes of checkpoints of every kind, beside other compressors.

Run as ``python -m tests.benchmarks.generality`` from the root of the repository, with

- ``--half 0`` or ``1`` for one half of the objects: of those of each kind, every second one;
- ``--only GLOB`` for objects whose ``KIND/NAME`` it matches;
- ``--real FOLDER`` for the checkpoints in its ``*.safetensors`` in place of the made ones;
- ``--rivals PYTHON`` for the interpreter that has the other tools (openzl, zipnn, pcodec,
  zstandard, brotli; zpaq is a program), which need not be the one that has kolmo;
- ``--cache FILE`` for what other tools made of objects before, so that they do not run again;
- ``--without TOOL`` for the others without one of them, as often as wanted;
- ``--peers`` to run the others alone, which fills the cache;
- ``--speed`` for the speed and the memory of each tool, too, measured anew.

Each line has an object, the bits for each of its numbers in our container (names, shapes, checksums
and all), those of the smallest other file (numbers alone: of all arrays of a dtype in a row, raw or
shuffled, or tensor by tensor), the ratio of the two, and the bits that the estimator ``kt`` gives.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

import kolmo
from tests.benchmarks import rivals
from tests.benchmarks.objects import OBJECTS

Arrays = dict[str, np.ndarray]
PEERS = tuple(tool for tool in rivals.TOOLS if tool != "nncodec")
SMALL = 10_000
"""Bytes of an object up to which its ratio says nothing: names and checksums outweigh numbers."""
SLOW = {"zpaq": 4 << 20}
"""Bytes of an object over which a tool would take minutes."""
ALLOWED = 1.001


@dataclasses.dataclass(frozen=True)
class Object:
    """Arrays that are packed together."""

    kind: str
    name: str
    arrays: Arrays

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def numel(self) -> int:
        return sum(array.size for array in self.arrays.values())

    def by_dtype(self) -> dict[np.dtype[Any], Arrays]:
        found: dict[np.dtype[Any], Arrays] = {}
        for name, array in self.arrays.items():
            found.setdefault(array.dtype, {})[name] = array
        return found

    def digest(self) -> str:
        """What tells whether a tool has seen it."""
        digest = hashlib.sha256()
        for dtype, arrays in self.by_dtype().items():
            digest.update(dtype.name.encode())
            for array in arrays.values():
                digest.update(str(array.size).encode())
                digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:24]


def made(half: int | None, only: str) -> Iterator[Object]:
    """The objects of `OBJECTS`, each from a seed that its name gives."""
    for kind, makers in OBJECTS.items():
        for number, (name, make) in enumerate(makers.items()):
            if (half is None or number % 2 == half) and fnmatch(f"{kind}/{name}", only):
                arrays = make(np.random.default_rng(zlib.crc32(name.encode())))
                arrays = arrays if isinstance(arrays, dict) else {"weight": arrays}
                yield Object(kind, name, {n: np.asarray(a, order="C") for n, a in arrays.items()})


def real(folder: Path, only: str) -> Iterator[Object]:
    """The checkpoints of a folder."""
    for path in sorted(folder.glob("*.safetensors")):
        if fnmatch(f"{folder.name}/{path.stem}", only):
            tensors = kolmo.open_checkpoint(path).items()
            yield Object(folder.name, path.stem, {name: t.read() for name, t in tensors})


# --- what each makes of them ----------------------------------------------------------------


def packed(arrays: Arrays) -> dict[str, float]:
    """Bytes of the container, seconds for writing it and for reading it."""
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "x.kmo", time.perf_counter()
        certificate = kolmo.pack(arrays, path, threads=1, progress=False)
        middle = time.perf_counter()
        kolmo.verify(path, threads=1)
        read = time.perf_counter() - middle
    if certificate.raw_bits < 8 * sum(array.nbytes for array in arrays.values()):
        raise ValueError("the container leaves arrays out")
    write = middle - start - read  # to pack is to verify, too
    return {"bytes": certificate.bits // 8, "write": write, "read": read}


def packed_apart(item: Object) -> dict[str, float]:
    """The same in a process of its own, whose memory is told, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.kmo"
        kolmo.pack(item.arrays, path, preset="fast", progress=False)
        command = [sys.executable, "-m", "tests.benchmarks.generality", "--one", str(path)]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def one(path: str) -> None:
    """Prints what is measured of the checkpoint in a container."""
    arrays = {name: tensor.read() for name, tensor in kolmo.open_checkpoint(path).items()}
    packed({name: array[:64] for name, array in arrays.items()})  # compiles
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    measured = packed(arrays)
    peak = max(peak, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(json.dumps(measured | {"peak": peak}))


def kt_bits(item: Object) -> float:
    return sum(kolmo.estimate(array, "kt").bits for array in item.arrays.values() if array.size)


class Peers:
    """What other tools make of objects, remembered in a file."""

    def __init__(self, python: str, cache: Path | None, without: list[str]) -> None:
        self._command = [python, str(Path(__file__).parent / "rivals.py")]
        self._cache, self._tools = cache, [tool for tool in PEERS if tool not in without]
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._found: dict[str, dict[str, Any]] = {}
        self._recall()

    def __call__(self, item: Object, anew: bool = False) -> dict[str, dict[str, float]]:
        """What each tool that takes the object makes of it."""
        known = {} if anew else self._found.setdefault(item.digest(), {"name": item.name})
        wanted = [tool for tool in self._tools if item.nbytes <= SLOW.get(tool, item.nbytes)]
        for tool in wanted:
            if tool not in known:
                known[tool] = self._measured(tool, item, anew)
                self._remember()
        for tool in wanted:
            if "failed" in known[tool].get("missing", ""):
                print(f"{item.name}: {known[tool]['missing']}", file=sys.stderr)
        return {tool: known[tool] for tool in wanted if "bytes" in known[tool]}

    def _measured(self, tool: str, item: Object, apart: bool) -> dict[str, Any]:
        """The sum over the dtypes of an object."""
        total: dict[str, Any] = {"bytes": 0, "write": 0.0, "read": 0.0, "peak": 0}
        for dtype, arrays in item.by_dtype().items():
            found = self._run(tool, dtype, arrays, apart)
            if "missing" in found:
                return found
            total = {key: value + found[key] for key, value in total.items()}
        return total

    def _run(self, tool: str, dtype: np.dtype[Any], arrays: Arrays, apart: bool) -> dict[str, Any]:
        """In a process for this alone, or in one for all objects, which imports once."""
        is_float = dtype.kind == "f" or "float" in dtype.name
        as_bits = is_float or dtype.kind == "b"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.npz"
            flat = (a.reshape(-1) for a in arrays.values())
            np.savez(file, *(a.view(f"u{dtype.itemsize}") if as_bits else a for a in flat))
            asked = [str(file), dtype.name if is_float else "", str(8 * dtype.itemsize)]
            if apart:
                command = [*self._command, tool, *asked]
                line = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
            else:
                line = self._asked(tool, json.dumps(asked))
        return json.loads(line) if line else {"missing": f"{tool} failed"}

    def _asked(self, tool: str, line: str) -> str:
        if tool not in self._running:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._running[tool] = subprocess.Popen([*self._command, tool], **pipes)
        process = self._running[tool]
        print(line, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            del self._running[tool]
        return answer

    def close(self) -> None:
        for process in self._running.values():
            process.communicate()

    def _recall(self) -> None:
        """Takes up what the file has, which another run may have written."""
        if self._cache is not None and self._cache.exists():
            for digest, tools in json.loads(self._cache.read_text()).items():
                mine = self._found.setdefault(digest, {})
                mine |= {tool: found for tool, found in tools.items() if tool not in mine}

    def _remember(self) -> None:
        if self._cache is not None:
            self._recall()
            fresh = self._cache.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(self._found))
            fresh.replace(self._cache)


# --- the table ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """An object, what is ours and what is best of the others in bytes, and its bits under kt."""

    item: Object
    ours: int
    best: int
    peer: str
    kt: float

    @property
    def ratio(self) -> float:
        return self.ours / self.best

    def __str__(self) -> str:
        name = f"{self.item.kind}/{self.item.name}"
        each = 8 / self.item.numel
        return (
            f"{name:42}{self.item.nbytes:>10,}{self.ours:>11,}{each * self.ours:>10.4f}"
            f"{each * self.best:>10.4f}  {self.peer:16}{self.ratio:>8.4f}"
            f"{self.kt / self.item.numel:>10.4f}"
        )


HEADING = (
    f"{'object':42}{'raw bytes':>10}{'ours':>11}{'bits each':>10}{'peer':>10}  {'which':16}"
    f"{'ratio':>8}{'kt':>10}"
)


def measured(item: Object, peers: dict[str, dict[str, float]], ours: dict[str, float]) -> Row:
    peer = min(peers, key=lambda tool: peers[tool]["bytes"])
    return Row(item, int(ours["bytes"]), int(peers[peer]["bytes"]), peer, kt_bits(item))


def speeds(item: Object, peers: dict[str, dict[str, float]], ours: dict[str, float]) -> str:
    """A line for each tool: bits for each number, MB a second to write and to read, MB taken."""
    lines = []
    for tool, found in {"kolmo pack": ours, **peers}.items():
        each, mega = 8 * found["bytes"] / item.numel, item.nbytes / 1e6
        lines.append(
            f"    {tool:18}{each:>9.4f} bits each, writes {mega / found['write']:>8.3g} MB/s, "
            f"reads {mega / found['read']:>8.3g} MB/s, at most {found['peak'] / 1e6:>6.0f} MB"
        )
    return "\n".join(lines)


def summary(rows: list[Row]) -> str:
    """The worst ratio of objects that are not small, and the median of each kind."""
    large = [row for row in rows if row.item.nbytes > SMALL]
    if not large:
        return "all objects are small"
    worst = max(large, key=lambda row: row.ratio)
    over = [row for row in large if row.ours > ALLOWED * row.best]
    lines = [
        f"of {len(large)} objects over {SMALL:,} bytes, {len(over)} take over {ALLOWED} times the "
        f"best of the others, {sum(row.ours > row.best + 200 for row in over)} of them 200 bytes "
        f"more or over that; the worst {worst.ratio:.4f} times ({worst.item.name})"
    ]
    for kind in dict.fromkeys(row.item.kind for row in large):
        ratios = [row.ratio for row in large if row.item.kind == kind]
        lines.append(f"{kind:16}median {statistics.median(ratios):.4f}, worst {max(ratios):.4f}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="kolmo pack beside other compressors")
    parser.add_argument("--half", type=int, choices=(0, 1))
    parser.add_argument("--only", default="*", metavar="GLOB")
    parser.add_argument("--real", type=Path, metavar="FOLDER")
    parser.add_argument("--rivals", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--cache", type=Path, metavar="FILE")
    parser.add_argument("--without", action="append", default=[], choices=PEERS, metavar="TOOL")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.one:
        one(asked.one)
        return
    items = real(asked.real, asked.only) if asked.real else made(asked.half, asked.only)
    run, rows = Peers(asked.rivals, asked.cache, asked.without), []
    print("" if asked.peers else HEADING, flush=True)
    for item in items:
        peers = run(item, anew=asked.speed)
        if asked.peers:
            print(item.kind, item.name, flush=True)
            continue
        ours = packed_apart(item) if asked.speed else packed(item.arrays)
        rows.append(measured(item, peers, ours))
        print(rows[-1], flush=True)
        if asked.speed:
            print(speeds(item, peers, ours), flush=True)
    run.close()
    print(summary(rows))


if __name__ == "__main__":
    main()
