"""What the AMQP 1.0 adapters without oslo.messaging share: addresses, outcomes, and the threads that wait for a loop.

Addresses have the prefixes oslo.messaging's amqp1 driver uses, because routers are configured by them, followed by
a word of our own so that the two can never meet. Every message is sent unsettled and its outcome awaited: released
(nobody takes it), rejected and modified are failures.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, Protocol

from proton import Message

from harness.agent.adapters.raw import answering_agent
from harness.agent.failures import CallTimeout
from harness.agent.records import NOBODY

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = [
    "CREDIT",
    "Churning",
    "Client",
    "ConnectionLost",
    "Cycle",
    "Modified",
    "Operation",
    "Rejected",
    "Released",
    "addresses_of",
    "addresses_to",
    "new_address",
]

#: Messages a receiver lets come before they are settled.
CREDIT = 100


class ConnectionLost(Exception):
    """The connection broke before the outcome was known."""


class Released(Exception):
    """Nobody takes messages on this address."""


class Rejected(Exception):
    """The receiver refuses this message."""


class Modified(Exception):
    """The receiver gave the message back, or is gone."""


def addresses_to(task: Task, topic: str, server: str | None) -> list[str]:
    """Where a client sends to a topic: one address, or for notifications one per priority."""
    if task.pattern == "notify":
        return _by_priority(task, topic)
    return [_address(task, topic, server, fanout=task.pattern == "rpc-fanout")]


def addresses_of(task: Task, topic: str, server: str) -> list[str]:
    """Where a server listens for a topic: for any server, for itself and for all; or for every priority."""
    if task.pattern == "notify":
        return _by_priority(task, topic)
    return [_address(task, topic), _address(task, topic, server), _address(task, topic, fanout=True)]


def new_address(task: Task, number: int) -> str:
    """An address nobody has named before, if the number is new."""
    return _address(task, f"{task.topics[0].topic}-{number:08}")


def _by_priority(task: Task, topic: str) -> list[str]:
    return [_address(task, f"{topic}.{priority}") for priority in task.notify.priorities]


def _address(task: Task, topic: str, server: str | None = None, *, fanout: bool = False) -> str:
    service = "notify" if task.pattern == "notify" else "rpc"
    if fanout:
        return f"openstack.org/om/{service}/multicast/harness/{task.exchange}/{topic}"
    if server is not None:
        return f"openstack.org/om/{service}/unicast/harness/{task.exchange}/{topic}/{server}"
    return f"openstack.org/om/{service}/anycast/harness/{task.exchange}/{topic}"


class Operation:
    """One operation under way, between the thread that waits for it and the loop's thread."""

    def __init__(self, message: Message, awaits_reply: bool) -> None:
        self.message = message
        self.awaits_reply = awaits_reply
        self.key: tuple[str, str] | None = None  # of its delivery, once sent; the loop's own
        self.over = threading.Event()
        self.reply: Any = None
        self.error: Exception | None = None

    def end(self, reply: Any = None, error: Exception | None = None) -> None:
        if not self.over.is_set():
            self.reply, self.error = reply, error
            self.over.set()


class _Loop(Protocol):
    """A client library's connection on a thread of its own. `ready` says that it is there."""

    ready: threading.Event

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def call(self, action: Callable[[], None]) -> None: ...


class _SendingLoop(_Loop, Protocol):
    def put(self, address: str, operation: Operation) -> None: ...

    def drop(self, address: str, operation: Operation) -> None: ...


class _Half:
    """The part of a client half that is the same whatever it hands to its loop."""

    _loop: _Loop

    def warm_up(self) -> bool:
        self._loop.start()
        return True

    def close(self) -> None:
        self._loop.stop()

    def _connect(self) -> None:
        if not self._loop.ready.is_set():
            self._loop.start()


class Client(_Half):
    """The client half of an adapter: hands operations to a loop, and waits for them."""

    _loop: _SendingLoop

    def __init__(self, task: Task, loop: Callable[[Task, list[str]], _SendingLoop]) -> None:
        self._task = task
        self._addresses = [addresses_to(task, topic.topic, topic.server) for topic in task.topics]
        self._loop = loop(task, [address for each in self._addresses for address in each])

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        self._connect()
        task = self._task
        addresses = self._addresses[target]
        message = Message(body=[task.agent, seq, due, flags, payload], correlation_id=seq)
        if task.ttl_s is not None:
            message.ttl = task.ttl_s
        operation = Operation(message, task.pattern == "rpc-call")
        address = addresses[seq % len(addresses)]
        self._loop.call(lambda: self._loop.put(address, operation))
        if not operation.over.wait(task.timeout_s):
            self._loop.call(lambda: self._loop.drop(address, operation))
            raise CallTimeout(f"no outcome within {task.timeout_s:g} s")
        if operation.error is not None:
            raise operation.error
        if not operation.awaits_reply:
            return NOBODY
        return answering_agent(operation.reply, task, seq, payload)


class Cycle:
    """One cycle of client life under way, between the thread that waits for it and the loop's thread."""

    def __init__(self, seq: int, due: int, flags: int, payload: str, target: int) -> None:
        self.seq, self.due, self.flags, self.payload, self.target = seq, due, flags, payload, target
        self.over = threading.Event()
        self.peer = NOBODY
        self.error: Exception | None = None

    def end(self, error: Exception | None = None) -> None:
        if not self.over.is_set():
            self.error = error
            self.over.set()


class _CyclesLoop(_Loop, Protocol):
    def cycle(self, cycle: Cycle) -> None: ...


class Churning(_Half):
    """The client half of an adapter for churn patterns: one cycle of its loop per operation."""

    _loop: _CyclesLoop

    def __init__(self, task: Task, loop: _CyclesLoop) -> None:
        self._task = task
        self._loop = loop

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        self._connect()
        cycle = Cycle(seq, due, flags, payload, target)
        self._loop.call(lambda: self._loop.cycle(cycle))
        if not cycle.over.wait(self._task.timeout_s):
            raise CallTimeout("the cycle did not end in time")
        if cycle.error is not None:
            raise cycle.error
        return cycle.peer
