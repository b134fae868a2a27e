"""Which IPv4 networks sites may have, and which are left for those that declare none."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

__all__ = ["free_subnets", "is_private"]

#: RFC 1918.
_PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
#: Where networks are chosen from; the first is rarely used by others, the next serve where declared ones take it all.
_POOLS = tuple(
    map(ipaddress.IPv4Network, ("10.203.0.0/16", "172.29.0.0/16", "192.168.0.0/16", "10.0.0.0/9", "172.16.0.0/13"))
)


def is_private(network: ipaddress.IPv4Network) -> bool:
    """Whether all of a network is for private use by RFC 1918: not, for example, loopback or link-local."""
    return any(network.subnet_of(private) for private in _PRIVATE)


def free_subnets(declared: Iterable[ipaddress.IPv4Network]) -> Iterator[ipaddress.IPv4Network]:
    """Private /24 networks that overlap none of the declared ones, one after the other, always in the same order."""
    taken = list(declared)
    for pool in _POOLS:
        if not any(pool.subnet_of(network) for network in taken):
            for network in list(pool.subnets(new_prefix=24))[1:]:
                if not any(network.overlaps(other) for other in taken):
                    yield network
