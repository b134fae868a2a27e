"""What grows with the load: throughput and response time point by point of a sweep over clients, servers or rate, and
the knee. For a fanout the response time is that of the last receiver, and throughput is copies received."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.knee import Knee, LoadPoint, find_knee
from harness.analysis.latency import merge, summarise
from harness.analysis.theilsen import theil_sen
from harness.report import numbers
from harness.report.findings import point_texts
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from harness.analysis.latency import Pair, PairSamples
    from harness.report.fanout import FanoutFinding
    from harness.report.findings import CellFinding, Findings, System

__all__ = ["GrowthFinding", "LoadFigures", "find_growth", "growth_sentences", "growth_tables", "load_figures"]

#: What the load may be counted in, the first that varies: (attribute, word).
_LOADS = (("clients", "clients"), ("servers", "servers"), ("offered_per_s", "operations per second"))
#: The parts of a sweep's key that vary it.
_KEYS = {
    "clients": frozenset({"clients", "scale"}),
    "servers": frozenset({"servers"}),
    "offered_per_s": frozenset({"rate"}),
}
_LOAD_KEYS = frozenset[str]().union(*_KEYS.values())


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """One workload of one system at one point.

    Attributes:
        system, workload, pattern: whose figures.
        clients, servers: how many agents.
        offered_per_s: operations begun per second of measured time.
        throughput_per_s: those that succeeded; of a fanout, copies that arrived. Median over repetitions.
        p50_ms, p99_ms: of what counts for the pattern, repetitions merged.
        failed: failed operations.
        cores: CPU in use by role ("client", "server", "bus") of all workloads, median over repetitions.
        bus_mib: memory the whole bus owned at the end of the load (Anonymous), median over repetitions.
        bus_sockets: sockets it had open then.
    """

    system: System
    workload: str
    pattern: str
    clients: int
    servers: int
    offered_per_s: float
    throughput_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    cores: Mapping[str, float]
    bus_mib: float = math.nan
    bus_sockets: float = math.nan


@dataclass(frozen=True, slots=True)
class GrowthFinding:
    """One workload of one system along a sweep of its load.

    Attributes:
        counted: what the load is counted in, "clients" or the like.
        loads: the load of each point, ascending.
        points: the figures.
        knee: where it saturates, None with too few points.
        cpus: of the machine everything ran on, 0 where not known.
        left_out: points of cells that are not sound, which say nothing here unless all are.
        beside: the other axes of the sweep, by key, and where on them this is.
    """

    counted: str
    loads: tuple[float, ...]
    points: tuple[LoadFigures, ...]
    knee: Knee | None
    cpus: int
    left_out: tuple[LoadFigures, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """For people: "call on rabbitmq", with the other axes of the sweep where there are any."""
        first = self.points[0]
        return f"{first.workload} on {first.system.name}" + "".join(f", {text}" for text in point_texts(self.beside))


def _is_load(key: str) -> bool:
    return bool(_LOAD_KEYS & set(key.split(".")))


def load_figures(
    system: System,
    cells: Sequence[tuple[CellFinding, Mapping[Pair, PairSamples]]],
    fanouts: Sequence[FanoutFinding],
) -> Iterator[LoadFigures]:
    """The figures of each workload at one point."""
    if not any(map(_is_load, system.point)):
        return
    first = cells[0][0]
    for workload in dict.fromkeys(pair.workload for _, samples in cells for pair in samples):
        pattern = next(pair.pattern for _, samples in cells for pair in samples if pair.workload == workload)
        own = [[measured for pair, measured in samples.items() if pair.workload == workload] for _, samples in cells]
        duration = first.phases["duration_s"]
        every = [measured for found in own for measured in found]
        fanout = next((one for one in fanouts if one.system is system and one.workload == workload), None)
        round_trip = pattern not in ("rpc-cast", "rpc-fanout", "notify")
        if fanout is not None:
            summary, done = fanout.last, [copies / duration for copies in fanout.copies]
        else:
            timed = [measured for measured in every if measured.arrival is not None] or every
            summary = summarise(merge(timed).headline(round_trip=round_trip)[1])
            done = [sum(len(measured.response) for measured in found) / duration for found in own]
        agents = [agent for agent in first.agents.values() if agent.workload == workload]
        begun = [sum(measured.operations for measured in found) / duration for found in own]
        yield LoadFigures(
            system=system,
            workload=workload,
            pattern=pattern,
            clients=sum(agent.role == "client" for agent in agents),
            servers=sum(agent.role == "server" for agent in agents),
            offered_per_s=float(np.median(begun)),
            throughput_per_s=float(np.median(done)),
            p50_ms=summary.p50_ms,
            p99_ms=summary.p99_ms,
            failed=sum(measured.failed for measured in every),
            cores=_by_role(cells, "cpu_cores"),
            bus_mib=_by_role(cells, "anonymous_mib_end").get("bus", math.nan),
            bus_sockets=_by_role(cells, "sockets_end").get("bus", math.nan),
        )


def _by_role(cells: Sequence[tuple[CellFinding, Any]], column: str) -> dict[str, float]:
    """A column of what processes used, added up by role; the median over repetitions."""
    sums: dict[str, list[float]] = {}
    for cell, _ in cells:
        for role, used in cell.resources.groupby("role", observed=True)[column].sum(min_count=1).items():
            sums.setdefault(str(role), []).append(float(used))
    return {role: float(np.median(used)) for role, used in sums.items()}


def find_growth(figures: Sequence[LoadFigures], cpus: int) -> tuple[GrowthFinding, ...]:
    """Every workload of every system whose load grows along the sweep."""
    found = []
    for beside, group in _lines(figures):
        for attribute, counted in _LOADS:
            loads = [float(getattr(one, attribute)) for one in group]
            if max(loads) > 1.05 * min(loads):
                every = sorted(zip(loads, group, strict=True), key=lambda pair: pair[0])
                ordered = [pair for pair in every if pair[1].system.sound] or every
                points = [LoadPoint(load, one.throughput_per_s, one.p50_ms / 1e3) for load, one in ordered]
                found.append(
                    GrowthFinding(
                        counted,
                        tuple(load for load, _ in ordered),
                        tuple(one for _, one in ordered),
                        find_knee(points),
                        cpus,
                        tuple(pair[1] for pair in every if pair not in ordered),
                        beside,
                    )
                )
                break
    return tuple(found)


def _lines(figures: Sequence[LoadFigures]) -> Iterator[tuple[Mapping[str, Any], list[LoadFigures]]]:
    """The points of one workload of one system that differ in their load alone, and where they are on other axes.

    What is swept beside the first load that varies is another axis where both are varied freely (servers beside
    clients), and goes with it where they are varied together (a pair more at a time).
    """
    for group in _by(figures, lambda one: (one.workload, one.system.name)).values():
        for own in _by(group, lambda one: repr(_beside(one, _LOAD_KEYS))).values():
            attribute = next((name for name, _ in _LOADS if len({getattr(one, name) for one in own}) > 1), "clients")
            if len({getattr(one, attribute) for one in own}) == len(own):
                yield _beside(own[0], _LOAD_KEYS), own
                continue
            keys = _KEYS[attribute]
            for line in _by(own, lambda one: repr(_beside(one, keys))).values():  # noqa: B023
                yield _beside(line[0], keys), line


def _by(figures: Sequence[LoadFigures], key: Callable[[LoadFigures], Hashable]) -> dict[Hashable, list[LoadFigures]]:
    groups: dict[Hashable, list[LoadFigures]] = {}
    for one in figures:
        groups.setdefault(key(one), []).append(one)
    return groups


def _beside(one: LoadFigures, loads: frozenset[str]) -> dict[str, Any]:
    """Its place on the axes that do not vary these loads."""
    return {key: value for key, value in one.system.point.items() if not loads & set(key.split("."))}


def _load_of(one: LoadFigures, counted: str) -> float:
    """The load of a point, in what it is counted in."""
    return float(getattr(one, next(attribute for attribute, word in _LOADS if word == counted)))


def growth_sentences(growth: Sequence[GrowthFinding]) -> list[str]:
    """Where each has its knee, or that there is none."""
    told = []
    for one in growth:
        if one.knee is None:
            continue
        knee, last = one.knee, one.loads[-1]
        at = one.points[one.loads.index(knee.at.load)]
        done = f"{numbers.number(knee.at.throughput_per_s)} {_unit(at)} at a median of {numbers.ms(at.p50_ms)} ms"
        span = f"from {numbers.count(one.loads[0])} to {numbers.count(last)} {one.counted}"
        if knee.reached:
            high, where = knee.highest, "about" if knee.at.load > one.loads[0] else "or below"
            final = one.points[-1]
            text = (
                f"{_upper(one.label)} has its knee at {where} {numbers.count(knee.at.load)} {one.counted}: {done}, "
                f"{numbers.share(knee.efficiency)} of growth in proportion. Beyond that delay grows faster than "
                f"throughput: at {numbers.count(last)} it is {numbers.number(final.throughput_per_s)} {_unit(at)} at a "
                f"median of {numbers.ms(final.p50_ms)} ms"
            )
            more = high.throughput_per_s > 1.02 * final.throughput_per_s
            text += f"; the most is {numbers.number(high.throughput_per_s)} {_unit(at)}." if more else "."
        elif at.pattern == "rpc-fanout":
            first, final = one.points[0], one.points[-1]
            text = (
                f"{_upper(one.label)} keeps up {span}; until its last receiver has it, a fanout takes "
                f"{numbers.ms(first.p50_ms)} ms with {numbers.plural(first.servers, 'receiver')} in all and "
                f"{numbers.ms(final.p50_ms)} ms with {final.servers} (medians)."
            )
        else:
            text = f"{_upper(one.label)} has no knee {span}: the most is {done}."
        alone = sum(_place(other) == _place(one) for other in growth) == 1
        told.append(text + _machine(at, one.cpus) + (_bus_per_client(one) if alone else "") + _left_out(one))
    return told


def _left_out(growth: GrowthFinding) -> str:
    """Which points say nothing here, "" where all do."""
    loads = [numbers.count(_load_of(one, growth.counted)) for one in growth.left_out]
    return f" Left out, for want of a valid cell: {', '.join(loads)} {growth.counted}." if loads else ""


def _place(growth: GrowthFinding) -> str:
    """The label without its workload."""
    return growth.label.partition(" on ")[2]


def _bus_per_client(growth: GrowthFinding) -> str:
    """What a client more costs the bus, where only one workload's clients grow; "" where it is not known."""
    if growth.counted != "clients":
        return ""
    memory = theil_sen(growth.loads, [point.bus_mib for point in growth.points])
    sockets = theil_sen(growth.loads, [point.bus_sockets for point in growth.points])
    if memory is None or sockets is None:
        return ""
    servers = len({point.servers for point in growth.points}) > 1
    also = ", with the servers that come with it," if servers else ""
    return (
        f" For each client more{also} the bus owns {numbers.number(memory.slope)} MiB more "
        f"[{numbers.number(memory.low)}, {numbers.number(memory.high)}] and has {numbers.number(sockets.slope)} more "
        "sockets open."
    )


def _machine(at: LoadFigures, cpus: int) -> str:
    """That the machine as a whole is what saturates, where it is."""
    used = sum(at.cores.values())
    if not cpus or used < 0.8 * cpus:
        return ""
    return (
        f" There clients, servers and bus together use {numbers.number(used)} of the machine's "
        f"{numbers.plural(cpus, 'core')}: it is the machine they share that is full."
    )


def _unit(one: LoadFigures) -> str:
    return "copies/s" if one.pattern == "rpc-fanout" else "operations/s"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def growth_tables(findings: Findings) -> list[Table]:
    """Point by point, the knee marked."""
    rows: list[tuple[Any, ...]] = []
    for growth in findings.growth:
        reached = growth.knee if growth.knee is not None and growth.knee.reached else None
        for one in sorted((*growth.points, *growth.left_out), key=lambda one: _load_of(one, growth.counted)):
            mark = "left out" if one in growth.left_out else ""
            if reached is not None and not mark and reached.at.load == _load_of(one, growth.counted):
                mark = "knee"
            rows.append(
                (
                    growth.label,
                    one.clients,
                    one.servers,
                    one.throughput_per_s,
                    one.p50_ms,
                    one.p99_ms,
                    one.failed,
                    one.throughput_per_s / one.p50_ms if one.p50_ms > 0 else math.nan,
                    *(one.cores.get(role, math.nan) for role in ("client", "server", "bus")),
                    one.bus_mib,
                    one.bus_sockets,
                    mark,
                )
            )
    if not rows:
        return []
    return [
        Table(
            "growth",
            "Growth of the load",
            "One row per point of the sweep. The knee is where power, throughput over median response time, is "
            "greatest (Kleinrock 1979) and falls by more than 5 % beyond: from there on delay grows faster than "
            "throughput. Times in milliseconds; of a fanout until its last receiver has it, and its throughput is "
            "copies received. Cores are of all processes of the kind together, as are the bus's own memory (Anonymous) "
            "and its open sockets at the end. A point without a valid cell is shown, and left out of the rest.",
            (
                Column("What", "what"),
                Column("Clients", "clients", numbers.count),
                Column("Servers", "servers", numbers.count),
                Column("Throughput, 1/s", "throughput_per_s", numbers.number),
                Column("p50", "p50_ms", numbers.ms),
                Column("p99", "p99_ms", numbers.ms),
                Column("Failed", "failed", numbers.count),
                Column("Power, 1/(s ms)", "power", numbers.number, detail=True),
                Column("Client cores", "client_cores", numbers.number, detail=True),
                Column("Server cores", "server_cores", numbers.number),
                Column("Bus cores", "bus_cores", numbers.number),
                Column("Bus MiB", "bus_mib", numbers.number),
                Column("Bus sockets", "bus_sockets", numbers.count),
                Column("Knee", "knee"),
            ),
            tuple(rows),
            lead=1,
        )
    ]
