"""Memory results of a stored run, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import DamagedResult
from harness.memory.result import MemoryResult
from harness.store import facts
from harness.store.cell import Cell
from harness.store.run import Run

__all__ = ["is_memory_cell", "stored_result", "stored_results", "system_label"]


def is_memory_cell(cell: Cell) -> bool:
    """Whether a cell was given doses instead of load (also one that failed before it had a verdict)."""
    return cell.id.endswith("-memory") or bool(cell.record and facts.MEMORY in cell.record.facts)


def stored_result(cell: Cell) -> MemoryResult | None:
    """The memory result of a cell, None where it has none. Raises DamagedResult."""
    data = cell.record.facts.get(facts.MEMORY) if cell.record else None
    if data is None:
        return None
    try:
        return MemoryResult.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedResult(f"its memory result cannot be read ({error})", where=str(cell.path)) from None


def stored_results(run: Run) -> Iterator[tuple[Cell, MemoryResult]]:
    """Every readable memory cell with its result. Raises DamagedResult."""
    for cell in run.shown:
        result = stored_result(cell)
        if result is not None:
            yield cell, result


def system_label(system: str, point: Mapping[str, Any]) -> str:
    """The system and its place in the sweep, as reports name it."""
    return system + "".join(f", {axis} {value}" for axis, value in point.items())
