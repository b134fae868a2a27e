"""Networks and containers of a lab, as the Docker Engine API wants them described. Pure.

A site is a bridge network. Neither it nor the engine's host owns the site's gateway address: the `wan` container adds
it to its own interface, so everything that leaves a site passes there. The addresses set aside for that (auxiliary
addresses called DefaultGatewayIPv4 and DefaultGatewayIPv6) are what the engine's bridge driver gives nodes as their
default route; where an engine knows no such addresses (podman), the runtime sets the routes. Nothing is masqueraded,
and no port is published unless the scenario asks for it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.plan.cell import LabPlan, NodePlan, SitePlan

__all__ = [
    "HOLD",
    "NODE_SYSCTLS",
    "SiteAddresses",
    "extra_hosts",
    "host_limits",
    "host_ports",
    "network_request",
    "site_addresses",
    "wan_sysctls",
]

_BRIDGE = "com.docker.network.bridge."

#: What a container's first process does: it waits for the end of its input, and the container with it. The harness
#: holds the other end, so containers of a harness that is killed end by themselves. `wait` reaps orphans.
HOLD = "exec 3<&0; cat <&3 >/dev/null & wait $!"

#: A node's root may ping without privileges. Docker allows that by itself, podman where its configuration does.
NODE_SYSCTLS: Mapping[str, str] = {"net.ipv4.ping_group_range": "0 0"}

#: The gateway forwards, takes packets from everywhere, and does not tell nodes of shorter ways.
_WAN_SYSCTLS: Mapping[str, str] = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
}
_WAN_SYSCTLS6: Mapping[str, str] = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.default.forwarding": "1",
}


@dataclass(frozen=True, slots=True)
class SiteAddresses:
    """Addresses of a site nobody but the engine and the gateway uses.

    Attributes:
        bridge, bridge6: what the engine takes for its bridge (it keeps the IPv4 one to itself).
        wan, wan6: what the engine gives the wan container, beside the site's gateway address.
    """

    bridge: str
    bridge6: str
    wan: str
    wan6: str


def site_addresses(site: SitePlan) -> SiteAddresses:
    """The second and third address of the site's networks; the first is the gateway's, nodes begin at the tenth."""
    network, network6 = ipaddress.IPv4Network(site.subnet), ipaddress.IPv6Network(site.subnet6)
    return SiteAddresses(str(network[2]), str(network6[2]), str(network[3]), str(network6[3]))


def network_request(
    name: str,
    site: SitePlan,
    labels: Mapping[str, str],
    *,
    ipv6: bool,
    major: int,
    internal: bool = False,
    reached: bool = False,
) -> dict[str, Any]:
    """The body of `POST /networks/create` for a site.

    Args:
        major: major version of the engine. From 28 on engines drop packets for a container's address that come from
            another bridge, which routed packets between sites do where bridged frames pass the host's firewall
            (br_netfilter); `nat-unprotected` leaves that to us, and the gateway refuses what has no link.
        internal: whether it must be a network the engine neither masquerades nor routes, for engines that know no
            other way to leave addresses as they are (podman).
        reached: whether the engine's host gets an address in it, from which its proxy reaches published ports.
    """
    own = site_addresses(site)
    options = {
        _BRIDGE + "inhibit_ipv4": "false" if reached else "true",
        _BRIDGE + "enable_ip_masquerade": "false",
        _BRIDGE + "enable_icc": "true",
    }
    if major >= 28:
        options |= {_BRIDGE + "gateway_mode_ipv4": "nat-unprotected", _BRIDGE + "gateway_mode_ipv6": "nat-unprotected"}
    pools = [{"Subnet": site.subnet, "Gateway": own.bridge, "AuxiliaryAddresses": {"DefaultGatewayIPv4": site.gateway}}]
    if ipv6:
        pools.append(
            {
                "Subnet": site.subnet6,
                "Gateway": own.bridge6,
                "AuxiliaryAddresses": {"DefaultGatewayIPv6": site.gateway6},
            }
        )
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": internal,
        "EnableIPv6": ipv6,
        "Options": options,
        "IPAM": {"Driver": "default", "Config": pools},
        "Labels": dict(labels),
    }


def extra_hosts(plan: LabPlan, *, ipv6: bool) -> list[str]:
    """Every node's name with its addresses, so that names resolve across sites."""
    lines = [f"{node.name}:{node.address}" for node in plan.nodes]
    return lines + ([f"{node.name}:{node.address6}" for node in plan.nodes] if ipv6 else [])


def host_limits(node: NodePlan) -> dict[str, Any]:
    """CPU and memory limits of a node; memory is a hard limit without swap."""
    limits: dict[str, Any] = {}
    if node.cpus is not None:
        limits["nano_cpus"] = round(node.cpus * 1e9)
    if node.memory_bytes is not None:
        limits |= {"mem_limit": node.memory_bytes, "memswap_limit": node.memory_bytes}
    return limits


def host_ports(node: NodePlan) -> dict[int, tuple[str, int]]:
    """Where a node's published ports are reached: on the loopback of the engine's host, from nowhere else."""
    return {port: ("127.0.0.1", host) for port, host in node.publish}


def wan_sysctls(*, ipv6: bool) -> dict[str, str]:
    """Kernel settings of the gateway's own network namespace."""
    return {**NODE_SYSCTLS, **_WAN_SYSCTLS, **(_WAN_SYSCTLS6 if ipv6 else {})}
