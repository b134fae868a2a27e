"""Floor beside measured latency: per pair and system a tick at the floor, a mark at p50, a line to p99."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.report import numbers
from harness.report.plots.canvas import NAME_ROW, Plot, canvas, colour, lines_of, wrapped
from harness.report.theme import series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.findings import Findings, PairFinding

__all__ = ["floor_plots"]

_ROW = 17
_GAP = 10
#: The most room for the names of pairs.
_NAMES = 120


def floor_plots(findings: Findings) -> list[Plot]:
    """One plot per workload, so that pairs of the same kind stand below each other."""
    workloads = dict.fromkeys(finding.pair.workload for finding in findings.located)
    return [
        _plot(f"floor-{at}", workload, [f for f in findings.located if f.pair.workload == workload], findings)
        for at, workload in enumerate(workloads)
    ]


def _plot(plot_id: str, workload: str, found: Sequence[PairFinding], findings: Findings) -> Plot:
    pairs = list(dict.fromkeys(f.pair for f in found))
    labels = [system.label for system in findings.systems]
    said = "; ".join(
        f"{f.pair.client_site} to {f.pair.to} on {f.system.label}: "
        f"floor {numbers.ms(f.floor_ms)}, p50 {numbers.ms(f.headline.p50_ms)}, p99 {numbers.ms(f.headline.p99_ms)} ms"
        for f in found
    )
    measures = " and ".join(dict.fromkeys(f.measure for f in found))
    names = {pair: "\n".join(wrapped(f"{pair.client_site} to\n{pair.to}", _NAMES)) for pair in pairs}
    slots = {pair: max(_ROW * sum(f.pair == pair for f in found), NAME_ROW * lines_of(names[pair])) for pair in pairs}
    height = 12 + sum(slots.values()) + _GAP * (len(pairs) - 1)
    with canvas(plot_id, f"{workload}: {measures} against the floor", said, height=height) as drawn:
        axes = drawn.axes
        ticks = []
        top = 0.0
        for pair in pairs:
            rows = [f for f in found if f.pair == pair]
            ticks.append(top + slots[pair] / 2)
            y = ticks[-1] - _ROW * (len(rows) - 1) / 2
            for f in rows:
                token, marker, _ = series(labels.index(f.system.label))
                ink = colour(token)
                floor = f.floor_ms if np.isfinite(f.floor_ms) else f.headline.p50_ms
                end = f.headline.p99_ms if np.isfinite(f.headline.p99_ms) else f.headline.max_ms
                axes.plot([floor, f.headline.p50_ms], [y, y], color=ink, linewidth=3, alpha=0.35, solid_capstyle="butt")
                axes.plot([f.headline.p50_ms, end], [y, y], color=ink, linewidth=1)
                axes.plot([f.floor_ms], [y], color=colour("ink"), marker="|", markersize=11, markeredgewidth=1.6)
                axes.plot([f.headline.p50_ms], [y], color=ink, marker=marker, markersize=6.5, linestyle="none")
                y += _ROW
            top += slots[pair] + _GAP
        axes.set_yticks(ticks, list(names.values()))
        axes.set_ylim(top - _GAP + 6, -6)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.margins(x=0.03)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        drawn.name_axes(x="", y="milliseconds; mark: p50; line: to p99, or the maximum")
        axes.grid(visible=True, axis="x")
        for at, label in enumerate(labels):
            token, marker, _ = series(at)
            axes.plot([], [], color=colour(token), marker=marker, linewidth=1, label=label)
        axes.plot([], [], "|", color=colour("ink"), markersize=11, markeredgewidth=1.6, label="floor")
        drawn.legend()
    return drawn.plot()
