"""The proton adapter: the same workloads over AMQP 1.0 without oslo.messaging, to tell its cost from the wire's.

Addresses have the prefixes oslo.messaging's amqp1 driver uses, because routers are configured by them, followed by
a word of our own so that the two can never meet. Every message is sent unsettled and its outcome awaited: released
(nobody takes it), rejected and modified are failures.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from proton import Delivery, Message

from harness.agent.adapters.proton_loop import ConnectionLost, Loop
from harness.agent.adapters.raw import acknowledges_first, answering_agent, serve
from harness.agent.failures import CallTimeout, ReplyLost
from harness.agent.records import NOBODY
from harness.agent.task import CHURN

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.task import Task

__all__ = ["ProtonAdapter"]

_CREDIT = 100


class Released(Exception):
    """Nobody takes messages on this address."""


class Rejected(Exception):
    """The receiver refuses this message."""


class Modified(Exception):
    """The receiver gave the message back, or is gone."""


_OUTCOMES = {Delivery.RELEASED: Released, Delivery.REJECTED: Rejected, Delivery.MODIFIED: Modified}


class ProtonAdapter:
    """RPC and notifications over a plain AMQP 1.0 client."""

    def open_sender(self, task: Task) -> Sender:
        if task.pattern in CHURN:
            from harness.agent.adapters.proton_churn import make_churn_sender

            return make_churn_sender(task)
        return _Sender(task)

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        return _Receiver(task, handler)


def _address(task: Task, topic: str, server: str | None = None, *, fanout: bool = False) -> str:
    service = "notify" if task.pattern == "notify" else "rpc"
    if fanout:
        return f"openstack.org/om/{service}/multicast/harness/{task.exchange}/{topic}"
    if server is not None:
        return f"openstack.org/om/{service}/unicast/harness/{task.exchange}/{topic}/{server}"
    return f"openstack.org/om/{service}/anycast/harness/{task.exchange}/{topic}"


class _Pending:
    """One operation under way, between the thread that waits for it and the loop's thread."""

    def __init__(self, message: Message, awaits_reply: bool) -> None:
        self.message = message
        self.awaits_reply = awaits_reply
        self.key: tuple[str, str] | None = None  # of its delivery, once sent
        self.over = threading.Event()
        self.reply: Any = None
        self.error: Exception | None = None

    def end(self, reply: Any = None, error: Exception | None = None) -> None:
        if not self.over.is_set():
            self.reply, self.error = reply, error
            self.over.set()


def _key(delivery: Any) -> tuple[str, str]:
    return delivery.link.name, delivery.tag


class _Sending(Loop):
    """The loop of a client: a sender per topic, and a receiver with an address the router chooses for replies."""

    def __init__(self, task: Task, addresses: list[list[str]]) -> None:
        super().__init__(task, prefetch=_CREDIT)
        self._addresses = addresses
        self._wants_replies = task.pattern == "rpc-call"
        self._links: dict[str, Any] = {}
        self._waiting: dict[str, deque[_Pending]] = {}
        # By link name and delivery tag. The delivery is kept here alone: see Loop.
        self._unsettled: dict[tuple[str, str], tuple[_Pending, Any]] = {}
        self._by_number: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._receiver: Any = None
        self._reply_to: str | None = None

    def opened(self) -> None:
        if self._links:
            return  # after a reconnect Proton opens the links again by itself
        for address in itertools.chain.from_iterable(self._addresses):
            self._links[address] = self._container.create_sender(self.connection, address)
            self._waiting[address] = deque()
        if self._wants_replies:
            self._receiver = self._container.create_receiver(self.connection, None, dynamic=True)
        else:
            self.ready.set()

    def on_link_opened(self, event: Any) -> None:
        if self._receiver is not None and event.link == self._receiver:
            self._reply_to = event.link.remote_source.address
            for address in self._links:
                self._flush(address)  # what had credit before it had an address for its reply
        self.ready.set()

    def lost(self) -> None:
        self._reply_to = None  # the router chooses another one
        for operation, _ in self._unsettled.values():
            operation.end(error=ConnectionLost("the connection broke while the outcome was awaited"))
        for operation in self._by_number.values():
            operation.end(error=ReplyLost("the connection was lost on which the answer would come"))
        self._unsettled, self._by_number = {}, {}

    def put(self, address: str, operation: _Pending) -> None:
        """Take an operation over (loop's thread)."""
        self._waiting[address].append(operation)
        self._flush(address)

    def drop(self, address: str, operation: _Pending) -> None:
        """Forget an operation nobody waits for any more (loop's thread)."""
        self._by_number.pop(operation.message.correlation_id, None)
        if operation.key is None:
            if operation in self._waiting[address]:
                self._waiting[address].remove(operation)
            return
        _, delivery = self._unsettled.pop(operation.key, (None, None))
        if delivery is not None:
            delivery.settle()

    def on_sendable(self, event: Any) -> None:
        self._flush(event.sender.target.address)

    def _flush(self, address: str) -> None:
        link, waiting = self._links[address], self._waiting[address]
        while waiting and link.credit > 0 and (self._reply_to or not self._wants_replies):
            operation = waiting.popleft()
            if operation.awaits_reply:
                operation.message.reply_to = self._reply_to
                self._by_number[operation.message.correlation_id] = operation
            delivery = link.send(operation.message)
            operation.key = _key(delivery)
            self._unsettled[operation.key] = (operation, delivery)

    def on_accepted(self, event: Any) -> None:
        operation, _ = self._unsettled.pop(_key(event.delivery), (None, None))
        if operation is not None and not operation.awaits_reply:
            operation.end()

    def on_rejected(self, event: Any) -> None:
        self._failed(event.delivery)

    def on_released(self, event: Any) -> None:
        self._failed(event.delivery)

    def _failed(self, delivery: Any) -> None:
        operation, _ = self._unsettled.pop(_key(delivery), (None, None))
        if operation is not None:
            kind = _OUTCOMES.get(delivery.remote_state, Modified)
            operation.end(error=kind(f"outcome {delivery.remote_state}"))

    def on_message(self, event: Any) -> None:
        self.accept(event.delivery)
        operation = self._by_number.pop(event.message.correlation_id, None)
        if operation is not None:
            operation.end(reply=event.message.body)


class _Sender:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._addresses = [self._of(topic.topic, topic.server) for topic in task.topics]
        self._loop = _Sending(task, self._addresses)
        self._started = threading.Lock()

    def _of(self, topic: str, server: str | None) -> list[str]:
        if self._task.pattern == "notify":
            return [_address(self._task, f"{topic}.{priority}") for priority in self._task.notify.priorities]
        return [_address(self._task, topic, server, fanout=self._task.pattern == "rpc-fanout")]

    def warm_up(self) -> bool:
        self._loop.start()
        return True

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        if not self._loop.ready.is_set():
            with self._started:
                self._loop.start()
        task = self._task
        addresses = self._addresses[target]
        message = Message(body=[task.agent, seq, due, flags, payload], correlation_id=seq)
        if task.ttl_s is not None:
            message.ttl = task.ttl_s
        operation = _Pending(message, task.pattern == "rpc-call")
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

    def close(self) -> None:
        self._loop.stop()


class _Receiver(Loop):
    """The loop of a server, and the threads that serve."""

    def __init__(self, task: Task, handler: Handler) -> None:
        super().__init__(task, prefetch=_CREDIT)
        self._handler = handler
        self._ack_first = acknowledges_first(task)
        self._targets: dict[str, int] = {}
        self._opening: set[str] = set()
        self._replies: dict[str, Any] = {}
        self._numbers = itertools.count()
        self._served: dict[int, tuple[Any, Any]] = {}  # delivery and message of those being served: see Loop
        self._threads = ThreadPoolExecutor(max_workers=task.workers)

    def stop(self) -> None:
        self._threads.shutdown(wait=True)
        super().stop()

    def opened(self) -> None:
        self._replies.clear()
        if self._targets:
            return
        for index, topic in enumerate(self.task.topics):
            for address in self._listens(topic.topic, topic.server or self.task.server or self.task.name):
                self._targets[address] = index
                self._opening.add(address)
                self._container.create_receiver(self.connection, address)

    def _listens(self, topic: str, name: str) -> list[str]:
        task = self.task
        if task.pattern == "notify":
            return [_address(task, f"{topic}.{priority}") for priority in task.notify.priorities]
        return [_address(task, topic), _address(task, topic, name), _address(task, topic, fanout=True)]

    def on_link_opened(self, event: Any) -> None:
        if event.receiver is not None:
            self._opening.discard(event.receiver.source.address)
            if not self._opening:
                self.ready.set()

    def on_link_closed(self, event: Any) -> None:
        if event.sender is not None:  # a client that went away
            self._replies.pop(event.sender.target.address, None)
            event.sender.close()

    def on_message(self, event: Any) -> None:
        delivery, message = event.delivery, event.message
        if self._ack_first:
            self.accept(delivery)
        number = next(self._numbers)
        self._served[number] = (delivery, message)
        target = self._targets[event.receiver.source.address]
        self._threads.submit(self._serve, number, message.body, bool(message.delivery_count), target)

    def _serve(self, number: int, body: Any, redelivered: bool, target: int) -> None:
        dealt_with, answer = serve(self.task, self._handler, body, target, redelivered=redelivered)
        self.call(lambda: self._finish(number, dealt_with, answer))

    def _finish(self, number: int, dealt_with: bool, answer: list[Any]) -> None:
        delivery, message = self._served.pop(number)
        if not self._ack_first:
            if dealt_with:
                self.accept(delivery)
            else:
                self.release(delivery, delivered=True)
        address = message.reply_to
        if address:
            link = self._replies.get(address)
            if link is None:
                link = self._replies[address] = self._container.create_sender(self.connection, address)
            # Without credit yet Proton keeps the message until there is.
            link.send(Message(body=answer, correlation_id=message.correlation_id))
