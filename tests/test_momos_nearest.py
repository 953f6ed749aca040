"""Nearest motifs against the definition and exact rational arithmetic, on every device here."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from momos.nearest import device as nearest_torch
from momos.nearest import exact as nearest
from momos.nearest.device import nearest_on_device
from momos.nearest.exact import nearest_motifs

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def there(blocks, motifs, device):
    found = nearest_on_device(*(torch.from_numpy(a).to(device) for a in (blocks, motifs)))
    return found.cpu().numpy()


def brute_force(blocks, motifs):
    """Nearest motif by exact rational arithmetic; the first of equals."""
    found = []
    for block in blocks.tolist():
        distances = [
            sum((Fraction(b) - Fraction(m)) ** 2 for b, m in zip(block, motif, strict=True))
            for motif in motifs.tolist()
        ]
        found.append(distances.index(min(distances)))
    return found


def small_integers(rows, size):
    """Float32 blocks on a small grid, so that ties abound and float64 distances are exact."""
    return hnp.arrays(np.int8, (rows, size), elements=st.integers(-3, 3)).map(np.float32)


@st.composite
def blocks_and_motifs(draw):
    size = draw(st.integers(1, 12))
    blocks = draw(small_integers(draw(st.integers(1, 15)), size))
    motifs = draw(small_integers(draw(st.integers(1, 9)), size))
    offset = draw(st.sampled_from([0, 1000, 2**20]))
    return blocks + np.float32(offset), motifs + np.float32(offset)


@given(blocks_and_motifs())
def test_nearest_is_brute_force_ties_to_the_lowest(pair):
    blocks, motifs = pair
    assert nearest_motifs(blocks, motifs).tolist() == brute_force(blocks, motifs)


def by_definition(blocks, motifs):
    """Float64 differences, squared and added in the order of the values; the first of equals."""
    distances = np.zeros((len(blocks), len(motifs)))
    for block, motif in zip(blocks.T.astype(np.float64), motifs.T.astype(np.float64), strict=True):
        distances += (block[:, None] - motif) ** 2
    return distances.argmin(axis=1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 9, 16, 17, 33])
@pytest.mark.parametrize("count", [1, 2, 66, 300])
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1e4, 1), (0, 1e-17), (1e19, 1e15)])
def test_nearest_is_the_definition_on_gaussian_blocks(size, count, offset, spread):
    random = np.random.default_rng(size)
    blocks = (random.normal(size=(1500, size)) * spread + offset).astype(np.float32)
    blocks[7] *= np.float32(1e15)  # so far that float32 cannot square it
    motifs = np.concatenate([blocks[20 : 20 + count], blocks[20:23], np.zeros((1, size))])
    assert np.array_equal(nearest_motifs(blocks, motifs), by_definition(blocks, motifs))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tile", [5, 1 << 22])
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1e6, 0.1), (0, 1e-190), (0, 1e140)])
def test_ties_on_a_device_go_where_the_compiled_search_sends_them(
    monkeypatch, device, tile, offset, spread
):
    monkeypatch.setattr(nearest_torch, "_TILE", tile)
    monkeypatch.setattr(nearest_torch, "_SLAB", tile)
    random = np.random.default_rng(3)
    blocks = (random.integers(-4, 4, size=(160, 3)) + random.integers(0, 2)) * spread + offset
    motifs = np.concatenate([blocks[:17], blocks[:9], blocks[:5] + spread / 2])
    assert np.array_equal(there(blocks, motifs, device), nearest_motifs(blocks, motifs))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [1, 4, 16])
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1e4, 1), (0, 1e-17), (1e19, 1e15)])
def test_the_search_on_a_device_is_the_definition(device, size, offset, spread):
    random = np.random.default_rng(size)
    blocks = (random.normal(size=(1500, size)) * spread + offset).astype(np.float32)
    blocks[7] *= np.float32(1e15)  # so far that float32 cannot square it
    motifs = np.concatenate([blocks[20:320], blocks[20:23], np.zeros((1, size))])
    assert np.array_equal(there(blocks, motifs, device), by_definition(blocks, motifs))
    assert there(blocks[:0], motifs, device).tolist() == []


def test_float32_alone_decides_where_its_error_allows():
    """What is proposed is nearly always surely the nearest; else the search would be slow."""
    random = np.random.default_rng(0)
    blocks, motifs = (torch.from_numpy(random.normal(size=(n, 4))) for n in (5000, 300))
    _, clear = nearest_torch._propose(blocks, motifs.float())
    assert clear.float().mean() > 0.99


@pytest.mark.slow
def test_the_search_needs_little_memory():
    """At the largest size of the benchmark table: peak memory over what the result itself takes."""
    script = """
import resource, numpy as np
from momos.nearest.exact import nearest_motifs
random = np.random.default_rng(0)
blocks = random.normal(size=(1_400_000, 4)).astype(np.float32)
motifs = blocks[:14_000].copy()
nearest_motifs(blocks[:1000], motifs)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = nearest_motifs(blocks, motifs)
grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(grown - found.nbytes)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 256 << 20


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_squares_that_float64_cannot_hold_are_compared_all_the_same(scale):
    random = np.random.default_rng(0)
    blocks, motifs = random.normal(size=(200, 4)), random.normal(size=(30, 4))
    found = nearest_motifs(blocks * scale, motifs * scale)
    assert np.array_equal(found, nearest_motifs(blocks, motifs))


def test_nearest_where_the_expansion_has_no_digits_left():
    random = np.random.default_rng(0)
    motifs = np.unique(1e6 + random.integers(0, 4, (50, 4)) * 2.0**-3, axis=0)
    blocks = 1e6 + random.integers(0, 40, (500, 4)) * 2.0**-6
    assert nearest_motifs(blocks, motifs).tolist() == brute_force(blocks, motifs)


def test_motifs_too_close_for_float32_are_told_apart():
    motifs = 1 + np.arange(9)[:, None] * np.full((1, 4), 2.0**-40)
    blocks = motifs[::-1] + 2.0**-45
    assert nearest_motifs(blocks, np.concatenate([motifs, -motifs])).tolist() == [*range(8, -1, -1)]


@pytest.mark.parametrize("size", [3, 12])
def test_nearest_depends_neither_on_pieces_nor_on_threads(monkeypatch, size):
    random = np.random.default_rng(1)
    blocks, motifs = random.normal(size=(1100, size)), random.normal(size=(211, size))
    whole = nearest_motifs(blocks, motifs)
    for slab, threads in ((100, 1), (1 << 21, 5)):
        monkeypatch.setattr(nearest, "_SLAB", slab)
        monkeypatch.setattr(nearest, "cores", lambda threads=threads: threads)
        assert np.array_equal(nearest_motifs(blocks, motifs), whole)


def test_no_blocks_have_no_nearest_motifs():
    assert nearest_motifs(np.empty((0, 4), np.float32), np.zeros((2, 4))).shape == (0,)


def test_equal_motifs_and_signed_zeros_go_to_the_first():
    motifs = np.array([[1, 1], [-0.0, 0.0], [0.0, -0.0], [1, 1]])
    blocks = np.array([[0.1, 0.1], [-0.1, 0.0], [1, 1]])
    assert nearest_motifs(blocks, motifs).tolist() == [1, 1, 0]
