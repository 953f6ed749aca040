"""Figures on a page: SVG in its text, in the page's own colours, so that they are light or dark."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from kolmo.report.figures.drawing import INK, LINE, PALE, PAPER, SOFT, png_bytes, svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {INK: "--ink", SOFT: "--soft", LINE: "--line", PALE: "--pale", PAPER: "--card"}
_LARGEST = 320_000  # characters of an SVG; a larger figure is a PNG


def framed(wide: Figure, narrow: Figure | None = None, caption: str = "") -> str:
    """A figure with its caption; a narrow variant of it, if there is one, for narrow screens."""
    drawn = f'<div class="drawing wide">{image(wide)}</div>'
    small = inline_svg(narrow) if narrow is not None else ""
    if 0 < len(small) <= _LARGEST:  # else the wide one is moved sideways
        drawn = f'<div class="drawing narrow">{small}</div>{drawn}'
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{drawn}{said}</figure>"


def image(figure: Figure) -> str:
    """A figure as SVG within the page's text; as an embedded PNG, if that would be too long."""
    svg = inline_svg(figure)
    return svg if len(svg) <= _LARGEST else min(svg, embedded_png(figure, 110), key=len)


def embedded_png(figure: Figure, dpi: float = 150) -> str:
    """A figure as a PNG in an address, which any viewer of HTML shows."""
    data = base64.b64encode(png_bytes(figure, dpi)).decode()
    width = round(96 * figure.get_figwidth())  # CSS pixels; the image itself is finer
    return f'<img alt="figure" width="{width}" src="data:image/png;base64,{data}">'


def inline_svg(figure: Figure) -> str:
    """A figure as an SVG element: text as text, colours of the page, no longer than need be."""
    svg = svg_text(figure)
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = svg[svg.index("<svg") :]
    ids = _ids(svg)
    svg = re.sub(r"<[^>]+>", lambda tag: _tidied(tag[0], ids), svg)
    width = round(96 * figure.get_figwidth())
    head = re.match(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', svg)
    assert head, "what matplotlib writes"
    opened = f'<svg class="plot" role="img" width="{width}" {head[1]}>'
    return re.sub(r">\s+<", "><", opened + svg[head.end() :])


def _ids(svg: str) -> dict[str, str]:
    """Short names of what the figure refers to, which no other figure on the page has."""
    tags = "".join(re.findall(r"<[^>]+>", svg))
    known = dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', tags))
    own = f"{zlib.crc32(svg.encode()):x}"
    return {name: f"{own}-{number}" for number, name in enumerate(known)}


def _tidied(tag: str, ids: Mapping[str, str]) -> str:
    """A tag with its colours as the page's, its numbers no longer than a screen can show."""

    def named(found: re.Match[str]) -> str:
        return f' id="{ids[found[1]]}"' if found[1] in ids else ""

    tag = re.sub(r'style="([^"]*)"', _coloured, tag)
    tag = re.sub(r'\sid="([^"]*)"', named, tag)
    tag = re.sub(r'(href="#|url\(#)([^")]+)', lambda found: found[1] + ids[found[2]], tag)
    if "base64," in tag:
        return tag
    tag = re.sub(r"-?\d+\.\d+", lambda number: _short(float(number[0])), tag)
    return re.sub(r'\sd="([^"]*)"', lambda path: f' d="{_packed(path[1])}"', tag)


def _coloured(style: re.Match[str]) -> str:
    packed = re.sub("([:;]) +", r"\1", style[1])
    own = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda colour: f"var({_COLOURS[colour[0]]})" if colour[0] in _COLOURS else colour[0],
        packed,
    )
    return f'style="{own}"'


def _short(number: float) -> str:
    digits = 1 if abs(number) >= 100 else 2
    return f"{number:.{digits}f}".rstrip("0").rstrip(".") if abs(number) >= 1 else f"{number:.4g}"


def _packed(path: str) -> str:
    return re.sub(r"\s*([MLQCz])\s*", r"\1", path)
