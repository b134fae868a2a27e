"""A workload: which operations, between whom, when, how large. A pure description; the planner turns it into tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from harness.model.behaviour import NotifySpec, ServerSpec
from harness.model.distribution import Draw, SizeOrDraw
from harness.model.faults import Fault, refuse
from harness.model.frozen import NAMES, TEXT, AlsoWritten, Frozen, Name, Whole
from harness.model.quantities import Duration, Frequency
from harness.model.schedule import Closed, Schedule
from harness.model.stack import Adapter, Options

__all__ = ["SERVED", "Agents", "Pattern", "Processes", "Targets", "Workload"]

Pattern = Literal[
    "rpc-call",
    "rpc-cast",
    "rpc-fanout",
    "notify",
    "churn-connect",
    "churn-transport",
    "churn-cast",
    "churn-client",
    "churn-topic",
    "churn-abandon",
    "churn-link",
    "churn-declare",
    "churn-evented",
    "churn-blocking",
    "churn-server",
    "churn-listener",
]
#: Patterns whose operations reach a server.
SERVED = ("rpc-call", "rpc-cast", "rpc-fanout", "notify", "churn-transport", "churn-cast", "churn-client")
#: Patterns whose operations end with an answer.
_ANSWERED = ("rpc-call", "churn-transport", "churn-client")

#: exec: each agent is a fresh process; fork: agents are forked from one process that has the client library loaded.
Processes = Literal["exec", "fork"]

_LARGEST = 64 << 20


def _agents(value: object) -> object:
    """`edge-a` and `[edge-a, edge-b]` are as good as `{edge-a: 1, edge-b: 1}`."""
    if isinstance(value, str):
        return {value: 1}
    if isinstance(value, list):
        return {str(site): value.count(site) for site in value}
    return value


Agents = Annotated[
    dict[Name, Annotated[Whole, Field(ge=1, le=20_000)]], BeforeValidator(_agents), AlsoWritten((TEXT, NAMES))
]


def _sites(value: object) -> object:
    return [value] if isinstance(value, str) else value


Served = Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(_sites), AlsoWritten((TEXT,))]


class Spread(Frozen):
    """Targets by number or by site: one of topics, sites."""

    topics: Whole | None = Field(
        default=None,
        ge=1,
        le=50_000,
        description="so many topics: every client uses all of them in turn, the servers are dealt out over them",
    )
    sites: dict[Name, Served] | None = Field(
        default=None,
        min_length=1,
        description="who is served where: server sites by client site, like {edge-a: core, edge-b: [core, edge-a]}; "
        "a client takes its sites in turn",
    )

    @model_validator(mode="after")
    def _check(self) -> Spread:
        if (self.topics is None) == (self.sites is None):
            raise refuse(Fault((), "targets are by number or by site", "topics: 8, or sites: {edge-a: core}"))
        return self


TargetKind = Literal["shared", "per-site", "per-client", "per-server"]
Targets = Annotated[
    Annotated[TargetKind, Tag("kind")] | Annotated[Spread, Tag("spread")],
    Discriminator(lambda value: "spread" if isinstance(value, (Mapping, Spread)) else "kind"),
]


class Workload(Frozen):
    """One stream of operations between placed clients and servers."""

    pattern: Pattern = Field(
        description="what an operation is: a call with its answer, a cast to one server, a fanout to all servers, a "
        "notification; or one cycle of client life: churn-connect (connect, disconnect), churn-transport and "
        "churn-cast (a transport made, one call or cast, closed), churn-client (a new client object, one call), "
        "churn-topic (a cast to a topic nobody has named before), churn-abandon (a connection given up while it is "
        "being made; proton and pyngus only), churn-link (a channel, or a pair of links, opened and closed; kombu, "
        "proton and pyngus only), churn-declare (a queue nobody has named before declared; kombu only), churn-evented "
        "(a connection of kombu's event loop cut off and given up; kombu only), churn-blocking (Proton's blocking "
        "connection made and closed; proton only), churn-server and churn-listener (started and stopped)"
    )
    bus: Name = Field(default="main", description="name of the bus within the system, where a system has several")
    adapter: Adapter | None = Field(
        default=None,
        description="client library: oslo, or kombu, proton and pyngus for the same without oslo.messaging; default: "
        "the system's, else the stack's first",
    )
    clients: Agents = Field(min_length=1, description="client agents per site; multiplied by the scenario's scale")
    servers: Agents = Field(
        default_factory=dict,
        description="server agents (listeners for notify) per site; with targets: per-client, of each client's target",
    )
    targets: Targets = Field(
        default="shared",
        description="shared: every client may reach every server; per-site: a client is served at its own site; "
        "per-client: each client has a target and servers of its own, a pair for servers: {core: 1}; per-server: "
        "every server is addressed by its name, in turn; or a mapping: topics: 8, or sites: {edge-a: core}",
    )
    mode: Literal["open", "closed"] = Field(
        default="open",
        description="open: operations are due by the clock, whatever happened before; closed: each follows the last",
    )
    rate: Frequency | None = Field(
        default=None, description="operations per second of each client (open mode); short for schedule: {rate: ...}"
    )
    arrivals: Literal["constant", "poisson"] = Field(
        default="constant", description="spacing of operations at that rate"
    )
    pause: Duration = Field(default=0, description="think time between operations (closed mode)")
    schedule: Schedule | None = Field(
        default=None, description="when operations are due, where rate or mode: closed do not say it"
    )
    payload: SizeOrDraw = Field(
        default=1024,
        description="bytes of each message's payload: a size, or a distribution: {uniform: [512B, 4KiB]}, "
        "{exponential: 1KiB, max: 64KiB}, {lognormal: 1KiB, sigma: 1, max: 64KiB}, "
        "{choice: [100B, 1MiB], weights: [9, 1]}",
    )
    timeout: Duration = Field(default=10.0, description="how long a client waits for an operation")
    monitor: Duration | None = Field(
        default=None,
        gt=0,
        description="heartbeats of a call (oslo.messaging's call_monitor_timeout): a call fails once its server has "
        "been silent for so long, 2s or more, and may otherwise take until its timeout",
    )
    ttl: Duration | None = Field(
        default=None, gt=0, description="how long the bus keeps a message nobody takes (adapters kombu, proton, pyngus)"
    )
    retry: Whole | None = Field(
        default=None,
        ge=-1,
        le=1_000_000,
        description="reconnection attempts before an operation fails (oslo.messaging's retry); -1 for ever, 0 none",
    )
    notify: NotifySpec | None = Field(default=None, description="priorities, pools and driver of notifications")
    workers: Whole | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="threads of each client; default: enough for its rate, and more while answers take long",
    )
    server: ServerSpec = Field(default_factory=ServerSpec, description="how the servers behave")
    options: Options = Field(default_factory=dict, description="oslo.config options by group, over the stack's")
    processes: Processes = Field(
        default="exec",
        description="exec: each agent is a fresh process; fork: agents are forked from one that has the client library "
        "loaded, so that a thousand fit on one machine (their memory is partly shared)",
    )

    @model_validator(mode="after")
    def _check(self) -> Workload:
        faults = [*self._schedule_faults(), *self._pattern_faults(), *self._target_faults()]
        if self.timeout <= 0:
            faults.append(Fault(("timeout",), "an operation needs time to finish", "timeout: 10s"))
        most = self.payload.most if isinstance(self.payload, Draw) else self.payload
        if most > _LARGEST:
            what = "a payload of more than 64 MiB" if most < float("inf") else "payloads without an upper bound"
            faults.append(Fault(("payload",), what, "at most 64MiB" if most < float("inf") else "max: 1MiB"))
        if faults:
            raise refuse(*faults)
        return self

    def _schedule_faults(self) -> Iterator[Fault]:
        if self.schedule is not None:
            if self.rate is not None or self.pause or self.mode == "closed" or self.arrivals != "constant":
                short = next(k for k in ("rate", "pause", "mode", "arrivals") if k in self.model_fields_set)
                yield Fault((short,), f"the schedule is said twice, by {short} and by schedule", "one of them")
            return
        if self.mode == "open" and not self.rate:
            yield Fault(
                ("rate",), "an open-loop workload needs a rate above 0", "rate: 20/s, or a schedule, or mode: closed"
            )
        if self.mode == "closed" and self.rate is not None:
            yield Fault(("rate",), "a closed-loop workload has no rate", "pause: 100ms, or mode: open")
        if self.mode == "open" and self.pause:
            yield Fault(("pause",), "an open-loop workload has no think time", "mode: closed, or no pause")

    def _pattern_faults(self) -> Iterator[Fault]:
        if self.pattern in SERVED and not self.servers:
            yield Fault(("servers",), f"this key is missing: {self.pattern} needs servers to reach", "servers: SITE")
        if self.pattern not in SERVED and self.servers:
            yield Fault(("servers",), f"{self.pattern} reaches no server", "no servers")
        if self.pattern != "notify":
            if self.notify is not None:
                yield Fault(("notify",), f"{self.pattern} sends no notifications", "pattern: notify")
            if self.server.requeues:
                yield Fault(
                    ("server", "requeues"), "only notifications can be given back to the bus", "pattern: notify"
                )
        elif self.notify is not None and len(self.notify.pools) > sum(self.servers.values()):
            what = f"{len(self.notify.pools)} pools and {sum(self.servers.values())} listeners: a pool would be empty"
            yield Fault(("notify", "pools"), what, "at least a listener per pool")
        if self.monitor is not None and self.pattern != "rpc-call":
            yield Fault(("monitor",), f"{self.pattern} is not a call: nobody waits for its server", "pattern: rpc-call")

    def _target_faults(self) -> Iterator[Fault]:
        if self.pattern not in SERVED:
            return
        if self.targets == "per-server" and self.pattern not in ("rpc-call", "rpc-cast"):
            yield Fault(
                ("targets",), f"{self.pattern} is not addressed to a server by its name", "rpc-call or rpc-cast"
            )
        placed = self.placement
        for site in self.clients:
            if placed is not None and site not in placed:
                yield Fault(
                    ("targets", "sites"), f"it is not said where clients at {site!r} are served", f"{site}: SITE"
                )
            for server in (placed or {}).get(site, ()):
                if server not in self.servers:
                    if self.targets == "per-site":
                        at: tuple[str | int, ...] = ("clients", site)
                        what = f"clients at {site!r} have no server to call: targets are per-site"
                        yield Fault(
                            at, f"{what} and no server stands there", f"servers at {site!r}, or targets: shared"
                        )
                    else:
                        yield Fault(
                            ("targets", "sites", site), f"no server stands at {server!r}", "a site of `servers`"
                        )

    @property
    def placement(self) -> Mapping[str, tuple[str, ...]] | None:
        """Server sites by client site, where targets are by site; None where they are not."""
        if self.targets == "per-site":
            return {site: (site,) for site in self.clients}
        return self.targets.sites if isinstance(self.targets, Spread) else None

    @property
    def timing(self) -> Schedule:
        """Its schedule, however it was said."""
        if self.schedule is not None:
            return self.schedule
        if self.mode == "closed":
            return Schedule.model_construct(closed=Closed.model_construct(pause=self.pause))
        return Schedule.model_construct(rate=self.rate, arrivals=self.arrivals)

    @property
    def round_trip(self) -> bool:
        """Whether an operation ends with an answer."""
        return self.pattern in _ANSWERED

    @property
    def scaled_key(self) -> Literal["clients", "servers"]:
        """What a scale multiplies: the clients; of a fanout to a shared target the servers."""
        return "servers" if self.pattern == "rpc-fanout" and self.targets != "per-client" else "clients"

    def scaled(self, factor: int) -> Workload:
        """The same with so many times the clients; of a fanout to a shared target, so many times the servers."""
        counts: Mapping[str, int] = getattr(self, self.scaled_key)
        changes: dict[str, Any] = {self.scaled_key: {site: number * factor for site, number in counts.items()}}
        return self if factor == 1 else self.model_copy(update=changes)
