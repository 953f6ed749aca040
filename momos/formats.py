"""What kolmo is told of momos' files, by an entry point, so that it opens them as checkpoints."""

from __future__ import annotations

from kolmo.checkpoints.formats import Format
from kolmo.checkpoints.magic import starts

MOSAIC = Format(
    "mosaic", starts(b"momos\0"), "momos.mosaic.opening:open_mosaic", endings=(".mosaic",)
)
"""A mosaic file; its reader is imported when one is opened."""
