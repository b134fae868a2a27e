"""Messages read many at a time: one recvmmsg for up to a batch of packets, their heads taken apart by one iterator."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Iterator

from harness.links.nfqueue import netlink

__all__ = ["Batch"]

_MSG_DONTWAIT = 0x40


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of recvmsg(2), and the length recvmmsg(2) adds to it."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Batch:
    """Reads netlink messages from a socket without waiting.

    Args:
        descriptor: the socket.
        limit: messages read at a time.
        message_bytes: longest message; longer ones are cut off.
    """

    def __init__(self, descriptor: int, limit: int, message_bytes: int) -> None:
        self.limit = limit
        self.message_bytes = message_bytes
        buffer = bytearray(limit * message_bytes)
        self._view = memoryview(buffer)
        start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        self._vectors = (_Vector * limit)()
        messages = (_Message * limit)()
        for number in range(limit):
            self._vectors[number] = _Vector(start + number * message_bytes, message_bytes)
            messages[number].header.vectors = ctypes.pointer(self._vectors[number])
            messages[number].header.vector_count = 1
        self._messages = messages
        receive = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._receive = receive
        self._arguments = (descriptor, ctypes.byref(messages), limit, _MSG_DONTWAIT, None)
        self._heads = netlink.packet_heads(message_bytes)

    def read(self) -> int:
        """Read what there is, up to the limit; how many messages. Raises OSError."""
        count: int = self._receive(*self._arguments)
        if count < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return 0
            raise OSError(code, os.strerror(code))
        return count

    def heads(self, count: int) -> Iterator[tuple[int, ...]]:
        """What `netlink.packet_heads` finds in each of the first messages; what one does not hold is arbitrary."""
        return self._heads.iter_unpack(self._view[: count * self.message_bytes])

    def message(self, number: int) -> bytes:
        """One of the messages last read."""
        start = number * self.message_bytes
        return bytes(self._view[start : start + min(self._messages[number].length, self.message_bytes)])
