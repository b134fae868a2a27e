"""One direction: its queue, its effect, what it holds and what it counted."""

from __future__ import annotations

from collections import deque

from harness.links.nfqueue import netlink
from harness.links.nfqueue.effects import Effect

__all__ = ["Link"]


class Link:
    """State of one directed link; the engine reads and writes it.

    Attributes:
        queue: number of its kernel queue.
        source, target: the direction.
        effect: what happens to its packets.
        cut: whether everything is lost.
        delay_ns: the delay of every packet where nothing else happens to any, else -1.
        fifo: (instant, packet id) of packets that leave in the order they came.
        head: sequence number of the heap's valid entry for the FIFO's head.
        latest_due_ns: the latest instant any packet was given.
        last_id: id of the last packet that arrived.
        generation: counts cuts; heap entries of an earlier generation are void.
        release_batch, release_one: verdict messages up to the verdict.
        arrived, released, lost, overflowed, dropped_cut, duplicated, corrupted: packets.
    """

    __slots__ = (
        "arrived",
        "corrupted",
        "cut",
        "delay_ns",
        "dropped_cut",
        "duplicated",
        "effect",
        "fifo",
        "generation",
        "head",
        "last_id",
        "latest_due_ns",
        "lost",
        "overflowed",
        "queue",
        "release_batch",
        "release_one",
        "released",
        "source",
        "target",
    )

    def __init__(self, queue: int, source: str, target: str, effect: Effect) -> None:
        self.queue = queue
        self.source = source
        self.target = target
        self.cut = False
        self.fifo: deque[tuple[int, int]] = deque()
        self.head = self.latest_due_ns = self.last_id = self.generation = 0
        self.release_batch = netlink.verdict_prefix(queue, True)
        self.release_one = netlink.verdict_prefix(queue, False)
        self.arrived = self.released = self.lost = self.overflowed = self.dropped_cut = 0
        self.duplicated = self.corrupted = 0
        self.use(effect)

    def use(self, effect: Effect) -> None:
        """Put an effect into force."""
        self.effect = effect
        self.delay_ns = effect.delay_ns if effect.plain and not self.cut else -1

    def forget(self) -> None:
        """Everything held has been dropped by a cut."""
        self.dropped_cut = self.arrived - self.released - self.lost - self.overflowed
        self.fifo.clear()
        self.generation += 1
        self.latest_due_ns = 0

    def counts(self) -> dict[str, int]:
        """Packets so far by what became of them; those held are not in any but `arrived`."""
        return {
            "arrived": self.arrived,
            "released": self.released,
            "lost": self.lost,
            "tail_dropped": self.overflowed,
            "cut_dropped": self.dropped_cut,
            "duplicated": self.duplicated,
            "corrupted": self.corrupted,
        }
