"""Sweeps: the points of a scenario's sweep, and a scenario's data with a point's values in place."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.errors import BadFile
from harness.model.document import Document
from harness.model.faults import Fault, nearest
from harness.model.scenario import Scenario, System
from harness.model.topology import Topology
from harness.model.workload import Workload

__all__ = ["TOPOLOGY_KEYS", "full_key", "points", "scaled_point", "substitute", "sweep_faults"]

#: Top-level keys of a sweep that mean the topology, not the scenario itself.
TOPOLOGY_KEYS = ("links", "sites", "defaults")
#: In a key: every name at that place.
_EVERY = "*"
#: Keys of a scenario that no point can change, and what is meant instead.
_WHOLE_RUN = {
    "name": "a file of its own for each name",
    "title": "no title",
    "about": "no about",
    "sweep": "one sweep, with more keys",
    "combine": "combine: product or zip, beside the sweep",
    "repetitions": "repetitions: N beside the sweep: every point is run so often",
    "stacks": "several stacks under `stacks`, and their names as values of `stack`",
}
#: Keys of a workload whose value is a number by site: one number alone is meant for each of the sites.
_BY_SITE = ("clients", "servers")


def points(sweep: Mapping[str, list[Any]], combine: Literal["product", "zip"] = "product") -> list[dict[str, Any]]:
    """The points of a sweep; one empty point without one.

    Args:
        sweep: values by key.
        combine: "product": all combinations, the last key varying fastest; "zip": the first values together, then the
            second ones, and so on (equally many of each).
    """
    keys = list(sweep)
    values = [sweep[key] for key in keys]
    if combine == "zip" and keys:
        return [dict(zip(keys, together, strict=True)) for together in zip(*values, strict=True)]
    return [dict(zip(keys, together, strict=True)) for together in itertools.product(*values)]


def sweep_faults(sweep: Collection[str]) -> list[Fault]:
    """What is wrong with the keys of a sweep: those of the run as a whole, and two for one place."""
    found = []
    seen: dict[str, list[str]] = {}
    for key in sweep:
        parts = full_key(key).split(".")
        if parts[0] in _WHOLE_RUN:
            found.append(Fault((key,), f"{parts[0]} is of the run as a whole, not of a point", _WHOLE_RUN[parts[0]]))
        if parts[0] == "topology" and len(parts) > 1:
            parts = parts[1:]  # where the topology stands in the scenario
            if "topology" in sweep:
                found.append(Fault((key,), "the sweep has whole topologies too", ".".join(parts)))
        for other, before in seen.items():
            if all(a == b or _EVERY in (a, b) for a, b in zip(parts, before, strict=False)):
                found.append(Fault((key,), f"{key} and {other} change the same place", "one of them"))
        seen[key] = parts
    return found


def full_key(key: str) -> str:
    """The dotted key a short one stands for: `stack` means systems.*.stack, `clients` workloads.*.clients.

    A key of one part that is no key of a scenario, but one of a system or a workload, is meant for all of them.
    """
    if "." in key or key in Scenario.model_fields or key in TOPOLOGY_KEYS:
        return key
    if key in System.model_fields:
        return f"systems.{_EVERY}.{key}"
    if key in Workload.model_fields:
        return f"workloads.{_EVERY}.{key}"
    return key


def scaled_point(point: Mapping[str, Any], scenario: Scenario) -> dict[str, Any]:
    """The point as it is run and shown: numbers of clients (or servers) times the scenario's scale.

    A sweep over the scale itself says it, so there the numbers stay as they are.

    Args:
        scenario: with the point's values in place.
    """
    if scenario.scale == 1 or "scale" in point:
        return dict(point)
    found = {}
    for key, value in point.items():
        parts = full_key(key).split(".")
        meant = [workload for name, workload in scenario.workloads.items() if parts[1:2] in ([_EVERY], [name])]
        scaled = {len(parts) > 2 and parts[2] == workload.scaled_key for workload in meant if parts[0] == "workloads"}
        if scaled == {True, False}:
            found[key] = f"{value}, scale {scenario.scale}"  # some workloads have so many, others so many times more
        else:
            found[key] = _times(value, scenario.scale) if True in scaled else value
    return found


def _times(value: Any, scale: int) -> Any:
    """A number of agents, or numbers by site in any of their forms, times the scale."""
    if isinstance(value, Mapping):
        return {site: _times(number, scale) for site, number in value.items()}
    if isinstance(value, int):
        return value * scale
    return dict.fromkeys(_sites(value), scale)


def substitute(key: str, value: Any, into: dict[str, Any], where: Document) -> None:
    """Put a sweep's value at its dotted key, in place.

    A part may be `*`: every name there. A number as part counts the items of a list from 0.

    Args:
        into: a deep copy of the data of the file the key leads into.
        where: the file the sweep stands in, for the error.

    Raises:
        BadFile: the key leads nowhere.
    """
    parts = full_key(key).split(".")
    for holder, last in _places(into, parts, key, where):
        new = copy.deepcopy(value)
        if last in _BY_SITE and isinstance(value, int) and not isinstance(value, bool):
            old = holder.get(last)
            # A number is meant for the sites there are; where something else stands, it is refused as what it is.
            if old is None or isinstance(old, (str, list, dict)):
                new = dict.fromkeys(_sites(old), value)
        holder[last] = new


def _sites(value: Any) -> list[str]:
    """The sites of a workload's clients or servers, however they are written."""
    return [value] if isinstance(value, str) else [str(site) for site in value or ()]


def _places(data: Any, parts: list[str], key: str, where: Document) -> Iterator[tuple[Any, Any]]:
    """(mapping or list, key or index) of every place the parts lead to."""
    here: list[Any] = [data]
    meant: list[Any] = [Topology if parts[0] in TOPOLOGY_KEYS else Scenario]
    for depth, part in enumerate(parts[:-1]):
        for holder in here:
            if (
                isinstance(holder, dict)
                and holder.get(part) is None
                and any(_has_section(each, part) for each in meant)
            ):
                holder[part] = {}  # A section the file leaves out has its defaults; one of them is what is swept.
        meant = [inner for each in meant for inner in _below(each, part)]
        here = [holder[name] for holder in here for name in _names(holder, part, parts[:depth], key, where)]
    for holder in here:
        # The last part may be a key that is not in the file, likewise.
        if isinstance(holder, dict) and parts[-1] != _EVERY:
            yield holder, parts[-1]
        else:
            yield from ((holder, name) for name in _names(holder, parts[-1], parts[:-1], key, where))


def _names(holder: Any, part: str, before: list[str], key: str, where: Document) -> list[Any]:
    """What a part means in a mapping or list. Raises BadFile."""
    if isinstance(holder, dict):
        if part == _EVERY:
            return list(holder)
        if part in holder:
            return [part]
    elif isinstance(holder, list):
        if part == _EVERY:
            return list(range(len(holder)))
        if part.isdigit() and int(part) < len(holder):
            return [int(part)]
    else:
        raise BadFile((where.finding(("sweep", key), f"{key!r} leads into a value that has no keys"),))
    known = [str(name) for name in (holder if isinstance(holder, dict) else range(len(holder)))]
    place = f"in {'.'.join(before)}" if before else "at the top"
    what = f"{key!r} leads nowhere: there is no {part!r} {place}"
    expected = f"one of: {', '.join(known)}" if known else None
    raise BadFile((where.finding(("sweep", key), what, expected, nearest(part, known)),))


def _fields(annotation: Any) -> dict[str, Any]:
    """The keys of a section, with what each may hold; none for anything else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
    return {}


def _has_section(annotation: Any, part: str) -> bool:
    """Whether the key is one of that section's own and holds a section itself. A name the user chooses is not."""
    return any(_fields(each) for each in _kinds(_fields(annotation).get(part)))


def _below(annotation: Any, part: str) -> list[Any]:
    """What may stand at a key of a section, a name of a mapping, or an index of a list."""
    if part in (fields := _fields(annotation)):
        return _kinds(fields[part])
    return [each for value in get_args(annotation)[-1:] for each in _kinds(value)]


def _kinds(annotation: Any) -> list[Any]:
    """An annotation without what pydantic adds to it, each member of a union by itself."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        arguments = get_args(annotation)
        members = arguments[:1] if get_origin(annotation) is Annotated else arguments
        return [kind for each in members for kind in _kinds(each)]
    return [annotation]
