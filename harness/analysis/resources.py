"""What processes used: memory at the beginning and end of the load, its peak, CPU, descriptors.

`Anonymous` of smaps_rollup is the figure for "what this process really owns"; RSS, PSS and USS stand beside it
(METHODS, "Client memory"). A difference between beginning and end is NOT a leak verdict: see harness.analysis.leak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["ENDS", "RESOURCE_COLUMNS", "summarise_resources"]

#: Columns of `summarise_resources`, in order. mib: 2^20 bytes. cpu_cores: CPU seconds per second of load.
RESOURCE_COLUMNS = (
    "role",
    "site",
    "process",
    "samples",
    "anonymous_mib_begin",
    "anonymous_mib_end",
    "anonymous_mib_peak",
    "rss_mib_end",
    "pss_mib_end",
    "uss_mib_end",
    "fds_end",
    "threads_end",
    "sockets_end",
    "cpu_cores",
)
#: What is added up over a process and its descendants (one round of samples shares its instant). A broker is a
#: start script, the virtual machine below it and its helpers; adding their RSS counts shared pages more than once.
_FIGURES = ("anonymous", "rss", "pss", "uss", "fds", "threads", "sockets")
_MIB = float(1 << 20)
#: Share of the load's time, at either end, whose median is "begin" and "end"; a load too short for a sample in it has
#: its first and its last one.
ENDS = 0.2


def summarise_resources(samples: pd.DataFrame, phases: Mapping[str, float]) -> pd.DataFrame:
    """One row per watched process, its descendants included, over the measured time (the warm-up left out).

    Args:
        samples: one cell's samples as Cell.samples gives them, with a `site` column.
        phases: the cell's phases: warmup_s, duration_s.
    """
    start, length = phases["warmup_s"], phases["duration_s"]
    measured = samples[(samples["t_s"] >= start) & (samples["t_s"] <= start + length)]
    columns = {name: measured[name].to_numpy(np.float64) for name in ("t_s", *_FIGURES)}
    columns["cpu_s"] = (measured["cpu_user_s"] + measured["cpu_system_s"]).to_numpy(np.float64)
    columns["pid"] = measured["pid"].to_numpy(np.float64)
    rows = []
    groups: dict[Any, Any] = measured.groupby(["role", "site", "process"], observed=True, sort=True).indices
    for (role, site, process), at in sorted(groups.items()):
        own = {name: values[at] for name, values in columns.items()}
        instants, rounds = np.unique(own["t_s"], return_inverse=True)
        whole = {name: _added(rounds, own[name], len(instants)) for name in _FIGURES}
        begin = instants <= start + ENDS * length
        end = instants >= start + (1 - ENDS) * length
        row: dict[str, Any] = {"role": role, "site": site, "process": process, "samples": len(instants)}
        row["anonymous_mib_begin"] = _at_begin(whole["anonymous"], begin) / _MIB
        row["anonymous_mib_end"] = _at_end(whole["anonymous"], end) / _MIB
        row["anonymous_mib_peak"] = float(np.fmax.reduce(whole["anonymous"])) / _MIB
        for name in ("rss", "pss", "uss"):
            row[f"{name}_mib_end"] = _at_end(whole[name], end) / _MIB
        for name in ("fds", "threads", "sockets"):
            row[f"{name}_end"] = _at_end(whole[name], end)
        row["cpu_cores"] = _cores(own["t_s"], own["pid"], own["cpu_s"])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(RESOURCE_COLUMNS))


def _added(rounds: NDArray[np.intp], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The sum of what is known in each round of samples, NaN where nothing is."""
    known = ~np.isnan(values)
    total = np.bincount(rounds[known], values[known], minlength=count)
    return np.where(np.bincount(rounds[known], minlength=count) > 0, total, np.nan)


def _median(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _at_begin(values: NDArray[np.float64], window: NDArray[np.bool_]) -> float:
    """The median of a window at the beginning; the first known value where it holds none."""
    known = ~np.isnan(values)
    within = known & window
    return _median(values[within] if within.any() else values[known][:1])


def _at_end(values: NDArray[np.float64], window: NDArray[np.bool_]) -> float:
    """The median of a window at the end; the last known value where it holds none."""
    return _at_begin(values[::-1], window[::-1])


def _cores(t_s: NDArray[np.float64], pid: NDArray[np.float64], cpu_s: NDArray[np.float64]) -> float:
    """CPU seconds per second, summed over the process's pids (a restarted process begins again at 0)."""
    _, first = np.unique(pid, return_index=True)
    _, from_end = np.unique(pid[::-1], return_index=True)
    used = float((cpu_s[len(pid) - 1 - from_end] - cpu_s[first]).sum())
    seconds = float(t_s.max() - t_s.min())
    return used / seconds if seconds > 0 else float("nan")
