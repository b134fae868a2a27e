"""The ledger against small hand-made accounts, and closed for every random one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.records import NOBODY, REQUEUED
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


MS = 1_000_000


def ledger(record: CellRecord, sent: Sequence[tuple[int, ...]], got: Sequence[tuple[int, ...]]) -> Ledger:
    """sent: (agent, seq, status[, sent at ms]), due when sent, ended 1 ms later; default: a millisecond apart.

    got: (receiver, sender, seq[, flags[, received at ms]]); default: half a millisecond after it was sent by default.
    """
    operations = np.array([(*s, *(s[1],)[: 4 - len(s)]) for s in sent], np.int64).reshape(-1, 4).T
    half = MS // 2
    deliveries = np.array([(*g, *(0, g[2])[len(g) - 3 :]) for g in got], np.int64).reshape(-1, 5).T
    at = operations[3] * MS
    return take_ledger(
        record,
        {
            "agent": operations[0].astype(np.uint16),
            "seq": operations[1].astype(np.uint32),
            "target": np.zeros(len(at), np.uint16),
            "peer": np.full(len(at), NOBODY, np.uint16),
            "status": operations[2].astype(np.uint16),
            "flags": np.zeros(len(at), np.uint16),
            "due_ns": at,
            "sent_ns": at,
            "done_ns": at + MS,
        },
        {
            "agent": deliveries[0].astype(np.uint16),
            "peer": deliveries[1].astype(np.uint16),
            "seq": deliveries[2].astype(np.uint32),
            "flags": deliveries[3].astype(np.uint16),
            "due_ns": deliveries[2] * MS,
            "received_ns": deliveries[4] * MS + half,
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
    record = cell(
        agent(1, "client", pattern), agent(2, "server", pattern), agent(3, "server", pattern, site="elsewhere")
    )
    account = ledger(record, [(1, i, s) for i, s in enumerate(statuses)], [(who, 1, seq) for seq, who in arrivals])
    row = Total(account)
    assert row.finished == row.accepted + row.failed == len(statuses)
    assert row.expected == row.delivered + row.lost + row.expired + row.unaccounted
    assert row.lost >= 0
    assert row.delivered + row.failed_delivered + row.unrecorded + row.duplicated == len(arrivals)
    assert sum(kind.count for kind in account.failures) == row.failed
    assert all(one.expected == one.delivered + one.lost for one in account.rows)
    assert all(sum(one.failures.values()) == one.failed for one in account.rows)
    assert row.reordered + row.duplicated <= len(arrivals)


class Total:
    """The sums over a ledger's rows."""

    def __init__(self, account: Ledger) -> None:
        self._rows = account.rows

    def __getattr__(self, name: str) -> int:
        return sum(int(getattr(row, name)) for row in self._rows)


def test_each_site_that_serves_has_an_account_of_its_own() -> None:
    record = cell(
        agent(1, "client", targets=["near", "far"]),
        agent(2, "server", targets=["near"], site="here"),
        agent(3, "server", targets=["far"], site="there"),
    )
    account = take_ledger(
        record,
        {
            **dict.fromkeys(("flags", "status"), np.array([0, 0, 0], np.uint16)),
            **dict.fromkeys(("due_ns", "sent_ns", "done_ns"), np.arange(3) * MS),
            "agent": np.array([1, 1, 1], np.uint16),
            "seq": np.array([0, 1, 2], np.uint32),
            "target": np.array([0, 1, 1], np.uint16),
            "peer": np.full(3, NOBODY, np.uint16),
        },
        {
            "agent": np.array([2, 3, 3], np.uint16),
            "peer": np.array([1, 1, 1], np.uint16),
            "seq": np.array([0, 1, 2], np.uint32),
            "flags": np.zeros(3, np.uint16),
            "due_ns": np.arange(3) * MS,
            "received_ns": np.arange(3) * MS,
        },
    )
    assert account.closed
    assert [(row.server_site, row.accepted, row.delivered) for row in account.rows] == [("here", 1, 1), ("there", 2, 2)]


def test_reordering_is_counted_per_receiver() -> None:
    record = cell(agent(1, "client", "rpc-cast"), agent(2, "server", "rpc-cast"), agent(3, "server", "rpc-cast"))
    sent = [(1, seq, 0) for seq in range(5)]
    got = [(2, 1, 0, 0, 10), (2, 1, 2, 0, 11), (2, 1, 1, 0, 12), (2, 1, 2, 0, 13), (3, 1, 4, 0, 9), (3, 1, 3, 0, 20)]
    row = ledger(record, sent, got).rows[0]
    assert (row.reordered, row.duplicated, row.lost) == (2, 1, 0), "a duplicate is not reordered too"
    turned = [(1, 0, 0, 5), (1, 1, 0, 3)]
    assert ledger(record, turned, [(2, 1, 1, 0, 6), (2, 1, 0, 0, 7)]).rows[0].reordered == 0, "by when they were sent"


def test_late_and_impossible_arrivals_where_clocks_are_shared() -> None:
    record = cell(agent(1, "client", "rpc-cast", task={"timeout_s": 2}), agent(2, "server", "rpc-cast"))
    sent, got = [(1, 0, 0), (1, 1, 0, 500)], [(2, 1, 0, 0, 2001), (2, 1, 1, 0, 400)]
    apart = ledger(record, sent, got).rows[0]
    assert (apart.late, apart.negative) == (0, 0)
    shared = record.model_copy(update={"facts": {"clock": {"shared": True}}})
    row = ledger(shared, sent, got).rows[0]
    assert (row.late, row.negative) == (1, 1)


def test_what_had_a_time_to_live_has_expired() -> None:
    client = agent(1, "client", "rpc-cast", task={"ttl_s": 5})
    record = cell(client, agent(2, "server", "rpc-cast")).model_copy(
        update={"phases": {"warmup_s": 0, "duration_s": 10, "drain_s": 2}}
    )
    row = ledger(record, [(1, 0, 0, 1000), (1, 1, 0, 9000)], []).rows[0]
    assert (row.expected, row.expired, row.lost) == (2, 1, 1), "the second may still be waiting for its receiver"


def test_what_was_sent_shortly_before_its_receivers_death_is_not_called_lost() -> None:
    dead = agent(2, "server", "rpc-cast", facts={"killed": True, "died_s": 10.0})
    record = cell(agent(1, "client", "rpc-cast"), dead)
    sent = [(1, 0, 0, 1000), (1, 1, 0, 9000), (1, 2, 0, 11000)]
    row = ledger(record, sent, []).rows[0]
    assert (row.lost, row.unaccounted) == (2, 1)


def test_failures_by_stage_and_time() -> None:
    names = ["call:MessagingTimeout", "call:ConnectionRefusedError", "call:RemoteError.Refused", "call:Whatever"]
    events = [
        {"at_s": at, "due_s": at, "action": action, "target": "b", "bus": "main", "event": 0, "label": "b: restart"}
        for at, action in ((2.0, "stop"), (3.0, "start"))
    ]
    record = cell(agent(1, "client", failures=names), agent(2, "server")).model_copy(
        update={
            "facts": {"process_events": events},
            "phases": {"warmup_s": 0.0, "duration_s": 20.0, "drain_s": 0.0},
        }
    )
    sound = [(1, 100 + at, 0, at * 20) for at in range(1000) if not 100 <= at < 200]
    failed = [(1, 0, 1, 2500), (1, 1, 2, 3600), (1, 2, 3, 5000), (1, 3, 4, 6000), (1, 4, 1, 7000)]
    account = ledger(record, [*sound, *failed], [(2, 1, seq, 0, at) for _, seq, _, at in sound])
    found = {(kind.name, kind.stage, kind.when): kind.count for kind in account.failures}
    assert found == {
        ("call:MessagingTimeout", "wait", "fault"): 1,
        ("call:ConnectionRefusedError", "connect", "fault"): 1,
        ("call:RemoteError.Refused", "serve", "measured"): 1,
        ("call:Whatever", "other", "measured"): 1,
        ("call:MessagingTimeout", "wait", "measured"): 1,
    }
    assert account.rows[0].failures["call:MessagingTimeout"] == 2


def test_what_is_still_under_way_is_what_never_ended() -> None:
    servers = agent(2, "server")
    record = cell(agent(1, "client", counters={"sent": 3, "in_flight": 2}), servers)
    account = ledger(record, [(1, 0, 0)], [(2, 1, 0)])
    assert account.closed
    assert (account.rows[0].in_flight, account.rows[0].unfinished) == (2, 2)
    wrong = cell(agent(1, "client", counters={"sent": 3, "in_flight": 1}), servers)
    assert "1 operations were still under way" in ledger(wrong, [(1, 0, 0)], [(2, 1, 0)]).faults[0]
    full = cell(agent(1, "client"), agent(2, "server", counters={"lost_records": 7}))
    assert ledger(full, [(1, 0, 0)], [(2, 1, 0)]).faults == ("server-2 could not write 7 records",)
