"""Effects with their intervals below each other: where the interval lies against no difference and the tolerance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.compare_text import phrase
from harness.report.plots.canvas import NAME_ROW, Plot, canvas, colour, lines_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from harness.report.compared import Comparison, Contrast, MetricEffect

__all__ = ["forest_plots"]

_ROW = 14
_GAP = 10
#: The most room for the metrics' names.
_NAMES = 140
#: Marker and ink by verdict: shape tells them apart where colour does not.
_MARKS = {"better": ("v", "s2"), "worse": ("^", "s1"), "equivalent": ("s", "muted"), "inconclusive": ("o", "muted")}
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 5, 10, 20, 50, 100)
_MOST_ROWS = 24


def forest_plots(comparison: Comparison) -> list[Plot]:
    """Per contrast one plot for latencies and one for what else is compared by ratio."""
    plots = []
    for at, contrast in enumerate(comparison.contrasts):
        ratios = [e for e in contrast.effects if e.effect.scale == "ratio" and e.effect.effect > 0]
        latency = [e for e in ratios if e.metric.kind == "latency"]
        rest = [e for e in ratios if e.metric.kind != "latency"]
        for part, what, effects in (("l", "latency", latency), ("r", "rate, memory, CPU", rest)):
            if effects:
                plots.append(_plot(f"forest-{at}{part}", what, contrast, effects, comparison.tolerance))
    return plots


def _plot(plot_id: str, what: str, contrast: Contrast, every: Sequence[MetricEffect], tolerance: float) -> Plot:
    where = f", {contrast.context}" if contrast.context else ""
    title = f"{contrast.b} / {contrast.a}{where}: {what}"
    effects = every[:_MOST_ROWS]
    dropped = f"{len(effects)} of {len(every)} shown; the table has all" if len(every) > len(effects) else ""
    said = f"{contrast.b} against {contrast.a}{where}: " + "; ".join(
        [*(f"{e.metric.label} {phrase(e)}, {e.effect.verdict}" for e in effects), *([dropped] if dropped else [])]
    )
    groups: dict[str, list[MetricEffect]] = {}
    for e in effects:
        groups.setdefault(_name(e), []).append(e)
    slots = {name: max(_ROW * len(group), NAME_ROW * lines_of(name)) for name, group in groups.items()}
    height = 12 + sum(slots.values()) + _GAP * (len(groups) - 1)
    with canvas(plot_id, title, said, height=height) as drawn:
        axes = drawn.axes
        axes.set_xscale("log")
        axes.axvspan(1 / (1 + tolerance), 1 + tolerance, color=colour("faint"), linewidth=0)
        axes.axvline(1, color=colour("muted"), linewidth=0.8)
        top, ticks = 0.0, []
        for name, group in groups.items():
            ticks.append(top + slots[name] / 2)
            y = ticks[-1] - _ROW * (len(group) - 1) / 2
            for e in group:
                _draw(axes, e, y)
                y += _ROW
            top += slots[name] + _GAP
        axes.set_yticks(ticks, list(groups))
        axes.set_ylim(top - _GAP + 6, -6)
        _ratio_axis(axes, effects, tolerance)
        hollow = "; hollow: p99" if any(e.metric.name == "p99" for e in effects) else ""
        drawn.name_axes(x=dropped, y=f"ratio; grey: within tolerance{hollow}")
        axes.grid(visible=False, axis="y")
        present = dict.fromkeys(e.effect.verdict for e in effects)
        for verdict in present:
            marker, token = _MARKS[verdict]
            axes.plot([], [], marker, color=colour(token), markersize=6, label=verdict)
        drawn.legend()
    return drawn.plot()


def _draw(axes: Axes, e: MetricEffect, y: float) -> None:
    marker, token = _MARKS[e.effect.verdict]
    if math.isfinite(e.effect.low):
        axes.plot([e.effect.low, e.effect.high], [y, y], color=colour(token), linewidth=1.4)
    face = colour("paper") if e.metric.name == "p99" else colour(token)
    axes.plot([e.effect.effect], [y], marker, color=colour(token), markerfacecolor=face, markersize=6)


def _name(e: MetricEffect) -> str:
    """What stands left of it; the percentiles of one pair of sites share theirs."""
    latency = e.metric.kind == "latency"
    name = e.metric.subject.replace(", ", "\n", 1) if latency else f"{e.metric.name},\n{e.metric.subject}"
    return "\n".join(wrapped(name, _NAMES))


def _ratio_axis(axes: Axes, effects: Sequence[MetricEffect], tolerance: float) -> None:
    ends = [v for e in effects for v in (e.effect.effect, e.effect.low, e.effect.high) if math.isfinite(v) and v > 0]
    low = min([*ends, 1 / (1 + tolerance)]) / 1.08
    high = max([*ends, 1 + tolerance]) * 1.08
    axes.set_xlim(low, high)
    wide = high / low > 4
    shown = [tick for tick in _TICKS if low <= tick <= high and not (wide and tick in (0.8, 0.9, 1.1, 1.25))]
    while len(shown) > 5:
        shown = [tick for at, tick in enumerate(shown) if tick == 1 or at % 2 == shown.index(1) % 2]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
