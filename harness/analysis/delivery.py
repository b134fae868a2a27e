"""The delivery ledger: what was sent, accepted, delivered, lost, duplicated or failed, counted and not guessed.

Every message carries its sender's index and sequence number, every receiver records what it got; the ledger joins
the two. It covers the warm-up too: a message is lost whenever it is lost.

A ledger is `closed` when every count that was taken in two places agrees. An open one means that recording itself
failed, and a cell with an open ledger is not valid.

Reordering is counted as in RFC 4737, section 3: a message is reordered if one its sender sent later reached the same
receiver before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import REQUEUED
from harness.analysis.failures import FailureCount, count_failures
from harness.analysis.grouping import rows_of
from harness.analysis.recovery import take_recoveries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from harness.store.schema import AgentRecord, CellRecord

__all__ = ["DELIVERY_NEEDS", "OPERATION_NEEDS", "Ledger", "LedgerRow", "copies_due", "still_queued", "take_ledger"]

#: Columns of operations.parquet and deliveries.parquet the ledger is made from.
OPERATION_NEEDS = ("agent", "seq", "target", "peer", "status", "flags", "due_ns", "sent_ns", "done_ns")
DELIVERY_NEEDS = ("agent", "peer", "seq", "flags", "due_ns", "received_ns")


#: Patterns whose operations send no message to a server.
_SILENT = frozenset(
    {
        *("churn-connect", "churn-abandon", "churn-topic", "churn-link", "churn-declare", "churn-evented"),
        *("churn-blocking", "churn-server", "churn-listener"),
    }
)
#: An agent hands its records to the file once a second, and its death is noticed within as much again: what was sent
#: to it so long before may have arrived and its record be lost with it, seconds.
_UNWRITTEN_S = 3.0
#: Instants of one receiver are told from the next one's by this many bits (2^50 ns: 13 days).
_INSTANT_BITS = 50


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One client agent's account with the servers of one site.

    Attributes:
        agent: index of the client agent.
        server_site: where its operations were served, or could only have been; "" where that is not known.
        started: operations it began, as it counted them itself (its records where it left no count).
        finished: operations it recorded the end of.
        unfinished: started - finished: still hanging when it was asked for its account, or lost with a killed process.
        in_flight: those of them it said were still under way at the end of the drain.
        accepted: finished without an error: a call answered, a cast or notification taken by the bus.
        failed: finished with an error or a time-out; accepted + failed = finished.
        expected: copies of accepted messages that should arrive: one each, for a fanout one per server.
        delivered: copies of accepted messages that arrived, each counted once.
        expired: copies that did not, and whose time to live ended before the drain did: the bus may drop them.
        unaccounted: copies that did not, sent to a receiver so shortly before its death that its record may be lost.
        lost: the other copies that did not: expected = delivered + expired + unaccounted + lost.
        failed_delivered: copies that arrived though their sender saw a failure.
        duplicated: arrivals beyond the first of the same copy.
        unrecorded: copies that arrived without any record of their operation (their sender was killed, or hung).
        reordered: copies that reached a receiver after one that was sent later (duplicates left out).
        late: copies that arrived later after they were due than an operation may take (`timeout`); 0 where clocks
            are not shared.
        negative: copies that arrived before they were sent: faults of the clocks; 0 where clocks are not shared.
        failures: failed operations by failure name.
    """

    agent: int
    server_site: str
    started: int
    finished: int
    unfinished: int
    in_flight: int
    accepted: int
    failed: int
    expected: int
    delivered: int
    expired: int
    unaccounted: int
    lost: int
    failed_delivered: int
    duplicated: int
    unrecorded: int
    reordered: int
    late: int
    negative: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All accounts of a cell, its failures by kind, and every count that does not agree with another."""

    rows: tuple[LedgerRow, ...]
    faults: tuple[str, ...]
    failures: tuple[FailureCount, ...] = ()

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
    shared_clock = bool(record.facts.get("clock", {}).get("shared"))
    recoveries = take_recoveries(record, operations, deliveries, shared_clock=shared_clock)
    rows: list[LedgerRow] = []
    faults: list[str] = []
    failures: list[FailureCount] = []
    for client in clients:
        sent, got = by_client.get(client.index, none), by_sender.get(client.index, none)
        mine = {name: operations[name][sent] for name in OPERATION_NEEDS}
        arrived = {name: deliveries[name][got] for name in DELIVERY_NEEDS}
        reached = [server for server in servers if server.workload == client.workload]
        own = list(_Account(record, client, reached, mine, arrived).rows())
        of_these = [one for one in recoveries if (one.workload, one.client_site) == (client.workload, client.site)]
        kinds = count_failures(client, mine, [one.window_s for one in of_these])
        rows += own
        failures += kinds
        faults += _faults_of(client, own, _twice(mine["seq"]), excused=_excused(client, reached))
        if sum(kind.count for kind in kinds) != sum(row.failed for row in own):
            faults.append(f"{client.name}: its failures by kind do not add up")
    faults += _strangers(deliveries["peer"], clients)
    faults += [fault for client in clients if (fault := _miscounted(client))]
    faults += [
        f"{agent.name} could not write {agent.counters['lost_records']} records"
        for agent in record.agents
        if agent.counters.get("lost_records")
    ]
    return Ledger(tuple(rows), tuple(faults), tuple(failures))


def _copy_of(pattern: str, server: AgentRecord) -> str:
    """Which copy of a message a server gets: of a fanout each its own, of a notification one per pool, else the one."""
    if pattern == "rpc-fanout":
        return server.name
    if pattern == "notify":
        return str((server.task.get("notify") or {}).get("pool"))
    return ""


def _listening(client: AgentRecord, target: int, servers: Sequence[AgentRecord]) -> list[AgentRecord]:
    """The servers a message to that target may reach; those that do not say where they listen count."""
    name = client.targets[target] if target < len(client.targets) else None
    return [server for server in servers if name is None or not server.targets or name in server.targets]


def copies_due(client: AgentRecord, target: int, servers: Sequence[AgentRecord]) -> int:
    """How many copies of a message to that target, an index of the client's, its workload's servers should get."""
    if client.pattern in _SILENT:
        return 0
    return max(1, len({_copy_of(client.pattern, server) for server in _listening(client, target, servers)}))


def still_queued(record: CellRecord) -> dict[str, int]:
    """Messages of each workload that the bus still held after the drain, by its own word: accepted, neither delivered
    nor dropped. A bus that keeps messages in queues tells (RabbitMQ); routers keep none."""
    topics = {topic: agent.workload for agent in record.agents for topic in agent.targets}
    found: dict[str, int] = {}
    for components in (record.facts.get("bus_metrics_after") or {}).values():
        for figures in components.values():
            for queue, count in (figures.get("holding") or {}).items():
                names = [
                    topic for topic in topics if queue == topic or queue.startswith((f"{topic}.", f"{topic}_fanout"))
                ]
                if names:
                    workload = topics[max(names, key=len)]
                    found[workload] = found.get(workload, 0) + int(count)
    return found


class _Account:
    """One client's operations joined with what of them arrived.

    Args:
        record: the cell.
        client: the sender.
        servers: those of its workload.
        mine: its operations.
        arrived: the deliveries that name it as their sender.
    """

    def __init__(
        self,
        record: CellRecord,
        client: AgentRecord,
        servers: Sequence[AgentRecord],
        mine: Mapping[str, Any],
        arrived: Mapping[str, Any],
    ) -> None:
        self.client = client
        self.servers = servers
        self.mine = mine
        self.arrived = arrived
        self.end_s = sum(float(record.phases.get(name, 0.0)) for name in ("warmup_s", "duration_s", "drain_s"))
        self.shared = bool(record.facts.get("clock", {}).get("shared"))
        self.sites = ["", *dict.fromkeys(server.site for server in servers)]
        self.ok = mine["status"] == 0
        self.first = self._first_arrivals()
        self.operation, self.known = self._join()
        self.site = self._sites_of_operations()
        self.arrival_site = self._sites_of_arrivals()
        self.missing, self.owed = self._missing()

    def rows(self) -> Iterator[LedgerRow]:
        """One per site its operations were, or could only have been, served at."""
        present = set(np.flatnonzero(np.bincount(np.concatenate([self.site, self.arrival_site]))).tolist())
        hanging_at = next(iter(present)) if len(present) == 1 else self._only_site()
        codes = sorted(present | ({hanging_at} if self._hanging() or not present else set()))
        reordered, late, negative = self._instants()
        for code in codes:
            ops, there = self.site == code, self.arrival_site == code
            yield self._row(code, ops, there, reordered, late, negative, hanging=code == hanging_at)

    def _row(
        self,
        code: int,
        ops: NDArray[np.bool_],
        there: NDArray[np.bool_],
        reordered: NDArray[np.bool_],
        late: NDArray[np.bool_],
        negative: NDArray[np.bool_],
        *,
        hanging: bool,
    ) -> LedgerRow:
        first = self.first & there
        of_ok = self.ok[self.operation] if len(self.ok) else np.zeros(len(there), bool)
        delivered = int((first & self.known & of_ok).sum())
        expected = int(self.owed[ops].sum())
        missing = self.missing * ops
        expired, unaccounted = (int((missing * which).sum()) for which in self._excuses())
        finished, unfinished = int(ops.sum()), self._hanging() if hanging else 0
        return LedgerRow(
            agent=self.client.index,
            server_site=self.sites[code],
            started=finished + unfinished,
            finished=finished,
            unfinished=unfinished,
            in_flight=int(self.client.counters.get("in_flight") or 0) if hanging else 0,
            accepted=int((ops & self.ok).sum()),
            failed=int((ops & ~self.ok).sum()),
            expected=expected,
            delivered=delivered,
            expired=expired,
            unaccounted=unaccounted,
            lost=expected - delivered - expired - unaccounted,
            failed_delivered=int((first & self.known & ~of_ok).sum()),
            duplicated=int((there & ~self.first).sum()),
            unrecorded=int((first & ~self.known).sum()),
            reordered=int((there & reordered).sum()),
            late=int((there & late).sum()),
            negative=int((there & negative).sum()),
            failures=_failures(self.client, self.mine["status"][ops]),
        )

    def _hanging(self) -> int:
        """Operations it began and recorded no end of."""
        finished = len(self.mine["seq"])
        return int(self.client.counters.get("sent", finished)) - finished

    def _only_site(self) -> int:
        """The site all its operations must be served at; that of "" where there are several."""
        return 1 if len(self.sites) == 2 else 0

    def _first_arrivals(self) -> NDArray[np.bool_]:
        """Which arrivals are the first of their copy. A copy is (sequence number, which copy): a call served by two
        servers has arrived twice, a fanout has not."""
        names = sorted({_copy_of(self.client.pattern, server) for server in self.servers})
        copy_by_server = np.zeros(1 << 16, np.uint64)
        for server in self.servers:
            copy_by_server[server.index] = names.index(_copy_of(self.client.pattern, server))
        copies = self.arrived["seq"].astype(np.uint64) << np.uint64(16) | copy_by_server[self.arrived["agent"]]
        order = np.argsort(copies, kind="stable")
        ordered = copies[order]
        first = np.ones(len(copies), bool)
        first[order[1:]] = ordered[1:] != ordered[:-1]
        return first

    def _join(self) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The operation of each arrival, and whether there is one."""
        seq, wanted = self.mine["seq"], self.arrived["seq"]
        if not len(seq):
            return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), bool)
        order = np.argsort(seq, kind="stable")
        ordered = seq[order]
        if int(ordered[-1]) - int(ordered[0]) == len(ordered) - 1:  # none is missing: numbers tell their place
            at = wanted.astype(np.intp) - int(ordered[0])
        else:
            at = np.searchsorted(ordered, wanted)
        at = np.clip(at, 0, len(ordered) - 1)
        return order[at], ordered[at] == wanted

    def _sites_of_operations(self) -> NDArray[np.int64]:
        """By index in `sites`: where the agent that answered stands, else the only site that serves the target."""
        code_by_peer = np.zeros(1 << 16, np.int64)
        for server in self.servers:
            code_by_peer[server.index] = self.sites.index(server.site)
        planned = np.zeros(int(self.mine["target"].max(initial=0)) + 1, np.int64)
        for target in range(len(planned)):
            found = {server.site for server in _listening(self.client, target, self.servers)}
            planned[target] = self.sites.index(found.pop()) if len(found) == 1 else 0
        answered = code_by_peer[self.mine["peer"]]
        codes: NDArray[np.int64] = np.where(answered == 0, planned[self.mine["target"]], answered)
        return codes

    def _sites_of_arrivals(self) -> NDArray[np.int64]:
        """By index in `sites`: its operation's, so that every row's sums close; the receiver's where there is none."""
        by_receiver = np.zeros(1 << 16, np.int64)
        for server in self.servers:
            by_receiver[server.index] = self.sites.index(server.site)
        codes: NDArray[np.int64] = by_receiver[self.arrived["agent"]]
        return np.where(self.known, self.site[self.operation], codes) if len(self.site) else codes

    def _missing(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each operation: copies that should have arrived and did not, and copies that should have."""
        due = np.array(
            [
                copies_due(self.client, target, self.servers)
                for target in range(int(self.mine["target"].max(initial=0)) + 1)
            ],
            np.int64,
        )
        owed = np.where(self.ok, due[self.mine["target"]], 0)
        came = np.bincount(self.operation[self.first & self.known], minlength=len(owed))
        return np.maximum(owed - came, 0), owed

    def _excuses(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each operation: whether its missing copies may have expired; else whether their records may be lost."""
        sent_s = self.mine["sent_ns"] / 1e9
        ttl = self.client.task.get("ttl_s")
        expired = np.zeros(len(sent_s), bool) if ttl is None else sent_s + float(ttl) <= self.end_s
        unwritten = np.zeros(len(sent_s), bool)
        for server in self.servers:
            if server.facts.get("killed"):
                died_s = float(server.facts.get("died_s", np.inf))
                unwritten |= (sent_s >= died_s - _UNWRITTEN_S) & (sent_s <= died_s)
        return expired, unwritten & ~expired

    def _instants(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """Which arrivals are reordered, which late, and which came before they were sent."""
        count = len(self.first)
        reordered, late, negative = (np.zeros(count, bool) for _ in range(3))
        told = self.first & self.known
        if not told.any():
            return reordered, late, negative
        rows = np.flatnonzero(told)
        received = self.arrived["received_ns"][rows]
        sent = self.mine["sent_ns"][self.operation[rows]]
        rank = np.zeros(1 << 16, np.int64)
        rank[[server.index for server in self.servers]] = np.arange(len(self.servers))
        own = rank[self.arrived["agent"][rows]] << _INSTANT_BITS
        order = np.argsort(received + own, kind="stable")
        latest = np.maximum.accumulate((sent + own)[order])
        reordered[rows[order]] = (sent + own)[order] < latest
        if self.shared:
            due = self.mine["due_ns"][self.operation[rows]]
            late[rows] = received - due > float(self.client.task.get("timeout_s") or np.inf) * 1e9
            negative[rows] = received < sent
        return reordered, late, negative


def _twice(seq: NDArray[Any]) -> int:
    """How many values are there once more."""
    ordered = np.sort(seq, kind="stable")
    return int((ordered[1:] == ordered[:-1]).sum())


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


def _faults_of(client: AgentRecord, rows: Sequence[LedgerRow], twice: int, *, excused: bool) -> list[str]:
    def total(name: str) -> int:
        return sum(int(getattr(row, name)) for row in rows)

    faults = []
    started, finished, unfinished, lost = (total(name) for name in ("started", "finished", "unfinished", "lost"))
    if twice:
        faults.append(f"{client.name} recorded {twice} operations twice")
    if unfinished < 0:
        faults.append(f"{client.name} started {started} operations and recorded {finished}")
    if "in_flight" in client.counters and not client.facts.get("killed") and total("in_flight") != unfinished:
        faults.append(
            f"{client.name} says {total('in_flight')} operations were still under way, its records say {unfinished}"
        )
    if total("unrecorded") and not unfinished and not excused:
        faults.append(f"{total('unrecorded')} messages of {client.name} arrived that it has no record of")
    if client.pattern == "rpc-call" and lost > 0 and not excused:
        faults.append(f"{lost} calls of {client.name} were answered without any server's record")
    if lost < 0:
        faults.append(f"{client.name}: {total('delivered')} copies arrived where {total('expected')} were sent")
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
