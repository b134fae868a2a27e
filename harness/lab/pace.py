"""How long a run will still take: what its plan says, and what the cells that ran took beside that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from harness.plan.cell import CellPlan

__all__ = ["Pace", "Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is.

    Attributes:
        done, of: cells that are over, and all of them; with those done before it was resumed.
        failed: cells that failed for good.
        retried: attempts that failed, or were invalid, and were followed by another.
        elapsed_s: seconds since the run began, or was resumed.
        left_s: seconds it will still take.
        at_least: whether `left_s` is the planned load alone, because no cell has shown yet what comes beside it.
    """

    done: int
    of: int
    failed: int
    retried: int
    elapsed_s: float
    left_s: float
    at_least: bool


class Pace:
    """Learns what a cell takes beside its load (nodes, buses, agents, probes), system by system.

    A memory cell has no load of known length; one that ran stands for the others.
    """

    def __init__(self) -> None:
        self._beside: dict[tuple[str, bool], list[float]] = {}

    def took(self, plan: CellPlan, seconds: float) -> None:
        """A cell ended well after so many seconds."""
        self._beside.setdefault(_kind(plan), []).append(seconds - _load_s(plan))

    def left(self, plans: Iterable[CellPlan]) -> tuple[float, bool]:
        """Seconds these cells will take, and whether that is only the least they can take."""
        total, at_least = 0.0, False
        for plan in plans:
            system, memory = _kind(plan)
            seen = self._beside.get((system, memory)) or [
                each for (_, other), found in self._beside.items() if other == memory for each in found
            ]
            at_least = at_least or not seen
            total += max(0.0, _load_s(plan) + (median(seen) if seen else 0.0))
        return total, at_least


def _kind(plan: CellPlan) -> tuple[str, bool]:
    return plan.system, plan.memory is not None


def _load_s(plan: CellPlan) -> float:
    return 0.0 if plan.memory is not None else plan.phases.load_s
