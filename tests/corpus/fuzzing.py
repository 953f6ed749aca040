"""Damages files in many ways and reads them: a KolmoError or weights may come of it, nothing else.

    python -m tests.corpus.fuzzing FOLDER FIRST COUNT

reads COUNT inputs that are made of the files in FOLDER, by seeds from FIRST on, in memory of at
most `MEMORY` bytes beyond what the program takes. It prints the number of the inputs that were
refused and that were read. A failure names its seed, by which the input is made again.
"""

import io
import resource
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import kolmo
from kolmo.errors import KolmoError

MEMORY = 512 << 20
OPCODES = (
    b"().0]}ablsudtRQqhj\x80\x81\x85\x86\x87\x8c\x8a\x8b\x8d\x8e\x90\x93\x94\x95\x96\x97NXBCGIKMc"
)
MOST = 1 << 22  # weights that are read of one input


def damaged(data, others, random):
    """The bytes with some changed, cut, inserted, doubled or taken from another file."""
    data = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        near = min(len(data), 2048) if random.random() < 0.7 else len(data)
        at = int(random.integers(near + 1)) if random.random() < 0.8 else len(data) - near
        at, kind = min(at, len(data) - 1), int(random.integers(7))
        if kind == 0:
            data[at] = int(random.integers(256))
        elif kind == 1:
            data[at] = OPCODES[int(random.integers(len(OPCODES)))]
        elif kind == 2:
            del data[at + 1 :]
        elif kind == 3:
            data[at:at] = random.bytes(int(random.integers(1, 9)))
        elif kind == 4:
            data[at : at + 8] = int(random.choice([0, 1, 2**31, 2**32 - 1, 2**62, 2**63])).to_bytes(
                8, "little"
            )
        elif kind == 5:
            data[at:at] = data[at : at + int(random.integers(1, 64))]
        else:
            other = others[int(random.integers(len(others)))]
            begin = int(random.integers(len(other)))
            data[at : at + 32] = other[begin : begin + int(random.integers(1, 200))]
        if not data:
            return b"."
    return bytes(data)


def with_damaged_record(data, others, random):
    """A zip archive in which a record is damaged and its checksum right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        infos = old.infolist()
        chosen = [i.filename for i in infos if i.filename.endswith((".pkl", ".json"))]
        chosen = chosen or [infos[0].filename]
        victim = chosen[int(random.integers(len(chosen)))]
        for info in infos:
            record = old.read(info)
            is_it = info.filename == victim and record
            new.writestr(info.filename, damaged(record, others, random) if is_it else record)
    return file.getvalue()


def read(path):
    """Open a file and read its weights, chunk by chunk."""
    found = kolmo.open_checkpoint(path)
    left = MOST
    for tensor in found.values():
        for chunk in tensor.chunks(1 << 16):
            left -= chunk.size
            if left < 0:
                return


def run(folder, first, count):
    """Refused and read inputs of those seeds."""
    seeds = [path.read_bytes() for path in sorted(folder.iterdir())]
    refused = 0
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        for seed in range(first, first + count):
            random = np.random.default_rng(seed)
            data = seeds[seed % len(seeds)]
            in_zip = data.startswith(b"PK") and random.random() < 0.7
            made = (with_damaged_record if in_zip else damaged)(data, seeds, random)
            Path(file.name).write_bytes(made)
            try:
                read(Path(file.name))
            except KolmoError:
                refused += 1
            except BaseException:
                print(f"seed {seed} of {folder}", file=sys.stderr)
                raise
    return refused, count - refused


def limit_memory(size=MEMORY):
    """Let this process take no more than so many bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    limit_memory()
    print(*run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
