"""One AMQP link each: credit, queues, deliveries and their outcomes.

What a message goes through: an `InLink` reads it from a sender and, unless it came settled, keeps an `Inbound` for
it; each `OutLink` it is forwarded on keeps an `Outbound` until its receiver settles it; the outcome then travels back
to the `Inbound` and so to the sender. A message's bytes are held only while it waits for a receiver's credit.

Credit follows the real routers: a sender to an address someone receives from may have `capacity` messages under way,
counted until they are settled (until they are forwarded, if they came settled); a link from another router gets new
credit at once, so that one slow receiver does not stop the others.
"""

from __future__ import annotations

import collections
import itertools
from typing import Any, Callable, Union

from cproton_ffi import ffi, lib

from harness.bus.router.embedded.engine import Wire
from harness.bus.router.embedded.outcomes import (
    ACCEPTED,
    COUNTED,
    FAILED,
    REJECTED,
    RELEASED,
    TERMINAL,
    Outcome,
    put_outcome,
    read_outcome,
)

__all__ = ["Account", "AnyLink", "InLink", "Inbound", "OutLink"]


class Account:
    """Unsettled messages under way to each router, for one address: what balancing goes by."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way: dict[str, int] = {}

    def add(self, router: str, number: int) -> None:
        """Count `number` more (or fewer) messages towards that router."""
        left = self.under_way.get(router, 0) + number
        if left > 0:
            self.under_way[router] = left
        else:
            self.under_way.pop(router, None)


class Inbound:
    """An unsettled message of a sender, until every receiver it went to has settled it."""

    __slots__ = ("_best", "_link", "_merged", "_outs", "_pn", "_waiting")

    def __init__(self, link: InLink, pn: Any) -> None:
        self._link = link
        self._pn = pn
        self._waiting = 1
        self._merged = False
        self._best: Outcome | None = None
        self._outs: list[Outbound] = []

    def expect(self, outcomes: int) -> None:
        """The message is a multicast to this many receivers: their outcomes are merged, without details."""
        self._waiting = outcomes
        self._merged = True

    def sent_as(self, out: Outbound) -> None:
        """One of the deliveries made of it, to be settled if the sender settles first."""
        self._outs.append(out)

    def interim(self, outcome: Outcome) -> None:
        """A single receiver has decided but not settled: tell the sender, who is to settle."""
        if not self._merged and self._link.holds(self._pn):
            put_outcome(self._pn, outcome)
            self._link.wire.engine.dirty(self._link.wire)

    def settle(self, outcome: Outcome) -> None:
        """One receiver's final outcome; the last one settles the sender's delivery."""
        self._waiting -= 1
        self._best = (outcome.bare if self._merged else outcome).over(self._best)
        if self._waiting <= 0:
            self._link.settle(self._pn, self._best)

    def settled_by_sender(self) -> None:
        """The sender wants to hear no more of it; neither do the receivers' outcomes matter."""
        for out in self._outs:
            out.settle_onward()


class Outbound:
    """A message on its way out on one link: queued with its bytes, or sent and not yet settled."""

    __slots__ = ("_account", "_link", "_router", "data", "inbound", "pn", "seen")

    def __init__(
        self, link: OutLink, data: bytes, inbound: Inbound | None, account: Account | None, router: str
    ) -> None:
        self._link = link
        self.data = data
        self.inbound = inbound
        self.pn: Any = None
        self.seen = 0
        self._account = account
        self._router = router
        if inbound is not None:
            inbound.sent_as(self)
            if account is not None:
                account.add(router, 1)

    def end(self, outcome: Outcome) -> None:
        """It is settled, or its receiver is gone."""
        inbound, self.inbound = self.inbound, None
        if inbound is not None:
            if self._account is not None:
                self._account.add(self._router, -1)
            inbound.settle(outcome)

    def settle_onward(self) -> None:
        """Settle towards the receiver because the sender has settled."""
        inbound, self.inbound = self.inbound, None
        if inbound is not None:
            if self._account is not None:
                self._account.add(self._router, -1)
            self._link.settled_by_sender(self)


class InLink:
    """A link messages come in on.

    Args:
        wire: its connection.
        link: Proton's wrapper of the link.
        capacity: messages that may be under way.
        deliver: called with each whole message and its Inbound (None: it came settled).
        between_routers: whether credit is renewed at once instead of on settlement.
    """

    def __init__(
        self,
        wire: Wire,
        link: Any,
        capacity: int,
        deliver: Callable[[InLink, bytes, Inbound | None], None],
        *,
        between_routers: bool = False,
    ) -> None:
        self.wire = wire
        self.link = link
        self.name: str = link.name
        self.capacity = capacity
        self.open = False
        self.address: Any = None
        self.counts: dict[str, int] = collections.defaultdict(int)
        self._pn = link._impl
        self._deliver = deliver
        self._between_routers = between_routers
        self._unsettled: dict[Any, Inbound] = {}
        self._step = max(1, capacity // 4)

    @property
    def unsettled(self) -> int:
        """Messages under way."""
        return len(self._unsettled)

    @property
    def credit(self) -> int:
        """Messages the sender may still send."""
        return int(lib.pn_link_credit(self._pn))

    def holds(self, pn: Any) -> bool:
        """Whether that delivery is still unsettled here."""
        return pn in self._unsettled

    def start(self) -> None:
        """Let the sender send: its messages can be delivered."""
        self.open = True
        self._renew()

    def hold(self) -> None:
        """Give no new credit: nobody receives from the address."""
        self.open = False

    def drain(self) -> None:
        """Take back the credit given: a message came for which there is nobody."""
        self.open = False
        lib.pn_link_drain(self._pn, 0)
        self.wire.engine.dirty(self.wire)

    def on_delivery(self, pn: Any) -> None:
        """Proton's event for a delivery on this link."""
        inbound = self._unsettled.get(pn)
        if inbound is not None:
            if lib.pn_delivery_settled(pn):
                del self._unsettled[pn]
                lib.pn_delivery_settle(pn)
                inbound.settled_by_sender()
                self._renew()
            return
        if lib.pn_delivery_aborted(pn):
            lib.pn_delivery_settle(pn)
            self._renew()
            return
        if not lib.pn_delivery_readable(pn) or lib.pn_delivery_partial(pn):
            return
        size = lib.pn_delivery_pending(pn)
        target = _buffer_for(size)
        lib.pn_link_recv(self._pn, target, size)
        data: bytes = ffi.unpack(target, size)
        lib.pn_link_advance(self._pn)
        self.counts["deliveries"] += 1
        if not size:
            # Not a message at all: pyngus sends nothing in a delivery when a message it had no credit for was given
            # up. Receivers of oslo.messaging's amqp1 driver would not survive it; real routers refuse it.
            put_outcome(pn, REJECTED)
            lib.pn_delivery_settle(pn)
            self.counts["rejected"] += 1
            self._renew()
            self.wire.engine.dirty(self.wire)
            return
        if lib.pn_delivery_settled(pn):
            lib.pn_delivery_settle(pn)
            self.counts["presettled"] += 1
            self._deliver(self, data, None)
            self._renew()
        else:
            inbound = self._unsettled[pn] = Inbound(self, pn)
            self._deliver(self, data, inbound)
            if self._between_routers:
                self._renew()

    def settle(self, pn: Any, outcome: Outcome) -> None:
        """Tell the sender the outcome and settle; nothing if the link or the delivery is gone."""
        if self._unsettled.pop(pn, None) is None:
            return
        put_outcome(pn, outcome)
        lib.pn_delivery_settle(pn)
        counted = COUNTED.get(outcome.state)
        if counted is not None:
            self.counts[counted] += 1
        self._renew()
        self.wire.engine.dirty(self.wire)

    def end(self) -> None:
        """The link is gone; outcomes of what came over it interest nobody any more."""
        self.open = False
        self._unsettled.clear()

    def _renew(self) -> None:
        if not self.open:
            return
        credit = lib.pn_link_credit(self._pn)
        room = self.capacity - credit - (0 if self._between_routers else len(self._unsettled))
        if room >= self._step or (room > 0 and credit <= 0):
            lib.pn_link_flow(self._pn, room)
            self.wire.engine.dirty(self.wire)


class OutLink:
    """A link messages go out on.

    Args:
        wire: its connection.
        link: Proton's wrapper of the link.
        capacity: messages that may wait before settled ones are dropped to make room.
    """

    def __init__(self, wire: Wire, link: Any, capacity: int) -> None:
        self.wire = wire
        self.link = link
        self.name: str = link.name
        self.capacity = capacity
        self.address: Any = None
        self.counts: dict[str, int] = collections.defaultdict(int)
        self._pn = link._impl
        self._settles = link.remote_snd_settle_mode == lib.PN_SND_SETTLED
        self._queue: collections.deque[Outbound] = collections.deque()
        self._unsettled: dict[Any, Outbound] = {}
        self._tags = itertools.count()

    @property
    def waiting(self) -> int:
        """Messages waiting for credit."""
        return len(self._queue)

    @property
    def unsettled(self) -> int:
        """Messages sent and not settled."""
        return len(self._unsettled)

    @property
    def load(self) -> int:
        """Messages waiting or unsettled: what balancing goes by."""
        return len(self._queue) + len(self._unsettled)

    @property
    def credit(self) -> int:
        """Messages the receiver will still take."""
        return int(lib.pn_link_credit(self._pn))

    def offer(self, data: bytes, inbound: Inbound | None, account: Account | None = None, router: str = "") -> None:
        """Send a message, at once or when the receiver gives credit."""
        out = Outbound(self, data, inbound, account, router)
        if self._queue or lib.pn_link_credit(self._pn) <= 0:
            if inbound is None and len(self._queue) >= self.capacity:
                self._drop_settled()
            self._queue.append(out)
        else:
            self._send(out)

    def on_flow(self) -> None:
        """The receiver gave credit, or wants it used up."""
        while self._queue and lib.pn_link_credit(self._pn) > 0:
            self._send(self._queue.popleft())
        if lib.pn_link_get_drain(self._pn) and lib.pn_link_credit(self._pn) > 0:
            lib.pn_link_drained(self._pn)
            self.wire.engine.dirty(self.wire)

    def on_delivery(self, pn: Any) -> None:
        """Proton's event for a delivery on this link."""
        out = self._unsettled.get(pn)
        if out is None:
            return
        state = lib.pn_delivery_remote_state(pn)
        if lib.pn_delivery_settled(pn):
            outcome = read_outcome(pn, state)
            del self._unsettled[pn]
            lib.pn_delivery_settle(pn)
            counted = COUNTED.get(outcome.state)
            if counted is not None:
                self.counts[counted] += 1
            out.end(outcome)
        elif state != out.seen and state in TERMINAL and out.inbound is not None:
            out.seen = state
            out.inbound.interim(read_outcome(pn, state))

    def settled_by_sender(self, out: Outbound) -> None:
        """The sender has settled a message that is here."""
        if out.pn is not None and self._unsettled.pop(out.pn, None) is not None:
            lib.pn_delivery_settle(out.pn)
            self.wire.engine.dirty(self.wire)

    def end(self) -> None:
        """The link is gone: release what was not sent, report what was as failed."""
        queue, unsettled = self._queue, self._unsettled
        self._queue, self._unsettled = collections.deque(), {}
        for out in queue:
            out.end(RELEASED)
        for out in unsettled.values():
            out.end(FAILED)

    def _send(self, out: Outbound) -> None:
        data, out.data = out.data, b""
        pn = lib.pn_delivery(self._pn, (4, ffi.from_buffer((next(self._tags) & 0xFFFFFFFF).to_bytes(4, "big"))))
        lib.pn_link_send(self._pn, data, len(data))
        lib.pn_link_advance(self._pn)
        self.counts["deliveries"] += 1
        if out.inbound is None or self._settles:
            lib.pn_delivery_settle(pn)
            self.counts["presettled"] += 1
            out.end(ACCEPTED)
        else:
            out.pn = pn
            self._unsettled[pn] = out
        self.wire.engine.dirty(self.wire)

    def _drop_settled(self) -> None:
        # The first is spared, as the real routers spare it: part of it may be on its way.
        kept = [out for number, out in enumerate(self._queue) if number == 0 or out.inbound is not None]
        self.counts["dropped"] += len(self._queue) - len(kept)
        self._queue = collections.deque(kept)


#: Either end a link can be seen from.
AnyLink = Union[InLink, OutLink]

_small = ffi.new("char[]", 65536)


def _buffer_for(size: int) -> Any:
    return _small if size <= 65536 else ffi.new("char[]", size)
