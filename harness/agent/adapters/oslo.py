"""The oslo.messaging adapter: RPC and notifications over the rabbit and amqp1 drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.agent.adapters.oslo_notify import NotificationListener, NotificationSender
from harness.agent.adapters.oslo_rpc import RpcSender, RpcServer
from harness.agent.adapters.oslo_transport import configure, notification_transport, rpc_transport
from harness.agent.task import CHURN

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.task import Task

__all__ = ["OsloAdapter"]


class OsloAdapter:
    """RPC and notifications through oslo.messaging."""

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
