"""Where the bits go: parts that add up, of the best bound; planes as their estimator says."""

import json
import math

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from kolmo.report.attribution import UNSEEN

RANDOM = np.random.default_rng(0)
MODEL = {
    "mosaic": RANDOM.normal(size=(8, 4)).astype("f4")[RANDOM.integers(0, 8, 200)],
    "noise": RANDOM.normal(size=(30, 30)).astype("f4"),
    "tiny": RANDOM.normal(size=2).astype("f4"),
    "empty": np.zeros((0, 3), "f4"),
}


@pytest.fixture(scope="module")
def report():
    return kolmo.analyze(
        MODEL,
        quantizers=["native", "symmetric:4"],
        estimators=["kt", "mosaic", "planes", "entropy", "xz:1"],
        nulls=["gaussian", "shuffled"],
        draws=3,
    )


def test_parts_add_up_to_the_raw_bits(report):
    parts = report.attribution()
    assert len(parts) == 2 * 5
    seen = parts["structure"].fillna(0)
    total = parts["residual"] + seen + parts["marginal"]
    pd.testing.assert_series_equal(total, parts["raw_bits"], check_names=False)
    known = parts[parts["numel"] > 0]
    each = known[[f"{p}_per_weight" for p in ("residual", "structure", "marginal")]].sum(axis=1)
    assert each.to_numpy() == pytest.approx((known["raw_bits"] / known["numel"]).to_numpy())


def test_parts_are_of_the_best_bound_beside_its_own_shuffles(report):
    for part in report.attribution().itertuples():
        rows = report.table[(report.table.quantizer == part.quantizer)
                            & (report.table.scope == part.scope)
                            & (report.table.null == "shuffled")]  # fmt: skip
        rows = rows[rows.tensor.isna() if part.scope == "model" else rows.tensor == part.tensor]
        bounds = rows[rows.kind == "bound"]
        best = bounds.sort_values("bits", kind="stable").iloc[0]
        drawn = bounds.sort_values("null_bits", kind="stable").iloc[0]
        assert (part.estimator, part.residual) == (best.estimator, best.bits)
        assert part.null_estimator == drawn.estimator
        assert part.null_draws == 3
        if part.note == UNSEEN:
            assert (bounds.bits == bounds.null_bits).all()
            assert math.isnan(part.structure)
        else:
            assert part.structure == drawn.null_bits - best.bits
            assert part.structure_sd == drawn.null_sd


def test_parts_say_what_is_known_of_a_mosaic_and_of_noise(report):
    parts = report.attribution().set_index(["tensor", "quantizer"])
    mosaic, noise = parts.loc[("mosaic", "native")], parts.loc[("noise", "native")]
    assert mosaic.estimator == "mosaic"
    assert mosaic.residual < 8 * 4 * 32 + 200 * 3 + 100  # motifs and indices
    assert mosaic.structure > 5 * mosaic.structure_sd
    assert abs(noise.structure) < 0.01 * noise.residual
    tiny = parts.loc[("tiny", "symmetric:4")]
    assert tiny.marginal < 0  # the code costs more than it saves
    assert math.isnan(parts.loc[("empty", "native")].structure_per_weight)


def test_a_new_bound_is_taken_where_it_is_the_best(report):
    """What is the best is read from the table: whatever has the kind of a bound and fewest bits."""
    better = report.table.iloc[[0]].assign(
        scope="model", tensor=None, quantizer="native", estimator="context:9", kind="bound",
        null="shuffled", bits=10.0, null_bits=20.0, raw_bits=90.0, note="",
    )  # fmt: skip
    table = pd.concat([report.table, better], ignore_index=True)
    parts = kolmo.Report(table, report.coverage, report.provenance).attribution()
    whole = parts[(parts.scope == "model") & (parts.quantizer == "native")].iloc[0]
    assert whole.estimator == "context:9"
    assert (whole.residual, whole.structure, whole.marginal) == (10, 10, 70)


def test_without_shuffles_or_bounds_it_says_what_to_run():
    report = kolmo.analyze(MODEL, quantizers=["sign"], estimators=["kt"], nulls=["uniform"])
    with pytest.raises(InputError, match='nulls="shuffled"'):
        report.attribution()
    with pytest.raises(InputError, match='estimators="planes"'):
        report.bitplanes()
    estimates = kolmo.analyze(MODEL, quantizers=["sign"], estimators=["entropy"], draws=2,
                              nulls=["shuffled"], scope="model")  # fmt: skip
    parts = estimates.attribution()
    assert parts.note.tolist() == ["no bound was measured"]
    assert parts.residual.isna().all()


def test_a_bound_of_a_part_of_the_model_is_none_of_the_whole():
    mixed = {"w": MODEL["noise"], "steps": np.arange(50)}
    report = kolmo.analyze(mixed, quantizers=["symmetric:8"], estimators=["gaussian", "kt"],
                           nulls=["shuffled"], draws=2, scope="model")  # fmt: skip
    marked = report.table.copy()
    marked.loc[marked.estimator == "gaussian", "covered"] -= 50
    marked.loc[marked.estimator == "gaussian", "bits"] = 1.0
    parts = kolmo.Report(marked, report.coverage, report.provenance).attribution()
    assert parts.estimator.tolist() == ["kt"]


def test_what_has_no_shuffles_says_why():
    broken = {"w": np.float32([1, np.nan, 3])}
    report = kolmo.analyze(broken, quantizers=["symmetric:8"], estimators=["kt"], draws=2,
                           nulls=["shuffled"])  # fmt: skip
    assert report.attribution().note.str.contains("holds NaN").all()


# --- bit-planes -----------------------------------------------------------------------------


def test_planes_are_those_of_the_estimator(report):
    planes = report.bitplanes()
    row = report.table[(report.table.estimator == "planes") & (report.table.quantizer == "native")
                       & (report.table.tensor == "noise")].iloc[0]  # fmt: skip
    mine = planes[(planes.tensor == "noise") & (planes.quantizer == "native")]
    details = json.loads(row.details)
    assert mine.bits.tolist() == details["planes"]
    assert mine.plane.tolist() == list(range(31, -1, -1))
    assert mine.part.tolist() == ["sign"] + ["exponent"] * 8 + ["mantissa"] * 23
    assert mine.differs.sum() == details["effective_bits"]
    assert (mine.p_holm >= mine.p).all()
    assert (mine.saved == 1 - mine.bits / 900).all()
    quantized = planes[planes.quantizer == "symmetric:4"]
    assert quantized[quantized.scope == "model"].plane.tolist() == [3, 2, 1, 0]
    assert quantized.part.eq("").all()
    parts = report.attribution().set_index(["tensor", "quantizer"])
    assert parts.loc[("noise", "native"), "effective_bits"] == details["effective_bits"]


def test_planes_of_mixed_dtypes_are_told_apart():
    half, integers = MODEL["noise"].astype("f2"), np.arange(7, dtype="i8")
    mixed = open_source({"w": MODEL["noise"], "h": half, "i": integers})
    report = kolmo.analyze(mixed, quantizers=["native"], estimators=["planes"], scope="model",
                           nulls=["shuffled"], draws=2)  # fmt: skip
    planes = report.bitplanes()
    assert planes.groupby("dtype").size().to_dict() == {"float16": 16, "float32": 32, "int64": 64}
    half = planes[planes.dtype == "float16"]
    assert half.part.tolist() == ["sign"] + ["exponent"] * 5 + ["mantissa"] * 10
    counts = planes.groupby("dtype").differs.sum()
    mean = (900 * counts["float32"] + 900 * counts["float16"] + 7 * counts["int64"]) / 1807
    assert report.attribution().effective_bits.iloc[0] == pytest.approx(mean)
