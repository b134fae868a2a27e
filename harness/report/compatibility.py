"""What two cells have in common: nothing is compared that differs in more than what is being compared.

A cell is taken apart into named parts; parts that differ are named, with the first place in which they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.store import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.store.schema import CellRecord

__all__ = ["AXIS_PARTS", "differences", "parts_of"]

#: Parts that belong to an axis: comparing along it, they may differ.
AXIS_PARTS: dict[str, frozenset[str]] = {
    "system": frozenset({"bus", "bus software", "faults of the bus", "stack"}),
    "stack": frozenset({"stack"}),
    "bus software": frozenset({"bus software"}),
}
#: Keys of a task that tell agents apart, or follow from bus and stack, and say nothing about the load.
_NOT_LOAD = frozenset({"agent", "name", "server", "seed", "adapter", "driver", "options", "url", "record"})
#: Facts about a machine that make figures incomparable when they differ.
_MACHINE = ("processor", "cpus", "memory_bytes", "kernel", "distribution")


def parts_of(
    record: CellRecord,
    host: Mapping[str, Any],
    harness: str,
    *,
    lax_links: bool = False,
    stacks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A cell's parts as plain JSON: sites, hosts, links and what shapes them, runtime, load, each workload, what went
    wrong by the timeline, bus, bus software, stack, machine, harness.

    Args:
        record: the cell.
        host, harness: of the manifest.
        lax_links: whether links slower than declared were accepted.
        stacks: the resolved scenario's, by name, for the environment variables of their processes.
    """
    known = record.facts
    parts: dict[str, Any] = {
        "sites": sorted(str(site["name"]) for site in record.sites),
        "hosts": sorted((_host(node) for node in record.nodes if node.get("role") == "host"), key=repr),
        "links": sorted(([link.source, link.target, link.impairment] for link in record.links), key=repr),
        "link shaper": (known.get(facts.SHAPER) or {}).get("name"),
        "lax links": lax_links,
        "runtime": (known.get(facts.RUNTIME) or {}).get("runtime"),
        "load": record.phases,
        "timeline": [
            *_link_events(known),
            *([at, name, action] for at, bus, name, action in _process_events(known) if not bus),
        ],
        "faults of the bus": [[at, name, action] for at, bus, name, action in _process_events(known) if bus],
        "bus": [
            {"kind": bus["kind"], "options": bus.get("options", {}), "nodes": _bus_nodes(bus)} for bus in record.buses
        ],
        "bus software": {
            name: {key: bus.get(key) for key in ("implementation", "version", "stand_in")}
            for name, bus in (known.get(facts.BUSES) or {}).items()
        },
        "stack": {
            "packages": {name: (known.get(facts.STACKS) or {}).get(name) for name in record.stacks},
            "options": sorted({repr(agent.task.get("options")) for agent in record.agents}),
            "environment": {name: ((stacks or {}).get(name) or {}).get("env") or {} for name in record.stacks},
        },
        "machine": {key: host.get(key) for key in _MACHINE},
        "harness": harness,
    }
    for workload in dict.fromkeys(agent.workload for agent in record.agents):
        parts[f"workload {workload}"] = _workload(record, workload)
    return parts


def _host(node: Mapping[str, Any]) -> list[Any]:
    return [str(node["site"]), node.get("cpus"), node.get("memory_bytes")]


def _link_events(known: Mapping[str, Any]) -> list[list[Any]]:
    """What the timeline did to links, when it was due."""
    return sorted(
        (
            [event["due_s"], event["source"], event["target"], event["action"], event.get("impairment")]
            for event in known.get(facts.LINK_EVENTS) or ()
        ),
        key=repr,
    )


def _process_events(known: Mapping[str, Any]) -> list[tuple[float, str, str, str]]:
    """What the timeline did to processes: when it was due, the bus ("" for an agent), the process, the action."""
    return sorted(
        (event["due_s"], event.get("bus") or "", event["target"], event["action"])
        for event in known.get(facts.PROCESS_EVENTS) or ()
    )


def _bus_nodes(bus: Mapping[str, Any]) -> list[list[Any]]:
    return sorted([str(node["site"]), sorted(node.get("peers", [])), bool(node.get("edge"))] for node in bus["nodes"])


def _workload(record: CellRecord, workload: str) -> list[dict[str, Any]]:
    """How many agents do what where; an agent's place in the schedule's interval does not matter."""
    kinds: dict[str, dict[str, Any]] = {}
    for agent in record.agents:
        if agent.workload != workload:
            continue
        task = {key: value for key, value in agent.task.items() if key not in _NOT_LOAD}
        if isinstance(task.get("schedule"), dict):
            task["schedule"] = {key: value for key, value in task["schedule"].items() if key != "offset_s"}
        kind = {"role": agent.role, "site": agent.site, "processes": agent.processes, **task}
        same = kinds.setdefault(repr(sorted(kind.items())), {**kind, "agents": 0})
        same["agents"] += 1
    return [kinds[key] for key in sorted(kinds)]


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, str]:
    """Parts that differ, each with where: "links[2].delay_s: 0.01 against 0.04"."""
    found = {}
    for name in dict.fromkeys([*a, *b]):
        where = _first_difference(a.get(name), b.get(name), "")
        if where is not None:
            found[name] = where
    return found


def _first_difference(a: Any, b: Any, path: str) -> str | None:
    if a == b:
        return None
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        inner = ((_first_difference(a[key], b[key], f"{path}.{key}" if path else str(key))) for key in a)
        return next(where for where in inner if where is not None)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        inner = (_first_difference(x, y, f"{path}[{at}]") for at, (x, y) in enumerate(zip(a, b, strict=True)))
        return next(where for where in inner if where is not None)
    return f"{path + ': ' if path else ''}{_short(a)} against {_short(b)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
