"""The bytes of our own inter-router protocol, carried as the payload of AMQP transfers. Pure.

A data frame is a header and the client's message, untouched:

    u8 kind   u8 hops left   u16 length of address   u8 length of origin   u8 number of targets
    address   origin   targets, each u8 length and name   message

The kinds: unicast goes to one receiver of a mesh-wide address, at the target router; direct to one that is known at
the target router only (a reply address, management); multicast to every receiver at all target routers.

Control frames are JSON statements (see linkstate) and greetings.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple, Sequence

__all__ = [
    "DIRECT",
    "MAX_HOPS",
    "MULTICAST",
    "UNICAST",
    "Frame",
    "decode_control",
    "decode_data",
    "encode_control",
    "encode_data",
]

UNICAST = 1
MULTICAST = 2
DIRECT = 3
MAX_HOPS = 64

_HEAD = struct.Struct("!BBHBB")


class Frame(NamedTuple):
    """A message on its way between routers: for which address, from which router, to which routers."""

    kind: int
    hops: int
    address: str
    origin: str
    targets: tuple[str, ...]
    message: bytes


def encode_data(kind: int, hops: int, address: str, origin: str, targets: Sequence[str], message: bytes) -> bytes:
    """The frame's bytes. Raises struct.error where a name is too long or targets too many (255 each)."""
    where, source = address.encode(), origin.encode()
    parts = [_HEAD.pack(kind, hops, len(where), len(source), len(targets)), where, source]
    for target in targets:
        name = target.encode()
        parts.append(bytes((len(name),)))
        parts.append(name)
    parts.append(message)
    return b"".join(parts)


def decode_data(data: bytes) -> Frame:
    """The frame in the bytes. Raises struct.error, IndexError or UnicodeDecodeError for what is none."""
    kind, hops, address_length, origin_length, count = _HEAD.unpack_from(data)
    start = _HEAD.size
    end = start + address_length
    address = data[start:end].decode()
    start, end = end, end + origin_length
    origin = data[start:end].decode()
    targets = []
    for _ in range(count):
        start = end + 1
        end = start + data[end]
        targets.append(data[start:end].decode())
    return Frame(kind, hops, address, origin, tuple(targets), data[end:])


def encode_control(statement: dict[str, Any]) -> bytes:
    """A control frame's bytes."""
    return json.dumps(statement, separators=(",", ":")).encode()


def decode_control(data: bytes) -> dict[str, Any]:
    """The statement in a control frame. Raises ValueError for what is none."""
    statement = json.loads(data)
    if not isinstance(statement, dict) or "say" not in statement:
        raise ValueError("not a control statement")
    return statement
