"""Comparing two systems: the unit of analysis is the run, not the request.

A request's latency is not independent of its neighbours', so a test over pooled requests calls identical systems
different most of the time (Kalibera & Jones, "Quantifying Performance Changes with Effect Size Confidence Intervals",
arXiv 2007.10899). Each run gives one value per metric; runs of one repetition are adjacent in time and form a pair.

- paired runs: one-sample t on the differences of logarithms; else Welch's t on logarithms (Welch, Biometrika 34,
  1947). The effect is a ratio with its interval. Metrics that may be 0 are compared by difference instead.
- pairs whose two runs are no more alike than any two runs only cost degrees of freedom: unless a preliminary F test
  finds pairs to differ from each other at the 25 % level, the variances of both sides are pooled (Bozivich, Bancroft &
  Hartley, Annals of Mathematical Statistics 27, 1956), with n + 1 degrees of freedom in place of 2n - 2, which pays for
  the preliminary test. Five pairs with 4 % noise, ten metrics (simulated, 20,000 times): 88 % of shifts by a tenth are
  found in place of 73 % with differences alone, 4.3 % of identical pairs are called different in any metric in place of
  3.0 %, and the interval holds the truth in 93.6 % of cases, in 94.5 to 95 % where runs drift by 3 % or more.
- a difference is called only if the interval excludes zero, the effect exceeds the tolerance AND the p-value survives
  the correction (Benjamini & Hochberg, JRSS B 57, 1995) within its kind of metric: all latencies of a comparison, every
  percentile, pair of sites and contrast, are one family, as are all rates, memories, CPU and so on. Six pairs of sites,
  p50 and p99, five paired repetitions with 4 % noise (simulated, 6,000 times): if the noise is that of a whole run, 3.2
  % of identical pairs are called different in any metric and 84 % of medians shifted by a tenth are found; if each pair
  of sites has its own, 4.2 % and 87 %; if every figure has, 4.3 % and 88 %. Uncorrected, 3 to 30 % are called
  different. A lone shifted median among unshifted ones is found in 42 %: the price of looking at twelve figures.
  Through the store and all metrics: make bench-compare.
- equivalent: the whole interval lies within the tolerance. Everything else is inconclusive, and the report says what
  difference these runs would have called with 80 % power (never less than the tolerance, which it must exceed), and how
  many repetitions would do: with that many, no difference is called equivalent, and twice the tolerance is called a
  difference, each with at least 80 % power.
- what measures a figure has limits: a late generator adds to a p99, CPU is counted in ticks, an end that was not seen
  came later than the watch. A figure with limits carries its span, and a verdict on it stands only if it is the same
  where the spans bring the sides nearest to each other (equivalent: also where they take them farthest apart). So a
  lateness that is small against the effect withholds nothing, and more repetitions do not help where it is not.
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

__all__ = [
    "TOLERANCE",
    "Better",
    "Effect",
    "Figure",
    "Scale",
    "Verdict",
    "compare",
    "compare_figures",
    "correct",
    "repetitions_needed",
]

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]
Scale = Literal["ratio", "difference"]
Better = Literal["lower", "higher"]

#: Relative differences up to this are of no interest.
TOLERANCE = 0.05
_How = Literal["paired", "pooled", "welch"]
_ALL: tuple[Verdict, ...] = ("better", "worse", "equivalent")
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
        detectable: least difference these runs would call with 80 % power, as a share (or a difference).
        needed: repetitions per side with which no difference is called equivalent and twice the tolerance a difference,
            with 80 % power; None if that is not known, see `beyond_repetitions`.
        n: repetitions on each side.
        paired: whether repetitions were compared pair by pair.
        better: which direction is an improvement.
        doubt: why figures may be other than they seem, "" if nothing says so.
        allowed: verdicts that hold whatever the doubt.
        withheld: whether a verdict was taken back because of the doubt, which more repetitions do not lift.
        at_least: for each side, whether its true value may be above the one given: an end that was not seen.
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
    doubt: str = ""
    allowed: frozenset[Verdict] = frozenset(_ALL)
    withheld: bool = False
    at_least: tuple[bool, bool] = (False, False)

    @property
    def beyond_repetitions(self) -> str:
        """Why `needed` is None, "" where it is known."""
        if self.needed is not None:
            return ""
        if min(self.n) < 2:
            return "measured in too few runs to tell"
        return self.doubt if self.withheld else f"more than {_MOST_REPETITIONS:,}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One run's value of a metric, and how far it may be from the truth.

    Attributes:
        value: as measured.
        low, high: where the true value lies; the value itself where nothing is in doubt.
        doubt: why they are apart, in a few words; of several runs the first one's is told.
    """

    value: float
    low: float
    high: float
    doubt: str

    @classmethod
    def exact(cls, value: float) -> Figure:
        """A figure nothing is said against."""
        return cls(value, value, value, "")


def compare_figures(
    a: Sequence[Figure],
    b: Sequence[Figure],
    *,
    paired: bool,
    better: Better = "lower",
    scale: Scale = "ratio",
    tolerance: float = TOLERANCE,
) -> Effect:
    """As `compare`, of figures with spans: only verdicts that hold wherever in its span each one is are allowed.

    Raises ValueError as `compare` does.
    """

    def between(xs: Sequence[float], ys: Sequence[float]) -> Effect | None:
        known = all(math.isfinite(value) and (value > 0 or scale == "difference") for value in (*xs, *ys))
        if not known:
            return None
        return compare(xs, ys, paired=paired, better=better, scale=scale, tolerance=tolerance)

    effect = compare(
        [f.value for f in a], [f.value for f in b], paired=paired, better=better, scale=scale, tolerance=tolerance
    )
    doubt = next((f.doubt for f in (*a, *b) if f.doubt), "")
    at_least = (any(f.high == math.inf for f in a), any(f.high == math.inf for f in b))
    effect = replace(effect, doubt=doubt, at_least=at_least)
    if not doubt or min(effect.n) < 2:
        return effect
    b_least = between([f.high for f in a], [f.low for f in b])
    b_most = between([f.low for f in a], [f.high for f in b])
    nearest = b_least if effect.effect > (1.0 if scale == "ratio" else 0.0) else b_most
    allowed: set[Verdict] = {nearest.verdict} - {"equivalent", "inconclusive"} if nearest else set()
    if b_least and b_most and b_least.verdict == b_most.verdict == "equivalent":
        allowed.add("equivalent")
    p = max(effect.p, nearest.p) if nearest else effect.p
    return _judge(replace(effect, allowed=frozenset(allowed), p=p, corrected=p))


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
    how: _How = "welch" if not paired else "paired" if _pairs_differ(xs, ys) else "pooled"
    shift, error, df, spread = {"paired": _paired, "pooled": _pooled, "welch": _welch}[how](xs, ys)
    reach = student_quantile((1 + _CONFIDENCE) / 2, df) * error
    detectable = _detectable(error, df, limit)
    effect = replace(
        effect,
        effect=out(shift),
        low=out(shift - reach),
        high=out(shift + reach),
        p=_p_value(shift, error, df),
        detectable=math.expm1(detectable) if scale == "ratio" else detectable,
        needed=repetitions_needed(spread, limit, how),
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


def repetitions_needed(spread: float, tolerance: float, how: _How = "paired") -> int | None:
    """Repetitions per side that call no difference equivalent, and twice the tolerance a difference, with 80 % power.

    The former asks for more: the interval must lie within the tolerance on both sides (two one-sided tests;
    Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987), so its estimate may miss on either.

    Args:
        spread: standard deviation of the paired differences, or root of the two sides' summed variances.
        tolerance: in the same terms (logarithms for ratios).
        how: which test it is: of paired differences, of two pooled sides of one variance, or of two sides (Welch).

    Returns None if more than 1,000 would be needed.
    """

    def enough(n: int) -> bool:
        error, df = spread / math.sqrt(n), _degrees(n, how)
        settles = (student_quantile((1 + _CONFIDENCE) / 2, df) + student_quantile((1 + _POWER) / 2, df)) * error
        return settles <= tolerance and _detectable(error, df, tolerance) <= 2 * tolerance

    if not enough(_MOST_REPETITIONS):
        return None
    return bisect.bisect_left(range(_MOST_REPETITIONS + 1), True, lo=2, key=enough)


def _degrees(n: int, how: _How) -> int:
    """Degrees of freedom of n repetitions per side; of Welch's test, where both sides spread alike."""
    return {"paired": n - 1, "pooled": min(n + 1, 2 * n - 2), "welch": 2 * n - 2}[how]


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
    return float(ys.mean() - xs.mean()), spread / math.sqrt(n), float(_degrees(n, "pooled")), spread


def _paired(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Shift, its standard error, degrees of freedom, standard deviation of the differences."""
    differences = ys - xs
    spread = float(differences.std(ddof=1))
    return (
        float(differences.mean()),
        spread / math.sqrt(len(differences)),
        float(_degrees(len(differences), "paired")),
        spread,
    )


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


def _detectable(error: float, df: float, tolerance: float) -> float:
    """The least true difference whose interval excludes zero and whose estimate exceeds the tolerance, in 80 %."""
    power = student_quantile(_POWER, df) * error
    return max(student_quantile((1 + _CONFIDENCE) / 2, df) * error, tolerance) + power


def _judge(effect: Effect) -> Effect:
    if effect.withheld:
        return effect
    judged = _by_interval(effect)
    if not effect.doubt or judged.verdict == "inconclusive" or min(effect.n) < 2:
        return judged
    if judged.verdict in effect.allowed:
        return replace(judged, why=f"{judged.why}; that holds in spite of what is said against figures: {effect.doubt}")
    return replace(judged, verdict="inconclusive", needed=None, withheld=True, why=f"withheld: {effect.doubt}")


def _by_interval(effect: Effect) -> Effect:
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
