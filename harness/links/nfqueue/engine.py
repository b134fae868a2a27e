"""The emulator's loop: reads queued packets, holds them, and releases each at its instant.

One netlink socket for all queues. Packets that leave in the order they came (all of them, as a rule) wait in a FIFO
per link and are released by batch verdicts; only packets that overtake, or leave changed, are released one by one.
A heap orders the heads. All times are CLOCK_MONOTONIC nanoseconds. A packet's delay counts from the instant the kernel
received it, where the kernel tells, so being read late makes it late only if it was due by then.
"""

from __future__ import annotations

import errno
import heapq
import select
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, Mapping

from harness.links.nfqueue import netlink
from harness.links.nfqueue.effects import LOST, Effect
from harness.links.nfqueue.inject import Injector
from harness.links.nfqueue.lateness import Lateness

__all__ = ["Engine", "Link", "kernel_counters"]

#: Packets read, and packets released, before the other side gets its turn.
_TURN = 16
#: Packets one link may hold; the kernel drops (and counts) what comes beyond.
_MAX_HELD = 400_000
_RECEIVE_BUFFER_BYTES = 128 << 20
_LARGEST_MESSAGE = 0x12000
#: An arrival further from now than this is a clock that was set, not a packet that waited.
_PLAUSIBLE_NS = 1_000_000_000
_ASSUMED_BYTES = 1500


class Link:
    """One direction: its queue, its effect, what it holds and what it counted."""

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
        self.effect = effect
        self.cut = False
        self.delay_ns = effect.delay_ns if effect.plain else -1
        self.fifo: deque[tuple[int, int]] = deque()
        self.latest_due_ns = 0
        self.last_id = 0
        self.generation = 0
        self.head = 0
        self.release_batch = netlink.verdict_prefix(queue, True)
        self.release_one = netlink.verdict_prefix(queue, False)
        self.arrived = self.released = self.lost = self.overflowed = self.dropped_cut = 0
        self.duplicated = self.corrupted = 0

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


class Engine:
    """Holds the links of one gateway. Not thread safe: everything happens in the loop.

    Raises OSError from its constructor where NFQUEUE cannot be used.
    """

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], Link] = {}
        self.lateness = Lateness()
        self.errors = 0
        self.arrivals_by_kernel = 0
        self._by_queue: dict[int, Link] = {}
        self._heap: list[tuple[int, int, Link, int, int, tuple[bytes | None, bytes | None] | None]] = []
        self._sequence = 0
        self._injector = Injector()
        self._buffer = bytearray(_LARGEST_MESSAGE)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, netlink.SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._socket.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_NO_ENOBUFS, 1)
        self._stamps = _want_arrival_times()

    def _command(self, message: bytes) -> None:
        """Send a configuration message and wait for its acknowledgement. Only before packets flow."""
        self._socket.settimeout(2.0)
        try:
            self._socket.send(message)
            while True:
                code = netlink.error_code(self._socket.recv(_LARGEST_MESSAGE))
                if code is not None:
                    break
        finally:
            self._socket.setblocking(False)
        if code:
            raise OSError(code, "the kernel refused an NFQUEUE command")

    def add(self, queue: int, source: str, target: str, description: Mapping[str, Any]) -> None:
        """Bind a queue and put a link's impairment into force for whatever will be sent to it. Raises OSError."""
        effect = Effect(description)
        self._command(netlink.bind(queue))
        self._command(netlink.configure(queue, effect.copy_bytes, _MAX_HELD, effect.whole_super_packets))
        link = Link(queue, source, target, effect)
        self.links[source, target] = self._by_queue[queue] = link

    def change(self, source: str, target: str, description: Mapping[str, Any]) -> int:
        """Change a link; the next packet read is treated anew. Returns the instant. Raises KeyError."""
        link = self.links[source, target]
        old, new = link.effect, Effect(description)
        now = time.monotonic_ns()
        new.follow(old, now)
        wider = netlink.configure(
            link.queue,
            max(old.copy_bytes, new.copy_bytes),
            _MAX_HELD,
            old.whole_super_packets and new.whole_super_packets,
        )
        self._socket.send(wider)
        link.effect = new
        link.delay_ns = new.delay_ns if new.plain and not link.cut else -1
        if old.paced and link.fifo:
            link.fifo = deque((new.rescheduled(due, old, now), packet) for due, packet in link.fifo)
            self._push_head(link)
        instant = time.monotonic_ns()
        self._socket.send(netlink.configure(link.queue, new.copy_bytes, _MAX_HELD, new.whole_super_packets))
        return instant

    def _push_head(self, link: Link) -> None:
        """Put the head of a link's FIFO into the heap; whatever entry it had there counts no more."""
        self._sequence += 1
        link.head = self._sequence
        heapq.heappush(self._heap, (link.fifo[0][0], self._sequence, link, link.generation, -1, None))

    def cut(self, source: str, target: str) -> int:
        """Lose everything on a link from now on, also what it holds. Returns the instant. Raises KeyError."""
        link = self.links[source, target]
        if not link.cut:
            link.cut = True
            link.delay_ns = -1
            if link.last_id:
                self._socket.send(link.release_batch + netlink.VERDICT.pack(netlink.NF_DROP, link.last_id))
            held = link.arrived - link.released - link.lost - link.overflowed - link.dropped_cut
            link.dropped_cut += held
            link.fifo.clear()
            link.generation += 1
            link.latest_due_ns = 0
        return time.monotonic_ns()

    def heal(self, source: str, target: str) -> int:
        """End a cut. Returns the instant. Raises KeyError."""
        link = self.links[source, target]
        link.cut = False
        link.delay_ns = link.effect.delay_ns if link.effect.plain else -1
        return time.monotonic_ns()

    def run(self, control: int, on_control: Callable[[], bool]) -> None:
        """Emulate until on_control() returns False; it is called whenever the descriptor `control` is readable."""
        packets = self._socket.fileno()
        descriptors = [packets, control]
        monotonic_ns = time.monotonic_ns
        heap = self._heap
        while True:
            timeout: float | None = None
            if heap:
                timeout = (heap[0][0] - monotonic_ns()) * 1e-9
                if timeout < 0.0:
                    timeout = 0.0
            readable = select.select(descriptors, (), (), timeout)[0]
            if readable:
                if packets in readable:
                    self._read()
                if control in readable and not on_control():
                    return
            if heap and heap[0][0] <= monotonic_ns():
                self._release()

    def _read(self) -> None:
        """Take in up to one turn of packets. The path of a plain delay is spelt out here for speed."""
        buffer = self._buffer
        receive = self._socket.recv_into
        unpack = netlink.PACKET_HEAD_TIMED.unpack_from
        packet_type = netlink.PACKET_TYPE_BE
        stamp_head = netlink.TIMESTAMP_HEAD_BE
        by_queue = self._by_queue
        heap = self._heap
        now = time.monotonic_ns()
        real_offset = time.time_ns() - now
        for _ in range(_TURN):
            try:
                size = receive(buffer)
            except BlockingIOError:
                return
            kind, queue, packet, head, seconds, micros = unpack(buffer)
            if kind != packet_type:
                code = netlink.error_code(bytes(buffer[:size]))
                if code and code != errno.ENOENT:
                    self.errors += 1
                continue
            if head == stamp_head:
                arrival = seconds * 1_000_000_000 + micros * 1000 - real_offset
                self.arrivals_by_kernel += 1
                if arrival > now or arrival < now - _PLAUSIBLE_NS:
                    arrival = now
            else:
                arrival = self._arrival(buffer, size, now, real_offset)
            link = by_queue[queue]
            link.arrived += 1
            link.last_id = packet
            delay = link.delay_ns
            if delay >= 0:
                due = arrival + delay
                if due >= link.latest_due_ns:
                    link.latest_due_ns = due
                    fifo = link.fifo
                    fifo.append((due, packet))
                    if len(fifo) == 1:
                        self._push_head(link)
                else:
                    self._sequence += 1
                    heapq.heappush(heap, (due, self._sequence, link, link.generation, packet, None))
            else:
                self._admit(link, arrival, packet, size)

    def _arrival(self, buffer: bytearray, size: int, now: int, real_offset: int) -> int:
        stamp = netlink.arrival_of(bytes(buffer[:size])) if self._stamps else None
        if stamp is None:
            return now
        arrival = stamp[0] * 1_000_000_000 + stamp[1] * 1000 - real_offset
        self.arrivals_by_kernel += 1
        return arrival if now - _PLAUSIBLE_NS < arrival <= now else now

    def _admit(self, link: Link, arrival: int, packet: int, size: int) -> None:
        """A packet of a link that is cut or does more than delay."""
        effect = link.effect
        if link.cut:
            link.dropped_cut += 1
            self._socket.send(link.release_one + netlink.VERDICT.pack(netlink.NF_DROP, packet))
            return
        payload = netlink.payload_of(bytes(self._buffer[:size])) if effect.copy_bytes else b""
        due = effect.due(arrival, netlink.ip_length(payload) or _ASSUMED_BYTES)
        if due < 0:
            if due == LOST:
                link.lost += 1
            else:
                link.overflowed += 1
            self._socket.send(link.release_one + netlink.VERDICT.pack(netlink.NF_DROP, packet))
            return
        contents = None
        if len(payload) > 20:
            second = payload if effect.duplicated() else None
            changed = effect.corrupted(payload)
            if second or changed:
                contents = (changed, second)
        in_order = due >= link.latest_due_ns
        if in_order:
            link.latest_due_ns = due
        if effect.reorder or effect.changes_contents or not in_order:
            self._sequence += 1
            heapq.heappush(self._heap, (due, self._sequence, link, link.generation, packet, contents))
            return
        link.fifo.append((due, packet))
        if len(link.fifo) == 1:
            self._push_head(link)

    def _release(self) -> None:
        """Let pass what is due, at most one turn of packets."""
        heap = self._heap
        now = time.monotonic_ns()
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
                self.lateness.add(now - due)
                if contents is None:
                    verdicts.append(link.release_one + netlink.VERDICT.pack(netlink.NF_ACCEPT, packet))
                else:
                    self._release_contents(link, packet, contents)
                continue
            fifo = link.fifo
            count = 0
            late = now - due
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
            self.lateness.add(late, count)
            verdicts.append(link.release_batch + netlink.VERDICT.pack(netlink.NF_ACCEPT, packet))
        if verdicts:
            self._socket.send(b"".join(verdicts))

    def _release_contents(self, link: Link, packet: int, contents: tuple[bytes | None, bytes | None]) -> None:
        changed, second = contents
        if changed is None:
            self._socket.send(link.release_one + netlink.VERDICT.pack(netlink.NF_ACCEPT, packet))
        else:
            link.corrupted += 1
            self._socket.send(netlink.changed_verdict(link.queue, packet, changed))
        if second is not None and self._injector.send(second):
            link.duplicated += 1

    def evidence(self) -> dict[str, Any]:
        """Plain JSON: lateness, packets per direction, the kernel's drops, and how arrivals were timed."""
        kernel = kernel_counters(set(self._by_queue))
        return {
            "lateness": self.lateness.report(),
            "links": [{"source": link.source, "target": link.target, **link.counts()} for link in self.links.values()],
            "kernel": kernel,
            "refused_verdicts": self.errors,
            "arrivals_timed_by_kernel": self.arrivals_by_kernel,
            "receive_buffer_bytes": self.receive_buffer_bytes,
        }

    def close(self) -> None:
        """Give all queues up: what they hold is dropped, and so is whatever still comes."""
        self._socket.close()
        self._injector.close()
        if self._stamps is not None:
            self._stamps.close()


def _want_arrival_times() -> socket.socket | None:
    """A socket that makes the kernel note when it receives packets, for as long as it is open; None if it will not."""
    stamps = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        stamps.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_TIMESTAMP", 29), 1)
    except OSError:
        stamps.close()
        return None
    return stamps


def kernel_counters(queues: set[int]) -> dict[str, int]:
    """What the kernel counts for our queues: packets waiting, dropped for a full queue, dropped for a full socket."""
    waiting = full = undeliverable = 0
    with Path("/proc/self/net/netfilter/nfnetlink_queue").open(encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if len(fields) >= 7 and int(fields[0]) in queues:
                waiting += int(fields[2])
                full += int(fields[5])
                undeliverable += int(fields[6])
    return {"waiting": waiting, "queue_dropped": full, "socket_dropped": undeliverable}
