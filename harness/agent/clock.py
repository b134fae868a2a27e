"""The agent's clock: CLOCK_MONOTONIC, what it can be compared with, and sleeping until an instant of it."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

__all__ = ["clock_facts", "now", "precise_timers", "sleep_until"]

#: Nanoseconds of CLOCK_MONOTONIC.
now = time.monotonic_ns

_PR_SET_TIMERSLACK = 29


def clock_facts() -> dict[str, Any]:
    """What tells whether two agents share a clock: both `boot_id` and `time_namespace` equal; and the resolution, s."""
    facts: dict[str, Any] = {"clock_resolution_s": time.get_clock_info("monotonic").resolution}
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
            facts["boot_id"] = file.read().strip()
    except OSError:
        facts["boot_id"] = None
    try:
        facts["time_namespace"] = os.readlink("/proc/self/ns/time")
    except OSError:  # kernels before 5.6 have no time namespaces: all processes share the one clock
        facts["time_namespace"] = ""
    return facts


# One handle for good: ctypes makes a class per handle, and each leaves weak references behind.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


def precise_timers() -> None:
    """Let the calling thread's sleeps end on time: timer slack 1 ns instead of 50 us (prctl(2), Linux only)."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


def sleep_until(instant: int, stop: threading.Event) -> bool:
    """Sleep until an instant (ns), or until `stop` is set. Whether the instant was reached."""
    while True:
        left = instant - now()
        if left <= 0:
            return not stop.is_set()
        if left > 60_000_000:
            # An event's wait may end late by scheduling of its own: leave the last stretch to a plain sleep.
            if stop.wait((left - 40_000_000) / 1e9):
                return False
        else:
            time.sleep(left / 1e9)
