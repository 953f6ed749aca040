"""kolmo pack: write a checkpoint as the shortest file, checked by decoding it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import kolmo
from kolmo.cli import completing
from kolmo.cli.app import app, print_json
from kolmo.cli.options import (
    Exclude,
    Include,
    Json,
    Overwrite,
    PackedRoles,
    Threads,
    choice,
    option,
)
from kolmo.progress import progress_bar


@app.command()
def pack(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    output: Annotated[Path, option("--output", "-o", help="The container.", metavar="FILE.kmo")],
    quantizer: Annotated[
        str,
        option(
            "--quantizer",
            "-q",
            help="native keeps every bit; symmetric:B, affine:B, ...",
            metavar="SPEC",
            autocompletion=completing.quantizers,
        ),
    ] = "native",
    preset: Annotated[
        str,
        choice(
            of=("best", "default", "fast"),
            help="The shortest file, one a few percent longer but quicker, or a quick one.",
        ),
    ] = "best",
    role: PackedRoles = None,
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a checkpoint as the shortest file, checked by decoding it."""
    with progress_bar(True) as progress:
        certificate = kolmo.pack(
            source,
            output,
            quantizer=quantizer,
            preset=preset,
            include=include or (),
            exclude=exclude or (),
            threads=threads,
            overwrite=overwrite,
            progress=progress,
            **only_roles(role),
        )
    show_certificate(certificate, json)


def only_roles(named: list[str] | None) -> dict[str, Any]:
    """The argument ``roles``, where the user names any; else there is its default."""
    return {"roles": named} if named else {}


def show_certificate(certificate: kolmo.Certificate, json: bool) -> None:
    """Print a certificate, as text or as JSON."""
    if json:
        print_json(certificate.to_dict())
    else:
        print(certificate)
