"""Baselines: the memory figures of a run that was found good, small enough to commit, to compare later runs with.

A baseline belongs to a stack (by name, Python and driver; its packages' versions may move, that is what it is for) and
to a class of hosts. Anything else is an error, never a pass. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from harness.analysis.leak import METRICS
from harness.analysis.student import student_quantile
from harness.memory.result import RoleResult

__all__ = [
    "SCHEMA",
    "Baseline",
    "Comparison",
    "Entry",
    "Measured",
    "compare",
    "difference",
    "host_class",
]

SCHEMA = 1

#: What is compared: growth of what decides a verdict, and what a process holds at rest.
_GROWTH = tuple(name for name, metric in METRICS.items() if metric.kind == "amount" and metric.decides == "always")
_REST = ("anonymous", "fds", "threads")
#: More at rest than the baseline by both of these is a regression.
_REST_SHARE = 0.10
_REST_LEAST = {"anonymous": 2.0 * (1 << 20), "fds": 3.0, "threads": 3.0}


@dataclass(frozen=True, slots=True)
class Entry:
    """The figures of one process role under one dose.

    Attributes:
        system, dose, role: which; the system with its place in the sweep.
        kind, count: kind of operation, operations per block.
        stack: {"name", "python", "driver"}: whose figures they are.
        packages: its packages, `name==version`.
        limits: growth per operation that is a leak, by metric.
        slopes: growth per operation of each process, by metric.
        rest: the last reading of each process, by metric.
    """

    system: str
    dose: str
    role: str
    kind: str
    count: int
    stack: Mapping[str, str]
    packages: tuple[str, ...]
    limits: Mapping[str, float]
    slopes: Mapping[str, tuple[float, ...]]
    rest: Mapping[str, tuple[float, ...]]

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is looked up by."""
        return self.system, self.dose, self.role


@dataclass(frozen=True, slots=True)
class Baseline:
    """A set of figures.

    Attributes:
        scenario: name of the scenario.
        run, made, harness: where they come from.
        host: the class of hosts they hold for.
        entries: the figures.
    """

    scenario: str
    run: str
    made: str
    harness: str
    host: Mapping[str, str]
    entries: tuple[Entry, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; figures with six significant digits, so that diffs can be read."""
        entries = []
        for entry in self.entries:
            data = asdict(entry)
            for name in ("slopes", "rest"):
                data[name] = {metric: [_short(value) for value in values] for metric, values in data[name].items()}
            entries.append(data)
        return {**asdict(self), "entries": entries, "format": "femdc-memory-baseline", "schema": SCHEMA}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Baseline:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError with what is wrong."""
        if data.get("format") != "femdc-memory-baseline":
            raise ValueError("it is no memory baseline")
        if data["schema"] != SCHEMA:
            raise ValueError(f"it has schema {data['schema']}, this harness reads {SCHEMA}")
        entries = []
        for item in data["entries"]:
            values = {**item, "packages": tuple(item["packages"])}
            for name in ("slopes", "rest"):
                values[name] = {metric: tuple(map(float, figures)) for metric, figures in item[name].items()}
            entries.append(Entry(**values))
        return cls(data["scenario"], data["run"], data["made"], data["harness"], data["host"], tuple(entries))


def _short(value: float) -> float:
    return float(f"{value:.6g}")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run is compared by: the same as a baseline, with the results the figures come from."""

    baseline: Baseline
    results: Mapping[tuple[str, str, str], RoleResult] = field(default_factory=dict)


def host_class(host: Mapping[str, Any], runtime: str) -> dict[str, str]:
    """The class a host belongs to: what the size of a process depends on, and nothing that changes by itself."""
    return {
        "machine": str(host.get("machine")),
        "distribution": str(host.get("distribution")),
        "cpus": str(host.get("cpus")),
        "runtime": runtime,
    }


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure against its baseline.

    Attributes:
        key: system, dose, role.
        figure: "blocks per operation", "anonymous at rest", ...
        state: "same", "worse", "better" or "open".
        text: the figures in a sentence.
    """

    key: tuple[str, str, str]
    figure: str
    state: str
    text: str


def compare(entry: Entry, before: Entry) -> Iterator[Comparison]:
    """An entry against its baseline, figure by figure.

    Worse needs both: the one-sided 95 % bound of Welch's t beyond zero, and a difference beyond the tolerance (the
    dose's limit for growth; 10 % and 2 MiB, or 3 descriptors or threads, for what is held at rest).
    """
    for metric in _GROWTH:
        if metric in entry.slopes and metric in before.slopes:
            tolerance = entry.limits.get(metric, float("inf"))
            figure = f"{METRICS[metric].unit} per operation"
            yield _judge(entry.key, figure, entry.slopes[metric], before.slopes[metric], tolerance)
    for metric in _REST:
        if metric in entry.rest and metric in before.rest:
            old = float(np.mean(before.rest[metric]))
            tolerance = max(_REST_SHARE * old, _REST_LEAST[metric])
            yield _judge(
                entry.key, f"{METRICS[metric].unit} at rest", entry.rest[metric], before.rest[metric], tolerance
            )


def _judge(
    key: tuple[str, str, str], figure: str, new: Sequence[float], old: Sequence[float], tolerance: float
) -> Comparison:
    low, middle, high = difference(new, old)
    text = f"{figure}: {np.mean(old):.4g} before, {np.mean(new):.4g} now, {middle:+.3g} [{low:+.3g}, {high:+.3g}]"
    if low != low:
        return Comparison(key, figure, "open", f"{figure}: fewer than two processes on a side")
    state = "same"
    if low > 0 and middle > tolerance:
        state = "worse"
    elif high < 0 and middle < -tolerance:
        state = "better"
    elif high > tolerance and middle > tolerance:
        state = "open"
    return Comparison(key, figure, state, text)


def difference(new: Sequence[float], old: Sequence[float]) -> tuple[float, float, float]:
    """Mean difference with its one-sided 95 % bounds by Welch's t; NaN bounds for fewer than two figures on a side."""
    a, b = np.asarray(new, float), np.asarray(old, float)
    middle = float(a.mean() - b.mean())
    if len(a) < 2 or len(b) < 2:
        return float("nan"), middle, float("nan")
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return middle, middle, middle
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    reach = student_quantile(0.95, freedom) * float(np.sqrt(va + vb))
    return middle - reach, middle, middle + reach
