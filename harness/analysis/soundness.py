"""Whether latencies mean what they seem to: was the generator late, was the system steady, is the floor respected?

Rules and their sources: METHODS, "Load"; Schroeder et al., "Open Versus Closed", NSDI 2006.
"""

from __future__ import annotations

import numpy as np

from harness.analysis.comparison import TOLERANCE
from harness.analysis.theilsen import theil_sen
from harness.analysis.timeline import Timeline

__all__ = [
    "FLATNESS",
    "LATENESS",
    "below_floor",
    "generator_saturated",
    "late_share_ms",
    "left_out",
    "unsteady",
]

#: A p99 send delay above this share of the p50 under study says more about the generator than about the bus.
LATENESS = 0.10
#: How far the p50 may drift over the whole measured time, as a share of its median.
FLATNESS = 0.05
#: Fewer windows than this say nothing about a trend.
_FEWEST_WINDOWS = 10
#: A median this far below the floor is not explained by timer resolution, seconds.
_FLOOR_SLACK_S = 0.0005


def generator_saturated(p99_delay_ms: float, p50_ms: float, starved: int) -> str | None:
    """Why the generator, not the bus, may have made these latencies; None if it did not.

    Args:
        p99_delay_ms: 99th percentile of sent - due.
        p50_ms: the median under study.
        starved: operations that found no free worker when they were due.
    """
    if starved:
        return f"{starved} operations found every worker busy when they were due"
    if np.isfinite(p99_delay_ms) and np.isfinite(p50_ms) and p99_delay_ms > LATENESS * p50_ms:
        return f"p99 send delay {p99_delay_ms:.2f} ms is more than {LATENESS:.0%} of the p50 of {p50_ms:.2f} ms"
    return None


def late_share_ms(delay_ms: float, figure_ms: float, p50_ms: float, starved: int) -> float:
    """What the generator's lateness may have added to a percentile that is compared; 0 where it is of no account.

    A response is the lateness and what followed, so no percentile of what followed is lower than that of the response
    by more than about the same percentile of the lateness. A late p99 says nothing against a p50.

    Args:
        delay_ms: the same percentile of sent - due as `figure_ms` is of the latency.
        figure_ms: the percentile that is compared.
        p50_ms: the median under study.
        starved: operations that found no free worker when they were due.
    """
    doubtful = starved or delay_ms > LATENESS * p50_ms
    return min(delay_ms, figure_ms) if doubtful and np.isfinite(delay_ms) else 0.0


def left_out(figure_ms: float, at_most_ms: float, absent: int, operations: int) -> str | None:
    """Why a percentile flatters: of those that took longest too many failed or never ended, and are in no percentile;
    None if it does not.

    Args:
        figure_ms: the percentile of the operations that succeeded.
        at_most_ms: the same of all, those without a latency counted as the slowest (Summary).
        absent: how many operations failed or never ended.
        operations: how many there were.
    """
    if not at_most_ms > figure_ms * (1 + TOLERANCE):
        return None
    bound = f"at most {at_most_ms:.3g} ms" if np.isfinite(at_most_ms) else "not bounded"
    return f"{absent} of {operations} operations failed or never ended; had they taken longest, it is {bound}"


def unsteady(timeline: Timeline) -> str | None:
    """Why the measured time was not flat; None if it was, or if it was too short to tell.

    The drift of the windows' p50 over the whole time, by Theil-Sen, must be within FLATNESS of its median; a drift
    whose 95 % interval holds zero is noise.
    """
    p50 = timeline.p50_ms
    median = float(np.nanmedian(p50)) if np.isfinite(p50).any() else 0.0
    if np.isfinite(p50).sum() < _FEWEST_WINDOWS or median <= 0:
        return None
    trend = theil_sen(timeline.start_s, p50)
    if trend is None or trend.low <= 0 <= trend.high:
        return None
    drift = trend.slope * (timeline.start_s[-1] - timeline.start_s[0]) / median
    if abs(drift) <= FLATNESS:
        return None
    return f"the p50 drifted by {drift:+.0%} over the measured time (allowed {FLATNESS:.0%})"


def below_floor(p50_ms: float, floor_s: float) -> str | None:
    """Why a median cannot be true: it undercuts what the declared links allow; None if it does not."""
    if np.isfinite(p50_ms) and p50_ms / 1e3 < floor_s - max(_FLOOR_SLACK_S, 0.05 * floor_s):
        return f"the p50 of {p50_ms:.2f} ms is below the floor of {floor_s * 1e3:.2f} ms: the links were not in force"
    return None
