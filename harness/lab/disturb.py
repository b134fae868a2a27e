"""How the operations of a dose are performed: all at once, or one by one after something happened to the connection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.bus.restart import restart_component
from harness.errors import AgentFailure
from harness.lab.agents import AgentHandle
from harness.lab.conversation import Conversation
from harness.model.memory import KINDS
from harness.plan.cell import CellPlan
from harness.plan.memory import DosePlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lab.dosing import MemoryBench

__all__ = ["Disturbance", "Lockstep", "NeverEnded", "make_disturbance"]

#: Where a dose's event sends the client instead of the bus: the relay's command that opens the way.
_RELAYED = {
    "reset": "open",
    "hangup": "open",
    "refuse": "refuse",
    "drop": "drop",
    "silence": "silence",
    "stall": "stall",
}

#: A cut must last until heartbeats notice it: two of their intervals (harness.plan.memory) and some.
_CUT_S = 9.0
#: How much longer than two time-outs the next success may take.
_PATIENCE_S = 10.0


class NeverEnded(AgentFailure):
    """Operations that do not end: the client is stuck, or the bus is. A finding about the dose, not about the lab."""


class Lockstep:
    """Lets one event meet the clients of several sets: it happens when all are ready for it, and once.

    Used as a context by each set; a set that fails lets the others go, who then fail too.
    """

    def __init__(self, sets: int) -> None:
        self._barrier = threading.Barrier(sets)

    def happen(self, event: Callable[[], None]) -> None:
        """Wait for all sets, and let the event happen. Raises NeverEnded where another set has failed."""
        try:
            if self._barrier.wait() == 0:
                event()
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise NeverEnded("another process of the dose has failed") from None

    def __enter__(self) -> Lockstep:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.abort()

    def abort(self) -> None:
        """Let the others go."""
        self._barrier.abort()


@dataclass(slots=True)
class Disturbance:
    """Performs the operations of a dose.

    Attributes:
        dose: which.
        happen: what is done before each operation, or None where they go at once.
        url: transport URLs that differ from the bus's own, by role.
    """

    dose: DosePlan
    happen: Callable[[], object] | None = None
    url: Mapping[str, str] = field(default_factory=dict)

    def perform(self, client: AgentHandle, count: int) -> None:
        """Perform so many operations and wait for their end. Raises NeverEnded, and AgentFailure if the client dies."""
        task = self.dose.client.task
        if self.happen is None:
            longest_s = self.dose.timeout_s + float(task["schedule"]["pause_s"])
            done = client.report().done
            client.go(time.monotonic(), count=count)
            if KINDS[self.dose.kind].outcome == "success":
                self._while_succeeding(client, done, _PATIENCE_S + 2 * longest_s)
            self._end(client, count, 30.0 + longest_s * (count / int(task["workers"]) + 2))
            return
        transports = int(task.get("transports", 1))
        for _ in range(count // transports):
            self.happen()
            self._until_success(client, transports)

    def _until_success(self, client: AgentHandle, transports: int) -> None:
        """An operation over each connection, again while one fails: what is dosed is the event, and coming back."""
        deadline = time.monotonic() + 4 * self.dose.timeout_s
        while True:
            done = client.report().done
            client.go(time.monotonic(), count=transports)
            self._end(client, transports, 30.0 + 2 * self.dose.timeout_s)
            if client.report().done - done == transports:
                return
            if time.monotonic() > deadline:
                raise NeverEnded(f"it has not come back within {4 * self.dose.timeout_s:g} s", where=client.name)

    def _while_succeeding(self, client: AgentHandle, done: int, patience_s: float) -> None:
        """Wait for the end while operations succeed; give up where none does for so long: the client is stuck, or the
        bus is, and every time-out of what is left of a dose would take hours."""
        while not client.wait_finished(patience_s):
            before, done = done, client.report().done
            if done == before:
                after = f" any more, after {done} that did: none" if done else ""
                raise NeverEnded(f"no operation succeeded{after} in {patience_s:.0f} s", where=client.name)

    def _end(self, client: AgentHandle, count: int, timeout_s: float) -> None:
        if not client.wait_finished(timeout_s):
            raise NeverEnded(f"{count} operations did not end within {timeout_s:.0f} s", where=client.name)


@contextlib.contextmanager
def make_disturbance(
    dose: DosePlan, number: int, bench: MemoryBench, plan: CellPlan, step: Lockstep | None = None
) -> Iterator[Disturbance]:
    """What the dose's event asks for, in force until the context ends.

    Args:
        number: of the set of processes that gets the dose.
        step: for events that all sets share.
    """
    step = step or Lockstep(1)
    agent = dose.client
    if dose.event in _RELAYED:
        with _relay(dose, number, bench) as disturbance:
            yield disturbance
    elif dose.event == "cut":
        there = next(node.site for node in plan.bus(agent.bus).nodes if node.name == agent.bus_node)
        pairs = ((agent.site, there), (there, agent.site))

        def cut() -> None:
            for source, target in pairs:
                bench.shaper.cut(source, target)
            try:
                time.sleep(_CUT_S)
            finally:
                for source, target in pairs:
                    bench.shaper.heal(source, target)

        yield Disturbance(dose, lambda: step.happen(cut))
    elif dose.event == "restart":
        bus = bench.buses[agent.bus]

        def restart() -> None:
            restart_component(bus, agent.bus_node, ready_within_s=dose.timeout_s)

        yield Disturbance(dose, lambda: step.happen(restart))
    else:
        yield Disturbance(dose)


@contextlib.contextmanager
def _relay(dose: DosePlan, number: int, bench: MemoryBench) -> Iterator[Disturbance]:
    """The client connects through a relay on its own node, which ends its connections when told, or never makes any."""
    agent, lab = dose.client, bench.lab
    url = bench.buses[agent.bus].url(agent.bus_node)
    parts = urlsplit(url)
    log = f"relay-{dose.name}-{number}"
    process = lab.start(agent.node, [lab.python, bench.archive[agent.node], "relay"], log=log)
    talk = Conversation(log, process, log_tail=lambda: lab.log_text(log), unasked=lambda message: None)
    try:
        target = {"host": parts.hostname or "", "port": parts.port or 5672} if _RELAYED[dose.event] == "open" else {}
        port = talk.ask(_RELAYED[dose.event], 15.0, **target)["port"]
        credentials = parts.netloc.rpartition("@")[0]
        netloc = (f"{credentials}@" if credentials else "") + f"127.0.0.1:{port}"

        def end_connections() -> None:
            talk.ask(dose.event, 15.0)

        happen = end_connections if target else None
        yield Disturbance(dose, happen, {"client": parts._replace(netloc=netloc).geturl()})
    finally:
        talk.end(2.0)
