"""What kind of module a tensor belongs to, and how deep it lies, by the words of its name.

Frameworks and families have names of their own for the same few things. They are told apart by
words, not by lists of models: ``self_attn.q_proj``, ``attention.self.query``, ``SelfAttention.q``,
``attn.to_q`` and ``blk.0.attn_q`` are all queries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kolmo.checkpoints.tensor_names import normalized

KINDS = (
    *("embedding", "q", "k", "v", "qkv", "o", "mlp", "conv", "recurrent", "norm", "head", "bias"),
    "other",
)
"""Kinds of tensors, in the order in which they are listed."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATOR = re.compile(r"[./:]")

# What a module calls its own tensors.
_LEAF = re.compile(
    r"(q|b)?weights?(_[gv]|_packed)?|kernel|scale|gamma|beta|bias(es)?|b|w|embeddings?|"
    r"running_\w+|moving_\w+|mean|var(iance)?|original\d?|absmax|0"
)
_BIAS = re.compile(r"(\w+_)?bias(es)?(_\w+)?|b|beta")
_NORM = re.compile(
    r"(\w+_)?(ln|bn|gn)(\d+|_\w+)?|\w*norm(s|\d+|_\d+|_[a-z]+(_\d+)?)?|\w*normalization(_\d+)?|"
    r"(running|moving)_(mean|var|variance)|gamma"
)
_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+)?(_reverse)?|recurrent_kernel")
_CELLS = re.compile(r"(\w+_)?(lstm|gru|rnn)s?(_?cell)?(_?\d+)?(_\w+)?")
_EMBEDDING = re.compile(
    r"\w*embed(d?ings?|s|_\w+|der)?\d*(_\w+)?|\w*embd|(\w+_)?emb|emb_\w+|wte|wpe|shared|"
    r"(cls|class|mask|dist|query|register)_tokens?|relative_(attention|position)_bias(_table)?|"
    r"tok_\w+|pos_\w+"
)
_HEAD = re.compile(
    r"(\w+_)?heads?(_(fc|dense|\d+))?|(pre_?)?(\w+_)?classifier(_\w+)?|predictions?(_\w+)?|score|"
    r"(\w+_)?pooler|logits|embed_out|(text|visual|image)_projection|qa_outputs"
)
_TOP = re.compile(r"fc|output|out|proj_out|linear|dense|predictions")  # alone, it is the last layer
_ATTENTION = re.compile(r"\w*(attn|attention|attentions)\d*(_\w+)?|mha|mixer")
_FORWARD = re.compile(r"(\w+_)?(mlp|ffn?|feed_forward|experts?)(_\w+)?")
_OUT = re.compile(
    r"(attn_|attention_)?(o|out|output)(_proj|_lin|_layer|_dense|_projection|_linear)?(_\d+)?|"
    r"c_proj|proj|projection|dense|to_out|to_add_out|linear_out|wo"
)
_MLP = re.compile(
    r"\w*(mlp|ffn?|feed_?forward|moe|experts?)\d*(_\w+)?|(\w+_)?fc_?\d*(_\w+)?|(pre_)?(\w+_)?dense(_\w+)?|"
    r"(\w+_)?lin(ear)?_?\d*(_\w+)?|(gate|up|down|gate_up)_proj|intermediate|output|w[123i]|wi_\d|wo|"
    r"pwconv\d|router|net"
)
_CONV = re.compile(r"\w*conv(\d+|_\w+|\dd\w*|olution)*|downsample|upsample|\w*conv")
_PARTS = {
    kind: re.compile(
        rf"(attn_|linear_|to_|add_|w|in_)?({letter}|{word})(_[ab])?(_proj|_lin|_layer|_projection|"
        rf"_weight|_dense)?"
    )
    for kind, letter, word in (("q", "q", "query"), ("k", "k", "key"), ("v", "v", "value"))
}
_TOGETHER = re.compile(
    r"\w*qkv\w*|query_key_value|c_attn|in_proj(_weight)?|(\w+_)?kv(_[ab])?(_proj\w*)?|key_value"
)

_NUMBER = re.compile(r"(?:\w*(?:layers?|blocks?|stages?|levels?|resblocks?|h)_?)?(\d+)(?:_\w+)?")
_NUMBERED = re.compile(r"[a-z_0-9]*?[a-z_](\d+)")


def kind_of(name: str, sides: Sequence[int]) -> str:
    """The kind of module that a tensor belongs to, one of `KINDS`.

    Parameters
    ----------
    name : str
        As its framework gives it; what wrappers put before it is ignored.
    sides : sequence of int
        Its shape, which decides where words do not: a kernel of three axes or more is a
        convolution, a vector in a sequence of layers belongs to a norm.

    Examples
    --------
    >>> kind_of("bert.encoder.layer.3.attention.self.key.weight", (384, 384))
    'k'
    >>> kind_of("model.layers.7.mlp.gate_proj.weight", (11008, 4096))
    'mlp'
    >>> kind_of("features.4.weight", (64, 3, 3, 3))
    'conv'
    """
    parts = _parts(name)
    leaf = parts[-1]
    path = [part for part in parts if not part.isdigit()]
    modules = [*path[:-1]] if len(path) > 1 and _LEAF.fullmatch(path[-1]) else path
    module, above = modules[-1] if modules else "", modules[:-1]
    if _any(_NORM, [module, leaf]) and not _EMBEDDING.fullmatch(leaf):
        return "norm"
    if _RECURRENT.fullmatch(leaf) or _any(_CELLS, modules):
        return "bias" if leaf.startswith("bias") else "recurrent"
    if _BIAS.fullmatch(leaf) and not _EMBEDDING.fullmatch(module):
        return "bias"
    return (
        _of_attention(module, above)
        or _of_ends(module, above, modules)
        or _of_words(modules, sides)
        or _of_shape(parts, sides)
    )


def depth_of(name: str) -> int | None:
    """The number of the layer that a tensor lies in; None of a tensor of no numbered layer.

    It is the first number that stands by itself, or with a word such as layer or block; if there is
    none, the number at the end of a module's name.

    Examples
    --------
    >>> depth_of("encoder.block.11.layer.0.SelfAttention.q.weight"), depth_of("layer2.0.conv1.w")
    (11, 2)
    >>> depth_of("fc3.weight"), depth_of("lstm.weight_hh_l1"), depth_of("lm_head.weight")
    (3, 1, None)
    """
    parts = _parts(name)
    for pattern in (_NUMBER, _NUMBERED):
        found = (pattern.fullmatch(part) for part in parts)
        if first := next((match for match in found if match), None):
            return int(first[1][:9])
    return None


def _parts(name: str) -> list[str]:
    """The keys of a name, in small letters, words by underscores."""
    keys = [key for key in _SEPARATOR.split(normalized(name)) if key]
    return [_HUMP.sub("_", key).lower() for key in keys] or [""]


def _any(pattern: re.Pattern[str], keys: Sequence[str]) -> bool:
    return any(pattern.fullmatch(key) for key in keys)


def _of_attention(module: str, above: Sequence[str]) -> str:
    inside = _is_attention([*above, module])
    for kind, pattern in _PARTS.items():
        if pattern.fullmatch(module) and (inside or len(module) > 2):
            return kind
    if inside and _TOGETHER.fullmatch(module):
        return "qkv"
    return "o" if inside and _OUT.fullmatch(module) else ""


def _is_attention(modules: Sequence[str]) -> bool:
    """Whether the innermost module that is one of either is attention, not a feed-forward part."""
    for module in reversed(modules):
        if _ATTENTION.fullmatch(module) or _FORWARD.fullmatch(module):
            return bool(_ATTENTION.fullmatch(module))
    return False


def _of_ends(module: str, above: Sequence[str], modules: Sequence[str]) -> str:
    """Where numbers come in, and where they go out."""
    if _any(_HEAD, modules):
        return "head"
    if not above and _TOP.fullmatch(module):
        return "head"
    near = [*above[-1:], module]
    return "embedding" if _any(_EMBEDDING, near) else ""


def _of_words(modules: Sequence[str], sides: Sequence[int]) -> str:
    if _any(_CONV, modules[-2:]) and len(sides) != 1:
        return "conv" if len(sides) > 2 or not _any(_MLP, modules) else "mlp"
    if _any(_MLP, modules):
        is_stack = len(sides) == 3  # of experts
        return "mlp" if len(sides) <= 2 or is_stack or _any(_MLP, modules[:-1]) else "conv"
    return ""


def _of_shape(parts: Sequence[str], sides: Sequence[int]) -> str:
    """What a member of a sequence of layers is; whatever else has three axes is a convolution."""
    if len(sides) > 2 and min(sides[:2]) > 0 and sum(side > 1 for side in sides) > 1:
        return "conv"
    if len(parts) > 1 and parts[-2].isdigit():
        return {1: "norm", 2: "mlp"}.get(len(sides), "other")
    return "other"
