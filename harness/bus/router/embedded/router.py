"""The embedded router: listeners and connectors, Proton's events, and the parts they go to."""

from __future__ import annotations

import errno
import functools
import secrets
import select
import socket
import sys
import time
from typing import Any, Callable

import proton
from cproton_ffi import lib

from harness.bus.router.embedded import tables
from harness.bus.router.embedded.addresses import Place
from harness.bus.router.embedded.config import Connector, Listener, RouterConfig
from harness.bus.router.embedded.engine import Engine, Wire
from harness.bus.router.embedded.forward import Forwarder
from harness.bus.router.embedded.links import AnyLink, Inbound, InLink, OutLink
from harness.bus.router.embedded.linkstate import LinkState
from harness.bus.router.embedded.management import Management
from harness.bus.router.embedded.mesh import CONTROL, DATA, WINDOW, Mesh

__all__ = ["PRODUCT", "VERSION", "Port", "Router"]

PRODUCT = "femdc-embedded-router"
VERSION = "1"
_RETRY_S = (0.25, 0.5, 1.0, 2.0)
_CONNECT_TIMEOUT_S = 5.0


class Port:
    """What is known of one connection besides its engine: its role, its links."""

    def __init__(self, number: int, settings: Any, outgoing: bool) -> None:
        self.number = number
        self.role: str = settings.role
        self.cost: int = settings.cost
        self.capacity: int = settings.link_capacity
        self.outgoing = outgoing
        self.container = ""
        self.since = time.monotonic()
        self.links: dict[Any, AnyLink] = {}
        self.ours: dict[Any, str] = {}
        self.retry: Callable[[], None] | None = None


class Router:
    """One router. `run` serves until `stop`.

    Args:
        config: what to be.
        engine: the loop.

    Raises OSError where a port cannot be listened on.
    """

    def __init__(self, config: RouterConfig, engine: Engine) -> None:
        self.config = config
        self.engine = engine
        self.started = time.monotonic()
        self.links = LinkState(config.id, time.time_ns() // 1_000_000, edge=config.mode == "edge")
        self.mesh = Mesh(
            engine, self.links, config.hello_interval_s, config.hello_max_age_s,
            changed=lambda names: self.forwarder.mesh_changed(names),
            arrived=lambda frame, inbound: self.forwarder.from_router(frame, inbound),
            note=self.note,
        )  # fmt: skip
        self.forwarder = Forwarder(
            config.id,
            self.links,
            config.prefixes,
            config.default_distribution,
            self.mesh.data_link,
            self._announce_soon,
        )
        self._announcing = False
        self._connections = 0
        self._handlers: dict[int, Callable[[Wire, Any], None]] = {
            lib.PN_CONNECTION_REMOTE_OPEN: self._on_open,
            lib.PN_CONNECTION_REMOTE_CLOSE: self._on_close,
            lib.PN_SESSION_REMOTE_OPEN: self._on_session_open,
            lib.PN_SESSION_REMOTE_CLOSE: self._on_session_close,
            lib.PN_LINK_REMOTE_OPEN: self._on_link_open,
            lib.PN_LINK_REMOTE_CLOSE: self._on_link_close,
            lib.PN_LINK_REMOTE_DETACH: self._on_link_close,
            lib.PN_LINK_FLOW: self._on_flow,
            lib.PN_DELIVERY: self._on_delivery,
        }
        self._sockets = [self._listen(listener) for listener in config.listeners]
        management = Management(tables.of(self), self.forwarder.from_here)
        self.forwarder.add_receiver(management, Place(config.id, "$management"))
        for connector in config.connectors:
            self._connect(connector, 0)
        engine.every(1.0, self._tick)

    def note(self, text: str) -> None:
        """A line in the log."""
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.config.id}: {text}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Close every connection in order and end."""
        for wire in list(self.engine.wires):
            wire.connection.condition = proton.Condition("amqp:connection:forced", "the router stops")
            wire.connection.close()
            self.engine.dirty(wire)
        self.engine.later(0.2, self.engine.stop)

    # -- sockets --

    def _listen(self, listener: Listener) -> list[socket.socket]:
        sockets = []
        for family, kind, protocol, _, address in socket.getaddrinfo(
            listener.host or None, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind(address)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}: {listener.host or '*'}:{listener.port}") from error
            sock.listen(1024)
            sock.setblocking(False)
            accept = functools.partial(self._accept, sock, listener)
            self.engine.watch(sock.fileno(), select.EPOLLIN, accept)
            sockets.append(sock)
        self.note(f"listening on {listener.host or '*'}:{listener.port} ({listener.role})")
        return sockets

    def _accept(self, sock: socket.socket, listener: Listener, _: int) -> None:
        try:
            client, _ = sock.accept()
        except OSError:
            return
        self._wire(client, listener, server=True)

    def _connect(self, connector: Connector, attempt: int) -> None:
        def again(_: str = "") -> None:
            delay = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
            self.engine.later(delay, lambda: self._connect(connector, attempt + 1))

        try:
            places = socket.getaddrinfo(connector.host, connector.port, type=socket.SOCK_STREAM)
        except OSError as error:
            self.note(f"connector {connector.name}: {error}")
            again()
            return
        family, kind, protocol, _, address = places[attempt % len(places)]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        result = sock.connect_ex(address)
        if result not in (0, errno.EINPROGRESS):
            sock.close()
            again()
            return
        wire = self._wire(sock, connector, server=False)
        wire.context.retry = again
        self._open(wire)

        def give_up() -> None:
            if wire.is_open and not wire.context.container:
                wire.fail("no answer")

        self.engine.later(_CONNECT_TIMEOUT_S, give_up)

    def _wire(self, sock: socket.socket, settings: Any, *, server: bool) -> Wire:
        wire = Wire(
            self.engine, sock, server=server, handlers=self._handlers, ended=self._ended,
            idle_timeout_s=settings.idle_timeout_s, max_frame_size=settings.max_frame_size, sasl=server,
        )  # fmt: skip
        self._connections += 1
        wire.context = Port(self._connections, settings, outgoing=not server)
        return wire

    def _ended(self, wire: Wire, reason: str) -> None:
        port: Port = wire.context
        if port.role != "normal" and port.container:
            self.note(f"connection with {port.container} ({wire.peer}) ended: {reason or 'closed'}")
        self.mesh.left(wire)
        for link in list(port.links.values()):
            self._link_ends(port, link)
        port.links.clear()
        if port.retry is not None:
            port.retry()

    def _tick(self) -> None:
        now = int(time.monotonic() * 1000)
        for wire in list(self.engine.wires):
            wire.tick(now)

    # -- connections and sessions --

    def _open(self, wire: Wire) -> None:
        connection = wire.connection
        connection.container = self.config.id
        connection.properties = {
            proton.symbol("product"): PRODUCT,
            proton.symbol("version"): VERSION,
            proton.symbol("role"): wire.context.role,
        }
        connection.offered_capabilities = [proton.symbol("ANONYMOUS-RELAY")]
        connection.open()
        self.engine.dirty(wire)

    def _on_open(self, wire: Wire, event: Any) -> None:
        port: Port = wire.context
        port.container = wire.connection.remote_container or ""
        if not port.outgoing:
            self._open(wire)
        if port.role == "normal":
            return
        properties = {str(key): str(value) for key, value in (wire.connection.remote_properties or {}).items()}
        if properties.get("product") != PRODUCT or properties.get("role") != port.role:
            self.note(f"{port.container or wire.peer} is no embedded router with role {port.role}")
            wire.connection.condition = proton.Condition("amqp:not-allowed", "embedded routers only join each other")
            wire.connection.close()
            return
        # Edge routers are at their interior router's side: no distance of their own.
        self.mesh.joined(wire, port.container, 0 if port.role == "edge" else port.cost)
        session = wire.connection.session()
        session.open()
        for target in (CONTROL, DATA):
            sender = session.sender(f"{self.config.id}->{port.container}{target}")
            sender.target.address = target
            sender.source.address = target
            port.ours[sender._impl] = target
            sender.open()

    def _on_close(self, wire: Wire, event: Any) -> None:
        wire.connection.close()
        self.engine.dirty(wire)

    def _on_session_open(self, wire: Wire, event: Any) -> None:
        session = proton.Session.wrap(lib.pn_event_session(event))
        if session.state & proton.Endpoint.LOCAL_UNINIT:
            session.open()
            self.engine.dirty(wire)

    def _on_session_close(self, wire: Wire, event: Any) -> None:
        port: Port = wire.context
        pn_session = lib.pn_event_session(event)
        for pn, link in list(port.links.items()):
            if lib.pn_link_session(pn) == pn_session:
                del port.links[pn]
                self._link_ends(port, link)
        session = proton.Session.wrap(pn_session)
        session.close()
        session.free()
        self.engine.dirty(wire)

    # -- links --

    def _on_link_open(self, wire: Wire, event: Any) -> None:
        port: Port = wire.context
        pn = lib.pn_event_link(event)
        link = proton.Link.wrap(pn)
        self.engine.dirty(wire)
        target = port.ours.pop(pn, None)
        if target is not None:
            neighbour = self.mesh.of(wire)
            if neighbour is not None:
                port.links[pn] = self.mesh.link_up(neighbour, link, target)
            return
        if link.is_receiver:
            self._attach_sender(wire, port, link)
        else:
            self._attach_receiver(wire, port, link)

    def _attach_sender(self, wire: Wire, port: Port, link: Any) -> None:
        """The peer sends on this link."""
        text = link.remote_target.address
        if link.remote_target.type == proton.Terminus.COORDINATOR or link.remote_target.dynamic:
            self._refuse(link, "amqp:not-implemented", "transactions and dynamic targets are not offered")
            return
        _mirror(link)
        if port.role != "normal":
            neighbour = self.mesh.of(wire)
            if neighbour is None or text not in (CONTROL, DATA):
                self._refuse(link, "amqp:not-allowed", "clients connect to the listener of role normal")
                return
            deliver = self.mesh.on_control if text == CONTROL else self.mesh.on_data
            incoming = InLink(wire, link, WINDOW, deliver, between_routers=True)
            link.open()
            incoming.start()
        elif text is None:
            incoming = InLink(wire, link, port.capacity, self._anonymous)
            link.open()
            incoming.start()
        else:
            incoming = InLink(wire, link, port.capacity, self.forwarder.from_client)
            link.open()
            self.forwarder.add_sender(incoming, self.forwarder.place(text))
        port.links[link._impl] = incoming

    def _attach_receiver(self, wire: Wire, port: Port, link: Any) -> None:
        """The peer receives on this link."""
        text = link.remote_source.address
        dynamic = link.remote_source.dynamic
        if port.role != "normal":
            self._refuse(link, "amqp:not-allowed", "clients connect to the listener of role normal")
            return
        if not text and not dynamic:
            self._refuse(link, "amqp:precondition-failed", "a receiver must name its source or ask for a dynamic one")
            return
        place = Place(self.config.id, "temp." + secrets.token_urlsafe(11)) if dynamic else self.forwarder.place(text)
        if place.router not in (None, self.config.id) or place.name.startswith("$"):
            self._refuse(link, "amqp:not-allowed", f"{text} is no address to receive from")
            return
        _mirror(link)
        if dynamic:
            area = "_edge" if self.config.mode == "edge" else "_topo/0"
            link.source.dynamic = False
            link.source.address = f"amqp:/{area}/{self.config.id}/{place.name}"
        outgoing = OutLink(wire, link, port.capacity)
        link.open()
        outgoing.address = self.forwarder.add_receiver(outgoing, place)
        port.links[link._impl] = outgoing

    @staticmethod
    def _refuse(link: Any, condition: str, description: str) -> None:
        # As AMQP 1.0 has it (2.6.3): attach with no terminus, then detach with the error.
        link.open()
        link.condition = proton.Condition(condition, description)
        link.close()

    def _on_link_close(self, wire: Wire, event: Any) -> None:
        port: Port = wire.context
        pn = lib.pn_event_link(event)
        link = port.links.pop(pn, None)
        if link is not None:
            self._link_ends(port, link)
        if link is not None and port.role != "normal":
            wire.fail("the neighbour closed a link")
            return
        lib.pn_link_close(pn)
        lib.pn_link_free(pn)
        self.engine.dirty(wire)

    def _link_ends(self, port: Port, link: AnyLink) -> None:
        if isinstance(link, OutLink):
            if link.address is not None:
                self.forwarder.remove_receiver(link, link.address)
        else:
            self.forwarder.remove_sender(link)
        link.end()
        tables.retire(self, port, link)

    def _on_flow(self, wire: Wire, event: Any) -> None:
        link = wire.context.links.get(lib.pn_event_link(event))
        if isinstance(link, OutLink):
            link.on_flow()

    def _on_delivery(self, wire: Wire, event: Any) -> None:
        link = wire.context.links.get(lib.pn_event_link(event))
        if link is not None:
            link.on_delivery(lib.pn_event_delivery(event))

    def _anonymous(self, link: InLink, data: bytes, inbound: Inbound | None) -> None:
        message = proton.Message()
        try:
            message.decode(data)
            to = message.address
        except proton.MessageException:
            to = None
        self.forwarder.from_anonymous(link, to, data, inbound)

    # -- the mesh --

    def _announce_soon(self) -> None:
        if not self._announcing:
            self._announcing = True
            self.engine.soon(self._announce)

    def _announce(self) -> None:
        self._announcing = False
        self.mesh.announce(self.forwarder.received_here())

    def ports(self) -> list[tuple[Wire, Port]]:
        """Every open connection."""
        found = [(wire, wire.context) for wire in self.engine.wires]
        return sorted(found, key=lambda each: each[1].number)


def _mirror(link: Any) -> None:
    link.source.copy(link.remote_source)
    link.target.copy(link.remote_target)
    link.snd_settle_mode = link.remote_snd_settle_mode
    link.rcv_settle_mode = link.remote_rcv_settle_mode
