"""JSON of strangers: what its values would take is counted before they are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kolmo.checkpoints.allowance import allowance_for
from kolmo.errors import InputError

Pairs = list[tuple[str, Any]]


def load_json(
    data: bytes | str,
    where: str,
    what: str = "it",
    pairs: Callable[[Pairs], Any] = dict,
    constant: Callable[[str], Any] = float,
) -> Any:
    """The value of a text; ``pairs`` makes each object, ``constant`` NaN and infinities, and
    ``what`` is what the text should be.

    Raises
    ------
    InputError
        If it is no JSON, or has more values than a checkpoint of its size.

    Examples
    --------
    >>> load_json(b'{"shape": [2, 3]}', "a file")
    {'shape': [2, 3]}
    """
    marks: Any = ",:[{" if isinstance(data, str) else (b",", b":", b"[", b"{")
    values = sum(data.count(mark) for mark in marks)
    allowance_for(where, len(data)).charge(values, len(data))
    try:
        return json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {what} is not valid JSON ({error}); it is damaged") from None
