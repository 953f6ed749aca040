"""Compressors: the bits are those of each library's own bytes, which decompress to the payload."""

import bz2
import gzip
import lzma
import math

import brotli
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kolmo.errors import InputError
from kolmo.estimators import get_estimator
from kolmo.estimators.compressors import LEAST_WINDOW, PIECE, WINDOW
from kolmo.layout import LAYOUTS, lay_out
from kolmo.symbols import Alphabet

LIBRARIES = {
    "gzip:6": lambda data: gzip.compress(data, 6),
    "gzip:9": lambda data: gzip.compress(data, 9),
    "bz2:9": lambda data: bz2.compress(data, 9),
    "xz:6": lambda data: lzma.compress(data, preset=6),
    "zstd:3": lambda data: zstandard.ZstdCompressor(level=3).compress(data),
    "zstd:19": lambda data: zstandard.ZstdCompressor(level=19).compress(data),
    "brotli:5": lambda data: brotli.compress(data, quality=5),
    "brotli:11": lambda data: brotli.compress(data, quality=11),
}

DECOMPRESS = {
    "gzip": gzip.decompress,
    "bz2": bz2.decompress,
    "xz": lzma.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "brotli": brotli.decompress,
}


def measure(spec, symbols, alphabet, chunks=1):
    accumulator = get_estimator(spec).start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols.reshape(-1), chunks):
        accumulator.update(chunk)
    return accumulator.finish()


def skewed(alphabet, numel, seed=0):
    """Symbols that compress: small ones are common, and a stretch repeats."""
    drawn = np.random.default_rng(seed).geometric(0.05, numel) % alphabet
    drawn[numel // 2 :] = drawn[: numel - numel // 2]
    return drawn.astype(np.uint32)


@pytest.mark.parametrize("spec", LIBRARIES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alphabet", [2, 15, 256, 2**32])
def test_bits_are_those_of_the_library(spec, layout, alphabet):
    symbols = skewed(alphabet, 20_011)
    data = lay_out(symbols, Alphabet(alphabet), layout)
    compressed = LIBRARIES[spec](data)
    assert measure(f"{spec}@{layout}", symbols, alphabet, chunks=7).bits == 8 * len(compressed)


@pytest.mark.parametrize("spec", ["gzip:6", "bz2:9", "xz:1", "zstd:3", "brotli:1"])
def test_large_objects_are_streamed_in_pieces(spec):
    estimator = get_estimator(spec)
    symbols = skewed(256, 2 * PIECE + 12_345).astype(np.uint8)
    stream = estimator.library.stream(estimator.level, symbols.size)
    written = [
        stream.compress(symbols[i : i + PIECE].tobytes()) for i in range(0, symbols.size, PIECE)
    ]
    compressed = b"".join([*written, stream.flush()])
    assert measure(spec, symbols, 256, chunks=5).bits == 8 * len(compressed)
    assert DECOMPRESS[estimator.name](compressed) == symbols.tobytes()


@given(st.integers(0, 3000), st.sampled_from(["gzip:1", "bz2:1", "xz:0", "zstd:1", "brotli:0"]))
def test_chunks_do_not_matter(numel, spec):
    symbols = skewed(16, numel)
    whole = measure(spec, symbols, 16)
    assert measure(spec, symbols, 16, chunks=9) == whole
    assert whole.kind == "bound"
    assert whole.raw_bits == 4 * numel


def test_nothing_costs_nothing():
    code = measure("gzip:9", np.empty(0, np.uint8), 2)
    assert (code.bits, code.numel) == (0, 0)
    assert math.isnan(code.bits_per_weight)


def test_a_sample_is_an_estimate_with_its_standard_error():
    symbols = np.random.default_rng(0).integers(0, 11, 40 * WINDOW + 17).astype(np.uint8)
    whole = measure("bz2:9", symbols, 11)
    code = measure(f"bz2:9,sample={8 * WINDOW}", symbols, 11, chunks=13)
    assert code.kind == "estimate"
    assert code.details == {"windows": 8, "window": WINDOW}
    assert code.sampled == pytest.approx(8 * WINDOW / symbols.size)
    assert 0 < code.standard_error < 1e-3 * code.bits
    assert code.bits == pytest.approx(whole.bits, rel=0.01)
    assert measure(f"bz2:9,sample={8 * WINDOW}", symbols, 11) == code


def test_a_sample_takes_evenly_spaced_windows():
    symbols = np.zeros(40 * LEAST_WINDOW + 3, np.uint8)
    symbols[: 9 * LEAST_WINDOW] = np.random.default_rng(0).integers(0, 256, 9 * LEAST_WINDOW)
    code = measure(f"gzip:9,sample={8 * LEAST_WINDOW}", symbols, 256, chunks=7)
    starts = np.linspace(0, symbols.size - LEAST_WINDOW, 8).astype(int)
    windows = [len(gzip.compress(symbols[i : i + LEAST_WINDOW].tobytes(), 9)) for i in starts]
    assert code.bits == pytest.approx(8 * np.mean(windows) * symbols.size / LEAST_WINDOW)


@pytest.mark.parametrize(
    ("sample", "windows", "window"),
    [
        (8 * LEAST_WINDOW, 8, LEAST_WINDOW),
        (2 * WINDOW, 8, WINDOW // 4),  # what is measured by default
        (8 * WINDOW, 8, WINDOW),
        (16 * WINDOW + 5, 16, WINDOW),
    ],
)
def test_a_sample_is_at_least_eight_windows(sample, windows, window):
    symbols = np.zeros(20 * WINDOW, np.uint8)
    code = measure(f"gzip:1,sample={sample}", symbols, 2)
    assert code.details == {"windows": windows, "window": window}
    assert code.degrees == windows - 1
    assert code.sampled <= sample / symbols.size


@pytest.mark.parametrize("sample", [1, 8 * LEAST_WINDOW - 1])
def test_a_sample_of_fewer_windows_is_refused(sample):
    with pytest.raises(InputError, match="a sample has at least 8 windows of 4096, 32768 symbols"):
        get_estimator(f"gzip:1,sample={sample}")


def test_a_small_object_is_not_sampled():
    symbols = skewed(16, 2 * WINDOW)
    assert measure(f"gzip:9,sample={2 * WINDOW}", symbols, 16) == measure("gzip:9", symbols, 16)


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (np.float32([1, 2]), "must be integers"),
        (np.uint8([1, 5]), "symbol 5 is outside the alphabet"),
        (np.int8([1, -1]), "symbol -1 is outside"),
        (np.uint8([1, 1, 1]), "3 symbols given, the shapes hold 2"),
    ],
)
def test_wrong_symbols_are_explained(symbols, message):
    accumulator = get_estimator("gzip").start((2,), 4)
    with pytest.raises(InputError, match=message):
        accumulator.update(symbols)


def test_missing_symbols_are_explained():
    accumulator = get_estimator("gzip").start((2,), 4)
    accumulator.update(np.uint8([1]))
    with pytest.raises(InputError, match="1 symbols given, the shapes hold 2"):
        accumulator.finish()
