"""How latency is distributed: per pair of sites on a nines axis (systems over each other), per system as ECDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour
from harness.report.theme import series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from harness.report.findings import Findings, PairFinding

__all__ = ["pair_distributions", "system_distributions"]

#: Above this ratio of highest to lowest drawn value the axis is logarithmic.
_LINEAR_UP_TO = 12


def pair_distributions(findings: Findings) -> list[Plot]:
    """One percentile plot per pair of sites."""
    labels = [system.label for system in findings.systems]
    plots = []
    for at, pair in enumerate(findings.pair_order):
        found = [f for f in findings.located if f.pair == pair and len(f.levels) > 1]
        if found:
            plots.append(_nines(f"nines-{at}", pair.label, found, labels))
    return plots


def _nines(plot_id: str, title: str, found: Sequence[PairFinding], labels: Sequence[str]) -> Plot:
    said = "Percentiles: " + "; ".join(
        f"{f.system.label} p50 {numbers.ms(f.headline.p50_ms)}, p90 {numbers.ms(f.headline.p90_ms)}, "
        f"p99 {numbers.ms(f.headline.p99_ms)}, max {numbers.ms(f.headline.max_ms)} ms"
        for f in found
    )
    with canvas(plot_id, title, said) as drawn:
        axes = drawn.axes
        reach = 1.0
        for f in found:
            token, _, dashes = series(labels.index(f.system.label))
            nines = -np.log10(np.maximum(1 - f.levels, 1e-12))
            reach = max(reach, float(nines[-1]))
            axes.plot(nines, f.grid_ms, color=colour(token), dashes=dashes or (None, None), label=f.system.label)
            if np.isfinite(f.floor_ms) and f.floor_ms > 0:
                axes.axhline(f.floor_ms, color=colour(token), linewidth=0.8, alpha=0.7, dashes=(1, 2))
        shown = [(0.0, "0"), (-np.log10(0.5), "50")] + [(n, _percent(n)) for n in range(1, int(reach) + 1)]
        axes.set_xticks([at for at, _ in shown], [text for _, text in shown])
        axes.set_xlim(0, reach * 1.02)
        _scale(axes, "y", [f.grid_ms for f in found])
        drawn.name_axes(x="percentile (nines axis); dotted: floor", y="milliseconds")
        drawn.legend()
    return drawn.plot()


def _percent(nines: int) -> str:
    return {1: "90", 2: "99"}.get(nines, "99." + "9" * (nines - 2))


def system_distributions(findings: Findings) -> list[Plot]:
    """One ECDF plot per system, a line per pair of sites."""
    plots = []
    for at, system in enumerate(findings.systems):
        found = [f for f in findings.located if f.system is system and len(f.levels) > 1]
        if not found:
            continue
        said = "Medians: " + "; ".join(f"{f.pair.label} {numbers.ms(f.headline.p50_ms)} ms" for f in found)
        title = f"{system.label}: all pairs"
        with canvas(f"ecdf-{at}", title, said) as drawn:
            for line, f in enumerate(found):
                token, _, dashes = series(line)
                axes = drawn.axes
                axes.plot(f.grid_ms, f.levels, color=colour(token), dashes=dashes or (None, None), label=f.pair.label)
            _scale(drawn.axes, "x", [f.grid_ms for f in found])
            drawn.axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
            drawn.name_axes(x="milliseconds", y="operations done within")
            drawn.legend()
        plots.append(drawn.plot())
    return plots


def _scale(axes: Axes, which: str, values: Sequence[np.ndarray[tuple[int], np.dtype[np.float64]]]) -> None:
    low = min(float(v[0]) for v in values)
    high = max(float(v[-1]) for v in values)
    if low <= 0 or high / low <= _LINEAR_UP_TO:
        return
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(lambda value, _: numbers.number(value, 1))
    axis.set_minor_formatter(lambda value, _: "")
