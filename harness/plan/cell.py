"""A cell: one fully determined run, as frozen values. The planner makes it; the lab only carries it out.

No I/O here. Every time is in seconds, every size in bytes, every rate in operations per second unless the
name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.model.links import Impairment
from harness.plan.memory import MemoryPlan

__all__ = [
    "AgentPlan",
    "BusNodePlan",
    "BusPlan",
    "CellPlan",
    "LabPlan",
    "LinkChange",
    "LinkPlan",
    "NodePlan",
    "NodeRole",
    "PairPlan",
    "Phases",
    "ProcessChange",
    "SitePlan",
]

NodeRole = Literal["bus", "host"]


@dataclass(frozen=True, slots=True)
class SitePlan:
    """A place: one network segment with its own subnets.

    Attributes:
        name: the site's name in the topology.
        index: 1-based position in the topology; addresses derive from it.
        subnet: IPv4 network, e.g. "10.203.1.0/24".
        gateway: IPv4 address of the wan gateway on this segment (the network's .1).
        subnet6: IPv6 network, e.g. "fd00:cb:1::/64".
        gateway6: IPv6 address of the wan gateway on this segment.
    """

    name: str
    index: int
    subnet: str
    gateway: str
    subnet6: str
    gateway6: str


@dataclass(frozen=True, slots=True)
class NodePlan:
    """Something with its own network identity.

    Attributes:
        name: unique within the lab; also the node's host name (letters, digits, hyphens).
        site: the site it stands at.
        role: "bus" for brokers and routers, "host" for client hosts.
        address: IPv4 address without prefix length.
        address6: IPv6 address without prefix length.
        image: image reference for container runtimes (None: the runtime's default).
        beside: references of further images whose programs the node needs; container runtimes only.
        cpus: CPU limit in cores, or None.
        memory_bytes: memory limit, or None.
        publish: (port of the node, port of the host's loopback it is reached at); container runtimes only.
    """

    name: str
    site: str
    role: NodeRole
    address: str
    address6: str
    image: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    beside: tuple[str, ...] = ()
    publish: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One DIRECTION of a link between two sites.

    Attributes:
        name: the link's name in the topology; both directions of a symmetric link share it.
        source: site the packets leave.
        target: site the packets reach.
        impairment: what happens to them.
    """

    name: str
    source: str
    target: str
    impairment: Impairment


@dataclass(frozen=True, slots=True)
class LinkChange:
    """One thing that is done to one direction of a link while the load runs.

    Attributes:
        at_s: load time, seconds from go.
        link: the link's name in the topology.
        source, target: the direction.
        action: "change" to another impairment, "cut", or "heal".
        impairment: what holds from then on, None for cut and heal.
        event: index of the event in the scenario's timeline.
        label: the event in a few words, for plots.
    """

    at_s: float
    link: str
    source: str
    target: str
    action: Literal["change", "cut", "heal"]
    impairment: Impairment | None
    event: int
    label: str


@dataclass(frozen=True, slots=True)
class ProcessChange:
    """One thing that is done to one process of the cell while the load runs.

    Attributes:
        at_s: load time, seconds from go.
        target: name of the bus component or agent.
        bus: name of the component's bus; "" for an agent.
        action: "stop" (SIGTERM), "kill" (SIGKILL), "start" (again, until it is ready), "pause", "resume".
        event: index of the event in the scenario's timeline.
        label: what happens in a few words, for plots.
    """

    at_s: float
    target: str
    bus: str
    action: Literal["stop", "kill", "start", "pause", "resume"]
    event: int
    label: str


@dataclass(frozen=True, slots=True)
class LabPlan:
    """The network of a cell: what a runtime brings up before anything runs in it."""

    sites: tuple[SitePlan, ...]
    nodes: tuple[NodePlan, ...]
    links: tuple[LinkPlan, ...]

    def node(self, name: str) -> NodePlan:
        """The node of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def site(self, name: str) -> SitePlan:
        """The site of that name. Raises KeyError."""
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)

    def nodes_at(self, site: str) -> tuple[NodePlan, ...]:
        """All nodes at that site, in plan order."""
        return tuple(node for node in self.nodes if node.site == site)


@dataclass(frozen=True, slots=True)
class BusNodePlan:
    """One component of a bus: a broker or a router.

    Attributes:
        name: the component's name, equal to its node's name.
        site: where it stands.
        peers: names of the components this one connects to (router connectors; cluster members for brokers).
        edge: True for a router in edge mode.
    """

    name: str
    site: str
    peers: tuple[str, ...] = ()
    edge: bool = False


@dataclass(frozen=True, slots=True)
class BusPlan:
    """The system under test, or one of the two of a hybrid.

    Attributes:
        name: its name within the system ("main" unless the scenario names several).
        kind: registered bus kind: "rabbitmq", "router", "loopback".
        nodes: its components.
        options: kind-specific options, already validated (plain JSON values).
        seed: where credentials and the like are drawn from; never shown in reports.
    """

    name: str
    kind: str
    nodes: tuple[BusNodePlan, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent: a process in a stack that performs operations.

    Attributes:
        index: number of the agent in the cell, the identity messages carry (0..65534).
        name: readable identity, e.g. "remote-call-client-edge-a-1".
        node: the node it runs on.
        site: that node's site.
        role: "client" sends, "server" receives (notification listeners are servers).
        workload: name of the workload it belongs to.
        bus: name of the bus it talks to.
        bus_node: the bus component it connects to (the nearest by the bus's own rule), "" for none.
        stack: name of its stack.
        adapter: "oslo", "kombu", "proton", "pyngus" or "loopback".
        task: the agent-side description of the work, plain JSON (see harness.agent.task).
        processes: "exec": a fresh process; "fork": forked from one that has the client library loaded.
    """

    index: int
    name: str
    node: str
    site: str
    role: Literal["client", "server"]
    workload: str
    bus: str
    bus_node: str
    stack: str
    adapter: str
    task: Mapping[str, Any]
    processes: Literal["exec", "fork"] = "exec"


@dataclass(frozen=True, slots=True)
class PairPlan:
    """A (client site, server site) pair of a workload, with the distance its messages must travel.

    Attributes:
        workload, client_site, server_site: which pair.
        target: topic or target they meet at.
        path: sites a request visits, client first, server last.
        floor_s: the least time an operation of this pair can take by the declared links alone (for a call: there
            and back; for a cast or notification: one way, to the receiver).
        round_trip: whether the floor is for a round trip.
    """

    workload: str
    client_site: str
    server_site: str
    target: str
    path: tuple[str, ...]
    floor_s: float
    round_trip: bool


@dataclass(frozen=True, slots=True)
class Phases:
    """The load's time line, seconds from go: [0, warmup) discarded, [warmup, warmup + duration) kept, then drain."""

    warmup_s: float
    duration_s: float
    drain_s: float

    @property
    def load_s(self) -> float:
        """Seconds from go to the last due operation."""
        return self.warmup_s + self.duration_s


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One fully determined run: a scenario, one point of its sweep, one repetition.

    Attributes:
        id: file-system safe, unique within the run, e.g. "amqp1-r1".
        system: name of the system under test.
        repetition: 1-based.
        order: 0-based position in which the cells are run.
        seed: drawn from the scenario's seed; every random choice in the cell but its load's derives from it.
        point: the sweep's value per axis, for display and comparison.
        lab, buses, agents, pairs, phases: what will be there and what it will do.
        stacks: names of the stacks its agents need.
        changes: what happens to the links during the load, in order of time.
        process_changes: what happens to bus components and agents during the load, in order of time.
        memory: the doses of a memory cell, which has no load: its agents are those of the doses.
    """

    id: str
    system: str
    repetition: int
    order: int
    seed: int
    point: Mapping[str, Any]
    lab: LabPlan
    buses: tuple[BusPlan, ...]
    agents: tuple[AgentPlan, ...]
    pairs: tuple[PairPlan, ...]
    phases: Phases
    stacks: tuple[str, ...]
    changes: tuple[LinkChange, ...] = ()
    process_changes: tuple[ProcessChange, ...] = ()
    memory: MemoryPlan | None = None

    def bus(self, name: str) -> BusPlan:
        """The bus of that name. Raises KeyError."""
        for bus in self.buses:
            if bus.name == name:
                return bus
        raise KeyError(name)
