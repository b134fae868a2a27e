"""From a scenario's timeline to timed changes of single processes: bus components and agents. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.model.faults import Fault, unknown_name
from harness.model.quantities import format_duration
from harness.model.timeline import GROUPS, ProcessEvent, TimelineEvent
from harness.plan.cell import AgentPlan, BusPlan, ProcessChange
from harness.plan.timeline import late_faults

__all__ = ["Target", "expand_process_events", "process_event_faults", "targets_of"]

_ROLE = {"servers": "server", "clients": "client", "bus": "bus"}


@dataclass(frozen=True, slots=True)
class Target:
    """A process something may happen to.

    Attributes:
        name: the component's or agent's name.
        site: where it is.
        role: "bus", "server" or "client".
        of: the component's bus, or the agent's workload.
    """

    name: str
    site: str
    role: Literal["bus", "server", "client"]
    of: str


@dataclass(frozen=True, slots=True)
class _Occurrence:
    """One time an event happens to one process: from begin_s until end_s, None for good."""

    event: int
    target: Target
    begin_s: float
    end_s: float | None


def targets_of(buses: Sequence[BusPlan], agents: Sequence[AgentPlan]) -> tuple[Target, ...]:
    """Everything in a cell a process event may happen to."""
    components = (Target(node.name, node.site, "bus", bus.name) for bus in buses for node in bus.nodes)
    return (*components, *(Target(agent.name, agent.site, agent.role, agent.workload) for agent in agents))


def process_event_faults(
    events: Sequence[TimelineEvent],
    targets: Sequence[Target],
    elsewhere: Sequence[str],
    sites: Sequence[str],
    workloads: Sequence[str],
    load_s: float,
) -> list[Fault]:
    """What is wrong with a timeline's process events in a cell, located below it.

    Unknown names; what cannot be done to an agent; events after or beyond the load's end; and events that would begin
    while another is under way on the same process.

    Args:
        targets: of this cell.
        elsewhere: names of the bus components of the scenario's other systems.
    """
    faults: list[Fault] = []
    for index, event in _process_events(events):
        found = _meant(event, targets)
        unknown = list(_unknown(index, event, [target.name for target in targets], elsewhere, sites, workloads))
        faults += unknown
        if not found:
            if event.who in GROUPS and not unknown and not (event.who == "bus" and elsewhere):
                faults.append(Fault((index, event.action), f"there are no {_whose(event)}", "others, or no such event"))
            continue
        if event.action == "restart" or (event.lasts is not None and event.action != "pause"):
            faults += [
                Fault(
                    (index, event.action if event.action == "restart" else "for"),
                    f"agent {target.name!r} cannot be started again: what it had counted would be lost",
                    "a bus component, or pause for some time, or kill or stop for good",
                )
                for target in found[:1]
                if target.role != "bus"
            ]
        duration_s = (len(found) - 1) * (event.apart or 0.0) + (event.duration_s or 0.0)
        faults += late_faults(index, event, duration_s, load_s)
    return faults or list(_collisions(events, targets, load_s))


def _unknown(
    index: int,
    event: ProcessEvent,
    names: Sequence[str],
    elsewhere: Sequence[str],
    sites: Sequence[str],
    workloads: Sequence[str],
) -> Iterator[Fault]:
    if event.who not in (*GROUPS, *names, *elsewhere):
        kind = "bus component or agent called"
        yield unknown_name((index, event.action), kind, event.who, [*dict.fromkeys([*names, *elsewhere]), *GROUPS])
    if event.site is not None and event.site not in sites:
        yield unknown_name((index, "site"), "site", event.site, list(sites))
    if event.workload is not None and event.workload not in workloads:
        yield unknown_name((index, "workload"), "workload", event.workload, list(workloads))


def _whose(event: ProcessEvent) -> str:
    what = "bus components" if event.who == "bus" else event.who
    of = f" of {event.workload}" if event.workload is not None else ""
    return what + of + (f" at {event.site}" if event.site is not None else "")


def _process_events(events: Sequence[TimelineEvent]) -> Iterator[tuple[int, ProcessEvent]]:
    return ((index, event) for index, event in enumerate(events) if isinstance(event, ProcessEvent))


def _meant(event: ProcessEvent, targets: Sequence[Target]) -> tuple[Target, ...]:
    if event.who not in GROUPS:
        return tuple(target for target in targets if target.name == event.who)
    return tuple(
        target
        for target in targets
        if target.role == _ROLE[event.who]
        and event.site in (None, target.site)
        and (event.workload is None or event.workload == target.of)
    )


def _occurrences(events: Sequence[TimelineEvent], targets: Sequence[Target], load_s: float) -> list[_Occurrence]:
    """In order of time; repetitions without `times` that would not end before the load does are left out."""
    found: list[_Occurrence] = []
    for index, event in _process_events(events):
        number = 0
        while True:
            for turn, target in enumerate(_meant(event, targets)):
                begin_s = event.at + number * (event.every or 0.0) + turn * (event.apart or 0.0)
                end_s = None if event.duration_s is None else begin_s + event.duration_s
                if number == 0 or event.times is not None or (end_s or begin_s) < load_s:
                    found.append(_Occurrence(index, target, begin_s, end_s))
            number += 1
            over = event.times is None and event.at + number * (event.every or 0.0) >= load_s
            if event.every is None or over or (event.times is not None and number >= event.times):
                break
    return sorted(found, key=lambda occurrence: occurrence.begin_s)


def _collisions(events: Sequence[TimelineEvent], targets: Sequence[Target], load_s: float) -> Iterator[Fault]:
    before: dict[Target, _Occurrence] = {}
    for occurrence in _occurrences(events, targets, load_s):
        last = before.get(occurrence.target)
        if last is not None and (last.end_s is None or occurrence.begin_s < last.end_s):
            until = "for good" if last.end_s is None else f"until {format_duration(last.end_s)}"
            what = (
                f"at {format_duration(occurrence.begin_s)} it begins on {occurrence.target.name!r}, which is down or "
                f"halted {until} by event {last.event + 1} of the timeline"
            )
            yield Fault((occurrence.event,), what, "one event at a time on one process")
            return
        before[occurrence.target] = occurrence


def expand_process_events(
    events: Sequence[TimelineEvent], targets: Sequence[Target], load_s: float
) -> tuple[ProcessChange, ...]:
    """Every change of every process, in order of time.

    Args:
        events: a timeline without faults.
        load_s: how long the load lasts.
    """
    changes = []
    for occurrence in _occurrences(events, targets, load_s):
        event, target = events[occurrence.event], occurrence.target
        assert isinstance(event, ProcessEvent)
        bus = target.of if target.role == "bus" else ""
        begin: Literal["stop", "kill", "pause"] = "stop" if event.action == "restart" else event.action
        end: Literal["resume", "start"] = "resume" if begin == "pause" else "start"
        lasts = f" for {format_duration(event.duration_s)}" if event.duration_s else ""
        said = f"{target.name}: {event.action}" + (f", down{lasts}" if lasts and event.action == "restart" else lasts)
        changes.append(ProcessChange(occurrence.begin_s, target.name, bus, begin, occurrence.event, said))
        if occurrence.end_s is not None:
            said = f"{target.name}: {'goes on' if end == 'resume' else 'ready again'}"
            changes.append(ProcessChange(occurrence.end_s, target.name, bus, end, occurrence.event, said))
    return tuple(sorted(changes, key=lambda change: change.at_s))
