"""What messages carry: printable text of the sizes the task asks for, different from message to message."""

from __future__ import annotations

import random
import string
import threading
from typing import Any, Callable, Mapping

from harness.agent.draw import make_draw

__all__ = ["payloads"]

#: Sizes above this are cut to it: what a broker takes by default.
LARGEST = 128 * 1024 * 1024

_ALPHABET = string.ascii_letters + string.digits


def payloads(spec: Mapping[str, Any], seed: int) -> Callable[[int], str]:
    """A function from the number of an operation to its payload; for any thread.

    Payloads are windows into one block of seeded random text, so that none is made letter by letter. Sizes are drawn
    in the order of the calls.
    """
    draw, source = make_draw(spec, seed, "bytes"), random.Random(seed)
    block, lock = "", threading.Lock()

    def next_size() -> int:
        nonlocal block
        size = min(LARGEST, max(0, round(draw())))
        if len(block) < size + 64:
            block = "".join(source.choices(_ALPHABET, k=size + 64))
        return size

    def drawn(number: int) -> str:
        with lock:
            size, text = next_size(), block
        return text[number & 63 : (number & 63) + size]

    if spec.get("kind", "fixed") != "fixed":
        return drawn
    size = next_size()
    text = block
    return lambda number: text[number & 63 : (number & 63) + size]
