"""The options of the commands that describe networks with loss."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from kolmo.cli.options import choice, option

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
        help="A function without arguments that gives a torch module and batches of inputs: "
        "weights are then rounded by what its layers see.",
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


def function(spec: str | None) -> Any:
    """The function that an option names; modules of the current folder are found."""
    from kolmo.lossy.evaluating import named_function

    if spec is None:
        return None
    if "" not in sys.path:
        sys.path.insert(0, "")
    return named_function(spec)
