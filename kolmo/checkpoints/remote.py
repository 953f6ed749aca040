"""Files and folders that are far away, by URL: ``hf://``, ``s3://``, ``gs://``, ``https://`` …

They are read by ranges through fsspec (https://filesystem-spec.readthedocs.io), so that a header
costs kilobytes and a tensor its own bytes. Every file system has errors of its own; they are told
here in one language, and what a URL may hide (a password, the signature of a query) is not shown.
"""

from __future__ import annotations

import functools
import importlib
import posixpath
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kolmo.checkpoints.allowance import belongs
from kolmo.checkpoints.answers import patience
from kolmo.checkpoints.folders import MOST, File, Folder, LocalFolder
from kolmo.checkpoints.ranges import Ranges
from kolmo.checkpoints.stored import Stored
from kolmo.checkpoints.web import WebFile, linked
from kolmo.errors import InputError, KolmoError, MissingExtraError, UnansweredError
from kolmo.text import public as public

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
}
_HUB = re.compile(
    r"https?://(?:huggingface\.co|hf\.co)/(?!datasets/|spaces/|api/)([^/?#]+/[^/?#]+?)/?"
    r"(?:/(?:tree|blob)/([^/?#]+)(/[^?#]+)?)?(?:[?#].*)?"
)
_VERSIONS = ("ETag", "etag", "sha256", "blob_id", "md5Hash", "content_md5", "generation",
             "VersionId", "LastModified", "mtime", "created")  # fmt: skip


def open_url(url: str) -> File | Folder:
    """The file or the folder that a URL names, unread.

    Raises
    ------
    InputError
        If it is not there, cannot be reached, or needs a package that is not installed.
    MissingExtraError
        If fsspec is not installed.
    """
    url, where = hub_url(url), public(url)
    if url.startswith(("file://", "local://")):
        return _local(url)
    fs, path = _file_system(url, where)
    if _is_web(fs):
        return _open_web(fs, url)
    with plainly(where):
        fs.invalidate_cache()  # what was listed earlier may have changed
        kind = fs.info(path).get("type")
    if kind == "directory":
        return RemoteFolder(fs, path.rstrip("/"), where.rstrip("/"))
    parent = RemoteFolder(fs, posixpath.dirname(path), where.rpartition("/")[0])
    return File(parent, posixpath.basename(path))


def globbed(url: str) -> list[str]:
    """The URLs that a glob such as ``s3://bucket/runs/*.safetensors`` stands for, unsorted; of a
    web server, which cannot be searched, the URL as it is."""
    where = public(url)
    if url.startswith(("http://", "https://", "file://", "local://")):
        return [url]
    fs, path = _file_system(url, where)
    with plainly(where):
        fs.invalidate_cache()
        return [str(fs.unstrip_protocol(found)) for found in fs.glob(path)]


class AbsentError(InputError):
    """There is no such file or folder."""


class RemoteFolder:
    """A folder of a file system that fsspec knows.

    Attributes
    ----------
    where : str
        Its URL, without what must not be shown.
    versions : dict of str to str
        What the server says of each file that was opened: its size, and an ETag or a checksum.
    """

    def __init__(self, fs: Any, root: str, where: str, names: list[str] | None = None) -> None:
        self._fs, self._root, self.where = fs, root, where
        self._names = names
        self._opened: dict[str, Stored] = {}
        self.versions: dict[str, str] = {}

    def names(self) -> list[str]:
        """All files in it and below it, by one listing, kept; of a web server those it links."""
        if self._names is None:
            with plainly(self.where):
                found = self._fs.find(self._root)
            under = [path.removeprefix(self._root).lstrip("/") for path in found]
            self._names = _few((name for name in under if not _hidden(name)), self.where)
        return self._names

    def has(self, name: str) -> bool:
        """Whether it lists the file; without a listing, whether the file is there."""
        if self._names is not None and not _is_web(self._fs):
            return name in self._names
        try:
            self.stored(name)
        except AbsentError:
            return False
        return True

    def path(self, name: str) -> str:
        """Empty: no file of it is on this machine."""
        return ""

    def stored(self, name: str) -> Stored:
        """The bytes of a file, by ranges; the same for the same name."""
        if name not in self._opened:
            self._opened[name] = self._web(name) if _is_web(self._fs) else self._far(name)
        return self._opened[name]

    def _far(self, name: str) -> Stored:
        path, where = f"{self._root}/{name}", f"{self.where}/{name}"
        with plainly(where):
            info = self._fs.info(path)
        if info.get("type") == "directory":
            raise InputError(f"{where}: this is a folder, not a file")
        size = info.get("size")
        if not isinstance(size, int):
            raise InputError(f"{where}: its server does not say how long it is; download it first")
        self.versions[where] = _version(info)
        return _by_ranges(functools.partial(_range, self._fs, path), size, where)

    def _web(self, name: str) -> Stored:
        base, query = self._root.partition("?")[::2]
        url = f"{base}/{urllib.parse.quote(name)}" + (f"?{query}" if query else "")
        where = f"{self.where}/{name}"
        with plainly(where):
            file = WebFile.open(self._fs, url, where)
        self.versions[where] = file.version
        return _by_ranges(file.fetch, file.size, where, file.head)


def _by_ranges(
    fetch: Callable[[int, int], bytes], size: int, where: str, head: bytes = b""
) -> Stored:
    def exact(offset: int, count: int) -> bytes:
        with plainly(where):
            data = fetch(offset, count)
        if len(data) != count:
            raise InputError(f"{where}: the server sent {len(data):,} bytes for {count:,}")
        return data

    ranges = Ranges(exact, size, head)
    belongs(where, size)
    return Stored(ranges, 0, size, where, gather=ranges.expect)


def _range(fs: Any, path: str, offset: int, size: int) -> bytes:
    """A range of a file; file systems without ranges of their own open it without reading ahead."""
    if fs.async_impl:
        return bytes(fs.cat_file(path, start=offset, end=offset + size))
    with fs.open(path, "rb", cache_type="none") as file:
        file.seek(offset)
        return bytes(file.read(size))


def _version(info: Mapping[str, Any]) -> str:
    """Size and, of what the server says, what tells this version of a file from another."""
    lfs = info.get("lfs") or {}
    facts = {**info, "sha256": lfs.get("sha256") if isinstance(lfs, Mapping) else None}
    told = [f"{key}={facts[key]}" for key in _VERSIONS if facts.get(key)]
    return " ".join([f"size={info['size']}", *told[:1]])


def _few(names: Iterable[str], where: str) -> list[str]:
    """Names of files in order, if they are not too many."""
    found = sorted(names)
    if len(found) > MOST:
        raise InputError(f"{where}: holds more than {MOST:,} files; name the one that you mean")
    return found


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/")[:-1])


# --- the web --------------------------------------------------------------------------------


def _is_web(fs: Any) -> bool:
    protocol = fs.protocol
    return "http" in ((protocol,) if isinstance(protocol, str) else protocol)


def _open_web(fs: Any, url: str) -> File | Folder:
    """A file, whose folder cannot be listed, or, where the URL ends so, a page of links."""
    bare, query = url.partition("#")[0].partition("?")[::2]
    root, name = bare.rpartition("/")[::2]
    root += f"?{query}" if query else ""
    where = public(bare).rpartition("/")[0]
    if not name:
        with plainly(where):
            beside = linked(fs, url.partition("#")[0], where)
        return RemoteFolder(fs, root, where, _few(beside, where))
    name = urllib.parse.unquote(name)
    return File(RemoteFolder(fs, root, where, [name]), name)


def hub_url(url: str) -> str:
    """The ``hf://`` URL of a page of a model on the Hugging Face Hub; other URLs as they are.

    >>> hub_url("https://huggingface.co/org/model/tree/v2/text_encoder")
    'hf://org/model@v2/text_encoder'
    """
    page = _HUB.fullmatch(url)
    if page is None:
        return url
    model, revision, below = page.groups()
    at = f"@{revision}" if revision and revision != "main" else ""
    return f"hf://{model}{at}{below or ''}"


# --- file systems and their errors ----------------------------------------------------------


def _local(url: str) -> File | Folder:
    path = Path(urllib.parse.unquote(url.partition("://")[2]))
    if path.is_dir():
        return LocalFolder(path)
    if not path.is_file():
        raise InputError(f"{url}: there is no such file")
    return File.local(path)


def _file_system(url: str, where: str) -> tuple[Any, str]:
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise MissingExtraError(f"opening {where}", "fsspec", "remote") from None
    scheme = url.partition("://")[0]
    if scheme.rpartition("::")[2] not in fsspec.available_protocols():
        raise InputError(f"{where}: no file system is known for {scheme[:40]}://")
    try:
        fs, path = fsspec.url_to_fs(url, **_options(fsspec, scheme))
    except ImportError:
        raise _lacking(where, scheme) from None
    except Exception as error:
        raise plain(where, error) from None
    return fs, path


def _lacking(where: str, scheme: str) -> KolmoError:
    package = _PACKAGES.get(scheme, "")
    if scheme in ("http", "https", "hf"):
        return MissingExtraError(f"opening {where}", package or "aiohttp", "remote")
    command = f"pip install {package}" if package else "install it"
    return InputError(f"{where}: fsspec needs another package for {scheme}://; {command}")


def _options(fsspec: Any, scheme: str) -> dict[str, Any]:
    """The environment's proxies are honoured on the web, unless fsspec is configured otherwise."""
    if scheme not in ("http", "https") or "client_kwargs" in fsspec.config.conf.get(scheme, {}):
        return {}
    return {"client_kwargs": {"trust_env": True}}


@contextmanager
def plainly(where: str) -> Iterator[None]:
    """Errors of any file system, said plainly, with the place."""
    try:
        yield
    except KolmoError:
        raise
    except Exception as error:  # each file system raises errors of its own
        raise plain(where, error) from None


def plain(where: str, error: Exception) -> InputError:
    """What an error of a file system means, in no words of its own, which may hold secrets.

    >>> plain("s3://bucket/x", FileNotFoundError("s3://bucket/x?key=123"))
    AbsentError('s3://bucket/x: there is no such file or folder')
    """
    causes = (error, error.__cause__) if error.__cause__ else (error,)
    names = [kind.__name__ for cause in causes for kind in type(cause).__mro__]
    status = _status(error)
    hidden = {"GatedRepoError", "RepositoryNotFoundError"} & set(names)  # of 404 and of 401
    if not hidden and (status in (404, 410) or isinstance(error, FileNotFoundError)):
        return AbsentError(f"{where}: there is no such file or folder")
    if hidden or status in (401, 403) or isinstance(error, PermissionError):
        return InputError(f"{where}: {_DENIED}")
    if any("Credential" in name for name in names):
        return InputError(f"{where}: {_DENIED}")
    return UnansweredError(f"{where}: {_unreachable(error, names, status)}")


def _unreachable(error: Exception, names: list[str], status: int | None) -> str:
    said = next((_CAUSES[name] for name in names if name in _CAUSES), "")
    if said:
        return said
    if status in _BUSY or (status or 0) >= 500:
        return f"the server refused (HTTP status {status}); try again later"
    if status:
        return f"the server refused (HTTP status {status}); is the URL right?"
    if any("Timeout" in name for name in names):
        return (
            f"the server did not answer within {patience():g} s, or sends less than 1 KiB a "
            f"second; try again later, or set KOLMO_TIMEOUT to more seconds"
        )
    if isinstance(error, OSError) or any("Connect" in name for name in names):
        return f"it cannot be reached ({names[0]}); is this machine online, and the name right?"
    return f"it cannot be fetched ({names[0]}); is the URL right?"


_BUSY = (408, 425, 429)
_BROKEN = "the server broke off, or what it sends is damaged; try again later"
_CAUSES = {
    "TooManyRedirects": "the server redirects again and again; is the URL right?",
    "NonHttpUrlRedirectClientError": "the server redirects to what is not on the web",
    "InvalidUrlRedirectClientError": "the server redirects to what is no URL",
    "InvalidURL": "this is not a URL that can be asked for",
    "InvalidSchema": "the server redirects to what is not on the web",
    "HttpProcessingError": "what answers there sends no sound HTTP; is the URL right?",
    "ClientPayloadError": _BROKEN,
    "ChunkedEncodingError": _BROKEN,
    "ContentDecodingError": _BROKEN,
    "ServerDisconnectedError": "the server closed the connection without an answer",
    "ClientConnectorCertificateError": "the certificate of the server is not trusted",
    "SSLCertVerificationError": "the certificate of the server is not trusted",
    "ClientSSLError": "no secure connection can be made; is it  http://  that is meant?",
    "SSLError": "no secure connection can be made; is it  http://  that is meant?",
}
"""What errors of HTTP libraries mean, by the names of their classes."""

_DENIED = (
    "access is denied, or there is nothing there: check the URL, and log in (on the Hugging Face "
    "Hub by  hf auth login , and accept the terms of a gated model on its page)"
)


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of aiohttp, requests, httpx or botocore; None without one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        response = response.get("ResponseMetadata", {})
        return response.get("HTTPStatusCode") if isinstance(response, dict) else None
    for value in (getattr(error, "status", None), getattr(response, "status_code", None)):
        if isinstance(value, int):
            return value
    return None
