"""Own memory (Anonymous) over time by kind of process: the median process, and the span of all of them.

One or two repetitions are lines of their own; more are merged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour, draw_events
from harness.report.plots.timeline import MOST_LINES, by_system, event_list, every_nth
from harness.report.theme import series

if TYPE_CHECKING:
    from harness.report.findings import Findings

__all__ = ["memory_plots"]

_TITLES = {"client": "Client memory", "server": "Server memory", "bus": "Bus memory"}
_MIB = float(1 << 20)


def memory_plots(findings: Findings) -> list[Plot]:
    """One plot per kind of process that was sampled."""
    return [plot for role, title in _TITLES.items() if (plot := _plot(role, title, findings))]


def _plot(role: str, title: str, findings: Findings) -> Plot | None:
    curves = []
    for cell in findings.cells:
        own = cell.samples[cell.samples["role"] == role]
        if len(own):
            curves.append((cell, _by_second(own)))
    if not curves:
        return None
    labels = [system.label for system in findings.systems]
    systems = by_system(curves)
    shown = {label: _merged([curve for _, curve in own]) for label, own in systems.items()}
    named = {
        f"{label}, {len(own)} repetitions," if len(own) > MOST_LINES else own[at][0].id: curve
        for label, own in systems.items()
        for at, curve in enumerate(shown[label])
    }
    said = "Own memory of the median process: " + "; ".join(
        f"{name} from {numbers.mib(curve['median'].iloc[0])} to {numbers.mib(curve['median'].iloc[-1])} MiB"
        for name, curve in named.items()
    )
    with canvas(f"memory-{role}", title, said) as drawn:
        axes = drawn.axes
        for label, drawn_curves in shown.items():
            token, _, dashes = series(labels.index(label))
            for at, every in enumerate(drawn_curves):
                curve = every.iloc[:: every_nth(len(every), len(named))]
                name = label if at == 0 else None
                axes.fill_between(curve.index, curve["min"], curve["max"], color=colour(token), alpha=0.14, linewidth=0)
                axes.plot(curve.index, curve["median"], color=colour(token), dashes=dashes or (None, None), label=name)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        draw_events(axes, [instant for instant, _ in event_list(findings)])
        drawn.name_axes(x="seconds from go; line: median process, band: all", y="own memory, MiB")
        drawn.legend()
    return drawn.plot()


def _merged(curves: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """One or two repetitions as they are; more of them as their median and the span of all their processes."""
    if len(curves) <= MOST_LINES:
        return curves
    seconds = pd.concat(curves).groupby(level=0)
    return [seconds.agg({"median": "median", "min": "min", "max": "max"})]


def _by_second(samples: pd.DataFrame) -> pd.DataFrame:
    """Median, least and most of the processes in each sampling round. A process with helpers (a broker's start script
    and its virtual machine) counts as one: what they own together."""
    owned = (
        (samples["anonymous"] / _MIB)
        .groupby([np.round(samples["t_s"]), samples["process"]], observed=True)
        .sum(min_count=1)
    )
    return owned.groupby(level=0).agg(["median", "min", "max"]).dropna()
