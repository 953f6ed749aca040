"""Texts that people write: specs, conditions, settings, amounts; refused, or what they say."""

import dataclasses
import functools
import zlib

import numpy as np

import kolmo
from kolmo.budgets import budget_seconds
from kolmo.checkpoints.selecting import get_roles
from kolmo.errors import InputError
from kolmo.estimators.base import ESTIMATORS, get_estimator
from kolmo.layout import LAYOUTS
from kolmo.lossy.evaluating import Tolerance, named_function
from kolmo.nulls import get_null
from kolmo.quantize import get_quantizer
from kolmo.quantize.base import QUANTIZERS
from kolmo.report.columns import COLUMNS
from kolmo.report.conditions import Condition
from tests.fuzz.damage import damaged, pick
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.values import NAMES

NUMBERS = (
    *(
        "0",
        "1",
        "-1",
        "2",
        "3",
        "4",
        "8",
        "16",
        "17",
        "64",
        "255",
        "65536",
        "1048576",
        "4294967296",
    ),
    *("99999999999999999999", "9" * 400, "9" * 5000, "0.5", ".5", "1e-3", "1e400", "1e-400", "nan"),
    *("inf", "-inf", "-0", "0x10", "1_0", " 1", "²", "٣", "", "true", "false", "none", "99.9"),
)
COMMON = ("1", "2", "3", "4", "8", "16", "0.1", "0.01", "true", "false", "tensor", "row", "shuffle")
NULLS = (
    *("shuffled", "row-shuffled", "column-shuffled", "scaled", "gaussian", "uniform", "bootstrap"),
    *("sign-flipped", "block-shuffled", "init", "xavier", "kaiming", "normal", "auto"),
)  # fmt: skip
OPTIONS = (
    *("sample", "windows", "seed", "ndim", "boundary", "block", "size", "order", "axis", "clip"),
    *("layout", "group", "thorough", "window", "depth", "level", "of", "std", "value", "threads"),
)


@functools.cache
def words():
    """Names of what a spec names, names of options, and values."""
    return {
        "estimator": ESTIMATORS.names(),
        "quantizer": QUANTIZERS.names(),
        "null": list(NULLS),
    }


GET = {"estimator": get_estimator, "quantizer": get_quantizer, "null": get_null}


# --- specs ----------------------------------------------------------------------------------


def spec_written(folder, random):
    """``kind: spec`` of the grammar of specs, and texts near it."""
    kind = pick([*GET], random)
    name = pick(words()[pick([*GET], random) if random.random() < 0.05 else kind], random)
    text = name
    if random.random() < (0.9 if _takes_value(kind, name) else 0.1):
        text += f":{_value(random)}"
    for _ in range(int(random.integers(3)) if random.random() < 0.5 else 0):
        text += f",{_option(kind, name, random)}={_value(random)}"
    if random.random() < 0.3:
        text += f"@{pick([*LAYOUTS, 'x', ''], random)}"
    if random.random() < 0.1:
        text = pick([*NAMES, text + pick(NAMES, random), text.upper(), f" {text} "], random)
    elif random.random() < 0.1:
        text = bytes(damaged(text.encode("utf-8", "replace"), [b",=:@"], random)).decode("latin-1")
    return _kept(folder, f"{kind}\n{text}")


def _takes_value(kind, name):
    registry = {"estimator": ESTIMATORS, "quantizer": QUANTIZERS}.get(kind)
    return bool(registry and name in registry.names() and registry.get(name).value_field)


def _value(random):
    """A value, most often one that many specs take."""
    return pick(COMMON if random.random() < 0.6 else [*NUMBERS, *NAMES], random)


def _option(kind, name, random):
    """The name of an option, most often one that there is."""
    try:
        cls = {"estimator": ESTIMATORS, "quantizer": QUANTIZERS}[kind].get(name)
        known = [field.name for field in dataclasses.fields(cls)]
    except (KeyError, InputError):
        known = []
    return pick(known if known and random.random() < 0.8 else OPTIONS, random)


def _kept(folder, text):
    path = folder / "text"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return path


def _text(path):
    return path.read_bytes().decode("utf-8", "surrogatepass")


def read_spec(path):
    """The object that a spec names, and what it measures of a few weights."""
    kind, _, text = _text(path).partition("\n")
    made = GET[kind](text)
    if zlib.crc32(path.read_bytes()) % 3 == 0:
        _measured(kind, made)
    return kind, made


def _measured(kind, made):
    weights = {"w": np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)}
    chosen = {"estimators": ["kt"], "quantizers": ["sign"], f"{kind}s": [made]}
    kolmo.analyze(weights, **chosen, draws=2, threads=1).summary()


def spec_agrees(path, found):
    """Whether a spec prints back as it parses."""
    if found is None:
        return None
    kind, made = found
    try:
        again = GET[kind](str(made))
    except InputError as error:
        return f"a spec of {type(made).__name__} does not parse back\n{error}"
    return None if again == made else f"a spec of {type(made).__name__} parses back as another"


# --- others ---------------------------------------------------------------------------------


def other_written(folder, random):
    """``kind: text`` of a condition, a budget, a tolerance, a function's name, or roles."""
    kind = pick([*OTHERS], random)
    text = _WRITERS[kind](random)
    if random.random() < 0.2:
        text = bytes(damaged(text.encode("utf-8", "replace") or b"x", [b"and ()'"], random))
        text = text.decode("latin-1")
    return _kept(folder, f"{kind}\n{text}")


def _condition(random, depth=0):
    chance = random.random()
    if depth < 4 and chance < 0.4:
        joined = pick((" and ", " or ", " not ", " "), random)
        text = joined.join(_condition(random, depth + 1) for _ in range(int(random.integers(1, 4))))
        return f"({text})" if random.random() < 0.5 else f"not {text}"
    if chance < 0.42:
        return pick(("(", "not "), random) * int(random.integers(2000))
    value = pick([*NUMBERS, *COLUMNS, "'a'", '"b"', "model", *NAMES], random)
    sign = pick(("<", ">", "<=", ">=", "==", "!=", "=", "<>"), random)
    return f"{pick([*COLUMNS, 'x'], random)} {sign} {value}"


_FUNCTIONS = (
    *("math:sqrt", "math", ":", "math:", ":sqrt", ".:x", "..a:b", "math:pi", "a\0b:c", "os:path.x"),
    *("math:sqrt.__call__", "no.such:f", "math:sqrt:x", "x" * 9999 + ":f", "é:é", "math :sqrt"),
)
_WRITERS = {
    "condition": _condition,
    "budget": lambda r: pick(NUMBERS, r) + pick(["", "s", "m", "h", "d", " m", "ms", "x"], r),
    "tolerance": lambda r: pick(NUMBERS, r) + pick(["", "%", "%%", " %"], r),
    "function": lambda r: pick([*_FUNCTIONS, *NAMES], r),
    "roles": lambda r: pick(["weight", "copy", "buffer", "all", *NAMES], r),
}


def _decided(text):
    made = Condition.of(text)
    rows = kolmo.report.columns.TableRows({c: [] for c in COLUMNS})
    return made.holding(rows), made


OTHERS = {
    "condition": _decided,
    "budget": budget_seconds,
    "tolerance": lambda text: Tolerance.parse(text).limit(2.0),
    "function": named_function,
    "roles": get_roles,
}


def read_other(path):
    """What a text means."""
    kind, _, text = _text(path).partition("\n")
    return OTHERS[kind](text)


# --- settings of momos ----------------------------------------------------------------------


def settings_written(folder, random):
    """A file of settings of a training run, with values of any kind."""
    from momos.config import LearnedMosaic, SampledMosaic
    from momos.lab.config import TrainConfig
    from momos.lab.settings import setting_types

    lines = _assignments(setting_types(TrainConfig), random)
    if random.random() < 0.7:
        kind = pick([SampledMosaic, LearnedMosaic], random)
        lines += ["[mosaic]", f'kind = "{pick([kind.kind, kind.kind, "x"], random)}"']
        lines += _assignments(setting_types(kind), random)
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        text = bytes(damaged(text or b"a=1", [b'"[]='], random))
    path = folder / "config.toml"
    path.write_bytes(text)
    return path


def _assignments(types, random):
    names = [name for name in types if name != "mosaic"]
    chosen = {pick(names, random) for _ in range(int(random.integers(5)))}
    if random.random() < 0.05:
        chosen.add(pick(["x", '"a b"', "mosaic", "seed.x"], random))
    return [f"{name} = {_toml(types.get(name), random)}" for name in sorted(chosen)]


_TOML = (
    *("0", "1", "2", "-1", "7", "9223372036854775807", "-9223372036854775808", "1e400", "1e-400"),
    *(
        "0.5",
        "0.0",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "true",
        "false",
        '""',
        '"x"',
        "[]",
        '["*.weight"]',
    ),
    *("[1]", "{a = 1}", "1979-05-27", "07:32:00", "0x10", '"digits"', '"mlp"', '"adamw"', "9" * 40),
    *('"cosine"', '"learned"', '"c8m"', '"c8m c16m"', '"kmeans"', '"epoch"', '"step"', '"uniform"'),
    *('"\\u0000"', '"c999999999999999999999m"', '"c0"', '"m"', '"é"', "'''a\nb'''", '"c8m " '),
)


def _toml(kind, random):
    if random.random() < 0.5:
        plain = {int: ("1", "2", "3", "8"), float: ("0.1", "1.0", "0.5"), bool: ("true", "false")}
        return pick(plain.get(kind, _TOML), random)
    return pick(_TOML, random)


def read_settings(path):
    """The training run that a file describes."""
    from momos.lab.settings import train_config

    return train_config(path, {})


def settings_agree(path, found):
    """Whether a run is written as a file that is read as the same run."""
    if found is None:
        return None
    from momos.lab.settings import to_toml, train_config

    again = path.with_name("again.toml")
    again.write_text(to_toml(found), encoding="utf-8", errors="surrogatepass")
    same = train_config(again, {}).settings() == found.settings()
    return None if same else "settings are read back as others"


FUZZERS = [
    Fuzzer("text of a spec", spec_written, read_spec, spec_agrees),
    Fuzzer("text of other kinds", other_written, read_other),
    Fuzzer("text of settings", settings_written, read_settings, settings_agree),
]
