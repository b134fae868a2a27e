"""A plan as text for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.model.links import Impairment
from harness.model.memory import KINDS
from harness.model.quantities import format_duration, format_fraction, format_rate
from harness.plan.cell import AgentPlan, CellPlan, LinkChange
from harness.plan.memory import MemoryPlan

__all__ = ["plan_lines"]


def _table(rows: Sequence[Sequence[str]], indent: str = "    ") -> Iterator[str]:
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def _impairment(impairment: Impairment) -> str:
    parts = [f"{format_duration(impairment.delay_s)} one way"]
    if impairment.jitter_s:
        parts.append(f"jitter {format_duration(impairment.jitter_s)} {impairment.jitter_distribution}")
    if impairment.loss:
        parts.append(f"loss {format_fraction(impairment.loss)}")
    if impairment.burst_loss:
        parts.append("bursty loss")
    if impairment.duplicate:
        parts.append(f"duplicates {format_fraction(impairment.duplicate)}")
    if impairment.corrupt:
        parts.append(f"corrupts {format_fraction(impairment.corrupt)}")
    if impairment.rate_bps:
        parts.append(format_rate(impairment.rate_bps))
    return ", ".join(parts)


def _schedule(agent: AgentPlan) -> str:
    task = agent.task
    if agent.role == "server":
        return f"{task['workers']} threads"
    schedule = task["schedule"]
    threads = f"{task['workers']} threads"
    if schedule["kind"] == "closed":
        return f"closed loop, pause {format_duration(schedule['pause_s'])}, {threads}"
    return f"{schedule['rate_per_s']:g}/s {schedule['kind']}, {threads}"


def _changes(changes: Sequence[LinkChange]) -> list[tuple[float, tuple[str, str, str, str]]]:
    """At which load time, and in words: when, what is done, to which directions, because of which event."""
    directions: dict[tuple[float, str, str], list[str]] = {}
    for change in changes:
        done = change.action if change.impairment is None else _impairment(change.impairment)
        directions.setdefault((change.at_s, done, change.label), []).append(f"{change.source} -> {change.target}")
    return [
        (at_s, (format_duration(at_s), done, ", ".join(which), label))
        for (at_s, done, label), which in directions.items()
    ]


def _doses(memory: MemoryPlan) -> Iterator[str]:
    yield f"  doses, {memory.warmup_blocks}+{memory.blocks} blocks in each of {memory.repetitions} sets of processes"
    yield from _table(
        [(dose.name, dose.kind, f"{dose.count} operations per block", KINDS[dose.kind].about) for dose in memory.doses]
    )


def plan_lines(cells: Sequence[CellPlan]) -> Iterator[str]:
    """The lines that describe every cell: nodes, links, bus, agents, pairs with floors, timeline, schedule."""
    total = sum(cell.phases.load_s for cell in cells if cell.memory is None)
    yield f"{len(cells)} cells, at least {format_duration(total)} of load"
    for cell in cells:
        yield ""
        point = ", ".join(f"{key} = {value}" for key, value in cell.point.items())
        yield f"cell {cell.id}: system {cell.system}, repetition {cell.repetition}" + (f", {point}" if point else "")
        yield "  nodes"
        yield from _table([(n.name, n.site, n.role, n.address, n.address6) for n in cell.lab.nodes])
        yield "  links"
        yield from _table(
            [(link.name, f"{link.source} -> {link.target}", _impairment(link.impairment)) for link in cell.lab.links]
            or [("none",)]
        )
        for bus in cell.buses:
            yield f"  bus {bus.name}: {bus.kind}"
            if bus.nodes:
                yield from _table(
                    [
                        (node.name, "edge" if node.edge else "", "joins " + ", ".join(node.peers) if node.peers else "")
                        for node in bus.nodes
                    ]
                )
        yield "  agents"
        yield from _table(
            [
                (
                    a.name,
                    f"on {a.node}",
                    a.stack,
                    str(a.task["pattern"]),
                    f"at {a.bus_node}" if a.bus_node else "",
                    _schedule(a),
                )
                for a in cell.agents
            ]
        )
        if cell.memory is not None:
            yield from _doses(cell.memory)
            continue
        yield "  predicted floors, by the declared links alone"
        yield from _table(
            [
                (
                    p.workload,
                    f"{p.client_site} -> {p.server_site}",
                    format_duration(p.floor_s) + (" there and back" if p.round_trip else " one way"),
                    "by " + " - ".join(p.path),
                )
                for p in cell.pairs
            ]
        )
        if cell.changes or cell.process_changes:
            yield "  timeline, in load time"
            processes = [
                (change.at_s, (format_duration(change.at_s), change.action, change.target, change.label))
                for change in cell.process_changes
            ]
            yield from _table([row for _, row in sorted([*_changes(cell.changes), *processes], key=lambda row: row[0])])
        phases = cell.phases
        yield (
            f"  schedule: warm-up {format_duration(phases.warmup_s)}, measured {format_duration(phases.duration_s)}, "
            f"drain at most {format_duration(phases.drain_s)}"
        )
