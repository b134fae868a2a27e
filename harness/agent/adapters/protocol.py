"""What a workload adapter is: it performs and receives operations with one client library.

An adapter measures nothing and counts nothing: it only does what it is told and lets exceptions through. One
contract suite (tests/agent/test_adapters.py) covers all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = ["Adapter", "Handler", "Receiver", "Sender"]


class Handler(Protocol):
    """What a receiver calls for each message, from any of its threads.

    Returns True when the message is dealt with, False when it is to be given back to the bus. Raises what the
    requester is to see as a failure of its request.
    """

    def __call__(self, sender: int, seq: int, due: int, flags: int, payload: str, target: int) -> bool: ...


class Sender(Protocol):
    """The client half, made for one task. `send` is called from several threads at once."""

    def warm_up(self) -> bool:
        """Connect ahead of the load, without touching the measured topics. Whether it is known to be connected."""

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        """Perform one operation of the task's pattern on topic number `target`.

        Returns the agent that answered (records.NOBODY where the pattern has no answer). Raises on failure, with
        the client library's own exception; WrongReply where the answer does not belong to the request.
        """

    def close(self) -> None:
        """Close all connections."""


class Receiver(Protocol):
    """The server half, made for one task and one handler."""

    def start(self) -> None:
        """Return when messages sent from now on will be received."""

    def stop(self) -> None:
        """Stop receiving, let handlers under way end, close all connections."""


class Adapter(Protocol):
    """One client library."""

    def open_sender(self, task: Task) -> Sender:
        """The client half for a task."""

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        """The server half for a task."""
