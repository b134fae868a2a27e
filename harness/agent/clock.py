"""The agent's clock: CLOCK_MONOTONIC, what it can be compared with, and sleeping until an instant of it."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from typing import Any

__all__ = ["clock_facts", "now", "sleep_until", "wake_promptly"]

#: Nanoseconds of CLOCK_MONOTONIC.
now = time.monotonic_ns

_PR_SET_TIMERSLACK = 29
#: The system call, which C libraries have only lately, by machine.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
#: struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
#: The shortest slice the kernel grants.
_SLICE_NS = 100_000


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
_LIBC = ctypes.CDLL(None)
_PRCTL = getattr(_LIBC, "prctl", None)
_SYSCALL = getattr(_LIBC, "syscall", None)


def wake_promptly() -> None:
    """Let the calling thread run as soon as its sleep ends, also where every processor is busy (Linux only).

    Its timer slack becomes 1 ns instead of 50 us (prctl(2)), and the time slice it asks for 0.1 ms instead of some
    milliseconds: it gets no more of a processor than others do, but it gets its share sooner (sched_setattr(2);
    kernels before 6.12 take no notice). A thread with another policy than the usual one is left as it is. Threads
    that it starts inherit the slice.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
    number = _SCHED_SETATTR.get(os.uname().machine)
    if _SYSCALL is not None and number is not None and os.sched_getscheduler(0) == os.SCHED_OTHER:
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        _SYSCALL(number, 0, _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_OTHER, 0, nice, 0, _SLICE_NS, 0, 0), 0)


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
