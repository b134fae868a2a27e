"""Release against release: where latency or memory changed from one release to the next. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from harness.memory.baseline import difference

__all__ = ["Change", "ReleaseFigures", "changes", "in_order", "version_key"]


@dataclass(frozen=True, slots=True)
class ReleaseFigures:
    """The figures of one release with one driver.

    Attributes:
        release, driver: which.
        label: the system they are of.
        figures: per repetition (or process), by name.
    """

    release: str
    driver: str
    label: str
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that changed from one release to the next.

    Attributes:
        driver, before, after: between which releases.
        figure: its name.
        old, new: means.
        low, high: one-sided 95 % bounds on the change; a ratio for latencies, else a difference.
        ratio: whether they are ratios.
    """

    driver: str
    before: str
    after: str
    figure: str
    old: float
    new: float
    low: float
    high: float
    ratio: bool


def version_key(version: str) -> tuple[int, ...]:
    """A sort key: the numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def in_order(releases: Sequence[ReleaseFigures]) -> list[ReleaseFigures]:
    """By driver, then from the oldest release to the newest."""
    return sorted(releases, key=lambda one: (one.driver, version_key(one.release)))


def changes(
    releases: Sequence[ReleaseFigures], tolerances: Mapping[str, float], ratios: Sequence[str]
) -> Iterator[Change]:
    """The changes between neighbours that are real and large enough.

    Args:
        tolerances: the least change of each figure that counts: a share for ratios (0.05 is 5 %), else in its unit.
        ratios: figures compared on the logarithmic scale, as latencies are.

    A change needs both: the one-sided 95 % bound of Welch's t beyond no change, and an effect beyond the tolerance.
    """
    ordered = in_order(releases)
    for before, after in pairwise(ordered):
        if before.driver != after.driver:
            continue
        for figure, tolerance in tolerances.items():
            old, new = before.figures.get(figure, ()), after.figures.get(figure, ())
            if len(old) < 2 or len(new) < 2:
                continue
            ratio = figure in ratios
            if ratio and min(*old, *new) <= 0:
                continue
            a, b = ([math.log(v) for v in new], [math.log(v) for v in old]) if ratio else (new, old)
            low, middle, high = difference(a, b)
            least = math.log1p(tolerance) if ratio else tolerance
            if (low > 0 and middle > least) or (high < 0 and middle < -least):
                bounds = (math.exp(low), math.exp(high)) if ratio else (low, high)
                yield Change(
                    before.driver,
                    before.release,
                    after.release,
                    figure,
                    sum(old) / len(old),
                    sum(new) / len(new),
                    *bounds,
                    ratio,
                )
