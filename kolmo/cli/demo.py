"""kolmo demo: three small networks that the package brings along, measured and compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app, print_json
from kolmo.cli.documents import report_document
from kolmo.cli.options import Json, Overwrite, Threads
from kolmo.errors import InputError
from kolmo.progress import progress_bar
from kolmo.report.figures.drawing import SUFFIXES, check_figure_output
from kolmo.report.page.frame import check_page_output
from kolmo.report.terminal import show

FOLDER = Path(__file__).parents[1] / "demo"
NETWORKS = {
    "random": "as initialized",
    "trained": "the same network, trained on images of digits",
    "momos": "the same, trained as a mosaic of motifs: its blocks of weights are few and recur",
}
_YOURS = "And yours: kolmo analyze MODEL, kolmo compare MODEL MODEL, kolmo trajectory RUN"
_PAGES = (".html", ".htm")


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write a page (.html), or a figure (.png, .svg, .pdf)."
        ),
    ] = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure three small networks that come with kolmo: random, trained, a mosaic."""
    if output:
        _check(output, overwrite)
    with progress_bar(True) as progress:
        report = kolmo.compare(networks(), scope="model", threads=threads, progress=progress)
    if output:
        _write(report, output, overwrite)
        print(f"wrote {output}", file=sys.stderr)
    if json:
        print_json(report_document(report))
        return
    for name, meaning in NETWORKS.items():
        print(f"{name:8} {meaning}")
    print()
    show(report)
    print(f"\n{_YOURS}")


def networks() -> dict[str, Path]:
    """The networks by their names; InputError if the package lacks one."""
    found = {name: FOLDER / f"{name}.safetensors" for name in NETWORKS}
    lost = next((path for path in found.values() if not path.is_file()), None)
    if lost:
        raise InputError(f"{lost}: is missing; install kolmo anew")
    return found


def _check(output: Path, overwrite: bool) -> None:
    """InputError unless the page or the figure can be written."""
    if output.suffix not in (*_PAGES, *SUFFIXES):
        raise InputError(f"{output}: the suffix must be {' or '.join((*_PAGES, *SUFFIXES))}")
    check = check_page_output if output.suffix in _PAGES else check_figure_output
    check(output, networks().values(), overwrite)


def _write(report: kolmo.Report, output: Path, overwrite: bool) -> None:
    if output.suffix in _PAGES:
        report.to_html(output, overwrite=overwrite)
        return
    from kolmo.report.figures.plots import save_figure  # which imports pandas

    figure = report.plot.compare()
    save_figure(figure, output, inputs=networks().values(), overwrite=overwrite)
