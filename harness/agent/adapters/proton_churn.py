"""Client life as a workload, through Qpid Proton: one cycle of making and unmaking per operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proton.utils import BlockingConnection

from harness.agent.adapters.amqp1 import Churning, ConnectionLost, Cycle, new_address
from harness.agent.adapters.proton_loop import Loop
from harness.agent.records import NOBODY

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Sender
    from harness.agent.task import Task

__all__ = ["make_churn_sender"]


def make_churn_sender(task: Task) -> Sender:
    """The client of a churn pattern: connect and cast (a connection), abandon (one that is given up), link (a pair of
    links), blocking."""
    if task.pattern == "churn-blocking":
        return _Blocking(task)
    return Churning(task, _Links(task) if task.pattern == "churn-link" else _Connections(task))


class _Cycles(Loop, ABC):
    """A loop that performs cycles."""

    @abstractmethod
    def cycle(self, cycle: Cycle) -> None:
        """Begin one (loop's thread)."""


class _Connections(_Cycles):
    """Connects and disconnects.

    All connections are one container's: making a container costs as much as 50 connections (it sets up TLS).
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._under_way: dict[Any, Cycle] = {}

    def opened(self) -> None:
        self.ready.set()

    def on_start(self, event: Any) -> None:
        if self.task.connected:
            super().on_start(event)
        else:  # there is nothing to stay connected to
            self.ready.set()

    def cycle(self, cycle: Cycle) -> None:
        connection = self.connect(reconnect=False)
        if self.task.pattern == "churn-abandon":
            self.call(connection.close)  # once connecting has begun
            self.call(cycle.end)
        else:
            self._under_way[connection] = cycle

    def on_connection_opened(self, event: Any) -> None:
        if event.connection in self._under_way:
            event.connection.close()
        else:
            super().on_connection_opened(event)

    def on_connection_closed(self, event: Any) -> None:
        self._end(event.connection, None)

    def on_disconnected(self, event: Any) -> None:
        # A connection that was refused is reported more than once; only the standing one concerns the loop.
        if self.connection is not None and event.connection == self.connection:
            super().on_disconnected(event)
        else:
            self._end(event.connection, ConnectionLost("the connection broke"))

    def on_transport_closed(self, event: Any) -> None:
        if self.connection is not None and event.connection == self.connection:
            super().on_transport_closed(event)
        else:
            self._end(event.connection, ConnectionLost("the connection broke"))

    def _end(self, connection: Any, error: Exception | None) -> None:
        cycle = self._under_way.pop(connection, None)
        if cycle is not None:
            cycle.end(error)


class _Links(_Cycles):
    """Opens a sender and a receiver on a new address, and closes them."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._under_way: dict[str, tuple[Cycle, set[str]]] = {}

    def opened(self) -> None:
        self.ready.set()

    def cycle(self, cycle: Cycle) -> None:
        address = new_address(self.task, cycle.seq)
        # By itself Proton names links by their address, both alike.
        sender = self._container.create_sender(self.connection, address, name=f"to {address}")
        receiver = self._container.create_receiver(self.connection, address, name=f"from {address}")
        for link in (sender, receiver):
            self._under_way[link.name] = (cycle, {sender.name, receiver.name})

    def on_link_opened(self, event: Any) -> None:
        if event.link.name in self._under_way:
            event.link.close()

    def on_link_closed(self, event: Any) -> None:
        found = self._under_way.pop(event.link.name, None)
        if found is None:
            return
        cycle, open_ones = found
        open_ones.discard(event.link.name)
        other = next(iter(open_ones), None)
        event.link.free()
        if other is None:
            cycle.end()
        elif other in self._under_way:
            self._under_way[other] = (cycle, {other})

    def lost(self) -> None:
        pending, self._under_way = list(self._under_way.values()), {}
        for cycle, _ in pending:
            cycle.end(ConnectionLost("the connection broke"))


class _Blocking:
    """Connects and disconnects with Proton's blocking connection, each in a container of its own."""

    def __init__(self, task: Task) -> None:
        self._task = task
        url = urlsplit(task.url)
        self._where = f"amqp://{url.hostname}:{url.port or 5672}"

    def warm_up(self) -> bool:
        return False

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        BlockingConnection(self._where, timeout=self._task.timeout_s, allowed_mechs="ANONYMOUS").close()
        return NOBODY

    def close(self) -> None:
        pass
