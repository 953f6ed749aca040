"""Damaged files of every format are read or refused (`tests.corpus.fuzzing` tries more)."""

import pytest

from tests.corpus.fuzzing import run
from tests.corpus.seeds import FORMATS

COSTLY = {
    "OpenVINO", "HDF5", "numpy", "Keras", "DeepSpeed, slices", "Paddle", "ggml", "diffusers",
    "NeMo, archives", "Orbax", "TensorFlow", "ONNX", "thinc, spaCy", "pickle, joblib", "CoreML",
    "TorchScript, torch.export", "GGUF", "llamafile", "shards",
}  # fmt: skip
"""Formats of which an input takes 5 ms or more: fewer are tried here, as many of the slow ones."""

ALARM = 60  # seconds of the processor's time; far more than any input takes


def check(name, first, count):
    found = run(name, first, count, seconds=ALARM)
    assert not found.faults, "\n".join(f"seed {seed}: {t}" for seed, t in found.faults.items())
    assert found.refused + found.read == count
    assert min(found.refused, found.read) > 0


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_checkpoints_are_read_or_refused(name):
    check(name, 0, 300 if name in COSTLY else 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_damaged_checkpoints_are_read_or_refused(name):
    check(name, 1000, 9000)
