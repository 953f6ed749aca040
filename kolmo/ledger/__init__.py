"""The ledger of the trivial: facts of a tensor that explain a figure before any structure does.

::

    weights ─ one pass ─► facts: sizes, zeros, precision, distinct values, groups, exponents
            └ 128 of them ─► sketch ─ alike? ─► both read again ─► copy, negated, scaled, average
    matrix  ─► singular values, and those of its shuffles (where asked for, or affordable)

Nothing here is an estimate of complexity. A mask, an average of weights that lies in the same file,
or float32 that holds bfloat16 make a file shorter and say nothing about learning; a report that
names them keeps a reader from taking one for the other.
"""
