"""Whether a cell that drains waits for its messages, and no longer."""

from __future__ import annotations

from typing import Any

import pytest

from harness.lab.arrivals import Arrivals
from harness.store.schema import AgentRecord


def agent(index: int, role: str, pattern: str, **task: Any) -> AgentRecord:
    names = dict.fromkeys(("node", "site", "workload", "bus", "bus_node", "stack", "adapter"), "x")
    told = {"index": index, "name": f"{role}-{index}", "role": role, "pattern": pattern, "targets": ["t"], "task": task}
    return AgentRecord.model_validate({**names, **told})


def cell(pattern: str, servers: int, **task: Any) -> Arrivals:
    return Arrivals(
        [agent(0, "client", pattern), *(agent(n, "server", pattern, **task) for n in range(1, servers + 1))]
    )


def counts(sent: int, *servers: int) -> dict[int, dict[str, int]]:
    return {index: {"done": done} for index, done in enumerate((sent, *servers))}


@pytest.mark.parametrize(
    ("pattern", "missing", "whole"),
    [
        ("rpc-cast", (4, 5), (4, 6)),
        ("rpc-fanout", (10, 9), (10, 10)),
        ("notify", (9, 0), (9, 1)),
    ],
)
def test_it_waits_for_every_copy_and_until_nothing_more_comes(
    pattern: str, missing: tuple[int, ...], whole: tuple[int, ...]
) -> None:
    arrivals = cell(pattern, 2)
    assert arrivals.awaited(counts(10, *missing), 100.0)
    assert arrivals.awaited(counts(10, *missing), 160.0), "what is missing is waited for as long as the drain takes"
    assert arrivals.awaited(counts(10, *whole), 161.0), "it may be one that came twice"
    assert not arrivals.awaited(counts(10, *whole), 163.0)
    assert arrivals.awaited(counts(10, whole[0] + 1, *whole[1:]), 164.0)


def test_nobody_waits_for_calls_or_where_nobody_listens() -> None:
    assert not cell("rpc-call", 2).awaited(counts(10, 0, 0), 100.0)
    assert not cell("rpc-cast", 0).awaited(counts(10), 100.0)


def test_what_a_listener_gave_back_has_yet_to_arrive() -> None:
    arrivals = cell("notify", 1)
    back = {0: {"done": 10}, 1: {"done": 10, "given_back": 1}}
    assert arrivals.awaited(back, 100.0)
    assert arrivals.awaited(back, 109.0)
    back[1] = {"done": 11, "given_back": 1}
    assert arrivals.awaited(back, 110.0)
    assert not arrivals.awaited(back, 112.0)


def test_what_a_server_refused_has_arrived() -> None:
    arrivals = cell("rpc-cast", 1)
    refused: dict[int, dict[str, Any]] = {0: {"done": 10}, 1: {"done": 7, "failed": {"serve:Refused": 3}}}
    assert arrivals.awaited(refused, 100.0)
    assert not arrivals.awaited(refused, 102.0)


def test_agents_that_tell_seldom_are_given_their_turns() -> None:
    arrivals = cell("rpc-cast", 1, progress_s=4.0)
    assert arrivals.awaited(counts(10, 10), 100.0)
    assert arrivals.awaited(counts(10, 10), 105.0)
    assert not arrivals.awaited(counts(10, 10), 107.0)
