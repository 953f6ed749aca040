"""What a file is that is no checkpoint of a known format: told in words, with what helps."""

from __future__ import annotations

import re

from kolmo.checkpoints.folders import File, LocalFolder
from kolmo.checkpoints.magic import is_text
from kolmo.checkpoints.strangers import stranger

Told = tuple[str, str] | None
"""What a file is and what helps; None if that is not known."""

_BESIDE = "give the checkpoint that belongs to it"
_FETCH = "download the file itself"
_UNPACK = "unpack it, and give the checkpoint in it"
_ENGINE = "a TensorRT engine, a program for one sort of GPU"
_MADE_OF = "give the ONNX or torch model that it was made of"
_DATA = "data, not a model; give the model that was made of it"

# By first bytes; those that are letters as they stand in small ones.
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself",
        "run  git lfs pull  in its repository",
    ),
    (
        b"/annex/objects/",
        "a git-annex pointer, not the file itself",
        "run  git annex get  in its repository",
    ),
    (
        b"# xet version",
        "a Xet pointer, not the file itself",
        "download it by  hf download  (huggingface_hub)",
    ),
    (
        b"momos\0",
        "a mosaic file",
        "expand it:  momos expand FILE.mosaic -o model.safetensors",
    ),
    (b"outs:\n- md5", "a DVC pointer, not the file itself", "run  dvc pull  in its repository"),
    (b"<!doctype html", "an HTML page, not a checkpoint", "download the raw file"),
    (b"<html", "an HTML page, not a checkpoint", "download the raw file"),
    (b'{"error"', "the error that a server sent in place of the file", _FETCH),
    (b"entry not found", "the error that a server sent in place of the file", _FETCH),
    (b"invalid username or password", "the error that a server sent in place of the file", _FETCH),
    (b"access to model", "the error that a server sent in place of the file", _FETCH),
    (b"repository not found", "the error that a server sent in place of the file", _FETCH),
    (b"%pdf-", "a PDF document", "give the model that it is about"),
    (b"\x89png", "a PNG picture", "give a checkpoint"),
    (b"\xff\xd8\xff", "a JPEG picture", "give a checkpoint"),
    (b"gif8", "a GIF picture", "give a checkpoint"),
    (b"riff", "a sound, a film or a picture (RIFF)", "give a checkpoint"),
    (b"par1", "a Parquet table", _DATA),
    (b"arrow1", "an Arrow table", _DATA),
    (b"sqlite format 3", "an SQLite database", _DATA),
    (b"\x7felf", "a program or library for Linux (ELF)", "give the weights that it loads"),
    (b"\xcf\xfa\xed\xfe", "a program or library for macOS", "give the weights that it loads"),
    (b"ftrt", _ENGINE, _MADE_OF),
    (b"ptrt", _ENGINE, _MADE_OF),
    (b"7767517", "the graph of an ncnn model", "give the model that it was made of"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"rar!", "a RAR archive", _UNPACK),
    (b"mz", "a program or library for Windows", "give the weights that it loads"),
    (b"\xca\xfe\xba\xbe", "a program for Java or macOS", "give the weights that it loads"),
    (b"pk\x05\x06", "an empty zip archive", "pack it again, or give another file"),
    (b"\xd0\xcf\x11\xe0", "a document of Microsoft Office", "give a checkpoint"),
    (b"salted__", "an encrypted file (OpenSSL)", "decrypt it first"),
    (b"age-encryption.org", "an encrypted file (age)", "decrypt it first"),
    (b"-----begin pgp", "an encrypted file (PGP)", "decrypt it first"),
)

# By what stands at byte 4, as flatbuffers have it.
_FOURTH = {
    b"ET12": ("an ExecuTorch program", "give the torch model that it was made of"),
    b"ORTM": ("a model in the format of ONNX Runtime (ORT)", "give the .onnx file"),
    b"ftyp": ("a film or a sound (MP4)", "give a checkpoint"),
}

# By the first name in an archive in which no checkpoint is.
_ZIPS = (
    ("word/", "a Word document"),
    ("xl/", "an Excel table"),
    ("ppt/", "a PowerPoint presentation"),
    ("META-INF/MANIFEST.MF", "a Java program"),
    ("AndroidManifest.xml", "an Android program"),
    ("mimetype", "a document (OpenDocument or EPUB)"),
)

_PARTIAL = (".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2", ".!qb")
_ENGINES = (".engine", ".plan", ".trt")
_SOURCES = {
    ".py": "Python source, which is not run",
    ".yaml": "a configuration (YAML)",
    ".yml": "a configuration (YAML)",
    ".toml": "a configuration (TOML)",
    ".md": "a text (Markdown)",
    ".csv": "a table (CSV)",
    ".sh": "a shell script, which is not run",
}


def what_it_is(head: bytes, file: File, is_called: str, known: str) -> str:
    """What a file is, why it is not read, and what helps.

    ``is_called`` is the format that its name claims, empty if none; ``known`` lists the formats.
    """
    name = file.name.lower()
    found = _unfinished(head, name) or _by_start(head) or _json(head, name)
    kind = None if found else stranger(head, name)
    if kind:
        return f"this is {kind.what}, which is not read; {kind.advice}"
    found = found or _by_ending(head, name)
    if found:
        return f"this is {found[0]}; {found[1]}"
    size = file.stored.size
    if is_called:
        return (
            f"not a checkpoint: called as {is_called} is, but does not begin as one does "
            f"({size:,} bytes); it is damaged or something else: download or copy it again"
        )
    return f"not a checkpoint of a known format ({known})"


def zip_kind(names: list[str]) -> str:
    """What a zip archive is that holds no checkpoint; empty if that is not known."""
    return next((what for start, what in _ZIPS if any(n.startswith(start) for n in names)), "")


def unfinished_download(file: File) -> str:
    """Why a file is not all there, where another one beside it says so; else empty."""
    is_local = isinstance(file.folder, LocalFolder)
    if is_local and file.folder.has(f"{file.name}.aria2"):
        return f"a download that is not finished ({file.name}.aria2 lies beside it); finish it"
    return ""


def _unfinished(head: bytes, name: str) -> Told:
    if name.endswith(_PARTIAL):
        return "a download that is not finished, by its name", "finish it, and give the whole file"
    if len(head) > 8 and not any(head):
        return "a file that begins with zeros, as unfinished downloads do", "download it again"
    return None


def _by_start(head: bytes) -> Told:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, what, help in _STARTS:
        if start.startswith(beginning):
            return what, help
    if is_text(head) and b".git/annex/objects/" in head:
        return "a git-annex pointer, not the file itself", "run  git annex get  in its repository"
    return _FOURTH.get(head[4:8])


def _json(head: bytes, name: str) -> Told:
    """What JSON is that lies beside weights."""
    if head.lstrip()[:1] not in (b"{", b"["):
        return None
    if name.endswith(".index.json"):
        what = "an index of shards by its name, which maps no names to shards"
        return what, "download it again"
    if re.search(rb'"(model_type|architectures|_class_name|torch_dtype)"', head):
        return "the configuration of a model (JSON), not its weights", "give its folder"
    if re.search(rb'"(added_tokens|tokenizer_class|truncation)"', head):
        return "a tokenizer (JSON), which has no weights", "give its folder"
    is_notebook = b'"cells"' in head or name.endswith(".ipynb")
    return ("a notebook", "give the checkpoint that it loads") if is_notebook else None


def _by_ending(head: bytes, name: str) -> Told:
    if name.endswith(_ENGINES):
        return f"{_ENGINE}, by its name", _MADE_OF
    if not is_text(head):
        return None
    for ending, what in _SOURCES.items():
        if name.endswith(ending):
            return what, _BESIDE
    start = head.lstrip()
    if start.startswith(b"<?xml"):
        return "an XML document, not a checkpoint", _FETCH
    if start[:1] in (b"{", b"["):
        return "JSON that is no index of a checkpoint", _BESIDE
    return "a text, not a checkpoint", _BESIDE
