"""How long it takes until service is back after each fault of the timeline.

The instants are those of RFC 6412 ("Terminology for Benchmarking Link-State IGP Data-Plane Route Convergence",
sections 3.2 and 3.6), with operations in the place of packets and the rate-derived method, which needs no clock but
the load's:

- the cause is over when a cut link is whole again, a component takes part again, or a halted process goes on; where
  it stays (a server that was killed), when it struck;
- first success: the first operation that ends well after the cause is over, whenever it was due;
- back to rate: the first success of an operation due since the cause was over from which on such operations end well
  at no less than 90 % of the rate before the fault, over a window of RATE_OPERATIONS operations and at least
  RATE_WINDOW_S seconds. What was held up and comes in one burst does not count for it;
- interruption: the longest time without any success between the fault and being back (or the next fault).

An operation ends well when its answer arrives; one without an answer when its receiver has it (where clocks are not
shared: when the bus has taken it). The rate before is that at which operations were due that ended well, over the last
BASELINE_S seconds before the fault, from when the one before was got over; what a fault before had held up, and came in
a burst, is not in it. Warm-up is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import REQUEUED, WARMUP
from harness.analysis.casualties import lost_agents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.store.schema import CellRecord

__all__ = [
    "RECOVERY_DELIVERY_NEEDS",
    "RECOVERY_OPERATION_NEEDS",
    "Outage",
    "Recovery",
    "outages_in",
    "outages_of",
    "recover",
    "take_recoveries",
]

#: Columns of operations.parquet and deliveries.parquet recoveries are made from.
RECOVERY_OPERATION_NEEDS = ("agent", "status", "flags", "due_ns", "done_ns")
RECOVERY_DELIVERY_NEEDS = ("peer", "flags", "due_ns", "received_ns")

#: Seconds before a fault from which the rate before is taken, and the fewest that give one.
BASELINE_S = 10.0
_LEAST_BASELINE_S = 1.0
#: The window over which the rate must be back.
RATE_WINDOW_S = 1.0
RATE_OPERATIONS = 30
#: Share of the rate before that counts as being back.
BACK_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Outage:
    """A fault of the timeline, once.

    Attributes:
        what: link and event, or process and event, in a few words.
        kind: "link" or "process".
        begin_s: load time at which it struck.
        end_s: load time at which its cause was over; None if it stayed.
    """

    what: str
    kind: str
    begin_s: float
    end_s: float | None


@dataclass(frozen=True, slots=True)
class Recovery:
    """How one workload's operations from one site came through one fault.

    Attributes:
        outage: the fault.
        workload, client_site: whose operations.
        rate_per_s: successes per second before; NaN if there was no time to tell.
        first_success_s: from when the cause was over; NaN if none came before the next fault or the end.
        back_s: from when the cause was over until back to rate; NaN if that was not seen.
        watched_s: from when the cause was over until the next fault or the end of the load: how long was looked.
        interruption_s: longest time without a success.
        failed: operations that failed while the fault lasted or until back to rate.
    """

    outage: Outage
    workload: str
    client_site: str
    rate_per_s: float
    first_success_s: float
    back_s: float
    watched_s: float
    interruption_s: float
    failed: int

    @property
    def window_s(self) -> tuple[float, float]:
        """Load times from when the fault struck until service was back to its rate, or was watched no longer."""
        over = self.outage.begin_s if self.outage.end_s is None else self.outage.end_s
        return self.outage.begin_s, over + self.at_least_s

    @property
    def at_least_s(self) -> float:
        """Time until back to rate, or how long it was at least."""
        return self.back_s if self.back_s == self.back_s else self.watched_s


def outages_of(link_events: Sequence[Mapping[str, Any]], process_events: Sequence[Mapping[str, Any]]) -> list[Outage]:
    """The faults in what was carried out, in order of time: cuts (all directions of an event as one), and processes
    stopped, killed or halted.

    Args:
        link_events, process_events: the facts LINK_EVENTS and PROCESS_EVENTS.
    """
    return sorted([*_link_outages(link_events), *_process_outages(process_events)], key=lambda outage: outage.begin_s)


def outages_in(record: CellRecord) -> list[Outage]:
    """The faults of a cell's timeline as they were carried out, in order of time."""
    return outages_of(record.facts.get("link_events") or (), record.facts.get("process_events") or ())


def _link_outages(events: Sequence[Mapping[str, Any]]) -> Iterator[Outage]:
    together: dict[tuple[int, float, str], list[tuple[float, float | None]]] = {}
    for at, cut in enumerate(events):
        if cut["action"] == "cut":
            direction = (cut["source"], cut["target"])
            heals = (
                float(later["at_s"])
                for later in events[at + 1 :]
                if later["action"] == "heal" and (later["source"], later["target"]) == direction
            )
            key = (int(cut["event"]), float(cut["due_s"]), str(cut["label"]))
            together.setdefault(key, []).append((float(cut["at_s"]), next(heals, None)))
    for (_, _, label), spans in together.items():
        ends = [end for _, end in spans]
        last = None if None in ends else max(end for end in ends if end is not None)
        yield Outage(label, "link", min(begin for begin, _ in spans), last)


def _process_outages(events: Sequence[Mapping[str, Any]]) -> Iterator[Outage]:
    for at, begin in enumerate(events):
        if begin["action"] in ("stop", "kill", "pause"):
            ends = (
                float(later["at_s"])
                for later in events[at + 1 :]
                if later["target"] == begin["target"] and later["action"] in ("start", "resume")
            )
            yield Outage(str(begin["label"]), "process", float(begin["at_s"]), next(ends, None))


def recover(
    outages: Sequence[Outage],
    due_s: NDArray[np.float64],
    ended_s: NDArray[np.float64],
    failed_due_s: NDArray[np.float64],
    failed_ended_s: NDArray[np.float64],
    *,
    from_s: float,
    load_s: float,
    workload: str = "",
    client_site: str = "",
) -> list[Recovery]:
    """How one stream of operations came through each fault.

    Args:
        outages: in order of time.
        due_s, ended_s: the successful operations: when they were due and when they ended, load time.
        failed_due_s, failed_ended_s: the failed ones.
        from_s: when the measured time began.
        load_s: when the last operation was due.
    """
    order = np.argsort(ended_s, kind="stable")
    due_s, ended_s = due_s[order], ended_s[order]
    found = []
    rate, sound_from = nan, from_s
    for at, outage in enumerate(outages):
        horizon = outages[at + 1].begin_s if at + 1 < len(outages) else load_s
        over = outage.begin_s if outage.end_s is None else outage.end_s
        baseline_from = max(sound_from, outage.begin_s - BASELINE_S)
        if outage.begin_s - baseline_from >= _LEAST_BASELINE_S:
            before = (due_s >= baseline_from) & (due_s < outage.begin_s)
            rate = int(before.sum()) / (outage.begin_s - baseline_from)
        first = _first_after(ended_s, over, horizon)
        back = _back(due_s, ended_s, over, horizon, rate)
        until = horizon if np.isnan(back) else max(over + back, outage.begin_s)
        failures = (failed_ended_s >= outage.begin_s) & (failed_due_s < until)
        found.append(
            Recovery(
                outage=outage,
                workload=workload,
                client_site=client_site,
                rate_per_s=rate,
                first_success_s=first - over,
                back_s=back,
                watched_s=max(0.0, horizon - over),
                interruption_s=_longest_gap(ended_s, outage.begin_s, until),
                failed=int(failures.sum()),
            )
        )
        sound_from = horizon if np.isnan(back) else max(over + back, from_s)
    return found


def _first_after(ended_s: NDArray[np.float64], instant: float, horizon: float) -> float:
    at = int(np.searchsorted(ended_s, instant))
    return float(ended_s[at]) if at < len(ended_s) and ended_s[at] < horizon else nan


def _back(due_s: NDArray[np.float64], ended_s: NDArray[np.float64], over: float, horizon: float, rate: float) -> float:
    """Seconds from when the cause was over until the rate was back; NaN if that was not seen."""
    if not rate > 0:
        return nan
    window = max(RATE_WINDOW_S, RATE_OPERATIONS / rate)
    fresh = ended_s[(due_s >= over) & (ended_s < horizon)]
    begins = fresh[fresh + window <= horizon]
    counts = np.searchsorted(fresh, begins + window) - np.searchsorted(fresh, begins)
    enough = np.flatnonzero(counts >= BACK_SHARE * rate * window)
    return float(begins[enough[0]] - over) if len(enough) else nan


def _longest_gap(ended_s: NDArray[np.float64], begin: float, end: float) -> float:
    """The longest time without a success that began no later than `end`, counted from `begin`."""
    first, last = np.searchsorted(ended_s, [begin, end])
    close = ended_s[last : last + 1] if last < len(ended_s) else [end]
    instants = np.concatenate([[begin], ended_s[first:last], close])
    return float(np.diff(instants).max())


def take_recoveries(
    record: CellRecord, operations: Mapping[str, Any], deliveries: Mapping[str, Any], *, shared_clock: bool
) -> list[Recovery]:
    """How every workload's operations from every site came through every fault of a cell.

    Operations of an agent that died though nobody told it to are left out.

    Args:
        operations: the columns RECOVERY_OPERATION_NEEDS.
        deliveries: the columns RECOVERY_DELIVERY_NEEDS.
        shared_clock: whether instants of receivers and senders may be compared.
    """
    outages = outages_in(record)
    if not outages:
        return []
    lost = {agent.index for agent in lost_agents(record)}
    clients = [agent for agent in record.agents if agent.role == "client" and agent.index not in lost]
    from_s = float(record.phases["warmup_s"])
    found = []
    for workload, site in dict.fromkeys((agent.workload, agent.site) for agent in clients):
        own = [agent for agent in clients if (agent.workload, agent.site) == (workload, site)]
        sent = _rows(operations, "agent", own)
        failed = sent & (operations["status"] != 0)
        if own[0].pattern == "rpc-call" or not shared_clock:
            ended = sent & (operations["status"] == 0)
            due_ns, ended_ns = operations["due_ns"][ended], operations["done_ns"][ended]
        else:
            arrived = _rows(deliveries, "peer", own) & ((deliveries["flags"] & REQUEUED) == 0)
            due_ns, ended_ns = deliveries["due_ns"][arrived], deliveries["received_ns"][arrived]
        found += recover(
            outages,
            due_ns / 1e9,
            ended_ns / 1e9,
            operations["due_ns"][failed] / 1e9,
            operations["done_ns"][failed] / 1e9,
            from_s=from_s,
            load_s=from_s + float(record.phases["duration_s"]),
            workload=workload,
            client_site=site,
        )
    return sorted(found, key=lambda recovery: recovery.outage.begin_s)


def _rows(columns: Mapping[str, Any], key: str, agents: Sequence[Any]) -> NDArray[np.bool_]:
    """Which rows are of these agents and of the measured time."""
    rows: NDArray[np.bool_] = np.isin(columns[key], [agent.index for agent in agents])
    rows &= (columns["flags"] & WARMUP) == 0
    return rows
