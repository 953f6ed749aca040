"""Kinds of modules: what a tensor does in a network, as far as its name tells."""

from __future__ import annotations

import re

KINDS = {
    "bias": r"\bbias(es)?$",
    "norm": r"norm|\b(ln|bn|gn|rms)(_?\d+|_\w+)?\b|\b(running_mean|running_var)$",
    "q": r"\b(q|query|wq|to_q|q_proj|q_lin|q_a_proj|q_b_proj)\b",
    "k": r"\b(k|key|wk|to_k|k_proj|k_lin)\b",
    "v": r"\b(v|value|wv|to_v|v_proj|v_lin)\b",
    "qkv": r"\b(qkv(_proj)?|wqkv|c_attn|in_proj(_weight)?|query_key_value|kv_[ab]_proj\w*)\b",
    "o": r"\b(o_proj|out_proj|wo|to_out|out_lin)\b|att\w*\.(c_proj|proj|dense|output\.dense|o)\b",
    "mlp": r"\b(mlp|ffn?|feed_forward|fc\d+|c_fc|experts?|intermediate|output\.dense|"
    r"(gate|up|down)_proj|w[123]|lin[12]|linear[12]|dense_h_to_4h|dense_4h_to_h)\b",
    "embedding": r"emb|\b(wte|wpe|position_bias|relative_attention_bias)\b",
    "head": r"\b(lm_head|classifier|cls|pooler|score|head|fc|logits)\b",
    "conv": r"conv|downsample|\bstem\b",
}
"""Kinds, and the pattern of the names of their tensors; the first that fits counts."""

WEIGHT, OTHER = "weight", "other"
"""Kinds of what fits none: it is called a weight, or not even that."""


def kind_of(tensor: str) -> str:
    """The kind of module that a tensor belongs to, by its name.

    Examples
    --------
    >>> names = ("model.layers.3.self_attn.q_proj.weight", "h.0.attn.c_proj.weight",
    ...          "encoder.layer.5.attention.output.LayerNorm.weight", "h.1.mlp.c_proj.weight",
    ...          "transformer.wte.weight", "layer1.0.conv1.weight", "0.weight")
    >>> [kind_of(name) for name in names]
    ['q', 'o', 'norm', 'mlp', 'embedding', 'conv', 'weight']
    """
    name = re.sub("[/:]", ".", tensor.lower())
    plain = WEIGHT if re.search(r"\b(weight|kernel|w)(_?\d+)?$", name) else OTHER
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), plain)


def block_of(tensor: str) -> str:
    """The number of the block that a tensor lies in: the first number of its name, or nothing.

    Examples
    --------
    >>> block_of("encoder.layer.11.attention.self.query.weight"), block_of("lm_head.weight")
    ('11', '')
    """
    found = re.search(r"(?<![a-z0-9])\d+(?![a-z0-9])|\d+", tensor.lower())
    return found.group() if found else ""
