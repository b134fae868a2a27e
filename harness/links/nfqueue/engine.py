"""The emulator's loop: reads queued packets, holds them, and releases each at its instant.

Packets that leave in the order they came (all of them, as a rule) wait in a FIFO per link and are released by batch
verdicts; only packets that overtake, or leave changed, are released one by one. A heap orders the heads. All times
are CLOCK_MONOTONIC nanoseconds.

A packet's delay counts from the instant the kernel received it, where the kernel tells. So it need not be read at
once: while every link is longer than a little, packets are read together every `_lull_ns`, which halves the number
of times the process wakes up. Before anything is changed, what has arrived is read under what held until then.
"""

from __future__ import annotations

import errno
import heapq
import select
import time
from collections import deque
from typing import Any, Callable, Mapping, Optional, Tuple

from harness.links.nfqueue import netlink
from harness.links.nfqueue.batch import Batch
from harness.links.nfqueue.clocks import both_clocks
from harness.links.nfqueue.effects import LOST, Effect
from harness.links.nfqueue.inject import Injector
from harness.links.nfqueue.kernel import QueueSocket
from harness.links.nfqueue.lateness import Lateness
from harness.links.nfqueue.link import Link

__all__ = ["Engine"]

#: Packets released before arriving ones get their turn.
_TURN = 16
#: The longest that packets stay unread, and the share of the shortest link's delay it may take.
_LONGEST_LULL_NS = 2_000_000
_LULL_SHARE = 4
#: Below this a pause is not worth making.
_SHORTEST_LULL_NS = 200_000
#: An arrival further from now than this is a clock that was set, not a packet that waited.
_PLAUSIBLE_NS = 1_000_000_000
_ASSUMED_BYTES = 1500

#: What leaves in place of a packet, and what leaves after it.
Contents = Tuple[Optional[bytes], Optional[bytes]]
#: (instant, sequence number, link, its generation, packet id or -1 for the FIFO's head, contents).
Entry = Tuple[int, int, Link, int, int, Optional[Contents]]


class Engine:
    """Holds the links of one gateway. Not thread safe: everything happens in the loop.

    Args:
        kernel: the queues; by default the real ones, which raise OSError where NFQUEUE cannot be used.
    """

    def __init__(self, kernel: QueueSocket | None = None) -> None:
        self.links: dict[tuple[str, str], Link] = {}
        self.lateness = Lateness()
        self.refused_verdicts = 0
        self.arrivals_by_kernel = 0
        self._by_queue: dict[int, Link] = {}
        self._heap: list[Entry] = []
        self._sequence = 0
        self._lull_ns = 0
        self._kernel = QueueSocket() if kernel is None else kernel
        self._injector = Injector()

    # -- links ------------------------------------------------------------------------------------------------------

    def add(self, queue: int, source: str, target: str, description: Mapping[str, Any]) -> None:
        """Bind a queue and put a link's impairment into force for whatever will be sent to it. Raises OSError."""
        effect = Effect(description)
        self._kernel.bind(queue, effect.copy_bytes, effect.whole_super_packets)
        self.links[source, target] = self._by_queue[queue] = Link(queue, source, target, effect)
        self._set_lull()

    def change(self, source: str, target: str, description: Mapping[str, Any]) -> int:
        """Change a link; the next packet is treated anew. Returns the instant. Raises KeyError, ValueError."""
        link = self.links[source, target]
        old, new = link.effect, Effect(description)
        self._catch_up()
        now = time.monotonic_ns()
        new.follow(old, now)
        whole = old.whole_super_packets and new.whole_super_packets
        self._kernel.configure(link.queue, max(old.copy_bytes, new.copy_bytes), whole)
        link.use(new)
        if old.paced and link.fifo:
            link.fifo = deque((new.rescheduled(due, old, now), packet) for due, packet in link.fifo)
            self._push_head(link)
        self._kernel.configure(link.queue, new.copy_bytes, new.whole_super_packets)
        self._set_lull()
        return now

    def cut(self, source: str, target: str) -> int:
        """Lose everything on a link from now on, also what it holds. Returns the instant. Raises KeyError."""
        link = self.links[source, target]
        if not link.cut:
            link.cut = True
            link.use(link.effect)
            if link.last_id:
                self._kernel.socket.send(link.release_batch + netlink.VERDICT.pack(netlink.NF_DROP, link.last_id))
            link.forget()
        return time.monotonic_ns()

    def heal(self, source: str, target: str) -> int:
        """End a cut. Returns the instant. Raises KeyError."""
        link = self.links[source, target]
        self._catch_up()
        link.cut = False
        link.use(link.effect)
        return time.monotonic_ns()

    def _set_lull(self) -> None:
        """How long packets may stay unread so that none can become late by it."""
        least = min(link.effect.least_delay_ns for link in self.links.values())
        lull = min(_LONGEST_LULL_NS, least // _LULL_SHARE) if self._kernel.stamped else 0
        self._lull_ns = lull if lull >= _SHORTEST_LULL_NS else 0

    def _catch_up(self) -> None:
        """Read what has arrived; bounded, because more may be coming faster than it is read."""
        for _ in range(1000):
            if self._read():
                return

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self, control: int, on_control: Callable[[], bool]) -> None:
        """Emulate until on_control() returns False; it is called whenever the descriptor `control` is readable."""
        packets = self._kernel.socket.fileno()
        descriptors = [packets, control]
        monotonic_ns, pause, wait = time.monotonic_ns, time.sleep, select.select
        heap = self._heap
        read, release = self._read, self._release
        next_read = 0
        while True:
            now = monotonic_ns()
            if heap and heap[0][0] <= now:
                release(now)
                if now < next_read:
                    continue
            if heap:
                left = heap[0][0] - now
                if now < next_read:
                    # More may have arrived, but nobody is made late by what is not read yet.
                    if left > 0:
                        pause((left if now + left < next_read else next_read - now) * 1e-9)
                    continue
                readable = wait(descriptors, (), (), left * 1e-9 if left > 0 else 0.0)[0]
            else:
                readable = wait(descriptors, (), ())[0]
            if packets in readable:
                next_read = monotonic_ns() + self._lull_ns if read() else 0
            if control in readable and not on_control():
                return

    def _read(self) -> bool:
        """Take in one batch of packets; True when there are no more. A plain delay is spelt out for speed."""
        batch = self._kernel.batch
        count = batch.read()
        by_queue, heap = self._by_queue, self._heap
        now, real_offset = both_clocks(time.monotonic_ns, time.time_ns)
        oldest = now - _PLAUSIBLE_NS
        timed = 0
        for number, (kind, queue, packet, head, seconds, micros) in enumerate(batch.heads(count)):
            if kind != netlink.PACKET_TYPE_BE:
                self._note_error(batch.message(number))
                continue
            if head == netlink.TIMESTAMP_HEAD_BE:
                arrival = seconds * 1_000_000_000 + micros * 1000 - real_offset
                timed += 1
                if arrival > now or arrival < oldest:
                    arrival = self._plausible(arrival, now)
            else:
                arrival = self._arrival(batch.message(number), now, real_offset)
            link = by_queue[queue]
            link.arrived += 1
            link.last_id = packet
            delay = link.delay_ns
            if delay < 0:
                self._admit(link, arrival, packet, batch, number)
                continue
            due = arrival + delay
            if due < link.latest_due_ns:
                self._push(due, link, packet, None)
                continue
            link.latest_due_ns = due
            fifo = link.fifo
            fifo.append((due, packet))
            if len(fifo) == 1:
                self._sequence = link.head = self._sequence + 1
                heapq.heappush(heap, (due, link.head, link, link.generation, -1, None))
        self.arrivals_by_kernel += timed
        return count < batch.limit

    def _arrival(self, message: bytes, now: int, real_offset: int) -> int:
        """Arrival of a packet whose message is not laid out as usual."""
        stamp = netlink.arrival_of(message)
        if stamp is None:
            return time.monotonic_ns()
        self.arrivals_by_kernel += 1
        return self._plausible(stamp[0] * 1_000_000_000 + stamp[1] * 1000 - real_offset, now)

    @staticmethod
    def _plausible(arrival: int, now: int) -> int:
        """The arrival, unless a clock was set. It may be later than the turn's `now`: turns can be suspended."""
        latest = time.monotonic_ns()
        return arrival if now - _PLAUSIBLE_NS <= arrival <= latest else latest

    def _note_error(self, message: bytes) -> None:
        """A verdict the kernel refused; one for a packet that a batch verdict had released already means nothing."""
        if netlink.error_code(message) not in (None, 0, errno.ENOENT):
            self.refused_verdicts += 1

    def _admit(self, link: Link, arrival: int, packet: int, batch: Batch, number: int) -> None:
        """A packet of a link that is cut or does more than delay."""
        effect = link.effect
        if link.cut:
            link.dropped_cut += 1
            self._drop(link, packet)
            return
        message = batch.message(number) if effect.copy_bytes else b""
        due = effect.due(arrival, (netlink.length_of(message) if message else 0) or _ASSUMED_BYTES)
        if due < 0:
            if due == LOST:
                link.lost += 1
            else:
                link.overflowed += 1
            self._drop(link, packet)
            return
        contents: Contents | None = None
        if effect.changes_contents and len(payload := netlink.payload_of(message)) > 20:
            second = payload if effect.duplicated() else None
            changed = effect.corrupted(payload)
            if second or changed:
                contents = (changed, second)
        in_order = due >= link.latest_due_ns
        if in_order:
            link.latest_due_ns = due
        if effect.reorder or effect.changes_contents or not in_order:
            self._push(due, link, packet, contents)
            return
        link.fifo.append((due, packet))
        if len(link.fifo) == 1:
            self._push_head(link)

    def _drop(self, link: Link, packet: int) -> None:
        self._kernel.socket.send(link.release_one + netlink.VERDICT.pack(netlink.NF_DROP, packet))

    def _push(self, due: int, link: Link, packet: int, contents: Contents | None) -> None:
        """Hold a packet that leaves by itself."""
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, link, link.generation, packet, contents))

    def _push_head(self, link: Link) -> None:
        """Put the head of a link's FIFO into the heap; whatever entry it had there counts no more."""
        self._sequence = link.head = self._sequence + 1
        heapq.heappush(self._heap, (link.fifo[0][0], link.head, link, link.generation, -1, None))

    def _release(self, now: int) -> None:
        """Let pass what is due, at most one turn of packets."""
        heap = self._heap
        pack, accept = netlink.VERDICT.pack, netlink.NF_ACCEPT
        budget = _TURN
        verdicts = []
        while budget > 0 and heap and heap[0][0] <= now:
            due, sequence, link, generation, packet, contents = heap[0]
            if generation != link.generation or (packet < 0 and sequence != link.head):
                heapq.heappop(heap)
                continue
            if packet >= 0:
                heapq.heappop(heap)
                budget -= 1
                link.released += 1
                self.lateness.add(now - due, 1)
                if contents is None:
                    verdicts.append(link.release_one + pack(accept, packet))
                else:
                    self._release_contents(link, packet, contents)
                continue
            fifo = link.fifo
            count = 0
            while fifo and count < budget and fifo[0][0] <= now:
                packet = fifo.popleft()[1]
                count += 1
            if fifo:
                self._sequence = link.head = self._sequence + 1
                heapq.heapreplace(heap, (fifo[0][0], link.head, link, generation, -1, None))
            else:
                heapq.heappop(heap)
            budget -= count
            link.released += count
            self.lateness.add(now - due, count)
            verdicts.append(link.release_batch + pack(accept, packet))
        if verdicts:
            self._kernel.socket.send(verdicts[0] if len(verdicts) == 1 else b"".join(verdicts))

    def _release_contents(self, link: Link, packet: int, contents: Contents) -> None:
        changed, second = contents
        if changed is None:
            self._kernel.socket.send(link.release_one + netlink.VERDICT.pack(netlink.NF_ACCEPT, packet))
        else:
            link.corrupted += 1
            self._kernel.socket.send(netlink.changed_verdict(link.queue, packet, changed))
        if second is not None and self._injector.send(second):
            link.duplicated += 1

    # -- evidence ---------------------------------------------------------------------------------------------------

    def evidence(self) -> dict[str, Any]:
        """Plain JSON: lateness, packets per direction, the kernel's drops, and how arrivals were timed."""
        return {
            "lateness": self.lateness.report(),
            "links": [{"source": link.source, "target": link.target, **link.counts()} for link in self.links.values()],
            "kernel": self._kernel.counters(),
            "refused_verdicts": self.refused_verdicts,
            "arrivals_timed_by_kernel": self.arrivals_by_kernel,
            "receive_buffer_bytes": self._kernel.receive_buffer_bytes,
            "read_every_s": self._lull_ns * 1e-9,
        }

    def close(self) -> None:
        """Give all queues up: what they hold is dropped, and so is whatever still comes."""
        self._kernel.close()
        self._injector.close()
