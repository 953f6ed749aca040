"""Pickles put together opcode by opcode: of each value in one of the ways that a pickler has."""

import dataclasses
import struct

from tests.fuzz.damage import OPCODES

SIMPLE = {None: b"N", True: b"\x88", False: b"\x89"}


@dataclasses.dataclass(frozen=True)
class Named:
    """A class or function of this name."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Called:
    """What a function makes of arguments, and what is then set in it."""

    function: Named
    args: tuple
    entries: dict | None = None
    state: object = None


@dataclasses.dataclass(frozen=True)
class Outside:
    """What lies outside the pickle, by this reference."""

    reference: object


class Assembler:
    """Writes one pickle of protocol 2, where its hand does not slip."""

    def __init__(self, hand):
        self.hand, self.memo = hand, 0

    def pickle(self, value):
        """The whole pickle."""
        protocol = bytes([self.hand.put(2, 0, 1, 3, 4, 5, 6, 255)])
        return b"\x80" + protocol + self.of(value) + self.hand.put(b".", b"", b"N.", b"0.", b"..")

    def of(self, value):
        """The opcodes of a value."""
        made = self._of(value)
        if self.hand.slips():
            return self._slipped(made)
        return made

    def _slipped(self, made):
        hand = self.hand
        at = hand.below(len(made) + 1)
        letter = OPCODES[hand.below(len(OPCODES)) :][:1]
        get = b"h" + bytes([hand.below(self.memo + 2)])
        return hand.any((
            made + made, b"", b"N", b"(", b"(" + made, made + b"0", b"2" + made, get, made + get,
            made[:at] + letter + made[at:], made[:at] + made[at + 1 :], b"]", b"}", b")",
            made + b"R", made + b"b", made + b"s", made + b"Q", b"j\xff\xff\xff\xff", made + b"t",
        ))  # fmt: skip

    def _of(self, value):
        if value is None or isinstance(value, bool):
            return SIMPLE[value]
        makers = {int: self._int, float: self._float, str: self._text, tuple: self._tuple,
                  list: self._list, dict: self._dict, bytes: self._bytes, Named: self._name,
                  Called: self._call, Outside: self._outside}  # fmt: skip
        return makers[type(value)](value)

    def _int(self, value):
        forms = [b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)]
        if 0 <= value < 256:
            forms.append(b"K" + bytes([value]))
        if 0 <= value < 65536:
            forms.append(b"M" + value.to_bytes(2, "little"))
        if -(2**31) <= value < 2**31:
            forms.append(b"J" + value.to_bytes(4, "little", signed=True))
        return self.hand.put(
            self.hand.any(forms), b"I%d\n" % value, b"L%dL\n" % value, b"F%d\n" % value
        )

    def _float(self, value):
        return b"G" + struct.pack(">d", value)

    def _text(self, value):
        data = value.encode("utf-8", "surrogatepass")
        size = self.hand.count(len(data)) % 2**32
        short = b"\x8c" + bytes([len(data) % 256]) + data
        old = b"U" + bytes([len(data) % 256]) + data
        return self._kept(self.hand.put(b"X" + struct.pack("<I", size) + data, short, old))

    def _bytes(self, value):
        return self._kept(b"B" + struct.pack("<I", self.hand.count(len(value)) % 2**32) + value)

    def _tuple(self, values):
        items = b"".join(map(self.of, values))
        if not values:
            return b")"
        if len(values) < 4 and self.hand.below(2):
            return self._kept(items + bytes([0x84 + len(values)]))
        return self._kept(b"(" + items + b"t")

    def _list(self, values):
        head = self._kept(b"]")
        if self.hand.below(2):
            return head + b"".join(self.of(value) + b"a" for value in values)
        return head + b"(" + b"".join(map(self.of, values)) + b"e"

    def _dict(self, values):
        return self._kept(b"}") + self._entries(values)

    def _entries(self, values):
        pairs = [self.of(key) + self.of(value) for key, value in values.items()]
        pairs += [self.hand.any(pairs)] if pairs and self.hand.slips() else []
        if self.hand.below(2):
            return b"".join(pair + b"s" for pair in pairs)
        return b"(" + b"".join(pairs) + b"u" if pairs else b""

    def _name(self, value):
        module, name = value.module.encode(), value.name.encode()
        wrong = [b"cos\nsystem\n", b"cbuiltins\neval\n", b"c%s\n\n" % module, b"ctorch\nTensor\n"]
        return self._kept(self.hand.put(b"c%s\n%s\n" % (module, name), *wrong))

    def _call(self, value):
        made = self.of(value.function) + self.of(value.args)
        made = self._kept(made + self.hand.put(b"R", b"\x81", b"b", b"", b"RR"))
        if value.entries is not None:
            made += self._entries(value.entries)
        return made + self.of(value.state) + b"b" if value.state is not None else made

    def _outside(self, value):
        return self.of(value.reference) + self.hand.put(b"Q", b"", b"Pabc\n")

    def _kept(self, made):
        """With a note of it in the memo, as picklers do of most."""
        if self.hand.below(3) == 0:
            return made
        number, self.memo = self.hand.put(self.memo, 0, 7, 255), self.memo + 1
        return made + (b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))
