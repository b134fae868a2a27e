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

    `usable` is called when operations can be put, `finished` for each that is over. pyngus is given what has credit, as
    oslo.messaging does it: what expires in pyngus's own queue leaves its delivery behind (measured, 2.0.2 to 2.3.1).
    """

    def __init__(self, loop: Loop, addresses: list[str], *, replies: bool) -> None:
        super().__init__(loop)
        self._addresses = addresses
        self.replies = replies
        self._links: dict[str, Any] = {}
        self._waiting: dict[str, deque[Operation]] = {address: deque() for address in addresses}  # for credit
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
            self._links[address] = self.connection.create_sender(address, address, self, name=address)
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
        self._waiting[address].append(operation)
        self._flush(address)

    def credit_granted(self, sender_link: Any) -> None:
        self._flush(sender_link.name)

    def _flush(self, address: str) -> None:
        link, waiting = self._links[address], self._waiting[address]
        while waiting and link.credit > 0:
            operation = waiting.popleft()
            if operation.awaits_reply:
                operation.message.reply_to = self._reply_to
                self._by_number[operation.message.correlation_id] = operation
            number = next(self._numbers)
            self._unsettled[number] = operation
            link.send(operation.message, self._settled, number, time.monotonic() + self.loop.task.timeout_s)

    def drop(self, address: str, operation: Operation) -> None:
        """Forget an operation nobody waits for any more; pyngus gives up by itself what it was given."""
        if operation in self._waiting[address]:
            self._waiting[address].remove(operation)
        self._by_number.pop(operation.message.correlation_id, None)

    def _settled(self, link: Any, number: int, outcome: int, info: Any) -> None:
        operation = self._unsettled.pop(number, None)
        if operation is None:
            return
        if outcome != pyngus.SenderLink.ACCEPTED:
            self._by_number.pop(operation.message.correlation_id, None)
            self.finished(operation, error=_OUTCOMES.get(outcome, Modified)(f"outcome {outcome}"))
        elif not operation.awaits_reply:
            self.finished(operation)

    def message_received(self, receiver_link: Any, message: Any, handle: str) -> None:
        receiver_link.message_accepted(handle)
        receiver_link.add_capacity(1)
        operation = self._by_number.pop(message.correlation_id, None)
        if operation is not None:
            self.finished(operation, reply=message.body)

    def ended(self, error: Exception | None) -> None:
        for operation in (*self._unsettled.values(), *itertools.chain.from_iterable(self._waiting.values())):
            self.finished(operation, error=ConnectionLost("the connection broke while the outcome was awaited"))
        for operation in self._by_number.values():
            self.finished(operation, error=ReplyLost("the connection was lost on which the answer would come"))
        self._unsettled, self._by_number, self._waiting = {}, {}, {}


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
        elif self.ready.is_set():
            self.wire.drop(address, operation)

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
    """A server's connection: a receiver per address it listens to, and one sender for all answers."""

    loop: _Receiver

    def __init__(self, loop: _Receiver) -> None:
        super().__init__(loop)
        self._opening = set(loop.targets)
        self._served: dict[int, tuple[Any, str, Message]] = {}  # receiver, handle and message of those being served
        self._numbers = itertools.count()
        self._answers: Any = None  # one sender for all answers: routers keep one to a client that went away

    def opened(self) -> None:
        self._answers = self.connection.create_sender("answers", "", self, name="answers")
        self._answers.open()
        for address in self.loop.targets:
            receiver = self.connection.create_receiver(address, address, self, name=address)
            receiver.add_capacity(CREDIT)
            receiver.open()

    def receiver_active(self, receiver_link: Any) -> None:
        self._opening.discard(receiver_link.name)
        if not self._opening:
            self.loop.usable()

    def sender_remote_closed(self, sender_link: Any, pn_condition: Any) -> None:
        self.connection.close()  # and all is made anew

    receiver_remote_closed = sender_remote_closed

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
        if message.reply_to:
            # Without credit yet pyngus keeps the message until there is.
            self._answers.send(Message(address=message.reply_to, body=answer, correlation_id=message.correlation_id))

    def ended(self, error: Exception | None) -> None:
        self._served = {}
        self.loop.lost()
