"""When operations are due: pure generators of offsets from the start, in nanoseconds, in constant memory.

A schedule is a rate profile (operations per second over time) and a way arrivals fill it: evenly, or as a Poisson
process. The i-th operation of a profile with cumulative count N(t) is due where N(t) = i for even arrivals, and
where N(t) = E_1 + ... + E_i with unit exponential E for Poisson arrivals (the time-change theorem).

| kind     | keys                                    | profile                                                       |
|----------|-----------------------------------------|---------------------------------------------------------------|
| constant | rate_per_s, [offset_s]                  | one rate                                                      |
| poisson  | rate_per_s, [offset_s]                  | one rate, Poisson arrivals                                    |
| steps    | steps: [{rate_per_s, duration_s}, ...]  | one rate after the other; the last one lasts to the end       |
| ramp     | from_per_s, to_per_s, [over_s]          | linear from one to the other over that time, then constant    |
| burst    | size, period_s, [offset_s]              | `size` operations due at the same instant, every period       |
| closed   | [pause_s], [count]                      | none: the next operation follows the last one (load.py)       |

steps and ramp take `arrivals: "poisson"` for Poisson arrivals, and `phase`, 0 to below 1, for even ones: the i-th
operation is then due where N(t) = i + phase, so that many clients of one profile do not send at the same instants.
"""

from __future__ import annotations

import math
import random
from typing import Any, Callable, Iterator, Mapping

__all__ = ["KINDS", "check_schedule", "due_offsets"]

#: Required and optional keys of each kind.
KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("rate_per_s",), ("offset_s",)),
    "poisson": (("rate_per_s",), ("offset_s",)),
    "steps": (("steps",), ("arrivals", "phase")),
    "ramp": (("from_per_s", "to_per_s"), ("over_s", "arrivals", "phase")),
    "burst": (("size", "period_s"), ("offset_s",)),
    "closed": ((), ("pause_s", "count")),
}

_NS = 1_000_000_000


def check_schedule(schedule: Mapping[str, Any]) -> None:
    """Raise ValueError naming the key if this is no schedule."""
    kind = str(schedule.get("kind"))
    if kind not in KINDS:
        raise ValueError("kind: {!r} is not one of {}".format(kind, ", ".join(KINDS)))
    required, optional = KINDS[kind]
    for key in required:
        if key not in schedule:
            raise ValueError(f"{key}: missing")
    for key, value in schedule.items():
        if key == "kind":
            continue
        if key not in required and key not in optional:
            raise ValueError(f"{key}: not a key of a {kind} schedule")
        if key == "arrivals":
            if value not in ("even", "poisson"):
                raise ValueError(f"arrivals: {value!r} is neither even nor poisson")
        elif key == "steps":
            _check_steps(value)
        elif key in ("size", "count"):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{key}: {value!r} is not a positive whole number")
        else:
            _check_number(key, value, positive=key in ("rate_per_s", "period_s", "over_s"))
    if not schedule.get("phase", 0.0) < 1.0:
        raise ValueError("phase: {!r} is not below 1".format(schedule["phase"]))
    if kind == "ramp" and schedule["from_per_s"] == 0 and schedule["to_per_s"] == 0:
        raise ValueError("to_per_s: a ramp from 0 to 0 does nothing")


def _check_steps(steps: object) -> None:
    if not isinstance(steps, (list, tuple)) or not steps:
        raise ValueError("steps: not a list of steps")
    for step in steps:
        if not isinstance(step, Mapping) or set(step) != {"rate_per_s", "duration_s"}:
            raise ValueError("steps: a step has rate_per_s and duration_s")
        _check_number("steps.rate_per_s", step["rate_per_s"], positive=False)
        _check_number("steps.duration_s", step["duration_s"], positive=True)


def _check_number(key: str, value: object, *, positive: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{key}: {value!r} is not a number")
    if value < 0 or (positive and value == 0):
        raise ValueError(f"{key}: {value!r} is too small")


def due_offsets(schedule: Mapping[str, Any], duration_s: float, seed: int) -> Iterator[int]:
    """Offsets at which operations are due, not decreasing, in [0, duration_s), as nanoseconds.

    The same schedule, duration and seed give the same offsets. Raises ValueError for a closed schedule, which has none.
    """
    check_schedule(schedule)
    kind = schedule["kind"]
    if kind == "closed":
        raise ValueError("kind: a closed schedule has no due instants of its own")
    end = int(duration_s * _NS)
    if kind == "burst":
        return _bursts(schedule, end)
    inverse = _inverse(schedule, duration_s)
    poisson = kind == "poisson" or schedule.get("arrivals") == "poisson"
    offset = float(schedule.get("offset_s", 0.0))
    counts = _poisson_counts(seed) if poisson else _even_counts(float(schedule.get("phase", 0.0)))
    return _arrivals(counts, inverse, offset, end)


def _even_counts(phase: float) -> Iterator[float]:
    count = 0
    while True:
        yield count + phase
        count += 1


def _poisson_counts(seed: int) -> Iterator[float]:
    draw = random.Random(seed).expovariate
    count = 0.0
    while True:
        count += draw(1.0)
        yield count


def _arrivals(counts: Iterator[float], inverse: Callable[[float], float], offset: float, end: int) -> Iterator[int]:
    for count in counts:
        at = offset + inverse(count)
        if at * _NS >= end:
            return
        yield int(at * _NS)


def _bursts(schedule: Mapping[str, Any], end: int) -> Iterator[int]:
    offset, period, size = float(schedule.get("offset_s", 0.0)), float(schedule["period_s"]), int(schedule["size"])
    number = 0
    while True:
        at = int((offset + number * period) * _NS)
        if at >= end:
            return
        for _ in range(size):
            yield at
        number += 1


def _inverse(schedule: Mapping[str, Any], duration_s: float) -> Callable[[float], float]:
    """The time, in seconds, at which a cumulative number of operations is reached (infinity for never)."""
    kind = schedule["kind"]
    if kind == "ramp":
        return _inverse_ramp(
            float(schedule["from_per_s"]), float(schedule["to_per_s"]), float(schedule.get("over_s") or duration_s)
        )
    if kind == "steps":
        steps = [(float(step["rate_per_s"]), float(step["duration_s"])) for step in schedule["steps"]]
        return _inverse_steps(steps)
    rate = float(schedule["rate_per_s"])
    return lambda count: count / rate


def _inverse_steps(steps: list[tuple[float, float]]) -> Callable[[float], float]:
    starts: list[tuple[float, float, float]] = []  # (count at start, time at start, rate)
    count = at = 0.0
    for rate, duration in steps:
        starts.append((count, at, rate))
        count += rate * duration
        at += duration

    def inverse(wanted: float) -> float:
        for number, (first, start, rate) in enumerate(starts):
            last = number == len(starts) - 1
            if rate > 0 and (last or wanted < starts[number + 1][0]):
                return start + (wanted - first) / rate
        return math.inf

    return inverse


def _inverse_ramp(low: float, high: float, over_s: float) -> Callable[[float], float]:
    total = (low + high) / 2 * over_s
    slope = (high - low) / over_s

    def inverse(wanted: float) -> float:
        if wanted > total:
            return over_s + (wanted - total) / high if high > 0 else math.inf
        # low * t + slope / 2 * t^2 = wanted, in the form that keeps its digits when slope is small
        root = math.sqrt(max(0.0, low * low + 2 * slope * wanted))
        return 2 * wanted / (low + root) if low + root > 0 else 0.0

    return inverse
