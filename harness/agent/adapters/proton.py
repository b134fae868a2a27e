"""The proton adapter: the same workloads over AMQP 1.0 without oslo.messaging, to tell its cost from the wire's.

What it sends to, and what counts as a failure: harness.agent.adapters.amqp1.
"""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from proton import Delivery, Message

from harness.agent.adapters.amqp1 import (
    CREDIT,
    Client,
    ConnectionLost,
    Modified,
    Operation,
    Rejected,
    Released,
    addresses_of,
)
from harness.agent.adapters.proton_loop import Loop
from harness.agent.adapters.raw import acknowledges_first, serve
from harness.agent.failures import ReplyLost
from harness.agent.task import CHURN

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.task import Task

__all__ = ["ProtonAdapter"]

_OUTCOMES = {Delivery.RELEASED: Released, Delivery.REJECTED: Rejected, Delivery.MODIFIED: Modified}


class ProtonAdapter:
    """RPC and notifications over a plain AMQP 1.0 client."""

    def open_sender(self, task: Task) -> Sender:
        if task.pattern in CHURN:
            from harness.agent.adapters.proton_churn import make_churn_sender

            return make_churn_sender(task)
        return Client(task, _Sending)

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        return _Receiver(task, handler)


def _key(delivery: Any) -> tuple[str, str]:
    return delivery.link.name, delivery.tag


class _Sending(Loop):
    """The loop of a client: a sender per topic, and a receiver with an address the router chooses for replies."""

    def __init__(self, task: Task, addresses: list[str]) -> None:
        super().__init__(task, prefetch=CREDIT)
        self._addresses = addresses
        self._wants_replies = task.pattern == "rpc-call"
        self._links: dict[str, Any] = {}
        self._waiting: dict[str, deque[Operation]] = {}
        # By link name and delivery tag. The delivery is kept here alone: see Loop.
        self._unsettled: dict[tuple[str, str], tuple[Operation, Any]] = {}
        self._by_number: dict[int, Operation] = {}
        self._numbers = itertools.count(1)
        self._receiver: Any = None
        self._reply_to: str | None = None

    def opened(self) -> None:
        if self._links:
            return  # after a reconnect Proton opens the links again by itself
        for address in self._addresses:
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

    def put(self, address: str, operation: Operation) -> None:
        """Take an operation over (loop's thread)."""
        self._waiting[address].append(operation)
        self._flush(address)

    def drop(self, address: str, operation: Operation) -> None:
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
            self._by_number.pop(operation.message.correlation_id, None)
            kind = _OUTCOMES.get(delivery.remote_state, Modified)
            operation.end(error=kind(f"outcome {delivery.remote_state}"))

    def on_message(self, event: Any) -> None:
        self.accept(event.delivery)
        operation = self._by_number.pop(event.message.correlation_id, None)
        if operation is not None:
            operation.end(reply=event.message.body)


class _Receiver(Loop):
    """The loop of a server, and the threads that serve."""

    def __init__(self, task: Task, handler: Handler) -> None:
        super().__init__(task, prefetch=CREDIT)
        self._handler = handler
        self._ack_first = acknowledges_first(task)
        self._targets: dict[str, int] = {}
        self._opening: set[str] = set()
        self._answers: Any = None  # one sender for all answers: routers keep one to a client that went away
        self._numbers = itertools.count()
        self._served: dict[int, tuple[Any, Any]] = {}  # delivery and message of those being served: see Loop
        self._threads = ThreadPoolExecutor(max_workers=task.workers)

    def stop(self) -> None:
        self._threads.shutdown(wait=True)
        super().stop()

    def opened(self) -> None:
        if self._targets:
            return
        self._answers = self._container.create_sender(self.connection, None)
        for index, topic in enumerate(self.task.topics):
            for address in addresses_of(self.task, topic.topic, topic.server or self.task.server or self.task.name):
                self._targets[address] = index
                self._opening.add(address)
                self._container.create_receiver(self.connection, address)

    def on_link_opened(self, event: Any) -> None:
        if event.receiver is not None:
            self._opening.discard(event.receiver.source.address)
            if not self._opening:
                self.ready.set()

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
        if message.reply_to:
            # Without credit yet Proton keeps the message until there is.
            self._answers.send(Message(address=message.reply_to, body=answer, correlation_id=message.correlation_id))
