"""The decision: which receivers a message goes to, and over which neighbours.

Follows the real routers. Closest: a receiver here, in turn, else one at a router with the least cost. Balanced: the
receiver with the least load, where the load of a far router is the messages under way to it plus its cost. Multicast:
every receiver, one copy per neighbour; the router the message entered at names all routers it is for, each hop splits
them by its own next hops, so no router gets a second copy, whatever the paths do meanwhile.
"""

from __future__ import annotations

import collections
from typing import Any, Callable

from harness.bus.router.embedded.addresses import Place, distribution_of, place_of
from harness.bus.router.embedded.frames import DIRECT, MAX_HOPS, MULTICAST, UNICAST, Frame, encode_data
from harness.bus.router.embedded.links import Account, Inbound, InLink, OutLink
from harness.bus.router.embedded.linkstate import LinkState
from harness.bus.router.embedded.outcomes import RELEASED

__all__ = ["Address", "Forwarder"]


class Address:
    """An address someone here sends to or receives from, or that is received from elsewhere."""

    def __init__(self, place: Place, distribution: str) -> None:
        self.place = place
        self.name = place.name
        self.distribution = distribution
        self.receivers: list[Any] = []
        self.senders: set[InLink] = set()
        self.routers: list[str] = []
        self.account = Account()
        self.counts: dict[str, int] = collections.defaultdict(int)

    @property
    def reachable(self) -> bool:
        """Whether anybody, here or at a router in reach, receives from it."""
        return bool(self.receivers) or bool(self.routers)


class Forwarder:
    """Addresses of one router and the forwarding of messages to them.

    Args:
        me: this router's id.
        links: the link-state database.
        prefixes, default: distributions by address prefix.
        neighbour: gives the data link to a neighbour, None if it is gone.
        announce: called when the set of mesh-wide addresses received from here has changed.
    """

    def __init__(
        self,
        me: str,
        links: LinkState,
        prefixes: dict[str, str],
        default: str,
        neighbour: Callable[[str], OutLink | None],
        announce: Callable[[], None],
    ) -> None:
        self.me = me
        self.addresses: dict[Place, Address] = {}
        self.counts: dict[str, int] = collections.defaultdict(int)
        self._links = links
        self._prefixes = prefixes
        self._default = default
        self._neighbour = neighbour
        self._announce = announce

    # -- who sends, who receives --

    def place(self, text: str) -> Place:
        """The place an address text names."""
        return place_of(text, self.me)

    def add_sender(self, link: InLink, place: Place) -> None:
        """A client sends to the address on this link; it gets credit as soon as somebody receives."""
        address = self._address(place)
        address.senders.add(link)
        link.address = address
        if address.reachable:
            link.start()

    def remove_sender(self, link: InLink) -> None:
        """The link is gone."""
        address = link.address
        if address is not None:
            address.senders.discard(link)
            self._tidy(address)

    def add_receiver(self, receiver: Any, place: Place) -> Address:
        """A link or a part of this router receives from the address."""
        address = self._address(place)
        address.receivers.append(receiver)
        if len(address.receivers) == 1 and place.router is None:
            self._announce()
        self._start_senders(address)
        return address

    def remove_receiver(self, receiver: Any, address: Address) -> None:
        """It receives no more."""
        if receiver in address.receivers:
            address.receivers.remove(receiver)
        if not address.receivers and address.place.router is None:
            self._announce()
        if not address.reachable:
            for link in address.senders:
                link.hold()
        self._tidy(address)

    def received_here(self) -> set[str]:
        """Mesh-wide addresses with a receiver at this router."""
        return {place.name for place, address in self.addresses.items() if place.router is None and address.receivers}

    def mesh_changed(self, names: set[str] | None = None) -> None:
        """Paths have changed (None), or the routers that receive from these addresses."""
        routes = self._links.routes()
        nearest = sorted(routes, key=lambda router: (routes[router].cost, router))
        received = {router: self._links.addresses_of(router) for router in nearest}
        if names is None:
            names = set().union(*received.values()) if received else set()
            places = {place for place in self.addresses if place.router is None}
            places |= {Place(None, name) for name in names}
            for place, address in list(self.addresses.items()):
                if place.router not in (None, self.me):
                    self._set_routers(address, [place.router] if place.router in routes else [])
        else:
            places = {Place(None, name) for name in names}
        for place in places:
            routers = [router for router in nearest if place.name in received[router]]
            if routers or place in self.addresses:
                self._set_routers(self._address(place), routers)

    def _set_routers(self, address: Address, routers: list[str]) -> None:
        address.routers = routers
        if address.reachable:
            self._start_senders(address)
        else:
            for link in address.senders:
                link.hold()
            self._tidy(address)

    @staticmethod
    def _start_senders(address: Address) -> None:
        for link in address.senders:
            if not link.open:
                link.start()

    def _address(self, place: Place) -> Address:
        address = self.addresses.get(place)
        if address is None:
            distribution = "closest" if place.router else distribution_of(place.name, self._prefixes, self._default)
            address = self.addresses[place] = Address(place, distribution)
            if place.router is None:
                routes = self._links.routes()
                nearest = sorted(routes, key=lambda router: (routes[router].cost, router))
                address.routers = [router for router in nearest if place.name in self._links.addresses_of(router)]
            elif place.router != self.me and place.router in self._links.routes():
                address.routers = [place.router]
        return address

    def _tidy(self, address: Address) -> None:
        if not address.senders and not address.reachable:
            self.addresses.pop(address.place, None)

    # -- messages --

    def from_client(self, link: InLink, data: bytes, inbound: Inbound | None) -> None:
        """A message on a link with a target address."""
        self.counts["ingress"] += 1
        address: Address = link.address
        address.counts["ingress"] += 1
        if not self.forward(address, data, inbound):
            self._undeliverable(link, inbound)
            link.drain()

    def from_anonymous(self, link: InLink, to: str | None, data: bytes, inbound: Inbound | None) -> None:
        """A message on a link without a target address, to the address it says itself."""
        self.counts["ingress"] += 1
        if to:
            place = self.place(to)
            address = self._address(place)
            address.counts["ingress"] += 1
            reached = self.forward(address, data, inbound)
            self._tidy(address)
            if reached:
                return
        self._undeliverable(link, inbound)

    def from_here(self, to: str, data: bytes) -> bool:
        """A message this router itself sends, settled."""
        place = self.place(to)
        address = self._address(place)
        address.counts["from_container"] += 1
        reached = self.forward(address, data, None)
        self._tidy(address)
        return reached

    @staticmethod
    def _undeliverable(link: InLink, inbound: Inbound | None) -> None:
        if inbound is None:
            link.counts["dropped"] += 1
        else:
            inbound.settle(RELEASED)

    def forward(self, address: Address, data: bytes, inbound: Inbound | None) -> bool:
        """Send a message that entered here on its way. False if there is nobody for it."""
        if address.distribution == "multicast":
            return self._multicast(address, address.receivers, address.routers, self.me, MAX_HOPS, data, inbound)
        if address.distribution == "closest":
            if address.receivers:
                self._here(address, address.receivers[0], data, inbound)
                if len(address.receivers) > 1:
                    address.receivers.append(address.receivers.pop(0))
                return True
            kind = UNICAST if address.place.router is None else DIRECT
            return self._away(address, self._closest(address), self.me, MAX_HOPS, kind, data, inbound)
        return self._balanced(address, address.routers, self.me, MAX_HOPS, data, inbound)

    def from_router(self, frame: Frame, inbound: Inbound | None) -> None:
        """A message a neighbour handed on."""
        if frame.hops > 0 and self._pass_on(frame, inbound):
            return
        if inbound is not None:
            inbound.settle(RELEASED)
        else:
            self.counts["dropped"] += 1

    def _pass_on(self, frame: Frame, inbound: Inbound | None) -> bool:
        place = Place(self.me if frame.kind == DIRECT else None, frame.address)
        if frame.kind == MULTICAST:
            onward = [target for target in frame.targets if target != self.me]
            known = self.addresses.get(place)
            receivers = known.receivers if known is not None and len(onward) < len(frame.targets) else []
            address = known if known is not None else Address(place, "multicast")
            return self._multicast(address, receivers, onward, frame.origin, frame.hops - 1, frame.message, inbound)
        target = frame.targets[0]
        if target != self.me:
            return self._hand_on(frame, target, inbound)
        address_here = self.addresses.get(place)
        if address_here is None:
            return False
        if address_here.distribution == "balanced":
            beyond = [router for router in address_here.routers if self._links.beyond(frame.origin, self.me, router)]
            return self._balanced(address_here, beyond, frame.origin, frame.hops - 1, frame.message, inbound)
        if not address_here.receivers:
            return False
        self._here(address_here, address_here.receivers[0], frame.message, inbound)
        if len(address_here.receivers) > 1:
            address_here.receivers.append(address_here.receivers.pop(0))
        return True

    def _hand_on(self, frame: Frame, target: str, inbound: Inbound | None) -> bool:
        link = self._link_towards(target)
        if link is None:
            return False
        self.counts["transit"] += 1
        hops = frame.hops - 1
        link.offer(encode_data(frame.kind, hops, frame.address, frame.origin, (target,), frame.message), inbound)
        return True

    def _here(self, address: Address, receiver: Any, data: bytes, inbound: Inbound | None) -> None:
        self.counts["egress"] += 1
        address.counts["egress"] += 1
        receiver.offer(data, inbound)

    def _away(
        self,
        address: Address,
        router: str | None,
        origin: str,
        hops: int,
        kind: int,
        data: bytes,
        inbound: Inbound | None,
    ) -> bool:
        link = self._link_towards(router) if router is not None else None
        if link is None or router is None:
            return False
        self.counts["transit"] += 1
        address.counts["transit"] += 1
        frame = encode_data(kind, hops, address.name, origin, (router,), data)
        link.offer(frame, inbound, address.account, router)
        return True

    def _closest(self, address: Address) -> str | None:
        if not address.routers:
            return None
        routes = self._links.routes()
        least = routes[address.routers[0]].cost
        equals = [router for router in address.routers if routes[router].cost == least]
        turn = address.counts["turns"] = (address.counts["turns"] + 1) % len(equals)
        return equals[turn]

    def _balanced(
        self,
        address: Address,
        routers: list[str],
        origin: str,
        hops: int,
        data: bytes,
        inbound: Inbound | None,
    ) -> bool:
        best: tuple[bool, int] | None = None
        receiver: Any = None
        for candidate in address.receivers:
            load = candidate.load
            value = (load >= candidate.capacity, load)
            if best is None or value < best:
                best, receiver = value, candidate
        router: str | None = None
        if best is None or best > (False, 0):
            routes, under_way = self._links.routes(), address.account.under_way
            for name in routers:
                link = self._link_towards(name)
                if link is None:
                    continue
                load = under_way.get(name, 0)
                value = (load >= link.capacity, load + routes[name].cost)
                if best is None or value < best:
                    best, router = value, name
        if router is not None:
            return self._away(address, router, origin, hops, UNICAST, data, inbound)
        if receiver is None:
            return False
        self._here(address, receiver, data, inbound)
        if len(address.receivers) > 1:
            address.receivers.append(address.receivers.pop(0))
        return True

    def _multicast(
        self,
        address: Address,
        receivers: list[Any],
        routers: list[str],
        origin: str,
        hops: int,
        data: bytes,
        inbound: Inbound | None,
    ) -> bool:
        by_hop: dict[str, list[str]] = {}
        routes = self._links.routes()
        for router in routers:
            route = routes.get(router)
            if route is not None and self._neighbour(route.next_hop) is not None:
                by_hop.setdefault(route.next_hop, []).append(router)
        batches = [
            (hop, targets[start : start + 255])
            for hop, targets in sorted(by_hop.items())
            for start in range(0, len(targets), 255)
        ]
        if not receivers and not batches:
            return False
        if inbound is not None:
            inbound.expect(len(receivers) + len(batches))
        for receiver in list(receivers):
            self._here(address, receiver, data, inbound)
        for hop, targets in batches:
            link = self._neighbour(hop)
            assert link is not None
            self.counts["transit"] += 1
            address.counts["transit"] += 1
            link.offer(encode_data(MULTICAST, hops, address.name, origin, targets, data), inbound)
        return True

    def _link_towards(self, router: str) -> OutLink | None:
        route = self._links.routes().get(router)
        return self._neighbour(route.next_hop) if route is not None else None
