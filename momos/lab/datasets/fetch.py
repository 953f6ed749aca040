"""The official files of the data sets, fetched once, checked by SHA-256 (extra ``remote``).

A download has another name until its hash is right, so that half a file is never taken for a whole
one. A file with the right hash is left alone, so that an interrupted fetch continues where it
stopped; a file of that name with another hash is replaced only where that is asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kolmo import specs
from kolmo.errors import InputError
from kolmo.files import check_standing, make_directory
from kolmo.progress import progress_bar
from kolmo.replacing import write_atomically

if TYPE_CHECKING:
    from kolmo.checkpoints.stored import Stored

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_CIFAR = "https://www.cs.toronto.edu/~kriz"

_MOST = 1 << 30  # bytes of a file at most; the longest has 170 million
_PIECE = 1 << 22

#: URLs of the files of each data set, and the SHA-256 of their bytes.
SOURCES: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        f"{_MNIST}/train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        f"{_MNIST}/train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        f"{_MNIST}/t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        f"{_MNIST}/t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
    "fashion-mnist": {
        f"{_FASHION}/train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        f"{_FASHION}/train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        f"{_FASHION}/t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        f"{_FASHION}/t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    },
    "cifar10": {
        f"{_CIFAR}/cifar-10-binary.tar.gz": (
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        ),
    },
}


def fetch_dataset(
    name: str,
    folder: str | os.PathLike[str],
    sources: Mapping[str, Mapping[str, str]] = SOURCES,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Fetch the files of a data set that are not yet in a folder.

    Parameters
    ----------
    name : str
        ``cifar10``, ``fashion-mnist`` or ``mnist``.
    folder : path
        Made if it is missing.
    sources : mapping, optional
        URLs of the files of each data set, and their SHA-256.
    overwrite : bool
        Replace files of these names with another hash.

    Returns
    -------
    list of Path
        All files of the data set, fetched now or before.

    Raises
    ------
    MissingExtraError
        Without the package ``fsspec``.
    InputError
        For an unknown name, a file that cannot be fetched, or one with another hash, here or there.
    """
    if name not in sources:
        raise specs.unknown("dataset to fetch", name, sorted(sources))
    files = {url: Path(folder) / url.rsplit("/", 1)[1] for url in sources[name]}
    for url, digest in sources[name].items():
        check_standing(files[url], own=partial(_has, digest), overwrite=overwrite)
    return [_fetch(url, digest, Path(folder)) for url, digest in sources[name].items()]


def _has(digest: str, path: Path) -> bool:
    return path.is_file() and _sha256(path) == digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, digest: str, folder: Path) -> Path:
    path = folder / url.rsplit("/", 1)[1]
    if _has(digest, path):
        return path
    from kolmo.checkpoints.opening import bytes_at  # which imports much that settings do not need

    stored = bytes_at(url)
    if stored.size > _MOST:
        raise InputError(f"{url}: {stored.size:,} bytes are more than any of these files has")
    make_directory(folder)
    write_atomically(path, lambda temporary: _copy(stored, temporary, digest))
    return path


def _copy(stored: Stored, path: Path, digest: str) -> None:
    """Write a file; InputError if it has another hash."""
    with progress_bar() as progress, open(path, "wb") as file:
        for offset in range(0, stored.size, _PIECE):
            progress(offset, stored.size, f"fetching {stored.where}")
            file.write(stored.read(offset, min(_PIECE, stored.size - offset)))
    found = _sha256(path)
    if found != digest:
        raise InputError(
            f"{stored.where}: its SHA-256 is {found}, not {digest}: it is another file, or damaged"
        )
