"""Reads scenario and topology files and makes the plan of a run: the door between the file system and the pure core."""

from __future__ import annotations

import copy
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from harness.plan.sweep import TOPOLOGY_KEYS, full_key, points, scaled_point, substitute, sweep_faults
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
        topologies: where a sweep names whole topologies: each with its document, by the topology's own name, in the
            sweep's order.
    """

    scenario: Scenario
    topology: Topology
    document: Document
    topology_document: Document
    stacks: Mapping[str, StackSpec]
    topologies: Mapping[str, tuple[Topology, Document]] = field(default_factory=dict)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The points of its sweep, topologies by their names."""
        named = {"topology": list(self.topologies)} if self.topologies else {}
        return points({**self.scenario.sweep, **named}, self.scenario.combine)


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
    if faults := sweep_faults(scenario.sweep):
        raise BadFile(tuple(document.finding(("sweep", *f.at), f.what, f.expected, f.suggestion) for f in faults))
    if isinstance(scenario.topology, Topology):
        topology, topology_document = scenario.topology, document
    else:
        topology, topology_document = _topology_at(("topology",), scenario.topology, document, path, of_topology)
    stacks = {stack.name: stack for stack in SHIPPED} | dict(scenario.stacks)
    swept = _swept_topologies(scenario, document, path, of_topology)
    return LoadedScenario(scenario, topology, document, topology_document, stacks, swept)


def _topology_at(
    at: tuple[str | int, ...], named: str, document: Document, path: Path, changes: Mapping[str, Any]
) -> tuple[Topology, Document]:
    """The topology a scenario names at a place. Raises BadFile, located there where no such file is."""
    target = path.parent / named
    try:
        there = target.is_file()
    except OSError:  # a name too long, a directory that may not be searched
        there = False
    if not there:
        raise BadFile((_no_topology(at, document, path.parent, named),))
    topology_document = _changed(read_document(target), changes)
    return validate(topology_document, Topology), topology_document


def _swept_topologies(
    scenario: Scenario, document: Document, path: Path, changes: Mapping[str, Any]
) -> dict[str, tuple[Topology, Document]]:
    """The topologies a sweep goes through, files or inline, by name. Raises BadFile, BadInput."""
    found: dict[str, tuple[Topology, Document]] = {}
    for index, value in enumerate(scenario.sweep.get("topology", ())):
        at = ("sweep", "topology", index)
        if isinstance(value, str):
            topology, own = _topology_at(at, value, document, path, changes)
        elif isinstance(value, Mapping):
            lines = {place[len(at) :]: line for place, line in document.lines.items() if place[: len(at)] == at}
            own = _changed(Document(document.file, value, lines), changes)
            topology = validate(own, Topology)
        else:
            raise BadFile((document.finding(at, f"{value!r} is no topology", "a path, or a topology itself"),))
        if topology.name in found:
            what = f"two topologies of the sweep are called {topology.name!r}, so their cells could not be told apart"
            raise BadFile((document.finding(at, what, "a name of its own for each"),))
        found[topology.name] = topology, own
    return found


def _no_topology(at: tuple[str | int, ...], document: Document, directory: Path, name: str) -> Finding:
    """The finding of a topology that is not there, with the file beside it that is most like it."""
    meant = (directory / name).parent
    try:
        beside = {entry.name: entry for entry in meant.iterdir() if entry.suffix in (".yaml", ".yml")}
    except OSError:
        beside = {}
    near = nearest(Path(name).name, beside)
    return document.finding(
        at,
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
    planned = [(point, *_at_point(loaded, point)) for point in loaded.points]
    variants = [
        (system, scaled_point(point, scenario), scenario, topology)
        for point, scenario, topology in planned
        for system in chosen
    ]
    ids = _cell_ids([(v[0], v[1]) for v in variants])
    order = cell_order([(v[0], v[1]) for v in variants], loaded.scenario.repetitions, loaded.scenario.seed)
    order = [(index, repetition) for index, repetition in order if variants[index][2].workloads]
    # The memory cell of each system comes after the load, once: its repetitions are within it.
    memory = [index for index, variant in enumerate(variants) if variant[2].memory is not None]
    cells = []
    jobs = list(enumerate([*order, *((index, 0) for index in memory)]))
    # In the file's order, so that what is refused first does not depend on the seed.
    for position, (index, repetition) in sorted(jobs, key=lambda job: (job[1][1] == 0, job[1][1], job[1][0])):
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
    return tuple(sorted(cells, key=lambda cell: cell.order))


def _point_finding(loaded: LoadedScenario, point: Mapping[str, Any], what: str) -> tuple[Finding, ...]:
    """The finding that says at which point of a sweep the others were made; none without a sweep."""
    shown = ", ".join(f"{key} = {value!r}" for key, value in point.items())
    return (loaded.document.finding(("sweep",), f"the point {shown} {what}"),) if point else ()


def _at_point(loaded: LoadedScenario, point: Mapping[str, Any]) -> tuple[Scenario, Topology]:
    if not point:
        return loaded.scenario, loaded.topology
    data = copy.deepcopy(dict(loaded.document.data))
    topology, topology_document = loaded.topologies.get(point.get("topology", ""), (None, loaded.topology_document))
    inline = topology is None and topology_document is loaded.document
    topology_data = data["topology"] if inline else copy.deepcopy(dict(topology_document.data))
    shown = ", ".join(f"{key} = {value!r}" for key, value in point.items())
    at_point = loaded.document.finding(("sweep",), f"the point {shown} makes the scenario invalid")
    for key, value in point.items():
        of_topology = key.split(".")[0] in TOPOLOGY_KEYS
        try:
            if key != "topology":
                substitute(key, value, topology_data if of_topology else data, loaded.document)
        except BadFile as bad:
            raise BadFile((*bad.findings, at_point)) from None
    try:
        scenario = validate(loaded.document, Scenario, data=data)
        if set(scenario.systems) != set(loaded.scenario.systems):
            what = (
                f"it has the systems {', '.join(scenario.systems)}, the scenario {', '.join(loaded.scenario.systems)}"
            )
            raise BadFile((loaded.document.finding(("sweep", "systems"), what, "the same systems at every point"),))
        if inline and isinstance(scenario.topology, Topology):
            return scenario, scenario.topology
        return scenario, validate(topology_document, Topology, data=topology_data)
    except BadFile as bad:
        raise BadFile((at_point, *bad.findings)) from None


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
