"""Pickles by what they hold: models of gensim, ensembles of trees, state dicts and other arrays."""

from __future__ import annotations

import re
from typing import Any

from kolmo.checkpoints.base import Checkpoint
from kolmo.checkpoints.containers import make_checkpoint
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.gensim import is_gensim, open_model
from kolmo.checkpoints.inert import Record
from kolmo.checkpoints.pickled import read_pickled
from kolmo.errors import InputError

# Classes whose learned numbers are thresholds and leaves of trees.
_TREES = re.compile(
    r"(sklearn|xgboost|lightgbm|catboost)\..*"
    r"(Forest|Trees?(Classifier|Regressor)|Boost|Booster|LGBM|XGB)\w*"
)


def open_pickled(file: File) -> Checkpoint | None:
    """The weights of a pickle, a joblib file or an old torch file; None for other files.

    Raises
    ------
    InputError
        If it is damaged, or holds no weights.
    """
    read = read_pickled(file.stored)
    if read is None:
        return None
    contents, what = read
    if is_gensim(contents):
        return open_model(file, contents)
    if is_trees(contents):
        raise InputError(
            f"{file.where}: {what} of decision trees ({contents.name[:200]}), which have no "
            f"weights of a network; give a neural network"
        )
    form = "torch" if "torch" in what else "joblib" if "joblib" in what else "pickle"
    return make_checkpoint(contents, source=file.where, format=form, what=what, files=file.files)


def is_trees(contents: Any) -> bool:
    """Whether a pickle holds a model of decision trees."""
    return isinstance(contents, Record) and bool(_TREES.fullmatch(contents.name))
