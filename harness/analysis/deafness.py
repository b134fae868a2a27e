"""Deaf agents: connected to the bus, and yet not served.

A server (or listener) is deaf from an instant on if it was served until then and never or for long not after it, was at
work on nothing, and enough operations were due by then that it would have been served had nothing changed, while its
process had the sockets open it had while it was served. How many are enough: with a share s of n operations going to it
at random, the probability of none is (1 - s)^n; less than IMPROBABLE counts. A server that got nothing from the
beginning says nothing (the bus may prefer another), unless it is the only one its clients can reach.

A client that waits for answers is deaf if from an instant on none of its calls was answered though servers received
them, again with its sockets open.

Times in which the timeline had halted or ended the agent, had cut links or had a component of its bus down are no
evidence: an operation due in them, or less than SETTLE_S seconds after them, does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import REQUEUED
from harness.analysis.failures import stage_of
from harness.analysis.grouping import rows_of
from harness.analysis.recovery import outages_in

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from harness.store.schema import AgentRecord, CellRecord

__all__ = ["DEAF_DELIVERY_NEEDS", "DEAF_OPERATION_NEEDS", "Deaf", "find_deaf"]

#: Columns of operations.parquet and deliveries.parquet deafness is found in.
DEAF_OPERATION_NEEDS = ("agent", "seq", "target", "status", "due_ns", "done_ns")
DEAF_DELIVERY_NEEDS = ("agent", "peer", "seq", "flags", "received_ns", "done_ns")

#: A silence less probable than this is no chance.
IMPROBABLE = 1e-6
#: The shortest silence that is worth a word, seconds.
LEAST_S = 3.0
#: After a fault is over service may take its time, seconds; recovery is another question.
SETTLE_S = 10.0
#: Operations that must have passed an agent by.
_LEAST_OPERATIONS = 5


@dataclass(frozen=True, slots=True)
class Deaf:
    """An agent that was not served while it was connected.

    Attributes:
        agent: its index.
        since_s: load time of what it was served last; 0 if nothing.
        until_s: load time at which it was served again; None: not before the end.
        missed: operations due in that time which should have reached it, or calls of it that were left unanswered.
        sockets: fewest sockets it had open meanwhile.
        why: the evidence in a sentence.
    """

    agent: int
    since_s: float
    until_s: float | None
    missed: int
    sockets: int
    why: str


def find_deaf(
    record: CellRecord, operations: Mapping[str, Any], deliveries: Mapping[str, Any], samples: pd.DataFrame
) -> list[Deaf]:
    """The deaf agents of a cell.

    Args:
        operations: the columns DEAF_OPERATION_NEEDS.
        deliveries: the columns DEAF_DELIVERY_NEEDS.
        samples: process samples with t_s, process and sockets.
    """
    load_s = float(record.phases["warmup_s"]) + float(record.phases["duration_s"])
    kept = np.flatnonzero((deliveries["flags"] & REQUEUED) == 0)
    arrivals = {index: kept[rows] for index, rows in rows_of(deliveries["agent"][kept]).items()}
    sent, none = rows_of(operations["agent"]), np.empty(0, np.intp)
    cell = _Seen(record, operations, deliveries, load_s)
    found: list[Deaf] = []
    for agent in record.agents:
        if agent.facts.get("killed"):
            continue
        if agent.role == "server":
            silences = cell.unserved(agent, arrivals.get(agent.index, none), sent)
        elif agent.pattern == "rpc-call":
            silences = cell.unanswered(agent, sent.get(agent.index, none))
        else:
            continue
        for since, until, missed, why in silences:
            own = samples[samples["process"] == agent.name]
            sockets = _sockets(own, since, load_s if until is None else until)
            if sockets:
                found.append(Deaf(agent.index, since, until, missed, sockets, why))
    return found


Silence = tuple[float, float | None, int, str]


class _Seen:
    """What a cell's records show."""

    def __init__(
        self, record: CellRecord, operations: Mapping[str, Any], deliveries: Mapping[str, Any], load_s: float
    ) -> None:
        self.record = record
        self.operations = operations
        self.deliveries = deliveries
        self.load_s = load_s
        self.outages = outages_in(record)

    def unserved(
        self, agent: AgentRecord, arrivals: NDArray[np.intp], sent: Mapping[int, NDArray[np.intp]]
    ) -> Iterator[Silence]:
        """The times a server or listener got nothing though it should have."""
        received, done = (self.deliveries[name][arrivals] / 1e9 for name in ("received_ns", "done_ns"))
        order = np.argsort(received, kind="stable")
        free = np.concatenate([[0.0], np.maximum.accumulate(done[order])])  # who works is not deaf
        served = np.concatenate([received[order], [self.load_s]])
        lengths = served - free
        if not (lengths >= LEAST_S).any():
            return
        alone = _alone(self.record, agent)
        if not alone and not len(received):
            return
        meant = self._meant_for(agent, sent)
        due_s = self.operations["due_ns"][meant] / 1e9
        wanted = np.sort(due_s[self._telling(meant, due_s)])
        share = 1.0 if alone else min(1.0, len(received) / max(1, len(meant)))
        enough = _LEAST_OPERATIONS if share >= 1 else max(_LEAST_OPERATIONS, log(IMPROBABLE) / log(1 - share))
        for at in np.flatnonzero(lengths >= LEAST_S):
            since, until = float(free[at]), float(served[at])
            missed = int(np.searchsorted(wanted, until) - np.searchsorted(wanted, since, side="right"))
            if missed >= enough:
                others = "" if alone else f"; it got {share:.0%} of them over the whole load"
                why = f"{missed} operations it could have served were due meanwhile{others}"
                yield since, None if at == len(lengths) - 1 else until, round(missed * share), why

    def unanswered(self, agent: AgentRecord, own: NDArray[np.intp]) -> Iterator[Silence]:
        """The time since a client got its last answer, though servers had what it asked since."""
        if not len(own):
            return
        status, done_s = self.operations["status"][own], self.operations["done_ns"][own] / 1e9
        since = float(done_s[status == 0].max(initial=0.0))
        if float(done_s.max()) - since < LEAST_S:
            return
        due_s = self.operations["due_ns"][own] / 1e9
        waited = own[(status != 0) & (due_s > since) & self._telling(own, due_s)]
        asked = self.deliveries["seq"][self.deliveries["peer"] == agent.index]
        got = int(np.isin(self.operations["seq"][waited], asked).sum())
        if got >= _LEAST_OPERATIONS:
            yield since, None, got, f"servers received {got} of its calls after that, and no answer reached it"

    def _meant_for(self, agent: AgentRecord, sent: Mapping[int, NDArray[np.intp]]) -> NDArray[np.intp]:
        """The operations this server might have been given."""
        found = [np.empty(0, np.intp)]
        for client in self.record.agents:
            if client.role == "client" and client.workload == agent.workload and client.index in sent:
                own = sent[client.index]
                reached = [at for at, name in enumerate(client.targets) if not agent.targets or name in agent.targets]
                found.append(own[np.isin(self.operations["target"][own], reached)] if client.targets else own)
        return np.concatenate(found)

    def _telling(self, rows: NDArray[np.intp], due_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these operations say something: due within the load, taken by the bus, and not under a fault."""
        telling = due_s < self.load_s
        for outage in self.outages:
            end = np.inf if outage.end_s is None else outage.end_s + SETTLE_S
            telling &= (due_s < outage.begin_s - LEAST_S) | (due_s >= end)
        status = self.operations["status"][rows]
        taken: NDArray[np.bool_] = status == 0
        for agent in self.record.agents:
            waited = [at + 1 for at, name in enumerate(agent.failures) if stage_of(name) in ("wait", "serve")]
            if agent.role == "client" and waited:
                taken |= (self.operations["agent"][rows] == agent.index) & np.isin(status, waited)
        return telling & taken


def _alone(record: CellRecord, agent: AgentRecord) -> bool:
    """Whether no other server could have been given its messages, or every one gets a copy."""
    if agent.pattern == "rpc-fanout":
        return True
    others = (a for a in record.agents if a.role == "server" and a.workload == agent.workload and a is not agent)
    return not any(not agent.targets or not a.targets or set(a.targets) & set(agent.targets) for a in others)


def _sockets(own: pd.DataFrame, since: float, until: float) -> int:
    """Fewest sockets the process had open in that time; 0 if it had none or was not seen."""
    seen = own[(own["t_s"] > since) & (own["t_s"] <= until)]["sockets"].dropna()
    return int(seen.min()) if len(seen) else 0
