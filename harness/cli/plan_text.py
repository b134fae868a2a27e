"""A plan as text for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.model.links import Impairment
from harness.model.memory import KINDS
from harness.model.quantities import format_duration, format_fraction, format_rate, format_size
from harness.plan.cell import AgentPlan, CellPlan, LinkChange, PairPlan
from harness.plan.memory import MemoryPlan

__all__ = ["plan_lines"]

#: So many agents of a workload at a site have a row each; of more only the first and the last do.
_MOST_ALIKE = 8


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


def _schedule(schedule: Mapping[str, Any]) -> str:
    """When a client's operations are due, in a few words."""
    kind = schedule["kind"]
    if kind == "closed":
        most = f", {schedule['count']} in all" if "count" in schedule else ""
        return f"closed loop, pause {format_duration(schedule['pause_s'])}{most}"
    if kind == "burst":
        return f"{schedule['size']} at once every {format_duration(schedule['period_s'])}"
    if kind == "ramp":
        over = f" over {format_duration(schedule['over_s'])}" if "over_s" in schedule else ""
        text = f"{schedule['from_per_s']:g}/s to {schedule['to_per_s']:g}/s{over}"
    elif kind == "steps":
        text = ", then ".join(
            f"{step['rate_per_s']:g}/s for {format_duration(step['duration_s'])}" for step in schedule["steps"]
        )
    else:
        return f"{schedule['rate_per_s']:g}/s {kind}"
    return f"{text}, {schedule.get('arrivals', 'constant')}"


def _drawn(spec: Mapping[str, Any], show: Callable[[Any], str]) -> str:
    """A fixed value, or the distribution it is drawn from."""
    values = {key: value for key, value in spec.items() if key != "kind"}
    if spec["kind"] == "fixed":
        return show(next(iter(values.values())))
    parts = []
    for key, value in values.items():
        if key in ("sigma", "weights"):
            shown = f"{value:g}" if key == "sigma" else ":".join(f"{weight:g}" for weight in value)
        else:
            shown = ", ".join(map(show, value)) if isinstance(value, (list, tuple)) else show(value)
        parts.append(f"{key} {shown}")
    return f"{spec['kind']} ({', '.join(parts)})"


def _behaviour(behaviour: Mapping[str, Any]) -> list[str]:
    """What a server does beside answering at once."""
    parts = []
    if "service_time" in behaviour:
        parts.append(f"works {_drawn(behaviour['service_time'], format_duration)}")
    for key, what in (("raise", "raises"), ("silent", "silent"), ("requeue", "gives back")):
        if share := behaviour.get(f"{key}_fraction"):
            parts.append(f"{what} {format_fraction(share)}")
    parts += [
        f"stalled at {format_duration(stall['at_s'])} for {format_duration(stall['for_s'])}"
        for stall in behaviour.get("stalls", ())
    ]
    if "ack" in behaviour:
        parts.append(f"acknowledges {behaviour['ack']} processing")
    return parts


def _work(agent: AgentPlan) -> str:
    """What an agent does, in a few words."""
    task = agent.task
    notify = task.get("notify") or {}
    if agent.role == "server":
        parts = [f"{task['workers']} threads", *_behaviour(task["behaviour"])]
        if notify.get("pool"):
            parts.append(f"pool {notify['pool']}")
    else:
        parts = [_schedule(task["schedule"]), _drawn(task["payload"], lambda size: format_size(round(size)))]
        parts.append(f"{task['workers']} threads")
        for key, what in (("monitor_s", "heartbeats within"), ("ttl_s", "kept for")):
            if key in task:
                parts.append(f"{what} {format_duration(task[key])}")
        if "retry" in task:
            parts.append(f"retry {task['retry']}")
    if notify:
        parts.append("/".join(notify["priorities"]))
    if agent.processes == "fork":
        parts.append("forked")
    return ", ".join(parts)


def _targets(agent: AgentPlan) -> str:
    """The topics (or servers) of an agent."""
    names = [
        f"{topic['topic']} at {topic['server']}" if topic["server"] else str(topic["topic"])
        for topic in agent.task["topics"]
    ]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)})"


def _agents(agents: Sequence[AgentPlan]) -> Iterator[tuple[str, ...]]:
    """A row per agent; where many of a workload stand at one site, a row for the first and one for all the others."""
    groups: dict[tuple[str, str, str], list[AgentPlan]] = {}
    for agent in agents:
        groups.setdefault((agent.workload, agent.role, agent.site), []).append(agent)
    for group in groups.values():
        few = len(group) <= _MOST_ALIKE
        for agent in group if few else group[:1]:
            yield _agent_row(agent, agent.name)
        if not few:
            yield _agent_row(group[-1], f"... to {group[-1].name} ({len(group)} agents)")


def _agent_row(agent: AgentPlan, name: str) -> tuple[str, ...]:
    return (
        name,
        f"on {agent.node}",
        agent.stack if agent.adapter == "oslo" else f"{agent.stack} ({agent.adapter})",
        str(agent.task["pattern"]),
        _targets(agent),
        f"at {agent.bus_node}" if agent.bus_node else "",
        _work(agent),
    )


def _pairs(pairs: Sequence[PairPlan]) -> Iterator[tuple[str, ...]]:
    """A row per pair of sites and way; pairs that differ in their topic only are counted."""
    topics = Counter((p.workload, p.client_site, p.server_site, p.path, p.floor_s, p.round_trip) for p in pairs)
    for (workload, client, server, path, floor_s, round_trip), number in topics.items():
        yield (
            workload,
            f"{client} -> {server}",
            format_duration(floor_s) + (" there and back" if round_trip else " one way"),
            "by " + " - ".join(path),
            f"on {number} topics" if number > 1 else "",
        )


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


def _extent(cells: Sequence[CellPlan]) -> str:
    """How many cells there are, and what is known of how long they take."""
    load_s = [cell.phases.load_s for cell in cells if cell.memory is None]
    doses = len(cells) - len(load_s)
    parts = [f"at least {format_duration(sum(load_s))} of load"] if load_s else []
    if doses:
        parts.append(f"{f'{doses} of them' if load_s else 'all'} of doses, as long as their operations take")
    return ", ".join([f"{len(cells)} cell{'s' * (len(cells) != 1)}", *parts])


def plan_lines(cells: Sequence[CellPlan]) -> Iterator[str]:
    """The lines that describe every cell: nodes, links, bus, agents, pairs with floors, timeline, schedule."""
    yield _extent(cells)
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
        yield from _table([*_agents(cell.agents)] or [("none",)])
        if cell.memory is not None:
            yield from _doses(cell.memory)
            continue
        if cell.pairs:
            yield "  predicted floors, by the declared links alone"
            yield from _table([*_pairs(cell.pairs)])
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
