"""Memory per operation of dosed processes: growth with its bounds, as a multiple of what counts as a leak."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, NullLocator

from harness.analysis.leak import METRICS
from harness.report import numbers
from harness.report.memory import growth
from harness.report.plots.canvas import NAME_ROW, Plot, canvas, colour, lines_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.leak import Growth
    from harness.report.memory import MemoryFinding

__all__ = ["dose_plots"]

_ROW, _GAP = 13, 12
#: The most room for the names of doses.
_NAMES = 140
#: Marker and ink by state: shape tells them apart where colour does not.
_MARKS = {"leak": ("^", "s1"), "clean": ("v", "s2"), "inconclusive": ("o", "muted")}
_TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
#: Doses of one plot; more get plots of their own.
_MOST_DOSES = 8


def dose_plots(findings: Sequence[MemoryFinding]) -> list[Plot]:
    """One plot per system (per eight of its doses): a line for each metric that decides, by dose and process."""
    plots = []
    for at, finding in enumerate(findings):
        groups = [
            ("\n".join(wrapped(f"{dose.name},\n{role.role}", _NAMES)), shown)
            for dose in finding.result.doses
            for role in dose.roles
            if (shown := [g for g in role.verdict.growths.values() if _decides(g)])
        ]
        plots += [
            _plot(f"doses-{at}-{first}", finding.label, groups[first : first + _MOST_DOSES])
            for first in range(0, len(groups), _MOST_DOSES)
        ]
    return plots


def _decides(g: Growth) -> bool:
    return METRICS[g.metric].decides != "never" and g.delta > 0 and math.isfinite(g.per_op)


def _plot(plot_id: str, label: str, groups: Sequence[tuple[str, Sequence[Growth]]]) -> Plot:
    said = "Growth per operation: " + "; ".join(
        f"{name} ".replace("\n", " ")
        + ", ".join(f"{g.metric} {growth(g)} of {numbers.number(g.delta)} allowed, {g.state}" for g in shown)
        for name, shown in groups
    )
    slots = [max(_ROW * len(shown), NAME_ROW * lines_of(name)) for name, shown in groups]
    height = 12 + sum(slots) + _GAP * (len(groups) - 1)
    with canvas(plot_id, f"{label}: memory per operation", said, height=height) as drawn:
        axes = drawn.axes
        axes.set_xscale("symlog", linthresh=1)
        axes.axvline(1, color=colour("ink"), linewidth=1)
        top, ticks, most = 0.0, [], 2.0
        for slot, (_, shown) in zip(slots, groups, strict=True):
            ticks.append(top + slot / 2)
            y = ticks[-1] - _ROW * (len(shown) - 1) / 2
            for g in shown:
                marker, token = _MARKS.get(g.state, _MARKS["inconclusive"])
                at, low, high = (max(-0.5, value / g.delta) for value in (g.per_op, g.low, g.high))
                ends = [end if math.isfinite(end) else at for end in (low, high)]
                axes.plot(ends, [y, y], color=colour(token), linewidth=1.3)
                axes.plot([at], [y], marker, color=colour(token), markersize=5)
                axes.annotate(
                    g.metric,
                    (ends[1], y),
                    xytext=(5, -3),
                    textcoords="offset points",
                    fontsize=9,
                    color=colour("muted"),
                )
                most = max(most, ends[1], at)
                y += _ROW
            top += slot + _GAP
        axes.set_yticks(ticks, [name for name, _ in groups])
        axes.set_ylim(top - _GAP + 6, -6)
        axes.set_xlim(-0.6, most * 3)
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if tick <= most * 2]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        drawn.name_axes(x="", y="growth, in limits; beyond 1 and lasting: a leak")
        axes.grid(visible=False, axis="y")
        for state in dict.fromkeys(g.state for _, shown in groups for g in shown):
            marker, token = _MARKS.get(state, _MARKS["inconclusive"])
            axes.plot([], [], marker, color=colour(token), markersize=6, label=state)
        drawn.legend()
    return drawn.plot()
