"""Figures of attribution, bit-planes and agreement show the tables that they are drawn from."""

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError
from kolmo.report.figures.parts import COLOURS
from kolmo.report.figures.plots import png_bytes

RANDOM = np.random.default_rng(0)
PARTS = ("residual", "structure", "marginal")


@pytest.fixture(scope="module")
def report():
    models = {
        name: {
            "mosaic": RANDOM.normal(size=(8, 4)).astype("f4")[RANDOM.integers(0, 8, 150)],
            "noise": RANDOM.normal(size=(30, 30)).astype("f4"),
            "tiny": RANDOM.normal(size=3).astype("f4"),
        }
        for name in ("one", "two")
    }
    return kolmo.compare(models, quantizers=["native", "symmetric:4"], draws=2, nulls=["shuffled"],
                         estimators=["kt", "mosaic", "planes"])  # fmt: skip


@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_bars_are_the_parts(report, scope):
    figure = report.plot.attribution(scope)
    parts = report.attribution()
    parts = parts[parts.scope == scope]
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes}
    assert len(panels) == (2 if scope == "model" else 4)
    for title, axis in panels.items():
        *checkpoint, quantizer = title.split(", ")
        rows = parts[parts.quantizer == quantizer]
        rows = rows[rows.checkpoint.isin(checkpoint)] if checkpoint else rows
        names = rows["tensor" if checkpoint else "checkpoint"].tolist()
        assert [text.get_text() for text in axis.get_yticklabels()] == names
        drawn = sorted((bar.get_y(), bar.get_x(), bar.get_width()) for bar in axis.patches)
        wanted, end = [], np.zeros(len(rows))
        for part in PARTS:
            width = rows[f"{part}_per_weight"].fillna(0).to_numpy()
            wanted += zip(np.arange(len(rows)) - 0.36, end, width, strict=True)
            end = end + width
        assert np.array(drawn) == pytest.approx(np.array(sorted(wanted)))
        shares = [text.get_text().split("  ") for text in axis.texts]
        assert [bound for _, bound in shares] == rows.estimator.tolist()
        exact = (100 * rows.structure / (rows.structure + rows.residual)).tolist()
        for (said, _), share in zip(shares, exact, strict=True):
            if np.isnan(share):
                assert said == "not seen"
            else:
                assert float(said.replace("−", "-").rstrip(" %")) == pytest.approx(share, abs=0.051)


def test_what_goes_back_is_hatched_and_told(report):
    figure = report.plot.attribution("tensor")
    back = [bar for axis in figure.axes for bar in axis.patches if bar.get_width() < 0]
    assert back
    assert all(bar.get_hatch() for bar in back)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(legend) == 4
    assert "negative" in legend[-1]
    whole = report.plot.attribution("model").legends[0]
    assert len(whole.get_texts()) == 3
    assert len(COLOURS) == 3


def test_planes_are_coloured_where_they_differ(report):
    figure = report.plot.bitplanes()
    planes = report.bitplanes()
    for axis, quantizer in zip(figure.axes, ("native", "symmetric:4"), strict=False):
        image = axis.images[0].get_array()
        rows = planes[planes.quantizer == quantizer]
        assert image.shape == (8, rows.plane.max() + 1)  # a model and three tensors, twice
        first = rows[(rows.checkpoint == "one") & (rows.scope == "model")]
        assert (~image.mask[0]).tolist() == first.differs.tolist()
        assert image[0].compressed() == pytest.approx(first.saved[first.differs].clip(0, 1))
        counts = [text.get_text() for text in axis.texts if " of " in text.get_text()]
        assert counts[0] == f"{first.differs.sum()} of {len(first)}"
        assert len(counts) == 8
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["one", "one: mosaic"]
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"sign", "exponent", "mantissa"} <= words
    assert len(report.plot.bitplanes("native").axes) == 2  # one and the colours' bar


def test_agreement_is_written_in_its_cells(report):
    figure = report.plot.agreement()
    pairs = report.agreement()
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["one", "two"]
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert len(names) == 6
    cells = {tuple(map(int, t.get_position())): t.get_text() for t in figure.axes[0].texts}
    assert len(cells) == 30
    for pair in pairs[pairs.checkpoint == "one"].itertuples():
        i, j = names.index(pair.a), names.index(pair.b)
        missing = np.isnan(pair.correlation)
        wanted = "–" if missing else f"{pair.correlation:.2f}".replace("-", "−")
        assert cells[i, j] == cells[j, i] == wanted


def test_many_measurements_and_tensors_fit_or_are_refused():
    weights = {f"layer.{i}": RANDOM.normal(size=20).astype("f4") for i in range(130)}
    report = kolmo.analyze(weights, quantizers=["sign"], estimators=["kt", "planes"], draws=2,
                           nulls=["shuffled"])  # fmt: skip
    for figure in (report.plot.attribution("tensor"), report.plot.bitplanes()):
        assert png_bytes(figure).startswith(b"\x89PNG")
        assert len(figure.axes[0].get_yticklabels()) < 120
    specs = [f"codebook:{k}" for k in range(2, 20)]
    few = {f"w{i}": RANDOM.normal(size=30).astype("f4") for i in range(3)}
    many = kolmo.analyze(few, quantizers=specs, estimators=["kt"], scope="tensor")
    with pytest.raises(InputError, match="18 measurements of 1 checkpoints do not fit"):
        many.plot.agreement()
