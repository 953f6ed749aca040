"""Models of other sorts, which are not read: what each is.

They are known by their first bytes (the sources are the formats' own writers), and each has the
advice that helps: most were made from a model whose own file opens.
"""

from __future__ import annotations

import dataclasses
import re

_NUMPY = "load it with its own library, and save its arrays by numpy.savez"
_SOURCE = "open the model that it was exported from"
_TREES = "it has no weights of a network; give a neural network"


@dataclasses.dataclass(frozen=True)
class Stranger:
    """A kind of file that is named and not read.

    Attributes
    ----------
    start : bytes
        The regular expression that the first bytes match.
    what, advice : str
        What it is, and what to do.
    ending : str
        How its name must end too, where the bytes alone are too few to tell.
    """

    start: bytes
    what: str
    advice: str
    ending: str = ""


STRANGERS = (
    # trees
    Stranger(rb'\s*\{\s*"(learner|version)"\s*:.*?[{,]\s*"(learner|attributes|feature_names|'
             rb'gradient_booster)"', "an XGBoost model (boosted trees)", _TREES),
    Stranger(rb"\{[iUIlL].{1,8}(learner|version)[{\[]", "an XGBoost model (boosted trees)", _TREES),
    Stranger(rb"binf", "an XGBoost model (boosted trees)", _TREES),
    Stranger(rb"tree\r?\nversion=", "a LightGBM model (boosted trees)", _TREES),
    Stranger(rb"CBM1", "a CatBoost model (boosted trees)", _TREES),
    Stranger(
        rb'\s*\{\s*"(features_info|oblivious_trees)"', "a CatBoost model (boosted trees)", _TREES
    ),
    Stranger(rb"\s*<(\?xml[^>]*>\s*<)?PMML", "a PMML file, mostly of trees or rules", _NUMPY),
    Stranger(rb"svm_type ", "a LIBSVM model (support vectors)", _NUMPY),
    # compiled for one device or run time
    Stranger(rb"RKNN", "an RKNN model, compiled for Rockchip's chips", _SOURCE),
    Stranger(rb"", "an ncnn or another raw binary of weights, which its .param describes", _SOURCE,
             ".ncnn.bin"),
    Stranger(rb"", "an MNN model", _SOURCE, ".mnn"),
    Stranger(rb"", "a Hailo or Edge TPU program", _SOURCE, ".hef"),
    # other languages and older frameworks
    Stranger(rb"B\x00C\x00N\x00", "a CNTK model", "export it to ONNX"),
    Stranger(rb"", "a Torch7 file (of Lua)", "read it by the package torchfile, and save its "
             "arrays by numpy.savez", ".t7"),
    Stranger(rb"RD[XA][23]\n|X\n\x00\x00\x00[\x02\x03]", "a file of R (.rds, .RData)",
             "save its arrays in R by reticulate and numpy.savez"),
    Stranger(rb"HDF5-based Julia Data Format", "a JLD2 file of Julia",
             "save its arrays in Julia by NPZ.npzwrite"),
    Stranger(rb"", "a BSON file of Julia", "save its arrays in Julia by NPZ.npzwrite", ".bson"),
    Stranger(rb"\x00B<Nnet|<Nnet", "a Kaldi model", "convert it to ONNX"),
    # what lies beside weights
    Stranger(rb'\s*\{\s*"(class_name|module)"\s*:', "the architecture of a Keras model, without "
             "weights", "name the .weights.h5 or .keras file"),
)  # fmt: skip
"""What is named and not read, in the order in which it is tried."""


def stranger(head: bytes, name: str) -> Stranger | None:
    """What a file of these first bytes and this name is; None if it is not known.

    >>> stranger(b"CBM1", "model.cbm").what
    'a CatBoost model (boosted trees)'
    """
    for kind in STRANGERS:
        if name.lower().endswith(kind.ending) and re.match(kind.start, head, re.DOTALL):
            return kind
    return None
