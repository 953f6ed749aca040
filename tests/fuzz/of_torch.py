"""torch files of own making, against torch, which loads weights only."""

import dataclasses

import numpy as np
import torch

from tests.fuzz.assembling import Assembler, Called, Named, Outside
from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.judging import difference, read_whole
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.zips import DEFLATED, STORED, Member, archive

STORAGES = {
    "FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
    "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1,
}  # fmt: skip
OTHER_STORAGES = (
    "QInt8Storage",
    "QUInt8Storage",
    "QInt32Storage",
    "FloatTensor",
    "Storage",
    "Size",
)
UNTYPED = {
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float32": 4,
}
OTHER_DTYPES = ("complex32", "bits8", "quint8", "float4_e2m1fn_x2", "long", "nothing", "Tensor")


@dataclasses.dataclass
class Part:
    """A storage: its key, its class, how many entries it has, and their bytes."""

    key: str
    kind: str
    count: int
    data: bytes


class Contents:
    """A state dict, and the storages of its tensors."""

    def __init__(self, hand, untyped=True):
        self.hand, self.parts, self.untyped = hand, [], untyped
        names = [hand.put(name, *ODD_NAMES, 3, None, ("t",)) for name in hand.some(NAMES, 4)]
        entries = {name: self._tensor() for name in names}
        if hand.below(4) == 0:
            entries["epoch"] = hand.any((3, 0.5, None, True, "text", [1, 2], (1, "x")))
        as_dict = hand.below(2) == 0
        self.value = (
            entries if as_dict else Called(Named("collections", "OrderedDict"), (), entries)
        )

    def _tensor(self):
        hand = self.hand
        shape, untyped = hand.any(SIDES), self.untyped and hand.below(5) == 0
        dtype = hand.any(list(UNTYPED)) if untyped else None
        kind = "UntypedStorage" if untyped else hand.any(list(STORAGES)[:-1])
        width = UNTYPED[dtype] if untyped else STORAGES[kind]
        order = hand.random.permutation(len(shape))
        stride, step = [0] * len(shape), 1
        for axis in order:
            stride[axis], step = step, step * max(shape[axis], 1)
        offset = hand.any((0, 0, 0, 3))
        part = self._part(kind, width, step + offset if 0 not in shape else offset)
        tensor = (self._storage(part), hand.count(offset), self._sides(shape), self._sides(stride))
        return self._rebuilt(tensor, dtype)

    def _rebuilt(self, tensor, dtype):
        hand, hooks = self.hand, Called(Named("collections", "OrderedDict"), ())
        version = "_rebuild_tensor_v3" if dtype else "_rebuild_tensor_v2"
        if dtype:
            named = Named("torch", hand.put(dtype, *OTHER_DTYPES))
            args = (*tensor, False, hooks, named)
        else:
            args = (*tensor, hand.put(False, True, None), hooks)
        if hand.slips():
            args = hand.any(
                (args[:-1], (*args, None), (*args, {"neg": True}), (*args, {"conj": 1}), ())
            )
        wrong = (
            "_rebuild_tensor",
            "_rebuild_qtensor",
            "_rebuild_sparse_tensor",
            "_rebuild_nothing",
        )
        found = Called(Named("torch._utils", hand.put(version, *wrong)), args)
        if hand.below(5):
            return found
        return Called(
            Named("torch._utils", "_rebuild_parameter"), (found, hand.put(False, True), hooks)
        )

    def _part(self, kind, width, count):
        if self.parts and self.parts[-1].kind == kind and self.hand.below(2):
            return self.parts[-1]  # a view of the same storage, which may be too short for it
        data = (
            _numbers(self.hand, kind, count)
            if kind == "BoolStorage"
            else self.hand.bytes(count * width)
        )
        self.parts.append(
            Part(
                str(len(self.parts)), kind, count * (width if kind == "UntypedStorage" else 1), data
            )
        )
        return self.parts[-1]

    def _storage(self, part):
        hand = self.hand
        kind = Named("torch", hand.put(part.kind, *OTHER_STORAGES, *STORAGES))
        if part.kind == "UntypedStorage":
            kind = dataclasses.replace(kind, module="torch.storage")
        key = hand.put(part.key, "7", "", "../0", 0, None, "x" * 300)
        fields = [
            hand.put("storage", "module", None),
            kind,
            key,
            hand.put("cpu", "cuda:0", None),
            hand.count(part.count),
        ]
        fields = hand.put(fields, fields[:-1], [*fields, None], [])
        return Outside(hand.put(tuple(fields), fields, "storage"))

    def _sides(self, sides):
        found = [
            self.hand.put(side, self.hand.count(side), -1, True, 1.0, None, 2**62) for side in sides
        ]
        return self.hand.put(tuple(found), found, (*found, 1), tuple(found[1:]), None, 3)


def _numbers(hand, kind, count):
    return bytes(hand.random.integers(0, 2, max(count, 0), dtype=np.uint8))


def write(folder, random):
    """One file of the zip form."""
    hand = Hand(random)
    contents = Contents(hand.other())
    members = [
        Member("m/data.pkl", Assembler(hand).pickle(contents.value)),
        Member("m/byteorder", hand.put(b"little", b"big", b"", b"middle")),
        *(Member(f"m/data/{part.key}", part.data) for part in contents.parts),
        Member("m/version", hand.put(b"3\n", b"", b"99\n", b"x")),
    ]
    for lost in [hand.any(members)] if hand.slips() else []:
        members.remove(lost)
    for packed in [hand.any(members)] if members and hand.slips() else []:
        packed.method = hand.any((DEFLATED, STORED))
    (folder / "m.pt").write_bytes(archive(hand.other(), members, 64))
    return folder / "m.pt"


def write_legacy(folder, random):
    """One file of before 1.6."""
    hand = Hand(random)
    contents, assembler = Contents(hand.other(), untyped=False), Assembler(hand)
    system = {
        "protocol_version": 1001,
        "little_endian": hand.put(True, False, None, 3),
        "type_sizes": {},
    }
    # a reference has a sixth field there: which part of another storage it is
    value = _with_views(contents.value)
    keys = hand.put([p.key for p in contents.parts], [], ["0", "0"], ["9"], None, ("0",))
    data = MAGIC + b"\x80\x02M\xe9\x03." + assembler.pickle(system)
    data += Assembler(hand).pickle(value) + Assembler(hand).pickle(keys)
    for part in contents.parts:
        data += (hand.count(part.count) % 2**64).to_bytes(8, "little") + part.data
    (folder / "m.pth").write_bytes(hand.put(data, data[:-1], data + b"\0", data[: len(data) // 2]))
    return folder / "m.pth"


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _with_views(value):
    if isinstance(value, Outside) and isinstance(value.reference, tuple):
        return Outside((*value.reference, None))
    if isinstance(value, Called):
        args = tuple(map(_with_views, value.args))
        return Called(value.function, args, _with_views(value.entries), value.state)
    if isinstance(value, dict):
        return {key: _with_views(held) for key, held in value.items()}
    return value


# --- against torch --------------------------------------------------------------------------


def library(path):
    """The tensors of a state dict as torch loads them."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict):
        raise TypeError("no state dict")
    named = {str(key): value for key, value in found.items() if not callable(key)}
    arrays = {name: _array(value) for name, value in named.items() if _is_plain(value)}
    if not arrays:
        raise TypeError("no arrays")
    return arrays


def _is_plain(value):
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_conj()
        and str(value.dtype) not in ("torch.complex32", "torch.bits8", "torch.float4_e2m1fn_x2")
        and 0 < value.numel() < 1 << 16
    )


def _array(value):
    data = value.detach().resolve_neg().contiguous()
    if data.is_complex():
        data = torch.view_as_real(data)
    shape = tuple(data.shape)
    return (
        data.reshape(-1).view(torch.uint8).numpy().view(np.void(data.itemsize).dtype).reshape(shape)
    )


OURS_ALONE = (
    "Weights only load failed",  # opcodes and names that torch does not take; kolmo takes all
    "TypeError",  # torch refuses all for an entry that it cannot rebuild; kolmo lists that entry
    "AttributeError",
    "too many values to unpack",
    "unequal size length",
    "requires_grad must be",
    "can require gradients",
    "the version",  # kolmo needs none of this record
    "PyTorch file with version",
    "hasRecord(",
    "is not in a subdirectory",
    "unsupported encryption",  # of records that no tensor lies in
    "unsupported multidisk archive",
    "failed reading zip archive",  # miniz is stricter than zipfile with the directory
    "failed reading file",  # a record that no tensor needs
    "expected dict",  # a reference to storages
    "not enough values to unpack",
    "need more than 1 value to unpack",
    "not found in deserialized_objects",  # keys that are numbers in one place, texts in another
    "overflow",  # of a tensor that no memory can hold; kolmo lists it
    "does not match expected size",  # a record with the rest of an entry at its end
    "can't allocate memory",
    "retrieving file meta-data for version",
    "symbolic sizes/strides",  # of what torch keeps as a nested tensor
    "isComplexType(",  # a conjugate of what is not complex; kolmo lists it
)
"""What torch alone refuses: parts of its messages."""

THEIRS_ALONE = (
    "nothing to measure",
    "with no arrays in it",  # but what is listed
    "is not known)",  # a protocol of pickles, which torch does not look at
    "contradict each other",  # a record has two names, of which torch looks at one
    "reaches to entry",  # torch makes a storage longer, by whatever lies behind it in memory
    "is missing; the file is truncated",  # and a storage without values likewise
    "a storage without a name and a size",
    "the file is shorter than it claims",  # a record without bytes, said to lie beyond the file
    "KeyError: 'FloatTensor'",  # as the type of a storage
    "is compressed, which torch never does",  # torch reads them; kolmo reads records in place
)
"""What kolmo alone refuses: parts of its messages."""


def judge(path, found):
    """How it differs from torch."""
    return difference(path, found, library, OURS_ALONE, THEIRS_ALONE)


FUZZERS = [
    Fuzzer("torch written", write, read_whole, judge),
    Fuzzer("torch before 1.6 written", write_legacy, read_whole, judge),
]
