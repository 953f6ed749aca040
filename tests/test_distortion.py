"""The column ``nmse``: of every quantizer, by every way from weights to symbols."""

import dataclasses
import math

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.engine import cutting, feeding
from kolmo.quantize import Distortion, distortion, get_quantizer
from kolmo.quantize.base import ElementwiseCoder, Quantizer
from kolmo.symbols import Alphabet
from kolmo.testing import registered

QUANTIZERS = [
    *("symmetric:8", "symmetric:3", "affine:4", "affine:8,clip=99", "codebook:16"),
    *("symmetric:16", "symmetric:8,axis=row", "symmetric:4,group=50", "nmse:0.01"),
]
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8]


def weights(dtype=np.float32, shape=(150, 200), seed=0):
    return (20 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def oracle(quantizer, *arrays):
    """Σ(w − ŵ)² / Σw² of arrays, each under its own parameters."""
    error = power = 0.0
    for array in arrays:
        coder, wide = get_quantizer(quantizer).fit(array_tensor("w", array)), array.astype(float)
        error += ((coder.decode(coder.encode(array)) - wide) ** 2).sum()
        power += (wide**2).sum()
    return error / power


def table(source, quantizers, estimators=("kt",), **options):
    report = kolmo.analyze(source, quantizers=quantizers, estimators=[*estimators], **options)
    return report.table


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_quantizer_has_the_error_of_its_symbols(dtype):
    source = {"w": weights(dtype), "tiny": weights(dtype, (3, 5))}
    found = table(source, QUANTIZERS, ("kt", "zstd:1", "planes"))
    for row in found[found.scope == "tensor"].itertuples():
        assert row.nmse == pytest.approx(oracle(row.quantizer, source[row.tensor]), rel=1e-9)
    for row in found[found.scope == "model"].itertuples():
        assert row.nmse == pytest.approx(oracle(row.quantizer, *source.values()), rel=1e-9)
    assert found.groupby(["scope", "tensor", "quantizer"], dropna=False).nmse.nunique().max() == 1


def test_a_model_of_several_dtypes_adds_them_up():
    source = {
        str(dtype): weights(dtype, seed=n) for n, dtype in enumerate((np.float32, np.float16))
    }
    (row,) = table(source, ["symmetric:4"], scope="model").itertuples()
    assert row.nmse == pytest.approx(oracle("symmetric:4", *source.values()), rel=1e-9)


def test_native_loses_nothing_and_signs_tell_no_magnitude():
    odd = np.float32([[np.nan, np.inf], [-0.0, 1]])
    assert table({"w": odd}, ["native"]).nmse.tolist() == [0, 0]
    assert table({"w": weights()}, ["sign"], ("kt", "bdm")).nmse.isna().all()
    assert table({"w": np.zeros((4, 4), np.float32)}, ["symmetric:8"]).nmse.tolist() == [0, 0]


def test_stripes_add_up(monkeypatch):
    source = {"w": weights(shape=(700, 300)), "v": weights(shape=(40,), seed=1)}
    whole = table(source, QUANTIZERS)
    monkeypatch.setattr(feeding, "HELD", 1 << 16)
    monkeypatch.setattr(cutting, "STRIPE", 1 << 14)
    for threads in (1, 2):
        striped = table(source, QUANTIZERS, threads=threads)
        assert striped.nmse.tolist() == whole.nmse.tolist()
        assert striped.bits.tolist() == whole.bits.tolist()


def test_figures_that_are_kept_have_it(tmp_path):
    source = {"w": weights(), "v": weights(shape=(40,))}
    runs = [table(source, QUANTIZERS, store=tmp_path / "s.sqlite") for _ in range(2)]
    assert runs[0].nmse.tolist() == runs[1].nmse.tolist()
    assert runs[1].nmse.notna().all()


def test_draws_without_weights_have_none_and_rows_keep_theirs():
    source = {"w": weights()}
    found = table(source, ["symmetric:8"], ("zstd:1",), nulls=["uniform", "shuffled"], draws=2)
    assert found.nmse.tolist() == [pytest.approx(oracle("symmetric:8", *source.values()))] * 4


@dataclasses.dataclass(frozen=True)
class Tens(Quantizer):
    """Multiples of ten, as a plugin may have them."""

    name = "tens"
    summary = "multiples of ten"

    def alphabet(self, dtype):
        return Alphabet(201)

    def fit(self, tensor):
        return TensCoder(self.alphabet(tensor.dtype))

    def _restore(self, dtype, parameters):
        return TensCoder(self.alphabet(dtype))


class TensCoder(ElementwiseCoder):
    def encode_plainly(self, weights):
        return np.clip(np.rint(weights.astype(float) / 10) + 100, 0, 200).astype(np.uint8)

    def decode(self, symbols):
        return 10.0 * (symbols.astype(float) - 100)


class PlainTensCoder(TensCoder):
    elementwise = False


@pytest.mark.parametrize("coder", [TensCoder, PlainTensCoder])
@pytest.mark.parametrize("dtype", DTYPES)
def test_quantizers_of_others_have_it_by_their_decoder(coder, dtype, monkeypatch):
    monkeypatch.setattr(Tens, "fit", lambda self, tensor: coder(self.alphabet(tensor.dtype)))
    array = weights(dtype)
    with registered(Tens):
        expected = oracle(Tens(), array)
        found = table({"w": array}, [Tens()], ("kt", "zstd:1"))
        assert found.nmse.tolist() == [pytest.approx(expected, rel=1e-9)] * 4


def test_parts_of_a_tensor_add_up_to_the_whole():
    array = weights(shape=(300, 333))
    for spec in QUANTIZERS:
        coder = get_quantizer(spec).fit(array_tensor("w", array))
        flat, symbols, found = array.reshape(-1), coder.encode(array).reshape(-1), Distortion()
        for start in range(0, array.size, 20_011):
            part = slice(start, start + 20_011)
            found += distortion(coder, flat[part], symbols[part], start)
        whole = distortion(coder, array, symbols, 0)
        assert math.isclose(found.error, whole.error, rel_tol=1e-12)
        assert math.isclose(found.power, whole.power, rel_tol=1e-12)
