"""The leak verdict: from readings at quiesced block boundaries, in fresh processes, to leak, clean or inconclusive.

Method (METHODS, "Client memory"): per run the Theil-Sen slope over block readings, never over raw samples; across
runs one-sided 95 % t-bounds on the mean slope. **leak**: the lower bound exceeds delta and the growth lasts;
**clean**: the upper bound stays below delta; else **inconclusive**, and a longer dose decides.

That growth lasts is asked in three ways, because what looks like a leak and is none fails one of them:
a plateau (warm-up, a pool that filled) has no slope in its second half; a step has its whole growth in one or two
blocks; a saw-tooth (a collector, an arena that empties) comes back to its floor.

Descriptors, threads and sockets are counts: there the floors (minima) of the middle and the last third are compared.
Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from harness.analysis.student import student_quantile
from harness.analysis.theilsen import theil_sen

__all__ = [
    "METRICS",
    "Growth",
    "Metric",
    "Series",
    "State",
    "Verdict",
    "conclude",
    "judge",
]

State = Literal["leak", "clean", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure read at block boundaries.

    Attributes:
        name: key of the reading.
        unit: of one, in words for people.
        kind: "amount" is judged by slopes, "count" by floors.
        decides: "always"; "growth" may show a leak but is too coarse to leave a verdict open; "never" is for evidence.
    """

    name: str
    unit: str
    kind: Literal["amount", "count"]
    decides: Literal["always", "growth", "never"]


#: Every metric a verdict knows, in the order verdicts name them.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("blocks", "allocated blocks", "amount", "always"),
        Metric("heap", "bytes of malloc heap", "amount", "always"),
        Metric("fds", "descriptors", "count", "always"),
        Metric("threads", "threads", "count", "always"),
        Metric("sockets", "sockets", "count", "always"),
        Metric("anonymous", "bytes of anonymous memory", "amount", "growth"),
        Metric("objects", "collector-tracked objects", "amount", "never"),
        Metric("uss", "bytes of USS", "amount", "never"),
        Metric("pss", "bytes of PSS", "amount", "never"),
        Metric("rss", "bytes of RSS", "amount", "never"),
    )
}

#: A count is growing when its floor has risen by so many from the middle to the last third (METHODS).
_COUNT_RISE = 3
#: Anonymous memory comes in arenas of 1 MiB (CPython 3.10 on): less growth than two of them says nothing.
_ARENAS = 2 << 20
#: Share of the overall slope the second half, the trimmed increments and the floors must still have.
_LASTING = 0.5
#: Increments left out at either end when asking whether growth is more than one or two steps.
_STEPS = 2
#: Fewer boundaries than this give no verdict.
_FEWEST = 7


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one process: the readings after warm-up, the first one at its end.

    Attributes:
        operations: operations done at each reading, increasing.
        values: the readings; None where the process could not give one.
    """

    operations: tuple[float, ...]
    values: tuple[float | None, ...]

    @property
    def usable(self) -> bool:
        """Whether every reading is there, and there are enough."""
        return len(self.values) >= _FEWEST and all(value is not None for value in self.values)


@dataclass(frozen=True, slots=True)
class Growth:
    """What one metric says.

    Attributes:
        metric: name of the metric.
        state: leak, clean or inconclusive.
        per_op: mean growth per operation over the runs.
        low, high: one-sided 95 % bounds on it.
        delta: the growth per operation that counts as a leak.
        mdl: the least leak per operation these runs would have called one with 80 % probability.
        total: mean growth over the measured blocks.
        slopes: growth per operation of each run.
        late: mean growth per operation in the second half.
        why: one sentence.
    """

    metric: str
    state: State
    per_op: float
    low: float
    high: float
    delta: float
    mdl: float
    total: float
    slopes: tuple[float, ...]
    late: float
    why: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; figures that are not finite become null."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Growth:
        """The inverse of `to_json`."""
        values: dict[str, Any] = {key: (float("nan") if value is None else value) for key, value in data.items()}
        if data["delta"] is None:  # evidence only
            values["delta"] = float("inf")
        return cls(**{**values, "slopes": tuple(data["slopes"])})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all metrics of one kind of process under one dose say together.

    Attributes:
        state: leak if any deciding metric says so, else inconclusive if any is, else clean.
        growths: every metric judged, by name.
        why: one sentence.
    """

    state: State
    growths: Mapping[str, Growth]
    why: str

    @property
    def leaking(self) -> tuple[Growth, ...]:
        """The metrics that say leak."""
        return tuple(growth for growth in self.growths.values() if growth.state == "leak")

    @property
    def grew(self) -> bool:
        """Whether any metric grew by more than its limit while it was measured, whatever became of it."""
        return any(growth.per_op > growth.delta for growth in self.growths.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"state": self.state, "why": self.why, "growths": [g.to_json() for g in self.growths.values()]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_json`."""
        growths = [Growth.from_json(item) for item in data["growths"]]
        return cls(data["state"], {growth.metric: growth for growth in growths}, data["why"])


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def judge(metric: Metric, runs: Sequence[Series], delta: float) -> Growth:
    """Judge one metric from the runs (fresh processes) that were made.

    Args:
        metric: which.
        runs: one series per process.
        delta: growth per operation from which on it is a leak.
    """
    usable = [run for run in runs if run.usable]
    if len(usable) < 2 or len(usable) < len(runs):
        why = "one repetition gives no verdict" if len(runs) == 1 else "readings are missing"
        nan = float("nan")
        return Growth(metric.name, "inconclusive", nan, nan, nan, delta, nan, nan, (), nan, why)
    figures = _Figures(usable, delta)
    decide = _judge_count if metric.kind == "count" else _judge_amount
    state, why = decide(metric, figures)
    return Growth(
        metric=metric.name,
        state=state,
        per_op=figures.mean,
        low=figures.low,
        high=figures.high,
        delta=delta,
        mdl=figures.mdl if metric.kind == "amount" else figures.count_mdl,
        total=figures.total,
        slopes=tuple(float(slope) for slope in figures.slopes),
        late=float(figures.late.mean()),
        why=why,
    )


class _Figures:
    """The statistics of one metric over its runs."""

    def __init__(self, runs: Sequence[Series], delta: float) -> None:
        self.delta = delta
        self.runs = len(runs)
        self.x = [np.asarray(run.operations, np.float64) for run in runs]
        self.y = [np.asarray(run.values, np.float64) for run in runs]
        trends = [_slope(x, y) for x, y in zip(self.x, self.y, strict=True)]
        self.slopes = np.array([slope for slope, _ in trends])
        # Three runs can agree by luck; what each run's own scatter allows is the least uncertainty to believe.
        self.error = max(float(self.slopes.std(ddof=1)), float(np.median([error for _, error in trends])))
        self.mean = float(self.slopes.mean())
        self.low, self.high = self.bounds(self.slopes, self.error)
        self.total = float(np.mean([y[-1] - y[0] for y in self.y]))
        self.late = self._each(lambda x, y: _slope(x[len(x) // 2 :], y[len(y) // 2 :])[0])
        self.floor = self._each(_floor_slope)
        self.trimmed = self._each(_trimmed_slope)
        self.falls = sum(_falls(y) for y in self.y) * 2 > self.runs
        quantiles = student_quantile(0.95, self.runs - 1) + student_quantile(0.80, self.runs - 1)
        self.mdl = delta + quantiles * self.error / np.sqrt(self.runs)
        self.rises = np.array([_floor_rise(y) for y in self.y])
        third = self.x[0][-1] - self.x[0][0]
        self.count_mdl = max(delta, _COUNT_RISE / (third / 3)) if third > 0 else float("nan")

    def _each(self, figure: Any) -> Any:
        return np.array([figure(x, y) for x, y in zip(self.x, self.y, strict=True)])

    def bounds(self, values: Any, error: float | None = None) -> tuple[float, float]:
        """One-sided 95 % t-bounds on the mean."""
        spread = float(values.std(ddof=1)) if error is None else error
        reach = student_quantile(0.95, self.runs - 1) * spread / np.sqrt(self.runs)
        mean = float(values.mean())
        return mean - reach, mean + reach

    def ended(self, values: Any) -> bool:
        """Whether a figure of lasting growth shows that there is none to speak of."""
        return bool(self.bounds(values)[1] < self.delta and values.mean() < _LASTING * self.mean)

    def lasts(self, values: Any) -> bool:
        """Whether a figure of lasting growth keeps at least half of the overall slope."""
        return bool(values.mean() >= _LASTING * self.mean)


def _judge_amount(metric: Metric, f: _Figures) -> tuple[State, str]:
    if f.high < f.delta:
        return "clean", f"at most {f.high:.3g} per operation"
    if f.ended(f.late):
        return "clean", f"a plateau: {f.total:.3g} in all, then none"
    if f.ended(f.trimmed):
        return "clean", f"steps: {f.total:.3g} in one or two blocks, none in the others"
    if f.falls and f.ended(f.floor):
        return "clean", "a saw-tooth: it comes back to its floor"
    if f.low <= f.delta:
        return "inconclusive", f"between {f.low:.3g} and {f.high:.3g} per operation, and {f.delta:g} is the limit"
    if not (f.lasts(f.late) and f.lasts(f.floor) and (metric.decides == "growth" or f.lasts(f.trimmed))):
        return "inconclusive", f"{f.mean:.3g} per operation, but uneven: a longer dose will tell"
    if metric.decides == "growth" and f.total < _ARENAS:
        return "inconclusive", f"{f.total / 1024:.0f} KiB in all, less than the allocator's own granularity"
    return "leak", f"{f.mean:.3g} {metric.unit} per operation [{f.low:.3g}, {f.high:.3g}], to the end"


def _judge_count(metric: Metric, f: _Figures) -> tuple[State, str]:
    grown = int((f.rises >= _COUNT_RISE).sum())
    risen = int((f.rises >= 1).sum())
    if grown >= max(2, f.runs - 1) and f.low > f.delta:
        return "leak", f"{f.mean:.3g} {metric.unit} per operation, {f.total:.3g} in all, to the end"
    if risen * 2 > f.runs:
        return "inconclusive", f"the number of {metric.unit} has risen by {f.rises.max():g}, too few to tell"
    return "clean", f"the number of {metric.unit} stays"


def _slope(x: Any, y: Any) -> tuple[float, float]:
    """Theil-Sen slope, and its standard error from the scatter of the readings about the line."""
    trend = theil_sen(x, y)
    if trend is None:
        return 0.0, 0.0
    residuals = y - trend.slope * x
    scatter = 1.4826 * float(np.median(np.abs(residuals - np.median(residuals))))
    spread = float(np.sqrt(np.sum((x - x.mean()) ** 2)))
    return trend.slope, scatter / spread if spread else 0.0


def _thirds(y: Any) -> tuple[Any, Any, Any]:
    first, middle, last = np.array_split(y, 3)
    return first, middle, last


def _floor_slope(x: Any, y: Any) -> float:
    """Rise of the minimum from the first to the last third, per operation between the thirds."""
    (x0, _, x2), (y0, _, y2) = _thirds(x), _thirds(y)
    # Where growth is steady the minimum of a third is its first reading.
    return float((y2.min() - y0.min()) / (x2[0] - x0[0]))


def _floor_rise(y: Any) -> float:
    _, middle, last = _thirds(y)
    return float(last.min() - middle.min())


def _trimmed_slope(x: Any, y: Any) -> float:
    """Mean increment per operation, the largest and the smallest few increments left out."""
    rates = np.sort(np.diff(y) / np.diff(x))
    return float(rates[_STEPS:-_STEPS].mean())


def _falls(y: Any) -> bool:
    """Whether the readings come down as a saw-tooth does: one fall undoes most of the range."""
    steps = np.diff(y)
    return bool(steps.min() < -0.5 * (y.max() - y.min())) if len(steps) else False


def conclude(readings: Mapping[str, Sequence[Series]], deltas: Mapping[str, float]) -> Verdict:
    """Judge all metrics of one kind of process under one dose.

    Args:
        readings: per metric, one series per process; metrics without readings at all are left out.
        deltas: per metric, growth per operation from which on it is a leak; metrics without one are evidence only.
    """
    growths = {}
    for name, metric in METRICS.items():
        runs = readings.get(name, ())
        if runs and not all(value is None for run in runs for value in run.values):
            growths[name] = judge(metric, runs, deltas.get(name, float("inf")))
    # Without a malloc figure native memory shows in the anonymous pages alone.
    always = {name for name in growths if METRICS[name].decides == "always"}
    if "heap" not in growths:
        always.add("anonymous")
    either = {name for name in growths if METRICS[name].decides == "growth"}
    leaks = [g for n, g in growths.items() if n in always | either and g.state == "leak"]
    open_ones = [g for n, g in growths.items() if n in always and g.state == "inconclusive"]
    if leaks:
        return Verdict("leak", growths, "; ".join(f"{g.metric}: {g.why}" for g in leaks))
    if open_ones or not growths:
        return Verdict("inconclusive", growths, "; ".join(f"{g.metric}: {g.why}" for g in open_ones) or "no readings")
    return Verdict("clean", growths, "no metric grows by its limit or more")
