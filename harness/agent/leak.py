"""A leak made on purpose, in known amounts, to see whether it is found: what calibration and tests dose.

A task's `leak` is {"what", "per_operation", "size"}: so many per operation of

| what    | is                                                              |
|---------|-----------------------------------------------------------------|
| objects | Python objects of one allocated block each                      |
| bytes   | native blocks of `size` bytes, outside Python's heap            |
| fds     | open file descriptors                                           |
| threads | threads that wait                                               |
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any, Mapping

__all__ = ["LEAKS", "Leak", "Leaked"]

LEAKS = ("objects", "bytes", "fds", "threads")


class Leaked:
    """What is left behind; it knows the one before, so that nothing else is needed to keep it."""

    __slots__ = ("previous",)

    def __init__(self, previous: Leaked | None) -> None:
        self.previous = previous


class Leak:
    """Leaves something behind per operation. Thread-safe."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._per_operation = float(plan.get("per_operation", 1.0))
        self._size = int(plan.get("size", 100))
        self._lock = threading.Lock()
        self._owed = 0.0
        self._last: Leaked | None = None
        self._leave = getattr(self, "_" + plan["what"])
        self._forever = threading.Event()
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = (ctypes.c_size_t,)
        self._malloc = libc.malloc

    def operation(self) -> None:
        """Leave behind what one operation owes."""
        with self._lock:
            self._owed += self._per_operation
            while self._owed >= 1.0:
                self._owed -= 1.0
                self._leave()

    def _objects(self) -> None:
        self._last = Leaked(self._last)

    def _bytes(self) -> None:
        ctypes.memset(self._malloc(self._size), 0xA5, self._size)

    def _fds(self) -> None:
        os.dup(2)

    def _threads(self) -> None:
        threading.Thread(target=self._forever.wait, daemon=True).start()
