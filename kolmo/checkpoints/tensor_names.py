"""Names of tensors: the words in them, what wrappers add to them, which of two models' are one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# What wrappers, and what saves them, put before a model's names.
_BEFORE = re.compile(
    r"((module|_orig_mod|model_state_dict|state_dict|_forward_module|base_model\.model)\.)*"
)

# What they put into names, for a part that is wrapped by itself.
_WITHIN = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"}

# The adapter whose tensors PEFT names, where it keeps several.
_ADAPTER = re.compile(r"\.(lora_[A-Za-z_]+|modules_to_save)\.default(?=\.|$)")

_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.(\w+)\.original$")


def words(name: str) -> list[str]:
    """The words of a name, in small letters.

    >>> words("GradScaler_state.optimizerStates2")
    ['grad', 'scaler', 'state', 'optimizer', 'states', '2']
    """
    return [word.lower() for word in _WORD.findall(name)]


def normalized(name: str) -> str:
    """A name without what wrappers put before it and into it.

    Those are DDP, FSDP, ``torch.compile``, checkpointed activations, LoRA by PEFT, parametrizations
    and the keys of saved checkpoints.

    >>> normalized("_orig_mod.module.fc.weight")
    'fc.weight'
    >>> normalized("base_model.model.layers.0.q_proj.lora_A.default.weight")
    'layers.0.q_proj.lora_A.weight'
    >>> normalized("layers.0.q_proj.base_layer.weight")
    'layers.0.q_proj.weight'
    """
    rest = ".".join(part for part in name.split(".") if part not in _WITHIN)
    rest = _BEFORE.sub("", rest, count=1)
    rest = _PARAMETRIZED.sub(r"\1\2", rest.removesuffix(":0"))
    return _ADAPTER.sub(_without_adapter, rest) or name


def _without_adapter(match: re.Match[str]) -> str:
    return "" if match[1] == "modules_to_save" else f".{match[1]}"


def partners(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """The partner of each name among the names of another checkpoint, where one is sure.

    Equal names are partners; of the rest, those that are equal once normalized; and where all
    names of one checkpoint that are left begin with a key of their own, such as ``model``, those
    that are equal without it. A name that could have two partners has none.

    >>> partners(["module.fc.weight", "head.weight"], ["fc.weight", "head.weight", "x"])
    {'head.weight': 'head.weight', 'module.fc.weight': 'fc.weight'}
    >>> partners(["a.weight", "a.bias"], ["model.a.weight", "model.a.bias"])
    {'a.weight': 'model.a.weight', 'a.bias': 'model.a.bias'}
    """
    left, free = list(dict.fromkeys(names)), list(dict.fromkeys(others))
    found: dict[str, str] = {}
    same: Callable[[str], str] = str
    for mine, theirs in ((same, same), (normalized, normalized)):
        found |= _matched(left, free, mine, theirs)
        left, free = _rest(left, free, found)
    for mine, theirs in ((normalized, _inner(free)), (_inner(left), normalized)):
        more = _matched(left, free, mine, theirs)
        found |= more if len(more) > 1 or len(left) == len(free) == 1 else {}
        left, free = _rest(left, free, found)
    return found


def _rest(left: list[str], free: list[str], found: dict[str, str]) -> tuple[list[str], list[str]]:
    taken = set(found.values())
    return [n for n in left if n not in found], [n for n in free if n not in taken]


def _matched(
    names: Iterable[str],
    others: Iterable[str],
    mine: Callable[[str], str],
    theirs: Callable[[str], str],
) -> dict[str, str]:
    """Names of one form, where no other of the same checkpoint has that form too."""
    keys, known = {name: mine(name) for name in names}, {theirs(name): name for name in others}
    mine_count, their_count = Counter(keys.values()), Counter(map(theirs, others))
    return {
        name: known[key]
        for name, key in keys.items()
        if key in known and mine_count[key] == their_count[key] == 1
    }


def _inner(names: list[str]) -> Callable[[str], str]:
    """Takes from names the first key that all of them share; from none if there is none."""
    firsts = {normalized(name).partition(".")[0] for name in names}
    start = f"{firsts.pop()}." if len(firsts) == 1 else ""
    return lambda name: normalized(name).removeprefix(start)
