"""What a browser shows of a report's page, at the widths of a desktop and of a telephone."""

import re

import numpy as np
import pytest

import kolmo
from kolmo.report.figures.marks import mark_of
from kolmo.report.page.frame import document, section
from kolmo.report.page.rows import rows_html
from tests.browser import SIZES, launched, opened
from tests.pages import NASTY, table

RANDOM = np.random.default_rng(0)
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a report, with names that mean harm."""
    models = {
        name: {
            **{f"h.{n}.weight": RANDOM.normal(size=(16, 12)).astype("f4") for n in (10, 2)},
            **{nasty: RANDOM.normal(size=(9, 7)).astype("f4") for nasty in NASTY},
            "a_long_name_without_any_gap_" * 5: np.ones(9, "f4"),
        }
        for name in ("one", "two")
    }
    report = kolmo.compare(models, quantizers=["sign"], estimators=["kt", "entropy"],
                           nulls=["shuffled"], draws=2)  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "r.html"
    report.to_html(path)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page with a table of 1,000 tensors by 11 measurements."""
    path = tmp_path_factory.mktemp("many") / "many.html"
    html = document("many", "", [section("Tensors", rows_html(table(1000)))])
    path.write_text(html, encoding="utf-8")
    return path


@pytest.mark.parametrize(("size", "scheme"), list(zip(SIZES, SCHEMES, strict=True)))
def test_a_page_fits_its_window_and_opens_with_a_verdict(browser, page, size, scheme):
    with opened(browser, page, size, scheme) as shown:
        width = shown.evaluate("document.documentElement.scrollWidth")
        assert width == SIZES[size][0]  # nothing is moved sideways
        first = shown.locator("ul.found li").first
        assert first.is_visible()
        assert first.bounding_box()["y"] < 300
        ground, ink = (
            sum(map(int, re.findall(r"\d+", shown.evaluate(script))[:3]))
            for script in (
                "getComputedStyle(document.querySelector('section')).backgroundColor",
                "getComputedStyle(document.querySelector('svg.plot text')).fill",
            )
        )
        assert (ground > 600 > 300 > ink) if scheme == "light" else (ground < 300 < 600 < ink)


@pytest.mark.parametrize("size", SIZES)
def test_figures_are_as_wide_as_the_window_lets_them(browser, page, size):
    with opened(browser, page, size) as shown:
        seen = [f for f in shown.locator("figure svg.plot").all() if f.is_visible()]
        assert len(seen) == shown.locator("figure").count() > 2  # one variant of each
        for figure in seen:
            letters = figure.locator("text").first.bounding_box()["height"]
            assert letters >= 8  # pixels: it can be read
            assert figure.bounding_box()["width"] <= SIZES[size][0]
        colour = mark_of("kt").colour
        assert shown.locator(f"figure svg.plot use[style*='{colour}']").count() > 4


def test_words_are_not_broken(browser, page):
    """Each line of a sentence ends where a word does, but within names too long for a line."""
    script = """() => {
      const range = document.createRange(), broken = [];
      for (const item of document.querySelectorAll("li, p, figcaption")) {
        const text = item.firstChild;
        if (!text || text.nodeType !== 3) continue;
        for (const { 0: word, index } of text.data.matchAll(/[^\\s]{2,24}(?=\\s|$)/g)) {
          if (/\\S/.test(text.data[index - 1] || " ")) continue;
          range.setStart(text, index);
          range.setEnd(text, index + word.length);
          const rows = new Set([...range.getClientRects()].map((r) => Math.round(r.top)));
          if (rows.size > 1 && !/[-–/]/.test(word)) broken.push(word);
        }
      }
      return broken;
    }"""
    with opened(browser, page, "telephone") as shown:
        assert shown.evaluate(script) == []


def test_names_that_mean_harm_are_shown_as_names(browser, page):
    with opened(browser, page) as shown:  # which asserts that none was run
        cells = shown.locator(".rows tbody td").all_inner_texts()
        assert set(NASTY) <= set(cells)


def test_rows_are_found_filtered_and_sorted(browser, many):
    with opened(browser, many) as shown:
        rows, count = shown.locator("tbody tr[data-row]"), shown.locator(".count")
        assert count.inner_text() == "11,000 rows"
        assert rows.count() < 80  # those in sight and some beyond
        shown.get_by_label("search").fill("layers.142 estimator-10")
        assert count.inner_text() == "6 of 11,000 rows"  # 994 to 999
        assert rows.count() == 6
        shown.get_by_label("search").fill("")
        shown.get_by_label("filter estimator").select_option("estimator-3")
        assert count.inner_text() == "1,000 of 11,000 rows"
        shown.get_by_label("filter bits per weight").fill("> 1")
        head = shown.locator("th", has_text="bits per weight").get_by_role("button")
        head.click()
        column = [h.inner_text() for h in shown.locator("thead button").all()].index(
            "bits per weight"
        )
        figures = [float(row.locator("td").nth(column).inner_text()) for row in rows.all()]
        assert figures == sorted(figures)
        assert figures[0] >= 1
        head.click()
        assert float(rows.first.locator("td").nth(column).inner_text()) > figures[-1]


def test_any_row_comes_in_sight(browser, many):
    with opened(browser, many, "telephone") as shown:
        scroll = shown.locator(".scroll")
        scroll.evaluate("place => { place.scrollTop = place.scrollHeight }")
        last = shown.locator("tr[data-row='10999']")
        last.wait_for()
        last.hover()
        assert "tensor: model.layers.142.mlp.5.weight" in shown.locator(".detail").inner_text()
        assert "dtype: float32" in shown.locator(".detail").inner_text()


def test_without_scripts_there_is_a_table_too(browser, many):
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(many.as_uri())
    assert shown.locator("tbody tr").count() == 40
    assert shown.locator(".count").inner_text() == "the first 40 of 11,000 rows"
    context.close()
