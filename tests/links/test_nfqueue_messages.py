"""NFQUEUE messages, byte for byte."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from harness.links.nfqueue import netlink


def packet_message(queue: int, packet: int, payload: bytes, stamp: tuple[int, int] | None, mark: int | None) -> bytes:
    """A packet as the kernel describes it: header, interfaces, perhaps a mark, sender's address, perhaps a time."""
    body = netlink.attribute(1, struct.pack(">IHB", packet, 0x0800, 2))
    body += netlink.attribute(5, struct.pack(">I", 7)) + netlink.attribute(6, struct.pack(">I", 8))
    if mark is not None:
        body += netlink.attribute(3, struct.pack(">I", mark))
    body += netlink.attribute(9, struct.pack(">HH8s", 6, 0, b"\2\0\0\0\0\1"))
    if stamp is not None:
        body += netlink.attribute(4, struct.pack(">QQ", *stamp))
    body += netlink.attribute(10, payload)
    head = struct.pack("=IHHII", 20 + len(body), 0x300, 0, 0, 0)
    return head + struct.pack(">BBH", 2, 0, queue) + body


@given(
    queue=st.integers(0, 65535),
    packet=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=1500),
    stamp=st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 999_999)),
    mark=st.none() | st.integers(0, 2**32 - 1),
)
def test_what_the_kernel_says_of_a_packet_is_understood(
    queue: int, packet: int, payload: bytes, stamp: tuple[int, int] | None, mark: int | None
) -> None:
    message = packet_message(queue, packet, payload, stamp, mark)
    assert netlink.arrival_of(message) == stamp
    assert netlink.payload_of(message) == payload
    assert netlink.error_code(message) is None
    head = netlink.packet_heads(2048).unpack(message.ljust(2048, b"\0"))
    assert head[:3] == (netlink.PACKET_TYPE_BE, queue, packet)
    if stamp is not None and mark is None:
        assert head == (netlink.PACKET_TYPE_BE, queue, packet, netlink.TIMESTAMP_HEAD_BE, *stamp)
    elif stamp is None:
        assert head[3] != netlink.TIMESTAMP_HEAD_BE


@given(length=st.integers(21, 2**32 - 1), stamped=st.booleans(), before=st.integers(0, 2))
def test_the_length_of_a_packet_that_was_cut_short_is_told_wherever_it_stands(
    length: int, stamped: bool, before: int
) -> None:
    message = packet_message(1, 2, b"", (5, 6) if stamped else None, None)[:-4]
    message += netlink.attribute(14, bytes(4)) * before
    message += netlink.attribute(13, struct.pack(">I", length)) + netlink.attribute(10, bytes(20))
    message = struct.pack("=I", len(message)) + message[4:]
    assert netlink.length_of(message) == length
    whole = bytes.fromhex("4500006400000000401100000acb010a0acb020a") + bytes(80)
    assert netlink.length_of(packet_message(1, 2, whole, (5, 6) if stamped else None, None)) == 100


def test_verdicts() -> None:
    accept = netlink.verdict_prefix(5, batch=False) + netlink.VERDICT.pack(netlink.NF_ACCEPT, 9)
    assert accept == struct.pack("=IHHII", 32, 0x301, 1, 0, 0) + bytes.fromhex("00000005") + struct.pack(
        "=HH", 12, 2
    ) + bytes.fromhex("0000000100000009")
    drop = netlink.verdict_prefix(5, batch=True) + netlink.VERDICT.pack(netlink.NF_DROP, 9)
    assert struct.unpack_from("=IH", drop) == (32, 0x303)
    changed = netlink.changed_verdict(1, 2, b"abcde")
    assert struct.unpack_from("=I", changed)[0] == len(changed) == 20 + 12 + 12
    assert netlink.find_attribute(changed, 10) == b"abcde"


def test_configuration_asks_for_an_acknowledgement() -> None:
    for message in (netlink.bind(3), netlink.configure(3, 20, 1000, True)):
        assert struct.unpack_from("=IHH", message) == (len(message), 0x302, netlink.NLM_F_REQUEST | netlink.NLM_F_ACK)
    whole = netlink.configure(3, 0, 1000, True)
    assert netlink.find_attribute(whole, 2) == struct.pack(">IB", 0, 1)
    assert netlink.find_attribute(whole, 3) == struct.pack(">I", 1000)
    assert netlink.find_attribute(whole, 5) == netlink.find_attribute(whole, 4) == struct.pack(">I", 4)
    assert netlink.find_attribute(netlink.configure(3, 20, 1, False), 5) == bytes(4)


def test_errors_and_lengths() -> None:
    error = struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -1) + bytes(16)
    assert netlink.error_code(error) == 1
    assert netlink.ip_length(bytes.fromhex("450005dc") + bytes(16)) == 1500
    assert netlink.ip_length(bytes.fromhex("6000000005b4") + bytes(34)) == 1500
    assert netlink.ip_length(b"") == netlink.ip_length(b"\x45") == 0
    assert netlink.find_attribute(error[:20] + struct.pack("=HH", 0, 1), 1) is None
