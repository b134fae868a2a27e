"""Quantiles of sorted samples, and the grids plots draw them on.

Hyndman & Fan's type 7 (The American Statistician 50, 1996), which is also numpy's default: linear between order
statistics. A quantile with fewer than one observation beyond it is not reported: a p99.9 of 200 operations is the
maximum under another name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["nines_grid", "quantile", "quantiles"]


def quantiles(ordered: NDArray[Any], levels: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of an ascending array at levels in 0..1; NaN of nothing.

    Raises ValueError for a level outside 0..1.
    """
    at = np.asarray(levels, np.float64)
    if ((at < 0) | (at > 1)).any():
        raise ValueError("a quantile's level is between 0 and 1")
    if not len(ordered):
        return np.full(at.shape, np.nan)
    place = at * (len(ordered) - 1)
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, len(ordered) - 1)
    below, above = ordered[low].astype(np.float64), ordered[high].astype(np.float64)
    return below + (above - below) * (place - low)


def quantile(ordered: NDArray[Any], level: float) -> float:
    """One quantile, or NaN where the sample does not reach that far (fewer than one observation beyond it)."""
    if level > 0.5 and len(ordered) * (1 - level) < 1 - 1e-9:
        return float("nan")
    return float(quantiles(ordered, [level])[0])


def nines_grid(count: int, points: int = 90) -> NDArray[np.float64]:
    """Levels to draw a distribution at: evenly up to 90 %, then evenly on a nines axis (99 %, 99.9 %, ...) as far as
    `count` observations reach."""
    if count < 2:
        return np.array([0.0] if count else [])
    tail = 1 - 10 ** -np.linspace(1, max(1.0, np.log10(count)), points // 2)
    return np.unique(np.concatenate([np.linspace(0, 0.9, points - len(tail)), tail]))
