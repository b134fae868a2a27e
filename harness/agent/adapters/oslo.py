"""The oslo.messaging adapter: RPC and notifications over the rabbit and amqp1 drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.agent.adapters.oslo_notify import NotificationListener, NotificationSender
from harness.agent.adapters.oslo_rpc import RpcSender, RpcServer
from harness.agent.adapters.oslo_transport import configure, notification_transport, rpc_transport
from harness.agent.task import CHURN, TaskError

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.task import Task

__all__ = ["OsloAdapter"]


class OsloAdapter:
    """RPC and notifications through oslo.messaging."""

    def check(self, task: Task) -> None:
        if task.driver not in ("rabbit", "amqp1"):
            raise TaskError(f"driver: {task.driver!r} is not an oslo.messaging driver this harness knows")
        if task.driver == "amqp1" and task.notify.pool is not None:
            raise TaskError("notify.pool: the amqp1 driver has no pools")
        if task.behaviour.ack and task.behaviour.ack != ("after" if task.pattern == "notify" else "before"):
            raise TaskError("behaviour.ack: oslo.messaging acknowledges RPC before and notifications after processing")
        if task.behaviour.requeue_fraction and task.pattern != "notify":
            raise TaskError("behaviour.requeue_fraction: only notifications can be given back")
        if task.ttl_s is not None:
            raise TaskError("ttl_s: oslo.messaging derives the time to live from the time-out")

    def open_sender(self, task: Task) -> Sender:
        configure(task)
        if task.pattern in CHURN:
            from harness.agent.adapters.oslo_churn import ChurnSender

            return ChurnSender(task)
        if task.pattern == "notify":
            return NotificationSender(task, notification_transport(task))
        return RpcSender(task, rpc_transport(task))

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        configure(task)
        if task.pattern == "notify":
            return NotificationListener(task, notification_transport(task), handler)
        return RpcServer(task, rpc_transport(task), handler)
