"""What the embedded router says about itself: the rows behind each management entity type.

Counts are 64-bit (`ulong`) as in skupper-router, so that a client cannot tell the difference by type.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Callable, Dict

from proton import ulong

from harness.bus.router.embedded.links import AnyLink, OutLink
from harness.bus.router.embedded.management import resident_bytes, seconds_since

if TYPE_CHECKING:
    from harness.bus.router.embedded.router import Port, Router

__all__ = ["of", "retire"]

Row = Dict[str, Any]
_OUTCOMES = ("presettled", "accepted", "rejected", "released", "modified")

#: Counts of links that are gone, per router object: the router's totals must not shrink when a client leaves.
_RETIRED = "retired"


def of(router: Router) -> dict[str, Callable[[], list[Row]]]:
    """The tables of a router, by entity type without prefix."""
    return {
        "router": lambda: _router(router),
        "routerMetrics": lambda: _metrics(router),
        "router.node": lambda: _nodes(router),
        "router.address": lambda: _addresses(router),
        "router.link": lambda: _links(router),
        "connection": lambda: _connections(router),
    }


def retire(router: Router, port: Port, link: AnyLink) -> None:
    """Keep the counts of a client's link that has gone."""
    if port.role == "normal":
        _add_counts(router.forwarder.counts, link)


def _add_counts(totals: dict[str, int], link: AnyLink) -> None:
    # A delivery is counted where it entered, as skupper-router does; one dropped for lack of room, where it was.
    kinds = ("dropped",) if isinstance(link, OutLink) else (*_OUTCOMES, "dropped")
    for kind in kinds:
        totals[kind] += link.counts.get(kind, 0)


def _router(router: Router) -> list[Row]:
    from harness.bus.router.embedded.router import PRODUCT, VERSION

    return [
        {
            "name": f"router/{router.config.id}",
            "identity": f"router/{router.config.id}",
            "id": router.config.id,
            "mode": router.config.mode,
            "area": "0",
            "version": VERSION,
            "product": PRODUCT,
            "helloIntervalSeconds": router.config.hello_interval_s,
            "helloMaxAgeSeconds": router.config.hello_max_age_s,
            "workerThreads": 1,
            "defaultDistribution": router.config.default_distribution,
        }
    ]


def _metrics(router: Router) -> list[Row]:
    totals: dict[str, int] = collections.defaultdict(int, router.forwarder.counts)
    ports = router.ports()
    for _, port in ports:
        if port.role == "normal":
            for link in port.links.values():
                _add_counts(totals, link)
    virtual, resident = resident_bytes()
    row: Row = {
        "identity": "1",
        "id": router.config.id,
        "version": _router(router)[0]["version"],
        "addrCount": ulong(len(router.forwarder.addresses)),
        "linkCount": ulong(sum(len(port.links) for _, port in ports)),
        "nodeCount": ulong(len(_interior_routes(router))),
        "connectionCount": ulong(len(ports)),
        "droppedPresettledDeliveries": ulong(totals["dropped"]),
        "deliveriesIngress": ulong(totals["ingress"]),
        "deliveriesEgress": ulong(totals["egress"]),
        "deliveriesTransit": ulong(totals["transit"]),
        "memoryUsage": ulong(virtual),
        "residentMemoryUsage": ulong(resident),
        "uptimeSeconds": seconds_since(router.started),
    }
    row.update({f"{kind}Deliveries": ulong(totals[kind]) for kind in _OUTCOMES})
    return [row]


def _interior_routes(router: Router) -> dict[str, Any]:
    return {name: route for name, route in router.links.routes().items() if not router.links.is_edge(name)}


def _nodes(router: Router) -> list[Row]:
    if router.config.mode == "edge":
        return []
    me = router.config.id
    rows: list[Row] = []
    routes = _interior_routes(router)
    for name in sorted([me, *routes]):
        route = routes.get(name)
        rows.append(
            {
                "name": f"router.node/{name}",
                "identity": f"router.node/{name}",
                "id": name,
                "address": f"amqp:/_topo/0/{name}",
                "protocolVersion": 1,
                "instance": ulong(router.links.instance_of(name)),
                "linkState": sorted(peer for peer in router.links.links_of(name) if not router.links.is_edge(peer)),
                "nextHop": "(self)" if route is None else None if route.next_hop == name else route.next_hop,
                "cost": None if route is None else route.cost,
                "lastTopoChange": int(router.mesh.last_change_at or 0) if route is None else None,
            }
        )
    return rows


def _addresses(router: Router) -> list[Row]:
    rows: list[Row] = []
    for place, address in sorted(
        router.forwarder.addresses.items(), key=lambda item: (item[0].router or "", item[0].name)
    ):
        links = [receiver for receiver in address.receivers if isinstance(receiver, OutLink)]
        key = ("M" if place.router is None else "L" if place.router == router.config.id else "R") + place.name
        counts = address.counts
        rows.append(
            {
                "name": key,
                "identity": key,
                "key": key,
                "distribution": address.distribution,
                "inProcess": len(address.receivers) - len(links),
                "subscriberCount": len(links),
                "remoteCount": len(address.routers),
                "remoteHostRouters": list(address.routers),
                "deliveriesIngress": ulong(counts.get("ingress", 0)),
                "deliveriesEgress": ulong(counts.get("egress", 0)),
                "deliveriesTransit": ulong(counts.get("transit", 0)),
                "deliveriesFromContainer": ulong(counts.get("from_container", 0)),
                "trackedDeliveries": sum(address.account.under_way.values()),
            }
        )
    return rows


def _links(router: Router) -> list[Row]:
    rows: list[Row] = []
    for _, port in router.ports():
        for number, link in enumerate(port.links.values(), start=1):
            out = isinstance(link, OutLink)
            row: Row = {
                "name": link.name,
                "identity": f"{port.number}/{number}",
                "linkName": link.name,
                "linkType": "endpoint" if port.role == "normal" else "router-data",
                "linkDir": "out" if out else "in",
                "owningAddr": link.address.name if link.address is not None else None,
                "capacity": link.capacity,
                "undeliveredCount": ulong(link.waiting if isinstance(link, OutLink) else 0),
                "unsettledCount": ulong(link.unsettled),
                "deliveryCount": ulong(link.counts.get("deliveries", 0)),
                "droppedPresettledCount": ulong(link.counts.get("dropped", 0)),
                "connectionId": str(port.number),
                "operStatus": "up",
                "creditAvailable": link.credit,
            }
            row.update({f"{kind}Count": ulong(link.counts.get(kind, 0)) for kind in _OUTCOMES})
            rows.append(row)
    return rows


def _connections(router: Router) -> list[Row]:
    return [
        {
            "name": f"connection/{wire.peer}",
            "identity": str(port.number),
            "host": wire.peer,
            "role": port.role,
            "protocol": "amqp",
            "dir": "out" if port.outgoing else "in",
            "container": port.container,
            "opened": bool(port.container),
            "active": True,
            "operStatus": "up",
            "isEncrypted": False,
            "uptimeSeconds": seconds_since(port.since),
        }
        for wire, port in router.ports()
    ]
