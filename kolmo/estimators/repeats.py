"""Which blocks of a sequence of symbols are equal: exactly, and in bounded memory.

::

    streams of blocks ─► keys ─► those that occur twice or more, counted
                          ▲        └─► their names ─┐
                          └── pairs, twice as large ┘

A block of at most 64 bits is a number, its *key*. Those of up to 16 bits are counted in a table;
larger ones are sorted, as many at a time as fit in memory: a hash divides keys into classes, which
are put aside and sorted one by one (`kolmo.estimators.counting`). Larger blocks are known by the
*names* of their halves, the numbers of those blocks of half the size that repeat. A block repeats
only if both halves do, so that few blocks are left, and the search ends where no block repeats any
more. The largest keys are named only in pairs that a filter lets repeat (`kolmo.estimators.pairs`):
a lookup waits for memory, and most pairs come once.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.lengths import tally
from kolmo.estimators.counting import BUFFER, Source, repeated_keys
from kolmo.estimators.pairs import PairFilter, filter_memory
from kolmo.estimators.spool import HELD, Spool
from kolmo.estimators.streams import KEY_BITS, BlockStreams, Cut, Keys, key_dtype, pack, step_of
from kolmo.symbols import Alphabet, Symbols

KNOWN = 1 << 23
"""Repeated blocks whose names are looked up at a time."""

_DENSE = 16  # bits of the largest block that is counted in a table


def search_memory(numel: int, alphabet: Alphabet) -> int:
    """Bytes that a search among so many symbols takes at most."""
    symbols = numel * alphabet.container.itemsize
    spools = min(3 * HELD, 9 * symbols)  # symbols, names and known keys
    keys = min(4 * BUFFER, 24 * numel)  # those of a class, their counts, and where they are merged
    seen = numel * alphabet.bits // (4 * KEY_BITS)  # one for each name of the first pairs
    names = min(24 * KNOWN, 24 * numel) + seen
    return spools + max(keys, names + filter_memory(numel)) + (1 << 20)


def search_space(numel: int, alphabet: Alphabet) -> int:
    """Bytes that a search puts in the temporary folder at most: none if it is small."""
    symbols = 2 * numel * alphabet.container.itemsize  # some are padded
    keys = min(numel, 2 * numel * alphabet.bits // KEY_BITS + 1)
    return 0 if symbols <= HELD else symbols + 20 * keys


def dense_sizes(cut: Cut, symbols: int) -> list[int]:
    """Sizes whose table has not many more places than there are symbols.

    >>> dense_sizes(Cut((1, 2, 4, 8), 8), 100), dense_sizes(Cut((1, 2, 4, 8), 8), 100_000)
    ([], [1, 2])
    """
    most = min(_DENSE, symbols.bit_length())
    return [size for size in cut.sizes if size * cut.bits <= most]


class Repeats:
    """The blocks of one size that occur twice or more.

    Attributes
    ----------
    times : dict
        By count, how many distinct blocks occur so often.
    planes : int64 array, shape (planes, 256)
        Counts by byte-plane of all their occurrences but the first of each.
    """

    def __init__(self, planes: NDArray[np.int64]) -> None:
        self.times: dict[int, int] = {}
        self.planes = planes

    def add(self, counts: Keys) -> None:
        """Take distinct blocks with these counts."""
        found = tally(counts)
        if not self.times:
            self.times = found
            return
        for count, times in found.items():
            self.times[count] = self.times.get(count, 0) + times

    @property
    def motifs(self) -> int:
        """How many distinct blocks these are."""
        return sum(self.times.values())

    @property
    def blocks(self) -> int:
        """How many blocks."""
        return sum(map(operator.mul, self.times, self.times.values()))


class Search:
    """Finds the repeated blocks of each size.

    Attributes
    ----------
    planes : int64 array, shape (planes, 256)
        Counts by byte-plane of all symbols, as soon as `run` gives the first size.
    """

    def __init__(self, streams: BlockStreams, alphabet: Alphabet) -> None:
        self.planes = np.zeros((alphabet.container.itemsize, 256), np.int64)
        self._streams, self._cut = streams, streams.cut
        self._has_table = 1 in dense_sizes(streams.cut, streams.numel)
        shape = alphabet.container.itemsize, 256
        self.found = {size: Repeats(np.zeros(shape, np.int64)) for size in self._cut.sizes}

    def update(self, symbols: Symbols) -> None:
        """Take the next symbols, in the alphabet's container."""
        from kolmo.estimators import kernels

        if not self._has_table:  # which tells the planes too
            kernels.count_planes(symbols, self.planes)
        self._streams.update(symbols)

    def close(self) -> None:
        """Give back memory and files."""
        self._streams.close()

    def run(self) -> Iterator[tuple[int, Repeats]]:
        """Each size, the smallest first, and what was found. What is asked no more is not found."""
        left = list(self._cut.sizes)
        for size in self._counted():
            left.remove(size)
            yield size, self.found[size]
        yield from ((size, self.found[size]) for size in left)  # no block of which repeats

    def _counted(self) -> Iterator[int]:
        """Count the blocks of one size after another, until none can repeat."""
        cut = self._cut
        dense = dense_sizes(cut, sum(spool.size for spool in self._streams.spools.values()))
        self._count_dense(dense)
        yield from dense
        numbers = [size for size in cut.sizes if size * cut.bits <= KEY_BITS]
        known = None
        for size in numbers[len(dense) :]:
            if not self._may_repeat(size):
                return
            known = self._sort(size)
            yield size
        if cut.width > cut.base and self._may_repeat(2 * cut.base):
            yield from self._follow_names(known or self._sort(cut.base))

    def _may_repeat(self, size: int) -> bool:
        """Whether blocks of half the size repeat, as far as they were counted."""
        half = self.found.get(size // 2)
        return half is None or bool(half.times)

    # --- by key -----------------------------------------------------------------------------

    def _count_dense(self, sizes: Sequence[int]) -> None:
        """Count the largest of these; halves of what is counted need not be counted again."""
        counts: NDArray[np.int64] | None = None
        for size in reversed(sizes):
            spools = self._streams.of(size) if counts is None else [self._streams.spools[size]]
            more = _table(spools, size, self._cut.bits)
            counts = more if counts is None else more + _halves(counts, more.size)
            if size == 1:
                self.planes = _planes_of(counts, self.planes.shape[0])
            keys = np.flatnonzero(counts > 1)
            self._add(size, keys.astype(np.uint32), counts[keys])

    def _sort(self, size: int) -> Spool:
        """Count blocks by their keys, and return the keys that repeat."""
        return self._collect(
            lambda: self._streams.keys(size), size, key_dtype(size, self._cut.bits)
        )

    def _collect(self, keys: Source, size: int, dtype: np.dtype[Any]) -> Spool:
        blocks = self._streams.blocks(size)
        known = Spool(np.dtype(np.uint64), blocks // 2)
        for repeated, counts in repeated_keys(keys, blocks, dtype):
            self._add(size, repeated, counts)
            known.append(repeated)
        return known

    def _add(self, size: int, keys: Keys, counts: Keys) -> None:
        from kolmo.estimators import kernels_mosaic as kernels

        found = self._result(size)
        if found is None or not keys.size:
            return
        found.add(counts)
        if size <= self._cut.base:
            kernels.add_repeated(keys, counts, size, self._cut.bits, found.planes)

    def _result(self, size: int) -> Repeats | None:
        """Where blocks that are stored at this size are counted, if they are blocks of the code."""
        return self.found.get(self._cut.sizes[-1] if size == self._cut.width else size)

    # --- by name ----------------------------------------------------------------------------

    def _follow_names(self, known: Spool) -> Iterator[int]:
        """Count blocks that are larger than a key, from the keys that repeat."""
        size, bits = self._cut.base, self._cut.bits
        sources = {w: _packed(spool, size, bits) for w, spool in self._spools(2 * size)}
        pairs: PairFilter | None = self._likely_pairs(list(sources.values()), size)
        while known.size:
            names = {w: self._name(source, known, w, size, pairs) for w, source in sources.items()}
            pairs = None  # the names of larger blocks tell where they lie, too
            if size > self._cut.base and (found := self._result(size)) is not None:
                self._add_named(names, known.size, size, found)
                yield min(size, self._cut.sizes[-1])
            known.close()
            if size == self._cut.width:
                break
            size *= 2
            sources = {w: _pairs(names[w], size) for w, _ in self._spools(size)}
            known = self._collect(_chained(list(sources.values())), size, np.dtype(np.uint64))

    def _spools(self, size: int) -> list[tuple[int, Spool]]:
        return [(w, spool) for w, spool in self._streams.spools.items() if w >= size]

    def _likely_pairs(self, sources: Sequence[Source], size: int) -> PairFilter:
        """A filter of the blocks of twice the size that repeat."""
        pairs = PairFilter(self._streams.blocks(2 * size))
        for source in sources:
            for keys in source():
                pairs.add(keys)
        return pairs

    def _name(
        self, keys: Source, known: Spool, width: int, size: int, pairs: PairFilter | None
    ) -> Spool:
        """The name of each block of a stream: from 1, or 0 for one that does not repeat, or is of a
        pair that does not."""
        from kolmo.estimators import kernels_mosaic as kernels

        blocks, first = self._streams.spools[width].size // size, 1
        names: Spool | None = None
        for some in known.chunks(KNOWN):
            slots = np.zeros(1 << (2 * some.size - 1).bit_length(), np.uint32)
            kernels.fill_slots(some, slots)
            before, names = names, Spool(np.dtype(np.uint32), blocks)
            step = step_of(max(size, 2 * self._cut.base)) // size
            olds = before.chunks(step) if before else repeat(None)
            for chunk, old in zip(keys(), olds, strict=False):
                named = np.zeros(chunk.size, np.uint32) if old is None else old
                wanted = np.flatnonzero(chunk) if pairs is None else pairs.likely(chunk)
                kernels.find_names(chunk, wanted, some, slots, first, named)
                names.append(named)
            first += some.size
            if before:
                before.close()
        assert names is not None
        return names

    def _add_named(self, names: dict[int, Spool], known: int, size: int, found: Repeats) -> None:
        from kolmo.estimators import kernels_mosaic as kernels

        real = self._cut.sizes[-1] if size == self._cut.width else size
        seen = np.zeros(known + 1, np.bool_)
        for width, its in names.items():
            chunks = self._streams.spools[width].chunks(step_of(size))
            for named, symbols in zip(its.chunks(step_of(size) // size), chunks, strict=True):
                kernels.add_named(symbols, size, real, named, seen, found.planes)


def _packed(spool: Spool, size: int, bits: int) -> Source:
    """The keys of blocks of a stream; the pairs that they make are not divided."""
    return lambda: (pack(chunk, size, bits) for chunk in spool.chunks(step_of(2 * size)))


def _pairs(names: Spool, size: int) -> Source:
    """The keys of blocks of ``size`` symbols whose halves have these names; 0 for one of none."""
    from kolmo.estimators import kernels_mosaic as kernels

    def keys() -> Iterator[Keys]:
        for chunk in names.chunks(2 * (step_of(size) // size)):
            paired = np.empty(chunk.size // 2, np.uint64)
            kernels.pair_names(chunk, paired)
            yield paired

    return keys


def _chained(sources: Sequence[Source]) -> Source:
    """The keys of all sources but 0."""
    return lambda: (keys[keys != 0] for source in sources for keys in source())


def _table(spools: Sequence[Spool], size: int, bits: int) -> NDArray[np.int64]:
    """How often each block occurs, by key."""
    from kolmo.estimators import kernels, kernels_mosaic

    even, odd = np.zeros((2, 1 << size * bits), np.uint32)  # enough for 4 GiB of symbols
    for spool in spools:
        for chunk in spool.chunks(step_of(size)):
            if bits == 8 * chunk.itemsize and size <= 2 and chunk.dtype.isnative:
                keys = chunk[: chunk.size // size * size].view(f"u{size * chunk.itemsize}")
                kernels.count_symbols(keys, even, odd)
            else:
                kernels_mosaic.count_keys(chunk, size, bits, even)
    return np.add(even, odd, dtype=np.int64)


def _halves(counts: NDArray[np.int64], kinds: int) -> NDArray[np.int64]:
    """Counts of the halves of counted blocks."""
    table = counts.reshape(kinds, kinds)
    return np.asarray(table.sum(axis=0) + table.sum(axis=1))


def _planes_of(counts: NDArray[np.int64], planes: int) -> NDArray[np.int64]:
    """Counts by byte-plane of counted symbols."""
    symbols, exact = np.arange(counts.size), counts.astype(np.float64)  # far below 2^53
    each = [np.bincount(symbols >> 8 * p & 255, exact, 256) for p in range(planes)]
    return np.array(each).astype(np.int64)
