"""Settings as a TOML file and as single values: reading, overriding, writing them.

::

    epochs = 20            # a field of `TrainConfig`
    learning_rate = 1e-3

    [mosaic]
    kind = "learned"       # or "sampled": then fields of `LearnedMosaic` or `SampledMosaic`
    rate = 3.0
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kolmo import specs
from kolmo.errors import InputError
from kolmo.files import check_readable
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.config import TrainConfig

KINDS = {kind.kind: kind for kind in (SampledMosaic, LearnedMosaic)}
_WHOLE = 1 << 53  # whole numbers up to here are floats too
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def setting_types(config: type) -> dict[str, Any]:
    """Type of each setting of a class of configurations: one that may be left open is its type.

    >>> setting_types(SampledMosaic)["motifs"], setting_types(SampledMosaic)["exclude"]
    (<class 'int'>, tuple[str, ...])
    """
    hints = get_type_hints(config)
    return {field.name: _without_none(hints[field.name]) for field in dataclasses.fields(config)}


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is UnionType:
        return next(part for part in get_args(hint) if part is not NoneType)
    return hint


def train_config(path: Path | None, given: Mapping[str, Any]) -> TrainConfig:
    """The training run of a file, with single settings replaced.

    Parameters
    ----------
    path : Path, optional
        TOML; without one, all settings have their defaults.
    given : mapping
        Values by name, of the run and of its mosaic alike. A rate, a sparsity or the selection
        "learned" asks for a learned mosaic; any other selection, or ``momos`` (true) without any
        of these, for a sampled one. Bits beside a learned mosaic are those of its grid.

    Raises
    ------
    InputError
        If the file cannot be read or a setting is unknown, of the wrong type or out of range.
    """
    described = {} if path is None else _read(path)
    own = {name: given[name] for name in given if name in setting_types(TrainConfig)}
    rest = {name: value for name, value in given.items() if name not in own}
    if "bits" in own and asked_kind(rest) == "learned":
        rest["bits"] = own.pop("bits")
    if rest:
        own["mosaic"] = _override(described.get("mosaic"), rest)
    return _made(described | own)


def make_mosaic(described: Mapping[str, Any]) -> SampledMosaic | LearnedMosaic:
    """The mosaic of a kind and its settings.

    Raises
    ------
    InputError
        If a setting is the other kind's, or out of range.

    Examples
    --------
    >>> make_mosaic({"kind": "learned", "rate": 3.0}).price
    3.0
    """
    settings = dict(described)
    made = KINDS[settings.pop("kind")]
    if made is LearnedMosaic and settings.get("selection") == "learned":
        del settings["selection"]
    for name in settings:
        if name not in setting_types(made):
            (other,) = {*KINDS} - {made.kind}
            raise InputError(f"{name} is a setting of {other} mosaics; this one is {made.kind}")
    return made(**settings)


def asked_kind(given: Mapping[str, Any]) -> str | None:
    """The kind of mosaic that settings ask for; None where they fit both."""
    selection = given.get("selection")
    if selection is not None:
        return "learned" if selection == "learned" else "sampled"
    return "learned" if "rate" in given or "sparsity" in given else None


def to_toml(config: TrainConfig) -> str:
    """A run as a file that `train_config` reads back: every setting, those left open as comments.

    >>> print(to_toml(TrainConfig(mosaic=SampledMosaic(motifs=9))).split("[mosaic]")[1])
    <BLANKLINE>
    kind = "sampled"
    block_size = 4
    motifs = 9
    # capacity is not set
    every = 1
    ...
    """
    settings = config.settings()
    mosaic = settings.pop("mosaic")
    lines = _lines(settings) + (["", "[mosaic]", *_lines(mosaic)] if mosaic else [])
    return "\n".join(lines) + "\n"


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [  # TOML writes texts, numbers, truth and lists as JSON does
        f"# {name} is not set" if value is None else f"{name} = {_json(value)}"
        for name, value in settings.items()
    ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _made(described: Mapping[str, Any]) -> TrainConfig:
    settings = dict(described)
    if settings.get("mosaic") is not None:
        mosaic = settings["mosaic"]
        # Training projects once an epoch, as the published method does.
        unit = {"unit": "epoch"} if mosaic["kind"] == "sampled" else {}
        settings["mosaic"] = make_mosaic(unit | mosaic)
    return TrainConfig(**settings)


def _override(described: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """A mosaic as described, single settings replaced."""
    settings = {name: value for name, value in given.items() if name != "momos"}
    kind = asked_kind(settings)
    if described is None and kind is None and "momos" not in given:
        raise InputError("settings of a mosaic need --momos, --rate or --sparsity")
    there = dict(described) if described else {"kind": kind or "sampled"}
    if kind not in (None, there["kind"]):
        raise InputError(f"the file describes a {there['kind']} mosaic, the options a {kind} one")
    for number, other in (("motifs", "capacity"), ("capacity", "motifs")):
        if number in settings:
            there.pop(other, None)
    return there | settings


# --- reading ----------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    """What a file describes, checked; every error names the file."""
    check_readable(path)
    try:
        described = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:  # of the encoding, or of TOML
        raise InputError(f"{path}: not a TOML file: {error}") from None
    try:
        checked = _checked(described, setting_types(TrainConfig) | {"mosaic": dict})
        if "mosaic" in checked:
            checked["mosaic"] = _checked_mosaic(checked["mosaic"])
        _made(checked)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return checked


def _checked_mosaic(described: Mapping[str, Any]) -> dict[str, Any]:
    kind = described.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f'[mosaic] begins with kind = "sampled" or kind = "learned", not {kind!r}')
    types = {"kind": str} | setting_types(KINDS["sampled"]) | setting_types(KINDS["learned"])
    return _checked(described, types)


def _checked(described: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the types that are wanted; a whole number is a number too, a list a tuple."""
    checked = {}
    for name, value in described.items():
        if name not in types:
            raise specs.unknown("setting", name, types)
        checked[name] = _converted(name, value, types[name])
    return checked


def _converted(name: str, value: Any, wanted: Any) -> Any:
    if get_origin(wanted) is tuple:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise InputError(f'{name} is a list of texts, such as ["*.weight"], not {value!r}')
        return tuple(value)
    if wanted is dict:
        if not isinstance(value, dict):
            raise InputError(f"{name} is a table, [{name}], not {value!r}")
        return value
    kind = str if get_origin(wanted) is Literal else wanted
    if kind is float and type(value) is int and abs(value) <= _WHOLE:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{name} is {_NAMES[kind]}, not {value!r}")
    return value
