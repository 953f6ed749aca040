"""Small models: the whole file beside what general compressors make of the symbols alone."""

from __future__ import annotations

import bz2
import gzip
import lzma

import brotli
import ml_dtypes
import numpy as np
import pytest
import zstandard

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.layout import lay_out
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet

UNIFORM = ("random", "symmetric:8")
FORMS = [
    (name, form)
    for name in ("random", "trained", "momos")
    for form in ("native", "bfloat16", "symmetric:8", "symmetric:4")
    if (name, form) != UNIFORM  # which leaves no room for scales
]


def smallest(symbols):
    """Bytes of the best of five compressors, on raw or shuffled bytes."""
    layouts = ("bytes", "shuffle")[: symbols.dtype.itemsize]
    found = []
    for layout in layouts:
        data = lay_out(symbols, Alphabet.of_dtype(symbols.dtype), layout)
        found += [
            len(gzip.compress(data, 9)),
            len(bz2.compress(data, 9)),
            len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
            len(zstandard.ZstdCompressor(level=22).compress(data)),
            len(brotli.compress(data, quality=11, lgwin=24)),
        ]
    return min(found)


def packed_and_rival(folder, name, form):
    """The certificate of a demo checkpoint in some form, and the bytes of the best rival."""
    tensors = {n: t.read() for n, t in kolmo.open_checkpoint(f"data/{name}.safetensors").items()}
    if form == "bfloat16":
        tensors = {n: array.astype(ml_dtypes.bfloat16) for n, array in tensors.items()}
    spec = "native" if form == "bfloat16" else form
    fitted = [get_quantizer(spec).fit(array_tensor(n, a)).encode(a) for n, a in tensors.items()]
    certificate = kolmo.pack(tensors, folder / "x.kmo", quantizer=spec, threads=1)
    return certificate, smallest(np.concatenate([symbols.reshape(-1) for symbols in fitted]))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_compressor_is_shorter(tmp_path, name, form):
    certificate, rival = packed_and_rival(tmp_path, name, form)
    assert certificate.bits <= 8 * 1.001 * rival


def test_where_nothing_can_be_learned_the_scales_and_names_remain(tmp_path):
    """Fresh weights are uniform: 255 symbols of log2 255 bits, and ten scales of some 23."""
    certificate, rival = packed_and_rival(tmp_path, *UNIFORM)
    (unit,) = certificate.units
    assert unit.bits < 8 * rival
    assert unit.bits < unit.numel * np.log2(255) + 80
    assert certificate.bits - unit.bits < 8 * 100
