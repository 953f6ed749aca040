"""The frame of a page: one file that needs nothing else, light or dark, on a screen of any width.

Names in a checkpoint are anybody's text. Each is escaped where it is put in; and besides, the
page's content policy lets no script run but its own, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from kolmo.files import Paths, check_output, marked

GENERATOR = '<meta name="generator" content="kolmo">'
"""What tells kolmo's pages from others."""

is_page = marked(re.escape(GENERATOR).encode())
"""Whether a file is a page that kolmo wrote."""


def check_page_output(path: Path, inputs: Paths = (), overwrite: bool = False) -> None:
    """InputError unless a page can be written there; only another page is replaced unasked."""
    check_output(path, (".html", ".htm"), own=is_page, inputs=inputs, overwrite=overwrite)


def document(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """A page of sections, in the project's style; the sections are HTML."""
    script = _part("table.js")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        f'{GENERATOR}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_part('style.css')}</style></head>"
        f'<body><main><header><h1>{escape(title)}</h1><p class="sub">{escape(subtitle)}</p>'
        f"</header>{''.join(sections)}</main><script>{script}</script></body></html>"
    )


def section(title: str, body: str) -> str:
    """A part of a page under its heading; the body is HTML. Nothing, if the body is empty."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def listed(lines: Sequence[str], kind: str = "") -> str:
    """Lines of text as a list; nothing, if there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def prose(lines: Sequence[str]) -> str:
    """Lines of text as paragraphs; indented ones as the items of a list below.

    Examples
    --------
    >>> prose(["a & b:", "  one", "  two", "end"])
    '<p>a &amp; b:</p><ul class=""><li>one</li><li>two</li></ul><p>end</p>'
    """
    parts: list[str] = []
    items: list[str] = []
    for line in lines:
        if line.startswith(" "):
            items.append(line.strip())
            continue
        parts += [listed(items), f"<p>{escape(line)}</p>"]
        items = []
    return "".join([*parts, listed(items)])


@cache
def _part(name: str) -> str:
    """A file beside this one."""
    return files("kolmo.report.page").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Nothing from elsewhere, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
