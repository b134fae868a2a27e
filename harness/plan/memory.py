"""The memory cell of a system: doses, the tasks of the agents that take them, and how many blocks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from harness.model.faults import Fault
from harness.model.memory import BUSLESS_EVENTS, CHURN_OF, KINDS, DoseSpec, Kind, MemorySpec, limits_of
from harness.plan.seeds import derive

if TYPE_CHECKING:
    from harness.model.stack import StackSpec
    from harness.plan.cell import AgentPlan, BusNodePlan

__all__ = ["DosePlan", "MemoryPlan", "Place", "dose_agents", "dose_faults", "plan_memory"]

#: The control exchange of doses.
_EXCHANGE = "femdc"
#: Threads of a server: so few that all of them, and what each of them caches per connection, are there after the
#: warm-up. With 16, what 200 operations had not filled looked like 1.4 blocks per operation.
_SERVER_WORKERS = 4
#: Options that let a client come back from a reset as soon as the driver can, so that cycles are short.
_QUICK: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "rabbit": {
        "oslo_messaging_rabbit": {
            "kombu_reconnect_delay": 0.1,
            "rabbit_retry_interval": 1,
            "rabbit_retry_backoff": 1,
            "rabbit_interval_max": 1,
        }
    },
    "amqp1": {"oslo_messaging_amqp": {"connection_retry_interval": 1, "connection_retry_backoff": 0}},
}
#: A server keeps a link to the reply address of a client that has gone for 600 s; doses do not last that long.
_FORGETFUL: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "amqp1": {"oslo_messaging_amqp": {"default_sender_link_timeout": 2}},
}
#: Before this release it kept such links for ever, and the option is unknown (Launchpad bug 1640266).
_FORGETS = Version("5.14.0")
#: Raw clients over routers, which give no credit where nobody takes what is sent: there a cast lasts as long as it may.
_AWAIT_CREDIT = ("proton", "pyngus")
#: The group of options each driver reads; a dose of several systems may have options for the drivers of all.
_GROUPS: Mapping[str, str] = {"rabbit": "oslo_messaging_rabbit", "amqp1": "oslo_messaging_amqp"}
#: A cut link is noticed by heartbeats; the shortest that are safe.
_WATCHFUL: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "rabbit": {"oslo_messaging_rabbit": {"heartbeat_timeout_threshold": 4, "heartbeat_rate": 2}},
    "amqp1": {"oslo_messaging_amqp": {"idle_timeout": 4}},
}


@dataclass(frozen=True, slots=True)
class DosePlan:
    """One dose.

    Attributes:
        name, kind: which.
        count: operations per block.
        event: what happens before each operation; see harness.model.memory.Kind.
        client: the agent that performs the operations.
        server: the agent that takes them, or None.
        limits: growth per operation that is a leak, by metric.
        timeout_s: how long one operation may take.
    """

    name: str
    kind: str
    count: int
    event: str
    client: AgentPlan
    server: AgentPlan | None
    limits: Mapping[str, float]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """All doses of a cell; see harness.model.memory.MemorySpec for the figures."""

    doses: tuple[DosePlan, ...]
    blocks: int
    warmup_blocks: int
    repetitions: int
    doublings: int
    attribute: bool
    pause_s: float = 0.05
    rest_s: float = 45.0
    parallel: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent stands and what it connects to."""

    site: str
    bus: str
    bus_node: BusNodePlan | None


@dataclass(frozen=True, slots=True)
class Library:
    """What the agents of a system speak through: a client library, by its adapter, of a stack."""

    stack: StackSpec
    adapter: str


def plan_memory(spec: MemorySpec, client: Place, server: Place, library: Library, seed: int) -> MemoryPlan:
    """Plan the doses of one system."""
    doses: list[DosePlan] = []
    for name, dose in spec.doses.items():
        kind = _kind(dose.plan_kind(name), library)
        if spec.where_possible and _fault(name, dose, client, library) is not None:
            continue
        index = 2 * len(doses)
        own = derive(seed, "dose", name)
        doses.append(
            DosePlan(
                name=name,
                kind=dose.plan_kind(name),
                count=_whole(dose.count or kind.count, dose.transports or kind.transports),
                event=kind.event,
                client=_agent(index, "client", name, dose, kind, client, library, own),
                server=_agent(index + 1, "server", name, dose, kind, server, library, own) if kind.served else None,
                limits=limits_of(dose.plan_kind(name), spec.limits, dose.limits, python=library.stack.python_version),
                timeout_s=dose.timeout or kind.timeout_s,
            )
        )
    return MemoryPlan(
        tuple(doses),
        spec.blocks,
        spec.warmup_blocks,
        spec.repetitions,
        spec.doublings,
        spec.attribute,
        spec.pause,
        spec.rest,
        spec.parallel,
    )


def _kind(name: str, library: Library) -> Kind:
    """A kind of operation as a client library performs it."""
    kind, waiting = KINDS[name], KINDS["timeout"]
    if name == "cast-nobody" and library.adapter in _AWAIT_CREDIT:
        return replace(kind, count=waiting.count, workers=waiting.workers, timeout_s=waiting.timeout_s)
    return kind


def dose_agents(plan: MemoryPlan) -> tuple[AgentPlan, ...]:
    """Every agent of every dose, each once."""
    return tuple(agent for dose in plan.doses for agent in (dose.client, dose.server) if agent is not None)


def _whole(count: int, transports: int) -> int:
    """Operations per block, so many that every connection has as many of them."""
    return -(-count // transports) * transports


def dose_faults(spec: MemorySpec, client: Place, library: Library) -> list[Fault]:
    """Doses the system cannot be given, located below the scenario; with `where_possible` only if none is left."""
    found = [fault for name, dose in spec.doses.items() if (fault := _fault(name, dose, client, library)) is not None]
    return found if len(found) == len(spec.doses) or not spec.where_possible else []


def _fault(name: str, dose: DoseSpec, client: Place, library: Library) -> Fault | None:
    """Why a dose cannot be given to a client at a place with a client library, None if it can."""
    kind, at, adapter = KINDS[dose.plan_kind(name)], ("memory", "doses", name), library.adapter
    if kind.event and dose.pause:
        return Fault((*at, "pause"), "what is dosed is an event: one operation follows each", "no pause")
    if kind.event and client.bus_node is None:
        return Fault(at, "there is no connection to lose: the bus has no components", "rabbitmq or router")
    if kind.event == "cut" and client.bus_node is not None and client.bus_node.site == client.site:
        what = f"the client at {client.site!r} stands beside its bus: there is no link to cut"
        return Fault(at, what, "memory.client at another site, or the kind reconnect")
    if kind.pattern.startswith("churn-") and kind.pattern not in CHURN_OF[adapter]:
        needed = [other for other, patterns in CHURN_OF.items() if kind.pattern in patterns]
        return Fault(
            at,
            f"adapter {adapter} of stack {library.stack.name!r} has no {kind.pattern}",
            f"a stack with {' or '.join(needed)}",
        )
    return None


def _agent(
    index: int, role: str, name: str, dose: DoseSpec, kind: Kind, place: Place, library: Library, seed: int
) -> AgentPlan:
    from harness.plan.cell import AgentPlan  # cell.py names MemoryPlan

    agent_name = f"{name}-{role}"
    topics = [f"dose-{name}" + (f"-{number}" if dose.targets > 1 else "") for number in range(dose.targets)]
    client = role == "client"
    server_pattern = kind.pattern if kind.pattern in ("rpc-call", "rpc-cast", "rpc-fanout", "notify") else "rpc-call"
    task: dict[str, Any] = {
        "agent": index,
        "name": agent_name,
        "adapter": library.adapter,
        "driver": library.stack.driver,
        "options": _options(dose, kind, library),
        "pattern": kind.pattern if client else server_pattern,
        "exchange": _EXCHANGE,
        "role": role,
        "topics": [{"topic": topic, "server": None} for topic in topics],
        "server": "" if client else agent_name,
        "schedule": {"kind": "closed", "pause_s": dose.pause} if client else {},
        "warmup_s": 0.0,
        "duration_s": 1e8,
        "payload": {"kind": "fixed", "bytes": dose.payload},
        "timeout_s": dose.timeout or kind.timeout_s,
        "workers": (dose.workers or kind.workers) if client else _SERVER_WORKERS,
        "seed": derive(seed, role),
        "workload": name,
        "behaviour": {},
    }
    if client and (dose.transports or kind.transports) > 1:
        task |= {"transports": dose.transports or kind.transports, "workers": dose.transports or kind.transports}
    if client and kind.event in BUSLESS_EVENTS:
        task["connected"] = False
        if library.adapter == "oslo":
            task["retry"] = 0
    if client and dose.leak is not None:
        task["leak"] = {
            "what": dose.leak.what,
            "per_operation": dose.leak.per_operation,
            "size": dose.leak.size,
        }
    return AgentPlan(
        index=index,
        name=agent_name,
        node=f"host-{place.site}",
        site=place.site,
        role="client" if client else "server",
        workload=name,
        bus=place.bus,
        bus_node=place.bus_node.name if place.bus_node else "",
        stack=library.stack.name,
        adapter=library.adapter,
        task=task,
    )


def _options(dose: DoseSpec, kind: Kind, library: Library) -> dict[str, dict[str, Any]]:
    """The stack's options under the dose's; reconnecting clients do not dawdle. Raw clients have none of these."""
    driver = library.stack.driver
    layers: list[Mapping[str, Mapping[str, Any]]] = []
    if library.adapter == "oslo":
        release = library.stack.version_of("oslo.messaging")
        if release is None or Version(release) >= _FORGETS:
            layers.append(_FORGETFUL.get(driver, {}))
        if kind.event:
            layers.append(_QUICK.get(driver, {}))
        if kind.event == "cut":
            layers.append(_WATCHFUL.get(driver, {}))
        layers.append(library.stack.options)
    others = {group for other, group in _GROUPS.items() if other != driver}
    layers.append({group: values for group, values in dose.options.items() if group not in others})
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for group, values in layer.items():
            merged.setdefault(group, {}).update(values)
    return merged
