"""How goldens are written anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kolmo


def update(path: Path, name: str, facts: dict[str, Any]) -> None:
    """Set one entry of an index of goldens, and which kolmo wrote it."""
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entries[name] = {"kolmo": kolmo.__version__, **facts}
    lines = [f"{json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
