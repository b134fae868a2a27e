"""Failures by what was being done (connect, send, wait, serve) and when (warm-up, measured time, under a fault)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import WARMUP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.store.schema import AgentRecord

__all__ = ["STAGES", "FailureCount", "count_failures", "failure_name", "stage_of"]

#: What an operation was about when it failed, by the exception its client library raised: no connection; not taken by
#: the bus; taken, and no answer or outcome in time; answered with an exception. Names of oslo.messaging, kombu, amqp
#: and python-qpid-proton, and of the agent's own (harness.agent.failures).
STAGES = {
    "connect": (
        "ConnectionRefusedError",
        "ConnectionResetError",
        "ConnectionError",
        "ConnectionForced",
        "ConnectionException",
        "BrokenPipeError",
        "OperationalError",
        "AccessRefused",
        "gaierror",
    ),
    "send": (
        "MessageDeliveryFailure",
        "MessageUndeliverable",
        "SendException",
        "LinkDetached",
        "NotFound",
        "QueueFull",
    ),
    "wait": ("MessagingTimeout", "CallTimeout", "TimeoutError", "Timeout", "timeout"),
    "serve": ("RemoteError", "RemoteFault", "Refused", "Silent"),
}
_STAGE = {name: stage for stage, names in STAGES.items() for name in names}


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Failed operations of one client that are alike.

    Attributes:
        agent: index of the client.
        name: "phase:Class" as the agent named it.
        stage: "connect", "send", "wait" or "serve"; "other" where the exception does not tell.
        when: "warm-up", "fault" (it was under way between a fault of the timeline and when service was back to its
            rate) or "measured".
        count: how many.
    """

    agent: int
    name: str
    stage: str
    when: str
    count: int


def failure_name(agent: AgentRecord, status: int) -> str:
    """The name of a status above 0 of that agent."""
    return agent.failures[status - 1] if status <= len(agent.failures) else "unnamed failure"


def stage_of(name: str) -> str:
    """What an operation with that failure name was about."""
    raised = name.partition(":")[2]
    return _STAGE.get(raised, _STAGE.get(raised.partition(".")[0], "other"))


def count_failures(
    client: AgentRecord, mine: Mapping[str, Any], windows: Sequence[tuple[float, float]]
) -> list[FailureCount]:
    """A client's failed operations by name, stage and time.

    Args:
        mine: its rows: the columns status, flags, due_ns, done_ns.
        windows: load times (from, until) at which faults and their aftermath were under way.
    """
    failed = np.flatnonzero(mine["status"])
    if not len(failed):
        return []
    status = mine["status"][failed].astype(np.int64)
    due, done = mine["due_ns"][failed], mine["done_ns"][failed]
    when = np.zeros(len(failed), np.int64)
    for begin_s, end_s in windows:
        when[(done >= begin_s * 1e9) & (due <= end_s * 1e9)] = 1
    when[(mine["flags"][failed] & WARMUP) != 0] = 2
    counts: dict[tuple[str, str, str], int] = {}
    for code, count in zip(*np.unique(status * 3 + when, return_counts=True), strict=True):
        name = failure_name(client, int(code) // 3)
        key = (name, stage_of(name), ("measured", "fault", "warm-up")[int(code) % 3])
        counts[key] = counts.get(key, 0) + int(count)
    return [FailureCount(client.index, *key, count) for key, count in counts.items()]
