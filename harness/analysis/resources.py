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
#: Share of the load's time, at either end, whose median is "begin" and "end".
ENDS = 0.2


def summarise_resources(samples: pd.DataFrame, phases: Mapping[str, float]) -> pd.DataFrame:
    """One row per watched process, its descendants included, over the measured time (the warm-up left out).

    Args:
        samples: one cell's samples as Cell.samples gives them, with a `site` column.
        phases: the cell's phases: warmup_s, duration_s.
    """
    start, length = phases["warmup_s"], phases["duration_s"]
    rows = []
    for (role, site, process), own in samples.groupby(["role", "site", "process"], observed=True, sort=True):
        load = own[(own["t_s"] >= start) & (own["t_s"] <= start + length)]
        if load.empty:
            continue
        whole = load.groupby("t_s", sort=True)[list(_FIGURES)].sum(min_count=1)
        begin = whole[whole.index <= start + ENDS * length]
        end = whole[whole.index >= start + (1 - ENDS) * length]
        row: dict[str, Any] = {"role": role, "site": site, "process": process, "samples": len(whole)}
        row["anonymous_mib_begin"] = begin["anonymous"].median() / _MIB
        row["anonymous_mib_end"] = end["anonymous"].median() / _MIB
        row["anonymous_mib_peak"] = whole["anonymous"].max() / _MIB
        for name in ("rss", "pss", "uss"):
            row[f"{name}_mib_end"] = end[name].median() / _MIB
        for name in ("fds", "threads", "sockets"):
            row[f"{name}_end"] = end[name].median()
        row["cpu_cores"] = _cores(load)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(RESOURCE_COLUMNS))


def _cores(load: pd.DataFrame) -> float:
    """CPU seconds per second, summed over the process's pids (a restarted process begins again at 0)."""
    used = 0.0
    for _, own in load.groupby("pid"):
        cpu = (own["cpu_user_s"] + own["cpu_system_s"]).to_numpy(np.float64)
        if len(cpu) > 1:
            used += float(cpu[-1] - cpu[0])
    seconds = float(load["t_s"].max() - load["t_s"].min())
    return used / seconds if seconds > 0 else float("nan")
