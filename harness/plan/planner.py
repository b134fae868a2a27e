"""From a scenario to its cells. Pure: equal inputs give equal plans, and everything that will happen stands in them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from harness.model.bus import BusSpec, Limited, Placed, RabbitmqBus, RouterBus
from harness.model.faults import Fault, unknown_name
from harness.model.scenario import Scenario, System
from harness.model.stack import StackSpec
from harness.model.topology import Topology
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import (
    AgentPlan,
    BusNodePlan,
    BusPlan,
    CellPlan,
    LabPlan,
    LinkChange,
    NodePlan,
    NodeRole,
    PairPlan,
    Phases,
    ProcessChange,
)
from harness.plan.limits import adapter_fault, stall_faults, task_fault
from harness.plan.links import directed_links
from harness.plan.memory import Library, MemoryPlan, Place, dose_agents, dose_faults, plan_memory
from harness.plan.process_events import expand_process_events, process_event_faults, targets_of
from harness.plan.routes import Distances, attach, message_path, one_way, reached_servers
from harness.plan.seats import Seat, seats_of
from harness.plan.seeds import derive
from harness.plan.tasks import TaskMaker
from harness.plan.timeline import expand, timeline_faults

__all__ = ["Impossible", "cell_order", "plan_cell"]

#: How the components of a bus kind are called in node names.
_COMPONENT = {"rabbitmq": "broker", "router": "router"}
#: Which wire protocol the clients of a bus kind must speak.
_DRIVER = {"rabbitmq": "rabbit", "router": "amqp1", "loopback": "none"}
#: Agents are numbered in 16 bits, and one number is kept for "unknown".
_MAX_AGENTS = 65_535
_LAST_PORT = 65_535


class Impossible(Exception):
    """A scenario that reads well but cannot be carried out; `faults` are located below the scenario."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.what for fault in faults))


def cell_order(cells: Sequence[tuple[str, Mapping[str, Any]]], repetitions: int, seed: int) -> list[tuple[int, int]]:
    """The order of running: (index of the cell, 1-based repetition).

    Each repetition runs every cell once before the next begins, so that drift of the machine meets all alike. Within
    one the points of the sweep come in an order drawn at random, and the systems of a point one after the other, they
    too in an order drawn at random: what is compared as a pair is measured at nearly one time (METHODS: interleaved).
    """
    at_point = [list(group) for _, group in groupby(range(len(cells)), key=lambda index: cells[index][1])]
    order = []
    for repetition in range(1, repetitions + 1):
        draw = random.Random(derive(seed, "order", repetition))
        for group in draw.sample(at_point, len(at_point)):
            order += [(index, repetition) for index in draw.sample(group, len(group))]
    return order


def plan_cell(
    scenario: Scenario,
    topology: Topology,
    stacks: Mapping[str, StackSpec],
    *,
    system: str,
    point: Mapping[str, Any],
    cell_id: str,
    repetition: int,
    order: int,
    memory: bool = False,
) -> CellPlan:
    """Plan one cell.

    Args:
        scenario, topology: with the point's values already in place.
        stacks: every stack that may be named.
        system: which of the scenario's systems.
        memory: plan the system's memory cell (the scenario's doses) instead of its load.

    Raises:
        Impossible: with every reason found.
    """
    if memory:
        scenario = scenario.model_copy(update={"workloads": {}, "timeline": ()})
    # Arrivals, payloads and service times are drawn alike for every system and point of a repetition: what then differs
    # is what is compared (common random numbers; Law, Simulation Modeling and Analysis, 11.2).
    load_seed = derive(scenario.seed, "load", repetition)
    builder = _Builder(scenario, topology, stacks, system, derive(scenario.seed, cell_id), load_seed)
    doses = builder.memory() if memory else None
    agents = dose_agents(doses) if doses else tuple(builder.agents())
    plan = CellPlan(
        id=cell_id,
        system=system,
        repetition=repetition,
        order=order,
        seed=builder.seed,
        point=dict(point),
        lab=builder.lab(),
        buses=tuple(builder.buses.values()),
        agents=agents,
        pairs=tuple(builder.pairs()),
        phases=Phases(scenario.load.warmup, scenario.load.duration, scenario.load.drain),
        stacks=tuple(dict.fromkeys(use.stack for use in builder.spec.uses().values())),
        changes=builder.changes(),
        process_changes=builder.process_changes(agents),
    )
    if doses is not None:
        plan = replace(plan, memory=doses)
    if builder.faults:
        raise Impossible(tuple(dict.fromkeys(builder.faults)))
    return plan


def _components(name: str, spec: BusSpec) -> list[tuple[str, str]]:
    """(name, site) of every component of a bus."""
    if spec.kind not in _COMPONENT:
        return []
    prefix = _COMPONENT[spec.kind] if name == "main" else f"{name}-{_COMPONENT[spec.kind]}"
    return [
        (f"{prefix}-{site}" + (f"-{k}" if k > 1 else ""), site)
        for site, count in spec.at.items()
        for k in range(1, count + 1)
    ]


class _Builder:
    """Collects the parts of one cell, and the faults met on the way."""

    def __init__(
        self,
        scenario: Scenario,
        topology: Topology,
        stacks: Mapping[str, StackSpec],
        system: str,
        seed: int,
        load_seed: int,
    ) -> None:
        self.scenario = scenario
        self.topology = topology
        self.stacks = stacks
        self.system = system
        self.seed = seed
        self.load_seed = load_seed
        self.spec: System = scenario.systems[system]
        self.faults: list[Fault] = []
        self.links = directed_links(topology)
        self.distances = Distances(self.links)
        self.sites = {site.name: site for site in site_plans(topology.sites)}
        self._check_sites()
        self._check_stacks()
        if self.faults:
            raise Impossible(tuple(self.faults))
        self._addresses: dict[str, Iterator[tuple[str, str]]] = {
            name: node_addresses(site) for name, site in self.sites.items()
        }
        self._nodes: dict[str, NodePlan] = {}
        self.buses = {name: self._bus(name) for name in self.spec.uses()}
        self.seats = {name: seats_of(name, spec.scaled(scenario.scale)) for name, spec in scenario.workloads.items()}
        for workload in scenario.workloads.values():
            for site in sorted({*workload.clients, *workload.servers}, key=list(self.sites).index):
                self._node(f"host-{site}", site, "host", self.scenario.hosts)

    def memory(self) -> MemoryPlan | None:
        """The scenario's doses, for the agents of this system; makes their nodes."""
        spec = self.scenario.memory
        assert spec is not None
        name = self.spec.bus_names()[spec.bus] if spec.bus else next(iter(self.spec.uses()))
        client = spec.client or next(iter(self.sites))
        places = []
        for key, site in (("client", client), ("server", spec.server or client)):
            if site not in self.sites:
                self.faults.append(unknown_name(("memory", key), "site", site, list(self.sites)))
                return None
            self._node(f"host-{site}", site, "host", self.scenario.hosts)
            component = attach(self.buses[name], site, self.distances)
            if component is None and self.buses[name].nodes:
                what = f"no component of bus {name!r} can be reached from {site!r}"
                self.faults.append(Fault(("memory", key), what, "links in both directions"))
                return None
            places.append(Place(site, name, component))
        use = self.spec.uses()[name]
        stack = self.stacks[use.stack]
        library = Library(stack, use.adapter or stack.adapters[0])
        if (fault := adapter_fault(("memory", "doses"), library.adapter, stack, use.bus.kind)) is not None:
            self.faults.append(fault)
            return None
        self.faults += dose_faults(spec, places[0], library)
        return plan_memory(spec, places[0], places[1], library, self.seed)

    def changes(self) -> tuple[LinkChange, ...]:
        """What happens to the links during the load."""
        load_s = self.scenario.load.warmup + self.scenario.load.duration
        faults = timeline_faults(self.scenario.timeline, self.links, list(self.sites), load_s)
        self.faults += [replace(fault, at=("timeline", *fault.at)) for fault in faults]
        return () if faults else expand(self.scenario.timeline, self.links, load_s)

    def process_changes(self, agents: Sequence[AgentPlan]) -> tuple[ProcessChange, ...]:
        """What happens to bus components and agents during the load."""
        load_s = self.scenario.load.warmup + self.scenario.load.duration
        events, targets = self.scenario.timeline, targets_of(tuple(self.buses.values()), agents)
        elsewhere = [
            component
            for name, system in self.scenario.systems.items()
            if name != self.system
            for bus, use in system.uses().items()
            for component, _ in _components(bus, use.bus)
        ]
        known = list(self.sites), list(self.scenario.workloads)
        faults = process_event_faults(events, targets, elsewhere, *known, load_s)
        self.faults += [replace(fault, at=("timeline", *fault.at)) for fault in faults]
        return () if faults else expand_process_events(events, targets, load_s)

    # -- checks that need both files --------------------------------------------------------------------------------

    def _check_sites(self) -> None:
        known = list(self.sites)
        for at, sites in self._placements():
            self.faults += [unknown_name((*at, site), "site", site, known) for site in sites if site not in self.sites]

    def _placements(self) -> Iterator[tuple[tuple[str | int, ...], list[str]]]:
        base: tuple[str | int, ...] = ("systems", self.system)
        if self.spec.bus is not None:
            yield (*base, "bus", "at"), list(self.spec.bus.at)
        for name, use in self.spec.uses().items() if self.spec.buses else ():
            yield (*base, "buses", name, "bus", "at"), list(use.bus.at)
        for name, workload in self.scenario.workloads.items():
            yield ("workloads", name, "clients"), list(workload.clients)
            yield ("workloads", name, "servers"), list(workload.servers)

    def _check_stacks(self) -> None:
        for name, use in self.spec.uses().items():
            at: tuple[str | int, ...] = ("systems", self.system)
            at = (*at, "buses", name, "stack") if self.spec.buses else (*at, "stack")
            stack = self.stacks.get(use.stack)
            if stack is None:
                self.faults.append(unknown_name(at, "stack", use.stack, list(self.stacks)))
            elif stack.driver != _DRIVER[use.bus.kind]:
                self.faults.append(
                    Fault(
                        at,
                        f"stack {use.stack!r} speaks {stack.driver}, which a {use.bus.kind} bus does not",
                        f"a stack with driver {_DRIVER[use.bus.kind]}",
                    )
                )

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _node(self, name: str, site: str, role: NodeRole, limits: Limited) -> None:
        if name in self._nodes:
            return
        address = next(self._addresses[site], None)
        if address is None:
            subnet = self.sites[site].subnet
            what = f"site {site!r} has more nodes than its network {subnet} has addresses"
            raise Impossible([Fault(("topology",), what, "fewer agents at the site, or a wider subnet of it")])
        image = limits.image if isinstance(limits, Placed) else None
        self._nodes[name] = NodePlan(name, site, role, *address, image, limits.cpus, limits.memory)

    def _bus(self, name: str) -> BusPlan:
        spec = self.spec.uses()[name].bus
        if not isinstance(spec, (RabbitmqBus, RouterBus)):
            return BusPlan(name, spec.kind, ())
        components = _components(name, spec)
        if isinstance(spec, RouterBus):
            named = {site: component for component, site in components}
            peers = {component: tuple(named[b] for a, b in spec.edges() if a == site) for component, site in components}
            options: dict[str, Any] = {"implementation": spec.implementation}
        else:
            peers = {a: tuple(b for b, _ in components if b != a) for a, _ in components}
            options = {"config": dict(spec.config)}
        self._check_bus_links(name, peers, dict(components))
        for component, site in components:
            self._node(component, site, "bus", spec)
        self._publish(name, spec, [component for component, _ in components])
        edges = spec.edge if isinstance(spec, RouterBus) else ()
        nodes = tuple(BusNodePlan(component, site, peers[component], site in edges) for component, site in components)
        return BusPlan(name, spec.kind, nodes, options, derive(self.seed, "bus", name))

    def _publish(self, name: str, spec: Placed, components: Sequence[str]) -> None:
        """Each component gets host ports of its own."""
        taken = {host for node in self._nodes.values() for _, host in node.publish}
        for number, component in enumerate(components):
            ports = tuple((port, host + number) for port, host in spec.publish.items())
            for port, host in ports:
                if host > _LAST_PORT or host in taken:
                    why = "there is none" if host > _LAST_PORT else "that is taken"
                    what = f"port {port} of {component} would be published at port {host}, and {why}"
                    self.faults.append(Fault((*self._bus_key(name), "publish", port), what, "a host port of its own"))
                taken.add(host)
            self._nodes[component] = replace(self._nodes[component], publish=ports)

    def _bus_key(self, name: str) -> tuple[str | int, ...]:
        return ("systems", self.system, *(("buses", name) if self.spec.buses else ()), "bus")

    def _check_bus_links(self, name: str, peers: Mapping[str, Sequence[str]], sites: Mapping[str, str]) -> None:
        at = (*self._bus_key(name), "at")
        for component, others in peers.items():
            for other in others:
                self._need_link(sites[component], sites[other], f"{component} to {other}", at)

    def _need_link(self, a: str, b: str, purpose: str, at: tuple[str | int, ...]) -> None:
        for source, target in ((a, b), (b, a)):
            if not self.distances.linked(source, target):
                self.faults.append(
                    Fault(at, f"{purpose} needs a link from {source!r} to {target!r}", "that link in the topology")
                )

    def lab(self) -> LabPlan:
        return LabPlan(tuple(self.sites.values()), tuple(self._nodes.values()), self.links)

    # -- agents and pairs -------------------------------------------------------------------------------------------

    def agents(self) -> Iterator[AgentPlan]:
        """Servers first: they must listen before anyone calls."""
        total = sum(len(seats.clients) + len(seats.servers) for seats in self.seats.values())
        if total > _MAX_AGENTS:
            self.faults.append(Fault(("workloads",), f"{total} agents in one cell", f"at most {_MAX_AGENTS}"))
            return
        makers = {name: maker for name in self.seats if (maker := self._maker(name)) is not None}
        index = 0
        for role in ("server", "client"):
            for workload, maker in makers.items():
                seats = self.seats[workload].servers if role == "server" else self.seats[workload].clients
                for position, seat in enumerate(seats):
                    component = self._component(workload, role, seat)
                    if component is None:
                        continue
                    task = (
                        maker.server(seat, index)
                        if role == "server"
                        else maker.client(seat, index, position / len(seats))
                    )
                    if position == 0 and (fault := task_fault(self.system, workload, task)) is not None:
                        self.faults.append(fault)  # the other agents of the workload are like the first
                    yield AgentPlan(
                        index=index,
                        name=seat.name,
                        node=f"host-{seat.site}",
                        site=seat.site,
                        role="server" if role == "server" else "client",
                        workload=workload,
                        bus=self._bus_of(workload),
                        bus_node=component,
                        stack=maker.stack.name,
                        adapter=maker.adapter,
                        task=task,
                        processes=maker.spec.processes,
                    )
                    index += 1

    def _bus_of(self, workload: str) -> str:
        """The name in `buses` of the bus a workload uses."""
        return self.spec.bus_names()[self.scenario.workloads[workload].bus]

    def _maker(self, workload: str) -> TaskMaker | None:
        """What makes a workload's tasks; None, the fault being noted, where its client library cannot be used."""
        spec, use = self.scenario.workloads[workload], self.spec.uses()[self._bus_of(workload)]
        stack = self.stacks[use.stack]
        adapter = spec.adapter or use.adapter or stack.adapters[0]
        self.faults += stall_faults(workload, spec, self.scenario.load)
        if (fault := adapter_fault(("workloads", workload, "adapter"), adapter, stack, use.bus.kind)) is not None:
            self.faults.append(fault)
            return None
        seats = self.seats[workload]
        total = len(seats.clients) + len(seats.servers)
        return TaskMaker(workload, spec, total, adapter, stack, self.scenario.load, self.load_seed)

    def _component(self, workload: str, role: str, seat: Seat) -> str | None:
        """The component an agent connects to, "" where the bus has none; None, the fault being noted, for no way."""
        bus = self.buses[self._bus_of(workload)]
        component = attach(bus, seat.site, self.distances)
        if component is None and bus.nodes:
            at = ("workloads", workload, f"{role}s", seat.site)
            what = f"no component of bus {bus.name!r} can be reached from {seat.site!r}"
            self.faults.append(Fault(at, what, "links in both directions"))
            return None
        return component.name if component else ""

    def pairs(self) -> Iterator[PairPlan]:
        """Who sends to whom, and the least time that takes."""
        for name, seats in self.seats.items():
            spec = self.scenario.workloads[name]
            bus = self.buses[self._bus_of(name)]
            seen: dict[tuple[str, str, str], PairPlan] = {}
            for client_site, meeting, sites in seats.reached():
                try:
                    sites = reached_servers(bus, client_site, sites, spec.pattern == "rpc-fanout", self.distances)
                    paths = {site: message_path(bus, client_site, site, self.distances) for site in sites}
                except LookupError:
                    continue  # the agent that cannot reach its bus has been reported
                for server_site, path in paths.items():
                    key = (client_site, server_site, meeting.topic)
                    if key not in seen and (floor := self._floor(name, client_site, path, spec.round_trip)) is not None:
                        seen[key] = PairPlan(name, *key, path, floor, spec.round_trip)
            yield from seen.values()

    def _floor(self, workload: str, client_site: str, path: Sequence[str], round_trip: bool) -> float | None:
        """The least time along a path and, for a round trip, back; None, the fault being noted, without links."""
        try:
            return one_way(path, self.distances) + (one_way(path[::-1], self.distances) if round_trip else 0.0)
        except LookupError:
            at = ("workloads", workload, "clients", client_site)
            self.faults.append(Fault(at, f"no link along {' - '.join(path)}", "a link between neighbours"))
            return None
