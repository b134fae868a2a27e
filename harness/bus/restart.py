"""Restarting one component of a bus, and how long each part of it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.bus.protocol import Bus

__all__ = ["READY_S", "Restart", "restart_component"]

#: How long a component may take until it takes part again, seconds.
READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """When it happened, seconds of this host's CLOCK_MONOTONIC.

    Attributes:
        began_s: the component was told to stop.
        down_s: it had ended.
        up_s: it was started again.
        ready_s: it took part again: a broker answers (and is back in its cluster), a router sees the others.
    """

    began_s: float
    down_s: float
    up_s: float
    ready_s: float


def restart_component(
    bus: Bus,
    component: str,
    *,
    kill: bool = False,
    down_s: float = 0.0,
    ready_within_s: float = READY_S,
    wait: Callable[[float], object] = time.sleep,
) -> Restart:
    """Stop a component, leave it down for a while, start it again with the data it had, and wait until it takes part.

    Args:
        bus: the bus, started.
        component: its component.
        kill: with SIGKILL instead of politely.
        down_s: least time between its end and its start.
        ready_within_s: how long it may take to take part again.
        wait: how to wait for down_s seconds; may return early.

    Raises:
        BusFailure: it does not end, or does not take part again in time.
    """
    began = time.monotonic()
    bus.stop_component(component, kill=kill)
    down = time.monotonic()
    if down_s > 0:
        wait(down_s)
    up = time.monotonic()
    bus.start_component(component, timeout_s=ready_within_s)
    return Restart(began, down, up, time.monotonic())
