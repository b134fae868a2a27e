"""The delivery ledger: what was sent, accepted, delivered, lost, duplicated or failed, counted and not guessed.

Every message carries its sender's index and sequence number, every receiver records what it got; the ledger joins
the two. It covers the warm-up too: a message is lost whenever it is lost.

A ledger is `closed` when every count that was taken in two places agrees. An open one means that recording itself
failed, and a cell with an open ledger is not valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import REQUEUED
from harness.analysis.grouping import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from harness.store.schema import AgentRecord, CellRecord

__all__ = ["DELIVERY_NEEDS", "OPERATION_NEEDS", "Ledger", "LedgerRow", "take_ledger"]

#: Columns of operations.parquet and deliveries.parquet the ledger is made from.
OPERATION_NEEDS = ("agent", "seq", "target", "status")
DELIVERY_NEEDS = ("agent", "peer", "seq", "flags")


#: Patterns whose operations send no message to a server.
_SILENT = frozenset({"churn-connect", "churn-server", "churn-listener"})


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One client agent's account.

    Attributes:
        agent: index of the client agent.
        started: operations it began, as it counted them itself (its records where it left no count).
        finished: operations it recorded the end of.
        unfinished: started - finished: still hanging when it stopped, or lost with a killed process.
        accepted: finished without an error: a call answered, a cast or notification taken by the bus.
        failed: finished with an error or a time-out; accepted + failed = finished.
        expected: copies of accepted messages that should arrive: one each, for a fanout one per server.
        delivered: copies of accepted messages that arrived, each counted once.
        lost: expected - delivered.
        failed_delivered: copies that arrived though their sender saw a failure.
        duplicated: arrivals beyond the first of the same copy.
        unrecorded: copies that arrived without any record of their operation (their sender was killed, or hung).
        failures: failed operations by failure name.
    """

    agent: int
    started: int
    finished: int
    unfinished: int
    accepted: int
    failed: int
    expected: int
    delivered: int
    lost: int
    failed_delivered: int
    duplicated: int
    unrecorded: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All accounts of a cell, and every count that does not agree with another."""

    rows: tuple[LedgerRow, ...]
    faults: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """Whether all sums close."""
        return not self.faults


def take_ledger(record: CellRecord, operations: Mapping[str, Any], deliveries: Mapping[str, Any]) -> Ledger:
    """The ledger of a cell.

    Args:
        record: the cell's agents: who sends, who receives, what they counted themselves.
        operations: the columns OPERATION_NEEDS.
        deliveries: the columns DELIVERY_NEEDS (agent: receiver, peer: sender). A message its receiver gave back to
            the bus has not arrived yet: the bus delivers it again.
    """
    kept = (deliveries["flags"] & REQUEUED) == 0
    deliveries = {name: column[kept] for name, column in deliveries.items()} if not kept.all() else deliveries
    clients = [agent for agent in record.agents if agent.role == "client"]
    servers = [agent for agent in record.agents if agent.role == "server"]
    by_client, none = rows_of(operations["agent"]), np.empty(0, np.intp)
    by_sender = rows_of(deliveries["peer"])
    rows = []
    faults: list[str] = []
    for client in clients:
        sent, got = by_client.get(client.index, none), by_sender.get(client.index, none)
        mine = {name: operations[name][sent] for name in OPERATION_NEEDS}
        arrived = {name: deliveries[name][got] for name in DELIVERY_NEEDS}
        reached = [server for server in servers if server.workload == client.workload]
        row = _account(client, mine, arrived, reached)
        rows.append(row)
        faults += _faults_of(client, row, len(_distinct(mine["seq"])), excused=_excused(client, reached))
    faults += _strangers(deliveries["peer"], clients)
    faults += [fault for client in clients if (fault := _miscounted(client))]
    return Ledger(tuple(rows), tuple(faults))


def _copy_of(pattern: str, server: AgentRecord) -> str:
    """Which copy of a message a server gets: of a fanout each its own, of a notification one per pool, else the one."""
    if pattern == "rpc-fanout":
        return server.name
    if pattern == "notify":
        return str((server.task.get("notify") or {}).get("pool"))
    return ""


def _copies_due(client: AgentRecord, target: int, servers: Sequence[AgentRecord]) -> int:
    """How many copies of a message to that target should arrive; servers that do not say where they listen count."""
    if client.pattern in _SILENT:
        return 0
    name = client.targets[target] if target < len(client.targets) else None
    listening = [s for s in servers if name is None or not s.targets or name in s.targets]
    return max(1, len({_copy_of(client.pattern, server) for server in listening}))


def _account(
    client: AgentRecord, mine: Mapping[str, Any], arrived: Mapping[str, Any], servers: Sequence[AgentRecord]
) -> LedgerRow:
    # A copy is (sequence number, which copy): a call served by two servers has arrived twice, a fanout has not.
    copy_names = sorted({_copy_of(client.pattern, server) for server in servers})
    copy_by_server = np.zeros(1 << 16, np.uint64)
    for server in servers:
        copy_by_server[server.index] = copy_names.index(_copy_of(client.pattern, server))
    copies = arrived["seq"].astype(np.uint64) << np.uint64(16) | copy_by_server[arrived["agent"]]
    distinct = _distinct(copies)
    numbers = distinct >> np.uint64(16)
    ok = mine["status"] == 0
    delivered = _count_in(numbers, _distinct(mine["seq"][ok]))
    failed_delivered = _count_in(numbers, _distinct(mine["seq"][~ok]))
    accepted_by_target = np.bincount(mine["target"][ok])
    expected = sum(int(n) * _copies_due(client, target, servers) for target, n in enumerate(accepted_by_target) if n)
    finished = len(mine["seq"])
    started = int(client.counters.get("sent", finished))
    return LedgerRow(
        agent=client.index,
        started=started,
        finished=finished,
        unfinished=started - finished,
        accepted=int(ok.sum()),
        failed=int((~ok).sum()),
        expected=expected,
        delivered=delivered,
        lost=expected - delivered,
        failed_delivered=failed_delivered,
        duplicated=len(copies) - len(distinct),
        unrecorded=len(distinct) - delivered - failed_delivered,
        failures=_failures(client, mine["status"]),
    )


def _distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct values, ascending. By sorting: what comes nearly sorted is sorted in no time, and numpy's own
    `unique` hashes, which takes ten times as long."""
    ordered = np.sort(values, kind="stable")
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _count_in(numbers: NDArray[np.uint64], wanted: NDArray[Any]) -> int:
    """How many of the sorted `numbers` are among the sorted, distinct `wanted`."""
    if not len(wanted) or not len(numbers):
        return 0
    at = np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)
    return int((wanted[at] == numbers).sum())


def _failures(client: AgentRecord, status: NDArray[Any]) -> dict[str, int]:
    counts = np.bincount(status.astype(np.int64)) if len(status) else np.zeros(1, np.int64)
    named: dict[str, int] = {}
    for code in np.flatnonzero(counts[1:]) + 1:
        name = client.failures[code - 1] if code <= len(client.failures) else "unnamed failure"
        named[name] = named.get(name, 0) + int(counts[code])
    return named


def _excused(client: AgentRecord, servers: Sequence[AgentRecord]) -> bool:
    """Whether a process of this workload was cut off, so that records are missing for a known reason."""
    return any(agent.cut_bytes or agent.facts.get("killed") for agent in (client, *servers))


def _faults_of(client: AgentRecord, row: LedgerRow, distinct: int, *, excused: bool) -> list[str]:
    faults = []
    if distinct != row.finished:
        faults.append(f"{client.name} recorded {row.finished - distinct} operations twice")
    if row.unfinished < 0:
        faults.append(f"{client.name} started {row.started} operations and recorded {row.finished}")
    if row.unrecorded and not row.unfinished and not excused:
        faults.append(f"{row.unrecorded} messages of {client.name} arrived that it has no record of")
    if client.pattern == "rpc-call" and row.lost > 0 and not excused:
        faults.append(f"{row.lost} calls of {client.name} were answered without any server's record")
    if row.lost < 0:
        faults.append(f"{client.name}: {row.delivered} copies arrived where {row.expected} were sent")
    return faults


def _miscounted(client: AgentRecord) -> str | None:
    """What a client counted as ended must be what its file holds, unless the file was cut."""
    if "done" not in client.counters or client.cut_bytes:
        return None
    ended = client.counters["done"] + sum((client.counters.get("failed") or {}).values())
    return f"{client.name} counted {ended} operations, its file holds {client.rows}" if ended != client.rows else None


def _strangers(sender: NDArray[Any], clients: Sequence[AgentRecord]) -> list[str]:
    known = np.zeros(1 << 16, bool)
    known[[client.index for client in clients]] = True
    strangers = int((~known[sender]).sum())
    return [f"{strangers} messages arrived whose sender is no agent of this cell"] if strangers else []
