"""Tables as a page shows them, and what is read back of one."""

import json
import re

import numpy as np

import kolmo

RANDOM = np.random.default_rng(0)
NASTY = ("</script><script>alert(1)</script>", "<!--", '"><img src=x onerror=alert(2)>', "a#ffffff")


def table(tensors, estimators=11):
    """Rows as a run writes them: so many tensors, each by so many estimators."""
    small = kolmo.analyze({"w": np.ones(9, "f4")}, quantizers=["symmetric:8"], estimators=["kt"],
                          scope="tensor").table  # fmt: skip
    rows = small.iloc[[0] * (tensors * estimators)].reset_index(drop=True)
    block = [f"model.layers.{n // 7}.mlp.{n % 7}.weight" for n in range(tensors)]
    bits = np.round(RANDOM.random(len(rows)) * 1e7)
    return rows.assign(
        tensor=np.repeat(block, estimators),
        estimator=np.tile([f"estimator-{n}" for n in range(estimators)], tensors),
        numel=4_194_304,
        covered=4_194_304.0,
        bits=bits,
        bits_per_weight=bits / 4_194_304,
        compression_ratio=33_554_432 / bits,
    )


def data(html):
    """The data beside each table."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return [json.loads(text) for text in found]


def values(column, rows):
    """All values of a column of the data."""
    if "words" in column:
        places = column.get("index", [0] * rows)
        return [column["words"][place] for place in places]
    return column["values"] if isinstance(column["values"], list) else [column["values"]] * rows
