"""The buses a scenario can put to the test, as its file describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.model.faults import Fault, refuse, unknown_name
from harness.model.frozen import NAMES, TEXT, AlsoWritten, Frozen, Name, Real, Whole
from harness.model.quantities import Size

__all__ = ["BusSpec", "Limited", "LoopbackBus", "Placed", "RabbitmqBus", "RouterBus"]


def _sites(value: object) -> object:
    """`core` and `[core, edge-a]` are as good as `{core: 1, edge-a: 1}`."""
    if isinstance(value, str):
        return {value: 1}
    if isinstance(value, list):
        counts: dict[str, int] = {}
        for site in value:
            counts[str(site)] = counts.get(str(site), 0) + 1
        return counts
    return value


Sites = Annotated[
    dict[Name, Annotated[Whole, Field(ge=1, le=64)]],
    Field(min_length=1),
    BeforeValidator(_sites),
    AlsoWritten((TEXT, NAMES)),
]


Port = Annotated[int, Field(ge=1, le=65_535)]


class Limited(Frozen):
    """What a node may use. Only runtimes with containers can keep it to that."""

    cpus: Real | None = Field(default=None, gt=0, le=4096, description="CPU time each node may use, in cores, like 0.5")
    memory: Size | None = Field(default=None, ge=8 << 20, description="memory each node may use, like 512MiB; no swap")


class Placed(Limited):
    """What every component of a bus runs in."""

    image: str | None = Field(
        default=None, min_length=1, description="container image of each component; container runtimes only"
    )
    publish: dict[Port, Port] = Field(
        default_factory=dict,
        description="ports of the components, and where on 127.0.0.1 of the engine's host the first one's is reached, "
        "those of further components at the ports above; default: nowhere; --runtime docker only",
    )


_CONFIG_KEY = re.compile(r"[\w.:/$*@-]+\Z", re.ASCII)


def _config(value: Mapping[str, str | int | bool]) -> Mapping[str, str | int | bool]:
    """Each is one line of a file: `key = value`."""
    faults = [
        Fault((key,), f"{key!r} cannot be a key of rabbitmq.conf", "letters, digits and dots, like channel_max")
        for key in value
        if not _CONFIG_KEY.match(key)
    ]
    faults += [
        Fault((key,), "a value of several lines", "one line")
        for key, text in value.items()
        if isinstance(text, str) and len(text.splitlines()) > 1
    ]
    if faults:
        raise refuse(*faults)
    return value


class RabbitmqBus(Placed):
    """RabbitMQ: one broker, or a cluster of all brokers named."""

    kind: Literal["rabbitmq"] = Field(description="which kind of bus")
    at: Sites = Field(description="where the brokers stand: a site, a list of sites, or sites with numbers of brokers")
    config: Annotated[dict[str, str | int | bool], AfterValidator(_config)] = Field(
        default_factory=dict, description="lines for rabbitmq.conf, over the harness's own"
    )

    def edges(self) -> tuple[tuple[str, str], ...]:
        """Brokers of a cluster are joined all with all, by themselves."""
        return ()


class RouterBus(Placed):
    """AMQP 1.0 routers: one at each named site, joined into a graph."""

    kind: Literal["router"] = Field(description="which kind of bus")
    at: Sites = Field(description="where the routers stand: a site or a list of sites, one router each")
    graph: Literal["mesh", "line", "ring", "star"] | tuple[tuple[Name, Name], ...] = Field(
        default="mesh",
        description="how interior routers are joined: mesh (each with each), line and ring (in the order of `at`), "
        "star (the first with each other), or a list of pairs of sites",
    )
    edge: tuple[Name, ...] = Field(
        default=(),
        description="sites whose router is an edge router; each is joined by the graph to one interior router",
    )
    implementation: Literal["auto", "skrouterd", "embedded"] = Field(
        default="auto", description="auto: a real router where there is one, else the embedded stand-in"
    )

    @model_validator(mode="after")
    def _check_graph(self) -> RouterBus:
        faults = [
            Fault(("at", site), f"{count} routers at one site", "one router per site")
            for site, count in self.at.items()
            if count != 1
        ]
        faults += [
            unknown_name(("edge", i), "router at site", site, list(self.at))
            for i, site in enumerate(self.edge)
            if site not in self.at
        ]
        if isinstance(self.graph, tuple):
            for index, pair in enumerate(self.graph):
                faults += [
                    unknown_name(("graph", index, k), "router at site", site, list(self.at))
                    for k, site in enumerate(pair)
                    if site not in self.at
                ]
                if pair[0] == pair[1]:
                    faults.append(
                        Fault(("graph", index), f"a router at {pair[0]!r} joined to itself", "two different sites")
                    )
        if faults:
            raise refuse(*faults)
        apart = self._unreached()
        if apart:
            raise refuse(
                Fault(
                    ("graph",),
                    f"the graph does not reach the router at {', '.join(sorted(apart))}",
                    "a connected graph",
                )
            )
        for site in self.edge:
            peers = [b if a == site else a for a, b in self.edges() if site in (a, b)]
            if len(peers) != 1 or peers[0] in self.edge:
                raise refuse(
                    Fault(
                        ("edge",),
                        f"the edge router at {site!r} is joined to {', '.join(peers) or 'none'}",
                        "exactly one interior router",
                    )
                )
        return self

    def edges(self) -> tuple[tuple[str, str], ...]:
        """The joined pairs of sites, each once; the first of a pair is the one that connects."""
        sites = list(self.at)
        if isinstance(self.graph, tuple):
            return tuple(dict.fromkeys((a, b) for a, b in self.graph))
        if self.graph == "line":
            return tuple(pairwise(sites))
        if self.graph == "ring":
            closing = [(sites[-1], sites[0])] if len(sites) > 2 else []
            return (*pairwise(sites), *closing)
        if self.graph == "star":
            return tuple((site, sites[0]) for site in sites[1:])
        interior = [site for site in sites if site not in self.edge]
        mesh = [(a, b) for i, a in enumerate(interior) for b in interior[:i]]
        return (*mesh, *((site, interior[0]) for site in self.edge if interior))

    def _unreached(self) -> set[str]:
        todo, reached = [next(iter(self.at))], set[str]()
        while todo:
            here = todo.pop()
            if here not in reached:
                reached.add(here)
                todo += [b if a == here else a for a, b in self.edges() if here in (a, b)]
        return set(self.at) - reached


class LoopbackBus(Frozen):
    """No bus at all: clients and servers meet inside the agent. The harness's own floor, and its quickest test."""

    kind: Literal["loopback"] = Field(description="which kind of bus")
    at: dict[Name, int] = Field(default_factory=dict, max_length=0, description="nothing to place")

    def edges(self) -> tuple[tuple[str, str], ...]:
        """Nothing to join."""
        return ()


def _check_kind(value: object) -> object:
    """A bus without a kind, or of one there is not."""
    if isinstance(value, Mapping) and value.get("kind") not in _KINDS:
        if "kind" not in value:
            raise refuse(Fault(("kind",), "this key is missing", f"one of: {', '.join(_KINDS)}"))
        raise refuse(unknown_name(("kind",), "kind of bus", value["kind"], _KINDS))
    return value


#: The registration list of bus kinds a scenario may name.
_AnyBus = RabbitmqBus | RouterBus | LoopbackBus
_KINDS = tuple(str(get_args(bus.model_fields["kind"].annotation)[0]) for bus in get_args(_AnyBus))
BusSpec = Annotated[_AnyBus, Field(discriminator="kind"), BeforeValidator(_check_kind)]
