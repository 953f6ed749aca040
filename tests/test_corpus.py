"""A hundred small checkpoints of every format, written by the formats' own libraries.

``corpus/truth.json`` says of each what is true of it: how many weights the network has, what is
left out in which role, the values of its tensors as the official library decodes them, or the
words of the refusal. ``corpus/README.md`` says where the files come from.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import kolmo

CORPUS = Path(__file__).parent / "corpus"
TRUTH = json.loads((CORPUS / "truth.json").read_text())
OPENED = [name for name, case in TRUTH.items() if "refused" not in case]
REFUSED = [name for name, case in TRUTH.items() if "refused" in case]


def opened(name):
    return kolmo.open_checkpoint(CORPUS / "inputs" / TRUTH[name]["path"])


def digest(tensor, dtype):
    """Shape, dtype and hash of a tensor's values as this dtype; of codes, where it is whole."""
    values = tensor.read().astype(dtype, copy=False)
    if tensor.codes and values.dtype.kind == "i":
        values = tensor.codes.load(0, tensor.numel).view(dtype).reshape(tensor.shape)
    data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return [list(values.shape), dtype, hashlib.sha256(data.tobytes()).hexdigest()[:16]]


@pytest.mark.parametrize("name", OPENED)
def test_the_weights_of_the_network_are_measured_and_no_others(name):
    checkpoint, case = opened(name), TRUTH[name]
    left_out = {}
    for entry in checkpoint.skipped:
        left_out[str(entry.role)] = left_out.get(str(entry.role), 0) + entry.numel
    assert checkpoint.numel == case["weights"]
    assert {role: count for role, count in left_out.items() if count} == case["left_out"]
    assert list(checkpoint.networks) == case.get("networks", [])


@pytest.mark.parametrize("name", [name for name in OPENED if TRUTH[name].get("tensors")])
def test_values_are_those_of_the_official_library(name):
    checkpoint = opened(name).with_roles(list(kolmo.Role))
    for tensor, expected in TRUTH[name]["tensors"].items():
        assert digest(checkpoint[tensor], expected[1]) == expected, tensor


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_what_it_is_and_what_helps(name):
    with pytest.raises(kolmo.InputError) as caught:
        opened(name)
    message = str(caught.value)
    assert all(words in message for words in TRUTH[name]["refused"]), message
    assert message.isprintable()
