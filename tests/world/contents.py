"""What a file that a command wrote says, but for times that were measured, if it is whole."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
from safetensors.numpy import load_file

import kolmo
from kolmo.files import read_sealed
from kolmo.store import open_store

TIMED = ("seconds", "table_sha256")
"""What is another at each run: times, and the digest of a table with times in it."""


def contents(path: Path):
    """What a file says, but for times that were measured; an error if it is not whole."""
    return _READERS.get(path.suffix, Path.read_bytes)(path)


def is_partial(path: Path) -> bool:
    """Whether a file is, or belongs to, a report that says that its run was cut off."""
    if path.suffix == ".html":
        return "&quot;finished&quot;: false" in path.read_text(encoding="utf-8")
    path = path.with_name(path.name.removesuffix(".meta.json"))
    if path.suffix not in (".json", ".csv", ".parquet"):
        return False
    return not kolmo.load_report(path).provenance["finished"]


def _json(path):
    said = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(said, dict) and "provenance" in said and "table" in said:
        return _report(path)
    if isinstance(said, dict) and "checksum" in said:
        said = read_sealed(path)
        assert said is not None, f"{path}: is damaged"
    return json.dumps(_timeless(said), sort_keys=True)


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in TIMED}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _report(path):
    report = kolmo.load_report(path)
    return report.table.drop(columns="seconds").to_csv() + report.coverage.to_csv()


def _table(path):
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    table = read(path)
    return table.drop(columns=[c for c in table.columns if "seconds" in c]).to_csv()


def _parquet(path):
    return _report(path) if path.name == "r.parquet" else _table(path)


def _html(path):
    text = path.read_text(encoding="utf-8")
    assert text.rstrip().endswith("</html>")
    return re.sub(r"[0-9.e-]+ s\b|\"seconds\":[^,}]*|20\d\d-\d\d-\d\dT[0-9:.+]*", "", text)


def _container(path):
    kolmo.verify(path, progress=False)
    return path.read_bytes()


def _tensors(path):
    load_file(path)
    return path.read_bytes()


def _mosaic(path):
    kolmo.open_checkpoint(path)
    return path.read_bytes()


def _store(path):
    """A store is whole if all that it keeps is: what is not there yet will be measured."""
    copy = path.with_name(f"{path.name}.copy")
    for suffix in ("", "-wal", "-journal"):
        if path.with_name(path.name + suffix).exists():
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    try:
        with open_store(copy) as opened:
            assert opened.is_open
            assert opened.check().good
    finally:
        for each in path.parent.glob(f"{copy.name}*"):
            each.unlink()
    return "whole"


def _ending(end):
    """What files of a kind end with, if they are whole."""

    def read(path):
        data = path.read_bytes()
        assert data.rstrip().endswith(end), f"{path}: is cut off"
        return data

    return read


_READERS = {
    ".json": _json, ".csv": _table, ".parquet": _parquet, ".html": _html, ".kmo": _container,
    ".safetensors": _tensors, ".mosaic": _mosaic, ".sqlite": _store,
    ".png": _ending(b"IEND\xaeB`\x82"), ".svg": _ending(b"</svg>"),
}  # fmt: skip
