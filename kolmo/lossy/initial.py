"""Initializations from a recipe and a seed: bases that take hardly any bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.opening import survey
from kolmo.container.state import STATE_ROLES, state_of
from kolmo.errors import InputError
from kolmo.lossy.describing import quantized
from kolmo.nulls.inits import SeededInits
from kolmo.quantize.lossy import Lossy


def initialization(
    source: Any, recipe: str = "kaiming_uniform", seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Fresh weights of a network's shapes, by a recipe and a seed.

    A network that is trained from them, and described by `learned_difference` with them as its
    base, has K_ε(w) ≤ K_ε(w | w0) + the bits of recipe and seed, and of the shapes. They are drawn
    by numpy, and are not the weights that PyTorch draws from the same seed.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
        Of which the names, shapes and dtypes are taken.
    recipe : str
        One of the null ``inits``: ``kaiming_uniform``, ``kaiming_normal``, ``xavier_uniform``,
        ``xavier_normal``, or ``normal:SD``.
    seed : int

    Returns
    -------
    dict of str to ndarray
        Vectors that the recipe does not draw are 0, those called ``weight`` 1, as in layers that
        normalize; arrays that are no floating-point weights are left out.

    Raises
    ------
    InputError
        For an unknown recipe, or a source that cannot be read.

    Examples
    --------
    >>> network = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.ones(2, np.float32)}
    >>> made = initialization(network, "xavier_normal", seed=3)
    >>> made["fc.weight"].shape, made["fc.bias"].tolist()
    ((2, 3), [0.0, 0.0])
    """
    if seed < 0:
        raise InputError(f"seed is not negative, not {seed}")
    checkpoint = survey(source)
    state, _ = state_of(checkpoint, Lossy(0.0), STATE_ROLES)
    null = SeededInits.of_text(f"{recipe},2").bound(checkpoint)
    made = {name: _drawn(null, tensor, seed) for name, tensor in quantized(state).items()}
    for kept in state:
        if kept.copy_of in made:
            same = made[kept.copy_of].shape == kept.tensor.shape
            made[kept.tensor.name] = made[kept.copy_of] if same else made[kept.copy_of].T
    return made


def _drawn(null: Any, tensor: WeightTensor, seed: int) -> NDArray[Any]:
    drawn: WeightTensor = null.draw(tensor, 0, seed).drawn
    if drawn is not tensor:
        return drawn.read()
    value = 1 if tensor.name.endswith("weight") else 0
    return np.full(tensor.shape, value, tensor.dtype)
