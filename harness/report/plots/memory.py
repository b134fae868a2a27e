"""Own memory (Anonymous) over time by kind of process: the median process of each cell, and the span of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.report import numbers
from harness.report.plots.canvas import Plot, canvas, colour, draw_events, plain_axes
from harness.report.plots.timeline import event_list
from harness.report.theme import series

if TYPE_CHECKING:
    import pandas as pd

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
    said = "Own memory of the median process: " + "; ".join(
        f"{cell.id} from {numbers.mib(curve['median'].iloc[0])} to {numbers.mib(curve['median'].iloc[-1])} MiB"
        for cell, curve in curves
    )
    with canvas(f"memory-{role}", title, said) as drawn:
        axes = drawn.axes
        named: set[str] = set()
        for cell, curve in curves:
            token, _, dashes = series(labels.index(cell.system.label))
            label = cell.system.label if cell.system.label not in named else None
            named.add(cell.system.label)
            axes.fill_between(curve.index, curve["min"], curve["max"], color=colour(token), alpha=0.14, linewidth=0)
            axes.plot(curve.index, curve["median"], color=colour(token), dashes=dashes or (None, None), label=label)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        draw_events(axes, [instant for instant, _ in event_list(findings)])
        plain_axes(axes, x="seconds from go; line: median process, band: all", y="own memory, MiB")
        drawn.legend()
    return drawn.plot()


def _by_second(samples: pd.DataFrame) -> pd.DataFrame:
    """Median, least and most of the processes in each sampling round, at most 300 rounds. A process with helpers (a
    broker's start script and its virtual machine) counts as one: what they own together."""
    owned = (
        (samples["anonymous"] / _MIB)
        .groupby([np.round(samples["t_s"]), samples["process"]], observed=True)
        .sum(min_count=1)
    )
    curve = owned.groupby(level=0).agg(["median", "min", "max"]).dropna()
    return curve.iloc[:: max(1, -(-len(curve) // 300))]
