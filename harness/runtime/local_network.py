"""The network of a local lab as commands for its supervisor. Pure.

node netns --veth-- bridge of its site (the lab's root netns) --veth-- wan netns (gateway .1 of every site)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.plan.cell import LabPlan
from harness.runtime.protocol import WAN

__all__ = ["gateway_interface", "link_local_commands", "network_commands"]


_BRIDGE_TABLES = ("iptables", "ip6tables", "arptables")


def gateway_interface(site_index: int) -> str:
    """Name of the wan gateway's interface on a site's segment."""
    return f"site{site_index}"


def link_local_commands(plan: LabPlan) -> list[tuple[dict[str, Any], int]]:
    """Commands that list link-local addresses, and how many each must list, none tentative, before IPv6 works.

    The kernel announces new interfaces with up to a second's delay; their link-local addresses appear last.
    """
    wanted = {WAN: len(plan.sites), **{node.name: 1 for node in plan.nodes}}
    return [
        ({"argv": ["ip", "-n", name, "-6", "-o", "address", "show", "scope", "link"]}, count)
        for name, count in wanted.items()
    ]


def network_commands(plan: LabPlan) -> list[dict[str, Any]]:
    """The set-up of a lab's network as commands for its supervisor: pure, in order (see the module's picture).

    Returns:
        [{"argv": [...], "input": "..."}], to be run in the lab's root network namespace.
    """

    def ip(lines: list[str], netns: str | None = None) -> dict[str, Any]:
        space = ["-n", netns] if netns else []
        return {"argv": ["ip", *space, "-batch", "-"], "input": "".join(line + "\n" for line in lines)}

    def sysctl(netns: str, settings: Mapping[str, str]) -> dict[str, Any]:
        return {
            "argv": [
                "ip",
                "netns",
                "exec",
                netns,
                "sysctl",
                "-q",
                "-w",
                *(f"{key}={value}" for key, value in settings.items()),
            ]
        }

    numbered = list(enumerate(plan.nodes, start=1))
    commands: list[dict[str, Any]] = [
        # Where br_netfilter is loaded, bridged frames would go through the firewall's hooks for nothing.
        {"argv": ["sysctl", "-q", "-e", "-w", *(f"net.bridge.bridge-nf-call-{table}=0" for table in _BRIDGE_TABLES)]},
        ip(["netns add " + WAN, *(f"netns add {node.name}" for node in plan.nodes)]),
        # Without duplicate address detection IPv6 works at once instead of a second later; must precede the links.
        *(sysctl(name, {"net.ipv6.conf.default.dad_transmits": "0"}) for name in (WAN, *(n.name for n in plan.nodes))),
        ip(
            [
                *(f"link add br{site.index} type bridge forward_delay 0 mcast_snooping 0" for site in plan.sites),
                *(
                    f"link add gw{site.index} type veth peer name {gateway_interface(site.index)} netns {WAN}"
                    for site in plan.sites
                ),
                *(f"link add n{number} type veth peer name eth0 netns {node.name}" for number, node in numbered),
                *(f"link set gw{site.index} master br{site.index}" for site in plan.sites),
                *(f"link set n{number} master br{plan.site(node.site).index}" for number, node in numbered),
                *(f"link set br{site.index} addrgenmode none up" for site in plan.sites),
                *(f"link set gw{site.index} addrgenmode none up" for site in plan.sites),
                *(f"link set n{number} addrgenmode none up" for number, node in numbered),
            ]
        ),
        sysctl(
            WAN,
            {
                "net.ipv4.ip_forward": "1",
                "net.ipv6.conf.all.forwarding": "1",
                "net.ipv4.conf.all.rp_filter": "0",
                "net.ipv4.conf.default.rp_filter": "0",
                "net.ipv4.conf.all.send_redirects": "0",
                "net.ipv4.conf.default.send_redirects": "0",
            },
        ),
        {"argv": ["ip", "netns", "exec", WAN, "iptables", "-P", "FORWARD", "DROP"]},
        {"argv": ["ip", "netns", "exec", WAN, "ip6tables", "-P", "FORWARD", "DROP"]},
        ip(
            ["link set lo up"]
            + [
                line
                for site in plan.sites
                for line in (
                    f"address add {site.gateway}/{site.subnet.split('/')[1]} dev {gateway_interface(site.index)}",
                    f"address add {site.gateway6}/64 dev {gateway_interface(site.index)} nodad",
                    f"link set {gateway_interface(site.index)} up",
                )
            ],
            WAN,
        ),
    ]
    for node in plan.nodes:
        site = plan.site(node.site)
        commands.append(
            ip(
                [
                    "link set lo up",
                    f"address add {node.address}/{site.subnet.split('/')[1]} dev eth0",
                    f"address add {node.address6}/{site.subnet6.split('/')[1]} dev eth0 nodad",
                    "link set eth0 up",
                    f"route add default via {site.gateway}",
                    f"route add ::/0 via {site.gateway6}",
                ],
                node.name,
            )
        )
    return commands
