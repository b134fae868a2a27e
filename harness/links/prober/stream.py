"""One TCP flow between two nodes: how long it takes to open, and how many bytes per second it carries."""

from __future__ import annotations

import socket
import time
from typing import Any

__all__ = ["Sink", "send"]

_CHUNK = 1 << 18
_TCP_CONGESTION = 13
_MARK_EVERY_S = 0.01


class Sink:
    """Accepts a connection and reads what comes.

    Args:
        family: socket.AF_INET or AF_INET6.
    """

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        self._socket.listen(8)
        self.port = int(self._socket.getsockname()[1])

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Read one connection to its end: bytes, and seconds from its first byte to its last.

        Returns:
            {"bytes", "seconds", "connections", "steady_bytes_per_s"}; connections is 0 if none came within timeout_s.
            The steady rate is that of the latter half of the time, when the flow has found its pace.
        """
        self._socket.settimeout(timeout_s)
        try:
            connection = self._socket.accept()[0]
        except socket.timeout:
            return {"bytes": 0, "seconds": 0.0, "connections": 0, "steady_bytes_per_s": 0.0}
        total = 0
        first = last = 0.0
        marks: list[tuple[float, int]] = []
        buffer = bytearray(_CHUNK)
        with connection:
            connection.settimeout(timeout_s)
            try:
                while True:
                    size = connection.recv_into(buffer)
                    if not size:
                        break
                    last = time.monotonic()
                    if not total:
                        first = last
                    total += size
                    if not marks or last - marks[-1][0] >= _MARK_EVERY_S:
                        marks.append((last, total))
            except OSError:
                pass
        at, before = next((mark for mark in marks if mark[0] >= (first + last) / 2), (last, total))
        steady = (total - before) / (last - at) if last > at else 0.0
        return {"bytes": total, "seconds": last - first, "connections": 1, "steady_bytes_per_s": steady}


def send(address: str, port: int, seconds: float, congestion: str | None, timeout_s: float) -> dict[str, Any]:
    """Open a flow and send as much as it takes for so long.

    Returns:
        {"connect_s", "congestion", "segment_bytes"}: how long opening took, the congestion control used, and the bytes
        of a full segment; {"error"} if it failed.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = bytes(_CHUNK)
    with socket.socket(family, socket.SOCK_STREAM) as flow:
        flow.settimeout(timeout_s)
        try:
            if congestion:
                flow.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, congestion.encode())
            used = flow.getsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, 16).split(b"\0")[0].decode()
            began = time.monotonic()
            flow.connect((address, port))
            opened = time.monotonic()
            segment = flow.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            while time.monotonic() - opened < seconds:
                flow.send(data)
        except OSError as error:
            return {"error": str(error)}
        return {"connect_s": opened - began, "congestion": used, "segment_bytes": segment}
