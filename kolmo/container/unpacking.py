"""unpack: the weights of a container as safetensors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo import __version__
from kolmo.checkpoints.opening import bytes_at
from kolmo.checkpoints.writing import SafetensorsWriter
from kolmo.container.decoding import Digests, decode_parts
from kolmo.container.format import (
    Contents,
    Entry,
    is_quantized,
)
from kolmo.container.work import read_to_decode
from kolmo.errors import InputError
from kolmo.execution import Progress, thread_count
from kolmo.files import check_standing, directory
from kolmo.floats import is_float
from kolmo.progress import Wanted, progress_bar
from kolmo.replacing import write_atomically
from kolmo.symbols import Symbols


def unpack(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    symbols: bool = False,
    threads: int | None = None,
    progress: Wanted = None,
    max_bytes: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the weights of a container as safetensors.

    Parameters
    ----------
    path : path or URL
        A container.
    out : path
        A file whose name ends with ``.safetensors``, or a directory, made if it is not there, in
        which the file gets the container's name. Written whole or not at all.
    symbols : bool
        Write the symbols rather than the weights: bit patterns, or the quantizer's integers.
    threads, progress : see `pack`
    max_bytes : int, optional
        Bytes that the container may expand to; by default 1,024 times its size, at least 256 MiB,
        and as many as are decoded in a few seconds.
    overwrite : bool
        Replace a file that stands there; never the container.

    Returns
    -------
    pathlib.Path
        The file. Quantized weights are the values of their symbols, in the dtype of the source if
        that is a floating-point one, else float32.

    Raises
    ------
    InputError
        If the container is damaged: nothing is then written. If a file stands there.
    """
    contents, out = read_to_decode(bytes_at(path), max_bytes), Path(out)
    if out.suffix != ".safetensors":
        out = out / f"{contents.path.stem}.safetensors"
    check_standing(out, inputs=[path], overwrite=overwrite)
    dtypes = [
        e.alphabet.container if symbols else weight_dtype(contents, e) for e in contents.entries
    ]
    with progress_bar(progress) as report, directory(out.parent):
        write_atomically(
            out, lambda t: _write_tensors(t, contents, dtypes, symbols, threads, report)
        )
    return out


def _write_tensors(
    path: Path,
    contents: Contents,
    dtypes: Sequence[np.dtype[Any]],
    symbols: bool,
    threads: int | None,
    progress: Progress,
) -> None:
    entries = contents.entries
    copies: dict[int, list[int]] = {}
    for number, entry in enumerate(entries):
        original = number if entry.copy_of is None else entry.copy_of
        copies.setdefault(original, []).append(number)
    forms = {e.name: (d, e.shape) for e, d in zip(entries, dtypes, strict=True)}
    meta = {"kolmo": __version__, "quantizer": str(contents.quantizer)}
    with open(path, "w+b") as file:
        writer = SafetensorsWriter(file, forms, meta if symbols else None)
        digests = Digests(entries)
        for part, decoded in decode_parts(contents, digests, thread_count(threads), progress):
            for number in copies[part.tensor]:
                there = entries[number]
                values = (
                    decoded if symbols else decoded_weights(contents, there, decoded, part.start)
                )
                writer.write(there.name, part.start, values.astype(dtypes[number]))


def decoded_weights(contents: Contents, entry: Entry, symbols: Symbols, start: int) -> NDArray[Any]:
    """The weights of a part of a tensor from weight ``start`` on, whose symbols these are."""
    try:
        return entry.coder.decode_at(symbols, start)
    except IndexError:  # a codebook that lacks a symbol
        raise InputError(f"{contents.where}: {entry.name!r} has symbols without a value") from None


def weight_dtype(contents: Contents, entry: Entry) -> np.dtype[Any]:
    """The dtype of the source, unless the quantizer has made floats of its integers."""
    kept = not is_quantized(entry.role, entry.copy_of, contents.entries)
    if entry.coder.lossless or kept or is_float(entry.dtype):
        return entry.dtype
    return np.dtype(np.float32)
