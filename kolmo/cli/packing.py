"""Commands about certificates: pack, unpack, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kolmo.cli.app import app, make_directory, print_json, progress_bar
from kolmo.cli.options import Exclude, Include, Json, Threads

if TYPE_CHECKING:
    from kolmo.container.certificate import Certificate

_Container = Annotated[Path, typer.Argument(help="A container that kolmo pack wrote.")]
_MaxBytes = Annotated[
    int | None,
    typer.Option(help="What it may expand to; 1,024 times its size by default, at least 1 GiB."),
]


@app.command()
def pack(
    source: Annotated[str, typer.Argument(help="A file, a directory or a URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The container: model.kmo.")],
    quantizer: Annotated[
        str, typer.Option("--quantizer", "-q", help="native keeps every bit; symmetric:B, ...")
    ] = "native",
    preset: Annotated[str, typer.Option(help="best or fast.")] = "best",
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Write a checkpoint as the shortest file, checked by decoding it."""
    from kolmo.container.packing import pack as write

    with progress_bar() as progress:
        certificate = write(
            source,
            output,
            quantizer=quantizer,
            preset=preset,
            include=include or (),
            exclude=exclude or (),
            threads=threads,
            progress=progress,
        )
    _show(certificate, json)


@app.command()
def unpack(
    container: _Container,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .safetensors file, or a directory.")
    ],
    symbols: Annotated[
        bool, typer.Option("--symbols", help="Write the symbols rather than the weights.")
    ] = False,
    threads: Threads = None,
    max_bytes: _MaxBytes = None,
) -> None:
    """Write the weights of a container as safetensors."""
    from kolmo.container.unpacking import unpack as write

    if output.suffix != ".safetensors":
        make_directory(output)
    with progress_bar() as progress:
        path = write(
            container,
            output,
            symbols=symbols,
            threads=threads,
            progress=progress,
            max_bytes=max_bytes,
        )
    typer.echo(str(path))


@app.command()
def verify(
    container: _Container,
    source: Annotated[str | None, typer.Argument(help="What it was made of.")] = None,
    include: Include = None,
    exclude: Exclude = None,
    threads: Threads = None,
    max_bytes: _MaxBytes = None,
    json: Json = False,
) -> None:
    """Check a container by decoding it, and against its source where that is given."""
    from kolmo.container.verifying import verify as check

    with progress_bar() as progress:
        certificate = check(
            container,
            source,
            include=include or (),
            exclude=exclude or (),
            threads=threads,
            progress=progress,
            max_bytes=max_bytes,
        )
    _show(certificate, json)


def _show(certificate: Certificate, json: bool) -> None:
    if json:
        print_json(certificate.to_dict())
    else:
        print(certificate)
