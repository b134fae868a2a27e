"""Second copies of packets: a verdict lets a packet pass once only, so a duplicate is sent anew from the gateway.

It leaves through raw IP sockets, that is by the output path, so it does not come through the queues again.
"""

from __future__ import annotations

import socket

__all__ = ["Injector"]

_IPV6_HDRINCL = 36


class Injector:
    """Sends whole IP packets, headers as given. Needs CAP_NET_RAW in the gateway."""

    def __init__(self) -> None:
        self._ipv4: socket.socket | None = None
        self._ipv6: socket.socket | None = None

    def send(self, packet: bytes) -> bool:
        """Send one IP packet; False if the kernel would not take it (full buffers, no route, truncated)."""
        try:
            if packet[0] >> 4 == 4:
                if self._ipv4 is None:
                    self._ipv4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
                    self._ipv4.setblocking(False)
                self._ipv4.sendto(packet, (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0))
            else:
                if self._ipv6 is None:
                    self._ipv6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
                    self._ipv6.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
                    self._ipv6.setblocking(False)
                self._ipv6.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
        except (OSError, ValueError, IndexError):
            return False
        return True

    def close(self) -> None:
        """Close the sockets."""
        for opened in (self._ipv4, self._ipv6):
            if opened is not None:
                opened.close()
