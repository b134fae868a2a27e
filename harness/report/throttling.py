"""Nodes that their CPU limit held back while they were under load, as the engine counted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.numbers import plural
from harness.store import facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.store.schema import CellRecord

__all__ = ["throttling"]

#: Share of the load's time from which being held back is told.
_NOTICEABLE = 0.01


def throttling(records: Sequence[CellRecord]) -> list[str]:
    """One warning for all cells, the worst case first; [] where no node was held back noticeably."""
    found = []
    for record in records:
        load_s = record.phases["warmup_s"] + record.phases["duration_s"]
        before = record.facts.get(facts.NODES_BEFORE) or {}
        for node, after in (record.facts.get(facts.NODES_AFTER) or {}).items():
            held_s = after.get("throttled_s", 0.0) - before.get(node, {}).get("throttled_s", 0.0)
            if held_s > _NOTICEABLE * load_s:
                found.append((held_s, load_s, node, record.id))
    if not found:
        return []
    held_s, load_s, node, cell = max(found)
    more = f", and {plural(len(found) - 1, 'other')} less" if len(found) > 1 else ""
    return [
        f"CPU limits held nodes back: {node} for {held_s:.1f} s in {load_s:g} s of load (cell {cell}){more}. "
        "Latencies there hold time that processes waited for their limit."
    ]
