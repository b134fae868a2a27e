"""The two clocks of an arrival: the kernel stamps packets with CLOCK_REALTIME, everything else is CLOCK_MONOTONIC."""

from __future__ import annotations

import time
from typing import Callable

__all__ = ["both_clocks"]

#: Two readings further apart than this had something else in between.
_APART_NS = 20_000
_TRIES = 4


def both_clocks(
    monotonic_ns: Callable[[], int] = time.monotonic_ns, real_ns: Callable[[], int] = time.time_ns
) -> tuple[int, int]:
    """Now on CLOCK_MONOTONIC, and what CLOCK_REALTIME is ahead of it, both in nanoseconds.

    The process can be suspended between two readings. The monotonic clock is read last, so that an instant converted
    by the difference is then too late and never too early: a packet must not get away before its time. A pair read
    far apart is read again.
    """
    for _ in range(_TRIES):
        before = monotonic_ns()
        real = real_ns()
        now = monotonic_ns()
        if now - before <= _APART_NS:
            break
    return now, real - now
