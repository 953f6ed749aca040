"""Plans: what a run would measure, in which time, memory and bytes read, told from headers alone.

::

    Checkpoint (its header), Plan  ── foresee ──►  Outlook  ── plan_text, to_dict ──►  people, JSON
"""

from kolmo.planning.foresight import foresee
from kolmo.planning.outlook import Outlook, PlannedRow
from kolmo.planning.words import plan_table, plan_text

__all__ = ["Outlook", "PlannedRow", "foresee", "plan_table", "plan_text"]
