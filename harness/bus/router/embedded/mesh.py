"""Neighbours: who they are, whether they are alive, and what routers tell each other.

Between two routers there is one AMQP connection with two links each way: `control` carries greetings and link-state
statements, `data` carries messages. A neighbour counts as there while its greetings come (every hello interval; gone
after the hello age), as in the real routers; the connection itself may outlive that until its idle time-out, and the
neighbour is back as soon as a greeting gets through again.
"""

from __future__ import annotations

import struct
import time
from typing import Any, Callable

from harness.bus.router.embedded.engine import Engine, Wire
from harness.bus.router.embedded.frames import Frame, decode_control, decode_data, encode_control
from harness.bus.router.embedded.links import Inbound, InLink, OutLink
from harness.bus.router.embedded.linkstate import LinkState
from harness.bus.router.embedded.outcomes import RELEASED

__all__ = ["CONTROL", "DATA", "WINDOW", "Mesh", "Neighbour"]

#: Link targets of our own protocol on connections between routers.
CONTROL = "$femdc/control"
DATA = "$femdc/data"

#: Messages a neighbour may be sent ahead, and settled messages that may wait for it before they are dropped. Larger
#: than a real router's link capacity (250), because here one thread does in turns what there is done side by side.
WINDOW = 1000
_LIMITS = {CONTROL: 1 << 30, DATA: 4 * WINDOW}
_FORGET_AFTER_S = 60.0


class Neighbour:
    """A router at the other end of a connection."""

    def __init__(self, name: str, wire: Wire, cost: int) -> None:
        self.name = name
        self.wire = wire
        self.cost = cost
        self.heard_at: float | None = None
        self.control: OutLink | None = None
        self.data: OutLink | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there and can be sent to."""
        return self.heard_at is not None and self.data is not None

    def tell(self, statements: list[dict[str, Any]]) -> None:
        """Send statements on the control link."""
        if self.control is not None:
            for statement in statements:
                self.control.offer(encode_control(statement), None)


class Mesh:
    """This router's neighbours and the flooding of link state.

    Args:
        engine: the loop.
        links: the database.
        hello_interval_s, hello_max_age_s: how often to greet, and when a silent neighbour counts as gone.
        changed: called after the database changed: with the addresses concerned, or None where paths changed.
        arrived: called with each message frame a neighbour handed on.
        note: writes a line to the log.
    """

    def __init__(
        self,
        engine: Engine,
        links: LinkState,
        hello_interval_s: float,
        hello_max_age_s: float,
        *,
        changed: Callable[[set[str] | None], None],
        arrived: Callable[[Frame, Inbound | None], None],
        note: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._links = links
        self._max_age_s = hello_max_age_s
        self._changed = changed
        self._arrived = arrived
        self._note = note
        self._by_wire: dict[Wire, Neighbour] = {}
        self._current: dict[str, Neighbour] = {}
        self._out_of_reach_since: dict[str, float] = {}
        self.last_change_at: float | None = None
        engine.every(hello_interval_s, self._greet)
        engine.every(min(0.25, hello_max_age_s / 4), self._check_ages)
        engine.every(10.0, self._forget_lost)

    # -- connections --

    def joined(self, wire: Wire, name: str, cost: int) -> Neighbour:
        """A connection to another router is open."""
        neighbour = self._by_wire[wire] = Neighbour(name, wire, cost)
        return neighbour

    def of(self, wire: Wire) -> Neighbour | None:
        """The neighbour at the other end."""
        return self._by_wire.get(wire)

    def link_up(self, neighbour: Neighbour, link: Any, target: str) -> OutLink:
        """One of our links to the neighbour is open; with both we greet and tell it all we know."""
        out = OutLink(neighbour.wire, link, _LIMITS[target])
        if target == CONTROL:
            neighbour.control = out
        else:
            neighbour.data = out
        if neighbour.control is not None and neighbour.data is not None:
            neighbour.tell([self._greeting(), *self._links.everything()])
            self._settle_current(neighbour.name)
        return out

    def left(self, wire: Wire) -> None:
        """The connection is gone."""
        neighbour = self._by_wire.pop(wire, None)
        if neighbour is not None:
            neighbour.heard_at = None
            self._settle_current(neighbour.name)

    def data_link(self, name: str) -> OutLink | None:
        """The link messages to that neighbour go out on, None if it is gone."""
        neighbour = self._current.get(name)
        return neighbour.data if neighbour is not None else None

    def _settle_current(self, name: str) -> None:
        """Of several connections to one router, the youngest that is alive is used."""
        alive = [neighbour for neighbour in self._by_wire.values() if neighbour.name == name and neighbour.alive]
        before = self._current.pop(name, None)
        if alive:
            self._current[name] = alive[-1]
        if (before is None) != (not alive):
            self._note(f"neighbour {name} is {'there' if alive else 'gone'}")
        statement = self._links.set_links({each.name: each.cost for each in self._current.values()})
        if statement is not None:
            self._flood(statement)
            self._paths_changed()
        elif before is not None and alive and before is not alive[-1]:
            self._paths_changed()

    def _paths_changed(self) -> None:
        self.last_change_at = time.time()
        self._changed(None)

    # -- messages --

    def on_data(self, link: InLink, data: bytes, inbound: Inbound | None) -> None:
        """A frame on a data link."""
        try:
            frame = decode_data(data)
        except (struct.error, IndexError, UnicodeDecodeError):
            self._note(f"a frame from {link.wire.peer} makes no sense")
            if inbound is not None:
                inbound.settle(RELEASED)
            return
        self._arrived(frame, inbound)

    def on_control(self, link: InLink, data: bytes, inbound: Inbound | None) -> None:
        """A frame on a control link."""
        neighbour = self._by_wire.get(link.wire)
        if neighbour is None:
            return
        try:
            statement = decode_control(data)
            self._heard(neighbour, statement)
        except (ValueError, KeyError, TypeError, AttributeError):
            self._note(f"a statement from {neighbour.name} makes no sense")

    def _heard(self, neighbour: Neighbour, statement: dict[str, Any]) -> None:
        first = neighbour.heard_at is None
        neighbour.heard_at = time.monotonic()
        if first:
            self._settle_current(neighbour.name)
            neighbour.tell(self._links.everything())
        if statement["say"] == "hello":
            return
        if statement["say"] == "want":
            neighbour.tell(self._links.everything(statement["of"]))
            return
        applied = self._links.apply(statement)
        if applied.gap and statement["of"] == self._links.me:
            for own in self._links.everything(self._links.me):
                self._flood(own)
        elif applied.gap:
            neighbour.tell([{"say": "want", "of": statement["of"]}])
        if applied.new:
            self._flood(statement, but=neighbour)
        if applied.topology:
            self._paths_changed()
        if applied.addresses:
            self._changed(set(applied.addresses))

    def announce(self, addresses: set[str]) -> None:
        """Receivers here receive from exactly these addresses."""
        statement = self._links.set_addresses(addresses)
        if statement is not None:
            self._flood(statement)

    def _flood(self, statement: dict[str, Any], but: Neighbour | None = None) -> None:
        for neighbour in list(self._by_wire.values()):
            if neighbour is not but:
                neighbour.tell([statement])

    # -- time --

    def _greeting(self) -> dict[str, Any]:
        return {"say": "hello", "of": self._links.me}

    def _greet(self) -> None:
        self._flood(self._greeting())

    def _check_ages(self) -> None:
        now = time.monotonic()
        for neighbour in list(self._by_wire.values()):
            if neighbour.heard_at is not None and now - neighbour.heard_at > self._max_age_s:
                neighbour.heard_at = None
                self._settle_current(neighbour.name)

    def _forget_lost(self) -> None:
        now, routes = time.monotonic(), self._links.routes()
        lost = {name for name in self._links.known() if name not in routes and name != self._links.me}
        self._out_of_reach_since = {name: self._out_of_reach_since.get(name, now) for name in lost}
        self._links.forget([name for name, since in self._out_of_reach_since.items() if now - since > _FORGET_AFTER_S])
