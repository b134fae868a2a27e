"""Throughput against load, a line per system, the knee marked: where more load stops buying throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour
from harness.report.theme import series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.findings import Findings
    from harness.report.growth import GrowthFinding

__all__ = ["growth_plots"]


def growth_plots(findings: Findings) -> list[Plot]:
    """One plot per workload whose load grows along the sweep."""
    workloads: dict[str, list[GrowthFinding]] = {}
    for growth in findings.growth:
        workloads.setdefault(growth.points[0].workload, []).append(growth)
    return [_plot(f"growth-{at}", name, found) for at, (name, found) in enumerate(workloads.items())]


def _plot(plot_id: str, workload: str, found: Sequence[GrowthFinding]) -> Plot:
    said = "; ".join(
        f"{one.label}: "
        + ", ".join(
            f"{numbers.number(point.throughput_per_s)} at {numbers.count(load)}"
            for load, point in zip(one.loads, one.points, strict=True)
        )
        + (f", knee at {numbers.count(one.knee.at.load)}" if one.knee is not None and one.knee.reached else "")
        for one in found
    )
    with canvas(plot_id, f"Throughput of {workload}", said) as drawn:
        axes = drawn.axes
        for at, one in enumerate(found):
            token, marker, dashes = series(at)
            style: Any = {"color": colour(token), "marker": marker, "dashes": dashes or (None, None)}
            label = one.label.partition(" on ")[2]
            axes.plot(one.loads, [point.throughput_per_s for point in one.points], label=label, **style)
            if one.knee is not None and one.knee.reached:
                at_knee: Any = {"facecolors": "none", "edgecolors": colour(token), "linewidths": 1.4, "zorder": 3}
                axes.scatter([one.knee.at.load], [one.knee.at.throughput_per_s], s=150, **at_knee)
        axes.set_xscale("log", base=2)
        loads = sorted({load for one in found for load in one.loads})
        axes.set_xticks(loads, [numbers.count(load) for load in loads], minor=False)
        axes.set_ylim(bottom=0)
        drawn.name_axes(x=f"{found[0].counted}; ring: knee", y="per second")
        drawn.legend()
    return drawn.plot()
