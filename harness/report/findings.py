"""What a run shows, as frozen values: every report is a rendering of these, and none computes a figure of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from harness.analysis.deafness import Deaf
    from harness.analysis.delivery import Ledger
    from harness.analysis.latency import Pair, Summary
    from harness.analysis.recovery import Recovery
    from harness.analysis.timeline import Timeline
    from harness.report.fanout import FanoutFinding
    from harness.report.growth import GrowthFinding
    from harness.report.memory import MemoryFinding
    from harness.store.schema import AgentRecord, EventRecord

__all__ = ["CellFinding", "Doubt", "Findings", "LinkFinding", "PairFinding", "System", "point_texts"]


def point_texts(point: Mapping[str, Any]) -> list[str]:
    """Each axis and value of a point, the axis by as much of its dotted end as tells it from the others."""
    texts = []
    for axis, value in point.items():
        parts = axis.split(".")
        ends = (".".join(parts[at:]) for at in range(len(parts) - 1, -1, -1))
        name = next(end for end in ends if sum(other == axis or other.endswith(f".{end}") for other in point) == 1)
        texts.append(f"{name} {value}")
    return texts


@dataclass(frozen=True, slots=True)
class System:
    """A system under test at one point of the sweep.

    Attributes:
        name: the system's name in the scenario.
        point: its place in the sweep, {} without one.
        kinds: kinds of its buses, e.g. ("rabbitmq",).
        sites: sites its brokers or routers stand at.
        stand_in: whether any of its buses is a stand-in for the real thing.
        cells: ids of the cells its figures come from.
        sound: whether these are valid, or lack but what an agent that died would have added.
    """

    name: str
    point: Mapping[str, Any]
    kinds: tuple[str, ...]
    sites: tuple[str, ...]
    stand_in: bool
    cells: tuple[str, ...]
    sound: bool = True

    @property
    def label(self) -> str:
        """For people: the name, and the point where there is one: "amqp1, rtt 80ms"."""
        return self.name + "".join(f", {text}" for text in point_texts(self.point))


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a figure may not mean what it seems to: the kind in a few words, and the evidence in a sentence."""

    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class PairFinding:
    """One pair of sites in one system, repetitions merged.

    Attributes:
        system: whose figures.
        pair: who sends to whom.
        path: sites a request visits.
        round_trip: whether an operation ends with an answer.
        floor_ms: least time by the declared links alone, NaN where the plan names no such pair.
        measure: what `headline` is: "response", "arrival" or "acceptance" (see PairSamples.headline).
        headline, response, service, delay: percentiles.
        failed: failed operations.
        in_flight: operations still under way at the end of the drain.
        operations: all, in no matter what end.
        run_p50_ms, run_p99_ms: the headline's percentiles of each repetition.
        levels, grid_ms: the headline's quantiles on a nines axis, for plots.
        doubts: what makes these figures doubtful.
    """

    system: System
    pair: Pair
    path: tuple[str, ...]
    round_trip: bool
    floor_ms: float
    measure: str
    headline: Summary
    response: Summary
    service: Summary
    delay: Summary
    failed: int
    in_flight: int
    operations: int
    run_p50_ms: tuple[float, ...]
    run_p99_ms: tuple[float, ...]
    levels: NDArray[np.float64]
    grid_ms: NDArray[np.float64]
    doubts: tuple[Doubt, ...]

    @property
    def has_median(self) -> bool:
        """Whether there is a median: whether half of all operations were answered."""
        return math.isfinite(self.headline.p50_at_most_ms)

    @property
    def above_floor_ms(self) -> float:
        """Measured p50 less the floor."""
        return self.headline.p50_ms - self.floor_ms


@dataclass(frozen=True, slots=True)
class CellFinding:
    """One cell.

    Attributes:
        id, system, repetition: which.
        state, reasons: what it may be used for, and why.
        agents: its agents by index.
        ledger: its delivery ledger.
        queued: messages the bus still held after the drain, by workload.
        deaf: its agents that were connected and yet not served.
        recoveries: how its operations came through each fault of its timeline.
        latencies: the headline's percentiles by pair.
        delays: percentiles of the send delay by pair.
        starved: operations that found no free worker when they were due, by pair.
        floors_ms: least time by the declared links alone, by pair; NaN where the plan names no such pair.
        succeeded: measured operations that succeeded, by pair.
        attempted: measured operations, those that never ended among them, by pair.
        timelines: the headline's percentiles second by second, by pair.
        parts: what it is made of (harness.report.compatibility).
        events: what happened during it.
        samples: its process samples with a `site` column.
        resources: harness.analysis.resources.summarise_resources of them.
        operations: measured operations of its clients, for CPU per operation.
        phases: its phases, seconds.
        shared_clock: whether one-way times mean something.
        notes: remarks recorded with it.
    """

    id: str
    system: System
    repetition: int
    state: str
    reasons: tuple[str, ...]
    agents: Mapping[int, AgentRecord]
    ledger: Ledger
    queued: Mapping[str, int]
    deaf: tuple[Deaf, ...]
    recoveries: tuple[Recovery, ...]
    latencies: Mapping[Pair, Summary]
    delays: Mapping[Pair, Summary]
    starved: Mapping[Pair, int]
    floors_ms: Mapping[Pair, float]
    succeeded: Mapping[Pair, int]
    attempted: Mapping[Pair, int]
    timelines: Mapping[Pair, Timeline]
    parts: Mapping[str, Any]
    events: tuple[EventRecord, ...]
    samples: pd.DataFrame
    resources: pd.DataFrame
    operations: int
    phases: Mapping[str, float]
    shared_clock: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkFinding:
    """A link between two sites as declared in some cells; a link whose delay is swept has one for each value.

    Attributes:
        a, b: the sites.
        declared_ms: round trip declared when the load began.
        before_ms: round trip measured before the load; None where not measured.
        declared_after_ms: round trip declared when the timeline was over; None where links were not probed then.
        after_ms: round trip measured after the load; None where not measured.
    """

    a: str
    b: str
    declared_ms: float
    before_ms: float | None
    declared_after_ms: float | None
    after_ms: float | None

    @property
    def changed(self) -> bool:
        """Whether the timeline left it other than it was."""
        return self.declared_after_ms is not None and abs(self.declared_after_ms - self.declared_ms) > 1e-6


@dataclass(frozen=True)
class Findings:
    """Everything a report says about a run."""

    scenario: str
    run: str
    state: str
    started: str
    ended: str | None
    repetitions: int
    sites: tuple[str, ...]
    systems: tuple[System, ...]
    pairs: tuple[PairFinding, ...]
    cells: tuple[CellFinding, ...]
    links: tuple[LinkFinding, ...]
    problems: tuple[str, ...]
    provenance: Mapping[str, Mapping[str, Any]]
    title: str = ""
    memory: tuple[MemoryFinding, ...] = ()
    fanouts: tuple[FanoutFinding, ...] = ()
    growth: tuple[GrowthFinding, ...] = ()
    stand_ins: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def located(self) -> tuple[PairFinding, ...]:
        """The pairs without those of messages that were timed at each site that received them: what remains is only
        how long the bus took to accept them."""
        timed = {(f.system.label, f.pair.workload, f.pair.client_site) for f in self.pairs if f.measure == "arrival"}
        return tuple(
            f
            for f in self.pairs
            if f.pair.server_site or (f.system.label, f.pair.workload, f.pair.client_site) not in timed
        )

    @property
    def pair_order(self) -> tuple[Pair, ...]:
        """All pairs, in the order the scenario names their workloads."""
        return tuple(dict.fromkeys(finding.pair for finding in self.pairs))
