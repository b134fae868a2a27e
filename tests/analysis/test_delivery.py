"""The ledger against small hand-made accounts, and closed for every random one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.records import REQUEUED
from harness.analysis.delivery import Ledger, take_ledger
from harness.store.schema import AgentRecord, CellRecord


def agent(index: int, role: str, pattern: str = "rpc-call", **more: Any) -> AgentRecord:
    names = {"node": "n", "site": "s", "workload": "w", "bus": "main", "bus_node": "b", "stack": "x", "adapter": "oslo"}
    return AgentRecord.model_validate(
        {"index": index, "name": f"{role}-{index}", "role": role, "pattern": pattern, "targets": ["t"], **names, **more}
    )


def cell(*agents: AgentRecord) -> CellRecord:
    nothing: dict[str, Any] = {"sites": [], "nodes": [], "links": [], "buses": [], "stacks": [], "pairs": []}
    head = {
        "id": "c",
        "system": "s",
        "point": {},
        "repetition": 1,
        "order": 0,
        "seed": 0,
        "state": "valid",
        "phases": {},
    }
    return CellRecord.model_validate({**head, **nothing, "state": "valid", "phases": {}, "agents": list(agents)})


def ledger(record: CellRecord, sent: list[tuple[int, int, int]], got: list[tuple[int, ...]]) -> Ledger:
    """sent: (agent, seq, status); got: (receiver, sender, seq[, flags])."""
    operations = np.array([(a, q, 0, s) for a, q, s in sent], np.int64).reshape(-1, 4).T
    deliveries = np.array([(*g, 0)[:4] for g in got], np.int64).reshape(-1, 4).T
    return take_ledger(
        record,
        {
            "agent": operations[0].astype(np.uint16),
            "seq": operations[1].astype(np.uint32),
            "target": operations[2].astype(np.uint16),
            "status": operations[3].astype(np.uint16),
        },
        {
            "agent": deliveries[0].astype(np.uint16),
            "peer": deliveries[1].astype(np.uint16),
            "seq": deliveries[2].astype(np.uint32),
            "flags": deliveries[3].astype(np.uint16),
        },
    )


def test_calls_answered_and_failed() -> None:
    record = cell(agent(1, "client", failures=["call:MessagingTimeout"]), agent(2, "server"))
    account = ledger(record, [(1, 0, 0), (1, 1, 1), (1, 2, 1)], [(2, 1, 0), (2, 1, 1)])
    row = account.rows[0]
    assert account.closed
    assert (row.finished, row.accepted, row.failed, row.delivered, row.lost) == (3, 1, 2, 1, 0)
    assert row.failed_delivered == 1
    assert row.failures == {"call:MessagingTimeout": 2}


def test_a_cast_can_be_lost_and_can_arrive_twice() -> None:
    record = cell(agent(1, "client", "rpc-cast"), agent(2, "server", "rpc-cast"), agent(3, "server", "rpc-cast"))
    account = ledger(record, [(1, 0, 0), (1, 1, 0)], [(2, 1, 0), (3, 1, 0)])
    assert account.closed
    assert (account.rows[0].lost, account.rows[0].duplicated) == (1, 1)


def test_a_fanout_owes_every_server_a_copy() -> None:
    servers = [agent(i, "server", "rpc-fanout") for i in (2, 3, 4)]
    account = ledger(cell(agent(1, "client", "rpc-fanout"), *servers), [(1, 0, 0)], [(2, 1, 0), (3, 1, 0), (3, 1, 0)])
    row = account.rows[0]
    assert account.closed
    assert (row.expected, row.delivered, row.lost, row.duplicated) == (3, 2, 1, 1)


def test_a_notification_owes_every_pool_a_copy() -> None:
    listeners = [
        agent(i, "server", "notify", task={"notify": {"pool": pool}}) for i, pool in ((2, "a"), (3, "a"), (4, "b"))
    ]
    account = ledger(cell(agent(1, "client", "notify"), *listeners), [(1, 0, 0)], [(2, 1, 0), (4, 1, 0)])
    assert (account.rows[0].expected, account.rows[0].lost, account.rows[0].duplicated) == (2, 0, 0)


def test_a_message_given_back_has_not_arrived_yet() -> None:
    record = cell(agent(1, "client", "notify"), agent(2, "server", "notify"))
    account = ledger(record, [(1, 0, 0)], [(2, 1, 0, REQUEUED), (2, 1, 0, 0)])
    assert (account.rows[0].delivered, account.rows[0].duplicated) == (1, 0)


def test_operations_that_never_ended() -> None:
    record = cell(agent(1, "client", counters={"sent": 3}), agent(2, "server"))
    account = ledger(record, [(1, 0, 0)], [(2, 1, 0), (2, 1, 1)])
    assert account.closed
    assert (account.rows[0].unfinished, account.rows[0].unrecorded) == (2, 1)


@pytest.mark.parametrize(
    ("sent", "got", "fault"),
    [
        ([(1, 0, 0)], [(2, 1, 0), (2, 1, 7)], "no record of"),
        ([(1, 0, 0)], [], "without any server's record"),
        ([(1, 0, 0), (1, 0, 0)], [(2, 1, 0)], "recorded 1 operations twice"),
        ([(1, 0, 0)], [(2, 1, 0), (2, 9, 0)], "no agent of this cell"),
    ],
)
def test_counts_that_disagree_are_faults(sent: list[Any], got: list[Any], fault: str) -> None:
    account = ledger(cell(agent(1, "client"), agent(2, "server")), sent, got)
    assert not account.closed
    assert any(fault in text for text in account.faults)


def test_a_killed_server_explains_missing_records() -> None:
    record = cell(agent(1, "client"), agent(2, "server", facts={"killed": True}))
    assert ledger(record, [(1, 0, 0)], []).closed


def test_a_client_that_counted_more_than_its_file_holds() -> None:
    record = cell(agent(1, "client", counters={"done": 1, "failed": {"1": 1}}, rows=1), agent(2, "server"))
    assert ledger(record, [(1, 0, 0)], [(2, 1, 0)]).faults == ("client-1 counted 2 operations, its file holds 1",)


@given(
    statuses=st.lists(st.integers(0, 2), max_size=30),
    arrivals=st.lists(st.tuples(st.integers(0, 29), st.sampled_from([2, 3])), max_size=60),
    pattern=st.sampled_from(["rpc-call", "rpc-cast", "rpc-fanout", "notify"]),
)
def test_every_sum_closes(statuses: list[int], arrivals: list[tuple[int, int]], pattern: str) -> None:
    record = cell(agent(1, "client", pattern), agent(2, "server", pattern), agent(3, "server", pattern))
    row = ledger(record, [(1, i, s) for i, s in enumerate(statuses)], [(who, 1, seq) for seq, who in arrivals]).rows[0]
    assert row.finished == row.accepted + row.failed == len(statuses)
    assert row.expected == row.delivered + row.lost
    assert row.lost >= 0
    assert row.delivered + row.failed_delivered + row.unrecorded + row.duplicated == len(arrivals)
    assert sum(row.failures.values()) == row.failed
