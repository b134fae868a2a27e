"""Addresses: one IPv4 and one IPv6 network per site, static addresses for its nodes, the gateway on the first."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from harness.model.subnets import free_subnets
from harness.model.topology import Site
from harness.plan.cell import SitePlan

__all__ = ["FIRST_NODE", "node_addresses", "site_plans"]

#: IPv6 networks are unique local ones (RFC 4193) numbered by site.
_POOL6 = "fdfe:3d0c:cb"
#: The first host number a node gets; .1 is the gateway.
FIRST_NODE = 10


def site_plans(sites: Mapping[str, Site]) -> tuple[SitePlan, ...]:
    """The sites with their networks, in the order of the topology, whose own checks see that there are enough."""
    declared = [ipaddress.IPv4Network(site.subnet) for site in sites.values() if site.subnet]
    free = free_subnets(declared)
    plans = []
    for index, (name, site) in enumerate(sites.items(), start=1):
        network = ipaddress.IPv4Network(site.subnet) if site.subnet else next(free)
        network6 = ipaddress.IPv6Network(f"{_POOL6}:{index:x}::/64")
        plans.append(
            SitePlan(
                name=name,
                index=index,
                subnet=str(network),
                gateway=str(network[1]),
                subnet6=str(network6),
                gateway6=str(network6[1]),
            )
        )
    return tuple(plans)


def node_addresses(site: SitePlan) -> Iterator[tuple[str, str]]:
    """(IPv4, IPv6) addresses for the site's nodes, one after the other; ends when the network is full."""
    network, network6 = ipaddress.IPv4Network(site.subnet), ipaddress.IPv6Network(site.subnet6)
    for number in range(FIRST_NODE, network.num_addresses - 1):
        yield str(network[number]), str(network6[number])
