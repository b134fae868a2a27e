"""Being on time: what lets operations begin when they are due on a machine that has more to do.

In the deployments that scenarios describe, a client has processors of its own; in a lab it shares them with servers
and buses. Two things then make operations begin late, and neither is the bus's doing:

- **the run queue**: a worker that wakes waits behind whatever has the processor. A client with due instants (an open
  loop) therefore asks for real-time priority, below the link emulator's. It gives way whenever it waits for its bus;
  where processors do not suffice, what it takes is missing to servers and buses, and their answers come later.
- **the collector**: a full collection goes through all objects of the client's libraries, 57,000 with oslo.messaging,
  holding the interpreter for 60 to 100 ms. What is there before the load is set aside (`gc.freeze`) until memory is
  first read, and from then on is looked at as always: no reading differs by it.
"""

from __future__ import annotations

import gc
import os
from typing import Any

__all__ = ["ask_for_real_time", "set_heap_aside", "take_heap_back"]

#: Below the link emulator's 30 (harness.links.nfqueue.main): packets leave on time first.
_PRIORITY = 10


def ask_for_real_time() -> dict[str, Any]:
    """Ask for real-time priority (SCHED_RR, sched(7)) for the calling thread and all it will start.

    What was granted: class, priority, and refused (why) if it was not. Never raises.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
    except (OSError, AttributeError) as error:
        return {"class": "SCHED_OTHER", "priority": 0, "refused": f"real-time priority: {error}"}
    return {"class": "SCHED_RR", "priority": _PRIORITY}


def set_heap_aside() -> bool:
    """Let full collections leave out what there is now. Whether that was done: a member of a fleet has it from its
    parent, for good, and its memory stays shared only if it is left so."""
    if gc.get_freeze_count():
        return False
    gc.collect()
    gc.freeze()
    return True


def take_heap_back() -> None:
    """Undo `set_heap_aside`, before memory is read or examined."""
    gc.unfreeze()
