"""What holds for everything that is registered, plugins and those to come included."""

import pytest

from kolmo.codes.base import code_numbers
from kolmo.errors import MissingExtraError
from kolmo.estimators import estimator_names, get_estimator
from kolmo.quantize import get_quantizer, quantizer_names
from kolmo.testing import code_checks, estimator_checks, quantizer_checks

FAST = {
    "xz": "xz:1",
    "brotli": "brotli:5",
    "pack": "pack:fast",
}  # their strongest levels are slow to start
AGGREGATES = [
    *("bdm,aggregate=sum", "bdm,ndim=2,aggregate=sum", "block-entropy,ndim=2,aggregate=sum"),
    *("ctm,aggregate=sum", "qubd,aggregate=pooled", "qubd,ndim=1"),
]
ESTIMATORS = [*(FAST.get(name, name) for name in estimator_names()), *AGGREGATES]
QUANTIZERS = [
    *("native", "sign", "symmetric:2", "symmetric:8", "affine:1", "affine:8", "affine:8,clip=99"),
    *("codebook:1", "codebook:4", "codebook:16"),
    *("symmetric:4,axis=column", "symmetric:8,group=4", "nmse:0.001", "nmse:0.3,axis=tensor"),
]


def each(checks):
    """Parameters of a test: each check, under its name."""
    return pytest.mark.parametrize(
        "check", [check for _, check in checks], ids=[name for name, _ in checks]
    )


@each(estimator_checks())
@pytest.mark.parametrize("spec", ESTIMATORS)
def test_estimators(spec, check):
    try:
        check(spec)
    except MissingExtraError as error:
        pytest.skip(str(error))


@each(quantizer_checks())
@pytest.mark.parametrize("spec", QUANTIZERS)
def test_quantizers(spec, check):
    check(spec)


@each(code_checks())
@pytest.mark.parametrize("name", sorted(code_numbers()))
def test_codes(name, check):
    check(name)


def test_each_is_found_by_its_own_name():
    assert [get_estimator(name).name for name in estimator_names()] == estimator_names()
    assert {get_quantizer(spec).name for spec in QUANTIZERS} == set(quantizer_names())
