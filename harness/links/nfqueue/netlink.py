"""NFQUEUE's netlink messages as bytes: configuration, verdicts, and the fields of a queued packet.

Layouts from the kernel's user API headers linux/netlink.h, linux/netfilter/nfnetlink.h and
linux/netfilter/nfnetlink_queue.h. Netlink headers are in host byte order, NFQUEUE's own fields in network order.
"""

from __future__ import annotations

import socket
import struct

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5
SO_RCVBUFFORCE = 33

NLMSG_ERROR = 2
NLM_F_REQUEST = 1
NLM_F_ACK = 4

_SUBSYS_QUEUE = 3 << 8
_PACKET = _SUBSYS_QUEUE | 0
_VERDICT = _SUBSYS_QUEUE | 1
_CONFIG = _SUBSYS_QUEUE | 2
_VERDICT_BATCH = _SUBSYS_QUEUE | 3

_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_CMD_BIND = 1
_COPY_META, _COPY_PACKET = 1, 2
_FLAG_GSO = 4

_ATTR_VERDICT_HDR, _ATTR_TIMESTAMP, _ATTR_PAYLOAD, _ATTR_CAP_LEN = 2, 4, 10, 13
_ATTR_TYPE_MASK = 0x3FFF

NF_DROP, NF_ACCEPT = 0, 1

_ATTRIBUTE = struct.Struct("=HH")
_BIG = struct.Struct(">I")
_NLMSG = struct.Struct("=IHHII")

_TIMESTAMP_HEAD = _ATTRIBUTE.pack(20, _ATTR_TIMESTAMP)
_CAP_LEN_HEAD = _ATTRIBUTE.pack(8, _ATTR_CAP_LEN)
_PACKET_HEAD = ">4xH12xH4xI36xIQQ"
#: What `packet_heads` reads as the type of a packet message on this machine, whichever its byte order.
PACKET_TYPE_BE = struct.unpack(">H", struct.pack("=H", _PACKET))[0]
#: What `packet_heads` reads as the header of an arrival time attribute.
TIMESTAMP_HEAD_BE = struct.unpack(">I", _TIMESTAMP_HEAD)[0]

_VERDICT_HOST = struct.Struct("=IHHIIBB")
_QUEUE = struct.Struct(">H")

#: What follows a verdict prefix: pack(NF_ACCEPT or NF_DROP, packet id).
VERDICT = struct.Struct(">II")


def packet_heads(message_bytes: int) -> struct.Struct:
    """Reads packet messages that lie message_bytes apart, everything as big-endian.

    Per message: its type, queue number, packet id, the header of the attribute at the usual place of the arrival time,
    and that time, s and us.
    """
    return struct.Struct(f"{_PACKET_HEAD}{message_bytes - struct.calcsize(_PACKET_HEAD)}x")


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _message(kind: int, flags: int, queue: int, body: bytes) -> bytes:
    head = _NLMSG.pack(20 + len(body), kind, NLM_F_REQUEST | flags, 0, 0)
    return head + bytes((socket.AF_UNSPEC, 0)) + _QUEUE.pack(queue) + body


def bind(queue: int) -> bytes:
    """Take over a queue; the kernel acknowledges."""
    return _message(_CONFIG, NLM_F_ACK, queue, attribute(_CFG_CMD, struct.pack(">BxH", _CMD_BIND, 0)))


def configure(queue: int, copy_bytes: int, max_packets: int, whole_super_packets: bool) -> bytes:
    """Set what a queue delivers; the kernel acknowledges.

    Args:
        queue: its number.
        copy_bytes: bytes of each packet to hand over; 0 for none.
        max_packets: packets that may wait for a verdict before the kernel drops.
        whole_super_packets: True to get offloaded super-packets (up to 64 KiB) whole, False to get what crosses a wire.
    """
    mode = _COPY_PACKET if copy_bytes else _COPY_META
    body = (
        attribute(_CFG_PARAMS, struct.pack(">IB", copy_bytes, mode))
        + attribute(_CFG_QUEUE_MAXLEN, _BIG.pack(max_packets))
        + attribute(_CFG_FLAGS, _BIG.pack(_FLAG_GSO if whole_super_packets else 0))
        + attribute(_CFG_MASK, _BIG.pack(_FLAG_GSO))
    )
    return _message(_CONFIG, NLM_F_ACK, queue, body)


def verdict_prefix(queue: int, batch: bool) -> bytes:
    """The constant part of a queue's verdict messages, up to what VERDICT packs."""
    kind = _VERDICT_BATCH if batch else _VERDICT
    head = _VERDICT_HOST.pack(32, kind, NLM_F_REQUEST, 0, 0, socket.AF_UNSPEC, 0)
    return head + _QUEUE.pack(queue) + _ATTRIBUTE.pack(12, _ATTR_VERDICT_HDR)


def changed_verdict(queue: int, packet: int, payload: bytes) -> bytes:
    """Let a packet pass with other contents."""
    body = attribute(_ATTR_VERDICT_HDR, VERDICT.pack(NF_ACCEPT, packet)) + attribute(_ATTR_PAYLOAD, payload)
    return _message(_VERDICT, 0, queue, body)


def error_code(message: bytes) -> int | None:
    """errno of an error message (0: acknowledgement), None for any other message."""
    if len(message) < 20 or struct.unpack_from("=H", message, 4)[0] != NLMSG_ERROR:
        return None
    return -int(struct.unpack_from("=i", message, 16)[0])


def find_attribute(message: bytes, kind: int) -> bytes | None:
    """The value of a packet message's first attribute of that kind, None if it has none."""
    offset = 20
    end = min(len(message), int(struct.unpack_from("=I", message, 0)[0]))
    while offset + 4 <= end:
        length, found = _ATTRIBUTE.unpack_from(message, offset)
        if length < 4:
            return None
        if found & _ATTR_TYPE_MASK == kind:
            return message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return None


def payload_of(message: bytes) -> bytes:
    """The packet itself as far as it was copied, b"" if it was not."""
    return find_attribute(message, _ATTR_PAYLOAD) or b""


def arrival_of(message: bytes) -> tuple[int, int] | None:
    """When the kernel received the packet, CLOCK_REALTIME (seconds, microseconds), None if it does not say."""
    value = find_attribute(message, _ATTR_TIMESTAMP)
    if value is None or len(value) < 16:
        return None
    seconds, micros = struct.unpack_from(">QQ", value)
    return seconds, micros


def length_of(message: bytes) -> int:
    """Bytes of the packet itself, however much of it was copied; 0 if the message does not tell.

    The kernel tells the length of what it cut short (NFQA_CAP_LEN), as a rule right behind the arrival time.
    """
    if message[64:68] == _TIMESTAMP_HEAD and message[84:88] == _CAP_LEN_HEAD:
        return int(_BIG.unpack_from(message, 88)[0])
    told = find_attribute(message, _ATTR_CAP_LEN)
    return int(_BIG.unpack(told)[0]) if told is not None else ip_length(payload_of(message))


def ip_length(packet: bytes) -> int:
    """Length of an IP packet by its own header (at least 6 bytes of it), bytes; 0 if it is not IP."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 4:
        return (packet[2] << 8) | packet[3]
    if version == 6 and len(packet) >= 6:
        return 40 + ((packet[4] << 8) | packet[5])
    return 0
