"""How a run is watched from the command line: a live view on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.lab.observer import Observer, Tick
from harness.plan.cell import CellPlan

__all__ = ["JsonLines", "LiveView", "PlainLines", "make_observer"]


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f} ms"


def _memory(tick: Tick) -> str:
    return ", ".join(f"{role} {size / 2**20:.0f} MiB" for role, size in sorted(tick.memory_bytes.items())) or "-"


_WRITING = threading.Lock()


def _put(line: str) -> None:
    """Write a whole line: images and stacks are built at the same time and tell of it from their threads."""
    with _WRITING:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class PlainLines:
    """One line per phase, and one per five seconds of load."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last_tick = -1e9

    def _line(self, text: str) -> None:
        _put(f"[{time.monotonic() - self._began:6.1f} s] {text}")

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        self._line(f"run {run_id}: {len(cells)} cells")

    def phase(self, cell: str, text: str) -> None:
        self._line(f"{cell}: {text}" if cell else text)

    def tick(self, cell: str, tick: Tick) -> None:
        if tick.t_s - self._last_tick >= 5 or tick.t_s < self._last_tick:
            self._last_tick = tick.t_s
            self._line(
                f"{cell}: {max(tick.t_s, 0):.0f} of {tick.of_s:.0f} s, {tick.rate_per_s:.0f}/s, "
                f"p50 {_milliseconds(tick.p50_s)}, p99 {_milliseconds(tick.p99_s)}, "
                f"{tick.done} done, {tick.failed} failed, memory {_memory(tick)}"
            )

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        self._last_tick = -1e9
        self._line(f"{cell}: {state}" + "".join(f"\n    {reason}" for reason in reasons))

    def note(self, text: str) -> None:
        self._line(text)


class JsonLines:
    """One JSON object per event."""

    def _line(self, kind: str, **fields: object) -> None:
        _put(json.dumps({"event": kind, **fields}))

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        self._line("plan", run=run_id, cells=[cell.id for cell in cells])

    def phase(self, cell: str, text: str) -> None:
        self._line("phase", cell=cell, text=text)

    def tick(self, cell: str, tick: Tick) -> None:
        self._line("tick", cell=cell, **asdict(tick))

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        self._line("cell_ended", cell=cell, state=state, reasons=list(reasons))

    def note(self, text: str) -> None:
        self._line("note", text=text)


class LiveView:
    """A table of cells that keeps itself up to date on a terminal."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._began = time.monotonic()
        self._rows: dict[str, list[str]] = {}
        self._head = "preparing"
        self._tick: tuple[str, Tick] | None = None

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        self._head = f"run {run_id}"
        self._rows = {cell.id: ["planned"] for cell in cells}
        self._show()

    def phase(self, cell: str, text: str) -> None:
        if cell:
            self._rows[cell] = [text]
            self._tick = None
        else:
            self._head = text
        self._show()

    def tick(self, cell: str, tick: Tick) -> None:
        self._tick = (cell, tick)
        self._show()

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        self._tick = None
        self._rows[cell] = [state, *reasons]
        self._show()

    def note(self, text: str) -> None:
        self._live.console.print(text)

    def _show(self) -> None:
        table = Table.grid(padding=(0, 2))
        for cell, lines in self._rows.items():
            table.add_row(Text(cell, style="bold"), Text("\n".join(lines)))
        parts: list[Text | Table] = [Text(f"{self._head}  ({time.monotonic() - self._began:.0f} s)"), table]
        if self._tick is not None:
            parts.append(self._load(*self._tick))
        self._live.update(Group(*parts))

    def _load(self, cell: str, tick: Tick) -> Table:
        done = min(1.0, max(0.0, tick.t_s / tick.of_s))
        bar = "#" * round(30 * done)
        grid = Table.grid(padding=(0, 2))
        grid.add_row("load", f"[{bar:<30}] {max(tick.t_s, 0):.0f} of {tick.of_s:.0f} s", style="cyan")
        grid.add_row("rate", f"{tick.rate_per_s:.0f}/s   {tick.done} of {tick.due} due done, {tick.failed} failed")
        grid.add_row("response", f"p50 {_milliseconds(tick.p50_s)}   p99 {_milliseconds(tick.p99_s)}")
        grid.add_row("memory", _memory(tick))
        return grid


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
