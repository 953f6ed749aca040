"""What a shell offers where a name is to be typed; names are looked up when it asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def quantizers(incomplete: str) -> list[str]:
    """The quantizers, those of other packages too."""
    from kolmo.quantize import quantizer_names

    return quantizer_names()


def estimators(incomplete: str) -> list[str]:
    """The estimators, those of other packages too."""
    from kolmo.estimators import estimator_names

    return estimator_names()


def nulls(incomplete: str) -> list[str]:
    """The nulls, those of other packages too."""
    from kolmo.nulls.choosing import NULLS

    return NULLS.names()


def roles(incomplete: str) -> list[str]:
    """The roles of arrays."""
    from kolmo.checkpoints.base import Role

    return [str(role) for role in Role]


def one_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Offers these names.

    >>> one_of(["tensor", "model"])("")
    ['tensor', 'model']
    """

    def offered(incomplete: str) -> list[str]:
        return list(names)

    return offered
