"""kolmo verify: check a container by decoding it, and against its source."""

from __future__ import annotations

from typing import Annotated

import typer

import kolmo
from kolmo.cli.app import app
from kolmo.cli.options import Container, Exclude, Include, Json, MaxBytes, PackedRoles, Threads
from kolmo.cli.pack import only_roles, show_certificate
from kolmo.progress import progress_bar


@app.command()
def verify(
    container: Container,
    source: Annotated[str | None, typer.Argument(help="What it was made of.")] = None,
    role: PackedRoles = None,
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    max_bytes: MaxBytes = None,
    json: Json = False,
) -> None:
    """Check a container by decoding it, and against its source where that is given."""
    with progress_bar(True) as progress:
        certificate = kolmo.verify(
            container,
            source,
            include=include or (),
            exclude=exclude or (),
            threads=threads,
            progress=progress,
            max_bytes=max_bytes,
            **only_roles(role),
        )
    show_certificate(certificate, json)
