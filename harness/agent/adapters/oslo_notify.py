"""Notifications through oslo.messaging.

`Notifier` swallows every failure: it logs it and returns as if all were well. The failure is picked out of the log
in the thread that met it, so that the account is honest.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import oslo_messaging

from harness.agent.adapters.oslo_transport import connect
from harness.agent.records import NOBODY

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler
    from harness.agent.task import Task

__all__ = ["NotificationListener", "NotificationSender", "make_listener"]

_EVENT = "harness.operation"


class _Swallowed(logging.Handler):
    """Keeps, per thread, the last exception the notifier logged instead of raising."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and record.exc_info[1] is not None:
            self._local.error = record.exc_info[1]

    def clear(self) -> None:
        self._local.error = None

    def take(self) -> BaseException | None:
        error: BaseException | None = self._local.error
        return error


class NotificationSender:
    """Sends notifications to each of the task's topics, its priorities in turn."""

    def __init__(self, task: Task, transport: Any) -> None:
        self._task = task
        self._transport = transport
        self._swallowed = _Swallowed()
        logging.getLogger("oslo_messaging.notify.messaging").addHandler(self._swallowed)
        self._senders = []
        for topic in task.topics:
            notifier = oslo_messaging.Notifier(
                transport,
                publisher_id=task.name,
                driver=task.notify.driver,
                topics=[topic.topic],
                retry=task.retry,
            )
            self._senders.append([getattr(notifier, priority) for priority in task.notify.priorities])

    def warm_up(self) -> bool:
        return connect(self._transport, self._task)

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        senders = self._senders[target]
        self._swallowed.clear()
        body = {"agent": self._task.agent, "seq": seq, "due": due, "flags": flags, "payload": payload}
        senders[seq % len(senders)]({}, _EVENT, body)
        error = self._swallowed.take()
        if error is not None:
            raise error
        return NOBODY

    def close(self) -> None:
        logging.getLogger("oslo_messaging.notify.messaging").removeHandler(self._swallowed)
        self._transport.cleanup()


def make_listener(task: Task, transport: Any, topic: str, index: int, handler: Handler) -> Any:
    """A listener on one topic, for the priorities the task names."""

    def take(ctxt: Any, publisher_id: str, event_type: str, body: Any, metadata: Any) -> Any:
        dealt_with = handler(body["agent"], body["seq"], body["due"], body["flags"], body["payload"], index)
        results = oslo_messaging.NotificationResult
        return results.HANDLED if dealt_with else results.REQUEUE

    # The listener subscribes to the priorities its endpoint has methods for.
    endpoint = type("Endpoint", (), {priority: staticmethod(take) for priority in task.notify.priorities})()
    return oslo_messaging.get_notification_listener(
        transport,
        [oslo_messaging.Target(exchange=task.exchange, topic=topic)],
        [endpoint],
        executor="threading",
        allow_requeue=task.behaviour.requeue_fraction > 0,
        pool=task.notify.pool,
    )


class NotificationListener:
    """One listener per topic of the task."""

    def __init__(self, task: Task, transport: Any, handler: Handler) -> None:
        self._transport = transport
        self._listeners = [
            make_listener(task, transport, topic.topic, index, handler) for index, topic in enumerate(task.topics)
        ]

    def start(self) -> None:
        for listener in self._listeners:
            listener.start()

    def stop(self) -> None:
        for listener in self._listeners:
            listener.stop()
        for listener in self._listeners:
            listener.wait()
        self._transport.cleanup()
