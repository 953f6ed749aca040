"""The rows of a report that hold what the test of structure found, of scope ``sample``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kolmo.pvalues import permutation_p
from kolmo.structure.chain import SCALED, SHUFFLED, ChainTest, steps
from kolmo.structure.sample import SampledTensor
from kolmo.structure.sequential import MOST

TESTS = (SHUFFLED, SCALED)
"""The nulls that the weights are tested against."""


def rows_of(name: str, trial: ChainTest) -> Iterator[dict[str, Any]]:
    """A row for each tensor of the sample and null, and for all of them together."""
    if not trial.pieces:
        return
    for piece in [*trial.pieces, None]:
        described = {"checkpoint": name, **_described(trial, piece)}
        for null in steps(trial):
            yield {**described, **_compared(trial, piece, null)}


def _described(trial: ChainTest, piece: SampledTensor | None) -> dict[str, Any]:
    pieces = trial.pieces if piece is None else [piece]
    stands_for = math.fsum(p.stands_for for p in pieces)
    looked_at = sum(p.tensor.numel for p in pieces)
    codes = [trial.code(p) for p in pieces]
    factors = [p.stands_for / p.tensor.numel for p in pieces]
    bits = trial.actual(piece)
    whole = looked_at >= stands_for
    quantizer, estimator = trial.measurement.quantizer, trial.measurement.estimator
    raw = math.fsum(f * code.raw_bits for f, code in zip(factors, codes, strict=True))
    side = math.fsum(f * code.side_bits for f, code in zip(factors, codes, strict=True))
    return {
        "scope": "sample",
        "tensor": None if piece is None else piece.tensor.name,
        "shape": f"{len(pieces)} tensors"
        if piece is None
        else "x".join(map(str, piece.tensor.shape)),
        "numel": round(stands_for),
        "covered": stands_for,
        "dtype": "+".join(dict.fromkeys(p.tensor.form for p in pieces)),
        "quantizer": str(quantizer),
        "estimator": estimator.label,
        "kind": "bound" if whole else "estimate",
        "raw_bits": raw,
        "side_bits": side,
        "bits": bits,
        "bits_per_weight": bits / stands_for,
        "compression_ratio": raw / bits if bits else math.nan,
        "sampled": min(1.0, looked_at / stands_for),
        "details": json.dumps(_details(trial, piece, [str(c.details["taken"]) for c in codes])),
    }


def _details(trial: ChainTest, piece: SampledTensor | None, taken: Sequence[str]) -> dict[str, Any]:
    """Which codes were the shortest, of how many tensors; and how many windows were looked at."""
    pieces = trial.pieces if piece is None else [piece]
    codes = {name: taken.count(name) for name in sorted(set(taken))}
    return {
        "taken": codes,
        "windows": sum(p.windows for p in pieces),
        "weights": sum(p.tensor.numel for p in pieces),
        **({"by_rule": trial.by_rule} if piece is None else {}),
    }


def _compared(trial: ChainTest, piece: SampledTensor | None, null: str) -> dict[str, Any]:
    draws = trial.draws(null, piece)
    row: dict[str, Any] = {"null": null}
    outcome = trial.outcome(null) if null in TESTS else None
    if outcome is not None:
        draws = draws[: outcome.draws]
    mean, sd = float(np.mean(draws)), float(np.std(draws, ddof=1)) if len(draws) > 1 else math.nan
    actual = trial.actual(piece)
    row |= {"null_draws": len(draws), "null_bits": mean, "null_sd": sd}
    row["z"] = (actual - mean) / sd if sd > 0 else math.nan
    if null not in TESTS:
        return {**row, "p_missing": f"{null} is a step of the chain, and no test"}
    if outcome is None:
        return {**row, "p_missing": "the run was interrupted"}
    if piece is None:
        return {**row, "p": outcome.p}
    if len(draws) < MOST:
        return {**row, "p_missing": f"the whole was settled after {len(draws)} draws"}
    return {**row, "p": permutation_p(actual, draws)}
