"""Latency percentiles against an axis of the sweep (distance, clients, rate), with intervals over the repetitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.student import interval_of_logs
from harness.report import numbers
from harness.report.findings import point_texts
from harness.report.plots.canvas import WIDTH, Plot, canvas, colour, wrapped
from harness.report.theme import series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.findings import Findings, PairFinding

__all__ = ["sweep_plots"]

_QUANTITY = re.compile(r"\s*-?\d+(?:\.\d+)?\s*[A-Za-z%/]*\s*")
#: Fewer repetitions than this give no interval worth drawing: their span is drawn.
_FEWEST = 3


def sweep_plots(findings: Findings, *, prefix: str = "sweep", of: str = "") -> list[Plot]:
    """One plot per pair of sites and axis with several values: a line per system and per point of the other axes.

    An axis that only repeats another one (their values were taken together) is left out.

    Args:
        findings: of the run.
        prefix: what the plots' ids begin with.
        of: the run's name where plots of several runs stand together.
    """
    points = [system.point for system in findings.systems]
    axes = _independent(points)
    plots = []
    for at, pair in enumerate(findings.pair_order):
        title = f"{pair.label} ({of})" if of else pair.label
        for number, axis in enumerate(axes):
            found = [f for f in findings.located if f.pair == pair and axis in f.system.point]
            if len({str(f.system.point[axis]) for f in found}) > 1:
                plots.append(_plot(f"{prefix}-{at}-{number}", title, axis, axes, found))
    return plots


def _independent(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The axes with several values; of those that change together only the first."""
    columns: dict[tuple[int, ...], str] = {}
    for axis in dict.fromkeys(name for point in points for name in point):
        values = [str(point.get(axis)) for point in points]
        known = list(dict.fromkeys(values))
        if len(known) > 1:
            columns.setdefault(tuple(known.index(value) for value in values), axis)
    return list(columns.values())


def _line(finding: PairFinding, axis: str, axes: Sequence[str]) -> str:
    """What a line is called: the system, and where it stands on the other axes."""
    others = {name: value for name, value in finding.system.point.items() if name != axis and name in axes}
    return ", ".join([finding.system.name, *point_texts(others)])


def _plot(plot_id: str, title: str, axis: str, axes_names: Sequence[str], found: Sequence[PairFinding]) -> Plot:
    places = _places(list(dict.fromkeys(str(f.system.point[axis]) for f in found)))
    lines: dict[str, list[PairFinding]] = {}
    for f in found:
        lines.setdefault(_line(f, axis, axes_names), []).append(f)
    said = f"{title}. Against {_name(axis)}, geometric means of the runs' percentiles: " + "; ".join(
        f"{f.system.label}: p50 {_said(f.run_p50_ms)}, p99 {_said(f.run_p99_ms)} ms" for f in found
    )
    repeated = min(len(f.run_p50_ms) for f in found) >= _FEWEST
    with canvas(plot_id, title, said) as drawn:
        axes = drawn.axes
        for at, (name, own) in enumerate(lines.items()):
            own.sort(key=lambda f: places[str(f.system.point[axis])])
            token, marker, dashes = series(at)
            x = [places[str(f.system.point[axis])] for f in own]
            style: Any = {"color": colour(token), "marker": marker, "dashes": dashes or (None, None)}
            axes.plot(x, [_typical(f.run_p50_ms) for f in own], label=name, **style)
            axes.plot(x, [_typical(f.run_p99_ms) for f in own], color=colour(token), linewidth=0.8)
            axes.plot(x, [f.floor_ms for f in own], color=colour(token), linewidth=0.8, dashes=(1, 2))
            for runs, alpha in (([f.run_p50_ms for f in own], 0.2), ([f.run_p99_ms for f in own], 0.09)):
                low, high = zip(*map(_band, runs), strict=True)
                axes.fill_between(x, low, high, color=colour(token), alpha=alpha, linewidth=0)
        axes.set_ylim(bottom=0)
        room = WIDTH * 0.8 / len(places)
        axes.set_xticks(list(places.values()), ["\n".join(wrapped(value, room)) for value in places])
        band = "band:\u00a095\u00a0%" if repeated else "band: runs"
        drawn.name_axes(x=f"{_name(axis)}; thin: p99, dotted: floor, {band}", y="p50 of a typical run, milliseconds")
        drawn.legend()
    return drawn.plot()


def _typical(values: Sequence[float]) -> float:
    """The geometric mean, which is what `_band` is an interval of."""
    known = [value for value in values if np.isfinite(value) and value > 0]
    return float(np.exp(np.mean(np.log(known)))) if known else float("nan")


def _said(values: Sequence[float]) -> str:
    low, high = _band(values)
    between = f" [{numbers.ms(low)}, {numbers.ms(high)}]" if high > low else ""
    return numbers.ms(_typical(values)) + between


def _band(values: Sequence[float]) -> tuple[float, float]:
    """Where the typical run lies: a 95 % interval, or with too few runs the span of those there are."""
    known = [value for value in values if np.isfinite(value) and value > 0]
    if len(known) >= _FEWEST:
        return interval_of_logs(known)
    return (min(known), max(known)) if known else (float("nan"), float("nan"))


def _name(axis: str) -> str:
    """What an axis counts: `clients` is how many each placement of the scenario gets, not how many there are."""
    return (
        "clients per placement" if axis == "clients" else ".".join(part for part in axis.split(".")[-2:] if part != "*")
    )


def _places(values: Sequence[str]) -> dict[str, float]:
    """Where each value stands: at its quantity where all are quantities, else one after the other."""
    if all(_QUANTITY.fullmatch(value) for value in values):
        return {value: numbers.natural(value)[0] for value in values}
    return {value: float(at) for at, value in enumerate(values)}
