"""Specs print back as they parse, and say what does not fit."""

import dataclasses
import subprocess
import sys

import pytest

from kolmo import specs
from kolmo.errors import InputError
from kolmo.estimators import Estimator, estimator_names, get_estimator, register
from kolmo.quantize import Quantizer, Sign, get_quantizer, quantizer_class, quantizer_names
from kolmo.quantize.base import register as register_quantizer


@pytest.mark.parametrize(
    "spec",
    ["gzip:9", "zstd:19", "brotli:11@packed", "xz:6,sample=262144@shuffle", "bdm", "kt", "mosaic"],
)
def test_estimator_specs_print_back(spec: str) -> None:
    made = get_estimator(spec)
    assert str(made) == spec
    assert get_estimator(str(made)) == made


@pytest.mark.parametrize(
    "spec", ["native", "sign", "symmetric:8", "affine:8", "affine:4,clip=99.9", "codebook:16"]
)
def test_quantizer_specs_print_back(spec: str) -> None:
    made = get_quantizer(spec)
    assert str(made) == spec
    assert get_quantizer(str(made)) == made


@pytest.mark.parametrize("name", estimator_names())
def test_every_estimator_parses_from_its_name(name: str) -> None:
    made = get_estimator(name)
    assert get_estimator(str(made)) == made
    assert made.kind in ("bound", "estimate")
    assert made.summary
    assert hash(made) == hash(get_estimator(name))


def test_an_object_is_its_own_spec() -> None:
    made = get_estimator("gzip:3")
    assert get_estimator(made) is made


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gzp:9", "did you mean gzip"),
        ("zstandard", "did you mean zstd"),
        ("gzip:ten", "level must be of type int, not 'ten'"),
        ("gzip:11", "the level is 0 to 9, not 11"),
        ("gzip:9,speed=3", "no option 'speed'"),
        ("gzip:9,level", "not one key=value"),
        ("gzip:", "not of the form"),
        ("gzip@", "not of the form"),
        ("gzip@planes", "unknown layout 'planes'; did you mean bitplanes"),
        ("gzip,sample=10", "at least 8 windows"),
        ("kt:3", "takes no value"),
        ("", "not of the form"),
    ],
)
def test_wrong_estimators_are_explained(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_estimator(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("symetric:8", "did you mean symmetric"),
        ("symmetric", "needs bits"),
        ("symmetric:1", "2 to 16"),
        ("affine:17", "1 to 16"),
        ("affine:8,clip=0", "percentage"),
        ("codebook:0", "1 to 65536"),
        ("native:8", "takes no value"),
    ],
)
def test_wrong_quantizers_are_explained(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_quantizer(spec)


def test_quantizer_names() -> None:
    assert quantizer_names() == ["affine", "codebook", "native", "nmse", "sign", "symmetric"]


def test_a_name_is_taken_once() -> None:
    with pytest.raises(InputError, match="exists already"):

        @register
        @dataclasses.dataclass(frozen=True)
        class Impostor(Estimator):
            name = "gzip"
            kind = "bound"

    assert get_estimator("gzip").summary.startswith("DEFLATE")


def test_a_builtin_name_is_taken_before_its_module_is_imported() -> None:
    program = """
import dataclasses
import subprocess
import sys
from kolmo.estimators import Estimator, register
@register
@dataclasses.dataclass(frozen=True)
class Impostor(Estimator):
    name, kind = "lz78", "bound"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "an estimator named 'lz78' exists already, in kolmo.estimators.lz78" in done.stderr


def test_a_quantizer_keeps_its_name() -> None:
    class Impostor(Quantizer):
        name = "sign"

    with pytest.raises(InputError, match=r"'sign' exists already, in kolmo\.quantize\.native"):
        register_quantizer(Impostor)
    assert quantizer_class("sign") is Sign
    assert register_quantizer(Sign) is Sign


def test_booleans_and_defaults() -> None:
    @dataclasses.dataclass(frozen=True)
    class Toggle(specs.Spec):
        on: bool = False
        name = "toggle"

    assert str(Toggle()) == "toggle"
    assert str(Toggle(True)) == "toggle,on=true"
    assert specs.build(Toggle, "toggle,on=true", None, {"on": "true"}) == Toggle(True)
    with pytest.raises(InputError, match="bool"):
        specs.build(Toggle, "toggle,on=1", None, {"on": "1"})
