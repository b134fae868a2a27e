"""The pyngus adapter: the same workloads through the library beneath oslo.messaging's amqp1 driver, without the driver.

What it sends to, and what counts as a failure: harness.agent.adapters.amqp1.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyngus
from proton import Message

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
from harness.agent.adapters.pyngus_loop import Standing, Wire
from harness.agent.adapters.raw import acknowledges_first, serve
from harness.agent.failures import CallTimeout, ReplyLost
from harness.agent.task import CHURN

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.adapters.pyngus_loop import Loop
    from harness.agent.task import Task

__all__ = ["PyngusAdapter", "SendingWire"]

_OUTCOMES = {
    pyngus.SenderLink.TIMED_OUT: CallTimeout,
    pyngus.SenderLink.ABORTED: ConnectionLost,
    pyngus.SenderLink.RELEASED: Released,
    pyngus.SenderLink.REJECTED: Rejected,
    pyngus.SenderLink.MODIFIED: Modified,
}


class PyngusAdapter:
    """RPC and notifications over pyngus."""

    def open_sender(self, task: Task) -> Sender:
        if task.pattern in CHURN:
            from harness.agent.adapters.pyngus_churn import make_churn_sender

            return make_churn_sender(task)
        return Client(task, _Sending)

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        return _Receiver(task, handler)


class SendingWire(Wire, pyngus.SenderEventHandler, pyngus.ReceiverEventHandler):  # type: ignore[misc]
    """A client's connection: a sender per address, and a receiver with an address the router chooses for replies.

    `usable` is called when operations can be put, `finished` for each that is over.
    """

    def __init__(self, loop: Loop, addresses: list[str], *, replies: bool) -> None:
        super().__init__(loop)
        self._addresses = addresses
        self.replies = replies
        self._links: dict[str, Any] = {}
        self._unsettled: dict[int, Operation] = {}
        self._by_number: dict[int, Operation] = {}
        self._numbers = itertools.count()
        self._reply_to: str | None = None

    def usable(self) -> None:
        """Operations can be put."""

    def finished(self, operation: Operation, reply: Any = None, error: Exception | None = None) -> None:
        """An operation is over."""
        operation.end(reply, error)

    def opened(self) -> None:
        for address in self._addresses:
            self._links[address] = self.connection.create_sender(address, address, self, name=f"to {address}")
            self._links[address].open()
        if self.replies:
            receiver = self.connection.create_receiver("replies", None, self, name="replies")
            receiver.add_capacity(CREDIT)
            receiver.open()
        else:
            self.usable()

    def receiver_active(self, receiver_link: Any) -> None:
        self._reply_to = receiver_link.source_address
        self.usable()

    def sender_remote_closed(self, sender_link: Any, pn_condition: Any) -> None:
        self.connection.close()  # and all is made anew

    receiver_remote_closed = sender_remote_closed

    def put(self, address: str, operation: Operation) -> None:
        """Take an operation over."""
        if operation.awaits_reply:
            operation.message.reply_to = self._reply_to
            self._by_number[operation.message.correlation_id] = operation
        number = next(self._numbers)
        self._unsettled[number] = operation
        deadline = time.monotonic() + self.loop.task.timeout_s
        self._links[address].send(operation.message, self._settled, number, deadline)

    def drop(self, operation: Operation) -> None:
        """Forget an operation nobody waits for any more; pyngus gives its message up by itself."""
        self._by_number.pop(operation.message.correlation_id, None)

    def _settled(self, link: Any, number: int, outcome: int, info: Any) -> None:
        operation = self._unsettled.pop(number, None)
        if operation is None or (outcome == pyngus.SenderLink.ACCEPTED and operation.awaits_reply):
            return
        kind = None if outcome == pyngus.SenderLink.ACCEPTED else _OUTCOMES.get(outcome, Modified)
        self.finished(operation, error=kind and kind(f"outcome {outcome}"))

    def message_received(self, receiver_link: Any, message: Any, handle: str) -> None:
        receiver_link.message_accepted(handle)
        receiver_link.add_capacity(1)
        operation = self._by_number.pop(message.correlation_id, None)
        if operation is not None:
            self.finished(operation, reply=message.body)

    def ended(self, error: Exception | None) -> None:
        for operation in self._unsettled.values():
            self.finished(operation, error=ConnectionLost("the connection broke while the outcome was awaited"))
        for operation in self._by_number.values():
            self.finished(operation, error=ReplyLost("the connection was lost on which the answer would come"))
        self._unsettled, self._by_number = {}, {}


class _Sending(Standing):
    """The loop of a client."""

    def __init__(self, task: Task, addresses: list[str]) -> None:
        super().__init__(task)
        self.addresses = addresses
        self._before: deque[tuple[str, Operation]] = deque()  # what was put while there is no connection

    def make(self) -> _StandingSender:
        return _StandingSender(self, self.addresses, replies=self.task.pattern == "rpc-call")

    def put(self, address: str, operation: Operation) -> None:
        """Take an operation over (loop's thread)."""
        if self.ready.is_set():
            self.wire.put(address, operation)
        else:
            self._before.append((address, operation))

    def drop(self, address: str, operation: Operation) -> None:
        """Forget an operation nobody waits for any more (loop's thread)."""
        if (address, operation) in self._before:
            self._before.remove((address, operation))
        elif self.wire is not None:
            self.wire.drop(operation)

    def usable(self) -> None:
        super().usable()
        while self._before:
            self.put(*self._before.popleft())


class _StandingSender(SendingWire):
    loop: _Sending

    def usable(self) -> None:
        self.loop.usable()

    def ended(self, error: Exception | None) -> None:
        self.loop.lost()
        super().ended(error)


class _Receiver(Standing):
    """The loop of a server, and the threads that serve."""

    def __init__(self, task: Task, handler: Handler) -> None:
        super().__init__(task)
        self.ack_first = acknowledges_first(task)
        self.targets = {
            address: index
            for index, topic in enumerate(task.topics)
            for address in addresses_of(task, topic.topic, topic.server or task.server or task.name)
        }
        self._handler = handler
        self._threads = ThreadPoolExecutor(max_workers=task.workers)

    def make(self) -> _ServingWire:
        return _ServingWire(self)

    def stop(self) -> None:
        self._threads.shutdown(wait=True)
        super().stop()

    def serve(self, wire: _ServingWire, number: int, message: Message, target: int) -> None:
        """Let a thread serve a message (loop's thread)."""
        self._threads.submit(self._serve, wire, number, message.body, bool(message.delivery_count), target)

    def _serve(self, wire: _ServingWire, number: int, body: Any, redelivered: bool, target: int) -> None:
        dealt_with, answer = serve(self.task, self._handler, body, target, redelivered=redelivered)
        self.call(lambda: wire.finish(number, dealt_with, answer))


class _ServingWire(Wire, pyngus.SenderEventHandler, pyngus.ReceiverEventHandler):  # type: ignore[misc]
    """A server's connection: a receiver per address it listens to, and a sender to everyone it answers."""

    loop: _Receiver

    def __init__(self, loop: _Receiver) -> None:
        super().__init__(loop)
        self._opening = set(loop.targets)
        self._served: dict[int, tuple[Any, str, Message]] = {}  # receiver, handle and message of those being served
        self._numbers = itertools.count()
        self._replies: dict[str, Any] = {}

    def opened(self) -> None:
        for address in self.loop.targets:
            receiver = self.connection.create_receiver(address, address, self, name=address)
            receiver.add_capacity(CREDIT)
            receiver.open()

    def receiver_active(self, receiver_link: Any) -> None:
        self._opening.discard(receiver_link.name)
        if not self._opening:
            self.loop.usable()

    def receiver_remote_closed(self, receiver_link: Any, pn_condition: Any) -> None:
        self.connection.close()  # and all is made anew

    def sender_remote_closed(self, sender_link: Any, pn_condition: Any) -> None:
        if self._replies.pop(sender_link.name, None) is not None:  # a client that went away
            sender_link.close()

    def sender_closed(self, sender_link: Any) -> None:
        self.loop.call(lambda: self._destroy(sender_link))  # which pyngus does not allow from within

    def _destroy(self, sender_link: Any) -> None:
        if not self.over:
            sender_link.destroy()

    def message_received(self, receiver_link: Any, message: Any, handle: str) -> None:
        if self.loop.ack_first:
            receiver_link.message_accepted(handle)
        receiver_link.add_capacity(1)
        number = next(self._numbers)
        self._served[number] = (receiver_link, handle, message)
        self.loop.serve(self, number, message, self.loop.targets[receiver_link.name])

    def finish(self, number: int, dealt_with: bool, answer: list[Any]) -> None:
        """Settle a message, and answer it."""
        receiver, handle, message = self._served.pop(number, (None, "", None))
        if receiver is None:  # the connection it came by is gone
            return
        if not self.loop.ack_first:
            if dealt_with:
                receiver.message_accepted(handle)
            else:
                receiver.message_modified(handle, True, False, None)
        address = message.reply_to
        if address:
            link = self._replies.get(address)
            if link is None:
                link = self._replies[address] = self.connection.create_sender(address, address, self, name=address)
                link.open()
            # Without credit yet pyngus keeps the message until there is.
            link.send(Message(body=answer, correlation_id=message.correlation_id))

    def ended(self, error: Exception | None) -> None:
        self._served = {}
        self.loop.lost()
