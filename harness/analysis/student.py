"""Student's t from scipy.special alone: scipy.stats takes a second to import, which every report would pay."""

from __future__ import annotations

from scipy.special import stdtr, stdtrit

__all__ = ["student_quantile", "two_sided_p"]


def student_quantile(level: float, df: float) -> float:
    """The value a t-distributed variable stays below with that probability."""
    return float(stdtrit(df, level))


def two_sided_p(t: float, df: float) -> float:
    """The probability of a t at least this far from 0 in either direction."""
    return float(2 * stdtr(df, -abs(t)))
