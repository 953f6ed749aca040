"""Bytes damaged in ways that a container notices, and in ways that only its reader can notice.

`mutated` knows containers: what it damages in an archive, a compressed file, a message of
protobuf or the header of a safetensors file is packed again with right sizes and checksums, so
that the damage comes to whoever reads the contents.
"""

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib

from zstandard import ZstdCompressor, ZstdDecompressor

OPCODES = (
    b"().0]}ablsudtRQqhj\x80\x81\x85\x86\x87\x8c\x8a\x8b\x8d\x8e\x90\x93\x94\x95\x96\x97NXBCGIKMc"
)
NUMBERS = (0, 1, 7, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63, 2**64 - 1)
NAMES = (
    "../x",
    "/etc/passwd",
    "..\\x",
    "x" * 300,
    "",
    ".",
    "\x1b[31m",
    "a\nb",
    "CON",
    "²",
    "x/" * 99,
)
TOKEN = re.compile(rb'-?\d[\d.eE+-]*|"[^"]*"|[A-Za-z_]\w*|[^\w\s]')
WORDS = (
    b"-1", b"0", b"1e400", b"1.5", b"4611686018427387904", b"18446744073709551616", b"9" * 5000,
    b"NaN", b"null", b"true", b'""', b"[]", b"{}", b"[" * 3000, b"{" * 3000, b"\xc2\xb2", b"\xff",
    b'"\\ud800"', b'"../../etc/passwd"', b'"/etc/passwd"', b'"F32"', b'"' + b"x" * 300 + b'"',
    b"&a;", b"<a>", b"</a>", b"<![CDATA[", b"\x00", b"\n", b",", b"(", b"]", b"\\",
)  # fmt: skip


def pick(choices, random):
    """One of them."""
    return choices[int(random.integers(len(choices)))]


# --- bytes ----------------------------------------------------------------------------------


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
            data[at] = pick(OPCODES, random)
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
            other = pick(others, random)
            begin = int(random.integers(len(other)))
            data[at : at + 32] = other[begin : begin + int(random.integers(1, 200))]
        if not data:
            return b"."
    return bytes(data)


def with_numbers(data, random):
    """The bytes with a number of 1 to 8 bytes, in either order, made extreme or nearly right."""
    data = bytearray(data)
    for _ in range(int(random.integers(1, 3))):
        width, order = pick((1, 2, 4, 4, 8, 8), random), pick(("little", "big"), random)
        near = len(data) if random.random() < 0.5 else min(len(data), 512)
        at = int(random.integers(max(near - width, 1)))
        at -= at % width if random.random() < 0.5 else 0
        old = int.from_bytes(data[at : at + width], order)
        new = pick((*NUMBERS, old + 1, old - 1, 2 * old, old >> 1, -old, len(data), ~old), random)
        data[at : at + width] = (new % 256**width).to_bytes(width, order)
    return bytes(data)


def with_words(data, random):
    """A text with some words changed for others or for hostile ones, doubled or left out."""
    for _ in range(int(random.integers(1, 4))):
        words = list(TOKEN.finditer(data))
        if not words:
            break
        word = pick(words, random)
        other = data[slice(*pick(words, random).span())]
        new = pick((pick(WORDS, random), pick(WORDS, random), other, b"", word[0] * 2), random)
        data = data[: word.start()] + new + data[word.end() :]
    return data or b"."


# --- what packs bytes -----------------------------------------------------------------------


def with_damaged_record(data, others, random):
    """A zip archive in which a record is damaged and its checksum right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        infos = old.infolist()
        chosen = [i for i in infos if i.filename.endswith((".pkl", ".json"))]
        chosen = chosen if chosen and random.random() < 0.7 else infos
        victim = pick(chosen, random)
        for info in infos:
            record, name = old.read(info), info.filename
            if info is victim and random.random() < 0.1:
                name = pick((*NAMES, pick(infos, random).filename), random) or "x"
            elif info is victim and record:
                record = mutated(record, others, random)
            new.writestr(zipfile.ZipInfo(name), record, info.compress_type)
    return file.getvalue()


def with_damaged_member(data, others, random):
    """A tar archive in which a member is damaged, or has another name, or is a link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=file, mode="w") as new:
        members = old.getmembers()
        victim = pick(members, random)
        for info in members:
            record = old.extractfile(info).read() if info.isfile() else b""
            if info is victim and random.random() < 0.2:
                info.name = pick((*NAMES, pick(members, random).name), random) or "x"
            elif info is victim and random.random() < 0.2:
                info.type, info.linkname = pick((tarfile.SYMTYPE, tarfile.LNKTYPE), random), "/x"
                record = b""
            elif info is victim and record:
                record = mutated(record, others, random)
            info.size = len(record)
            new.addfile(info, io.BytesIO(record))
    return file.getvalue()


def with_damaged_header(data, others, random):
    """A safetensors file whose header is another text, of a right length."""
    size = int.from_bytes(data[:8], "little")
    header = with_words(data[8 : 8 + size], random)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


PACKERS = {
    b"\x1f\x8b": (gzip.decompress, lambda data: gzip.compress(data, 1, mtime=0)),
    b"BZh": (bz2.decompress, bz2.compress),
    b"\xfd7zXZ": (lzma.decompress, lambda data: lzma.compress(data, preset=0)),
    b"\x78": (zlib.decompress, zlib.compress),
    b"\x28\xb5\x2f\xfd": (
        lambda data: ZstdDecompressor().decompressobj().decompress(data),
        lambda data: ZstdCompressor().compress(data),
    ),
}


def with_damaged_contents(data, others, random):
    """A compressed file of damaged contents."""
    unpack, pack = next(pair for start, pair in PACKERS.items() if data.startswith(start))
    return pack(mutated(unpack(data) or b".", others, random))


# --- protobuf -------------------------------------------------------------------------------


def varint(data, at):
    """The number that begins there, and where it ends."""
    for count in range(10):
        if data[at + count] < 128:
            parts = data[at : at + count + 1]
            return sum((byte & 127) << 7 * i for i, byte in enumerate(parts)), at + count + 1
    raise ValueError("no number")


def as_varint(number):
    """A number as protobuf has it."""
    number %= 1 << 64
    parts = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


def fields_of(data):
    """[tag, content] of each field of a message; ValueError or IndexError if it is none."""
    fields, at = [], 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            content, at = varint(data, at)
        elif tag & 7 in (1, 2, 5):
            size, at = varint(data, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            content, at = data[at : at + size], at + size
        if not 8 <= tag < 1 << 20 or tag & 7 not in (0, 1, 2, 5) or at > len(data):
            raise ValueError("no message")
        fields.append((tag, content))
    return fields


def message_of(fields):
    """The message with these fields."""
    return b"".join(as_varint(tag) + _content(tag & 7, content) for tag, content in fields)


def _content(wire, content):
    if wire == 0:
        return as_varint(content)
    return as_varint(len(content)) + content if wire == 2 else content


def with_damaged_field(data, others, random):
    """A message in which a field, at any depth, is damaged, doubled or left out."""
    fields = fields_of(data)
    at = int(random.integers(len(fields)))
    tag, content = fields[at]
    chance = random.random()
    if chance < 0.1:
        fields[at:at] = [(tag, content)] * int(random.integers(1, 4))
    elif chance < 0.2:
        del fields[at]
    elif isinstance(content, int):
        fields[at] = tag, pick((*NUMBERS, content + 1, -content, 2 * content), random)
    else:
        fields[at] = tag, _damaged_field(tag & 7, content, others, random)
    return message_of(fields)


def _damaged_field(wire, content, others, random):
    if wire != 2:
        return random.bytes(len(content))
    if is_message(content) and random.random() < 0.8:
        return with_damaged_field(content, others, random)
    return pick((damaged, _changed), random)(content or b".", others, random)


def _changed(data, others, random):
    return pick((with_numbers, with_words), random)(data, random)


def is_message(data):
    """Whether the bytes may be a message of protobuf."""
    try:
        return bool(fields_of(data))
    except (ValueError, IndexError, KeyError):
        return False


# --- all ------------------------------------------------------------------------------------


def _is_text(data):
    return sum(31 < byte < 127 or byte in b"\n\r\t" for byte in data[:400]) > 0.9 * len(data[:400])


def _knower(data):
    """What damages the inside of these bytes, by what they are."""
    if data.startswith(b"PK\x03\x04") and data.find(b"PK\x05\x06") > 0:
        return with_damaged_record
    if data[257:262] == b"ustar":
        return with_damaged_member
    if any(data.startswith(start) for start in PACKERS):
        return with_damaged_contents
    if data[8:10] in (b'{"', b"{ ") and int.from_bytes(data[:8], "little") < len(data):
        return with_damaged_header
    if _is_text(data) or data.startswith(b"\x93NUMPY"):
        return lambda data, _, random: with_words(data, random)
    return with_damaged_field if is_message(data) else None


def mutated(data, others, random):
    """The bytes of a file damaged anywhere, mostly where its container hides nothing of it."""
    knower = _knower(data) if random.random() < 0.75 else None
    if knower:
        try:
            return knower(data, others, random)
        except (
            ValueError,
            IndexError,
            OSError,
            EOFError,
            zlib.error,
            tarfile.TarError,
            lzma.LZMAError,
            zipfile.BadZipFile,
        ):
            pass  # some file of the kind that is packed in no way that Python knows
    if random.random() < 0.4:
        return with_numbers(data, random)
    return damaged(data or b".", others, random)
