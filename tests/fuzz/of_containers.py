"""Containers and mosaics written wrong in few places, with right sizes and checksums.

What is accepted must be what was packed: the digest says so of symbols, and what opens, unpacks and
verifies a file must agree with each other.
"""

import dataclasses
import json
import zlib
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import numpy as np

import kolmo
from kolmo.checkpoints.opening import survey
from kolmo.codes import numbers
from kolmo.codes.base import code_numbers
from kolmo.codes.numbers import Reader
from kolmo.container.format import MAGIC, read_contents, with_checksum, with_foot
from kolmo.container.header import NUMBERED, decode_header, encode_header
from kolmo.errors import InputError
from momos.mosaic import headers
from momos.mosaic.files import checked_header, decode_parts, encode_parts
from momos.mosaic.parts import Parts
from tests.checkpoints import contents
from tests.fuzz.damage import damaged, mutated, pick
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.values import NAMES, changed

GOLDEN = Path(__file__).parents[1] / "golden"
LARGEST = 4096
"""Bytes of a sound file at most: small ones are quick to read, and most of each matters."""

SIZES = (0, 1, 2, 3, 7, 64, 255, 1 << 16, 1 << 25, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 64)
RESTORED = "x.safetensors"


# --- sound containers -----------------------------------------------------------------------


@cache
def sound():
    """Containers of every version and of most codes, lossy ones and one of a difference."""
    golden = sorted(p for p in GOLDEN.glob("kmo-*/*.kmo") if p.stat().st_size < LARGEST)
    return [path.read_bytes() for path in golden] + _packed()


def _packed():
    from tempfile import TemporaryDirectory

    random = np.random.default_rng(0)
    motifs = random.normal(size=(4, 2)).astype(np.float32)
    table = random.integers(0, 9, (3, 5)).astype(np.uint8)
    source = {
        "a": motifs[random.integers(0, 4, 60)].reshape(4, 30),
        "b": random.normal(size=20).astype(np.float16),
        "c": table,
        "d": np.zeros((2, 0)),
        "e": table.reshape(5, 3).copy(),
        "f": np.outer(np.arange(1, 6), np.arange(1, 8)).astype(np.float32),
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.kmo"
        made = []
        for spec in ("native", "symmetric:8", "affine:3", "codebook:4", "nmse:0.01", "sign"):
            weights = source if spec == "native" else {n: source[n] for n in "abf"}
            kolmo.pack(weights, path, quantizer=spec, preset="fast", threads=1)
            made.append(path.read_bytes())
        return [*made, _difference(path)]


def _difference(path):
    base, tuned = _pair()
    kolmo.learned_difference(
        base, tuned, path, evaluate=lambda n: 1 + float(np.square(n["w"] - tuned["w"]).mean())
    )
    return path.read_bytes()


@cache
def _pair():
    random = np.random.default_rng(0)
    base = {"w": random.normal(size=(12, 10)).astype(np.float32)}
    ramp = np.outer(np.arange(12), np.arange(10)).astype(np.float32)
    return base, {"w": base["w"] + np.float32(0.01) * ramp}


def parts(data):
    """The header of a container, its units, its digest and its magic."""
    length = numbers.Reader(data[:-6:-1]).number()
    foot = 20 + len(numbers.number_bytes(length))
    start = len(data) - foot - length
    header = decode_header(data[start:-foot], data[3])
    units, at = [], len(MAGIC)
    for _, size, _ in header.units:
        units.append(data[at : at + size])
        at += size + 4
    return header, units, data[-foot : len(data) - foot + 16], data[:4]


# --- damaged ones ---------------------------------------------------------------------------


def written(folder, random):
    """A container whose header or units are others, with right sizes and checksums."""
    data = pick(sound(), random)
    header, units, digest, magic = parts(data)
    for _ in range(int(random.integers(1, 3))):
        if random.random() < 0.5 and units:
            number = int(random.integers(len(units)))
            units[number] = bytes(damaged(units[number], units, random)) or b"\0"
        else:
            header = _other_header(header, random)
    if random.random() < 0.9:  # of the sizes that they have
        sizes = [len(unit) for unit in units]
        both = zip(header.units, [*sizes, *[0] * len(header.units)], strict=False)
        header = dataclasses.replace(header, units=[(c, size, r) for (c, _, r), size in both])
    try:
        said = encode_header(header)
    except (TypeError, ValueError, OverflowError, AttributeError):
        said = bytes(damaged(encode_header(parts(data)[0]), [data], random))
    path = folder / f"{sound().index(data)}.kmo"
    body = b"".join(map(with_checksum, units))
    magic = pick([magic, magic, magic, b"kmo\x01", b"kmo\x02", b"kmo\x03"], random)
    path.write_bytes(magic + body + with_foot(said, digest, magic))
    return path


def _other_header(header, random):
    field = pick([f.name for f in dataclasses.fields(header)], random)
    return dataclasses.replace(header, **{field: _OTHERS[field](header, random)})


def _changed_list(values, others, random):
    """A list with a value changed, doubled, moved or left out."""
    found = list(values)
    if not found:
        return [pick(others, random)]
    place, chance = int(random.integers(len(found))), random.random()
    if chance < 0.6:
        found[place] = pick(others, random)
    elif chance < 0.75:
        found.insert(place, pick(found, random))
    elif chance < 0.85:
        del found[place]
    else:
        other = int(random.integers(len(found)))
        found[place], found[other] = found[other], found[place]
    return found


def _shapes(header, random):
    shapes = [list(shape) for shape in header.shapes]
    if shapes and random.random() < 0.7:
        place = int(random.integers(len(shapes)))
        numel = int(np.prod(shapes[place], dtype=object))
        shapes[place] = _same_numel(numel, random) or _changed_list(shapes[place], SIZES, random)
        return shapes
    return _changed_list(shapes, [[], [0], [1] * 70, [3, 4], [1 << 20, 1 << 20]], random)


def _same_numel(numel, random):
    """Another shape of as many numbers; None now and then."""
    if random.random() < 0.5 or not numel:
        return None
    side = pick([n for n in range(1, min(numel, 99) + 1) if numel % n == 0], random)
    return pick([[numel], [side, numel // side], [1] * 20 + [numel], [numel, 1]], random)


def _units(header, random):
    if not header.units:
        return [(0, 3, [(0, 1)])]
    found = [(code, size, [tuple(run) for run in runs]) for code, size, runs in header.units]
    place = int(random.integers(len(found)))
    code, size, runs = found[place]
    chance = random.random()
    if chance < 0.5:
        code = pick([*code_numbers().values(), 250], random)
    elif chance < 0.6:
        size = pick(SIZES, random)
    elif chance < 0.9:
        run = [pick(SIZES, random) if random.random() < 0.4 else n for n in pick(runs, random)]
        runs = _changed_list(runs, [tuple(run), (0, 1), (0, 0, 0, 9), (1, 1 << 40)], random)
    else:
        return _changed_list(found, found, random)
    found[place] = code, size, runs
    return found


def _parameters(header, random):
    lists = [list(values) for values in header.parameters]
    if not lists:
        return [[1.0]]
    place = int(random.integers(len(lists)))
    odd = (0.0, -1.0, 1.0, 1e-320, 1e308, float("inf"), float("nan"), 16777217.0, 0.5)
    lists[place] = _changed_list(lists[place], odd, random)
    return lists


_QUANTIZERS = (
    *("native", "", "sign", "symmetric:4", "symmetric:99", "affine:8", "codebook:3", "nmse:0.1"),
    *("lossy:0.1", "lossy:nan", "lossy:", "lossy:1e400", "codebook:0", "symmetric:8,axis=tensor"),
    *("\0", "a:b:c", "nmse:1e-300", "affine:8,clip=99.9", "x" * 999, "lossy:-1", "lossy:٣"),
)

_OTHERS = {
    "quantizer": lambda header, random: pick(_QUANTIZERS, random),
    "names": lambda header, random: _changed_list(header.names, [*NAMES, *header.names], random),
    "shapes": _shapes,
    "dtypes": lambda h, random: _changed_list(h.dtypes, range(len(NUMBERED) + 2), random),
    "copies": lambda h, random: _changed_list(h.copies, range(len(h.names) + 2), random),
    "roles": lambda header, random: _changed_list(header.roles, range(8), random),
    "weights": lambda header, random: _changed_list(header.weights, SIZES, random),
    "parameters": _parameters,
    "units": _units,
}


def cut(folder, random):
    """A container damaged anywhere."""
    data = pick(sound(), random)
    path = folder / f"{sound().index(data)}.kmo"
    path.write_bytes(mutated(data, [pick(sound(), random)], random))
    return path


# --- what is read ---------------------------------------------------------------------------


def read(path):
    """The certificate of a container, and what it gives, however it is read."""
    certificate = kolmo.verify(path, threads=1)
    out = path.with_name(RESTORED)
    return certificate, _tried(lambda: kolmo.unpack(path, out, threads=1))


def _tried(use):
    """What a use gives; None where it refuses."""
    try:
        return use()
    except InputError:
        return None


def agrees(path, found):
    """Whether a container that was accepted is the one that was packed, however it is read."""
    number, others = int(path.stem), [_tried(partial(use, path)) for use in _USES]
    if found is None:
        return None
    certificate, unpacked = found
    if certificate.sha256[:32] != parts(sound()[number])[2].hex():
        return "other symbols than were packed are certified"
    lines = [*str(certificate).splitlines(), repr(certificate), json.dumps(certificate.to_dict())]
    if not all(line.isprintable() for line in lines):
        return "control characters in a certificate"
    opened = others[0]
    if opened is None or unpacked is None:
        return None
    restored = {n: (d, s, b) for n, (d, s, b) in contents(unpacked).items()}
    for name, (dtype, shape, data) in opened.items():
        if name in restored and restored[name] != (dtype, shape, data):
            return f"{name!r} opens as another tensor than it unpacks to"
    return None


def _opened(path):
    found = kolmo.open_checkpoint(path)
    arrays = {name: tensor.read() for name, tensor in found.items() if tensor.codes is None}
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}


_USES = (
    _opened,
    lambda path: kolmo.unpack(path, path.with_name("s.safetensors"), symbols=True, threads=1),
    lambda path: str(kolmo.inspect(path)),
    lambda path: kolmo.with_difference(_pair()[0], path),
    lambda path: read_contents(path).quantizer,
)


# --- mosaics --------------------------------------------------------------------------------


@cache
def mosaics():
    """Mosaic files of both versions: with scales, dense tensors, coded and packed indices, ties."""
    golden = sorted(GOLDEN.glob("mosaic-*/*.mosaic"))
    return [path.read_bytes() for path in golden] + [_tied()]


def _tied():
    data = (GOLDEN / "mosaic-2" / "scales.mosaic").read_bytes()
    found = decode_parts("", data, Parts)
    first = next(iter(found.partition.shapes))
    names = (*found.names, "tied")
    return encode_parts(dataclasses.replace(found, names=names, aliases={"tied": first}))


def mosaic_written(folder, random):
    """A mosaic whose header or body is another, with the right checksum."""
    data = pick(mosaics(), random)
    reader = Reader(data[8:-4])
    header, body = headers.read_header_fields("x", reader, data[6]), reader.rest()
    if random.random() < 0.7:
        header = _other_mosaic(header, random)
    if random.random() < 0.5:
        body = bytes(damaged(body, [data], random)) if body else b"\0"
    content = data[:6] + _described(header, random) + body
    path = folder / "x.mosaic"
    path.write_bytes(content + zlib.crc32(content).to_bytes(4, "little"))
    return path


def _described(header, random):
    """The version and the header: of fields, where they can say it, or of JSON."""
    if random.random() < 0.5:
        with suppress(LookupError, TypeError, ValueError, AttributeError, OverflowError):
            return b"\4\n" + headers.encode_header(header)
    packed = zlib.compress(json.dumps(header).encode(errors="replace"))
    return b"\3\n" + len(packed).to_bytes(4, "little") + packed


def _other_mosaic(header, random):
    if random.random() < 0.5:
        return changed(header, random)
    tensors = [list(entry) for entry in header["tensors"]]
    place, which = int(random.integers(len(tensors))), int(random.integers(3))
    shape, first = tensors[place][1], tensors[0][0]
    tensors[place][which] = [
        lambda: pick([*NAMES, first], random),
        lambda: _same_numel(int(np.prod(shape)), random) or _changed_list(shape, SIZES, random),
        lambda: pick(
            [0, 1, 2, shape[0] if shape else 1, "float32", "bool", "int4", [first]], random
        ),
    ][which]()
    return {**header, "tensors": tensors}


def mosaic_cut(folder, random):
    """A mosaic damaged anywhere."""
    path = folder / "x.mosaic"
    path.write_bytes(mutated(pick(mosaics(), random), [pick(mosaics(), random)], random))
    return path


def read_mosaic(path):
    """The arrays of a mosaic, as momos has it."""
    from momos import Mosaic  # which imports torch

    found = Mosaic.load(path)
    arrays = found.arrays()
    found.state_dict(), str(found), repr(found), found._repr_html_(), found.code_length
    return {name: array.tobytes() for name, array in arrays.items()}


def mosaic_agrees(path, found):
    """Whether a mosaic opens as what it expands to."""
    if found is None:
        return None
    opened = survey(path)
    str(opened), checked_header(str(path), path.read_bytes())
    there = {name: tensor.read().tobytes() for name, tensor in opened.items()}
    there |= {s.name: s.tensor.read().tobytes() for s in opened.skipped if s.tensor}
    lost = [name for name in found if there.get(name) != found[name]]
    return f"{lost[0]!r} opens as another tensor than it expands to" if lost else None


FUZZERS = [
    Fuzzer("kmo written", written, read, agrees),
    Fuzzer("kmo damaged", cut, read, agrees),
    Fuzzer("mosaic written", mosaic_written, read_mosaic, mosaic_agrees),
    Fuzzer("mosaic damaged", mosaic_cut, read_mosaic, mosaic_agrees),
]
