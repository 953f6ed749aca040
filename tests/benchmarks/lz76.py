"""lz76 against a parse by a suffix array, both on one thread.

Run: python -m tests.benchmarks.lz76 [SYMBOLS]

Prints CPU seconds of lz76, those of pydivsufsort with a parse by the nearest smaller places (after
Kärkkäinen, Kempa and Puglisi, CPM 2013), and the phrases that each finds, of normal symbols.
"""

import sys
import time

import numpy as np
import pydivsufsort
from numba import njit

from kolmo import get_estimator


@njit
def neighbours(suffixes):
    """For each place the nearest smaller ones above and below it in the order of suffixes."""
    n = suffixes.size
    before, after = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    stack, top = np.empty(n + 1, np.int32), 0
    for here in suffixes:
        while top and stack[top - 1] > here:
            top -= 1
            after[stack[top]] = here
        if top:
            before[here] = stack[top - 1]
        stack[top] = here
        top += 1
    return before, after


@njit
def count_phrases(text, before, after):
    at, count, n = 0, 0, text.size
    while at < n:
        longest = 0
        for start in (before[at], after[at]):
            if start >= 0:
                length = 0
                while at + length < n and text[start + length] == text[at + length]:
                    length += 1
                longest = max(longest, length)
        at, count = at + longest + 1, count + 1
    return count


def theirs(text):
    return count_phrases(text, *neighbours(pydivsufsort.divsufsort(text)))


def ours(text):
    code = get_estimator("lz76").start(text.shape, 256)
    code.update(text)
    return code.finish().details.get("phrases")


def timed(work, text):
    work(text[:999])  # compiles
    began = time.process_time()
    found = work(text)
    return time.process_time() - began, found


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2_270_000
    text = np.random.default_rng(0).normal(127, 20, size).clip(0, 255).astype(np.uint8)
    for work in (ours, theirs):
        seconds, phrases = timed(work, text)
        print(f"{seconds:.3f} {phrases}")


if __name__ == "__main__":
    main()
