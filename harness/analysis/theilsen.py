"""Theil-Sen: the median of the slopes between all pairs of points; half the points but one may be wild.

Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968; the interval is Sen's, from
the variance of Kendall's S without a correction for ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Trend", "theil_sen"]

#: More points than this are thinned by medians of neighbours: pairs grow with the square.
_MOST_POINTS = 600


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope in units of y per unit of x, its interval, and the line's height at x = 0."""

    slope: float
    low: float
    high: float
    intercept: float


def theil_sen(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Trend | None:
    """The trend of y over x, or None for fewer than 3 points or a constant x.

    Args:
        x, y: points; those with a NaN are left out.
        confidence: of the two-sided interval.
    """
    xs, ys = _thinned(np.asarray(x, np.float64), np.asarray(y, np.float64))
    if len(xs) < 3:
        return None
    first, second = np.triu_indices(len(xs), 1)
    run = xs[second] - xs[first]
    slopes = np.sort((ys[second] - ys[first])[run != 0] / run[run != 0])
    if not len(slopes):
        return None
    slope = float(np.median(slopes))
    n = len(xs)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, round((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    return Trend(slope, float(slopes[low]), float(slopes[high]), float(np.median(ys - slope * xs)))


def _thinned(x: Any, y: Any) -> tuple[Any, Any]:
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) <= _MOST_POINTS:
        return x, y
    parts = np.array_split(np.argsort(x, kind="stable"), _MOST_POINTS)
    return np.array([np.median(x[p]) for p in parts]), np.array([np.median(y[p]) for p in parts])
