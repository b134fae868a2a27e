"""Client life as a workload, through pyngus: one cycle of making and unmaking per operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Mapping

import pyngus
from proton import Message

from harness.agent.adapters.amqp1 import (
    Churning,
    ConnectionLost,
    Cycle,
    Operation,
    addresses_to,
    new_address,
)
from harness.agent.adapters.pyngus import SendingWire
from harness.agent.adapters.pyngus_loop import Loop, Standing, Wire
from harness.agent.adapters.raw import answering_agent
from harness.agent.failures import RemoteFault, WrongReply

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Sender
    from harness.agent.task import Task

__all__ = ["make_churn_sender"]


def make_churn_sender(task: Task) -> Sender:
    """The client of a churn pattern: connect (a connection), abandon (one that is given up), cast (one with a sender),
    transport (one by which a call is made), link (a pair of links)."""
    return Churning(task, _Links(task) if task.pattern == "churn-link" else _Connections(task))


class _Connections(Loop):
    """Connects and disconnects."""

    def cycle(self, cycle: Cycle) -> None:
        """Begin one (loop's thread)."""
        wire = _PASSING.get(self.task.pattern, _Passing)(self, cycle)
        self.add(wire)
        if self.task.pattern == "churn-abandon":
            self.call(wire.close)  # once connecting has begun


class _Passing(SendingWire):
    """A connection that is closed when it is there."""

    def __init__(self, loop: Loop, cycle: Cycle, address: str | None = None, *, replies: bool = False) -> None:
        super().__init__(loop, [address] if address else [], replies=replies)
        self.cycle = cycle

    def usable(self) -> None:
        self.close()

    def finished(self, operation: Operation, reply: Any = None, error: Exception | None = None) -> None:
        """What is under way when the connection ends is told by `ended`."""

    def ended(self, error: Exception | None) -> None:
        self.cycle.end(None if self.loop.task.pattern == "churn-abandon" else error)

    def begin(self, address: str) -> None:
        """Put the operation of the cycle."""
        cycle, task = self.cycle, self.loop.task
        body = [task.agent, cycle.seq, cycle.due, cycle.flags, cycle.payload]
        self.put(address, Operation(Message(body=body, correlation_id=cycle.seq), self.replies))


class _Casting(_Passing):
    """A connection with a sender that is given a cast nobody takes; closed when the sender is there."""

    def __init__(self, loop: Loop, cycle: Cycle) -> None:
        self._address = new_address(loop.task, cycle.seq)
        super().__init__(loop, cycle, self._address)

    def usable(self) -> None:
        self.begin(self._address)

    def sender_active(self, sender_link: Any) -> None:
        self.close()


class _Calling(_Passing):
    """A connection with a sender and a receiver, by which one call is made."""

    def __init__(self, loop: Loop, cycle: Cycle) -> None:
        topic = loop.task.topics[cycle.target]
        (self._address,) = addresses_to(loop.task, topic.topic, topic.server)
        super().__init__(loop, cycle, self._address, replies=True)

    def usable(self) -> None:
        self.begin(self._address)

    def finished(self, operation: Operation, reply: Any = None, error: Exception | None = None) -> None:
        if error is None:
            try:
                self.cycle.peer = answering_agent(reply, self.loop.task, self.cycle.seq, self.cycle.payload)
            except (RemoteFault, WrongReply) as raised:
                error = raised
        if error is not None:
            self.cycle.end(error)
        self.close()


_PASSING: Mapping[str, Callable[[Loop, Cycle], _Passing]] = {"churn-cast": _Casting, "churn-transport": _Calling}


class _Links(Standing):
    """Opens a sender and a receiver on a new address, and closes them."""

    def make(self) -> _LinksWire:
        return _LinksWire(self)

    def cycle(self, cycle: Cycle) -> None:
        """Begin one (loop's thread)."""
        if self.ready.is_set():
            self.wire.cycle(cycle)
        else:
            cycle.end(ConnectionLost("the connection broke"))


class _LinksWire(Wire, pyngus.SenderEventHandler, pyngus.ReceiverEventHandler):  # type: ignore[misc]
    loop: _Links

    def __init__(self, loop: _Links) -> None:
        super().__init__(loop)
        self._under_way: dict[str, tuple[Cycle, set[Any]]] = {}  # by address; with its links that are still there

    def opened(self) -> None:
        self.loop.usable()

    def cycle(self, cycle: Cycle) -> None:
        """Begin one."""
        address = new_address(self.loop.task, cycle.seq)
        sender = self.connection.create_sender(address, address, self, name=address)
        receiver = self.connection.create_receiver(address, address, self, name=address)
        self._under_way[address] = (cycle, {sender, receiver})
        sender.open()
        receiver.open()

    def sender_active(self, sender_link: Any) -> None:
        sender_link.close()

    def receiver_active(self, receiver_link: Any) -> None:
        receiver_link.close()

    def sender_closed(self, sender_link: Any) -> None:
        self.loop.call(lambda: self._destroy(sender_link))  # which pyngus does not allow from within

    def receiver_closed(self, receiver_link: Any) -> None:
        self.loop.call(lambda: self._destroy(receiver_link))

    def _destroy(self, link: Any) -> None:
        if link.name not in self._under_way:  # gone with its connection
            return
        cycle, links = self._under_way[link.name]
        links.discard(link)
        if not links:
            del self._under_way[link.name]
            cycle.end()
        link.destroy()

    def ended(self, error: Exception | None) -> None:
        under_way, self._under_way = self._under_way, {}
        for cycle, _ in under_way.values():
            cycle.end(ConnectionLost("the connection broke"))
        self.loop.lost()
