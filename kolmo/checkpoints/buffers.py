"""Buffers by name, shape and value: numbers that a network keeps and does not learn."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from kolmo.checkpoints.base import WeightTensor

_SEPARATOR = re.compile(r"[./]")
_SAMPLE = 256  # entries that are looked at

# Names of buffers of well-known layers, by what they hold.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"running_\w+|_mean|_variance|moving_(mean|variance|avg|var)|num_batches_tracked|n_averaged|num_updates",
     "running statistics"),
    (r"(\w+_)?inv_freqs?|freqs_(cis|cos|sin)|(cos|sin)_cached|rope_freqs", "rotary frequencies"),
    (r"relative_position_index|relative_coords_table|position_ids", "positions"),
    (r"masked_bias", "what masks a score"),
    (r"(min|max)_val|fake_quant_enabled|observer_enabled", "the statistics of an observer"),
    (r"\w*alphas_cumprod\w*|posterior_(variance|log_variance_clipped|mean_coef[12])",
     "the schedule of a diffusion"),
    (r"(_?ema_)?cluster_size|embed_avg|_?ema_w|initt?ed", "running statistics of a codebook"),
    (r"total_(ops|params)|_float_tensor|anchor_grid|pixel_(mean|std)", "constants"),
)  # fmt: skip
_PATTERNS = [(re.compile(pattern), what) for pattern, what in _NAMES]

_MASK = re.compile(r"(\w+_)?mask|tril|triu|bias")
_POSITIONS = re.compile(r"pe|pos_table|positional_(encoding|embedding)|pos_enc(oding)?")


def buffer_reason(tensor: WeightTensor, names: Collection[str]) -> str:
    """What a floating-point buffer holds, by its name among all names; empty of a weight."""
    path = _SEPARATOR.split(tensor.name.removesuffix(":0"))
    last = path[-1]
    if "batch_stats" in path or (last == "freqs" and path[-2:-1] == ["rope"]):
        return "running statistics" if "batch_stats" in path else "rotary frequencies"
    for pattern, what in _PATTERNS:
        if pattern.fullmatch(last):
            return what
    if _derived(tensor.name, names):
        return "made from the original of a weight"
    if _MASK.fullmatch(last) and _is_mask(tensor):
        return "a mask"
    if _POSITIONS.fullmatch(last) and _is_sinusoid(tensor):
        return "the sines and cosines of positions"
    return ""


def _derived(name: str, names: Collection[str]) -> bool:
    """Whether a pruned or a spectrally normalized layer keeps it beside ``weight_orig``."""
    stem, _, end = name.rpartition("_")
    if end in ("mask", "u", "v") and f"{stem}_orig" in names:
        return True
    return bool(re.search(r"\bparametrizations\.\w+\.\d+\._[uv]$", name))


def _is_mask(tensor: WeightTensor) -> bool:
    """Whether it is a square of ones and zeros, or of zeros and what blots a score out."""
    shape = [side for side in tensor.shape if side > 1]
    if tensor.name.endswith("bias") and (len(shape) != 2 or len(tensor.shape) != 4):
        return False
    if tensor.numel < 2 or len(shape) < 2 or shape[-1] != shape[-2]:
        return False
    values = _sample(tensor)
    return bool(((values == 0) | (values == 1) | (values <= -1e4)).all())


def _is_sinusoid(tensor: WeightTensor) -> bool:
    """Whether the first position is sin 0 and cos 0: zeros and ones, in turns or by halves."""
    width = tensor.shape[-1] if tensor.shape else 0
    if width < 4 or width % 2 or tensor.numel <= width:
        return False
    first = tensor.load(0, width).astype(np.float64)
    turns, halves = np.tile([0, 1], width // 2), np.repeat([0, 1], width // 2)
    return bool((first == turns).all() or (first == halves).all())


def _sample(tensor: WeightTensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return tensor.load(0, min(tensor.numel, _SAMPLE)).astype(np.float64)
