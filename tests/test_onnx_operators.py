"""Operators of ONNX with packed weights that no library at hand computes on a CPU."""

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError
from tests.wire import field, initializer, model


def from_bytes(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(data)
    return kolmo.open_checkpoint(tmp_path / "m.onnx")


def array(name, values):
    kind = {"float32": 1, "uint8": 2, "int32": 6, "float16": 10}[values.dtype.name]
    return initializer(name, values.shape, kind, field(9, values.tobytes()))


def node(op, inputs, **settings):
    parts = [field(1, name) for name in inputs] + [field(2, "y"), field(4, op)]
    parts += [field(5, field(1, key) + field(3, value)) for key, value in settings.items()]
    return field(1, b"".join(parts) + field(7, "com.microsoft"))


def nibbles(packed):
    return np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)


def test_group_indices_tell_the_scale_of_a_column(tmp_path):
    r = np.random.default_rng(0)
    packed = r.integers(0, 256, (3, 2, 8), dtype=np.uint8)
    scales = r.random((3, 2)).astype(np.float32)
    groups = r.permutation(np.repeat(np.int32([0, 1]), 16))
    parts = [array("b", packed), array("s", scales), array("g", groups)]
    call = node("MatMulNBits", ["x", "b", "s", "", "g"], K=32, N=3, bits=4, block_size=16)
    found = from_bytes(tmp_path, model(*parts, call))["b"]
    wanted = (nibbles(packed).reshape(3, 32).astype(np.float32) - 8) * scales[:, groups]
    np.testing.assert_array_equal(found.read(), wanted)
    np.testing.assert_array_equal(found.load(30, 40), wanted.ravel()[30:40])
    assert found.codes.side_bits == 6 * 32 + 32 * 32


@pytest.mark.parametrize("size", [0, 16])
def test_experts_are_one_tensor_a_projection(tmp_path, size):
    r = np.random.default_rng(1)
    packed = r.integers(0, 256, (2, 3, 16), dtype=np.uint8)
    scales = r.random((2, 3, 2) if size else (2, 3)).astype(np.float16)
    zeros = r.integers(0, 256, (2, 3, 1) if size else (2, 2), dtype=np.uint8)
    parts = [array("w", packed), array("s", scales), array("z", zeros)]
    inputs = ["x", "router", "w", "s", *[""] * 7, "z"]
    settings = {"expert_weight_bits": 4, **({"block_size": size} if size else {})}
    found = from_bytes(tmp_path, model(*parts, node("QMoE", inputs, **settings)))["w"]
    points = nibbles(zeros)[..., :2] if size else nibbles(zeros)[:, :3, None]
    spread = np.repeat(points.astype(np.float32), 16 if size else 32, axis=2)
    factor = np.repeat(scales.reshape(2, 3, -1).astype(np.float32), 16 if size else 32, axis=2)
    np.testing.assert_array_equal(found.read(), (nibbles(packed) - spread) * factor)
    assert (found.shape, found.form) == ((2, 3, 32), "4-bit QMoE")


def test_a_layout_that_is_not_understood_is_said_to_be_so(tmp_path):
    packed, scales = np.zeros((3, 2, 8), np.uint8), np.ones((3, 2), np.float32)
    call = node(
        "MatMulNBits", ["x", "b", "s"], K=32, N=3, bits=4, block_size=16, weight_prepacked=1
    )
    more = array("w", np.ones(2, np.float32)) + field(1, field(1, "w") + field(4, "Exp"))
    found = from_bytes(tmp_path, model(array("b", packed), array("s", scales), call, more))
    (left,) = (entry for entry in found.skipped if entry.name == "b")
    assert "packed codes of MatMulNBits, in a layout that is not understood" in left.reason
    assert found.numel == 2


def test_codes_that_do_not_fit_the_operator_are_damaged(tmp_path):
    parts = [array("b", np.zeros((3, 2, 8), np.uint8)), array("s", np.ones((3, 2), np.float32))]
    call = node("MatMulNBits", ["x", "b", "s"], K=64, N=3, bits=4, block_size=16)
    with pytest.raises(InputError, match="not what its operator's attributes tell"):
        from_bytes(tmp_path, model(*parts, call))
