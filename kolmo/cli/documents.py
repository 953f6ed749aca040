"""The JSON documents that commands print: facts as plain values, with what they say in words."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import kolmo
from kolmo.report.verdicts import find_verdicts


def report_document(report: kolmo.Report) -> dict[str, Any]:
    """A report with its sentences and its verdicts; `kolmo.load_report` reads it, too."""
    saved = json.loads(report.to_json())
    table = [{**row, "details": _plain(row["details"])} for row in saved.pop("table")]
    summary = report.summary().splitlines()
    return {"summary": summary, "verdicts": verdict_records(report), "table": table, **saved}


def verdict_records(report: kolmo.Report) -> list[dict[str, Any]]:
    """The verdicts, a record each; what is not known is null."""
    found = map(dataclasses.asdict, find_verdicts(report))
    return [{name: v if v == v else None for name, v in each.items()} for each in found]


def _plain(details: str | None) -> Any:
    return json.loads(details) if details else None
