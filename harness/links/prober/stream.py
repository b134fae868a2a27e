"""One TCP flow between two nodes: how long it takes to open, and how many bytes per second it carries."""

from __future__ import annotations

import socket
import time
from typing import Any

__all__ = ["Sink", "send"]

_CHUNK = 1 << 18
_TCP_CONGESTION = 13


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
            {"bytes", "seconds", "connections"}; connections is 0 if none came within timeout_s.
        """
        self._socket.settimeout(timeout_s)
        try:
            connection = self._socket.accept()[0]
        except socket.timeout:
            return {"bytes": 0, "seconds": 0.0, "connections": 0}
        total = 0
        first = last = 0.0
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
            except OSError:
                pass
        return {"bytes": total, "seconds": last - first, "connections": 1}


def send(address: str, port: int, seconds: float, congestion: str | None, timeout_s: float) -> dict[str, Any]:
    """Open a flow and send as much as it takes for so long.

    Returns:
        {"connect_s", "congestion"}: how long opening took, and the congestion control used; {"error"} if it failed.
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
            while time.monotonic() - opened < seconds:
                flow.send(data)
        except OSError as error:
            return {"error": str(error)}
        return {"connect_s": opened - began, "congestion": used}
