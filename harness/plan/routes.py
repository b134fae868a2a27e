"""Where a message travels: which component a client connects to, which sites it crosses, and how long that takes
by the declared links alone (the floor no measurement can go below).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from harness.plan.cell import BusNodePlan, BusPlan, LinkPlan

__all__ = ["Distances", "attach", "message_path", "one_way", "reached_servers"]


class Distances:
    """One-way delays between sites, seconds, from the declared links."""

    def __init__(self, links: Sequence[LinkPlan]) -> None:
        self._delay: Mapping[tuple[str, str], float] = {
            (link.source, link.target): link.impairment.delay_s for link in links
        }

    def linked(self, source: str, target: str) -> bool:
        """Whether packets can go from one site to the other."""
        return source == target or (source, target) in self._delay

    def delay(self, source: str, target: str) -> float:
        """One-way delay in seconds, 0 within a site. Raises KeyError where there is no link."""
        return 0.0 if source == target else self._delay[source, target]


def one_way(path: Sequence[str], distances: Distances) -> float:
    """Seconds a message needs along a path of sites. Raises KeyError where two neighbours have no link."""
    return sum(distances.delay(a, b) for a, b in pairwise(path))


def attach(bus: BusPlan, site: str, distances: Distances) -> BusNodePlan | None:
    """The component a client at that site connects to: the nearest by round trip, the first named among equals.

    None where the bus has no components or none can be reached.
    """
    near = [
        (distances.delay(site, node.site) + distances.delay(node.site, site), index)
        for index, node in enumerate(bus.nodes)
        if distances.linked(site, node.site) and distances.linked(node.site, site)
    ]
    return bus.nodes[min(near)[1]] if near else None


def _broker_path(bus: BusPlan, source: BusNodePlan, target: BusNodePlan) -> tuple[str, ...]:
    """Brokers of a cluster talk to each other directly; a queue lives where its consumer declared it."""
    return (source.site, target.site)


def _router_path(bus: BusPlan, source: BusNodePlan, target: BusNodePlan) -> tuple[str, ...]:
    """Routers forward along the fewest hops (every connector has cost 1, the routers' own default)."""
    neighbours: dict[str, list[str]] = {node.name: [] for node in bus.nodes}
    for node in bus.nodes:
        for peer in node.peers:
            neighbours[node.name].append(peer)
            neighbours[peer].append(node.name)
    paths = {source.name: [source.name]}
    frontier = [source.name]
    while frontier and target.name not in paths:
        reached = []
        for here in frontier:
            for there in neighbours[here]:
                if there not in paths:
                    paths[there] = [*paths[here], there]
                    reached.append(there)
        frontier = reached
    sites = {node.name: node.site for node in bus.nodes}
    return tuple(sites[name] for name in paths[target.name])


#: How a message travels between two components of a bus, by kind.
_PATHS: Mapping[str, Callable[[BusPlan, BusNodePlan, BusNodePlan], tuple[str, ...]]] = {
    "rabbitmq": _broker_path,
    "router": _router_path,
}


def message_path(bus: BusPlan, client_site: str, server_site: str, distances: Distances) -> tuple[str, ...]:
    """The sites a message crosses from a client to a server, both ends included, repeats removed.

    Raises:
        LookupError: a client or server cannot reach the bus.
    """
    if not bus.nodes:
        return (client_site,) if client_site == server_site else (client_site, server_site)
    source, target = attach(bus, client_site, distances), attach(bus, server_site, distances)
    if source is None or target is None:
        raise LookupError(client_site if source is None else server_site)
    path = [client_site, *_PATHS[bus.kind](bus, source, target), server_site]
    return tuple(site for index, site in enumerate(path) if index == 0 or site != path[index - 1])


def reached_servers(
    bus: BusPlan, client_site: str, server_sites: Sequence[str], everyone: bool, distances: Distances
) -> tuple[str, ...]:
    """Which of the server sites a client's messages go to.

    A broker hands a shared queue's messages to all its consumers in turn. Routers deliver to the nearest one by hops
    (sequential anycast: 60 of 60 in our measurements); `everyone` is a fanout.
    """
    if everyone or bus.kind != "router":
        return tuple(server_sites)

    def hops(site: str) -> int:
        source, target = attach(bus, client_site, distances), attach(bus, site, distances)
        if source is None or target is None:
            raise LookupError(client_site if source is None else site)
        return len(_router_path(bus, source, target))

    least = min(hops(site) for site in server_sites)
    return tuple(site for site in server_sites if hops(site) == least)
