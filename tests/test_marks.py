"""Marks: one estimator has one colour and one marker, whatever the figure and its companions."""

import itertools

import numpy as np
import pytest

import kolmo
from kolmo.estimators.base import estimator_names
from kolmo.report.figures.marks import MARKERS, PALETTE, line_of, mark_of, marks_of

RANDOM = np.random.default_rng(0)
VARIANTS = ("zstd:3@bytes", "zstd:19@bytes", "zstd:3@packed", "zstd:9@shuffle")
PAGES = ("#ffffff", "#1d232c")  # of the HTML page, light and dark


def looks(figure):
    """The colour and the marker of every estimator in a figure."""
    lines = [line for axis in figure.axes for line in axis.lines if line.get_label()[0] != "_"]
    return {
        line.get_label(): (line.get_markeredgecolor(), line.get_marker())
        for line in lines
        if line.get_label() != "raw"
    }


def luminance(colour):
    """Relative luminance of WCAG 2."""
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_an_estimator_looks_alike_in_two_reports():
    weights = {"w": RANDOM.normal(size=(30, 20)).astype("f4")}
    ways = [["kt", "entropy", "zstd:3@bytes"], ["gzip:6", "zstd:3@bytes", "mosaic", "kt"]]
    first, second = (
        looks(kolmo.analyze(weights, quantizers=["sign"], estimators=e).plot.compare())
        for e in ways
    )
    both = first.keys() & second.keys()
    assert both == {"kt (bound)", "zstd:3@bytes (bound)"}
    assert all(first[label] == second[label] == mark_of(label.split(" ")[0]) for label in both)


def test_built_in_estimators_have_marks_of_their_own():
    names = estimator_names()
    marks = {name: mark_of(name) for name in names}
    assert len(set(marks.values())) == len(names)
    assert {mark.colour for mark in marks.values()} <= set(PALETTE)
    default = ("context", "zstd:3@bytes", "kt", "entropy", "mosaic", "bdm", "xz:6@shuffle")
    assert len({mark_of(name).colour for name in default}) == len(default)


def test_variants_share_a_colour_and_differ_in_marker():
    marks = marks_of(VARIANTS)
    assert {mark.colour for mark in marks.values()} == {mark_of("zstd").colour}
    assert len({mark.marker for mark in marks.values()}) == len(VARIANTS)
    many = marks_of(f"zstd:{level}" for level in range(1, len(MARKERS) + 1))
    assert len(set(many.values())) == len(MARKERS)


def test_a_plugin_has_a_mark_from_its_name():
    assert mark_of("my-code") == mark_of("my-code")
    assert mark_of("my-code:3").colour == mark_of("my-code").colour
    assert mark_of("").colour in PALETTE
    assert marks_of(["my-code", "kt"])["my-code"] == mark_of("my-code")


@pytest.mark.parametrize("page", PAGES)
def test_colours_are_read_on_light_and_dark_pages(page):
    for colour in PALETTE:
        light, dark = sorted((luminance(page), luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 2.5, colour


def test_quantizers_differ_by_their_lines():
    known = ("native", "symmetric:8", "sign", "affine:8", "codebook:16", "nmse:0.001")
    lines = [line_of(name) for name in known]
    assert all(a != b for a, b in itertools.combinations(lines, 2))
    assert line_of("symmetric:4") == line_of("symmetric:8,axis=row")
    assert line_of("other:3") == line_of("other")
