"""How a delivery ends, and how to read that from Proton's deliveries and write it to them."""

from __future__ import annotations

from typing import Any, NamedTuple

from cproton_ffi import ffi, lib

__all__ = [
    "ACCEPTED",
    "COUNTED",
    "FAILED",
    "REJECTED",
    "RELEASED",
    "TERMINAL",
    "Outcome",
    "put_outcome",
    "read_outcome",
]


class Outcome(NamedTuple):
    """A delivery's final state, as AMQP has it: accepted, rejected, released or modified, with what they carry."""

    state: int
    failed: bool = False
    undeliverable: bool = False
    condition: str | None = None
    description: str | None = None

    @property
    def bare(self) -> Outcome:
        """The outcome without what it carries: all a multicast's sender hears."""
        return _BARE.get(self.state, self)

    def over(self, other: Outcome | None) -> Outcome:
        """The one of two receivers' outcomes the sender hears of: rejected, accepted, modified, released in order."""
        return self if other is None or _RANK.get(self.state, 0) > _RANK.get(other.state, 0) else other


NOTHING = Outcome(0)
ACCEPTED = Outcome(lib.PN_ACCEPTED)
RELEASED = Outcome(lib.PN_RELEASED)
#: What a sender hears when a receiver died with its message: modified, delivery-failed.
FAILED = Outcome(lib.PN_MODIFIED, failed=True)
REJECTED = Outcome(lib.PN_REJECTED)
_BARE = {lib.PN_MODIFIED: FAILED, lib.PN_REJECTED: REJECTED}
_PLAIN = {0: NOTHING, lib.PN_ACCEPTED: ACCEPTED, lib.PN_RELEASED: RELEASED}
_RANK = {lib.PN_RELEASED: 0, lib.PN_MODIFIED: 1, lib.PN_ACCEPTED: 2, lib.PN_REJECTED: 3}
#: States after which nothing but settlement comes.
TERMINAL = frozenset(_RANK)
#: What each is called where deliveries are counted.
COUNTED = {
    lib.PN_ACCEPTED: "accepted", lib.PN_REJECTED: "rejected", lib.PN_RELEASED: "released", lib.PN_MODIFIED: "modified",
}  # fmt: skip


def read_outcome(pn: Any, state: int) -> Outcome:
    """What the peer said of a delivery whose remote state is this."""
    plain = _PLAIN.get(state)
    if plain is not None:
        return plain
    remote = lib.pn_delivery_remote(pn)
    if state == lib.PN_MODIFIED:
        return Outcome(
            state,
            failed=bool(lib.pn_disposition_is_failed(remote)),
            undeliverable=bool(lib.pn_disposition_is_undeliverable(remote)),
        )
    if state == lib.PN_REJECTED:
        condition = lib.pn_disposition_condition(remote)
        return Outcome(
            state,
            condition=_text(lib.pn_condition_get_name(condition)),
            description=_text(lib.pn_condition_get_description(condition)),
        )
    return NOTHING


def put_outcome(pn: Any, outcome: Outcome) -> None:
    """Say it of a delivery, without settling."""
    if outcome.state == 0:
        return
    local = lib.pn_delivery_local(pn)
    if outcome.failed:
        lib.pn_disposition_set_failed(local, True)
    if outcome.undeliverable:
        lib.pn_disposition_set_undeliverable(local, True)
    if outcome.condition:
        condition = lib.pn_disposition_condition(local)
        lib.pn_condition_set_name(condition, outcome.condition.encode())
        if outcome.description:
            lib.pn_condition_set_description(condition, outcome.description.encode())
    lib.pn_delivery_update(pn, outcome.state)


def _text(value: Any) -> str | None:
    return ffi.string(value).decode() if value else None
