"""Fanouts by hand: who got what when, and which message reached everybody."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.agent.records import REQUEUED, WARMUP
from harness.analysis.fanout import take_fanouts

MS = 1_000_000


def agent(index: int, role: str, targets: list[str]) -> Any:
    return SimpleNamespace(
        index=index, role=role, name=f"{role}-{index}", workload="tell", pattern="rpc-fanout", targets=targets
    )


def columns(names: str, rows: list[tuple[int, ...]]) -> dict[str, Any]:
    types = {"agent": np.uint16, "peer": np.uint16, "seq": np.uint32, "target": np.uint16, "flags": np.uint16}
    types["status"] = np.uint16
    keys = names.split()
    return {key: np.array([row[at] for row in rows], types.get(key, np.int64)) for at, key in enumerate(keys)}


def test_last_receiver_completeness_and_each_server() -> None:
    servers = [agent(0, "server", ["a"]), agent(1, "server", ["a"]), agent(2, "server", ["b"])]
    record: Any = SimpleNamespace(agents=[*servers, agent(3, "client", ["a", "b"])])
    operations = columns(
        "agent seq target status flags due_ns",
        [
            (3, 0, 0, 0, WARMUP, 0),
            (3, 1, 0, 0, 0, 10 * MS),  # both servers
            (3, 2, 1, 0, 0, 20 * MS),  # topic b: one server
            (3, 3, 0, 0, 0, 30 * MS),  # one of two
            (3, 4, 0, 1, 0, 40 * MS),  # refused by the bus
            (3, 5, 0, 0, 0, 50 * MS),  # nobody
        ],
    )
    deliveries = columns(
        "agent peer seq flags received_ns",
        [
            (0, 3, 0, WARMUP, 1 * MS),
            (1, 3, 0, WARMUP, 1 * MS),
            (1, 3, 1, 0, 17 * MS),
            (0, 3, 1, 0, 12 * MS),
            (0, 3, 1, 0, 99 * MS),  # again
            (2, 3, 2, 0, 23 * MS),
            (0, 3, 3, REQUEUED, 31 * MS),  # given back
            (0, 3, 3, 0, 35 * MS),
            (1, 3, 4, 0, 44 * MS),
        ],
    )
    fanout = take_fanouts(record, operations, deliveries)["tell"]
    assert (fanout.servers, fanout.messages, fanout.complete, fanout.copies) == (2, 4, 2, 4)
    assert list(fanout.last) == [3 * MS, 7 * MS]
    assert {name: list(waits) for name, waits in fanout.per_server.items()} == {
        "server-0": [2 * MS, 5 * MS],
        "server-1": [7 * MS],
        "server-2": [3 * MS],
    }


def test_nothing_sent_is_nothing() -> None:
    record: Any = SimpleNamespace(agents=[agent(0, "server", ["a"]), agent(3, "client", ["a"])])
    empty = take_fanouts(
        record,
        columns("agent seq target status flags due_ns", []),
        columns("agent peer seq flags received_ns", [(0, 9, 1, 0, 5)]),
    )["tell"]
    assert (empty.messages, empty.complete, empty.copies, len(empty.last)) == (0, 0, 0, 0)
