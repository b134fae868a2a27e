"""Comparing two systems: the unit of analysis is the run, not the request.

A request's latency is not independent of its neighbours', so a test over pooled requests calls identical systems
different most of the time (Kalibera & Jones, "Quantifying Performance Changes with Effect Size Confidence Intervals",
arXiv 2007.10899). Each run gives one value per metric; runs of one repetition are adjacent in time and form a pair.

- paired runs: one-sample t on the differences of logarithms; else Welch's t on logarithms (Welch, Biometrika 34,
  1947). The effect is a ratio with its interval. Metrics that may be 0 are compared by difference instead.
- pairs whose two runs are no more alike than any two runs only cost degrees of freedom: unless a preliminary F test
  finds pairs to differ from each other at the 25 % level, the variances of both sides are pooled (Bozivich, Bancroft &
  Hartley, Annals of Mathematical Statistics 27, 1956), with n degrees of freedom in place of 2n - 2, which pays for the
  preliminary test. Five pairs with 4 % noise, ten metrics (simulated, 20,000 times): 88 % of shifts by a tenth are
  found in place of 80 %, 3.6 % of identical pairs are called different in any metric in place of 2.9 %, and the
  interval holds the truth in 94 to 95 % of cases.
- a difference is called only if the interval excludes zero, the effect exceeds the tolerance AND the p-value survives
  the correction (Benjamini & Hochberg, JRSS B 57, 1995) within its kind of metric: all latencies of a comparison, every
  percentile, pair of sites and contrast, are one family, as are all rates, memories, CPU and so on. Six pairs of sites,
  p50 and p99, five paired repetitions with 4 % noise (simulated, 1,500 times): if the noise is that of a whole run, 2.6
  % of identical pairs are called different in any metric and 84 % of medians shifted by a tenth are found; if each pair
  of sites has its own, 4.1 % and 83 %; if every figure has, 3.5 % and 83 %. Uncorrected, 8 to 29 % are called
  different. A lone shifted median among unshifted ones is found in 45 %: the price of looking at twelve figures.
- equivalent: the whole interval lies within the tolerance. Everything else is inconclusive, and the report says what
  difference these runs could have found (80 % power) and how many repetitions would do.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.analysis.student import f_quantile, student_quantile, two_sided_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Better", "Effect", "Scale", "Verdict", "compare", "correct", "repetitions_needed"]

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]
Scale = Literal["ratio", "difference"]
Better = Literal["lower", "higher"]

#: Relative differences up to this are of no interest.
TOLERANCE = 0.05
_CONFIDENCE = 0.95
_POWER = 0.80
#: Level of the preliminary test of whether pairing tells anything.
_PRELIMINARY = 0.25
_MOST_REPETITIONS = 1000


@dataclass(frozen=True, slots=True)
class Effect:
    """How B differs from A in one metric.

    Attributes:
        verdict: of B against A.
        why: the reason in a sentence.
        scale: whether `effect` is B / A or B - A.
        a, b: typical value of each side (geometric mean, or mean for differences).
        effect, low, high: with its 95 % interval; NaN without one.
        p: two-sided p-value, NaN without one; `corrected`: after `correct`.
        tolerance: the difference that is of interest, in the scale's terms (0.05: 5 %).
        detectable: least difference these runs would find with 80 % power, as a share (or a difference).
        needed: repetitions per side that would find a difference of the tolerance; None if more than 1,000.
        n: repetitions on each side.
        paired: whether repetitions were compared pair by pair.
        better: which direction is an improvement.
    """

    verdict: Verdict
    why: str
    scale: Scale
    a: float
    b: float
    effect: float
    low: float
    high: float
    p: float
    corrected: float
    tolerance: float
    detectable: float
    needed: int | None
    n: tuple[int, int]
    paired: bool
    better: Better


def compare(
    a: Sequence[float],
    b: Sequence[float],
    *,
    paired: bool,
    better: Better = "lower",
    scale: Scale = "ratio",
    tolerance: float = TOLERANCE,
) -> Effect:
    """Compare one metric of two sides.

    Args:
        a, b: one value per run; for paired runs in the same order and equally many.
        paired: whether a[i] and b[i] belong to one repetition.
        better: whether lower or higher values are an improvement.
        scale: "ratio" for values above 0, "difference" where 0 occurs.
        tolerance: of no interest up to this: a share for ratios, in the metric's unit for differences.

    Raises ValueError for paired sides of unequal length, or values a ratio cannot be taken of.
    """
    xs, ys = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if paired and len(xs) != len(ys):
        raise ValueError("paired sides must have equally many runs")
    if scale == "ratio":
        if (xs <= 0).any() or (ys <= 0).any():
            raise ValueError("a ratio needs values above 0")
        xs, ys = np.log(xs), np.log(ys)
    limit = math.log1p(tolerance) if scale == "ratio" else tolerance
    centre_a, centre_b = _mean(xs), _mean(ys)
    n = (len(xs), len(ys))
    out = math.exp if scale == "ratio" else float
    effect = Effect(
        verdict="inconclusive",
        why="",
        scale=scale,
        a=out(centre_a),
        b=out(centre_b),
        effect=out(centre_b - centre_a),
        low=math.nan,
        high=math.nan,
        p=math.nan,
        corrected=math.nan,
        tolerance=tolerance,
        detectable=math.nan,
        needed=None,
        n=n,
        paired=paired,
        better=better,
    )
    if min(n) < 2:
        return replace(effect, why="one repetition gives no verdict: nothing tells how much the next would differ")
    pooled = paired and not _pairs_differ(xs, ys)
    shift, error, df, spread = _pooled(xs, ys) if pooled else _paired(xs, ys) if paired else _welch(xs, ys)
    reach = student_quantile((1 + _CONFIDENCE) / 2, df) * error
    detectable = _detectable(error, df)
    effect = replace(
        effect,
        effect=out(shift),
        low=out(shift - reach),
        high=out(shift + reach),
        p=_p_value(shift, error, df),
        detectable=math.expm1(detectable) if scale == "ratio" else detectable,
        needed=repetitions_needed(spread, limit, paired=paired and not pooled),
    )
    return _judge(replace(effect, corrected=effect.p))


def correct(effects: Sequence[Effect]) -> list[Effect]:
    """The same effects with p-values corrected across them (Benjamini-Hochberg), and verdicts accordingly."""
    tested = [at for at, effect in enumerate(effects) if math.isfinite(effect.p)]
    corrected = list(effects)
    if tested:
        adjusted = _benjamini_hochberg(np.array([effects[at].p for at in tested]))
        for at, p in zip(tested, adjusted, strict=True):
            corrected[at] = _judge(replace(effects[at], corrected=float(p)))
    return corrected


def _benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p-values: the k-th smallest times n / k, made monotone from the largest down."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted


def repetitions_needed(spread: float, shift: float, *, paired: bool) -> int | None:
    """Repetitions per side that find `shift` with 80 % power at 95 % confidence.

    Args:
        spread: standard deviation of the paired differences, or root of the two sides' summed variances.
        shift: the difference to find, in the same terms (logarithms for ratios).

    Returns None if more than 1,000 would be needed.
    """

    def enough(n: int) -> bool:
        return _detectable(spread / math.sqrt(n), n - 1 if paired else 2 * n - 2) <= shift

    if not enough(_MOST_REPETITIONS):
        return None
    return bisect.bisect_left(range(_MOST_REPETITIONS + 1), True, lo=2, key=enough)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _pairs_differ(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> bool:
    """Whether pairs differ from each other by more than the runs of a pair do: the preliminary test."""
    n = len(xs)
    between, within = 2 * float(((xs + ys) / 2).var(ddof=1)), float((ys - xs).var(ddof=1)) / 2
    return between > within * f_quantile(1 - _PRELIMINARY, n - 1, n - 1)


def _pooled(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """As _paired, of two samples of equal size with one variance."""
    n = len(xs)
    spread = math.sqrt(float(xs.var(ddof=1)) + float(ys.var(ddof=1)))
    return float(ys.mean() - xs.mean()), spread / math.sqrt(n), float(min(n, 2 * n - 2)), spread


def _paired(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Shift, its standard error, degrees of freedom, standard deviation of the differences."""
    differences = ys - xs
    spread = float(differences.std(ddof=1))
    return float(differences.mean()), spread / math.sqrt(len(differences)), float(len(differences) - 1), spread


def _welch(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[float, float, float, float]:
    va, vb = float(xs.var(ddof=1)), float(ys.var(ddof=1))
    ea, eb = va / len(xs), vb / len(ys)
    shift = float(ys.mean() - xs.mean())
    if ea + eb == 0:
        return shift, 0.0, float(len(xs) + len(ys) - 2), 0.0
    df = (ea + eb) ** 2 / (ea**2 / (len(xs) - 1) + eb**2 / (len(ys) - 1))
    return shift, math.sqrt(ea + eb), df, math.sqrt(va + vb)


def _p_value(shift: float, error: float, df: float) -> float:
    if error == 0:
        return 1.0 if shift == 0 else 0.0
    return two_sided_p(shift / error, df)


def _detectable(error: float, df: float) -> float:
    return (student_quantile((1 + _CONFIDENCE) / 2, df) + student_quantile(_POWER, df)) * error


def _judge(effect: Effect) -> Effect:
    neutral = 1.0 if effect.scale == "ratio" else 0.0
    upper = 1 + effect.tolerance if effect.scale == "ratio" else effect.tolerance
    lower = 1 / upper if effect.scale == "ratio" else -effect.tolerance
    if lower <= effect.low and effect.high <= upper:
        return replace(effect, verdict="equivalent", why="the whole interval is within the tolerance")
    beyond = effect.low > neutral or effect.high < neutral
    relevant = not lower <= effect.effect <= upper
    if beyond and relevant and effect.corrected <= 1 - _CONFIDENCE:
        improved = (effect.effect < neutral) == (effect.better == "lower")
        return replace(effect, verdict="better" if improved else "worse", why="the interval excludes no difference")
    if beyond and relevant:
        why = "a difference that does not survive the correction for looking at many metrics"
    elif beyond:
        why = "a difference, but not surely beyond the tolerance"
    else:
        why = "the interval holds both no difference and one beyond the tolerance"
    return replace(effect, verdict="inconclusive", why=why)
