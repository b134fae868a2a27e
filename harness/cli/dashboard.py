"""The live view of a run on a terminal: where it stands, its sites and links, its load, and what is still to come."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.lab.observer import Tick
from harness.lab.pace import Standing
from harness.model.quantities import format_duration
from harness.plan.cell import CellPlan
from harness.plan.timeline import after_all

__all__ = ["LiveView", "left_text", "memory_text", "ms_text", "target_rate", "upcoming"]

_BARS = "▁▂▃▄▅▆▇█"
#: Seconds of history the small graphs show.
_HISTORY = 30
#: A screen narrower than this has its panels below each other.
_WIDE = 92
#: How many cells that are over, links and events to come are shown.
_CELLS, _LINKS, _EVENTS = 5, 10, 4


def ms_text(seconds: float | None) -> str:
    """A latency, "-" where there is none."""
    return "-" if seconds is None else f"{seconds * 1e3:.1f} ms"


def memory_text(tick: Tick) -> str:
    """Own memory by role."""
    return ", ".join(f"{role} {size / 2**20:.0f} MiB" for role, size in sorted(tick.memory_bytes.items())) or "-"


def left_text(standing: Standing) -> str:
    """How long it will still take, in words: "about 3 min 20 s left"."""
    minutes, seconds = divmod(round(standing.left_s), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0) + [f"{seconds} s"] * (hours == 0)
    return f"{'at least' if standing.at_least else 'about'} {' '.join(parts)} left"


def target_rate(plan: CellPlan, t_s: float = 0.0) -> float | None:
    """Operations per second the clients of a cell are to start at a load time; None where one of them is a closed loop.

    Bursts count with their mean rate.
    """
    schedules = [agent.task.get("schedule") or {} for agent in plan.agents if agent.role == "client"]
    rates = [_rate_at(schedule, max(t_s, 0.0), plan.phases.load_s) for schedule in schedules]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known and len(known) == len(rates) else None


def _rate_at(schedule: Mapping[str, Any], t_s: float, load_s: float) -> float | None:
    """What a client's schedule asks for at a load time; None for a closed loop."""
    match schedule.get("kind"):
        case "constant" | "poisson":
            return float(schedule["rate_per_s"])
        case "burst":
            return float(schedule["size"]) / float(schedule["period_s"])
        case "ramp":
            share = min(1.0, t_s / float(schedule.get("over_s") or load_s))
            return float(schedule["from_per_s"]) * (1 - share) + float(schedule["to_per_s"]) * share
        case "steps":
            ends = accumulate(float(step["duration_s"]) for step in schedule["steps"])
            last = schedule["steps"][-1]
            return float(
                next((s for s, end in zip(schedule["steps"], ends, strict=True) if t_s < end), last)["rate_per_s"]
            )
    return None


def upcoming(plan: CellPlan, t_s: float) -> list[tuple[float, str]]:
    """(load time, what) of the events still to come, each once."""
    links = [(change.at_s, change.label) for change in plan.changes]
    processes = [(change.at_s, change.label) for change in plan.process_changes]
    return [event for event in dict.fromkeys(sorted(links + processes)) if event[0] > t_s]


class LiveView:
    """Keeps itself up to date; finished cells move up into the scrolled text, so that nothing is lost."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._began = time.monotonic()
        self._plans: dict[str, CellPlan] = {}
        self._head = "preparing"
        self._standing: Standing | None = None
        self._standing_at = 0.0
        self._over: deque[tuple[str, str]] = deque(maxlen=_CELLS)
        self._cell = ""
        self._phase = ""
        self._tick: Tick | None = None
        self._measured: Mapping[tuple[str, str], float | None] = {}
        self._rates: deque[float] = deque(maxlen=_HISTORY)
        self._p99s: deque[float] = deque(maxlen=_HISTORY)
        live.update(self)

    # -- what happens -----------------------------------------------------------------------------------------------

    def plan(self, run_id: str, cells: Sequence[CellPlan]) -> None:
        self._head = f"run {run_id}"
        self._plans = {cell.id: cell for cell in cells}

    def phase(self, cell: str, text: str) -> None:
        if not cell:
            self._head = text
            return
        if cell != self._cell:
            self._cell, self._measured = cell, {}
            self._rates.clear()
            self._p99s.clear()
        self._phase, self._tick = text, None if text not in ("load", "draining") else self._tick

    def links(self, cell: str, measured_s: Mapping[tuple[str, str], float | None]) -> None:
        self._measured = measured_s

    def tick(self, cell: str, tick: Tick) -> None:
        self._tick = tick
        self._rates.append(tick.rate_per_s)
        self._p99s.append(tick.p99_s or 0.0)

    def retry(self, cell: str, why: str, left: int) -> None:
        self._say(f"{cell}: is run again (up to {left} more): {why}", style="yellow")

    def standing(self, standing: Standing) -> None:
        self._standing, self._standing_at = standing, time.monotonic()

    def cell_ended(self, cell: str, state: str, reasons: Sequence[str]) -> None:
        self._over.append((cell, state))
        self._cell, self._tick = "", None
        for reason in reasons:
            self._say(f"{cell} is {state}: {reason}", style="yellow")

    def note(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str, style: str = "") -> None:
        self._live.console.print(Text(text, style=style))

    # -- what is seen -----------------------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The whole view; drawn afresh as often as the screen is."""
        wide = options.max_width >= _WIDE
        yield self._progress(options.max_width)
        if self._over:
            said = ", ".join(f"{cell} {state}" for cell, state in self._over)
            yield Text(f"done: {said}", style="dim", overflow="ellipsis", no_wrap=True)
        plan = self._plans.get(self._cell)
        if plan is None:
            return
        yield Text.assemble((plan.id, "bold"), f"  {self._phase}")
        parts: list[RenderableType] = [self._network(plan), self._load(plan)]
        if wide:
            both = Table.grid(expand=True, padding=(0, 1))
            both.add_column(ratio=1)
            both.add_column(ratio=1)
            both.add_row(*parts)
            yield both
        else:
            yield Group(*parts)

    def _progress(self, width: int) -> RenderableType:
        elapsed = time.monotonic() - self._began
        text = Text(f"{self._head}  {format_duration(round(elapsed))}")
        standing = self._standing
        if standing is None:
            return text
        text.append(f"  {standing.done} of {standing.of} cells")
        for number, what, style in ((standing.failed, "failed", "red"), (standing.retried, "run again", "yellow")):
            if number:
                text.append(f"  {number} {what}", style=style)
        since = time.monotonic() - self._standing_at
        now = Standing(
            standing.done, standing.of, standing.failed, standing.retried, elapsed, max(0.0, standing.left_s - since),
            standing.at_least,
        )  # fmt: skip
        text.append(f"  {left_text(now)}" if standing.done < standing.of else "  done")
        total = elapsed + now.left_s
        return Group(text, ProgressBar(total=1.0, completed=elapsed / total if total else 1.0, width=min(width, 100)))

    def _network(self, plan: CellPlan) -> RenderableType:
        t_s = self._tick.t_s if self._tick else -1.0
        sites = Table.grid(padding=(0, 2))
        for site in plan.lab.sites:
            roles = Counter(agent.role for agent in plan.agents if agent.site == site.name)
            there = [node.name for bus in plan.buses for node in bus.nodes if node.site == site.name]
            there += [f"{number} {role}{'s' * (number > 1)}" for role, number in roles.items()]
            sites.add_row(Text(site.name, style="bold"), ", ".join(there) or "-")
        links = Table.grid(padding=(0, 2))
        rows = self._link_rows(plan, t_s)
        for row in rows[:_LINKS]:
            links.add_row(*row)
        parts: list[RenderableType] = [sites, Text(), links]
        if len(rows) > _LINKS:
            parts.append(Text(f"and {len(rows) - _LINKS} more links", style="dim"))
        return Panel(Group(*parts), title="sites and links", title_align="left", border_style="dim")

    def _link_rows(self, plan: CellPlan, t_s: float) -> list[tuple[RenderableType, ...]]:
        """Pair of sites, the round trip declared now, and what was measured before the load."""
        now = after_all(plan.lab.links, [change for change in plan.changes if change.at_s <= t_s])
        state = {(link.source, link.target): link.impairment for link in now}
        began = {(link.source, link.target): link.impairment for link in plan.lab.links}
        rows: list[tuple[RenderableType, ...]] = []
        for (a, b), there in state.items():
            back = state.get((b, a))
            if back is None or a > b:
                continue
            if there.loss == 1 or back.loss == 1:
                shown = Text("cut", style="bold red")
            else:
                changed = there != began[a, b] or back != began[b, a]
                rtt = format_duration(round(there.delay_s + back.delay_s, 6))
                lost = f", {there.loss:.2g} lost" if there.loss else ""
                shown = Text(f"RTT {rtt}{lost}{', changed' * changed}", style="yellow" if changed else "")
            found = self._measured.get((a, b)) or self._measured.get((b, a))
            rows.append((f"{a} - {b}", shown, Text(f"measured {ms_text(found)}" if found else "", style="dim")))
        return rows

    def _load(self, plan: CellPlan) -> RenderableType:
        tick = self._tick
        target = target_rate(plan, tick.t_s if tick else 0.0)
        grid = Table.grid(padding=(0, 2))
        if tick is None:
            grid.add_row("no load yet")
        else:
            share = min(1.0, max(0.0, tick.t_s / tick.of_s))
            grid.add_row("load", ProgressBar(total=1.0, completed=share, width=24))
            grid.add_row("", f"{max(tick.t_s, 0):.0f} of {tick.of_s:.0f} s, {tick.done} of {tick.due} due are done")
            of = "/s" if target is None else f" of {target:.0f}/s"
            grid.add_row("rate", f"{tick.rate_per_s:.0f}{of}  {_graph(self._rates, target)}")
            grid.add_row("p50", ms_text(tick.p50_s))
            grid.add_row("p99", f"{ms_text(tick.p99_s)}  {_graph(self._p99s)}")
            grid.add_row("errors", Text(str(tick.failed), style="bold red" if tick.failed else ""))
            for role, size in sorted(tick.memory_bytes.items()):
                grid.add_row(f"{role}", f"{size / 2**20:.0f} MiB own memory")
        events = upcoming(plan, tick.t_s if tick else -1.0)
        for at, (instant, what) in enumerate(events[:_EVENTS]):
            wait = f"in {instant - max(tick.t_s, 0):.0f} s" if tick else f"at {instant:.0f} s"
            grid.add_row("to come" if at == 0 else "", f"{wait}: {what}")
        if len(events) > _EVENTS:
            grid.add_row("", Text(f"and {len(events) - _EVENTS} more", style="dim"))
        return Panel(grid, title="load", title_align="left", border_style="dim")


def _graph(values: Sequence[float], most: float | None = None) -> str:
    """The last values as a line of bars, the highest (or `most`) being full."""
    top = max([most or 0.0, *values])
    return "".join(_BARS[min(7, int(8 * value / top))] for value in values) if top else ""
