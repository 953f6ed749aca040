"""One array of a source, as its header describes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from kolmo.checkpoints.base import Role, Skipped, WeightTensor
from kolmo.symbols import Alphabet


@dataclasses.dataclass(frozen=True)
class Inspected:
    """An array of a source, or another entry; nothing of it was read.

    Attributes
    ----------
    name : str
    role : Role
    shape : tuple of int, optional
        Of a quantized tensor that of its logical weights; None of what is no array.
    form : str
        Its dtype, or of a quantized tensor what its codes are: ``4-bit GPTQ``.
    numbers : int
        Numbers in it; of a quantized tensor its logical weights.
    bits : int
        Bits that the numbers take as they are stored; of a quantized tensor those of its codes.
    side_bits : int
        Bits of all else that a quantized tensor needs: scales, zero points, tables. Where these
        are arrays of their own, they are listed as book-keeping too.
    scheme : str
        What made the codes of a quantized tensor; else empty.
    copy_of : str
        Of a copy, the name of its original.
    reason : str
        Why it is not measured by default; empty of weights.
    """

    name: str
    role: Role
    shape: tuple[int, ...] | None
    form: str
    numbers: int
    bits: int
    side_bits: int = 0
    scheme: str = ""
    copy_of: str = ""
    reason: str = ""

    @classmethod
    def of_tensor(cls, tensor: WeightTensor) -> Inspected:
        """A tensor of a checkpoint.

        >>> import numpy as np
        >>> from kolmo.checkpoints import array_tensor
        >>> Inspected.of_tensor(array_tensor("w", np.zeros((2, 3), np.float16))).bits
        96
        """
        codes = tensor.codes
        alphabet = codes.alphabet if codes else Alphabet.of_dtype(tensor.dtype)
        return cls(
            tensor.name,
            tensor.role or Role.WEIGHT,
            tensor.shape,
            tensor.form,
            tensor.numel,
            tensor.numel * alphabet.bits,
            codes.side_bits if codes else 0,
            codes.scheme if codes else "",
        )

    @classmethod
    def of_skipped(cls, skipped: Skipped) -> Inspected:
        """Another entry of a checkpoint, an array or not."""
        bare = cls(skipped.name, skipped.role, None, "", skipped.numel, 0)
        made = bare if skipped.tensor is None else cls.of_tensor(skipped.tensor)
        return dataclasses.replace(
            made,
            name=skipped.name,
            role=skipped.role,
            copy_of=skipped.copy_of,
            reason=skipped.reason,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        shape = None if self.shape is None else list(self.shape)
        return {**dataclasses.asdict(self), "role": str(self.role), "shape": shape}
