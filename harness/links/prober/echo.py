"""UDP echoes with four timestamps: sent, received there, sent back, received here.

Reception is stamped by the kernel (SO_TIMESTAMPNS), so a busy processor delays neither end's reading of the clock.
The time an echo spends in the answering process is taken out. All stamps are CLOCK_REALTIME nanoseconds.
"""

from __future__ import annotations

import heapq
import select
import socket
import struct
import time
from typing import Any, Mapping, Sequence

__all__ = ["PACKET", "Echo", "Flight"]

_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@qq")
_MAGIC = b"femdclnk"
#: Magic, kind (0 question, 1 answer), target number, sequence number, sent, received there, sent back.
PACKET = struct.Struct("!8sHHIQQQ")
_WARM_UP = 0xFFFFFFFF
_WARM_UP_EVERY_S = 0.1


class Flight:
    """The echoes of one target.

    Attributes:
        address: (host, port) they go to.
        round_trips_ns: time under way, there and back, by sequence number; -1 for an echo that did not come back.
        there_ns, back_ns: the same one way; mean something only where both ends share a clock.
        duplicates: echoes that came back more than once.
        out_of_order: echoes that came back after one sent later.
    """

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.address = address
        self.round_trips_ns = [-1] * count
        self.there_ns = [0] * count
        self.back_ns = [0] * count
        self.duplicates = 0
        self.out_of_order = 0
        self.warm = False
        self._newest = -1

    def record(self, sequence: int, stamps: tuple[int, int, int, int]) -> None:
        """Take in one echo: (sent, received there, sent back, received here), ns."""
        sent, there, back, here = stamps
        if self.round_trips_ns[sequence] >= 0:
            self.duplicates += 1
            return
        if sequence < self._newest:
            self.out_of_order += 1
        self._newest = max(self._newest, sequence)
        self.there_ns[sequence] = there - sent
        self.back_ns[sequence] = here - back
        self.round_trips_ns[sequence] = max(0, (here - sent) - (back - there))

    def report(self) -> dict[str, Any]:
        """Plain JSON: seconds of every echo that came back, and counts."""
        back = [i for i, value in enumerate(self.round_trips_ns) if value >= 0]
        return {
            "sent": len(self.round_trips_ns),
            "lost": len(self.round_trips_ns) - len(back),
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "rtt_s": [self.round_trips_ns[i] * 1e-9 for i in back],
            "there_s": [self.there_ns[i] * 1e-9 for i in back],
            "back_s": [self.back_ns[i] * 1e-9 for i in back],
        }


class Echo:
    """One UDP socket that answers questions and asks them.

    Args:
        family: socket.AF_INET or AF_INET6.
    """

    def __init__(self, family: int) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.port = int(self.socket.getsockname()[1])
        self._flights: list[Flight] = []

    def receive(self) -> None:
        """Answer every question and record every answer that has come."""
        while True:
            try:
                data, ancillary, _, sender = self.socket.recvmsg(2048, 128)
            except (BlockingIOError, ConnectionError):
                return
            arrived = time.time_ns()
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= _STAMP.size:
                    seconds, nanos = _STAMP.unpack_from(value)
                    arrived = seconds * 1_000_000_000 + nanos
            if len(data) < PACKET.size or not data.startswith(_MAGIC):
                continue
            _, kind, target, sequence, sent, there, back = PACKET.unpack_from(data)
            if kind == 0:
                self._send((_MAGIC, 1, target, sequence, sent, arrived, time.time_ns()), data, sender)
            elif target < len(self._flights):
                flight = self._flights[target]
                if sequence < len(flight.round_trips_ns):
                    flight.record(sequence, (sent, there, back, arrived))
                flight.warm = True

    def probe(self, targets: Sequence[Mapping[str, Any]], count: int, size: int, wait_s: float) -> None:
        """Send `count` echoes of `size` bytes to every target, its "spacing_s" apart, and wait `wait_s` for the last.

        First one echo at a time goes to each target until one comes back (at most wait_s + 1 s), so that address
        resolution does not count as distance. Results are in `flights`.
        """
        self._flights = [Flight((str(target["address"]), int(target["port"])), count) for target in targets]
        padding = bytes(max(size, PACKET.size))
        began = time.monotonic()
        while not all(flight.warm for flight in self._flights) and time.monotonic() - began < wait_s + 1.0:
            for number, flight in enumerate(self._flights):
                if not flight.warm:
                    self._ask(number, _WARM_UP, padding)
            self._listen_until(time.monotonic() + _WARM_UP_EVERY_S, until_warm=True)
        start = time.monotonic()
        spacings = [float(target["spacing_s"]) for target in targets]
        schedule = [(start + spacing_s * n / max(1, len(targets)), n, 0) for n, spacing_s in enumerate(spacings)]
        heapq.heapify(schedule)
        while schedule:
            due, number, sequence = heapq.heappop(schedule)
            self._listen_until(due)
            self._ask(number, sequence, padding)
            if sequence + 1 < count:
                heapq.heappush(schedule, (due + spacings[number], number, sequence + 1))
        end = time.monotonic() + wait_s
        while time.monotonic() < end and any(-1 in flight.round_trips_ns for flight in self._flights):
            self._listen_until(min(end, time.monotonic() + 0.02))

    @property
    def flights(self) -> Sequence[Flight]:
        """What the last `probe` found, in the order of its targets."""
        return self._flights

    def _listen_until(self, instant: float, until_warm: bool = False) -> None:
        while True:
            left = instant - time.monotonic()
            ready = select.select([self.socket], [], [], max(0.0, left))[0]
            if ready:
                self.receive()
            if left <= 0 or (until_warm and all(flight.warm for flight in self._flights)):
                return

    def _ask(self, number: int, sequence: int, padding: bytes) -> None:
        self._send((_MAGIC, 0, number, sequence, time.time_ns(), 0, 0), padding, self._flights[number].address)

    def _send(self, fields: tuple[Any, ...], padding: bytes, address: Any) -> None:
        try:
            self.socket.sendto(PACKET.pack(*fields) + padding[PACKET.size :], address)
        except OSError:
            return  # unreachable or full: it counts as lost
