"""Client life as a workload, through oslo.messaging: one cycle of making, using and unmaking per operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import oslo_messaging

from harness.agent.adapters.oslo_notify import make_listener
from harness.agent.adapters.oslo_rpc import METHOD, call, make_client, make_server
from harness.agent.adapters.oslo_transport import connect, notification_transport, rpc_transport
from harness.agent.records import NOBODY

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = ["ChurnSender"]


class _Deaf:
    """An endpoint for servers that only start and stop."""

    def ping(self, ctxt: Any) -> None:
        """Takes a message and does nothing."""


def _ignore(sender: int, seq: int, due: int, flags: int, payload: str, target: int) -> bool:
    return True


class ChurnSender:
    """Performs the churn pattern its task names; see harness.agent.task.PATTERNS."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._standing: Any = None
        if task.pattern in ("churn-client", "churn-server", "churn-topic"):
            self._standing = rpc_transport(task)
        elif task.pattern == "churn-listener":
            self._standing = notification_transport(task)
        self._cycle = getattr(self, "_" + task.pattern.split("-", 1)[1])

    def warm_up(self) -> bool:
        return self._standing is not None and connect(self._standing, self._task)

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        peer: int = self._cycle(seq, due, flags, payload, target)
        return peer

    def close(self) -> None:
        if self._standing is not None:
            self._standing.cleanup()

    def _connect(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        transport = rpc_transport(self._task)
        try:
            if not connect(transport, self._task):
                raise oslo_messaging.MessageDeliveryFailure("not connected in time")
        finally:
            transport.cleanup()
        return NOBODY

    def _transport(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        transport = rpc_transport(self._task)
        try:
            return self._call(transport, seq, due, flags, payload, target)
        finally:
            transport.cleanup()

    def _cast(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        transport = rpc_transport(self._task)
        try:
            return self._send_to(transport, self._task.topics[target].topic, seq, due, flags, payload)
        finally:
            transport.cleanup()

    def _topic(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        topic = f"{self._task.topics[target].topic}-{seq:08}"
        return self._send_to(self._standing, topic, seq, due, flags, payload)

    def _send_to(self, transport: Any, topic: str, seq: int, due: int, flags: int, payload: str) -> int:
        where = oslo_messaging.Target(exchange=self._task.exchange, topic=topic)
        identity = {"agent": self._task.agent, "seq": seq, "due": due, "flags": flags}
        make_client(transport, where, self._task).cast({}, METHOD, **identity, payload=payload)
        return NOBODY

    def _client(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        return self._call(self._standing, seq, due, flags, payload, target)

    def _call(self, transport: Any, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        topic = self._task.topics[target]
        where = oslo_messaging.Target(exchange=self._task.exchange, topic=topic.topic, server=topic.server)
        return call(make_client(transport, where, self._task), self._task.agent, seq, due, flags, payload)

    def _server(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        topic = f"{self._task.topics[target].topic}-churn-{self._task.agent}"
        where = oslo_messaging.Target(exchange=self._task.exchange, topic=topic, server=self._task.name)
        return _start_and_stop(make_server(self._standing, where, _Deaf()))

    def _listener(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        topic = f"{self._task.topics[target].topic}-churn-{self._task.agent}"
        return _start_and_stop(make_listener(self._task, self._standing, topic, target, _ignore))


def _start_and_stop(server: Any) -> int:
    server.start()
    server.stop()
    server.wait()
    return NOBODY
