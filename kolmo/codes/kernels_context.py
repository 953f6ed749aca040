"""The compiled loops of the context code, of integers only, so that every machine gets the same.

::

    weight ─► zero? ─► exponent ─► leading mantissa bits ─► tail ─► sign

Each decision is predicted in several contexts, and the predictions are mixed in the logistic
domain. An integer is split likewise: its exponent is the length of its magnitude in bits, its
mantissa the bits after the leading one. Magnitudes are compared as *depths*: how far a weight lies
below the largest of its table, in eighths of an octave.

A prediction is one word, a probability of 22 bits above a count of 10 bits. Helpers are inlined
into their callers (see `kolmo.codes.arithmetic`). The file is long because it is one loop and its
parts, which are read together, and because each context is explained where it is made.

The table shows what each part is worth: how much longer the code gets without it, in percent.
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

Contexts 1 to 5 overlap, each at another resolution, so that leaving out one alone costs little.
Most bits of a float are in its tail, which only a repeat predicts: MiniLM's exponents, signs and
leading bits take 6.5 of its 26.5 bits. A float32 that was a float16 (vad, rounded) costs 11.39
bits a weight, and 69 % more without the test for zeros at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kolmo.codes.arithmetic import DECODING, code_bit, code_plain
from kolmo.compiled import Array, compiled

LIMIT = 2047  # largest logit, in units of 1/170: odds of 170,000 to 1
INPUTS = 6  # predictions mixed
FRESH = 1 << 31  # one half, never seen
STEPS = 24  # exponents that are counted down to from the largest; others are escapes
ESCAPE = 6  # bits of an integer's exponent after an escape

# A node is a decision on a weight: "is the exponent top − n" is node n, zero and sign follow. The
# leading bits of a mantissa are a tree, whose nodes are numbered as in a heap, from 1. A context
# has a prediction for each node, so that contexts lie NODES apart in the table.
NODES = 64  # decisions of one kind: those of a weight, or of its mantissa
ZERO, SIGN = 24, 25  # nodes beyond those of the exponent
RUNS = 16  # classes of match lengths
DEPTHS = 128  # depths
_MANTISSA = 3  # predictions of a mantissa bit

# How many contexts each input has, and where in the table they begin; those of columns come last,
# because their number depends on the length of a row. The names are those of zero and exponent; the
# sign has contexts of its own at the same places (`set_sign_places`), separated by its node.
_BY_RUN, _BY_DEPTH, _BY_AXES, _BY_WEST, _BY_NEAR = 2 * RUNS, 256, 64 * 64, 32 * 64, 32 * 64
DEPTH_AT = _BY_RUN * NODES
AXES_AT = DEPTH_AT + _BY_DEPTH * NODES
WEST_AT = AXES_AT + _BY_AXES * NODES
NEAR_AT = WEST_AT + _BY_WEST * NODES
# Those of the mantissa bits.
OCTAVE_AT = NEAR_AT + _BY_NEAR * NODES
SCALE_AT = OCTAVE_AT + 2 * RUNS * NODES
RELATIVE_AT = SCALE_AT + DEPTHS * 16 * NODES
COLUMN_AT = RELATIVE_AT + 64 * NODES

# Decisions on a tail, predicted by a count each, without mixing: whether it ends in the zeros of a
# narrower format, or in those of a still narrower one (each by the last nine tails); whether it is
# the match's (by the match's length); whether it is the remembered one (by its hits in a row).
_COARSE, _COARSER, _FORESEEN, _RECENT = 0, 512, 1024, 1024 + RUNS
ALONE = 1024 + RUNS + 4

TRIALS = 8192  # trials after which recent tails must have been right once in 32 times
BUDGET = 1 << 15  # searches without a match after which only every 16th place is searched


class Form(NamedTuple):
    """How the bits of a weight are split: a float's, or an integer's (without exponent bits).

    An integer's exponent and mantissa are as wide as it needs.
    """

    exponent_bits: int
    mantissa_bits: int
    modelled: int  # leading mantissa bits that are predicted
    coarse: int  # trailing zeros that a narrower format leaves, 0 for none
    coarser: int  # and a still narrower one
    order: int  # number of weights that are hashed to find a match


class TableHead(NamedTuple):
    """A table's head, which is sent before its weights."""

    columns: int  # weights of a slice of the first dimension: what feeds one output
    taps: int  # columns of one input channel, a kernel's taps; 1 where there are no kernels
    top: int  # the largest exponent
    zeros: int  # whether any weight is zero
    centre: int  # the integer that counts as 0
    grid: int  # exponent of the power of two that divides all floats, plus the mantissa's bits


# Registers of the current table: the sums of depths of this row and of all weights, the mean depth
# (in 256ths); flags that say which of the row's last nine tails were coarse; the match's next
# weight, direction and length; the budget of searches; how often a remembered tail was tried, and
# was right.
ROW_SUM, SUM, MEAN, FLAGS, POINTER, STEP, RUN, LEFT, TRIED, HIT = range(10)
REGISTERS = 10


STATE = np.dtype(
    [
        # Constants: logit + LIMIT → probability of 16 bits; probability of 12 bits → logit;
        # decisions seen → step towards the next one, in 65,536ths; decisions seen → share of the
        # logit that counts, in 256ths.
        ("squash", np.int64, 2 * LIMIT + 1),
        ("stretch", np.int64, 4096),
        ("rates", np.int64, 1024),
        ("trust", np.int64, 1024),
        # What is learned from all tables: predictions that are not mixed, mixing weights by node
        # (mantissas come second) and by the match's length.
        ("alone", np.uint32, ALONE),
        ("by_node", np.int64, (2 * NODES, INPUTS)),
        ("by_run", np.int64, (2 * RUNS, INPUTS)),
        # Registers: the coder's and the plain bits' (see `kolmo.codes.arithmetic`), the table's.
        ("coder", np.int64, 5),
        ("plain", np.int64, 3),
        ("registers", np.int64, REGISTERS),
        # Buffers: the predictions of a decision, and their places in the table.
        ("inputs", np.int64, INPUTS),
        ("places", np.int64, INPUTS),
    ],
    align=True,
)
"""All of the state whose size is known: one record, which a call passes as one pointer."""


class Streams(NamedTuple):
    """The bytes that are written or read: those of the decisions, and those of the plain bits."""

    coded: Array
    plain: Array


class Memory(NamedTuple):
    """What is remembered of the current table."""

    depths: Array  # depth of each weight coded so far
    columns: Array  # sums of depths, by column
    ahead: Array  # by hash of a sequence of weights: the place after its last occurrence
    behind: Array  # by hash of the reversed sequence: the place of its last occurrence
    recent: Array  # by hash of column and leading bits: the last tail


class Seen(NamedTuple):
    """The surroundings of a weight: a predicted depth (in 256ths) and the depths of neighbours."""

    depth: int  # by row and column together
    by_row: int  # 64 levels
    by_column: int
    west: int  # the same tap of the input channel before
    beside: int  # the weight before, in the same kernel
    north: int  # the same place of the row above


def table_size(columns: int) -> int:
    """The number of predictions that tables of up to ``columns`` columns need."""
    return COLUMN_AT + columns * NODES


def new_state(constants: Sequence[Array], coder: Array) -> Any:
    """The state before the first table: a record of dtype `STATE`.

    An input's weight is the sum of both, in units of 1/131,072: a sixth for each of six inputs, a
    third for each of three. The mixture starts as the mean of the inputs.
    """
    state = np.zeros(1, STATE).view(np.recarray)[0]  # whose fields are attributes, compiled or not
    state["squash"], state["stretch"], state["rates"], state["trust"] = constants
    state["alone"], state["coder"] = FRESH, coder
    state["by_node"], state["by_run"] = 11_000, 11_000
    state["by_node"][NODES:] = state["by_run"][RUNS:] = 22_000
    return state


def begin_table(state: Any, table: Array) -> None:
    """Reset what belongs to one table: the contexts of columns, and the registers.

    The mean depth starts as the middle one, the budget of searches is full.
    """
    table[COLUMN_AT:] = FRESH
    registers = state["registers"]
    registers[:] = 0
    registers[MEAN], registers[LEFT] = 64 << 8, BUDGET


@compiled
def code_span(
    weights: Array,
    first: int,
    last: int,
    form: Form,
    head: TableHead,
    state: Array,
    table: Array,
    streams: Streams,
    memory: Memory,
) -> None:
    """Encode the weights first..last of a table, or decode them.

    Parameters
    ----------
    weights : int64 ndarray
        All of the table, flat in row-major order: bit patterns of floats, or integers. When
        decoding, those before ``first`` are known, and first..last are written.
    first, last : int
        A table may be coded in spans, one after the other; the bits do not depend on them.
    form, head : how the weights are split, and the table's head
    state : a record of dtype `STATE`; changed
    table : the predictions, learned from all tables so far; changed
    streams : the bytes that are written or read
    memory : what is remembered of this table; changed

    Notes
    -----
    The parts of a weight come in this order: is it zero (if the table has zeros), its exponent, the
    leading bits of its mantissa, its tail, its sign. Encoder and decoder know the same weights
    before it, and so have the same contexts.

    The loop is long because its parts share most of what they know.
    """
    depths, columns, recent = memory.depths, memory.columns, memory.recent
    registers, places, coded = state.registers, state.places, streams.coded
    decoding = state.coder[DECODING] == 1
    for place in range(first, last):
        row = place // head.columns
        column = place - row * head.columns
        seen = look_around(place, row, column, head, registers, depths, columns)
        # A match: the weights just before this place occurred before, so that the weight that
        # followed there is the guess here. Matches cover shared and copied rows, motifs, filters
        # and their mirror images. Each decision learns how reliable a match of this length is.
        run = step_match(registers)
        guess = split_word(weights[registers[POINTER]] if run > 0 else 0, form, head.centre)
        live = run  # the match's length, 0 once its guess was wrong for a part of this weight
        sign, exponent, mantissa = 0, 0, 0
        if not decoding:
            sign, exponent, mantissa = split_word(weights[place], form, head.centre)
        set_places(places, column, seen)

        # Is it zero? Zeros are more than the smallest numbers: pruning, ReLU's dead units and
        # rounding make them, by row, by column and in clusters, as contexts 1 to 5 see. In a table
        # without zeros there is no such decision.
        is_zero = 0
        if head.zeros:
            is_zero = int(exponent == 0 and mantissa == 0)
            foreseen = int(guess[1] == 0 and guess[2] == 0)
            places[0] = run_place(live, foreseen)
            is_zero = _decide(is_zero, ZERO, 0, INPUTS, live, state, table, coded)
            live = live if is_zero == foreseen else 0
        down, depth = STEPS, DEPTHS - 1
        if is_zero == 0:
            # The exponent: count down from the table's largest, "is it this octave?" each time.
            # This takes few decisions: 64 % (MiniLM) to 81 % (digits) of the weights lie 1 to 6
            # octaves below the largest. Weights deeper than STEPS are rare, and their exponent is
            # sent plainly. Integers other than zero have one bit or more.
            least = 0 if form.exponent_bits else 1
            aim, down = head.top - exponent, 0
            while down < STEPS and down < head.top - least:
                foreseen = int(down == head.top - guess[1])
                places[0] = run_place(live, foreseen)
                y = _decide(int(down == aim), down, 0, INPUTS, live, state, table, coded)
                live = live if y == foreseen else 0
                if y:
                    break
                down += 1
            exponent = head.top - down
            if down == STEPS:
                width = form.exponent_bits if form.exponent_bits else ESCAPE
                exponent = code_plain(head.top - aim, width, state.plain, streams.plain, decoding)
            live = live if exponent == guess[1] else 0

            # The leading bits of the mantissa. The steeper the density falls within an octave, the
            # likelier are its small values; how steep depends on where the octave lies in the
            # distribution: flat near zero, steep in the tails. Hence the contexts: the octave
            # (0), the pair of octave and predicted depth (1), and their difference (2), which has
            # few contexts and learns soonest. A float has three such bits: a fourth would lengthen
            # digits by .01 %, and shorten MiniLM by .003 % and vad by .4 %. An integer has six, and
            # is seldom longer.
            bits = form.mantissa_bits if form.exponent_bits else max(exponent - 1, 0)
            modelled = min(form.modelled, bits)
            octave, scale = min(down, 15), seen.depth >> 8
            places[1] = SCALE_AT + (scale * 16 + octave) * NODES
            places[2] = RELATIVE_AT + min(max(8 * down + 36 - scale, 0), 63) * NODES
            node = 1
            for shift in range(bits - 1, bits - 1 - modelled, -1):
                foreseen = (guess[2] >> shift) & 1
                places[0] = octave_place(live, foreseen, octave)
                y = (mantissa >> shift) & 1
                y = _decide(y, node, NODES, _MANTISSA, live, state, table, coded)
                live = live if y == foreseen else 0
                node = 2 * node + y
            lead = node - (1 << modelled)
            depth = depth_of(exponent, lead, modelled, head.top)

            # The tail: that of the match, or the last one after the same leading bits in this
            # column, or plainly, without the zeros that a narrower format leaves. No density
            # predicts it, only repeats do; then one decision saves all of its bits, 20 of a
            # float32. If ``live`` is not 0, the match was right about all decisions so far.
            rest = bits - modelled
            tail = mantissa & ((1 << rest) - 1)
            known = int(rest == 0)
            if rest > 0 and live > 0:
                foreseen = guess[2] & ((1 << rest) - 1)
                known = int(tail == foreseen)
                known = count_bit(known, _FORESEEN + min(live, RUNS - 1), state, coded)
                tail = foreseen if known else tail
                live = live if known else 0
            # Tails are remembered by column and leading bits: a table of few distinct values, such
            # as one of motifs, codebooks or scaled integers, has few tails for each. So equal
            # values far apart in a column are found even if their neighbours differ. Short tails
            # are left out: they coincide by chance. If the memory was tried often and was hardly
            # ever right, it is given up.
            remembers = rest >= 12 and (
                registers[TRIED] < TRIALS or registers[HIT] * 32 > registers[TRIED]
            )
            slot = slot_of(column, exponent, lead) & (recent.size - 1)
            sure = 0
            if remembers and recent[slot] >= 0:
                last_tail = recent[slot] >> 2
                sure = recent[slot] & 3
                if known == 0:
                    known = int(tail == last_tail)
                    known = count_bit(known, _RECENT + sure, state, coded)
                    tail = last_tail if known else tail
                    registers[TRIED] += 1
                    registers[HIT] += known
                sure = min(sure + 1, 3) if known > 0 and tail == last_tail else 0
            if known == 0:
                # Does the tail end in the zeros that a narrower format leaves? A widened
                # checkpoint has them everywhere. The context: which of the row's last nine did.
                low = 0
                if form.coarse > 0 and form.coarse < rest:
                    ends = int(tail & ((1 << form.coarse) - 1) == 0)
                    if count_bit(ends, _COARSE + registers[FLAGS], state, coded):
                        low = form.coarse
                if low > 0 and form.coarser < rest:
                    ends = int(tail & ((1 << form.coarser) - 1) == 0)
                    if count_bit(ends, _COARSER + registers[FLAGS], state, coded):
                        low = form.coarser
                # Bits below the grid are always zero: weights that were drawn uniformly and never
                # trained are multiples of one power of two (data/random.safetensors: 7.7 % of its
                # code).
                low = max(low, min(rest, head.grid - max(exponent, 1)))
                tail = code_plain(tail >> low, rest - low, state.plain, streams.plain, decoding)
                tail <<= low
            if remembers:
                recent[slot] = (tail << 2) | sure
            if form.coarse > 0:
                ends = int(tail & ((1 << form.coarse) - 1) == 0)
                registers[FLAGS] = ((registers[FLAGS] << 1) | ends) & 511
            mantissa = (lead << rest) | tail

        # The sign comes last: how well neighbours' signs predict it depends on the magnitude. A
        # float's zero has a sign too.
        if is_zero == 0 or form.exponent_bits:
            set_sign_places(places, weights, place, row, column, down, seen, form, head)
            places[0] = run_place(live, guess[0])
            sign = _decide(sign, SIGN, 0, INPUTS, live, state, table, coded)
        if decoding:
            weights[place] = join_word(sign, exponent, mantissa, form, head.centre)

        depths[place] = depth
        columns[column] += depth
        registers[ROW_SUM] += depth
        registers[SUM] += depth
        # A match goes on while magnitudes are right; signs may differ, as in filters that are each
        # other's negatives.
        if run > 0:
            right = guess[1] == exponent and guess[2] == mantissa
            registers[RUN] = min(run + 1, 400) if right else 0
            registers[LEFT] = min(registers[LEFT] + 16 * right, 2 * BUDGET)
        # Searches take most of the time where nothing repeats: each takes one off a budget, and
        # matches add to it; when it is used up, only every 16th place is searched.
        if place + 1 >= form.order and (registers[LEFT] > 0 or place & 15 == 15):
            find_match(
                weights, place + 1, form, head.centre, registers, memory.ahead, memory.behind
            )


# --- contexts -------------------------------------------------------------------------------


@compiled(inline=True)
def look_around(
    place: int,
    row: int,
    column: int,
    head: Any,
    registers: Array,
    depths: Array,
    columns: Array,
) -> Seen:
    """The depth that row and column predict, and the depths of neighbours.

    Each output's weights (a row) and each input's (a column) have a scale of their own, by
    initialization, normalization and training. In logarithms scales add up: the prediction is the
    mean of all, plus the deviations of row and column from it. Each deviation starts at 0, with
    the weight of six observations, so that a first weight moves it little. All sums are of
    integers, so that encoder and decoder agree; the mean is updated every 256 weights, which saves
    divisions.
    """
    if column == 0:
        registers[ROW_SUM] = 0
        registers[FLAGS] = 0
    if place & 255 == 0 and place:
        registers[MEAN] = (registers[SUM] << 8) // place
    mean = registers[MEAN]
    by_row = mean + ((registers[ROW_SUM] << 8) - column * mean) // (column + 6)
    by_column = mean + ((columns[column] << 8) - row * mean) // (row + 6)
    # A missing neighbour counts as one of middle depth.
    return Seen(
        min(max(by_row + by_column - mean, 0), (DEPTHS << 8) - 1),
        min(max(by_row >> 9, 0), 63),
        min(max(by_column >> 9, 0), 63),
        depths[place - head.taps] if column >= head.taps else 64,
        depths[place - 1] if column > 0 else 64,
        depths[place - head.columns] if row > 0 else 64,
    )


@compiled(inline=True)
def set_places(places: Array, column: int, seen: Seen) -> None:
    """Set the places of the predictions of zeros and exponents; input 0 is `run_place`."""
    # The scale that row and column predict together, in half depths: the most informative number,
    # with which the shape of the distribution is learned soon, and once for all rows.
    places[1] = DEPTH_AT + (seen.depth >> 7) * NODES
    # The pair of row and column: a small row and a large column need not make the same weights as
    # two middling ones; a dead input makes zeros whatever the row is.
    places[2] = AXES_AT + (seen.by_row * 64 + seen.by_column) * NODES
    # The column itself, whatever its mean: an input whose weights have a distribution of their own,
    # such as a bimodal one, or are all zero.
    places[3] = COLUMN_AT + column * NODES
    # The same tap of the input channel before (in a matrix the weight before): kernels of one
    # output have similar shapes, such as strong in the middle; together with the predicted scale.
    places[4] = WEST_AT + ((seen.west >> 2) * 64 + (seen.depth >> 9)) * NODES
    # The weight before and the one above, exactly: kernels are smooth, zeros come in clusters.
    places[5] = NEAR_AT + ((seen.beside >> 2) * 64 + (seen.north >> 1)) * NODES


@compiled(inline=True)
def set_sign_places(
    places: Array,
    weights: Array,
    place: int,
    row: int,
    column: int,
    down: int,
    seen: Seen,
    form: Form,
    head: Any,
) -> None:
    """Set the places of the predictions of the sign: neighbours' signs and depths, own octave.

    Signs of a dense layer are nearly coin flips. Those of a smooth kernel agree where both weights
    are large, so that every context includes the weight's own octave (``near``), known by now.
    """
    near, west, beside, north = min(down, 7), 2, 2, 2
    if column >= head.taps:
        west = sign_of(weights[place - head.taps], form, head.centre)
    if column > 0:
        beside = sign_of(weights[place - 1], form, head.centre)
    if row > 0:
        north = sign_of(weights[place - head.columns], form, head.centre)
    # All three neighbours' signs, 2 where there is none: do they agree?
    places[1] = DEPTH_AT + (west + 3 * beside + 9 * north + 27 * near) * NODES
    # Each neighbour's sign and depth: a large one predicts more than a small one.
    places[2] = AXES_AT + ((west * 8 + near) * 64 + (seen.west >> 1)) * NODES
    # The column: an input that most outputs take with the same sign, such as one with a mean other
    # than 0 (for MiniLM it saves 18 times as many bits of signs as all neighbours do).
    places[3] = COLUMN_AT + column * NODES
    places[4] = WEST_AT + ((beside * 8 + near) * 64 + (seen.beside >> 1)) * NODES
    places[5] = NEAR_AT + ((north * 8 + near) * 64 + (seen.north >> 1)) * NODES


@compiled(inline=True)
def run_place(live: int, foreseen: int) -> int:
    """The place of a match's prediction, by the match's length and the foreseen decision.

    Without a match it is the node's own, of order 0: how often the decision was 1 at all.
    """
    return (2 * min(live, RUNS - 1) + foreseen * int(live > 0)) * NODES


@compiled(inline=True)
def octave_place(live: int, foreseen: int, octave: int) -> int:
    """The place of a match's prediction of a mantissa bit; without a match that of the octave,
    which predicts best how steep the density is."""
    if live > 0:
        return OCTAVE_AT + (RUNS + 2 * min(live - 1, 7) + foreseen) * NODES
    return OCTAVE_AT + octave * NODES


@compiled(inline=True)
def depth_of(exponent: int, lead: int, bits: int, top: int) -> int:
    """How far a magnitude lies below the largest, in eighths of an octave, 0 to 127.

    ``lead`` is the first ``bits`` bits of the mantissa. Eighths are steps of the mantissa, not
    of the logarithm: that needs no table and serves as well for a context.
    """
    eighths = lead >> (bits - 3) if bits >= 3 else lead << (3 - bits)
    return min(max(8 * (top + 1 - exponent) - eighths, 0), DEPTHS - 1)


@compiled(inline=True)
def slot_of(column: int, exponent: int, lead: int) -> int:
    """A hash of leading bits and column; a collision costs a wrong guess, no error."""
    return (column * 4099 + exponent * 16 + lead) * 2654435761 >> 8


# --- matches --------------------------------------------------------------------------------


@compiled(inline=True)
def step_match(registers: Array) -> int:
    """Go on to the next weight of the match; returns the match's length, 0 if it has ended."""
    registers[POINTER] += registers[STEP]
    if registers[POINTER] < 0:
        registers[RUN] = 0
    return int(registers[RUN])


@compiled(inline=True)
def find_match(
    weights: Array,
    place: int,
    form: Form,
    centre: int,
    registers: Array,
    ahead: Array,
    behind: Array,
) -> None:
    """Remember the magnitudes before a place; if there is no match, look for one: the same
    magnitudes in the same order, or in reverse, as in mirrored filters.

    The last ``form.order`` magnitudes are hashed from the newest to the oldest and back. An earlier
    sequence in the same order has the same first hash; one in reverse had, as its second hash, the
    first hash of this one. The order is 32 bits' worth of weights or more, so that few matches are
    due to chance.
    """
    mask, newest, oldest = ahead.size - 1, 0, 0
    for i in range(form.order):
        newest = _hash(newest, _magnitude(weights[place - 1 - i], form, centre))
        oldest = _hash(oldest, _magnitude(weights[place - form.order + i], form, centre))
    newest, oldest = (newest >> 12) & mask, (oldest >> 12) & mask
    if registers[RUN] == 0:
        registers[LEFT] -= 1
        _follow(weights, place, ahead[newest] - 1, 1, form, centre, registers)
        _follow(weights, place, behind[newest] - 1, -1, form, centre, registers)
    ahead[newest] = place + 1  # 0 marks an empty entry
    behind[oldest] = place - form.order


@compiled(inline=True)
def _follow(
    weights: Array, place: int, start: int, step: int, form: Form, centre: int, registers: Array
) -> None:
    """Take up the match whose next weight is weights[start], if it is real and the longest.

    ``step`` is 1 if the earlier weights are read forwards, −1 if backwards. Up to 32 magnitudes are
    compared, from the last one on, because hashes may collide.
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
    if length >= form.order and length > registers[RUN]:
        registers[RUN], registers[STEP] = length, step
        registers[POINTER] = start - step


@compiled(inline=True)
def _hash(key: int, magnitude: int) -> int:
    """Add a magnitude to a hash of 40 bits (multiplicative, 2^32 / golden ratio)."""
    return (key + magnitude + 1) * 2654435761 & 0xFFFFFFFFFF


# --- decisions ------------------------------------------------------------------------------


@compiled(inline=True)
def _decide(
    y: int,
    node: int,
    base: int,
    count: int,
    run: int,
    state: Array,
    table: Array,
    coded: Array,
) -> int:
    """Code a decision at the mixture of its predictions, and learn from it.

    ``y`` is the decision (ignored when decoding), ``node`` its number; ``base`` is 0 for the
    decisions of a weight, NODES for those of its mantissa; the first ``count`` of
    ``state.places`` are the places of its predictions; ``run`` is the length of the match. Returns
    the decision.

    The logits are added up, each with a weight. The weights are learned by the gradient of the code
    length, error × input, in two sets: by node, and by the match's length, because a match that has
    held for long should outweigh all other inputs. A prediction counts less if it has seen few
    decisions.
    """
    inputs, places, by_node, by_run = state.inputs, state.places, state.by_node, state.by_run
    one = base + node
    two = min(run, RUNS - 1) + base * RUNS // NODES
    total = 0
    for i in range(count):
        word = int(np.int64(table[places[i] + node]))
        logit = (state.stretch[word >> 20] * state.trust[word & 1023]) >> 8
        inputs[i] = logit
        total += (by_node[one, i] + by_run[two, i]) * logit
    probability = state.squash[min(max(total >> 17, -LIMIT), LIMIT) + LIMIT]
    y = code_bit(y, probability, state.coder, coded)
    error = ((y << 16) - probability) * 6
    for i in range(count):
        change = (inputs[i] * error + (1 << 17)) >> 18
        by_node[one, i] += change
        by_run[two, i] += change
        learn(y, table, places[i] + node, state.rates)
    return y


@compiled(inline=True)
def count_bit(y: int, place: int, state: Array, coded: Array) -> int:
    """Code a decision by its own count, without mixing; returns it."""
    probability = min(max(int(np.int64(state.alone[place])) >> 16, 1), 65535)
    y = code_bit(y, probability, state.coder, coded)
    learn(y, state.alone, place, state.rates)
    return y


@compiled(inline=True)
def learn(y: int, table: Array, place: int, rates: Array) -> None:
    """Move a prediction towards a decision, by smaller steps the more decisions it has seen.

    The step is 1 / (n + 1.6): nearly the mean of the decisions, a little quicker at first, and from
    1,023 decisions on an exponentially fading mean.
    """
    word = int(np.int64(table[place]))
    probability, seen = word >> 10, word & 1023
    probability += (((-y & 4194303) - probability) * rates[seen]) >> 16
    table[place] = np.uint32((probability << 10) | min(seen + 1, 1023))


# --- the bits of a weight -------------------------------------------------------------------


@compiled(inline=True)
def split_word(word: int, form: Form, centre: int) -> tuple[int, int, int]:
    """Sign, exponent and mantissa; of an integer its side of the centre, the length of its distance
    in bits (0 at the centre), and the bits after the leading one."""
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


@compiled(inline=True)
def join_word(sign: int, exponent: int, mantissa: int, form: Form, centre: int) -> int:
    """Undo `split_word`."""
    if form.exponent_bits:
        width = form.exponent_bits + form.mantissa_bits
        top = -sign if width == 63 else sign  # the highest bit of a word is its own sign
        return (top << width) | (exponent << form.mantissa_bits) | mantissa
    value = (1 << exponent >> 1) + mantissa
    return centre - value if sign else centre + value


@compiled(inline=True)
def _magnitude(word: int, form: Form, centre: int) -> int:
    """The magnitude that matches compare: a float's bits without sign, an integer's distance."""
    if form.exponent_bits:
        return word & ((1 << (form.exponent_bits + form.mantissa_bits)) - 1)
    return abs(word - centre)


@compiled(inline=True)
def sign_of(word: int, form: Form, centre: int) -> int:
    """The sign, 0 or 1; 2 for an integer at the centre, which has none."""
    if form.exponent_bits:
        return (word >> (form.exponent_bits + form.mantissa_bits)) & 1
    return int(word < centre) if word != centre else 2
