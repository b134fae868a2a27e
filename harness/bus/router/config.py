"""The configuration file of each router, as text. Pure; the real routers and the embedded one read the same file.

The format is qpid-dispatch's (and skupper-router's): sections in braces, one attribute per line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.plan.cell import BusNodePlan, BusPlan

__all__ = ["ADDRESS_PREFIXES", "RouterEndpoint", "connectors", "router_config"]

#: The prefixes oslo.messaging's amqp1 driver uses (its option defaults: rpc_address_prefix, notify_address_prefix,
#: multicast_address, unicast_address, anycast_address) and the distribution its documentation asks for each
#: ("AMQP 1.0 protocol support", section on qpid-dispatch-router).
ADDRESS_PREFIXES: tuple[tuple[str, str], ...] = (
    ("openstack.org/om/rpc/multicast", "multicast"),
    ("openstack.org/om/rpc/unicast", "closest"),
    ("openstack.org/om/rpc/anycast", "balanced"),
    ("openstack.org/om/notify/multicast", "multicast"),
    ("openstack.org/om/notify/unicast", "closest"),
    ("openstack.org/om/notify/anycast", "balanced"),
)


@dataclass(frozen=True, slots=True)
class RouterEndpoint:
    """Where one router listens.

    Attributes:
        host: name or address others reach it at.
        listen: address it binds; "" for all of its node's, IPv4 and IPv6.
        port: TCP port clients connect to.
        mesh_port: TCP port other interior routers connect to.
        edge_port: TCP port edge routers connect to.
    """

    host: str
    listen: str = ""
    port: int = 5672
    mesh_port: int = 55671
    edge_port: int = 45671


def connectors(plan: BusPlan) -> dict[str, tuple[str, ...]]:
    """Which router opens a connection to which, each joined pair once.

    An edge router connects out, whichever side the plan names the pair on; between interior routers the one whose
    `peers` names the other does, the earlier in the plan if both do.

    Raises ValueError for a peer the plan lacks, and for two edge routers joined to each other.
    """
    edge = {node.name: node.edge for node in plan.nodes}
    joined: dict[frozenset[str], tuple[str, str]] = {}
    for node in plan.nodes:
        for peer in node.peers:
            if peer not in edge or peer == node.name:
                raise ValueError(f"router {node.name!r} is joined to {peer!r}, which is no other router of the bus")
            if node.edge and edge[peer]:
                raise ValueError(f"edge routers {node.name!r} and {peer!r} are joined to each other")
            pair = (peer, node.name) if edge[peer] else (node.name, peer)
            joined.setdefault(frozenset(pair), pair)
    return {node.name: tuple(b for a, b in joined.values() if a == node.name) for node in plan.nodes}


def router_config(plan: BusPlan, node: BusNodePlan, endpoints: Mapping[str, RouterEndpoint]) -> str:
    """The configuration file of one router.

    Args:
        plan: the whole bus. Its options `link_capacity` (messages a client link may have in flight),
            `idle_timeout_s` and `worker_threads` become the attributes of these names; left out, the router's own
            defaults hold (250, 16 s, 4).
        node: the router it is for.
        endpoints: where every router of the plan listens, by name.
    """
    here = endpoints[node.name]
    options = plan.options
    router: list[tuple[str, object]] = [("mode", "edge" if node.edge else "interior"), ("id", node.name)]
    if "worker_threads" in options:
        router.append(("workerThreads", options["worker_threads"]))
    common: list[tuple[str, object]] = []
    if "link_capacity" in options:
        common.append(("linkCapacity", options["link_capacity"]))
    if "idle_timeout_s" in options:
        common.append(("idleTimeoutSeconds", options["idle_timeout_s"]))

    listening = [("normal", here.port)]
    if not node.edge and len(plan.nodes) > 1:
        listening += [("inter-router", here.mesh_port), ("edge", here.edge_port)]
    sections = [_section("router", router)]
    for role, port in listening:
        place = [("host", here.listen)] if here.listen else []
        sections.append(
            _section(
                "listener",
                [
                    ("name", f"{role}-listener"), *place, ("port", port), ("role", role),
                    ("authenticatePeer", "no"), ("saslMechanisms", "ANONYMOUS"), *common,
                ],
            )
        )  # fmt: skip
    for peer in connectors(plan)[node.name]:
        there = endpoints[peer]
        role, port = ("edge", there.edge_port) if node.edge else ("inter-router", there.mesh_port)
        sections.append(
            _section(
                "connector",
                [
                    ("name", f"to-{peer}"), ("host", there.host), ("port", port), ("role", role),
                    ("saslMechanisms", "ANONYMOUS"), *common,
                ],
            )
        )  # fmt: skip
    sections += [
        _section("address", [("prefix", prefix), ("distribution", distribution)])
        for prefix, distribution in ADDRESS_PREFIXES
    ]
    return "\n".join(sections)


def _section(name: str, attributes: Sequence[tuple[str, object]]) -> str:
    lines = "".join(f"    {key}: {value}\n" for key, value in attributes)
    return f"{name} {{\n{lines}}}\n"
