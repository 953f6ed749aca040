"""inspect: what is in a source, read from headers alone.

::

    source ─► open_checkpoint ─► arrays: names, shapes, forms, roles, sizes ─► Inspection
                                                      folded ─► text, HTML, JSON
"""

from kolmo.inspection.arrays import Inspected
from kolmo.inspection.inspecting import Inspection, inspect

__all__ = ["Inspected", "Inspection", "inspect"]
