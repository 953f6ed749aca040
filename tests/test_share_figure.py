"""The shares of the shuffle by depth, and the decomposition: places, bands and bars."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.errors import InputError
from kolmo.intervals import draw_widths
from kolmo.report.chains import STEPS
from kolmo.report.figures.captions import chain_caption
from kolmo.report.figures.chain import compared, draw_chain
from kolmo.report.figures.drawing import Canvas
from kolmo.report.figures.marks import mark_of
from kolmo.report.figures.plots import caption_of
from kolmo.report.figures.share import kind_ends, share_rows

RANDOM = np.random.default_rng(0)
KINDS = ("q_proj", "k_proj")


def weights():
    """Two kinds of matrices in 12 blocks; those of queries repeat a row."""
    found = {}
    for block in range(12):
        for kind in KINDS:
            matrix = RANDOM.normal(size=(8, 16)).astype("f4")
            found[f"h.{block}.attn.{kind}.weight"] = matrix[[0] * 8] if kind == "q_proj" else matrix
    return found


@pytest.fixture(scope="module")
def report():
    return kolmo.analyze(weights(), quantizers=["symmetric:4"], estimators=["zstd:3@bytes", "kt"],
                         nulls=["shuffled"], draws=5, scope="tensor")  # fmt: skip


def test_shares_are_those_of_the_table_in_natural_order(report):
    rows = share_rows(report.table, "shuffled")
    assert set(rows.estimator) == {"zstd:3"}  # kt costs the same in every draw
    names = rows[rows.group == "q"].sort_values("place").tensor.tolist()
    assert names == [f"h.{block}.attn.q_proj.weight" for block in range(12)]
    assert rows.share.to_numpy() == pytest.approx(100 * (rows.bits / rows.null_bits).to_numpy())
    widths = draw_widths(rows.null_sd / rows.null_bits, rows.null_draws)
    assert rows.width.to_numpy() == pytest.approx(100 * widths)


def test_marks_and_bands_are_where_the_rows_say(report):
    figure = report.plot.shuffle_share()
    rows = share_rows(report.table, "shuffled")
    axis = figure.axes[0]
    lines = [line for line in axis.lines if line.get_marker() != "None"]
    groups = [group for _, group in rows.groupby("group", sort=False)]
    assert len(lines) == len(groups) == len(KINDS)
    for line, group in zip(lines, groups, strict=True):
        assert line.get_xdata() == pytest.approx(group.place.to_numpy())
        assert line.get_ydata() == pytest.approx((group.share - 100).to_numpy())
        look = line.get_markeredgecolor(), line.get_marker()
        assert look == mark_of("zstd:3@bytes")
    assert axis.get_yscale() == "symlog"
    bands = [c for c in axis.collections if c.get_paths() and len(c.get_paths()[0].vertices) > 20]
    edge = bands[0].get_paths()[0].vertices[:, 1]
    assert [edge.min(), edge.max()] == pytest.approx(
        [-groups[0].width.max(), groups[0].width.max()]
    )
    assert [text.get_text() for text in axis.texts] == ["q", "k"]
    assert "Farthest below its band: h." in caption_of(figure)
    assert ".q_proj.weight" in caption_of(figure)


def test_a_tenth_of_a_percent_is_seen_beside_a_half():
    """On the axis it is at least a tenth as far from 100 % as the half is."""
    table = kolmo.analyze({"a.weight": np.ones(9, "f4"), "b.weight": np.ones(9, "f4")},
                          quantizers=["sign"], estimators=["kt"], nulls=["shuffled"],
                          draws=2, scope="tensor").table  # fmt: skip
    made = table.assign(bits=[999.0, 500.0], null_bits=1000.0, null_sd=0.1, null_draws=39.0)
    report = kolmo.Report(made, made[:0], {})
    axis = report.plot.shuffle_share().axes[0]
    small, large = (
        axis.transData.transform([(0, -0.1), (0, -50)])[:, 1]
        - (axis.transData.transform((0, 0))[1])
    )
    assert small / large > 0.1


def test_rows_of_the_own_test_are_drawn_too(report):
    table = report.table.assign(scope="sample")
    figure = dataclasses.replace(report, table=table).plot.shuffle_share()
    assert len(figure.axes) == 1
    with pytest.raises(InputError, match="by what can see it"):
        report.plot.shuffle_share(null="gaussian")
    with pytest.raises(InputError, match="by what can see it"):
        report.plot.shuffle_share(estimator="kt")


def test_room_is_divided_between_kinds(report):
    ends = kind_ends(share_rows(report.table, "shuffled"))
    assert [kind for kind, _, _ in ends] == ["q", "k"]
    assert ends[0][2] == ends[1][1] == pytest.approx(12)


# --- the decomposition ----------------------------------------------------------------------


def steps(checkpoint, tensor="", left_out=(), figures=(32, 7.5, 6.9, 6.7, 6.6, 6.0)):
    """Rows of the decomposition, as `kolmo.Report.decomposition` gives them."""
    return [
        {"checkpoint": checkpoint, "tensor": tensor, "quantizer": "nmse:0.001", "step": step,
         "bits_per_weight": value, "sd": 0.01, "draws": 9.0,
         "p": 0.05 if step == "scaled" else np.nan}
        for step, value in zip(STEPS, figures, strict=True)
        if step not in left_out
    ]  # fmt: skip


def test_each_step_is_named_by_what_it_saves():
    rows = compared(pd.DataFrame(steps("m")))
    assert rows.question.tolist() == [
        *("raw", "normal weights", "value distribution"),
        *("row scale", "column scale", "arrangement"),
    ]
    assert rows.saved.tolist()[1:] == pytest.approx([24.5, 0.6, 0.2, 0.1, 0.6])
    assert rows.share.tolist()[2:] == pytest.approx([0.08, 0.2 / 7.5, 0.1 / 7.5, 0.08])
    assert rows.p.tolist()[-1] == 0.05
    assert rows.p.isna().tolist() == [True] * 5 + [False]
    untested = compared(pd.DataFrame(steps("m", left_out=("row-shuffled", "scaled"))))
    assert untested.question.tolist()[-1] == "order"


def test_bars_fall_from_raw_to_actual():
    rows = compared(pd.DataFrame(steps("m")))
    axis, close = draw_chain(rows, Canvas()).axes
    bars = [(bar.get_x(), bar.get_width()) for bar in axis.patches]
    ends = [(0, 32), (7.5, 24.5), (6.9, 0.6), (6.7, 0.2), (6.6, 0.1), (6.0, 0.6), (0, 6.0)]
    assert np.array(bars) == pytest.approx(np.array(ends))
    said = [text.get_text() for text in axis.texts]
    assert said[0] == "32"
    assert said[5] == "−0.6  (8.00 %, p = 0.05)"
    assert [text.get_text() for text in close.get_yticklabels()] == rows.question.tolist()[3:]
    assert "arrangement 8.00 %" in chain_caption(rows)


def test_tensors_have_a_bar_each_that_ends_at_normal_weights():
    table = pd.DataFrame([*steps("m", "h.10.w"), *steps("m", "h.2.w")])
    axis = draw_chain(compared(table), Canvas()).axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["h.2.w", "h.10.w"]
    sums = {}
    for bar in axis.patches:
        sums[bar.get_y()] = sums.get(bar.get_y(), 0) + bar.get_width()
    assert list(sums.values()) == pytest.approx([32, 32])


def test_a_report_without_its_test_has_no_decomposition(report):
    with pytest.raises(InputError, match="no test of structure"):
        report.plot.decomposition()
    with pytest.raises(InputError, match="unknown scope 'layer'"):
        report.plot.decomposition("layer")
