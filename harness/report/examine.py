"""From a run on the disk to its findings: reads cell by cell, column by column, and leaves the figuring to analysis."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from harness.agent.records import REQUEUED, STARVED, WARMUP
from harness.analysis.casualties import of_the_living
from harness.analysis.deafness import DEAF_DELIVERY_NEEDS, find_deaf
from harness.analysis.delivery import DELIVERY_NEEDS, OPERATION_NEEDS, still_queued, take_ledger
from harness.analysis.fanout import DELIVERY_NEEDS as FANOUT_DELIVERIES
from harness.analysis.fanout import OPERATION_NEEDS as FANOUT_OPERATIONS
from harness.analysis.fanout import Fanout, take_fanouts
from harness.analysis.grouping import group_rows
from harness.analysis.latency import Pair, PairSamples, Summary, merge, summarise
from harness.analysis.quantiles import nines_grid, quantiles
from harness.analysis.recovery import take_recoveries
from harness.analysis.resources import summarise_resources
from harness.analysis.soundness import below_floor, generator_saturated, left_out, unsteady
from harness.analysis.timeline import Timeline, per_window
from harness.errors import DamagedResult
from harness.memory.stored import is_memory_cell, stored_result, system_label
from harness.report.compatibility import parts_of
from harness.report.fanout import FanoutFinding, fanout_findings
from harness.report.findings import CellFinding, Doubt, Findings, LinkFinding, PairFinding, System
from harness.report.growth import LoadFigures, find_growth, load_figures
from harness.report.memory import MemoryFinding
from harness.report.numbers import natural
from harness.report.provenance import provenance
from harness.report.throttling import throttling
from harness.store import facts
from harness.store.places import by_agent, server_sites

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from harness.analysis.delivery import Ledger
    from harness.store.cell import Cell
    from harness.store.run import Run
    from harness.store.schema import CellRecord, PairRecord

__all__ = ["examine"]


def examine(run: Run) -> Findings:
    """All findings of a run.

    A system's figures come from its valid and degraded cells, an agent that died left out of the latter; where it has
    none, from those that were cut short or are invalid. Every report says so. A cell whose files turn out damaged while
    they are read is left out and named.
    """
    problems = run.problems
    systems: list[System] = []
    pairs: list[PairFinding] = []
    cells: list[CellFinding] = []
    fanouts: list[FanoutFinding] = []
    loads: list[LoadFigures] = []
    resolved = _resolved(run)
    for group in _groups(run, list(resolved.get("systems") or ())):
        sound = [cell for cell in group if cell.state in ("valid", "degraded")]
        used = sound or [cell for cell in group if cell.readable]
        read: list[tuple[Cell, CellFinding, dict[Pair, PairSamples]]] = []
        system = _system(used, sound=bool(sound))
        for cell in used:
            try:
                finding, samples = _read_cell(run, cell, system, resolved.get("stacks"))
            except DamagedResult as error:
                problems.append(f"Cell {cell.id} was left out: {error.what} ({error.where}).")
                continue
            read.append((cell, finding, samples))
        if not read:
            continue
        systems.append(system)
        cells += [finding for _, finding, _ in read]
        pairs += _pair_findings(system, read)
        fanouts += fanout_findings(system, [_fanouts(cell) for cell, _, _ in read])
        loads += load_figures(system, [(finding, samples) for _, finding, samples in read], fanouts)
    problems += throttling([cell.record for cell in run.shown if cell.record])
    first = next((cell.record for cell in run.all_cells if cell.record), None)
    memory = _memory(run, problems, resolved.get("stacks"))
    return Findings(
        scenario=run.manifest.scenario,
        run=run.id,
        state=run.state,
        started=run.manifest.started,
        ended=run.manifest.ended,
        repetitions=max((cell.repetition for cell in run.all_cells), default=0),
        sites=tuple(str(site["name"]) for site in first.sites) if first else (),
        systems=tuple(systems),
        pairs=tuple(pairs),
        cells=tuple(cells),
        links=_links(run),
        problems=tuple(problems),
        provenance=provenance(run),
        memory=memory,
        fanouts=tuple(fanouts),
        growth=find_growth(loads, int(run.manifest.host.get("cpus") or 0)),
        title=str(resolved.get("title") or ""),
        stand_ins=tuple(
            dict.fromkeys(cell.system for cell in run.all_cells if cell.record and _stands_in(cell.record))
        ),
    )


def _resolved(run: Run) -> dict[str, Any]:
    """The resolved scenario, {} where it cannot be read: it only orders and names things here."""
    try:
        resolved = yaml.safe_load(run.resolved)
    except (DamagedResult, yaml.YAMLError):
        return {}
    return resolved if isinstance(resolved, dict) else {}


def _parts(run: Run, record: CellRecord, stacks: Any) -> dict[str, Any]:
    """What must be alike for cells to be compared."""
    return parts_of(
        record,
        run.manifest.host,
        run.manifest.harness,
        lax_links=bool(run.manifest.facts.get(facts.LAX_LINKS)),
        stacks=stacks if isinstance(stacks, dict) else None,
    )


def _memory(run: Run, problems: list[str], stacks: Any) -> tuple[MemoryFinding, ...]:
    """The memory verdicts of every cell that was given doses."""
    found = []
    for cell in run.shown:
        try:
            result = stored_result(cell)
        except DamagedResult as error:
            problems.append(f"Cell {cell.id} was left out: {error.what} ({error.where}).")
            continue
        if result is not None:
            stack = next((agent.stack for agent in cell.agents.values() if agent.role == "client"), "")
            parts = _parts(run, cell.record, stacks) if cell.record else {}
            label = system_label(cell.system, cell.point)
            found.append(MemoryFinding(label, cell.id, result, stack, cell.system, cell.point, parts))
    return tuple(found)


def _groups(run: Run, named: Sequence[str]) -> list[list[Cell]]:
    """The readable cells under load by system and point: the points of a sweep in their natural order, and at each the
    systems in the order the scenario names them."""
    groups: dict[str, list[Cell]] = {}
    for cell in run.shown:
        if not is_memory_cell(cell):
            groups.setdefault(f"{cell.system} {sorted(cell.point.items())!r}", []).append(cell)
    systems = list(dict.fromkeys([*named, *(cell.system for cell in run.all_cells)]))

    def place(group: list[Cell]) -> tuple[list[tuple[float, str]], int]:
        return [natural(value) for value in group[0].point.values()], systems.index(group[0].system)

    return sorted(groups.values(), key=place)


def _system(cells: Sequence[Cell], *, sound: bool) -> System:
    record = cells[0].record
    assert record is not None
    nodes = [node for bus in record.buses for node in bus["nodes"]]
    return System(
        name=record.system,
        point=record.point,
        kinds=tuple(dict.fromkeys(str(bus["kind"]) for bus in record.buses)),
        sites=tuple(dict.fromkeys(str(node["site"]) for node in nodes)),
        stand_in=any(_stands_in(cell.record) for cell in cells if cell.record),
        cells=tuple(cell.id for cell in cells),
        sound=sound,
    )


def _stands_in(record: CellRecord) -> bool:
    return any(bus.get("stand_in") for bus in record.facts.get(facts.BUSES, {}).values())


def _read_cell(run: Run, cell: Cell, system: System, stacks: Any) -> tuple[CellFinding, dict[Pair, PairSamples]]:
    record = cell.record
    assert record is not None
    sent, got = cell.operations(OPERATION_NEEDS), cell.deliveries(tuple({*DELIVERY_NEEDS, *DEAF_DELIVERY_NEEDS}))
    ledger = take_ledger(record, sent, got)
    recoveries = tuple(take_recoveries(record, sent, got, shared_clock=cell.shared_clock))
    processes = _processes(cell, record)
    deaf = tuple(find_deaf(record, sent, got, processes))
    arrivals = _arrivals(cell, record, got)
    del got
    planned, in_flight = _planned(record), _in_flight(record, ledger)
    samples: dict[Pair, PairSamples] = {}
    timelines: dict[Pair, Timeline] = {}
    latencies: dict[Pair, Summary] = {}
    floors_ms: dict[Pair, float] = {}
    operations = 0
    for pair, rows, columns in _operations(record, sent):
        round_trip = _round_trip(pair, planned)
        left = in_flight[pair.workload, pair.client_site, pair.server_site]
        measured, timelines[pair] = _measure(rows, columns, arrivals.get(pair), left, round_trip)
        measure, headline = measured.headline(round_trip=round_trip)
        latencies[pair] = summarise(headline, measured.absent_share)
        floors_ms[pair] = _floor_s(pair, planned, measure) * 1e3
        samples[pair] = measured
        operations += len(rows)
    for pair, measured, timeline in _received_elsewhere(arrivals, samples, planned):
        samples[pair], timelines[pair] = measured, timeline
        latencies[pair] = summarise(measured.headline(round_trip=False)[1], measured.absent_share)
        floors_ms[pair] = _floor_s(pair, planned, "arrival") * 1e3
    finding = CellFinding(
        id=cell.id,
        system=system,
        repetition=cell.repetition,
        state=cell.state,
        reasons=tuple(cell.reasons),
        agents=cell.agents,
        ledger=ledger,
        queued=still_queued(record),
        deaf=deaf,
        recoveries=recoveries,
        latencies=latencies,
        delays={pair: summarise(measured.delay) for pair, measured in samples.items()},
        starved={pair: measured.starved for pair, measured in samples.items()},
        floors_ms=floors_ms,
        succeeded={pair: len(measured.response) for pair, measured in samples.items()},
        attempted={pair: measured.operations for pair, measured in samples.items()},
        timelines=timelines,
        parts=_parts(run, record, stacks),
        events=tuple(record.events),
        samples=processes,
        resources=summarise_resources(processes, record.phases),
        operations=operations,
        phases=record.phases,
        shared_clock=cell.shared_clock,
        notes=(*record.notes, *(f"was run again; before: {text}" for text in cell.attempts)),
    )
    return finding, samples


def _fanouts(cell: Cell) -> Mapping[str, Fanout]:
    if cell.record is None or not cell.shared_clock or all(a.pattern != "rpc-fanout" for a in cell.record.agents):
        return {}
    return take_fanouts(cell.record, cell.operations(FANOUT_OPERATIONS), cell.deliveries(FANOUT_DELIVERIES))


def _processes(cell: Cell, record: CellRecord) -> pd.DataFrame:
    processes = cell.samples()
    sites = {str(node["name"]): str(node["site"]) for node in record.nodes}
    return processes.assign(site=processes["node"].astype(object).map(sites).fillna(""))


def _measured(record: CellRecord, columns: dict[str, Any], without: int) -> dict[str, Any]:
    """The rows whose flags hold none of `without` and that no agent was part of that died; `flags` stays."""
    kept = (columns["flags"] & without) == 0
    agents = [columns[name] for name in ("agent", "peer") if name in columns]
    living = of_the_living(record, *agents[: 1 if "status" in columns else 2])
    if living is not None:
        kept &= living
    if not kept.all():
        for name in columns:
            columns[name] = columns[name][kept]
    return columns


def _by_pair(
    record: CellRecord, agent: NDArray[Any], client_site: NDArray[Any], server_site: NDArray[Any], sites: Sequence[str]
) -> Iterator[tuple[Pair, NDArray[np.intp]]]:
    workloads = list(dict.fromkeys(a.workload for a in record.agents))
    patterns = {a.workload: a.pattern for a in record.agents}
    width = len(sites) + 1
    codes = by_agent(record, workloads, "workload")[agent].astype(np.int32)
    codes = (codes * width + client_site) * width + (server_site + 1)
    small = codes.astype(np.int16) if len(workloads) * width * width < 1 << 15 else codes
    for code, rows in group_rows(small):
        rest, server = divmod(code, width)
        workload, client = divmod(rest, width)
        name = workloads[workload]
        yield Pair(name, patterns[name], sites[client], sites[server - 1] if server else ""), rows


def _operations(record: CellRecord, columns: dict[str, Any]) -> Iterator[tuple[Pair, NDArray[np.intp], dict[str, Any]]]:
    """The measured operations by pair; takes the columns over."""
    del columns["seq"]
    columns = _measured(record, columns, WARMUP)
    sites = _sites(record)
    agent = columns.pop("agent")
    served = server_sites(record, sites, agent, columns.pop("target"), columns.pop("peer"))
    client = by_agent(record, sites, "site")[agent]
    for pair, rows in _by_pair(record, agent, client, served, sites):
        yield pair, rows, columns


def _arrivals(
    cell: Cell, record: CellRecord, columns: dict[str, Any]
) -> dict[Pair, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(due, received - due) of the measured messages of every pair whose operations have no answer; takes the columns
    over."""
    if not cell.shared_clock or all(agent.pattern == "rpc-call" for agent in record.agents):
        return {}
    columns = _measured(record, columns, WARMUP | REQUEUED)
    sites = _sites(record)
    client = by_agent(record, sites, "site")[columns["peer"]]
    server = by_agent(record, sites, "site")[columns["agent"]]
    known = client >= 0
    found = {}
    for pair, rows in _by_pair(record, columns["agent"][known], client[known], server[known], sites):
        if pair.pattern != "rpc-call":
            due = columns["due_ns"][known][rows]
            found[pair] = (due, columns["received_ns"][known][rows] - due)
    return found


def _received_elsewhere(
    arrivals: Mapping[Pair, tuple[NDArray[np.int64], NDArray[np.int64]]],
    samples: Mapping[Pair, PairSamples],
    planned: Mapping[tuple[str, str, str], PairRecord],
) -> list[tuple[Pair, PairSamples, Timeline]]:
    """Messages to a target of several sites, by the site that received them: their arrival. How they were sent, and
    which failed, is counted once, with the pair of their sending, which is to no single site."""
    none = np.empty(0, np.int64)
    found = []
    for pair, (due, arrival) in arrivals.items():
        sent = samples.get(replace(pair, server_site=""))
        if pair not in samples and sent is not None and not _round_trip(pair, planned):
            measured = PairSamples(none, none, sent.delay, np.sort(arrival), 0, 0, sent.starved)
            found.append((pair, measured, per_window(due, arrival, none)))
    return found


def _sites(record: CellRecord) -> list[str]:
    return [str(site["name"]) for site in record.sites]


def _measure(
    rows: NDArray[np.intp],
    columns: Mapping[str, Any],
    arrival: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    in_flight: int,
    round_trip: bool,
) -> tuple[PairSamples, Timeline]:
    status = columns["status"][rows]
    ok = rows[status == 0]
    due = columns["due_ns"][ok]
    response = columns["done_ns"][ok] - due
    failed_due = columns["due_ns"][rows[status != 0]]
    if round_trip or arrival is None:
        timeline = per_window(due, response, failed_due)
    else:
        timeline = per_window(*arrival, failed_due)
    delay = columns["sent_ns"][rows] - columns["due_ns"][rows]
    service = columns["done_ns"][ok] - columns["sent_ns"][ok]
    for values in (response, service, delay):
        values.sort()
    samples = PairSamples(
        response=response,
        service=service,
        delay=delay,
        arrival=np.sort(arrival[1]) if arrival is not None else None,
        failed=len(failed_due),
        in_flight=in_flight,
        starved=int(np.count_nonzero(columns["flags"][rows] & STARVED)),
    )
    return samples, timeline


def _in_flight(record: CellRecord, ledger: Ledger) -> Counter[tuple[str, str, str]]:
    """Operations still under way at the end of the drain, by workload, client's site and server's."""
    clients = {agent.index: agent for agent in record.agents}
    found: Counter[tuple[str, str, str]] = Counter()
    for row in ledger.rows:
        found[clients[row.agent].workload, clients[row.agent].site, row.server_site] += row.in_flight
    return found


def _planned(record: CellRecord) -> dict[tuple[str, str, str], PairRecord]:
    return {(pair.workload, pair.client_site, pair.server_site): pair for pair in record.pairs}


def _round_trip(pair: Pair, planned: Mapping[tuple[str, str, str], PairRecord]) -> bool:
    known = planned.get((pair.workload, pair.client_site, pair.server_site))
    return known.round_trip if known else pair.pattern == "rpc-call"


def _floor_s(pair: Pair, planned: Mapping[tuple[str, str, str], PairRecord], measure: str) -> float:
    known = planned.get((pair.workload, pair.client_site, pair.server_site))
    return known.floor_s if known and measure != "acceptance" else float("nan")


def _pair_findings(
    system: System, read: Sequence[tuple[Cell, CellFinding, dict[Pair, PairSamples]]]
) -> Iterator[PairFinding]:
    planned = {key: pair for cell, _, _ in read if cell.record for key, pair in _planned(cell.record).items()}
    order = list(planned)
    for pair in sorted({pair for _, _, samples in read for pair in samples}, key=lambda p: (_place(order, p), p)):
        runs = [(finding, samples[pair]) for _, finding, samples in read if pair in samples]
        round_trip = _round_trip(pair, planned)
        merged = merge([samples for _, samples in runs])
        measure, headline = merged.headline(round_trip=round_trip)
        plan = planned.get((pair.workload, pair.client_site, pair.server_site))
        floor_s = _floor_s(pair, planned, measure)
        summary, delay = summarise(headline, merged.absent_share), summarise(merged.delay)
        levels = nines_grid(len(headline))
        doubts = [
            ("the load generator was late", generator_saturated(delay.p99_ms, summary.p50_ms, merged.starved)),
            ("below the floor", below_floor(summary.p50_ms, floor_s)),
            ("failures", left_out(summary.p50_ms, summary.p50_at_most_ms, merged.absent, merged.operations)),
            ("clock fault", f"{summary.negative} latencies are negative" if summary.negative else None),
        ]
        for finding, _ in runs:
            why = unsteady(finding.timelines[pair])
            doubts.append(("not steady", f"{why} (cell {finding.id})" if why else None))
            if finding.state != "valid":
                doubts.append((f"the cell is {finding.state}", f"from cell {finding.id}, which is {finding.state}"))
        yield PairFinding(
            system=system,
            pair=pair,
            path=tuple(plan.path) if plan else (),
            round_trip=round_trip,
            floor_ms=floor_s * 1e3,
            measure=measure,
            headline=summary,
            response=summarise(merged.response),
            service=summarise(merged.service),
            delay=delay,
            failed=merged.failed,
            in_flight=merged.in_flight,
            operations=merged.operations,
            run_p50_ms=tuple(finding.latencies[pair].p50_ms for finding, _ in runs),
            run_p99_ms=tuple(finding.latencies[pair].p99_ms for finding, _ in runs),
            levels=levels,
            grid_ms=quantiles(headline, levels) / 1e6,
            doubts=tuple(Doubt(kind, why) for kind, why in doubts if why),
        )


def _place(order: Sequence[tuple[str, str, str]], pair: Pair) -> int:
    """Where the plan names a pair; unplanned ones come last."""
    key = (pair.workload, pair.client_site, pair.server_site)
    return order.index(key) if key in order else len(order)


def _links(run: Run) -> tuple[LinkFinding, ...]:
    """Every link with every round trip declared for it; measured ones are medians over the cells that declare it so."""
    records: dict[tuple[str, str, float], list[CellRecord]] = {}
    for cell in run.all_cells:
        if cell.record is None:
            continue
        delays = {(link.source, link.target): float(link.impairment["delay_s"]) for link in cell.record.links}
        order = list(delays)
        for (a, b), there in delays.items():
            if (b, a) in delays and order.index((a, b)) < order.index((b, a)):
                records.setdefault((a, b, round((there + delays[b, a]) * 1e3, 6)), []).append(cell.record)
    order = list(dict.fromkeys((a, b) for a, b, _ in records))
    return tuple(
        LinkFinding(
            a,
            b,
            declared,
            before_ms=_probed(found, facts.LINKS_BEFORE, a, b),
            declared_after_ms=_probed(found, facts.LINKS_AFTER, a, b, "declared_rtt_s"),
            after_ms=_probed(found, facts.LINKS_AFTER, a, b),
        )
        for (a, b, declared), found in sorted(records.items(), key=lambda item: (order.index(item[0][:2]), item[0][2]))
    )


def _probed(records: Sequence[CellRecord], name: str, a: str, b: str, which: str = "measured_rtt_s") -> float | None:
    """The median of the measured (or declared) round trips between two sites, ms; None where there is none."""
    values = [
        probe[which] * 1e3
        for record in records
        for probe in record.facts.get(name) or ()
        if {probe["a"], probe["b"]} == {a, b} and probe.get(which) is not None
    ]
    return float(np.median(values)) if values else None
