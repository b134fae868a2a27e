"""What the adapters without oslo.messaging share: the form of requests and answers.

A request is [agent, seq, due, flags, payload]. An answer is ["done", agent that answered, agent, seq, payload] or
["raised", name of the exception].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.agent.failures import RemoteFault, WrongReply
from harness.agent.records import REDELIVERED

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler
    from harness.agent.task import Task

__all__ = ["acknowledges_first", "answering_agent", "serve"]


def acknowledges_first(task: Task) -> bool:
    """Whether messages are acknowledged before they are processed: as told, else as oslo.messaging does it."""
    return (task.behaviour.ack or ("after" if task.pattern == "notify" else "before")) == "before"


def answering_agent(answer: Any, task: Task, seq: int, payload: str) -> int:
    """The agent that gave an answer. Raises RemoteFault if it raised, WrongReply if it answers something else."""
    if answer[0] == "raised":
        raise RemoteFault(answer[1])
    if answer[2:] != [task.agent, seq, payload]:
        raise WrongReply(f"asked number {seq}, answered {str(answer)[:200]}")
    return int(answer[1])


def serve(
    task: Task, handler: Handler, request: Any, target: int, *, redelivered: bool = False
) -> tuple[bool, list[Any]]:
    """Let the handler treat a request: whether it is dealt with, and the answer."""
    sender, seq, due, flags, payload = request
    if redelivered:
        flags |= REDELIVERED
    try:
        dealt_with = handler(sender, seq, due, flags, payload, target)
    except Exception as error:
        return True, ["raised", type(error).__name__]
    return dealt_with, ["done", task.agent, sender, seq, payload]
