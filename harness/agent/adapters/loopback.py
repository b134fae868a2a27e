"""The loopback adapter without a bus: operations end where they begin. What is measured is the harness itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.agent.records import NOBODY
from harness.agent.task import TaskError

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler
    from harness.agent.task import Task

__all__ = ["LoopbackAdapter"]


class _Sender:
    def __init__(self, task: Task) -> None:
        self._peer = task.agent if task.pattern == "rpc-call" else NOBODY

    def warm_up(self) -> bool:
        return True

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        return self._peer

    def close(self) -> None:
        pass


class LoopbackAdapter:
    """Clients only: there is nobody else in the process."""

    def check(self, task: Task) -> None:
        if task.role == "server":
            raise TaskError("role: the loopback adapter without a url has no servers")

    def open_sender(self, task: Task) -> _Sender:
        return _Sender(task)

    def open_receiver(self, task: Task, handler: Handler) -> None:
        raise TaskError("role: the loopback adapter without a url has no servers")
