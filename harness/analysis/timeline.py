"""Percentiles second by second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.quantiles import quantiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Timeline", "per_window"]

#: Latencies are packed below the window number in one 64-bit key; 2^43 ns is 2.4 hours.
_LATENCY_BITS = 43


@dataclass(frozen=True, slots=True)
class Timeline:
    """Figures by window of time, only windows in which an operation was due.

    Attributes:
        start_s: each window's begin, seconds from go.
        p50_ms, p99_ms: of the successful operations due in it; NaN without any.
        succeeded, failed: how many.
        window_s: length of a window.
    """

    start_s: NDArray[np.float64]
    p50_ms: NDArray[np.float64]
    p99_ms: NDArray[np.float64]
    succeeded: NDArray[np.int64]
    failed: NDArray[np.int64]
    window_s: float


def per_window(
    due_ns: NDArray[Any], latency_ns: NDArray[Any], failed_due_ns: NDArray[Any], window_s: float = 1.0
) -> Timeline:
    """Percentiles by the window an operation was DUE in, so that a stall shows where it hit and not where it ended.

    One sort of (window, latency) packed into 64 bits gives every window's order statistics at once. A negative
    latency (a clock fault, counted elsewhere) counts as 0 here.

    Args:
        due_ns, latency_ns: the successful operations, ns from go and ns.
        failed_due_ns: the failed ones.
        window_s: length of a window, seconds.
    """
    width = int(window_s * 1e9)
    windows = np.maximum(due_ns // width, 0)
    keys = np.clip(latency_ns, 0, (1 << _LATENCY_BITS) - 1)
    keys |= windows << _LATENCY_BITS
    keys.sort()
    window_of = keys >> _LATENCY_BITS
    present, starts, counts = np.unique(window_of, return_index=True, return_counts=True)
    failed_in, failed_counts = np.unique(np.maximum(failed_due_ns // width, 0), return_counts=True)
    every = np.union1d(present, failed_in)
    p50 = np.full(len(every), np.nan)
    p99 = np.full(len(every), np.nan)
    succeeded = np.zeros(len(every), np.int64)
    failed = np.zeros(len(every), np.int64)
    failed[np.searchsorted(every, failed_in)] = failed_counts
    latency_mask = (1 << _LATENCY_BITS) - 1
    for at, start, count in zip(np.searchsorted(every, present), starts, counts, strict=True):
        p50[at], p99[at] = quantiles(keys[start : start + count] & latency_mask, [0.5, 0.99]) / 1e6
        succeeded[at] = count
    return Timeline(every * window_s, p50, p99, succeeded, failed, window_s)
