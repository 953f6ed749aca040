"""Figures as they are printed: fonts, sizes, axes of the caller's, captions."""

import io
import math

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import kolmo
from kolmo.errors import InputError
from kolmo.report.figures.drawing import WIDTHS, save_figure
from kolmo.report.figures.plots import caption_of

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def report():
    models = {
        name: {f"h.{n}.weight": RANDOM.normal(size=(24, 16)).astype("f4") for n in (10, 2)}
        for name in ("one", "two")
    }
    return kolmo.compare(models, quantizers=["sign", "symmetric:4"], estimators=["kt", "entropy"],
                         nulls=["shuffled"], draws=2)  # fmt: skip


def saved(figure, path):
    save_figure(figure, path)
    return path.read_bytes()


@pytest.mark.parametrize("by", ["save_figure", "savefig"])
def test_fonts_of_a_pdf_are_of_type_42(report, tmp_path, by):
    """Journals refuse those of type 3; a TrueType font of type 42 is a CIDFontType2 in a PDF."""
    figure, path = report.plot.compare(), tmp_path / "f.pdf"
    if by == "savefig":
        figure.savefig(path, metadata={"CreationDate": None})
        content = path.read_bytes()
    else:
        content = saved(figure, path)
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content
    assert mpl.rcParams["pdf.fonttype"] == 3  # outside nothing has changed


def test_text_of_an_svg_is_text(report, tmp_path):
    content = saved(report.plot.compare(), tmp_path / "f.svg").decode()
    assert ">quantizer symmetric:4</text>" in content


def test_a_png_has_300_dots_an_inch(report, tmp_path):
    figure = report.plot.compare(width="column")
    image = mpl.image.imread(io.BytesIO(saved(figure, tmp_path / "f.png")))
    assert image.shape[1] == round(300 * WIDTHS["column"])


@pytest.mark.parametrize(("width", "inches"), [("column", 3.25), ("text", 6.75), (5.0, 5.0)])
def test_panels_are_wrapped_to_a_width(report, width, inches):
    figure = report.plot.layers(width=width)
    assert figure.get_figwidth() == inches
    columns = {round(axis.get_position().x0, 2) for axis in figure.axes if axis.axison}
    assert len(columns) <= max(1, int(inches / 2.4))
    assert len([axis for axis in figure.axes if axis.axison]) == 4


def test_a_size_is_taken_as_it_is(report):
    assert report.plot.compare(figsize=(4, 3)).get_size_inches().tolist() == [4, 3]
    refused = [
        ({"width": "page"}, "unknown width 'page'"),
        ({"width": -1}, "cannot be -1 inches"),
        ({"width": math.nan}, "cannot be nan inches"),
        ({"width": 3, "figsize": (3, 3)}, "one of ax=, figsize= and width="),
    ]
    for wrong, why in refused:
        with pytest.raises(InputError, match=why):
            report.plot.compare(**wrong)


@pytest.mark.parametrize("name", ["compare", "layers", "attribution"])
def test_figures_are_drawn_on_axes_of_the_callers(report, name):
    own = getattr(report.plot, name)()
    figure = Figure()
    axes = figure.subplots(1, len(own.axes))
    assert getattr(report.plot, name)(ax=axes) is figure
    titles = [axis.get_title(loc="left") for axis in own.axes]
    assert [axis.get_title(loc="left") for axis in figure.axes] == titles
    assert not figure.legends  # it is on the last of the axes
    assert caption_of(figure) == ""
    with pytest.raises(InputError, match=rf"{len(own.axes)} panels, and 7 axes were given"):
        getattr(report.plot, name)(ax=Figure().subplots(1, 7))


def test_one_panel_takes_one_axis(report):
    axis = Figure().subplots()
    assert report.plot.compare("sign", ax=axis) is axis.figure
    assert axis.get_legend() is not None


def test_panels_of_a_quantizer_share_their_axis(report):
    axes = report.plot.layers().axes
    ends = {axis.get_title(loc="left"): axis.get_xlim()[1] for axis in axes}
    for quantizer in ("sign", "symmetric:4"):
        assert ends[f"one, {quantizer}"] == ends[f"two, {quantizer}"]
    assert ends["one, sign"] != ends["one, symmetric:4"]


def test_layers_are_in_natural_order(report):
    labels = [text.get_text() for text in report.plot.layers().axes[0].get_yticklabels()]
    assert labels == ["h.2.weight", "h.10.weight"]


def test_saturated_marks_are_struck_through(report):
    table = report.table.assign(saturated=report.table.estimator == "entropy")
    figure = kolmo.Report(table, report.coverage, report.provenance).plot.compare("sign")
    struck = [line for line in figure.axes[0].lines if isinstance(line.get_marker(), list)]
    marks = {line.get_label(): line for line in figure.axes[0].lines}
    places = [line.get_xydata().tolist() for line in struck if len(line.get_xdata())]
    assert places == [marks["entropy (estimate)"].get_xydata().tolist()]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "saturated: no evidence" in legend
    assert "Struck through: saturated" in caption_of(figure)


def test_captions_say_what_the_table_says(report):
    whole = report.table[(report.table.scope == "model") & (report.table.quantizer == "sign")]
    bounds = whole[whole.kind == "bound"].sort_values("bits_per_weight")
    least = bounds.iloc[0]
    caption = caption_of(report.plot.compare("sign"))
    assert f"by kt, from least to most: {least.checkpoint} {least.bits_per_weight:.4g}" in caption
    single = report.table[(report.table.scope == "tensor") & (report.table.kind == "bound")]
    one = single[(single.checkpoint == "two") & (single.quantizer == "sign")]
    longest = one.loc[one.bits_per_weight.idxmax()]
    said = f"to {longest.bits_per_weight:.4g} ({longest.tensor})"
    assert said in caption_of(report.plot.layers("sign"))
    assert "None is to be seen here" in caption_of(report.plot.attribution())  # kt cannot


def test_few_objects_are_numbers_without_colour():
    models = {f"m{n}": {"w": RANDOM.normal(size=40 + n).astype("f4")} for n in range(7)}
    report = kolmo.compare(models, quantizers=["sign"], estimators=["kt", "gzip:6"], scope="model")
    many = report.plot.agreement("models")
    few = kolmo.Report(report.table[report.table.checkpoint < "m5"], report.coverage, {})
    image = many.axes[0].images[0].get_array()
    assert not image.mask[0, 1]
    assert image.mask[0, 0]  # with itself, which says nothing
    figure = few.plot.agreement("models")
    assert figure.axes[0].images[0].get_array().mask.all()
    assert any(text.get_text().lstrip("−")[0] in "01" for text in figure.axes[0].texts)
    assert "numbers without colour" in caption_of(figure)
    assert "numbers without colour" not in caption_of(many)


def test_correlations_are_not_drawn_too_small():
    weights = {f"w{n}": RANDOM.normal(size=20 + n).astype("f4") for n in range(6)}
    specs = [f"codebook:{k}" for k in range(2, 11)]
    report = kolmo.analyze(weights, quantizers=specs, estimators=["kt"], scope="tensor")
    with pytest.raises(InputError, match=r"9 measurements take 4\.68 inches"):
        report.plot.agreement(width="column")
    assert report.plot.agreement(width="text").get_figwidth() == 6.75
