"""What messages carry: printable text of the sizes the task asks for, different from message to message."""

from __future__ import annotations

import random
import string
import threading
from typing import TYPE_CHECKING, Any, Mapping

from harness.agent.draw import make_draw

if TYPE_CHECKING:
    from harness.agent.draw import Draw

__all__ = ["Payloads"]

#: Sizes above this are cut to it: what a broker takes by default.
LARGEST = 128 * 1024 * 1024

_ALPHABET = string.ascii_letters + string.digits


class Payloads:
    """Draws payloads: windows into one block of seeded random text, so that none is made letter by letter."""

    def __init__(self, spec: Mapping[str, Any], seed: int) -> None:
        self._draw: Draw = make_draw(spec, seed, "bytes")
        self._source = random.Random(seed)
        self._block = ""
        self._lock = threading.Lock()

    def next(self, number: int) -> str:
        """The payload of operation `number`. Sizes are drawn in the order of the calls."""
        with self._lock:
            size = min(LARGEST, max(0, round(self._draw())))
            block = self._block
            if len(block) < size + 64:
                block = self._block = "".join(self._source.choices(_ALPHABET, k=size + 64))
        start = number & 63
        return block[start : start + size]
