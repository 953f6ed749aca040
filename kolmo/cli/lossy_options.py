"""The options of the commands that describe networks with loss."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from kolmo.cli.options import choice, option
from kolmo.errors import InputError

Evaluated = Annotated[
    str | None,
    option(
        "--evaluate",
        help="A function of the network's arrays by name that gives a number, as "
        "package.module:function; found in the current folder too.",
        metavar="FUNCTION",
    ),
]  # fmt: skip
Tolerated = Annotated[
    str, option("--tolerance", help="How much worse the number may get: 1%, or an amount.",
                metavar="SHARE"),
]  # fmt: skip
BetterOption = Annotated[
    str, choice("--better", of=("lower", "higher"), help="Which numbers are better.")
]
Weighted = Annotated[
    str,
    choice(
        "--weighting",
        of=("rows", "equal"),
        help="Errors count in relation to the power of their row, or the same everywhere.",
    ),
]
Inputs = Annotated[
    str | None,
    option(
        "--inputs",
        help="A function without arguments that gives a torch module and batches of inputs (and, "
        "third, a function of both whose output counts): the source is loaded into it, and weights "
        "are rounded by what its outputs depend on.",
        metavar="FUNCTION",
    ),
]  # fmt: skip
Coded = Annotated[
    str,
    choice(
        "--preset",
        of=("best", "default", "fast"),
        help="The shortest file, one a few percent longer but quicker, or a quick one.",
    ),
]


def with_inputs(source: str, inputs: str | None) -> tuple[Any, dict[str, Any]]:
    """What is described, and the options that ``--inputs`` gives: a module with the weights of the
    source, and what it is called with."""
    if inputs is None:
        return source, {}
    from kolmo.lossy.evaluating import arrays_of, with_weights

    made = _called(function(inputs), inputs)
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        raise InputError(f"{inputs!r} gives a module and batches, and a function of outputs if any")
    module = with_weights(made[0], arrays_of(source))
    return module, dict(zip(("inputs", "outputs"), made[1:], strict=False))


def _called(maker: Any, spec: str) -> Any:
    try:
        return maker()
    except Exception as error:  # of whoever wrote it
        raise InputError(f"{spec!r} fails: {type(error).__name__}: {error}") from error


def function(spec: str | None) -> Any:
    """The function that an option names; modules of the current folder are found."""
    from kolmo.lossy.evaluating import named_function

    if spec is None:
        return None
    if "" not in sys.path:
        sys.path.insert(0, "")
    return named_function(spec)
