"""MNIST-1D: ten short signals hidden in noise, each at a random place.

::

    template ─► padded ─► scaled ─► translated ─► noise ─► sheared ─► resampled
    12 points   to 48–72  ± 20 %    by 0–47 of 72                     to 40 points

Generated after the description in Greydanus, "Scaling down deep learning" (arXiv 2011.14439):
the same templates and the same distribution of the signals, drawn by a generator of its own. The
signals are not those of the published file, bit by bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

LENGTH = 40  # points of a signal
TRAIN, TEST = 4_000, 1_000

_CANVAS = 72  # points of a signal while it is made
_PADDING = (36, 60)  # points at least and at most
_SHIFTS = 48

# One row a digit: the height of a pen that draws it, from the top of the page to its bottom.
_STROKES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)


def make_mnist1d(seed: int = 42) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signals, shape (5000, 40), and their labels, 500 of each digit; the first 4,000 to train.

    Examples
    --------
    >>> signals, labels = make_mnist1d()
    >>> signals.shape, np.bincount(labels).tolist()
    ((5000, 40), [500, 500, 500, 500, 500, 500, 500, 500, 500, 500])
    """
    random = np.random.default_rng(seed)
    templates = _templates()
    labels = random.permutation(np.repeat(np.arange(10), (TRAIN + TEST) // 10))
    signals = np.stack([_signal(templates[label], random) for label in labels])
    return signals.astype(np.float32), labels.astype(np.int64)


def _templates() -> NDArray[np.float64]:
    """The ten strokes, of one deviation each; they begin and end at 0."""
    centred = _STROKES - _STROKES.mean(axis=1, keepdims=True)
    scaled = centred / centred.std(axis=1, keepdims=True)
    lifted: NDArray[np.float64] = (scaled - scaled[:, :1]) / 6
    return lifted


def _signal(template: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    padding = random.integers(*_PADDING, endpoint=True)
    places = np.linspace(0, len(template) + padding - 1, _CANVAS)
    is_padding = places >= len(template)
    stroke = np.interp(places, np.arange(len(template)), template) * random.uniform(0.8, 1.2)
    shift = random.integers(_SHIFTS)
    stroke, is_padding = np.roll(stroke, shift), np.roll(is_padding, shift)
    # Noise as smooth as the strokes: otherwise smoothness alone would show where they lie.
    smooth = gaussian_filter1d(0.25 * random.standard_normal(_CANVAS), sigma=2)
    signal = np.where(is_padding, smooth, stroke) + 0.02 * random.standard_normal(_CANVAS)
    slope = 0.75 * random.uniform(-0.5, 0.5)
    return _resample(signal - slope * np.linspace(-0.5, 0.5, _CANVAS), LENGTH)


def _resample(signal: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    places = np.linspace(0, len(signal) - 1, length)
    return np.interp(places, np.arange(len(signal)), signal)
