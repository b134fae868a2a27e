"""The knee: where more load begins to buy delay instead of throughput.

Criterion: the load at which *power*, throughput over response time, is greatest (A. Giessler, J. Haenle, A. Koenig,
E. Pade, "Free buffer allocation", Computer Networks 2, 1978; L. Kleinrock, "Power and deterministic rules of thumb for
probabilistic problems in computer communications", ICC 1979). While a system has capacity to spare throughput grows
and response time stays, so power grows; past saturation throughput stays and response time grows, so it falls. For a
closed loop of N clients with think time Z over a bottleneck of service time S the greatest power lies where the
asymptotes N / (R + Z) and 1 / S meet, N = (R + Z) / S (the operational bounds of P. Denning and J. Buzen, ACM
Computing Surveys 10(3), 1978), which is what a knee is meant to be.

Why not others: Kneedle (V. Satopaa et al., ICDCS workshops 2011) takes the distance from the chord of whatever range
was measured, so that the knee moves with the last point, and finds one in every bent curve; the Universal Scalability
Law (N. Gunther) fits three parameters to what is here half a dozen noisy points, and its peak is an extrapolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Knee", "LoadPoint", "find_knee"]

#: Power, and throughput per unit of load, must fall by this share after the greatest power before a knee is said to be
#: reached: the harness's own tolerance for a difference that matters.
_FALL = 0.05
#: With fewer points there is no inside.
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One load and what came of it.

    Attributes:
        load: how much, e.g. the number of clients.
        throughput_per_s: completed operations per second.
        response_s: the median response time.
    """

    load: float
    throughput_per_s: float
    response_s: float

    @property
    def power(self) -> float:
        """Throughput over response time, operations per second squared; NaN where nothing was completed."""
        if not (self.response_s > 0 and math.isfinite(self.throughput_per_s)):
            return math.nan
        return self.throughput_per_s / self.response_s


@dataclass(frozen=True, slots=True)
class Knee:
    """Where power is greatest.

    Attributes:
        at: the point of the greatest power.
        reached: whether at the highest load power is less by more than noise, and throughput no longer grows in
            proportion; else saturation lies beyond what was tried. (A fanout's last receiver waits longer with each
            further one while copies per second grow in proportion: that is no saturation.)
        efficiency: throughput there over that of the least load, per unit of load: 1 is growth in proportion.
        highest: the point of the greatest throughput.
    """

    at: LoadPoint
    reached: bool
    efficiency: float
    highest: LoadPoint


def find_knee(points: Sequence[LoadPoint]) -> Knee | None:
    """The knee of a curve; None with fewer than three usable points."""
    usable = sorted((point for point in points if math.isfinite(point.power)), key=lambda point: point.load)
    if len({point.load for point in usable}) < _FEWEST:
        return None
    at = max(usable, key=lambda point: point.power)
    first, last = usable[0], usable[-1]
    slower = last.power < (1 - _FALL) * at.power
    short = last.throughput_per_s / last.load < (1 - _FALL) * at.throughput_per_s / at.load if at.load else slower
    expected = first.throughput_per_s * at.load / first.load if first.load else math.nan
    return Knee(
        at=at,
        reached=slower and short,
        efficiency=at.throughput_per_s / expected if expected else math.nan,
        highest=max(usable, key=lambda point: point.throughput_per_s),
    )
