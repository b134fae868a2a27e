"""Student's t and Fisher's F from scipy.special alone: importing scipy.stats costs every report a second."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import fdtri, stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["f_quantile", "interval_of_logs", "student_quantile", "two_sided_p"]


def student_quantile(level: float, df: float) -> float:
    """The value a t-distributed variable stays below with that probability."""
    return float(stdtrit(df, level))


def f_quantile(level: float, above: float, below: float) -> float:
    """The value an F-distributed ratio of variances stays below with that probability; degrees of freedom of both."""
    return float(fdtri(above, below, level))


def two_sided_p(t: float, df: float) -> float:
    """The probability of a t at least this far from 0 in either direction."""
    return float(2 * stdtr(df, -abs(t)))


def interval_of_logs(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Where the geometric mean of what the values are drawn from lies: the interval every comparison of runs uses.

    Args:
        values: at least two, all above 0.
    """
    logs = np.log(np.asarray(values, np.float64))
    reach = student_quantile((1 + confidence) / 2, len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return math.exp(float(logs.mean()) - reach), math.exp(float(logs.mean()) + reach)
