"""The compiled loops of the context code, of integers only, so that every machine gets the same.

::

    weight ─► zero? ─► exponent ─► leading mantissa bits ─► tail ─► sign

Decisions are predicted in several contexts each, and the predictions mixed in the logistic domain.
An integer is taken for its magnitude: its exponent is its length in bits, its mantissa what
follows the leading one. Magnitudes are compared as *depths*: how far a weight lies below the
largest of its table, in eighths of an octave.

A prediction is one word, a probability of 22 bits above a count of 10. Helpers are inlined where
they are called (see `kolmo.codes.arithmetic`). The file is long because it is one loop and its
parts, which are read together, and because each context is explained where it is made.

What each part is worth: how much longer the code gets without it, all others left, in percent.
*digits* and *motifs* are ``trained`` and ``momos.safetensors`` of data/, *vad* is Silero VAD 6.2.3
at 16 kHz (309,633 weights, many filters of which mirror each other), *vad 4* the same under
``symmetric:4``, *MiniLM* the first two layers of all-MiniLM-L6-v2. All but *vad 4* are float32.

======================================  ======  ======  ======  ======  ======
without                                 digits  motifs     vad   vad 4  MiniLM
======================================  ======  ======  ======  ======  ======
matches                                    .00   46.16   11.11   26.66     .00
... the mirrored ones                      .00    -.02    4.34    8.81     .00
... their tails                            .00   35.11    7.90       .     .00
input 0: match, or the decision alone      .02    5.90    1.26   16.43     .00
... of the mantissa: match, or octave      .10    5.45    1.98   10.48     .00
inputs 1 to 5 of zero and exponent         .01     .07    1.01    5.15     .11
... 1: the predicted depth                 .00     .00     .01     .09     .00
... 2: row × column                        .00     .00     .03     .02     .00
... 3: the column                          .01     .00     .05     .18     .01
... 4: the same tap one channel before     .00     .02     .17     .14     .00
... 5: the weights beside and above        .00     .01     .04     .34     .00
inputs 1, 2, 4, 5 of the sign              .02     .30     .54    5.72     .00
input 3 of the sign: the column            .00     .01     .01     .11     .02
inputs 1 and 2 of the mantissa            -.01    -.01     .05     .36     .02
tails remembered                           .00    3.10    1.40       .     .00
all inputs but 0, of every decision        .02     .36    1.62   11.48     .14
weights of mixing by the match's length    .00    -.07     .03     .41     .00
weights of mixing by the decision          .01    -.08     .10     .52     .01
bits a weight with everything            26.26   17.05   21.92    1.06   26.50
======================================  ======  ======  ======  ======  ======

Contexts 1 to 5 tell much the same, each in another resolution, so that one alone is hardly missed.
Most bits of a float are its tail's, which nothing predicts but a repeat: MiniLM's exponents, signs
and leading bits take 6.5 of its 26.5 bits. A float32 that was a float16 (vad, rounded) costs 11.39
bits a weight, and 69 % more where the zeros at its end are not looked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kolmo.codes.arithmetic import DECODING, code_bit, code_plain
from kolmo.compiled import Array, compiled

LIMIT = 2047  # of a stretched probability, a logit in units of 1/170: odds of 170,000 to 1
INPUTS = 6  # predictions mixed
FRESH = 1 << 31  # one half, never seen
STEPS = 24  # exponents that are counted down to from the largest; others are escapes
ESCAPE = 6  # bits of an integer's exponent after an escape

# A node is a decision on a weight: "is the exponent top − n" is node n, zero and sign follow. The
# leading bits of a mantissa are a tree, whose nodes are numbered as in a heap, from 1. A context
# has a prediction for each node, so that contexts lie _NODES apart in the table.
_NODES = 64  # decisions of one kind: those of a weight, or of its mantissa
_ZERO, _SIGN = 24, 25  # nodes beyond those of the exponent
_RUNS = 16  # lengths of a match that are told apart
_DEPTHS = 128  # depths
_MANTISSA = 3  # predictions of a mantissa bit

# How many contexts each input has, and where in the table they begin; those of columns come last,
# for there are as many as a row is long. The names are those of zero and exponent; the sign has
# contexts of its own in the same places (`_set_sign_places`), which its node keeps apart.
_BY_RUN, _BY_DEPTH, _BY_AXES, _BY_WEST, _BY_NEAR = 2 * _RUNS, 256, 64 * 64, 32 * 64, 32 * 64
_DEPTH_AT = _BY_RUN * _NODES
_AXES_AT = _DEPTH_AT + _BY_DEPTH * _NODES
_WEST_AT = _AXES_AT + _BY_AXES * _NODES
_NEAR_AT = _WEST_AT + _BY_WEST * _NODES
# Those of the mantissa bits.
_OCTAVE_AT = _NEAR_AT + _BY_NEAR * _NODES
_SCALE_AT = _OCTAVE_AT + 2 * _RUNS * _NODES
_RELATIVE_AT = _SCALE_AT + _DEPTHS * 16 * _NODES
_COLUMN_AT = _RELATIVE_AT + 64 * _NODES

# Decisions on tails, which are counted alone: whether it ends in the zeros of a narrower format, in
# those of a still narrower one (each by the last nine tails), is as the match foresees (by the
# match's length), is the one that is remembered (by how often it was right in a row).
_COARSE, _COARSER, _FORESEEN, _RECENT = 0, 512, 1024, 1024 + _RUNS
ALONE = 1024 + _RUNS + 4

_TRIALS = 8192  # after which recent tails must have been right once in 32 times
_BUDGET = 1 << 15  # searches without a match after which only every 16th place is searched


class Form(NamedTuple):
    """What the bits of a weight are: a float's, or an integer's (without exponent bits).

    Integers' exponents and mantissas are as wide as each needs.
    """

    exponent_bits: int
    mantissa_bits: int
    modelled: int  # leading mantissa bits that are predicted
    coarse: int  # trailing zeros that a narrower format leaves, 0 for none
    coarser: int  # and a still narrower one
    order: int  # weights that find a match


class Part(NamedTuple):
    """What is said of a table before its weights."""

    columns: int  # weights of a slice of the first dimension: what feeds one output
    taps: int  # columns of one input channel, a kernel's taps; 1 where there are no kernels
    top: int  # the largest exponent
    zeros: int  # whether there are any
    centre: int  # the integer that counts as 0
    grid: int  # exponent of the power of two of which all floats are multiples, M higher


class Model(NamedTuple):
    """What is learned, and constants: the logistic function, its inverse, rates, trust."""

    squash: Array  # logit + LIMIT → probability of 16 bits
    stretch: Array  # probability of 12 bits → logit
    rates: Array  # decisions seen → step towards the next one, in 65,536ths
    trust: Array  # decisions seen → share of the logit that counts, in 256ths
    table: Array  # predictions
    alone: Array  # those that are not mixed
    by_node: Array  # weights of mixing, of shape (2 · _NODES, INPUTS): mantissas come second
    by_run: Array  # and by the length of the match, of shape (2 · _RUNS, INPUTS)


class Streams(NamedTuple):
    """Where the bits go to, or come from: the decisions and, beside them, the plain bits."""

    coder: Array  # registers of `kolmo.codes.arithmetic`
    coded: Array  # its bytes
    plain_state: Array
    plain: Array


class Memory(NamedTuple):
    """What is known of the table at hand."""

    depths: Array  # of each weight that is known
    columns: Array  # sums of depths, by column
    ahead: Array  # where such weights were last followed by others
    behind: Array  # and where they were, in reverse, preceded
    recent: Array  # the last tail after such leading bits in such a column
    registers: Array
    inputs: Array  # room for the predictions of a decision
    places: Array  # and for where they are


# Registers of the table at hand: the sums of depths of this row and of all weights, the mean depth
# (of 256ths); of the row's last nine tails which were coarse; the match's next weight, direction
# and length; the budget of searches; how often a remembered tail was tried, and was right.
_ROW_SUM, _SUM, _MEAN, _FLAGS, _POINTER, _STEP, _RUN, _LEFT, _TRIED, _HIT = range(10)
REGISTERS = 10


class _Seen(NamedTuple):
    """What surrounds a weight: a predicted depth (of 256ths) and the depths beside it."""

    depth: int  # by row and column together
    by_row: int  # 64 levels
    by_column: int
    west: int  # the same tap of the input channel before
    beside: int  # the weight before, in the same kernel
    north: int  # the same place of the row above


def table_size(columns: int) -> int:
    """Predictions that tables of so many columns need."""
    return _COLUMN_AT + columns * _NODES


def forget_columns(table: Array) -> None:
    """Before another table: its columns are others."""
    table[_COLUMN_AT:] = FRESH


def new_mixers() -> tuple[Array, Array]:
    """Weights of mixing by node and by run.

    The two add up and are of 131,072: to a sixth of each of six inputs, a third of each of three.
    What is mixed so is the mean of the inputs, until something is learned.
    """
    by_node = np.full((2 * _NODES, INPUTS), 11_000, np.int64)
    by_run = np.full((2 * _RUNS, INPUTS), 11_000, np.int64)
    by_node[_NODES:] = by_run[_RUNS:] = 22_000
    return by_node, by_run


def new_registers() -> Array:
    """Registers before a table: the mean depth is the middle one, the budget of searches full."""
    registers = np.zeros(REGISTERS, np.int64)
    registers[_MEAN], registers[_LEFT] = 64 << 8, _BUDGET
    return registers


@compiled
def code_span(
    weights: Array,
    first: int,
    last: int,
    form: Form,
    part: Part,
    model: Model,
    streams: Streams,
    memory: Memory,
) -> None:
    """Code the weights first..last of a table, or fill them in.

    Parameters
    ----------
    weights : int64 ndarray
        All of the table, flat in row-major order: bit patterns of floats, or integers. When
        decoding, those before ``first`` are known, and first..last are written.
    first, last : int
        A table may be coded in spans, one after the other; that moves no bit.
    form, part : what the weights are, and what is known of the table
    model : what was learned of all tables so far; changed
    streams : whether it is coded or decoded, and where to; changed
    memory : what is known of this table; changed

    Notes
    -----
    Of a weight, in this order: is it zero (if there are any), its exponent, the leading bits of its
    mantissa, its tail, its sign. Both sides know what came before, and so the same contexts.

    One long loop on purpose: tuples of arrays that are handed on, level by level, are counted
    references at every level, which would halve its speed.
    """
    registers, depths, columns = memory.registers, memory.depths, memory.columns
    places, recent = memory.places, memory.recent
    decoding = streams.coder[DECODING] == 1
    for place in range(first, last):
        row = place // part.columns
        column = place - row * part.columns
        seen = _look(place, row, column, part, registers, depths, columns)
        # A match: the weights just before this place occurred before, so that what followed there
        # is the guess here. It sees shared and copied rows, motifs, filters and their mirror
        # images. Each decision learns how far a match of this length is to be trusted.
        run = _step_match(registers)
        guess = _split(weights[registers[_POINTER]] if run > 0 else 0, form, part.centre)
        live = run  # the match's length, 0 as soon as it was wrong about this weight
        sign, exponent, mantissa = 0, 0, 0
        if not decoding:
            sign, exponent, mantissa = _split(weights[place], form, part.centre)
        _set_places(places, column, seen)

        # Is it zero? Zeros are no small numbers: pruning, ReLU's dead units and rounding make them,
        # by row, by column and in clusters, as contexts 1 to 5 see. Of a table without zeros
        # nothing is asked.
        is_zero = 0
        if part.zeros:
            is_zero = int(exponent == 0 and mantissa == 0)
            foreseen = int(guess[1] == 0 and guess[2] == 0)
            places[0] = _run_place(live, foreseen)
            is_zero = _decide(is_zero, _ZERO, 0, INPUTS, live, model, streams, memory)
            live = live if is_zero == foreseen else 0
        down, depth = STEPS, _DEPTHS - 1
        if is_zero == 0:
            # The exponent: count down from the table's largest, "is it this octave?" each time.
            # It takes few: 64 % (MiniLM) to 81 % (digits) of the weights lie 1 to 6 octaves below
            # the largest. What lies deeper than STEPS is rare, and its distance is sent plainly.
            # Integers other than zero have one bit or more.
            least = 0 if form.exponent_bits else 1
            aim, down = part.top - exponent, 0
            while down < STEPS and down < part.top - least:
                foreseen = int(down == part.top - guess[1])
                places[0] = _run_place(live, foreseen)
                y = _decide(int(down == aim), down, 0, INPUTS, live, model, streams, memory)
                live = live if y == foreseen else 0
                if y:
                    break
                down += 1
            exponent = part.top - down
            if down == STEPS:
                width = form.exponent_bits if form.exponent_bits else ESCAPE
                exponent = code_plain(
                    part.top - aim, width, streams.plain_state, streams.plain, decoding
                )
            live = live if exponent == guess[1] else 0

            # The leading bits of the mantissa. Within an octave small values are the likelier the
            # steeper the density falls there, which is a matter of where the octave lies in the
            # distribution: flat near zero, steep in the tails. Hence the contexts: the octave
            # (0), octave and predicted depth apart (1), and their difference (2), which has few
            # contexts and learns soonest. Three bits of a float: a fourth would lengthen digits by
            # .01 %, and shorten MiniLM by .003 % and vad by .4 %. Six of an integer, which seldom
            # has more.
            bits = form.mantissa_bits if form.exponent_bits else max(exponent - 1, 0)
            modelled = min(form.modelled, bits)
            octave, scale = min(down, 15), seen.depth >> 8
            places[1] = _SCALE_AT + (scale * 16 + octave) * _NODES
            places[2] = _RELATIVE_AT + min(max(8 * down + 36 - scale, 0), 63) * _NODES
            node = 1
            for shift in range(bits - 1, bits - 1 - modelled, -1):
                foreseen = (guess[2] >> shift) & 1
                places[0] = _octave_place(live, foreseen, octave)
                y = (mantissa >> shift) & 1
                y = _decide(y, node, _NODES, _MANTISSA, live, model, streams, memory)
                live = live if y == foreseen else 0
                node = 2 * node + y
            lead = node - (1 << modelled)
            depth = _depth(exponent, lead, modelled, part.top)

            # The tail: as the match has it, or as it was last after such leading bits in this
            # column, or plainly, less the zeros that a narrower format leaves. No density tells
            # anything of it, only repeats do; and then one decision saves all of its bits, 20 of
            # a float32. All decisions so far were as foreseen if ``live`` is not 0.
            rest = bits - modelled
            tail = mantissa & ((1 << rest) - 1)
            known = int(rest == 0)
            if rest > 0 and live > 0:
                foreseen = guess[2] & ((1 << rest) - 1)
                known = int(tail == foreseen)
                known = _count(known, _FORESEEN + min(live, _RUNS - 1), model, streams)
                tail = foreseen if known else tail
                live = live if known else 0
            # Tails are remembered by column and leading bits: a table of few distinct values, as
            # of motifs, codebooks or scaled integers, has few tails for each. Equal values in a
            # column far apart need no match of their neighbours. Short tails coincide by chance.
            # Where this was tried often and hardly ever right, it is given up.
            remembers = rest >= 12 and (
                registers[_TRIED] < _TRIALS or registers[_HIT] * 32 > registers[_TRIED]
            )
            slot = _slot(column, exponent, lead) & (recent.size - 1)
            sure = 0
            if remembers and recent[slot] >= 0:
                last_tail = recent[slot] >> 2
                sure = recent[slot] & 3
                if known == 0:
                    known = int(tail == last_tail)
                    known = _count(known, _RECENT + sure, model, streams)
                    tail = last_tail if known else tail
                    registers[_TRIED] += 1
                    registers[_HIT] += known
                sure = min(sure + 1, 3) if known > 0 and tail == last_tail else 0
            if known == 0:
                # Does the tail end in the zeros that a narrower format leaves? Checkpoints are
                # widened for all tensors alike. Its context is which of the row's last nine did.
                low = 0
                if form.coarse > 0 and form.coarse < rest:
                    ends = int(tail & ((1 << form.coarse) - 1) == 0)
                    if _count(ends, _COARSE + registers[_FLAGS], model, streams):
                        low = form.coarse
                if low > 0 and form.coarser < rest:
                    ends = int(tail & ((1 << form.coarser) - 1) == 0)
                    if _count(ends, _COARSER + registers[_FLAGS], model, streams):
                        low = form.coarser
                # What lies below the grid is zero in any case: weights that were drawn uniformly,
                # and never trained, are multiples of one power of two (data/random.safetensors:
                # 7.7 % of its code).
                low = max(low, min(rest, part.grid - max(exponent, 1)))
                tail = code_plain(
                    tail >> low, rest - low, streams.plain_state, streams.plain, decoding
                )
                tail <<= low
            if remembers:
                recent[slot] = (tail << 2) | sure
            if form.coarse > 0:
                ends = int(tail & ((1 << form.coarse) - 1) == 0)
                registers[_FLAGS] = ((registers[_FLAGS] << 1) | ends) & 511
            mantissa = (lead << rest) | tail

        # The sign last: whether neighbours' signs tell anything of it depends on how large it is.
        # A float's zero has one too.
        if is_zero == 0 or form.exponent_bits:
            _set_sign_places(places, weights, place, row, column, down, seen, form, part)
            places[0] = _run_place(live, guess[0])
            sign = _decide(sign, _SIGN, 0, INPUTS, live, model, streams, memory)
        if decoding:
            weights[place] = _join(sign, exponent, mantissa, form, part.centre)

        depths[place] = depth
        columns[column] += depth
        registers[_ROW_SUM] += depth
        registers[_SUM] += depth
        # A match goes on while magnitudes are right; signs may differ, as those of filters that are
        # each other's negatives do.
        if run > 0:
            right = guess[1] == exponent and guess[2] == mantissa
            registers[_RUN] = min(run + 1, 400) if right else 0
            registers[_LEFT] = min(registers[_LEFT] + 16 * right, 2 * _BUDGET)
        # Searches are what costs time where nothing repeats: each takes one off a budget, to which
        # what they find adds; without any left every 16th place is searched.
        if place + 1 >= form.order and (registers[_LEFT] > 0 or place & 15 == 15):
            _find(weights, place + 1, form, part.centre, registers, memory.ahead, memory.behind)


# --- contexts -------------------------------------------------------------------------------


@compiled(inline="always")
def _look(
    place: int, row: int, column: int, part: Part, registers: Array, depths: Array, columns: Array
) -> _Seen:
    """The depth that row and column predict, and the depths of neighbours.

    Each output's weights (a row) and each input's (a column) have a scale of their own, by
    initialization, normalization and training. In logarithms scales add up: the prediction is the
    mean of all, and how far row and column lie off it. Each begins at the mean, as if it had held
    for six weights, so that a first weight says little. Sums of integers, so that both sides agree;
    the mean is brought up to date every 256 weights, which spares a division.
    """
    if column == 0:
        registers[_ROW_SUM] = 0
        registers[_FLAGS] = 0
    if place & 255 == 0 and place:
        registers[_MEAN] = (registers[_SUM] << 8) // place
    mean = registers[_MEAN]
    by_row = mean + ((registers[_ROW_SUM] << 8) - column * mean) // (column + 6)
    by_column = mean + ((columns[column] << 8) - row * mean) // (row + 6)
    # Where there is no neighbour, its depth is that of the middle.
    return _Seen(
        min(max(by_row + by_column - mean, 0), (_DEPTHS << 8) - 1),
        min(max(by_row >> 9, 0), 63),
        min(max(by_column >> 9, 0), 63),
        depths[place - part.taps] if column >= part.taps else 64,
        depths[place - 1] if column > 0 else 64,
        depths[place - part.columns] if row > 0 else 64,
    )


@compiled(inline="always")
def _set_places(places: Array, column: int, seen: _Seen) -> None:
    """Where the predictions of zeros and exponents are; input 0 is `_run_place`."""
    # The scale that row and column predict together, in half depths: one number that says most, so
    # that the shape of the distribution around its scale is learned soon, and once for all rows.
    places[1] = _DEPTH_AT + (seen.depth >> 7) * _NODES
    # Row and column apart: a weight in a row of small ones and a column of large ones need not be
    # as one of middling ones; one dead input makes zeros whatever the row is.
    places[2] = _AXES_AT + (seen.by_row * 64 + seen.by_column) * _NODES
    # The column itself, whatever its mean: an input whose weights have a distribution of their own,
    # such as a bimodal one, or are all zero.
    places[3] = _COLUMN_AT + column * _NODES
    # The same tap of the input channel before (in a matrix the weight before): kernels of one
    # output have a like shape, strong in the middle say. And the scale, for whoever knows both.
    places[4] = _WEST_AT + ((seen.west >> 2) * 64 + (seen.depth >> 9)) * _NODES
    # The weight before and the one above, exactly: kernels are smooth, zeros come in clusters.
    places[5] = _NEAR_AT + ((seen.beside >> 2) * 64 + (seen.north >> 1)) * _NODES


@compiled(inline="always")
def _set_sign_places(
    places: Array,
    weights: Array,
    place: int,
    row: int,
    column: int,
    down: int,
    seen: _Seen,
    form: Form,
    part: Part,
) -> None:
    """Where the predictions of the sign are: neighbours' signs and depths, and its own.

    Signs of a dense layer are nearly coin flips. Those of a smooth kernel go together where both
    weights are large, so that every context has the weight's own octave (``near``), known by now.
    """
    near, west, beside, north = min(down, 7), 2, 2, 2
    if column >= part.taps:
        west = _sign(weights[place - part.taps], form, part.centre)
    if column > 0:
        beside = _sign(weights[place - 1], form, part.centre)
    if row > 0:
        north = _sign(weights[place - part.columns], form, part.centre)
    # All three neighbours' signs, 2 where there is none: do they agree?
    places[1] = _DEPTH_AT + (west + 3 * beside + 9 * north + 27 * near) * _NODES
    # Each neighbour's sign and depth: a large one says more than a small one.
    places[2] = _AXES_AT + ((west * 8 + near) * 64 + (seen.west >> 1)) * _NODES
    # The column: an input that most outputs take with the same sign, as one with a mean other than
    # 0 (of MiniLM it saves 18 times as many bits of signs as all neighbours do).
    places[3] = _COLUMN_AT + column * _NODES
    places[4] = _WEST_AT + ((beside * 8 + near) * 64 + (seen.beside >> 1)) * _NODES
    places[5] = _NEAR_AT + ((north * 8 + near) * 64 + (seen.north >> 1)) * _NODES


@compiled(inline="always")
def _run_place(live: int, foreseen: int) -> int:
    """Where the prediction is that a match gives, by its length and what it foresees.

    Without one it is the node's own, of order 0: how often zero, octave and sign are so at all.
    """
    return (2 * min(live, _RUNS - 1) + foreseen * int(live > 0)) * _NODES


@compiled(inline="always")
def _octave_place(live: int, foreseen: int, octave: int) -> int:
    """The same for a bit of the mantissa, where without a match the octave counts: it says most of
    how steep the density is."""
    if live > 0:
        return _OCTAVE_AT + (_RUNS + 2 * min(live - 1, 7) + foreseen) * _NODES
    return _OCTAVE_AT + octave * _NODES


@compiled(inline="always")
def _depth(exponent: int, lead: int, bits: int, top: int) -> int:
    """How far a magnitude lies below the largest, in eighths of an octave, 0 to 127.

    ``lead`` are the first ``bits`` bits of the mantissa. Eighths are steps of the mantissa, not
    of the logarithm: that spares a table and serves as well for a context.
    """
    eighths = lead >> (bits - 3) if bits >= 3 else lead << (3 - bits)
    return min(max(8 * (top + 1 - exponent) - eighths, 0), _DEPTHS - 1)


@compiled(inline="always")
def _slot(column: int, exponent: int, lead: int) -> int:
    """A hash of leading bits and column; two that collide cost a wrong guess, no error."""
    return (column * 4099 + exponent * 16 + lead) * 2654435761 >> 8


# --- matches --------------------------------------------------------------------------------


@compiled(inline="always")
def _step_match(registers: Array) -> int:
    """Go on to the next weight of the match; its length, 0 where there is none any more."""
    registers[_POINTER] += registers[_STEP]
    if registers[_POINTER] < 0:
        registers[_RUN] = 0
    return int(registers[_RUN])


@compiled(inline="always")
def _find(
    weights: Array,
    place: int,
    form: Form,
    centre: int,
    registers: Array,
    ahead: Array,
    behind: Array,
) -> None:
    """Remember the magnitudes before a place; where there is no match, look for one: the same
    magnitudes in the same order, or in reverse, which mirrored filters have.

    The last ``form.order`` magnitudes are hashed from the newest on and from the oldest on. What
    was seen before in the order in which they now lie has the same hash of the first kind; what
    was seen in reverse had as hash of the second kind what now is that of the first. The order is
    32 bits' worth of weights or more, so that few matches are chance.
    """
    mask, newest, oldest = ahead.size - 1, 0, 0
    for i in range(form.order):
        newest = _hash(newest, _magnitude(weights[place - 1 - i], form, centre))
        oldest = _hash(oldest, _magnitude(weights[place - form.order + i], form, centre))
    newest, oldest = (newest >> 12) & mask, (oldest >> 12) & mask
    if registers[_RUN] == 0:
        registers[_LEFT] -= 1
        _follow(weights, place, ahead[newest] - 1, 1, form, centre, registers)
        _follow(weights, place, behind[newest] - 1, -1, form, centre, registers)
    ahead[newest] = place + 1  # 0 says that there is none
    behind[oldest] = place - form.order


@compiled(inline="always")
def _follow(
    weights: Array, place: int, start: int, step: int, form: Form, centre: int, registers: Array
) -> None:
    """Take up the match that foresees weights[start] next, if it is real and the longest.

    ``step`` is 1 where the weights of old go on forwards, −1 where they go backwards. Magnitudes
    are compared from the last one on, up to 32: a hash may err.
    """
    length = 0
    if start >= 0:
        other = start - step
        while length < 32 and 0 <= other < place and place - 1 - length >= 0:
            own = _magnitude(weights[place - 1 - length], form, centre)
            if own != _magnitude(weights[other], form, centre):
                break
            length += 1
            other -= step
    if length >= form.order and length > registers[_RUN]:
        registers[_RUN], registers[_STEP] = length, step
        registers[_POINTER] = start - step


@compiled(inline="always")
def _hash(key: int, magnitude: int) -> int:
    """One more magnitude in a hash of 40 bits (multiplicative, 2^32 / golden ratio)."""
    return (key + magnitude + 1) * 2654435761 & 0xFFFFFFFFFF


# --- decisions ------------------------------------------------------------------------------


@compiled(inline="always")
def _decide(
    y: int,
    node: int,
    base: int,
    count: int,
    run: int,
    model: Model,
    streams: Streams,
    memory: Memory,
) -> int:
    """Code a decision at the mixture of its predictions, and learn from it.

    ``y`` is the decision (of no meaning when decoding), ``node`` which one it is; ``base`` is 0 for
    the decisions of a weight, _NODES for those of its mantissa; the first ``count`` of
    ``memory.places`` say where its predictions are; ``run`` is the length of the match. Returns
    the decision.

    Logits are added up, each with a weight. Weights are learned by the gradient of the code length,
    that is error × input, in two sets: by the decision, and by the match's length, as a match that
    has held for long should silence all else. Predictions count the less, the less they have seen.
    """
    table, inputs, places = model.table, memory.inputs, memory.places
    by_node, by_run = model.by_node, model.by_run
    one = base + node
    two = min(run, _RUNS - 1) + base * _RUNS // _NODES
    total = 0
    for i in range(count):
        word = int(np.int64(table[places[i] + node]))
        said = (model.stretch[word >> 20] * model.trust[word & 1023]) >> 8
        inputs[i] = said
        total += (by_node[one, i] + by_run[two, i]) * said
    probability = model.squash[min(max(total >> 17, -LIMIT), LIMIT) + LIMIT]
    y = code_bit(y, probability, streams.coder, streams.coded)
    error = ((y << 16) - probability) * 6
    for i in range(count):
        change = (inputs[i] * error + (1 << 17)) >> 18
        by_node[one, i] += change
        by_run[two, i] += change
        _learn(y, table, places[i] + node, model.rates)
    return y


@compiled(inline="always")
def _count(y: int, place: int, model: Model, streams: Streams) -> int:
    """Code a decision by its own count, without mixing; returns it."""
    probability = min(max(int(np.int64(model.alone[place])) >> 16, 1), 65535)
    y = code_bit(y, probability, streams.coder, streams.coded)
    _learn(y, model.alone, place, model.rates)
    return y


@compiled(inline="always")
def _learn(y: int, table: Array, place: int, rates: Array) -> None:
    """Move a prediction towards a decision, the less the more it has seen.

    The step is 1 / (n + 1.6): the mean of what was seen, a little quicker than that at first, and
    from 1,023 decisions on a memory that fades.
    """
    word = int(np.int64(table[place]))
    probability, seen = word >> 10, word & 1023
    probability += (((-y & 4194303) - probability) * rates[seen]) >> 16
    table[place] = np.uint32((probability << 10) | min(seen + 1, 1023))


# --- the bits of a weight -------------------------------------------------------------------


@compiled(inline="always")
def _split(word: int, form: Form, centre: int) -> tuple[int, int, int]:
    """Sign, exponent and mantissa; of an integer its side of the centre, the length of its distance
    in bits (0 at the centre), and what follows the leading one."""
    if form.exponent_bits:
        sign = (word >> (form.exponent_bits + form.mantissa_bits)) & 1
        exponent = (word >> form.mantissa_bits) & ((1 << form.exponent_bits) - 1)
        return sign, exponent, word & ((1 << form.mantissa_bits) - 1)
    value = abs(word - centre)
    exponent = 0
    while value >> exponent:
        exponent += 1
    leading = 1 << exponent >> 1
    return int(word < centre), exponent, value - leading


@compiled(inline="always")
def _join(sign: int, exponent: int, mantissa: int, form: Form, centre: int) -> int:
    """Undo `_split`."""
    if form.exponent_bits:
        return (((sign << form.exponent_bits) | exponent) << form.mantissa_bits) | mantissa
    value = (1 << exponent >> 1) + mantissa
    return centre - value if sign else centre + value


@compiled(inline="always")
def _magnitude(word: int, form: Form, centre: int) -> int:
    """What matches are of: a float's bits without its sign, an integer's distance."""
    if form.exponent_bits:
        return word & ((1 << (form.exponent_bits + form.mantissa_bits)) - 1)
    return abs(word - centre)


@compiled(inline="always")
def _sign(word: int, form: Form, centre: int) -> int:
    """0 or 1; 2 where there is none."""
    if form.exponent_bits:
        return (word >> (form.exponent_bits + form.mantissa_bits)) & 1
    return int(word < centre) if word != centre else 2
