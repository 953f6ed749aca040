"""Zip archives by hand, whose records may claim what is not so."""

import bz2
import dataclasses
import lzma
import struct
import zlib

from tests.fuzz.damage import NAMES as ODD_NAMES

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14


@dataclasses.dataclass
class Member:
    """A record: its name, its bytes, and how it is packed."""

    name: str
    data: bytes
    method: int = STORED


def archive(hand, members, step=1):
    """An archive; the bytes of each record begin at a multiple of ``step``."""
    body, entries = b"", []
    for member in members:
        made, entry = _member(hand, member, len(body), step)
        body, entries = body + made, [*entries, entry]
    directory = b"".join(entries)
    directory = hand.put(directory, directory[:-1], directory + entries[-1], b"", directory * 2)
    return (
        hand.put(b"", b"MZ" * 50, b"\x00") + body + directory + _end(hand, entries, body, directory)
    )


def _member(hand, member, at, step):
    """The record with its head, and its entry in the directory."""
    packed = _packed(hand, member)
    name = hand.put(member.name, *ODD_NAMES, member.name.upper()).encode("utf-8", "replace")
    crc = hand.put(zlib.crc32(member.data), 0, 1)
    flags = hand.put(0x800, 0, 1, 8, 0x2000, 0x40)  # encrypted, sizes behind, masked, strongly so
    method = hand.put(member.method, STORED, DEFLATED, BZIP2, LZMA, 9, 93, 99)
    sizes = [hand.count(len(packed)), hand.count(len(member.data))]
    extra = _extra(hand, sizes)
    pad = -(at + 30 + len(name) + len(extra)) % step
    extra += struct.pack("<HH", 0x4246, pad + step - 4) + bytes(pad + step - 4) if pad else b""
    fields = (20, flags, method, 0, 33, crc, *(min(size, 0xFFFFFFFF) for size in sizes))
    lengths = [hand.put(len(name), 0, len(name) + 1, 65535), len(extra)]
    head = struct.pack("<4s5H3I2H", b"PK\3\4", *fields, *lengths) + hand.put(name, name[::-1])
    place = hand.put(at, hand.count(at), at + 1)
    rest = (0, 0, hand.put(0, 16), hand.put(0, 1 << 30), min(place, 0xFFFFFFFF))
    entry = struct.pack("<4sH5H3I5H2I", b"PK\1\2", 20, *fields, *lengths, *rest)
    return head + extra + packed, entry + name + extra


def _packed(hand, member):
    data = member.data
    if member.method == DEFLATED:
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
    elif member.method == BZIP2:
        packed = bz2.compress(data)
    elif member.method == LZMA:
        filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
        raw = lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
        packed = struct.pack("<4BB I", 9, 4, 5, 0, 0x5D, 1 << 16) + raw
    else:
        packed = data
    return hand.put(packed, packed[:-1], packed + b"\0", b"", hand.random.bytes(20))


def _extra(hand, sizes):
    """Sizes of 64 bits, seldom, which may be others than those of 32."""
    if not hand.slips():
        return b""
    wide = struct.pack("<2Q", *(hand.count(size) for size in sizes))
    return struct.pack("<HH", 1, hand.put(16, 8, 0, 24)) + wide


def _end(hand, entries, body, directory):
    many, size = hand.count(len(entries)), hand.count(len(directory))
    at = hand.count(len(body))
    wide = b""
    if hand.slips():
        place = len(body) + len(directory)
        wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, many, many, size, at)
        wide += struct.pack("<4sIQI", b"PK\6\7", 0, hand.count(place), 1)
    small = [min(many, 65535), min(many, 65535), min(size, 2**32 - 1), min(at, 2**32 - 1)]
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, hand.put(0, 1), *small, hand.put(0, 5, 65535))
    return wide + end + hand.put(b"", b"tail", bytes(30))
