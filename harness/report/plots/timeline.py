"""Latency over time, per pair of sites: p50 and p99 by the second operations were due in; failures marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour, draw_events, plain_axes
from harness.report.theme import series

if TYPE_CHECKING:
    from harness.analysis.latency import Pair
    from harness.report.findings import Findings

__all__ = ["event_list", "timeline_plots"]

#: More points than this per line are thinned; a picture has no more pixels.
_MOST_POINTS = 300


def event_list(findings: Findings) -> list[tuple[float, str]]:
    """(seconds from go, what happened) over all cells, each distinct event once, in order of time."""
    seen: dict[tuple[int, str], tuple[float, str]] = {}
    for cell in findings.cells:
        for event in cell.events:
            seen.setdefault((round(event.t_ns / 1e9), event.what), (event.t_ns / 1e9, event.what))
    return sorted(seen.values())


def timeline_plots(findings: Findings) -> list[Plot]:
    """One plot per pair; every repetition is a line of its own."""
    return [plot for at, pair in enumerate(findings.pair_order) if (plot := _plot(f"time-{at}", pair, findings))]


def _plot(plot_id: str, pair: Pair, findings: Findings) -> Plot | None:
    lines = [(cell, cell.timelines[pair]) for cell in findings.cells if pair in cell.timelines]
    lines = [(cell, line) for cell, line in lines if len(line.start_s) > 1]
    if not lines:
        return None
    labels = [system.label for system in findings.systems]
    said = "Median by second: " + "; ".join(
        f"{cell.id} between {numbers.ms(np.nanmin(line.p50_ms))} and {numbers.ms(np.nanmax(line.p50_ms))} ms, "
        f"{int(line.failed.sum())} failed"
        for cell, line in lines
        if np.isfinite(line.p50_ms).any()
    )
    with canvas(plot_id, pair.label, said) as drawn:
        axes = drawn.axes
        drawn_labels = set()
        for cell, line in lines:
            token, _, dashes = series(labels.index(cell.system.label))
            step = max(1, -(-len(line.start_s) // _MOST_POINTS))
            ink, label = colour(token), cell.system.label
            named = label if label not in drawn_labels else None
            drawn_labels.add(label)
            axes.plot(line.start_s[::step], line.p50_ms[::step], color=ink, dashes=dashes or (None, None), label=named)
            axes.plot(line.start_s[::step], line.p99_ms[::step], color=ink, linewidth=0.7, alpha=0.75)
            failed = line.start_s[line.failed > 0]
            if len(failed):
                axes.plot(failed, np.zeros(len(failed)), "x", color=ink, markersize=5, clip_on=False)
        axes.set_ylim(bottom=0)
        draw_events(axes, [instant for instant, _ in event_list(findings)])
        plain_axes(axes, x="seconds from go; thin: p99, x: failures", y="milliseconds")
        drawn.legend()
    return drawn.plot()
