"""ONNX: weights as onnx and onnxruntime decode them, their roles, and files that are damaged."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints import allowance, protobuf
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.messages import is_onnx
from kolmo.checkpoints.onnx import open_onnx
from kolmo.checkpoints.stored import Stored, file_bytes
from kolmo.errors import InputError
from tests.wire import external, field, initializer, model, tensor_bytes, varint

DATA = Path(__file__).parent / "data" / "onnx"
MODELS = sorted(str(path.relative_to(DATA)) for path in DATA.rglob("*.onnx"))


def opened(name):
    return open_onnx(File.local(DATA / name))


def truth(name):
    with np.load(DATA / "truth.npz") as found:
        inside = [key for key in found.files if key.startswith(f"{name}/")]
        return {key.removeprefix(f"{name}/"): found[key] for key in inside}


ROUNDED = {"bits4_float"}
"""Where onnxruntime multiplies before it subtracts, in another rounding than it documents."""


@pytest.mark.parametrize("name", [name for name in MODELS if truth(name)])
def test_values_are_those_of_the_official_decoder(name):
    tensors, true = opened(name), truth(name)
    assert set(true) <= set(tensors)
    for key, array in true.items():
        found = tensors[key].read()
        assert found.shape == array.shape, key
        if key in ROUNDED:
            np.testing.assert_allclose(found, array, rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(found.astype(array.dtype), array, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_those_of_the_whole(name):
    for tensor in opened(name).values():
        parts = [tensor.load(i, min(i + 5, tensor.numel)) for i in range(0, tensor.numel, 5)]
        whole = tensor.read()
        assert b"".join(part.tobytes() for part in parts) == whole.tobytes()
        assert whole.dtype == tensor.dtype
        assert whole.shape == tensor.shape


@pytest.mark.parametrize("name", MODELS)
def test_codes_are_as_many_as_weights_and_lie_in_their_alphabet(name):
    for tensor in opened(name).values():
        if tensor.codes:
            codes = tensor.codes.load(0, tensor.numel)
            assert codes.shape == (tensor.numel,)
            assert codes.dtype == tensor.codes.alphabet.container
            assert int(codes.max()) < tensor.codes.alphabet.size


@pytest.mark.parametrize("name", ["raw.onnx", "typed.onnx"])
def test_every_dtype_has_its_form(name):
    forms = {key: tensor.form for key, tensor in opened(name).items()}
    assert len(forms) == 27
    assert forms["FLOAT16"] == "float16"
    assert forms["BFLOAT16"] == "bfloat16"
    assert forms["FLOAT8E5M2FNUZ"] == "float8_e5m2fnuz"
    assert forms["FLOAT4E2M1"] == "float4_e2m1fn"
    assert forms["FLOAT6E3M2"] == "float6_e3m2fn"
    assert forms["INT2"] == "int2"
    assert opened(name)["COMPLEX64"].shape == (3, 7, 2)


def test_text_is_left_out():
    (text,) = opened("typed.onnx").skipped
    assert (text.name, text.reason, text.numel) == ("text", "text", 2)


ROLES = {
    "weight": "conv.weight bn.weight bn.bias fc.weight fc.bias embed.weight slope deconv.weight "
    "cast_me",
    "buffer": "bn.running_mean bn.running_var",
    "other": "low high shape half pads pad_value roi scales",
    "None": "ids lonely",
}


@pytest.mark.parametrize("role", ROLES)
def test_the_graph_tells_what_constants_are(role):
    names = [name for name, t in opened("roles.onnx").items() if str(t.role) == role]
    assert names == sorted(ROLES[role].split(), key=names.index)
    assert len(names) == len(ROLES[role].split())


def test_constants_of_inner_graphs_and_functions_have_prefixes():
    found = {name: str(tensor.role) for name, tensor in opened("constants.onnx").items()}
    assert found["choose/then_branch/inner_w"] == "weight"
    assert found["loop/body/step_w"] == "weight"
    assert found["Normed/bias"] == "weight"
    assert found["w"] == "weight"  # the other branch takes it from the outer graph
    assert found["mean"] == found["var"] == "buffer"  # a function passes them on
    assert found["gamma"] == "weight"
    assert found["eps"] == found["two"] == found["axes"] == "other"


@pytest.mark.parametrize("name", ["static-operators.onnx", "static-qdq.onnx", "dynamic.onnx"])
def test_quantizers_of_onnxruntime_leave_the_weights_of_the_network(name):
    """Each weight is within a step of the original; all else has other roles."""
    original = truth("original")
    weights = {n: t for n, t in opened(name).items() if t.role is Role.WEIGHT}
    assert sum(tensor.numel for tensor in weights.values()) == 198
    for key, tensor in weights.items():
        wanted = original[key[:2]]
        found = tensor.read()
        wanted = wanted.T if found.shape != wanted.shape else wanted
        bits = tensor.codes.alphabet.bits if tensor.codes else 32
        step = np.abs(wanted).max() / 127 if bits == 8 else 1e-3
        np.testing.assert_allclose(found, wanted, atol=step)
    left = [tensor.role for key, tensor in opened(name).items() if key not in weights]
    assert set(left) <= {Role.BOOKKEEPING, Role.OTHER}


def test_side_bits_are_those_of_scales_and_zero_points():
    found = opened("packed.onnx")
    assert found["bits4"].codes.side_bits == 5 * 3 * 32 + 5 * 2 * 8
    assert found["bits4"].form == "4-bit MatMulNBits"
    assert found["bits4"].codes.stored[0].shape == (5, 3, 8)
    assert opened("qdq.onnx")["uint4_block"].codes.side_bits == 8 * 32 + 8 * 4
    assert opened("qdq.onnx")["fp8"].codes.alphabet == kolmo.Alphabet(256, "float8_e4m3fn")


def test_external_data_lies_beside_the_model():
    found = kolmo.open_checkpoint(DATA / "external" / "one.onnx")
    assert found.format == "onnx"
    assert [Path(path).name for path in found.files] == ["one.onnx", "one.data"]


def test_missing_external_data_is_named(tmp_path):
    shutil.copy(DATA / "external" / "one.onnx", tmp_path)
    with pytest.raises(InputError, match=r"'a' are in 'one.data', which is not beside it; put"):
        open_onnx(File.local(tmp_path / "one.onnx"))


def test_short_external_data_is_said_to_be_incomplete(tmp_path):
    shutil.copy(DATA / "external" / "one.onnx", tmp_path)
    data = (DATA / "external" / "one.data").read_bytes()
    (tmp_path / "one.data").write_bytes(data[:-10])
    with pytest.raises(InputError, match=r"'c': its values end at byte 267 of .* has 257"):
        open_onnx(File.local(tmp_path / "one.onnx"))


# --- by hand --------------------------------------------------------------------------------


def from_bytes(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(data)
    return kolmo.open_checkpoint(tmp_path / "m.onnx")


def test_numbers_that_are_not_packed_are_read(tmp_path):
    floats = b"".join(varint(4 << 3 | 5) + np.float32(x).tobytes() for x in (1, 2))
    packed = field(4, np.float32([3]).tobytes())
    ints = field(7, -1) + field(7, varint(300)) + field(7, 5)
    found = from_bytes(
        tmp_path, model(initializer("f", [3], 1, floats, packed), initializer("i", [3], 7, ints))
    )
    assert found["f"].read().tolist() == [1, 2, 3]
    (left,) = found.skipped
    assert left.tensor.read().tolist() == [-1, 300, 5]


def test_many_varints_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(protobuf, "_BLOCK", 64)
    numbers = np.random.default_rng(0).integers(-(2**62), 2**62, 200) >> np.arange(200) % 62
    found = from_bytes(
        tmp_path,
        model(initializer("i", [200], 7, field(7, b"".join(map(varint, map(int, numbers)))))),
    )
    for start, stop in [(0, 200), (0, 1), (199, 200), (37, 171), (5, 5)]:
        assert found["i"].load(start, stop).tolist() == numbers[start:stop].tolist()


REFUSED = {
    "outside its folder": external("w", [2], location="../other"),
    "it points outside": external("w", [2], location="/etc/hostname"),
    "which is not beside it": external("w", [2], location="none.data"),
    "is no number": external("w", [2], location="m.onnx", offset="-4"),
    "takes 8 bytes, and has 4 in": external("w", [2], location="m.onnx", length=4),
    "takes 8 bytes, and has 4": tensor_bytes("w", [2], 1, field(9, b"1234")),
    "saved without its weights": tensor_bytes("w", [2], 1),
    "a shape that is none": tensor_bytes("w", [-1], 1, field(9, b"")),
    "that is none; the file is damaged": tensor_bytes("w", [2**31, 2**31, 0], 1, field(9, b"")),
    "takes 3 numbers, and has 2": tensor_bytes("w", [3], 7, field(7, b"\1\2")),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(tmp_path, why):
    with pytest.raises(InputError, match=why):
        from_bytes(tmp_path, model(field(5, REFUSED[why])))


def test_what_is_no_tensor_to_measure_is_listed(tmp_path):
    found = from_bytes(
        tmp_path,
        model(
            initializer("strange", [4], 99, field(9, b"1234")),
            initializer("part", [4], 1, field(3, field(1, 0)), field(9, bytes(16))),
            initializer("w", [1], 1, field(9, bytes(4))),
            initializer("w", [1], 1, field(9, bytes(4))),
        ),
    )
    assert [(entry.name, entry.numel) for entry in found.skipped] == [("strange", 4), ("part", 4)]
    assert list(found) == ["w", "w#2"]


def test_a_model_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="an ONNX model whose graph holds no tensor"):
        from_bytes(tmp_path, model(field(2, "g")))


def test_a_model_that_is_cut_is_a_damaged_model(tmp_path):
    data = (DATA / "raw.onnx").read_bytes()
    for size in (len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match=r"damaged|shorter than it claims"):
            from_bytes(tmp_path, data[:size])


@pytest.mark.parametrize("data", [b"", b"\x80\x02}.", b"PK\3\4", b"\x08\x05\x12\x03abc", bytes(99)])
def test_other_files_are_no_models(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(data)
    assert not is_onnx(data[:512], File.local(tmp_path / "m.onnx"))


# --- size, time, damage ---------------------------------------------------------------------


def counted(stored):
    """The same bytes, and how many were read of them."""
    sizes = []

    def fetch(offset, size):
        sizes.append(size)
        return stored.fetch(offset, size)

    return Stored(fetch, stored.offset, stored.size, stored.where), sizes


def test_opening_100_gigabytes_reads_kilobytes(tmp_path):
    """A raw tensor of 40 GB in the model, another of 60 GB beside it; both files have holes."""
    inside, outside = 10 * 2**30, 15 * 2**30
    head = tensor_bytes("inside", [inside], 1) + varint(9 << 3 | 2) + varint(4 * inside)
    other = field(5, external("outside", [outside], location="m.data", offset=4096))
    graph_size = (
        len(head) + 4 * inside + len(varint(5 << 3 | 2)) + len(varint(len(head) + 4 * inside))
    )
    start = field(1, 10) + varint(7 << 3 | 2) + varint(graph_size + len(other))
    start += varint(5 << 3 | 2) + varint(len(head) + 4 * inside) + head
    with open(tmp_path / "m.onnx", "wb") as file:
        file.write(start)
        file.seek(len(start) + 4 * inside)
        file.write(other)
    with open(tmp_path / "m.data", "wb") as file:
        file.truncate(4096 + 4 * outside)
    file = File.local(tmp_path / "m.onnx")
    stored, sizes = counted(file_bytes(tmp_path / "m.onnx"))
    file.__dict__["stored"] = stored
    found = open_onnx(file)
    assert found.numel == inside + outside
    assert sum(sizes) < 1 << 14
    assert found["inside"].load(inside - 3, inside).tolist() == [0, 0, 0]
    assert found["outside"].load(outside - 3, outside).tolist() == [0, 0, 0]


def test_messages_within_messages_are_bounded(tmp_path):
    data = b""
    for _ in range(500):
        data = field(1, field(5, field(6, data)))
    with pytest.raises(InputError, match="malformed"):
        from_bytes(tmp_path, model(data))


def test_functions_that_call_each_other_end(tmp_path):
    calls = [
        field(25, field(1, f"f{i}") + field(4, "a") + field(10, "own") + field(7, call))
        for i in range(300)
        for call in [field(1, "a") + field(4, f"f{(i + 1) % 300}") + field(7, "own")]
    ]
    use = field(1, field(1, "w") + field(4, "f0") + field(7, "own"))
    weights = initializer("w", [1], 1, field(9, bytes(4)))
    found = from_bytes(tmp_path, model(weights, use) + b"".join(calls))
    assert found["w"].role is Role.WEIGHT


def test_number_of_fields_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(allowance, "ITEMS", 1000)
    with pytest.raises(InputError, match="items to look at"):
        from_bytes(tmp_path, model(field(1, b"") * 2000))
