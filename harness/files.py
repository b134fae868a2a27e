"""Reads scenario and topology files and makes the plan of a run: the door between the file system and the pure core."""

from __future__ import annotations

import copy
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import BadFile, BadInput, Finding
from harness.model.document import Document, parse_document, validate
from harness.model.faults import nearest
from harness.model.scenario import Scenario
from harness.model.stack import StackSpec
from harness.model.topology import Topology
from harness.plan.cell import CellPlan
from harness.plan.planner import Impossible, cell_order, plan_cell
from harness.plan.sweep import TOPOLOGY_KEYS, full_key, points, substitute
from harness.stack.shipped import SHIPPED

__all__ = ["LoadedScenario", "load_scenario", "load_topology", "plan_run", "read_document", "scenario_from_text"]

_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedScenario:
    """A valid scenario with everything its plan needs.

    Attributes:
        scenario, topology: the frozen objects of the unswept files.
        document: the scenario's own file.
        topology_document: the topology's file (the scenario's own where it stands inline).
        stacks: shipped stacks and the scenario's own, by name.
    """

    scenario: Scenario
    topology: Topology
    document: Document
    topology_document: Document
    stacks: Mapping[str, StackSpec]


def read_document(path: Path) -> Document:
    """Read and parse one YAML file. Raises BadInput or BadFile."""
    try:
        # A pipe would be waited for, a device never end.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise BadInput("cannot be read: not a file but a device or pipe", where=str(path), expected="a YAML file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise BadInput(
                "the file is too large for a scenario or topology", where=str(path), expected="at most 4 MiB"
            )
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=str(path), expected="a YAML file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 text (byte {error.start})", where=str(path), expected="a file in UTF-8") from None
    return parse_document(text, str(path))


def load_topology(path: Path) -> tuple[Topology, Document]:
    """A topology file as a frozen object. Raises BadInput or BadFile."""
    document = read_document(path)
    return validate(document, Topology), document


def load_scenario(path: Path, changes: Mapping[str, Any] | None = None) -> LoadedScenario:
    """A scenario file and the topology it names, checked as far as possible without planning.

    Args:
        changes: values by dotted key, put in place of (or beside) what the files say, like those of a sweep.

    Raises:
        BadInput, BadFile: something in either file is wrong, or a change leads nowhere.
    """
    return _loaded(read_document(path), path, changes or {})


def scenario_from_text(text: str, name: str) -> LoadedScenario:
    """A scenario from YAML text, its topology within it; `name` is what errors call it. Raises BadInput or BadFile."""
    return _loaded(parse_document(text, name), Path())


def _loaded(document: Document, path: Path, changes: Mapping[str, Any] | None = None) -> LoadedScenario:
    changes = changes or {}
    inline = not isinstance(document.data.get("topology"), str)
    of_topology = {key: value for key, value in changes.items() if key.split(".")[0] in TOPOLOGY_KEYS}
    document = _changed(document, {key: value for key, value in changes.items() if key not in of_topology})
    if inline and of_topology:
        document = _changed(document, {f"topology.{key}": value for key, value in of_topology.items()})
    scenario = validate(document, Scenario)
    if isinstance(scenario.topology, Topology):
        topology, topology_document = scenario.topology, document
    else:
        target = path.parent / scenario.topology
        try:
            there = target.is_file()
        except OSError:  # a name too long, a directory that may not be searched
            there = False
        if not there:
            raise BadFile((_no_topology(document, path.parent, scenario.topology),))
        topology_document = _changed(read_document(target), of_topology)
        topology = validate(topology_document, Topology)
    stacks = {stack.name: stack for stack in SHIPPED} | dict(scenario.stacks)
    return LoadedScenario(scenario, topology, document, topology_document, stacks)


def _no_topology(document: Document, directory: Path, name: str) -> Finding:
    """The finding of a topology that is not there, with the file beside it that is most like it."""
    meant = (directory / name).parent
    try:
        beside = {entry.name: entry for entry in meant.iterdir() if entry.suffix in (".yaml", ".yml")}
    except OSError:
        beside = {}
    near = nearest(Path(name).name, beside)
    return document.finding(
        ("topology",),
        f"there is no file {name!r}",
        f"a path relative to {directory}",
        str(Path(name).with_name(near)) if near else None,
    )


def _changed(document: Document, changes: Mapping[str, Any]) -> Document:
    """The document with values put at their dotted keys. Raises BadInput for a key that leads nowhere."""
    data = copy.deepcopy(dict(document.data))
    for key, value in changes.items():
        try:
            substitute(key, value, data, document)
        except BadFile as bad:
            first = bad.findings[0]
            remedy = f"did you mean {first.suggestion}?" if first.suggestion else None
            raise BadInput(first.what, where=f"--set {key}", expected=first.expected, remedy=remedy) from None
    changed = (*document.changed, *((key, tuple(full_key(key).split("."))) for key in changes))
    return replace(document, data=data, changed=changed) if changes else document


def plan_run(loaded: LoadedScenario, *, systems: Sequence[str] = ()) -> tuple[CellPlan, ...]:
    """All cells of a run, in the order they will be run.

    Args:
        systems: only these of the scenario's systems; all if empty.

    Raises:
        BadFile, BadInput: something cannot be carried out; says where in which file.
    """
    unknown = [name for name in systems if name not in loaded.scenario.systems]
    if unknown:
        near = nearest(unknown[0], loaded.scenario.systems)
        raise BadInput(
            f"the scenario has no system {unknown[0]!r}",
            where=loaded.document.file,
            expected="one of: " + ", ".join(loaded.scenario.systems),
            remedy=f"did you mean {near}?" if near else None,
        )
    chosen = [name for name in loaded.scenario.systems if not systems or name in systems]
    variants = [
        (system, point, *_at_point(loaded, point))
        for point in points(loaded.scenario.sweep, loaded.scenario.combine)
        for system in chosen
    ]
    ids = _cell_ids([(v[0], v[1]) for v in variants])
    order = cell_order([(v[0], v[1]) for v in variants], loaded.scenario.repetitions, loaded.scenario.seed)
    if not loaded.scenario.workloads:
        order = []
    # The memory cell of each system comes after the load, once: its repetitions are within it.
    memory = range(len(variants)) if loaded.scenario.memory is not None else ()
    cells = []
    for position, (index, repetition) in enumerate([*order, *((index, 0) for index in memory)]):
        system, point, scenario, topology = variants[index]
        try:
            cells.append(
                plan_cell(
                    scenario,
                    topology,
                    loaded.stacks,
                    system=system,
                    point=point,
                    cell_id=f"{ids[index]}-r{repetition}" if repetition else f"{ids[index]}-memory",
                    repetition=max(1, repetition),
                    order=position,
                    memory=repetition == 0,
                )
            )
        except Impossible as impossible:
            findings: list[Finding] = [
                loaded.document.finding(fault.at, fault.what, fault.expected, fault.suggestion)
                for fault in impossible.faults
            ]
            raise BadFile((*_point_finding(loaded, point, "cannot be carried out"), *findings)) from None
    return tuple(cells)


def _point_finding(loaded: LoadedScenario, point: Mapping[str, Any], what: str) -> tuple[Finding, ...]:
    """The finding that says at which point of a sweep the others were made; none without a sweep."""
    shown = ", ".join(f"{key} = {value!r}" for key, value in point.items())
    return (loaded.document.finding(("sweep",), f"the point {shown} {what}"),) if point else ()


def _at_point(loaded: LoadedScenario, point: Mapping[str, Any]) -> tuple[Scenario, Topology]:
    if not point:
        return loaded.scenario, loaded.topology
    data = copy.deepcopy(dict(loaded.document.data))
    inline = loaded.topology_document is loaded.document
    topology_data = data["topology"] if inline else copy.deepcopy(dict(loaded.topology_document.data))
    for key, value in point.items():
        of_topology = key.split(".")[0] in TOPOLOGY_KEYS
        substitute(key, value, topology_data if of_topology else data, loaded.document)
    try:
        scenario = validate(loaded.document, Scenario, data=data)
        if isinstance(scenario.topology, Topology):
            return scenario, scenario.topology
        return scenario, validate(loaded.topology_document, Topology, data=topology_data)
    except BadFile as bad:
        shown = ", ".join(f"{key} = {value!r}" for key, value in point.items())
        raise BadFile(
            (loaded.document.finding(("sweep",), f"the point {shown} makes the scenario invalid"), *bad.findings)
        ) from None


def _cell_ids(variants: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A distinct, file-system safe name for every system at every point."""
    found: list[str] = []
    for system, point in variants:
        parts = [system, *(f"{_axis_name(key)}-{_shown(value)}" for key, value in point.items())]
        name = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-.").lower()[:80]
        taken = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(f"{name}_{taken + 1}" if taken else name)
    return found


def _axis_name(key: str) -> str:
    """The name a key is about: "core-edge-a" of links.core-edge-a.rtt, "rate" of workloads.*.rate."""
    return next((part for part in key.split(".")[-2:] if part != "*"), key)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "-".join(f"{key}-{_shown(each)}" for key, each in value.items())
    return "-".join(map(_shown, value)) if isinstance(value, list) else str(value)
