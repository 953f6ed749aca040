"""Registries: a name is taken once, what is declared is imported late, plugins are found."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from kolmo import registry
from kolmo.errors import InputError
from kolmo.nulls import NULLS, Shuffled, get_null
from kolmo.registry import Registry

ROOT = Path(__file__).parent.parent


class Red:
    name = "red"


@pytest.fixture
def colours():
    return Registry("colour")


def named(name):
    return type(name.title(), (), {"name": name})


def test_a_name_is_taken_once(colours):
    assert colours.register(Red) is Red
    other = type("Other", (), {"name": "red"})
    with pytest.raises(InputError, match=rf"a colour named 'red' exists already, in {__name__}"):
        colours.register(other)
    with pytest.raises(InputError, match=rf"in {__name__}"):
        colours.declare("elsewhere", "red")
    assert colours.get("red") is Red


def test_the_same_class_may_come_again(colours):
    """As when its module is loaded anew."""
    colours.register(Red)
    again = type("Red", (), {"name": "red", "__module__": __name__, "__qualname__": "Red"})
    assert colours.register(again) is again is colours.get("red")


def test_what_is_declared_is_taken_before_it_is_imported(colours):
    colours.declare("no.such.module", "red")
    with pytest.raises(InputError, match=r"exists already, in no\.such\.module"):
        colours.register(Red)
    assert colours.names() == ["red"]
    with pytest.raises(ModuleNotFoundError):
        colours.get("red")


def test_an_unknown_name_brings_the_close_ones(colours):
    colours.register(Red)
    with pytest.raises(InputError, match="unknown colour 'rad'; did you mean red"):
        colours.get("rad")


def test_what_is_lent_is_forgotten(colours):
    colours.register(Red)
    with colours.lent(named("blue")):
        assert colours.names() == ["blue", "red"]
    assert colours.names() == ["red"]
    with colours.lent(Red):
        pass
    assert colours.get("red") is Red


def test_two_plugins_of_one_name_are_refused(monkeypatch):
    points = [EntryPoint("red", f"package{n}:Red", "colours") for n in range(2)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.raises(InputError, match=r"two colours are named 'red' \(one is in package1:Red\)"):
        Registry("colour", "colours").names()


def test_a_plugin_has_the_name_of_its_entry_point(monkeypatch):
    points = [EntryPoint("pink", f"{__name__}:Red", "colours")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.raises(InputError, match="is named 'red', and its entry point 'pink'"):
        Registry("colour", "colours").get("pink")


def test_a_null_keeps_its_name():
    impostor = type("Impostor", (Shuffled,), {})
    with pytest.raises(InputError, match=r"'shuffled' exists already, in kolmo\.nulls"):
        NULLS.register(impostor)
    assert type(get_null("shuffled")) is Shuffled


PLUGINS = """
import dataclasses
from kolmo.nulls import Shuffled
from kolmo.quantize import Sign

@dataclasses.dataclass(frozen=True)
class Mine(Sign):
    name = "mine"

@dataclasses.dataclass(frozen=True)
class Again(Shuffled):
    times: int = 1
    name = "again"
    value_field = "times"
"""
ENTRIES = """
[kolmo.quantizers]
mine = plugin:Mine
[kolmo.nulls]
again = plugin:Again
"""


def test_quantizers_and_nulls_of_other_packages_are_found(tmp_path):
    information = tmp_path / "plugin-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "plugin.py").write_text(PLUGINS)
    program = (
        "import kolmo, numpy as np\n"
        "found = kolmo.analyze({'w': np.ones(99, np.float32)}, quantizers=['mine'],\n"
        "    estimators=['kt'], nulls=['again:3'], draws=1, scope='tensor').table.iloc[0]\n"
        "print(found.quantizer, found['null'], found.bits)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.stdout == "mine again:3 6.0\n", done.stderr
