"""A reading of the agent's own memory at rest: what an agent answers when it is told to quiesce."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from typing import Any

from harness.agent import proc

__all__ = ["quiesced_reading"]


_FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class _MallInfo2(ctypes.Structure):
    """glibc's struct mallinfo2 (mallinfo(3), glibc 2.33 on)."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


# One handle for good: ctypes makes a class per handle, and each leaves weak references behind.
_LIBC = ctypes.CDLL(None)
_MALLINFO2: Any = getattr(_LIBC, "mallinfo2", None)
if _MALLINFO2 is not None:
    _MALLINFO2.restype = _MallInfo2


def quiesced_reading(pause_s: float = 0.2) -> dict[str, Any]:
    """Collect garbage, give free memory back, and read.

    Keys: blocks (sys.getallocatedblocks), objects (tracked by the collector), heap (bytes malloc has handed out, null
    where glibc is too old), threads, and the fields of harness.agent.proc.sample for this process.
    """
    time.sleep(pause_s)
    for _ in range(3):  # finalisers may leave garbage of their own
        if gc.collect() == 0:
            break
    _clear_type_cache()
    objects = len(gc.get_objects())  # a long list for a moment: before free memory is given back
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
    blocks = sys.getallocatedblocks()
    return {
        "blocks": blocks,
        "objects": objects,
        "heap": _heap(),
        "python_threads": threading.active_count(),
        **proc.sample(os.getpid()),
    }


def _clear_type_cache() -> None:
    """Drop CPython's cache of attribute look-ups: up to 4,096 names, each kept alive by it where a program makes its
    attribute names anew (an RPC dispatcher does). It fills slowly, and looks like a leak until it is full."""
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()


def _heap() -> int | None:
    if _MALLINFO2 is None:
        return None
    info = _MALLINFO2()
    return int(info.uordblks + info.hblkhd)
