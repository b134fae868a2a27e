"""Latency over time, per pair of sites: p50 and p99 by the second operations were due in; failures marked.

One or two repetitions are lines of their own; more of them are their median, with the span of their p50s around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour, draw_events
from harness.report.theme import series

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    from harness.analysis.latency import Pair
    from harness.analysis.timeline import Timeline
    from harness.report.findings import CellFinding, Findings

    Curve = TypeVar("Curve")

__all__ = ["MOST_LINES", "by_system", "event_list", "every_nth", "timeline_plots"]

#: More repetitions than this are drawn as their median and span.
MOST_LINES = 2
#: More points than these per line, and per plot, are thinned: a picture has no more pixels, and a page is forwarded.
_MOST_POINTS, _LEAST_POINTS, _POINTS_PER_PLOT = 300, 60, 2400


def every_nth(points: int, lines: int) -> int:
    """Take every n-th of so many points where so many lines are drawn."""
    most = min(_MOST_POINTS, max(_LEAST_POINTS, _POINTS_PER_PLOT // max(lines, 1)))
    return max(1, -(-points // most))


def by_system(curves: Iterable[tuple[CellFinding, Curve]]) -> dict[str, list[tuple[CellFinding, Curve]]]:
    """The curves of each system's cells, by its label."""
    systems: dict[str, list[tuple[CellFinding, Curve]]] = {}
    for cell, curve in curves:
        systems.setdefault(cell.system.label, []).append((cell, curve))
    return systems


def event_list(findings: Findings) -> list[tuple[float, str]]:
    """(seconds from go, what happened) over all cells, each distinct event once, in order of time."""
    seen: dict[tuple[int, str], tuple[float, str]] = {}
    for cell in findings.cells:
        for event in cell.events:
            seen.setdefault((round(event.t_ns / 1e9), event.what), (event.t_ns / 1e9, event.what))
    return sorted(seen.values())


def timeline_plots(findings: Findings) -> list[Plot]:
    """One plot per pair."""
    return [plot for at, pair in enumerate(findings.pair_order) if (plot := _plot(f"time-{at}", pair, findings))]


def _plot(plot_id: str, pair: Pair, findings: Findings) -> Plot | None:
    lines = [(cell, cell.timelines[pair]) for cell in findings.cells if pair in cell.timelines]
    lines = [(cell, line) for cell, line in lines if len(line.start_s) > 1]
    if not lines:
        return None
    labels = [system.label for system in findings.systems]
    systems = by_system(lines)
    spans = max(map(len, systems.values())) > MOST_LINES
    said = "Median by second: " + "; ".join(
        f"{name} between {numbers.ms(np.nanmin(medians))} and {numbers.ms(np.nanmax(medians))} ms, {failed} failed"
        for name, medians, failed in _summaries(systems)
        if np.isfinite(medians).any()
    )
    with canvas(plot_id, pair.label, said) as drawn:
        axes = drawn.axes
        for label, own in systems.items():
            token, _, dashes = series(labels.index(label))
            ink = colour(token)
            curves = [_frame(line) for _, line in own]
            if len(own) > MOST_LINES:
                merged = pd.concat(curves).groupby(level=0)
                curves = [merged.median()]
                low, high = merged["p50"].min(), merged["p50"].max()
                step = every_nth(len(low), len(systems))
                axes.fill_between(low.index[::step], low[::step], high[::step], color=ink, alpha=0.16, linewidth=0)
            for at, curve in enumerate(curves):
                some = curve.iloc[:: every_nth(len(curve), len(lines) if not spans else len(systems))]
                named = label if at == 0 else None
                axes.plot(some.index, some["p50"], color=ink, dashes=dashes or (None, None), label=named)
                axes.plot(some.index, some["p99"], color=ink, linewidth=0.7, alpha=0.75)
            failed = np.unique(np.concatenate([line.start_s[line.failed > 0] for _, line in own]))
            if len(failed):
                axes.plot(failed, np.zeros(len(failed)), "x", color=ink, markersize=5, clip_on=False)
        axes.set_ylim(bottom=0)
        draw_events(axes, [instant for instant, _ in event_list(findings)])
        band = "; line, band: median, span of repetitions" if spans else ""
        drawn.name_axes(x=f"seconds from go; thin: p99, x: failures{band}", y="milliseconds")
        drawn.legend()
    return drawn.plot()


def _frame(line: Timeline) -> pd.DataFrame:
    """p50 and p99 by the begin of their window, to the millisecond."""
    return pd.DataFrame({"p50": line.p50_ms, "p99": line.p99_ms}, index=np.round(line.start_s, 3))


def _summaries(
    systems: dict[str, list[tuple[CellFinding, Timeline]]],
) -> list[tuple[str, np.ndarray[tuple[int], np.dtype[np.float64]], int]]:
    """What is said of each: name, p50s and failures of a cell, or of all cells of a system where they are merged."""
    found = []
    for label, own in systems.items():
        merged = [(f"{label}, {len(own)} repetitions,", own)] if len(own) > MOST_LINES else []
        for name, cells in merged or [(cell.id, [(cell, line)]) for cell, line in own]:
            p50 = np.concatenate([line.p50_ms for _, line in cells])
            found.append((name, p50, int(sum(line.failed.sum() for _, line in cells))))
    return found
