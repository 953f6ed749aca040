"""HDF5 by hand, each field of which may be another: superblocks, headers, groups, trees, chunks."""

import struct
import zlib

import numpy as np

NOWHERE = (1 << 64) - 1
LEAF, INNER, CHUNKS = 4, 16, 32  # how wide the nodes of its trees are: half of their entries
DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3

_FLOATS = {2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}
_BFLOAT = (7, 8, 0, 7, 127)


class Writer:
    """The bytes of a file, which grow as parts are placed; ``modern`` is version 2 and up."""

    def __init__(self, hand, modern):
        self.hand, self.modern = hand, modern
        self.data = bytearray(96)

    def place(self, part):
        """Put bytes at the next free address, and give that, or seldom another."""
        self.data += bytes(-len(self.data) % 8)
        at = len(self.data)
        self.data += part
        return self.hand.put(at, 0, NOWHERE, 96, at + 8, 1 << 62, len(self.data))

    def file(self, root):
        """The whole file, with its superblock."""
        hand, size = self.hand, len(self.data)
        end = hand.put(size, size + 8, size - 8, 1 << 62)
        sizes = bytes([hand.put(8, 4, 2, 3), hand.put(8, 4, 2, 16)])
        if self.modern:
            version = hand.put(hand.any((2, 3)), 1, 4)
            head = bytes([version]) + sizes + b"\0"
            head += struct.pack("<4Q", hand.put(0, 96), NOWHERE, end, root)
            block = MAGIC + head
            block += checksum(block)
        else:
            version = hand.put(0, 1, 2, 9)
            head = bytes([version, 0, 0, 0, 0]) + sizes + b"\0"
            head += struct.pack("<HHI", hand.put(LEAF, 0, 1), hand.put(INNER, 0, 1), 0)
            head += struct.pack("<4Q", hand.put(0, 96), NOWHERE, end, NOWHERE)
            head += struct.pack("<QQII16x", 0, root, 0, 0)
            block = MAGIC + head
        self.data[: len(block)] = block
        data = bytes(self.data)
        return hand.put(
            data, data[:-1], data[: len(data) // 2], data + bytes(30), bytes(512) + data
        )

    # --- objects ----------------------------------------------------------------------------

    def header(self, messages):
        """The header of an object: (kind, bytes) of each message."""
        hand = self.hand
        for lost in [hand.any(messages)] if messages and hand.slips() else []:
            messages = [one for one in messages if one is not lost]
        messages = [*messages, hand.any(messages)] if messages and hand.slips() else messages
        made = self._modern(messages) if self.modern else self._old(messages)
        return self.place(made)

    def _old(self, messages):
        hand, body = self.hand, b""
        for kind, data in messages:
            data += bytes(-len(data) % 8)
            body += (
                struct.pack("<HHB3x", kind, hand.count(len(data)) % 65536, hand.put(0, 2)) + data
            )
        count = hand.count(len(messages)) % 65536
        head = struct.pack(
            "<BBHII4x", hand.put(1, 0, 2), 0, count, 1, hand.count(len(body)) % 2**32
        )
        return head + body

    def _modern(self, messages):
        hand, body = self.hand, b""
        for kind, data in messages:
            body += struct.pack("<BHB", kind, hand.count(len(data)) % 65536, hand.put(0, 2)) + data
        flags = hand.put(1, 0, 5, 0x21, 0x31)
        size = (hand.count(len(body)) % 65536).to_bytes(2, "little")
        made = b"OHDR" + bytes([hand.put(2, 1, 3), flags]) + size + body
        return made + checksum(made)

    def group(self, entries, attributes=()):
        """The header of a group of (name, address)."""
        more = [self.attribute(*one) for one in attributes]
        if self.modern:
            links = [self._link(name, at) for name, at in entries]
            info = (2, struct.pack("<BBQQ", 0, 0, NOWHERE, NOWHERE))
            return self.header([info, (10, bytes(2)), *links, *more])
        names, offsets = bytearray(8), []
        for name, _ in entries:
            offsets.append(len(names))
            text = name.encode("utf-8", "surrogatepass") + b"\0"
            names += text + bytes(-len(text) % 8)
        hand = self.hand
        heap = self.place(bytes(names))
        heap = self.place(
            b"HEAP" + struct.pack("<B3xQQQ", hand.put(0, 1), hand.count(len(names)), 1, heap)
        )
        node = b"SNOD" + struct.pack("<BBH", hand.put(1, 0), 0, hand.count(len(entries)) % 65536)
        for offset, (_, at) in zip(offsets, entries, strict=True):
            node += struct.pack("<QQII16x", hand.put(offset, 0, 1 << 40), at, hand.put(0, 2, 1), 0)
        node = self.place(node.ljust(8 + 80 * LEAF, b"\0"))
        last = offsets[-1] if offsets else 0
        tree = self.tree(0, [(struct.pack("<Q", 0), node)], struct.pack("<Q", last), INNER)
        return self.header([(17, struct.pack("<QQ", tree, heap)), *more])

    def _link(self, name, at):
        text = name.encode("utf-8", "surrogatepass")[:255]
        size = self.hand.put(len(text), 0, 255, len(text) + 1) % 256
        return 6, bytes([self.hand.put(1, 0, 2), 0x10, 1, size]) + text + struct.pack("<Q", at)

    def tree(self, kind, entries, last, half):
        """A B-tree of version 1: of one node, or of one above another."""
        hand, width = self.hand, 24 + 2 * half * 8 + (2 * half + 1) * len(last)
        for level in range(hand.put(1, 2)):
            body = b"".join(key + struct.pack("<Q", at) for key, at in entries) + last
            count = hand.count(len(entries)) % 65536
            head = struct.pack("<BBHQQ", hand.put(kind, 1 - kind), level, count, NOWHERE, NOWHERE)
            at = self.place((b"TREE" + head + body).ljust(width, b"\0"))
            entries = [(entries[0][0] if entries else bytes(len(last)), at)]
        return at

    def attribute(self, name, value):
        """The message of an attribute: a text, a number, or a list of texts."""
        hand = self.hand
        if isinstance(value, list):
            texts = [text.encode("utf-8", "surrogatepass") for text in value]
            width = max(map(len, texts), default=0) or 1
            kind, data = text_type(width), b"".join(text.ljust(width, b"\0") for text in texts)
            space = self.space((len(texts),))
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass") or b"\0"
            kind, space = text_type(len(data)), self.space(())
        else:
            data, kind, space = struct.pack("<q", value), self.type("<i8"), self.space(())
        name = name.encode("utf-8", "surrogatepass") + b"\0"
        sizes = [hand.count(len(part)) % 65536 for part in (name, kind, space)]
        parts = [part + bytes(-len(part) % 8) for part in (name, kind, space)]
        return 12, struct.pack("<BB3H", hand.put(1, 2, 3), 0, *sizes) + b"".join(parts) + data

    # --- datasets ---------------------------------------------------------------------------

    def space(self, shape):
        """A dataspace."""
        hand = self.hand
        sides = [hand.put(side, hand.count(side), 1 << 62) for side in shape]
        rank = hand.put(len(shape), len(shape) + 1, max(len(shape) - 1, 0), 33, 255)
        dims = b"".join(struct.pack("<Q", side) for side in sides)
        if hand.below(2):
            return bytes([hand.put(1, 0, 3), rank, 0]) + bytes(5) + dims
        kind = hand.put(1 if shape else 0, 2, 1, 3)
        return bytes([hand.put(2, 1), rank, 0, kind]) + dims

    def type(self, code):
        """A datatype: of numbers, or of truths."""
        hand, size = self.hand, hand_size(code)
        order = code[0] == ">"
        if code == "|b1":
            base = self.type("|i1")
            names = b"FALSE\0\0\0TRUE\0\0\0\0"
            return struct.pack("<B3BI", 0x18, hand.put(2, 0, 3), 0, 0, 1) + base + names + b"\0\1"
        version = hand.put(1, 0, 3) << 4
        claimed = hand.put(size, 0, 3, 16, 2 * size)
        if code[1] in "iu":
            bits = order | (8 if code[1] == "i" else 0)
            props = struct.pack("<HH", hand.put(0, 1), hand.put(8 * size, 8 * size - 1, 0))
            return struct.pack("<B3BI", version, hand.put(bits, bits ^ 1), 0, 0, claimed) + props
        form = _BFLOAT if code[1] == "b" else _FLOATS[size]
        form = hand.put(form, *_FLOATS.values(), (0, 0, 0, 0, 0))
        props = struct.pack("<HH4BI", 0, hand.put(8 * size, 8 * size - 1), *form)
        sign = hand.put(8 * size - 1, 0, 200)
        return (
            struct.pack("<B3BI", version | 1, hand.put(0x20 | order, 0), sign, 0, claimed) + props
        )

    def dataset(self, code, array):
        """The header of a dataset of an array's values, in one of the ways that there are."""
        hand = self.hand
        values = array.tobytes()
        layout, filters = self._laid(array, values)
        messages = [(1, self.space(array.shape)), (3, self.type(code))]
        messages += [*self._fill(values[: array.itemsize]), (8, layout)]
        messages += [(11, filters)] if filters else []
        messages += [self.attribute("note", "x")] if hand.slips() else []
        return self.header(messages)

    def _fill(self, one):
        hand = self.hand
        size = struct.pack("<I", hand.count(len(one)) % 2**32)
        if hand.below(2):
            return [(5, bytes([hand.put(2, 1, 9), 2, 0, 1]) + size + one)]
        return [(5, bytes([hand.put(3, 2), 0x2A]) + size + one)] if hand.below(2) else []

    def _laid(self, array, values):
        hand, way = self.hand, self.hand.below(4)
        if way == 0 and values:
            size = hand.count(len(values)) % 65536
            return bytes([3, 0]) + struct.pack("<H", size) + values, b""
        if way == 1 or not array.ndim or 0 in array.shape:
            at = self.place(values) if values and hand.below(8) else NOWHERE
            version = hand.put(3, 4)
            return bytes([version, 1]) + struct.pack("<QQ", at, hand.count(len(values))), b""
        sides = [1 + hand.below(side) for side in array.shape]
        if way == 3 and self.modern:
            return self._single(array), b""
        steps = hand.any(((), (DEFLATE,), (SHUFFLE, DEFLATE), (SHUFFLE,), (DEFLATE, CHECKSUM)))
        return self._chunked(array, sides, steps), self._filters(
            steps, array.itemsize
        ) if steps else b""

    def _single(self, array):
        """Layout of version 4, of one chunk."""
        hand = self.hand
        at = self.place(array.tobytes())
        sides = [*array.shape, array.itemsize]
        width = (max(sides).bit_length() + 7) // 8
        dims = [hand.put(side, side + 1, 0) % 256**width for side in sides]
        dims = b"".join(side.to_bytes(width, "little") for side in dims)
        rank = hand.put(len(sides), len(sides) - 1, 0)
        head = bytes([4, 2, hand.put(0, 2), rank, hand.put(width, 8, 0)])
        return head + dims + bytes([hand.put(1, 2, 3, 4, 5, 9)]) + struct.pack("<Q", at)

    def _chunked(self, array, sides, steps):
        """Layout of version 3 with its tree; a chunk may be missing, or come twice."""
        hand, entries = self.hand, []
        for index in np.ndindex(*[-(-n // c) for n, c in zip(array.shape, sides, strict=True)]):
            first = [at * side for at, side in zip(index, sides, strict=True)]
            if hand.below(12):
                entries.append(self._chunk(array, first, sides, steps))
        entries = hand.put(entries, entries[::-1], entries * 2)[: 2 * CHUNKS]
        beyond = [(side // c + 1) * c for side, c in zip(array.shape, sides, strict=True)]
        last = struct.pack(f"<II{len(beyond) + 1}Q", 0, 0, *beyond, 0)
        tree = self.tree(1, entries, last, CHUNKS)
        dims = [hand.put(side, side + 1, 0, 1 << 31) for side in (*sides, array.itemsize)]
        rank = hand.put(len(dims), len(dims) - 1, 0, 40)
        return bytes([3, 2, rank]) + struct.pack(f"<Q{len(dims)}I", tree, *dims)

    def _chunk(self, array, first, sides, steps):
        hand = self.hand
        whole = np.zeros(sides, array.dtype)
        inside = array[tuple(slice(a, a + c) for a, c in zip(first, sides, strict=True))]
        whole[tuple(map(slice, inside.shape))] = inside
        data = whole.tobytes()
        for step in steps:
            data = packed(step, data, array.itemsize)
        data = hand.put(data, data[:-1], data + b"\0", b"", bytes(len(data)))
        size, mask = hand.count(len(data)) % 2**32, hand.put(0, 1, 2)
        offsets = [hand.put(at, at + 1, 1 << 62) for at in first]
        return struct.pack(f"<II{len(first) + 1}Q", size, mask, *offsets, 0), self.place(data)

    def _filters(self, steps, item):
        hand = self.hand
        made = bytes([1, hand.put(len(steps), 0, 33)]) + bytes(6)
        for step in steps:
            number = hand.put(step, 4, 5, 32000, 32001, 32015, 1, 2, 3)
            values = {DEFLATE: [6], SHUFFLE: [item]}.get(step, [])
            made += struct.pack("<4H", number, 0, hand.put(0, 1), hand.put(len(values), 200))
            made += b"".join(struct.pack("<II", value, 0) for value in values)
        return made


MAGIC = b"\x89HDF\r\n\x1a\n"


def hand_size(code):
    """Bytes of a number."""
    return int(code[2:])


def text_type(width):
    """The datatype of texts of so many bytes, of which zeros fill the rest."""
    return struct.pack("<B3BI", 0x13, 0x11, 0, 0, width)


def packed(step, data, item):
    """Bytes after one filter."""
    if step == DEFLATE:
        return zlib.compress(data, 1)
    if step == SHUFFLE:
        return np.frombuffer(data, np.uint8).reshape(-1, item).T.tobytes()
    return data + fletcher(data)


def fletcher(data):
    """The checksum of HDF5's filter 3: sums of words of two bytes, the first byte the higher."""
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2").tolist()
    low = high = 0
    for word in words:
        low = (low + word) % 65535
        high = (high + low) % 65535
    return struct.pack("<I", high << 16 | low)


def checksum(data):
    """Bob Jenkins' lookup3 of bytes, which ends the parts of newer files."""
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    rest = data
    while len(rest) > 12:
        x, y, z = struct.unpack("<3I", rest[:12])
        a, b, c = _mixed((a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD)
        rest = rest[12:]
    if rest:
        x, y, z = struct.unpack("<3I", rest.ljust(12, b"\0"))
        c = _ended((a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD)
    return struct.pack("<I", c)


_WORD = 0xFFFFFFFF


def _turned(value, by):
    return (value << by | value >> (32 - by)) & _WORD


def _mixed(a, b, c):
    for by in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _WORD) ^ _turned(c, by)
        c = (c + b) & _WORD
        a, b, c = b, c, a
    return a, b, c


def _ended(a, b, c):
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, by)) & _WORD
        a, b, c = b, c, a
    return b
