"""Arrays of libraries that kolmo does not know, by the protocols that they have."""

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError

VALUES = np.random.default_rng(0).normal(size=(4, 3))


class Protocol:
    """An array of another library, without numpy's methods."""

    def __init__(self, values):
        self.shape, self.dtype = values.shape, values.dtype
        self._values = values


class ByArray(Protocol):
    def __array__(self, dtype=None, copy=None):
        return self._values


class ByExchange(Protocol):
    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


class OnNoDevice(Protocol):
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the array was deleted")


@pytest.mark.parametrize("kind", [ByArray, ByExchange])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_nest_of_arrays(kind, dtype):
    values = VALUES.astype(dtype)
    found = kolmo.open_checkpoint({"layers": [{"w": kind(values)}, {"w": kind(values * 2)}]})
    assert {t.name: t.dtype.name for t in found.values()} == {
        "layers.0.w": dtype,
        "layers.1.w": dtype,
    }
    assert np.array_equal(found["layers.1.w"].read(), values * 2)
    assert np.array_equal(found["layers.0.w"].load(2, 9), values.reshape(-1)[2:9])


def test_a_bfloat16_array():
    values = VALUES.astype(ml_dtypes.bfloat16)
    found = kolmo.open_checkpoint({"w": ByArray(values)})
    assert found["w"].dtype == values.dtype
    assert np.array_equal(found["w"].read(), values)


@pytest.mark.parametrize("kind", [ByArray, ByExchange])
def test_one_array_alone(kind):
    found = kolmo.open_checkpoint(kind(VALUES))
    assert np.array_equal(found["array"].read(), VALUES)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_arrays(kind):
    found = kolmo.open_checkpoint(kind([VALUES, VALUES * 2]))
    assert {t.name: t.shape for t in found.values()} == {"0": (4, 3), "1": (4, 3)}


def test_an_array_that_cannot_be_read_is_named():
    found = kolmo.checkpoints.opening.open_source({"w": OnNoDevice(VALUES)})
    with pytest.raises(InputError, match="array 'w' of tests cannot be turned into numpy's"):
        found["w"].read()


def test_a_list_without_arrays():
    with pytest.raises(InputError, match="no tensor in it"):
        kolmo.open_checkpoint([1, "a"])
