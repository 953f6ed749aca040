"""JSON of strangers: what its values would take is counted before they are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kolmo.checkpoints.allowance import allowance_for
from kolmo.errors import InputError

Pairs = list[tuple[str, Any]]


def load_json(
    data: bytes, where: str, what: str = "it", pairs: Callable[[Pairs], Any] = dict
) -> Any:
    """The value of a text; ``pairs`` makes each object, ``what`` is what the text should be.

    Raises
    ------
    InputError
        If it is no JSON, or has more values than a checkpoint of its size.

    Examples
    --------
    >>> load_json(b'{"shape": [2, 3]}', "a file")
    {'shape': [2, 3]}
    """
    values = sum(data.count(mark) for mark in (b",", b":", b"[", b"{"))
    allowance_for(where, len(data)).charge(values, len(data))
    try:
        return json.loads(data, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {what} is not valid JSON ({error}); it is damaged") from None
