"""Quantizers: weights → symbols, integers in [0, alphabet).

::

    Quantizer ── fit(tensor) ──► SymbolCoder ── encode(weights) ──► symbols ── decode ──► weights

A quantizer is a configuration; fitting it to a tensor sets the parameters that depend on the tensor
(a scale, a range, a codebook). All arithmetic is float64 and rounding is half to even, so that the
same weights give the same symbols everywhere.
"""

from kolmo.quantize.base import (
    Quantizer,
    SymbolCoder,
    get_quantizer,
    quantizer_class,
    quantizer_names,
    side_bits,
)
from kolmo.quantize.codebook import Codebook
from kolmo.quantize.distortion import UNKNOWN, Distortion, distortion
from kolmo.quantize.native import Native, Sign
from kolmo.quantize.nmse import Nmse
from kolmo.quantize.uniform import Affine, Symmetric

__all__ = [
    "UNKNOWN",
    "Affine",
    "Codebook",
    "Distortion",
    "Native",
    "Nmse",
    "Quantizer",
    "Sign",
    "SymbolCoder",
    "Symmetric",
    "distortion",
    "get_quantizer",
    "quantizer_class",
    "quantizer_names",
    "side_bits",
]
