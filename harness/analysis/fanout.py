"""Fanouts: did every server get the message, and when did the last one have it?

A fanout is over when its last receiver has it, which the latency of the single copies does not show. Completeness is
over the messages the bus accepted; a copy that arrives twice counts once, when it first came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import REQUEUED, WARMUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.store.schema import AgentRecord, CellRecord

__all__ = ["DELIVERY_NEEDS", "OPERATION_NEEDS", "Fanout", "take_fanouts"]

#: Columns of operations.parquet and deliveries.parquet that are needed.
OPERATION_NEEDS = ("agent", "seq", "target", "status", "flags", "due_ns")
DELIVERY_NEEDS = ("agent", "peer", "seq", "flags", "received_ns")


@dataclass(frozen=True, slots=True)
class Fanout:
    """The fanouts of one workload in one cell, warm-up left out.

    Attributes:
        servers: how many servers each message should reach.
        messages: accepted messages.
        complete: those that every server got.
        copies: copies that arrived, each counted once.
        last: last receipt - due of the complete ones, ns, ascending.
        per_server: by server name, receipt - due of its copies, ns, ascending.
    """

    servers: int
    messages: int
    complete: int
    copies: int
    last: NDArray[np.int64]
    per_server: Mapping[str, NDArray[np.int64]]


def take_fanouts(
    record: CellRecord, operations: Mapping[str, Any], deliveries: Mapping[str, Any]
) -> Mapping[str, Fanout]:
    """The fanouts of a cell by workload. Clocks of sender and receivers must be one.

    Args:
        operations: the columns OPERATION_NEEDS.
        deliveries: the columns DELIVERY_NEEDS (agent: receiver, peer: sender).
    """
    workloads = dict.fromkeys(a.workload for a in record.agents if a.role == "client" and a.pattern == "rpc-fanout")
    return {name: _fanout(record, name, operations, deliveries) for name in workloads}


def _fanout(record: CellRecord, workload: str, operations: Mapping[str, Any], deliveries: Mapping[str, Any]) -> Fanout:
    clients = [a for a in record.agents if a.workload == workload and a.role == "client"]
    servers = [a for a in record.agents if a.workload == workload and a.role == "server"]
    due_copies = _due_copies(clients, servers)
    sent = _rows(operations, "agent", clients, (operations["status"] == 0) & ((operations["flags"] & WARMUP) == 0))
    key = _message(sent["agent"], sent["seq"])
    order = np.argsort(key, kind="stable")
    key = key[order]
    due = sent["due_ns"][order]
    wanted = due_copies[sent["agent"][order], np.minimum(sent["target"][order], due_copies.shape[1] - 1)]

    got = _rows(deliveries, "peer", clients, (deliveries["flags"] & REQUEUED) == 0)
    of = _message(got["peer"], got["seq"])
    # First receipt of every copy: by message, receiver, time.
    order = np.lexsort((got["received_ns"], got["agent"], of))
    of, receiver, received = of[order], got["agent"][order], got["received_ns"][order]
    first = np.ones(len(of), bool)
    first[1:] = (of[1:] != of[:-1]) | (receiver[1:] != receiver[:-1])
    of, receiver, received = of[first], receiver[first], received[first]
    at = np.searchsorted(key, of)
    known = (at < len(key)) & (key[np.minimum(at, len(key) - 1)] == of) if len(key) else np.zeros(len(of), bool)
    at, receiver, received = at[known], receiver[known], received[known]

    arrived = np.bincount(at, minlength=len(key))
    last = np.full(len(key), np.iinfo(np.int64).min)
    np.maximum.at(last, at, received)
    complete = arrived >= wanted
    names = {server.index: server.name for server in servers}
    waits = received - due[at]
    return Fanout(
        servers=int(wanted.max()) if len(wanted) else len(servers),
        messages=len(key),
        complete=int(complete.sum()),
        copies=len(at),
        last=np.sort((last - due)[complete & (wanted > 0)]),
        per_server={name: np.sort(waits[receiver == index]) for index, name in names.items()},
    )


def _rows(
    columns: Mapping[str, Any], sender: str, clients: Sequence[AgentRecord], also: NDArray[np.bool_]
) -> dict[str, Any]:
    mine = np.zeros(1 << 16, bool)
    mine[[client.index for client in clients]] = True
    kept = mine[columns[sender]] & also
    return {name: column[kept] for name, column in columns.items()}


def _message(sender: NDArray[Any], seq: NDArray[Any]) -> NDArray[np.uint64]:
    return sender.astype(np.uint64) << np.uint64(32) | seq.astype(np.uint64)


def _due_copies(clients: Sequence[AgentRecord], servers: Sequence[AgentRecord]) -> NDArray[np.int64]:
    """By client index and target: how many servers listen there; servers that do not say where listen everywhere."""
    width = max((len(client.targets) for client in clients), default=1) or 1
    table = np.zeros((1 << 16, width), np.int64)
    everywhere = sum(not server.targets for server in servers)
    listening: dict[str, int] = {}
    for server in servers:
        for topic in server.targets:
            listening[topic] = listening.get(topic, 0) + 1
    for client in clients:
        for at, topic in enumerate(client.targets):
            table[client.index, at] = listening.get(topic, 0) + everywhere
    return table
