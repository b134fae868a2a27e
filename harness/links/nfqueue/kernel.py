"""The kernel's side of the queues: the netlink socket, its commands, its counters, and the arrival times of packets."""

from __future__ import annotations

import socket
from pathlib import Path

from harness.links.nfqueue import netlink
from harness.links.nfqueue.batch import Batch

__all__ = ["QueueSocket"]

#: Packets one queue may hold; the kernel drops (and counts) what comes beyond.
_MAX_HELD = 400_000
_RECEIVE_BUFFER_BYTES = 128 << 20
_LARGEST_MESSAGE = 0x12000
#: What a message takes whose packet is copied as far as its length or not at all.
_SHORT_MESSAGE = 256
_SHORT_COPY_BYTES = 40
#: Packets read at a time.
_TURN = 32


class QueueSocket:
    """All queues of the emulator on one socket. Raises OSError where NFQUEUE cannot be used.

    Attributes:
        socket: non-blocking; packets are read from it, verdicts written to it.
        batch: takes packets from it.
        receive_buffer_bytes: what the kernel granted; privileges decide.
        stamped: whether the kernel was asked to note when it receives packets, and agreed.
    """

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, netlink.SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except OSError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self.receive_buffer_bytes = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.socket.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_NO_ENOBUFS, 1)
        self.socket.setblocking(False)
        self.batch = Batch(self.socket.fileno(), _TURN, _SHORT_MESSAGE)
        self._queues: set[int] = set()
        # Packets are stamped on reception for as long as any socket of the machine wants to know.
        self._stamps = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._stamps.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_TIMESTAMP", 29), 1)
            self.stamped = True
        except OSError:
            self.stamped = False

    def bind(self, queue: int, copy_bytes: int, whole_super_packets: bool) -> None:
        """Take over a queue and wait until the kernel agrees; only before packets flow. Raises OSError."""
        self._command(netlink.bind(queue))
        self._make_room(copy_bytes)
        self._command(netlink.configure(queue, copy_bytes, _MAX_HELD, whole_super_packets))
        self._queues.add(queue)

    def configure(self, queue: int, copy_bytes: int, whole_super_packets: bool) -> None:
        """Change what a queue delivers; acts on the next packet the kernel queues. Whatever was read is forgotten."""
        self._make_room(copy_bytes)
        self.socket.send(netlink.configure(queue, copy_bytes, _MAX_HELD, whole_super_packets))

    def _make_room(self, copy_bytes: int) -> None:
        """Messages may become long. They are never cut short again: some may be waiting when that is asked for."""
        if copy_bytes > _SHORT_COPY_BYTES and self.batch.message_bytes < _LARGEST_MESSAGE:
            self.batch = Batch(self.socket.fileno(), _TURN, _LARGEST_MESSAGE)

    def _command(self, message: bytes) -> None:
        self.socket.settimeout(2.0)
        try:
            self.socket.send(message)
            code = None
            while code is None:
                code = netlink.error_code(self.socket.recv(_LARGEST_MESSAGE))
        finally:
            self.socket.setblocking(False)
        if code:
            raise OSError(code, "the kernel refused an NFQUEUE command")

    def counters(self) -> dict[str, int]:
        """The kernel's counts for our queues: packets waiting, dropped for a full queue, dropped for a full socket."""
        waiting = full = undeliverable = 0
        with Path("/proc/self/net/netfilter/nfnetlink_queue").open(encoding="ascii") as table:
            for line in table:
                fields = line.split()
                if len(fields) >= 7 and int(fields[0]) in self._queues:
                    waiting += int(fields[2])
                    full += int(fields[5])
                    undeliverable += int(fields[6])
        return {"waiting": waiting, "queue_dropped": full, "socket_dropped": undeliverable}

    def close(self) -> None:
        """Give all queues up: what they hold is dropped, and so is whatever still comes."""
        self.socket.close()
        self._stamps.close()
