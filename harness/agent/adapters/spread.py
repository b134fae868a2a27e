"""One client with several connections of its own: operations go over them in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Sender

__all__ = ["Spread"]


class Spread:
    """Senders of one task, used in turn: operation i by number i modulo their number."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = list(senders)

    def warm_up(self) -> bool:
        warm = [sender.warm_up() for sender in self._senders]
        return all(warm)

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        return self._senders[seq % len(self._senders)].send(seq, due, flags, payload, target)

    def close(self) -> None:
        for sender in self._senders:
            sender.close()
