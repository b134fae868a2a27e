"""A scenario: the file that says what is put to the test, where, under which load, and how often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from harness.model.bus import BusSpec, Limited
from harness.model.faults import Fault, refuse, unknown_name
from harness.model.frozen import Frozen, Name, Whole
from harness.model.memory import MemorySpec
from harness.model.quantities import Duration, share_unit
from harness.model.stack import Adapter, StackName, StackSpec
from harness.model.timeline import TimelineEvent
from harness.model.topology import Topology
from harness.model.workload import Workload

__all__ = ["BusUse", "Load", "Scenario", "System"]


class BusUse(Frozen):
    """One bus of a system, and the client environment its clients and servers use."""

    bus: BusSpec = Field(description="the bus")
    stack: StackName = Field(description="the stack of its clients and servers")
    adapter: Adapter | None = Field(
        default=None, description="client library of its clients and servers; default: the stack's first"
    )


#: A bus, or the name of another one of the same system, which is then meant by both names.
BusOrName = Annotated[
    Annotated[BusUse, Tag("bus")] | Annotated[Name, Tag("name")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "bus"),
]


class System(Frozen):
    """One system under test: a bus with a stack, or several of them by name (a hybrid)."""

    bus: BusSpec | None = Field(default=None, description="the one bus of this system")
    stack: StackName | None = Field(default=None, description="the stack of its clients and servers")
    adapter: Adapter | None = Field(
        default=None, description="client library of its clients and servers; default: the stack's first"
    )
    buses: dict[Name, BusOrName] = Field(
        default_factory=dict,
        description="several buses, by the name workloads use; the name of another one means that the two are one bus",
    )

    @model_validator(mode="after")
    def _check(self) -> System:
        if self.buses and (self.bus is not None or self.stack is not None or self.adapter is not None):
            raise refuse(Fault(("buses",), "a system has either one bus or several", "bus and stack, or buses"))
        if not self.buses and self.bus is None:
            raise refuse(Fault((), "a system needs a bus", "bus and stack, or buses"))
        if self.bus is not None and self.stack is None:
            raise refuse(Fault((), "a system needs a stack for its clients", "stack: NAME"))
        real = [name for name, use in self.buses.items() if isinstance(use, BusUse)]
        faults = [
            unknown_name(("buses", name), "bus described in this system called", use, real)
            for name, use in self.buses.items()
            if isinstance(use, str) and use not in real
        ]
        if faults:
            raise refuse(*faults)
        return self

    def uses(self) -> Mapping[str, BusUse]:
        """All its buses by name, each once; a single one is called "main"."""
        if self.buses:
            return {name: use for name, use in self.buses.items() if isinstance(use, BusUse)}
        return {"main": BusUse.model_construct(bus=self.bus, stack=self.stack, adapter=self.adapter)}

    def bus_names(self) -> Mapping[str, str]:
        """Every name a workload may use, and the name in `uses` of the bus it means."""
        if not self.buses:
            return {"main": "main"}
        return {name: use if isinstance(use, str) else name for name, use in self.buses.items()}


class Load(Frozen):
    """The load's time line: warm-up (discarded), duration (kept), drain (waiting for what is still under way)."""

    warmup: Duration = Field(default=5.0, description="load before measuring; discarded")
    duration: Duration = Field(default=30.0, description="measured load")
    drain: Duration = Field(
        default=10.0, description="longest wait for what is under way: operations, and messages that have yet to arrive"
    )

    @model_validator(mode="after")
    def _check(self) -> Load:
        if self.duration <= 0:
            raise refuse(Fault(("duration",), "the load must last some time", "duration: 30s"))
        return self


def _named(value: Any) -> Any:
    """A stack's name is its key."""
    if not isinstance(value, Mapping):
        return value
    faults = [
        Fault((name, "name"), f"the stack {name!r} calls itself {stack['name']!r}", "no name: it is the key")
        for name, stack in value.items()
        if isinstance(stack, Mapping) and stack.get("name", name) != name
    ]
    if faults:
        raise refuse(*faults)
    return {
        name: {**stack, "name": name} if isinstance(stack, Mapping) and "name" not in stack else stack
        for name, stack in value.items()
    }


#: A topology stands in a file of its own, or in the scenario.
PathOrTopology = Annotated[
    Annotated[str, Tag("path")] | Annotated[Topology, Tag("topology")],
    Discriminator(lambda value: "path" if isinstance(value, str) else "topology"),
]


def _whole_times(value: object) -> object:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(
            f"a scale of {value!r} would make parts of agents; a whole number from 1, or fewer clients and servers"
        )
    return value


#: A cell takes half a minute and more: so many are days.
_MOST_CELLS = 10_000


class Scenario(Frozen):
    """What is put to the test, where, under which load, and how often."""

    name: Name = Field(description="name of the scenario; its results go to results/<name>/")
    title: str = Field(default="", description="one line for people")
    about: str = Field(default="", description="what it is meant to show")
    topology: PathOrTopology = Field(description="path of a topology file, relative to this file, or a topology itself")
    systems: dict[Name, System] = Field(
        min_length=1, description="the systems under test, each run in cells of its own"
    )
    workloads: dict[Name, Workload] = Field(default_factory=dict, description="what the clients do, all at once")
    scale: Annotated[Whole, BeforeValidator(_whole_times)] = Field(
        default=1,
        ge=1,
        le=10_000,
        description="so many times the clients of every workload (with targets: per-client their servers too; of a "
        "fanout to a shared target the servers instead), a whole number; a sweep over clients is shown with what it "
        "comes to",
    )
    memory: MemorySpec | None = Field(default=None, description="whether clients and servers leak: doses and limits")
    load: Load = Field(default_factory=Load, description="for how long")
    timeline: tuple[TimelineEvent, ...] = Field(
        default=(), description="what happens to links, bus components and agents while the load runs"
    )
    stacks: Annotated[dict[StackName, StackSpec], BeforeValidator(_named)] = Field(
        default_factory=dict, description="client environments beside the shipped ones"
    )
    hosts: Limited = Field(default_factory=Limited, description="what each client host may use")
    repetitions: Whole = Field(default=1, ge=1, le=1000, description="how often each cell is run")
    sweep: dict[str, Annotated[list[Any], BeforeValidator(share_unit), Field(min_length=1)]] = Field(
        default_factory=dict,
        description="values by dotted key of this file or the topology, like links.core-edge-a.rtt; a part may be *, "
        "every name there; a key of systems or workloads alone, like stack, clients or rate, is meant for all of them; "
        "topology goes through whole topologies, each with a name of its own; a unit on the last value alone, "
        "[0, 20, 50 ms], is that of all",
    )
    combine: Literal["product", "zip"] = Field(
        default="product",
        description="product: all values of the sweep with each other; zip: the first together, then the second",
    )
    seed: Whole = Field(default=1, ge=0, lt=2**63, description="where every random choice of the run derives from")

    def _cells(self) -> int:
        """Cells of its load."""
        lengths = [len(values) for values in self.sweep.values()]
        points = min(lengths, default=1) if self.combine == "zip" else math.prod(lengths)
        return len(self.systems) * points * self.repetitions

    @model_validator(mode="after")
    def _check_references(self) -> Scenario:
        faults = []
        lengths = {key: len(values) for key, values in self.sweep.items()}
        if self.combine == "zip" and len(set(lengths.values())) > 1:
            said = ", ".join(f"{number} of {key}" for key, number in lengths.items())
            faults.append(
                Fault(("sweep",), f"combine: zip takes values together, and there are {said}", "as many of each")
            )
        cells = self._cells()
        if cells > _MOST_CELLS:
            faults.append(
                Fault(
                    ("repetitions",) if "repetitions" in self.model_fields_set else ("sweep",),
                    f"{cells} cells: {len(self.systems)} systems at {cells // len(self.systems) // self.repetitions} "
                    f"points, {self.repetitions} times",
                    f"at most {_MOST_CELLS}",
                )
            )
        if not self.workloads and self.memory is None:
            faults.append(Fault((), "a scenario needs something to do", "workloads, or memory, or both"))
        for system_name, system in self.systems.items():
            uses = system.bus_names()
            if self.memory is not None and self.memory.bus is not None and self.memory.bus not in uses:
                fault = unknown_name(
                    ("memory", "bus"), f"bus in system {system_name!r} called", self.memory.bus, list(uses)
                )
                faults.append(fault)
            for name, workload in self.workloads.items():
                if workload.bus not in uses:
                    fault = unknown_name(
                        ("workloads", name, "bus"), f"bus in system {system_name!r} called", workload.bus, list(uses)
                    )
                    faults.append(fault)
        if faults:
            raise refuse(*faults)
        return self
