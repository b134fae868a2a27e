"""Latency percentiles against an axis of the sweep, with the span of the repetitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour, plain_axes
from harness.report.theme import series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.findings import Findings, PairFinding

__all__ = ["sweep_plots"]

_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(.*)")


def sweep_plots(findings: Findings) -> list[Plot]:
    """One plot per pair of sites, for a sweep over one axis: a line per system; [] without such a sweep."""
    axes = {name for system in findings.systems for name in system.point}
    if len(axes) != 1:
        return []
    axis = axes.pop()
    names = list(dict.fromkeys(system.name for system in findings.systems))
    plots = []
    for at, pair in enumerate(findings.pair_order):
        found = [f for f in findings.pairs if f.pair == pair and axis in f.system.point]
        if len({str(f.system.point[axis]) for f in found}) > 1:
            plots.append(_plot(f"sweep-{at}", pair.label, axis, found, names))
    return plots


def _plot(plot_id: str, title: str, axis: str, found: Sequence[PairFinding], names: Sequence[str]) -> Plot:
    values = list(dict.fromkeys(f.system.point[axis] for f in found))
    places = _places(values)
    said = f"Against {axis}: " + "; ".join(
        f"{f.system.label}: p50 {numbers.ms(f.headline.p50_ms)}, p99 {numbers.ms(f.headline.p99_ms)} ms" for f in found
    )
    with canvas(plot_id, title, said) as drawn:
        axes = drawn.axes
        for name in names:
            own = sorted((f for f in found if f.system.name == name), key=lambda f: places[str(f.system.point[axis])])
            if not own:
                continue
            token, marker, dashes = series(names.index(name))
            x = [places[str(f.system.point[axis])] for f in own]
            low, high = ([pick(f.run_p50_ms) for f in own] for pick in (np.nanmin, np.nanmax))
            axes.fill_between(x, low, high, color=colour(token), alpha=0.16, linewidth=0)
            style: Any = {"color": colour(token), "marker": marker, "dashes": dashes or (None, None)}
            axes.plot(x, [f.headline.p50_ms for f in own], label=name, **style)
            axes.plot(x, [f.headline.p99_ms for f in own], color=colour(token), linewidth=0.8)
            axes.plot(x, [f.floor_ms for f in own], color=colour(token), linewidth=0.8, dashes=(1, 2))
        axes.set_ylim(bottom=0)
        axes.set_xticks(list(places.values()), [str(value) for value in places])
        plain_axes(axes, x=f"{axis}; thin: p99, dotted: floor, band: runs", y="p50, milliseconds")
        drawn.legend()
    return drawn.plot()


def _places(values: Sequence[Any]) -> dict[str, float]:
    """Where each value stands: at its number where all are numbers of one unit, else one after the other."""
    parsed = [_NUMBER.fullmatch(str(value)) for value in values]
    units = {found[2] for found in parsed if found}
    if all(parsed) and len(units) == 1:
        return {str(v): float(found[1]) for v, found in zip(values, parsed, strict=True) if found}
    return {str(value): float(at) for at, value in enumerate(values)}
