"""What two cells have in common: nothing is compared that differs in more than what is being compared.

A cell is taken apart into named parts; parts that differ are named, with the first place in which they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.store.schema import CellRecord

__all__ = ["AXIS_PARTS", "differences", "parts_of"]

#: Parts that belong to an axis: comparing along it, they may differ.
AXIS_PARTS: dict[str, frozenset[str]] = {
    "system": frozenset({"bus", "bus software", "stack"}),
    "stack": frozenset({"stack"}),
    "bus software": frozenset({"bus software"}),
}
#: Keys of a task that tell agents apart, or follow from bus and stack, and say nothing about the load.
_NOT_LOAD = frozenset({"agent", "name", "server", "seed", "adapter", "driver", "options", "url", "record"})
#: Facts about a machine that make figures incomparable when they differ.
_MACHINE = ("processor", "cpus", "memory_bytes", "kernel", "distribution")


def parts_of(record: CellRecord, host: Mapping[str, Any], harness: str) -> dict[str, Any]:
    """A cell's parts as plain JSON: links, sites, load, each workload, bus, bus software, stack, machine, harness."""
    facts = record.facts
    parts: dict[str, Any] = {
        "sites": sorted(str(site["name"]) for site in record.sites),
        "links": sorted(([link.source, link.target, link.impairment] for link in record.links), key=repr),
        "load": record.phases,
        "bus": [
            {"kind": bus["kind"], "options": bus.get("options", {}), "nodes": _bus_nodes(bus)} for bus in record.buses
        ],
        "bus software": {
            name: {key: bus.get(key) for key in ("implementation", "version", "stand_in")}
            for name, bus in (facts.get("buses") or {}).items()
        },
        "stack": {
            "packages": {name: (facts.get("stacks") or {}).get(name) for name in record.stacks},
            "options": sorted({repr(agent.task.get("options")) for agent in record.agents}),
        },
        "machine": {key: host.get(key) for key in _MACHINE},
        "harness": harness,
    }
    for workload in dict.fromkeys(agent.workload for agent in record.agents):
        parts[f"workload {workload}"] = _workload(record, workload)
    return parts


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
        kind = {"role": agent.role, "site": agent.site, **task}
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
