"""What a network is worth: a caller's function of the model, and how much worse it may get."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError

Better = Literal["lower", "higher"]
Evaluate = Callable[[Any], float]
"""Takes a model, or a state dict of arrays, and gives a number: a loss, an accuracy."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How much worse than the original a description may be.

    Attributes
    ----------
    amount : float
    relative : bool
        Whether the amount is a share of the original's value.
    better : {"lower", "higher"}
        Which values are better: lower ones of a loss, higher ones of an accuracy.

    Examples
    --------
    >>> Tolerance.parse("1%").limit(2.0), Tolerance.parse("0.5", "higher").limit(2.0)
    (2.02, 1.5)
    """

    amount: float
    relative: bool
    better: Better = "lower"

    @classmethod
    def parse(cls, given: str | float, better: Better = "lower") -> Tolerance:
        """From ``1%``, a share of the original's value, or a number in its units.

        Raises
        ------
        InputError
            If it is neither, or negative.
        """
        if better not in ("lower", "higher"):
            raise InputError(f"better is lower or higher, not {better!r}")
        text = str(given).strip()
        try:
            amount = float(text.removesuffix("%"))
        except ValueError:
            amount = math.nan
        if not 0 <= amount < math.inf:
            raise InputError(f"a tolerance is a share such as 1%, or a number, not {given!r}")
        relative = text.endswith("%")
        return cls(amount / 100 if relative else amount, relative, better)

    def limit(self, original: float) -> float:
        """The worst value that is within the tolerance."""
        room = self.amount * abs(original) if self.relative else self.amount
        return original + room if self.better == "lower" else original - room

    def accepts(self, value: float, original: float) -> bool:
        """Whether a value is no worse than the limit; never if it is NaN."""
        limit = self.limit(original)
        return value <= limit if self.better == "lower" else value >= limit


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluator:
    """Evaluates a source with other weights in it.

    Attributes
    ----------
    source : object
        What was given: a module has its weights replaced in a copy; of anything else the function
        is given the state dict, arrays by name.
    evaluate : callable
    """

    source: Any
    evaluate: Evaluate

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> float:
        """The value of the network with these weights, to which others are compared.

        Raises
        ------
        InputError
            If the function raises an error, or does not return a number.
        """
        value = self.trial(values)
        if math.isnan(value):
            raise InputError("evaluate gave NaN: there is nothing to compare")
        return value

    def trial(self, values: Mapping[str, NDArray[Any]]) -> float:
        """As a call; but NaN may come of it, as of weights that are no network any more."""
        subject = self._with(values)
        try:
            found = self.evaluate(subject)
            return float(found)
        except (KeyboardInterrupt, InputError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise InputError(f"evaluate failed ({what}); it takes {self._what}") from error

    @property
    def _what(self) -> str:
        return "the module" if _is_module(self.source) else "a dict of arrays by name"

    def _with(self, values: Mapping[str, NDArray[Any]]) -> Any:
        if not _is_module(self.source):
            return dict(values)
        return with_weights(self.source, values)


def with_weights(model: Any, values: Mapping[str, NDArray[Any]]) -> Any:
    """A copy of a module, in evaluation mode, with these arrays as its parameters and buffers."""
    import torch

    made = copy.deepcopy(model)
    made.eval()
    with torch.no_grad():
        for name, tensor in made.state_dict(keep_vars=True).items():
            if name in values:
                array = values[name]
                if array.dtype.kind == "V":  # of ml_dtypes, which torch does not know
                    array = array.astype(np.float32)
                tensor.copy_(torch.from_numpy(np.array(array)).reshape(tensor.shape))
    return made


def arrays_of(source: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Every array of a model in a file, as a state dict has them."""
    from kolmo.checkpoints.opening import open_checkpoint

    opened = open_checkpoint(source).with_roles(("buffer", "copy", "book-keeping", "other"))
    return {name: tensor.read() for name, tensor in opened.items()}


def _is_module(source: Any) -> bool:
    return hasattr(source, "state_dict") and hasattr(source, "parameters")


def named_function(spec: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names.

    Raises
    ------
    InputError
        If it cannot be imported, or is none.

    >>> named_function("math:sqrt")(4.0)
    2.0
    """
    module, _, name = spec.partition(":")
    if not all(part.isidentifier() for each in (module, name) for part in each.split(".")):
        raise InputError(f"{spec!r}: name a function as package.module:function")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{spec!r}: {error}") from None
    except Exception as error:  # of whoever wrote the module
        raise InputError(
            f"{spec!r}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not callable(found):
        raise InputError(f"{spec!r}: that is no function but a {type(found).__name__}")
    return found  # type: ignore[no-any-return]
