"""Examples in Markdown pages: run, and what they print compared with what the page shows.

Blocks of ``python`` and of ``sh`` are run, from the top of a page to its end, in one folder that
holds ``data/``; the Python of a page is one session. A block of ``text`` that follows directly is
what the block prints, where ``...`` stands for anything. After a change of figures,

    python tests/examples.py

runs all pages and writes what they print now.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_EXAMPLE = re.compile(
    r"^```(?P<language>python|sh)\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?",
    re.M | re.S,
)
_CHECK = doctest.OutputChecker().check_output
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def has_examples(page: Path) -> bool:
    return bool(_EXAMPLE.search(page.read_text()))


def refreshed(text: str, folder: Path) -> str:
    """The page, with what its examples print now; unchanged where that is what it shows."""

    def run(example: re.Match[str]) -> str:
        shown = example["shown"]
        printed = _run(example["language"], example["code"], session, folder)
        if shown is None or _CHECK(shown, printed, _FLAGS):
            return example[0]
        start, stop = (place - example.start() for place in example.span("shown"))
        return example[0][:start] + _stripped(printed) + example[0][stop:]

    (folder / "data").symlink_to(ROOT / "data")
    with contextlib.chdir(folder), _session() as session:
        return _EXAMPLE.sub(run, text)


@contextlib.contextmanager
def _session() -> Iterator[ModuleType]:
    """Where a page's names live: a module, so that what it defines can be pickled."""
    session = ModuleType("page")
    sys.modules[session.__name__] = session
    try:
        yield session
    finally:
        del sys.modules[session.__name__]


def _run(language: str, code: str, session: ModuleType, folder: Path) -> str:
    if language == "sh":
        return _shell(code, folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "<example>", "exec"), session.__dict__)
    return printed.getvalue()


def _shell(code: str, folder: Path) -> str:
    """What commands print to stdout; the first that fails ends it."""
    ours = (f'{name}() {{ "{sys.executable}" -m {name} "$@"; }}' for name in ("kolmo", "momos"))
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([*ours, code])],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.returncode == 0, f"{code}\n{result.stderr[-2000:]}"
    return result.stdout


def _stripped(printed: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())


if __name__ == "__main__":
    for page in filter(has_examples, [Path(name) for name in sys.argv[1:]] or PAGES):
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(refreshed(page.read_text(), Path(folder)))
            print(page)
