"""How a run is watched from the command line: a live view on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.live import Live

from harness.cli.dashboard import LiveView, left_text, memory_text, ms_text, target_rate
from harness.lab.observer import Observer, Silent, Tick
from harness.lab.pace import Standing
from harness.plan.cell import CellPlan

__all__ = ["JsonLines", "PlainLines", "make_observer"]


_WRITING = threading.Lock()


def _put(line: str) -> None:
    """Write a whole line: images and stacks are built at the same time and tell of it from their threads."""
    with _WRITING:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class PlainLines(Silent):
    """One line per phase, and one per five seconds of load."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last_tick = -1e9
        self._plans: dict[str, CellPlan] = {}

    def _line(self, text: str) -> None:
        _put(f"[{time.monotonic() - self._began:6.1f} s] {text}")

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        self._plans = {cell.id: cell for cell in cells}
        self._line(f"run {run_id}: {len(cells)} cells")

    def phase(self, cell: str, text: str) -> None:
        self._line(f"{cell}: {text}" if cell else text)

    def tick(self, cell: str, tick: Tick) -> None:
        if tick.t_s - self._last_tick >= 5 or tick.t_s < self._last_tick:
            self._last_tick = tick.t_s
            plan = self._plans.get(cell)
            target = target_rate(plan, tick.t_s) if plan is not None else None
            of = "/s" if target is None else f" of {target:.0f}/s"
            self._line(
                f"{cell}: {max(tick.t_s, 0):.0f} of {tick.of_s:.0f} s, {tick.rate_per_s:.0f}{of}, "
                f"p50 {ms_text(tick.p50_s)}, p99 {ms_text(tick.p99_s)}, "
                f"{tick.done} done, {tick.failed} failed, memory {memory_text(tick)}"
            )

    def retry(self, cell: str, why: str, left: int) -> None:
        self._last_tick = -1e9
        self._line(f"{cell}: is run again (up to {left} more)\n    {why}")

    def standing(self, standing: Standing) -> None:
        if standing.done < standing.of:
            self._line(f"{standing.done} of {standing.of} cells done, {left_text(standing)}")

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        self._last_tick = -1e9
        self._line(f"{cell}: {state}" + "".join(f"\n    {reason}" for reason in reasons))

    def note(self, text: str) -> None:
        self._line(text)


class JsonLines:
    """One JSON object per event, as docs/progress.md describes them."""

    def __init__(self) -> None:
        self._plans: dict[str, CellPlan] = {}

    def _line(self, kind: str, **fields: object) -> None:
        _put(json.dumps({"event": kind, **fields}))

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        self._plans = {cell.id: cell for cell in cells}
        described = [
            {
                "cell": cell.id,
                "system": cell.system,
                "point": dict(cell.point),
                "repetition": cell.repetition,
                "target_rate_per_s": target_rate(cell),
            }
            for cell in cells
        ]
        self._line("plan", run=run_id, cells=[cell.id for cell in cells], described=described)

    def phase(self, cell: str, text: str) -> None:
        self._line("phase", cell=cell, text=text)

    def links(self, cell: str, measured_s: Mapping[tuple[str, str], float | None]) -> None:
        found = [{"source": a, "target": b, "rtt_s": value} for (a, b), value in measured_s.items()]
        self._line("links", cell=cell, measured=found)

    def tick(self, cell: str, tick: Tick) -> None:
        plan = self._plans.get(cell)
        target = target_rate(plan, tick.t_s) if plan is not None else None
        self._line("tick", cell=cell, target_rate_per_s=target, **asdict(tick))

    def retry(self, cell: str, why: str, left: int) -> None:
        self._line("retry", cell=cell, why=why, left=left)

    def standing(self, standing: Standing) -> None:
        self._line("standing", **asdict(standing))

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        self._line("cell_ended", cell=cell, state=state, reasons=list(reasons))

    def note(self, text: str) -> None:
        self._line("note", text=text)


@contextmanager
def make_observer(as_json: bool) -> Iterator[Observer]:
    """The observer that fits where standard output goes."""
    if as_json:
        yield JsonLines()
    elif sys.stdout.isatty():
        with Live(console=Console(), refresh_per_second=4, transient=True) as live:
            yield LiveView(live)
    else:
        yield PlainLines()
