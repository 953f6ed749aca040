"""Files of kolmo and momos open as checkpoints do: .kmo by its codes, .mosaic by an entry point."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer
from tests.house import ROOT
from tests.test_cli import refused, run
from tests.written import same_in_pieces

RANDOM = np.random.default_rng(0)
MOSAIC = ROOT / "data" / "momos.mosaic"


def weights():
    """Tensors of several dtypes and shapes, two of them equal, one without entries."""
    large = RANDOM.normal(size=(70, 33)).astype(np.float32)
    return {
        "a.weight": large,
        "a.bias": RANDOM.normal(size=33).astype(np.float32),
        "half": RANDOM.normal(size=(5, 4, 3)).astype(np.float16),
        "brain": RANDOM.normal(size=(9, 8)).astype(ml_dtypes.bfloat16),
        "tied": large.copy(),
        "norm.running_mean": np.zeros(7, np.float32),
        "scalar": np.float32(3.5),
        "steps": np.arange(5),
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "model.npz"
    np.savez(path, **{k: v for k, v in weights().items() if k != "brain"})
    return path


def packed(source, folder, **options):
    kolmo.pack(source, folder / "m.kmo", preset="fast", **options)
    return folder / "m.kmo"


def arrays(path, roles=(Role.BUFFER, Role.COPY, Role.OTHER)):
    """All arrays of a source, by name."""
    return {name: tensor.read() for name, tensor in kolmo.open_checkpoint(path, roles).items()}


def test_a_container_opens_as_what_was_packed(source, tmp_path):
    path = packed(source, tmp_path)
    before, after = kolmo.open_checkpoint(source), kolmo.open_checkpoint(path)
    assert set(after) == set(before)
    roles = lambda checkpoint: {s.name: s.role for s in checkpoint.skipped}  # noqa: E731
    assert roles(after) == roles(before)
    expected, found = arrays(source), arrays(path)
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes(), name
    assert same_in_pieces(after)
    assert after.format == "kmo"
    assert after.files == (str(path),)


def test_a_container_measures_as_its_source_does(source, tmp_path):
    options = {"quantizers": ["native", "symmetric:4"], "estimators": ["kt"], "name": "m"}
    path = packed(source, tmp_path)
    expected = kolmo.analyze(source, **options).table
    found = kolmo.analyze(path, **options).table
    key = ["scope", "tensor", "quantizer"]
    same = expected.merge(found, on=key, how="outer", suffixes=("", "_kmo"))
    assert len(same) == len(expected)
    assert (same.bits == same.bits_kmo).all()


@pytest.mark.parametrize(
    "spec", ["symmetric:4", "affine:8", "codebook:16", "sign", "nmse:0.01", "symmetric:4,axis=row"]
)
def test_a_quantized_container_has_symbols_as_codes(source, tmp_path, spec):
    path = packed(source, tmp_path, quantizer=spec)
    before, quantizer = kolmo.open_checkpoint(source), get_quantizer(spec)
    for name, tensor in kolmo.open_checkpoint(path).items():
        coder = quantizer.fit(before[name])
        symbols = coder.encode(before[name].read())
        assert tensor.codes.scheme == str(quantizer)
        assert tensor.codes.alphabet == coder.alphabet
        assert tensor.codes.side_bits == coder.side_bits(before[name].dtype)
        assert np.array_equal(tensor.codes.load(0, tensor.numel), symbols.reshape(-1))
        values = coder.decode(symbols).astype(tensor.dtype)
        assert np.array_equal(tensor.read(), values)
    options = {"quantizers": ["native"], "estimators": ["kt"], "scope": "tensor"}
    native = kolmo.analyze(path, **options).table.set_index("tensor")
    wanted = {**options, "quantizers": [spec]}
    expected = kolmo.analyze(source, **wanted).table.set_index("tensor")
    assert (native.bits == expected.bits[native.index]).all()


def test_a_large_tensor_is_decoded_in_parts_that_are_asked_for(tmp_path):
    large = RANDOM.integers(-3, 4, size=(1 << 12, 1 << 10)).astype(np.float32)
    np.savez(tmp_path / "large.npz", large=large, small=large[:2, :3])
    path = packed(tmp_path / "large.npz", tmp_path)
    tensor = kolmo.open_checkpoint(path)["large"]
    for start in (0, 1_000_003, large.size - 5):
        assert np.array_equal(tensor.load(start, start + 5), large.reshape(-1)[start : start + 5])
    whole = np.concatenate(list(tensor.chunks(1 << 19)))
    assert np.array_equal(whole, large.reshape(-1))


def test_a_container_travels_to_another_process(source, tmp_path):
    checkpoint = kolmo.open_checkpoint(packed(source, tmp_path, quantizer="symmetric:4"))
    again = pickle.loads(pickle.dumps(checkpoint["a.weight"]))
    assert np.array_equal(again.read(), checkpoint["a.weight"].read())
    assert np.array_equal(again.codes.load(3, 9), checkpoint["a.weight"].codes.load(3, 9))


def test_a_container_in_an_archive_opens(source, tmp_path):
    packed(source, tmp_path)
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path, "m.kmo")
    assert arrays(archive).keys() == arrays(source).keys()


def test_damage_to_a_container_is_one_line(source, tmp_path):
    path = packed(source, tmp_path)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    refused(run("analyze", path, "-e", "kt", "-q", "native"), "a checksum is wrong")
    path.write_bytes(data[:-9])
    refused(run("inspect", path), "damaged or cut off")
    path.write_bytes(b"kmo\x07" + bytes(60))
    refused(run("inspect", path), "a container of another version")


def test_a_mosaic_opens_as_its_expansion(tmp_path):
    expanded = ROOT / "data" / "momos.safetensors"
    expected, found = arrays(expanded), arrays(MOSAIC)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    assert same_in_pieces(kolmo.open_checkpoint(MOSAIC))
    path = tmp_path / "bad.mosaic"
    path.write_bytes(MOSAIC.read_bytes()[:-5])
    with pytest.raises(InputError, match="its checksum is wrong"):
        kolmo.open_checkpoint(path)


def test_mosaics_and_containers_are_compared_with_others(tmp_path):
    trained = ROOT / "data" / "trained.safetensors"
    path = packed(trained, tmp_path)
    result = run("compare", f"a={trained}", f"b={MOSAIC}", path, "-q", "sign", "-e", "kt")
    assert result.returncode == 0
    assert "m: 17,290 weights in 10 tensors" in result.stdout
    assert "51,870 of 51,870 weights measured" in result.stdout
    assert run("pack", MOSAIC, "-o", tmp_path / "again.kmo", "--preset", "fast").returncode == 0


def test_a_mosaic_needs_no_torch_and_kolmo_no_momos():
    code = f"import kolmo, sys; kolmo.open_checkpoint({str(MOSAIC)!r})['layers.0.weight'].read();"
    told = f"{code} print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    bare = (
        "import importlib.metadata as m; m.entry_points = lambda **k: ();"  # as without momos
        f"import kolmo; kolmo.open_checkpoint({str(MOSAIC)!r})"
    )
    done = subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True, check=False)
    assert "momos expand FILE.mosaic -o" in done.stderr


def test_the_entry_point_of_mosaics_is_known():
    """It is in the metadata that installing writes: `pip install -e .` after it was added."""
    from importlib.metadata import entry_points

    assert "mosaic" in entry_points(group="kolmo.checkpoints").names
    assert Path(os.path.abspath(MOSAIC)).exists()
