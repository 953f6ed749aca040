"""The two kinds of mosaics as settings: blocks, motifs, and which motif a block gets.

Both are frozen and checked when made; a mosaic depends on them, the weights and a seed alone.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

from kolmo import specs
from kolmo.errors import InputError

Selection = Literal["sample", "kmeans"]
Unit = Literal["step", "epoch"]
Scale = Literal["tensor", "channel", "none"]
Precision = Literal["float16", "float32"]
Policy = Literal["all", "no-norms", "matrices"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shared:
    """Settings of every mosaic; `SampledMosaic` and `LearnedMosaic` describe them."""

    block_size: int
    motifs: int | None = None
    capacity: float | None = None
    every: int
    policy: Policy = "all"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    kind: ClassVar[str]
    _fewest: ClassVar[int]  # motifs that a mosaic of this kind can have
    _number: ClassVar[dict[str, float]]  # of motifs, where neither motifs nor capacity is given

    def __post_init__(self) -> None:
        _one_of("policy", self.policy, get_args(Policy))
        if self.block_size < 1:
            raise InputError(f"the block size is at least 1, not {self.block_size}")
        if self.every < 1:
            raise InputError(f"every is at least 1, not {self.every}")
        if self.capacity is not None and self.motifs is not None:
            raise InputError("give the capacity or the number of motifs, not both")
        if self.capacity is not None and not 0 < self.capacity <= 1:
            raise InputError(
                f"the capacity is a share of the blocks in (0, 1], not {self.capacity}"
            )
        if self.motifs is not None and self.motifs < self._fewest:
            raise InputError(f"motifs are at least {self._fewest}, not {self.motifs}")

    def settings(self) -> dict[str, Any]:
        """All settings by name; those left open have the value that they take."""
        settings = dataclasses.asdict(self)
        if self.motifs is None and self.capacity is None:
            settings |= self._number
        return settings

    def motif_count(self, blocks: int) -> int:
        """Motifs of a model of ``blocks`` blocks: *k*, else clamp(floor(capacity · m), 1, m).

        Raises
        ------
        InputError
            If there are fewer blocks than motifs.

        Examples
        --------
        >>> SampledMosaic(capacity=0.05).motif_count(100_227)
        5011
        """
        settings = self.settings()
        motifs, capacity = settings["motifs"], settings["capacity"]
        if motifs is None:
            return max(self._fewest, min(int(capacity * blocks), blocks))
        if motifs > blocks:
            raise InputError(
                f"{motifs:,} motifs were asked for, but the model has {blocks:,} blocks"
            )
        return int(motifs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledMosaic(_Shared):
    """A mosaic of the model's own blocks: the published method (arXiv 2602.14896).

    Every few steps the weights are overwritten by their nearest motifs.

    Attributes
    ----------
    selection : {"sample", "kmeans"}
        *sample*: motifs are blocks of the model at distinct positions, drawn uniformly anew at
        each projection, once for the whole model. *kmeans* continues from such a draw with up to
        ten rounds of Lloyd's iteration.
    block_size : int
        Values a block, *s*.
    motifs : int, optional
        Number of motifs, *k*.
    capacity : float, optional
        Motifs as a share of the blocks, instead; 0.01 where neither is given.
    zero_motif : bool
        Whether motif 0 is the zero block; it counts as one of the k.
    every : int
        Steps, or epochs, from one projection to the next.
    unit : {"step", "epoch"}
        What ``every`` counts; only `momos.train` knows epochs.
    policy : {"all", "no-norms", "matrices"}
        Which kinds of parameters take part: all of them, as published; all but those of norm
        layers, which start at 1, far from the other weights, and which one early projection may
        shrink; or those of two dimensions or more, which leaves biases dense too.
    include, exclude : tuple of globs
        Names of the parameters that take part.

    Raises
    ------
    InputError
        If a value is out of range, or both motifs and a capacity are given.

    Examples
    --------
    >>> SampledMosaic(motifs=8).block_size, SampledMosaic().motif_count(1000)
    (4, 10)
    """

    selection: Selection = "sample"
    block_size: int = 4
    zero_motif: bool = True
    every: int = 1
    unit: Unit = "step"

    kind: ClassVar[str] = "sampled"
    _fewest: ClassVar[int] = 1
    _number: ClassVar[dict[str, float]] = {"capacity": 0.01}

    def __post_init__(self) -> None:
        _one_of("selection", self.selection, get_args(Selection))
        _one_of("unit", self.unit, get_args(Unit))
        super().__post_init__()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedMosaic(_Shared):
    """A mosaic that training learns: motifs follow the weights, and indices cost their bits.

    The forward pass sees the mosaic at every step, gradients go straight through to latent
    weights, and motifs follow the means of their blocks; motif 0 is the zero block. Of a finished
    checkpoint, motifs are fitted to its weights.

    With ``bits`` the motifs are a uniform grid: the whole multiples of a step, which learns by the
    loss, as the weights do. Each weight takes the nearest level, and the rate acts by gradients.
    Finished checkpoints have none.

    Attributes
    ----------
    bits : int, optional
        Levels of the grid, 2^bits − 1, in place of motifs of their own; of single weights only.
    rate : float, optional
        Price of a bit of index, in squared distances of blocks divided by their scale: each block
        takes the motif of least squared distance + rate × code length. The larger, the smaller the
        mosaic; at 0 blocks take their nearest motif. 6 by default, 0 where a sparsity is given.
        Of a grid it is the price of 1,000 bits, in units of the loss, whose gradient is added to
        the loss's: with the mean cross-entropy of n images, 693 / n is the description length of
        the labels and the weights together. 0 by default.
    sparsity : float, optional
        Share of zero weights, whatever the rate; of single weights only. It rises as 1 − (1 − t)³
        along the ramp (Zhu & Gupta 2017). Those weights become zero that are cheapest to zero: by
        magnitude, and, with a rate, by what their rows and columns save in bits. The others get
        the nearest other motif.
    ramp : float
        Share of the steps over which the rate rises, linearly from 0, and the sparsity too.
    block_size : int
        Values a block, *s*.
    motifs : int, optional
        Number of motifs, *k*, the zero block included; 5 where no capacity is given.
    capacity : float, optional
        Motifs as a share of the blocks, instead.
    scale : {"tensor", "channel", "none"}
        Divisor of the blocks: one scale for a tensor, or one for each row of its first dimension:
        the root mean square of the weights at the start, kept from then on. Of a grid it is the
        step, which learns.
    precision : {"float16", "float32"}
        Of the stored motifs.
    every : int
        Steps from one refit of the motifs to the next.
    policy : {"all", "no-norms", "matrices"}
        Which kinds of parameters take part; see `SampledMosaic`.
    include, exclude : tuple of globs
        Names of the parameters that take part.

    Raises
    ------
    InputError
        If a value is out of range, both motifs and a capacity are given, or bits beside either, a
        sparsity or longer blocks.

    Examples
    --------
    >>> LearnedMosaic(bits=4, rate=0.03).motif_count(1000)
    15
    >>> LearnedMosaic(rate=3.0).price, LearnedMosaic().price, LearnedMosaic(sparsity=0.9).price
    (3.0, 6.0, 0.0)
    """

    bits: int | None = None
    rate: float | None = None
    sparsity: float | None = None
    ramp: float = 0.5
    block_size: int = 1
    scale: Scale = "tensor"
    precision: Precision = "float16"
    every: int = 20

    kind: ClassVar[str] = "learned"
    _fewest: ClassVar[int] = 2
    _number: ClassVar[dict[str, float]] = {"motifs": 5}

    def __post_init__(self) -> None:
        _one_of("scale", self.scale, get_args(Scale))
        _one_of("precision", self.precision, get_args(Precision))
        super().__post_init__()
        if self.bits is not None:
            self._check_grid(self.bits)
        if not 0 <= self.price < math.inf:
            raise InputError(f"the rate is not negative, not {self.rate}")
        if not 0 <= self.ramp <= 1:
            raise InputError(f"the ramp is a share of the steps in [0, 1], not {self.ramp}")
        if self.sparsity is not None and not (0 < self.sparsity < 1 and self.block_size == 1):
            raise InputError("the sparsity is a share in (0, 1) of single weights, block_size=1")

    def _check_grid(self, bits: int) -> None:
        if not 2 <= bits <= 8:
            raise InputError(f"a grid has 2 to 8 bits, not {bits}")
        if self.motifs is not None or self.capacity is not None:
            raise InputError(
                "a grid of bits has its own levels: it takes no motifs and no capacity"
            )
        if self.block_size != 1 or self.sparsity is not None or self.scale == "none":
            raise InputError(
                "a grid of bits is of single weights, with a step: block_size=1, no sparsity, "
                "and scale tensor or channel"
            )

    @property
    def price(self) -> float:
        """Price of a bit of index, of a grid that of 1,000: the rate, or its default."""
        if self.rate is not None:
            return self.rate
        return 6.0 if self.sparsity is None and self.bits is None else 0.0

    def settings(self) -> dict[str, Any]:
        settings = super().settings() | {"rate": self.price}
        return settings if self.bits is None else settings | {"motifs": None}

    def motif_count(self, blocks: int) -> int:
        return super().motif_count(blocks) if self.bits is None else 2**self.bits - 1


def require_mosaic(config: object) -> None:
    """InputError, which names both classes, unless these are the settings of a mosaic."""
    if not isinstance(config, SampledMosaic | LearnedMosaic):
        raise InputError(
            f"the settings of a mosaic are a momos.SampledMosaic or a momos.LearnedMosaic, "
            f"not {config!r}"
        )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise specs.unknown(name, value, known)
