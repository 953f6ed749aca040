"""OpenVINO: weights as its plugin computes them, roles, and graphs that are damaged or hostile."""

import re
import shutil
from pathlib import Path

import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.errors import InputError
from tests.written import arrays_of, equal_values, with_left_out

DATA = Path(__file__).parent / "data" / "openvino"
MODELS = sorted(path.name for path in DATA.glob("*.xml"))


def truth(name):
    return arrays_of(DATA / "truth.npz", f"{name}/")


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_openvino(name):
    assert equal_values(with_left_out(DATA / name), truth(name))


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_those_of_the_whole(name):
    for tensor in with_left_out(DATA / name).values():
        parts = [tensor.load(i, min(i + 5, tensor.numel)) for i in range(0, tensor.numel, 5)]
        assert b"".join(part.tobytes() for part in parts) == tensor.read().tobytes()


def test_the_graph_tells_what_constants_are():
    roles = {key: str(tensor.role) for key, tensor in with_left_out(DATA / "network.xml").items()}
    branches = [key for key in roles if key.endswith("branch.weight")]
    assert len(branches) == 2
    assert {key for key, role in roles.items() if role == "weight"} == {
        "conv.weight", "conv.bias", "gamma", "beta", "fc.weight", "half.weight", *branches
    }  # fmt: skip
    assert roles["mean"] == roles["var"] == "buffer"
    assert roles["shape"] == roles["scalar"] == "other"


def test_a_folder_of_a_graph_and_its_tokenizer_is_the_model(tmp_path):
    for suffix in (".xml", ".bin"):
        shutil.copy(DATA / f"network{suffix}", tmp_path / f"openvino_model{suffix}")
        shutil.copy(DATA / f"dtypes{suffix}", tmp_path / f"openvino_tokenizer{suffix}")
    found = kolmo.open_checkpoint(tmp_path)
    assert found.format == "openvino"
    assert "fc.weight" in found


def test_codes_have_their_width_and_side_bits():
    found = with_left_out(DATA / "compressed.xml")
    forms = {key: t.form for key, t in found.items() if t.role is Role.WEIGHT}
    assert forms == {
        "u8_channels": "8-bit OpenVINO", "i8_channels": "8-bit OpenVINO",
        "u4_groups": "4-bit OpenVINO", "u4_one_zero": "4-bit OpenVINO",
        "i4_groups": "4-bit OpenVINO", "u4_half": "4-bit OpenVINO", "u8_tensor": "8-bit OpenVINO",
        "nf4": "4-bit NF4", "f8e4m3": "8-bit OpenVINO",
    }  # fmt: skip
    assert found["u4_groups"].codes.side_bits == 8 * (32 + 4)
    assert found["f8e4m3"].codes.alphabet == kolmo.Alphabet(256, "float8_e4m3fn")
    for key in forms:
        codes = found[key].codes
        symbols = codes.load(0, found[key].numel)
        assert (symbols.dtype, len(symbols)) == (codes.alphabet.container, found[key].numel)
        assert int(symbols.max()) < codes.alphabet.size


def test_the_graph_alone_names_the_file_of_its_weights(tmp_path):
    shutil.copy(DATA / "network.xml", tmp_path)
    with pytest.raises(InputError, match=r"weights are in 'network\.bin', which is not beside it"):
        kolmo.open_checkpoint(tmp_path / "network.xml")


def test_weights_that_are_cut_are_said_to_be_incomplete(tmp_path):
    shutil.copy(DATA / "network.xml", tmp_path)
    data = (DATA / "network.bin").read_bytes()
    (tmp_path / "network.bin").write_bytes(data[:-8])
    with pytest.raises(InputError, match="is incomplete, or another model's"):
        kolmo.open_checkpoint(tmp_path / "network.xml")


HOSTILE = {
    "document type": '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "b">]><net>&a;</net>',
    "levels": "<net>" + "<a>" * 300,
    "malformed": "<net><layers><layer></net>",
    "encoding": '<?xml version="1.0" encoding="nonsense"?><net></net>',
    "entity": "<net>&undefined;</net>",
    "no constants": "<net><layers></layers></net>",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_graphs_are_refused(tmp_path, what):
    (tmp_path / "m.xml").write_text(HOSTILE[what])
    (tmp_path / "m.bin").write_bytes(b"1234")
    with pytest.raises(InputError):
        kolmo.open_checkpoint(tmp_path / "m.xml")


def test_a_hundred_gigabytes_of_weights_stay_unread(tmp_path):
    text, shape = (DATA / "network.xml").read_text(), (2**20, 25600)
    size = 4 * shape[0] * shape[1]
    old = re.search(r'shape="4, 180" offset="\d+" size="2880"', text)
    new = f'shape="{shape[0]}, {shape[1]}" offset="4096" size="{size}"'
    (tmp_path / "network.xml").write_text(text.replace(old.group(), new))
    shutil.copy(DATA / "network.bin", tmp_path)
    with open(tmp_path / "network.bin", "r+b") as file:
        file.truncate(4096 + size)
    tensor = kolmo.open_checkpoint(tmp_path / "network.xml")["fc.weight"]
    assert tensor.shape == shape
    assert tensor.load(tensor.numel - 2, tensor.numel).tolist() == [0, 0]
