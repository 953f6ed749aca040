"""Names of tensors: the words in them, and what wrappers put before and into them."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words(name: str) -> list[str]:
    """The words of a name, in small letters.

    >>> words("GradScaler_state.optimizerStates2")
    ['grad', 'scaler', 'state', 'optimizer', 'states', '2']
    """
    return [word.lower() for word in _WORD.findall(name)]


# What wrappers put before a model's names.
_BEFORE = ("module", "_orig_mod", "model_state_dict", "state_dict", "base_model.model")

# What they put into them, for a part that is wrapped by itself.
_WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer")


def normalized(name: str) -> str:
    """A name without what wrappers put before it and into it.

    >>> normalized("_orig_mod.module.fc.weight")
    'fc.weight'
    >>> normalized("base_model.model.layers.0.q_proj.lora_A.default.weight")
    'layers.0.q_proj.lora_A.weight'
    """
    parts = [part for part in name.split(".") if part not in _WITHIN]
    rest = ".".join(parts)
    before = next((b for b in _BEFORE if rest.startswith(f"{b}.")), None)
    while before is not None:
        rest = rest[len(before) + 1 :]
        before = next((b for b in _BEFORE if rest.startswith(f"{b}.")), None)
    return re.sub(r"(\blora_[A-Za-z_]+)\.default\b", r"\1", rest) or name
