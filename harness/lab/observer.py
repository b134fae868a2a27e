"""What the lab tells whoever watches a run: phases, and once a second how the load is doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.lab.pace import Standing
from harness.plan.cell import CellPlan

__all__ = ["Observer", "Silent", "Tick"]


@dataclass(frozen=True, slots=True)
class Tick:
    """The load of a cell, once a second.

    Attributes:
        t_s: seconds since go (negative before it).
        of_s: when the last operation is due, seconds since go.
        due, sent, done, failed: operations so far, over all clients.
        rate_per_s: operations that ended well, per second, over the last two seconds.
        p50_s, p99_s: response time over the last five seconds, None without operations.
        memory_bytes: anonymous memory by role ("client", "server", "bus"), summed over processes.
    """

    t_s: float
    of_s: float
    due: int
    sent: int
    done: int
    failed: int
    rate_per_s: float
    p50_s: float | None
    p99_s: float | None
    memory_bytes: Mapping[str, int] = field(default_factory=dict)


class Observer(Protocol):
    """Watches a run. Called from the controlling thread; must be quick and must not raise."""

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        """The run begins."""

    def phase(self, cell: str, text: str) -> None:
        """A cell (or, with "", the run) enters a phase."""

    def tick(self, cell: str, tick: Tick) -> None:
        """Once a second under load."""

    def links(self, cell: str, measured_s: Mapping[tuple[str, str], float | None]) -> None:
        """The links of a cell were probed: round-trip time by direction, None where no echo came back."""

    def retry(self, cell: str, why: str, left: int) -> None:
        """A cell failed, or this machine made it invalid: it is run again now.

        `left` counts this attempt and those that may still follow.
        """

    def standing(self, standing: Standing) -> None:
        """How far the run is: before every cell, and at the end."""

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        """A cell is over."""

    def note(self, text: str) -> None:
        """Something to tell at once."""


class Silent:
    """Tells nobody."""

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        pass

    def phase(self, cell: str, text: str) -> None:
        pass

    def tick(self, cell: str, tick: Tick) -> None:
        pass

    def links(self, cell: str, measured_s: Mapping[tuple[str, str], float | None]) -> None:
        pass

    def retry(self, cell: str, why: str, left: int) -> None:
        pass

    def standing(self, standing: Standing) -> None:
        pass

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        pass

    def note(self, text: str) -> None:
        pass
