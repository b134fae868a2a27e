"""Measuring on a machine that may be busy with other things."""

from __future__ import annotations

import time
from collections.abc import Callable


def least(measure: Callable[[], float], below: float) -> float:
    """The least of what is measured, again and again until one is below a bound, or for a minute.

    A busy machine makes a single measurement as late as it likes, and never early: the least says how far a link is.
    """
    deadline = time.monotonic() + 60
    found = measure()
    while found >= below and time.monotonic() < deadline:
        found = min(found, measure())
    return found
