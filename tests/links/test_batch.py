"""Many messages in one call, over a real socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from harness.links.nfqueue.batch import Batch
from tests.links.test_nfqueue_messages import packet_message


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        yield ours, theirs


def test_messages_are_read_up_to_the_limit_and_apart(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    batch = Batch(ours.fileno(), 4, 256)
    assert batch.read() == 0
    sent = [packet_message(number, 100 + number, bytes(number), (7, number), None) for number in range(6)]
    for message in sent:
        theirs.send(message)
    assert batch.read() == 4
    assert [head[1:3] for head in batch.heads(4)] == [(number, 100 + number) for number in range(4)]
    assert [batch.message(number) for number in range(4)] == sent[:4]
    assert batch.read() == 2
    assert [head[4:] for head in batch.heads(2)] == [(7, 4), (7, 5)]
    assert [batch.message(number) for number in range(2)] == sent[4:]


def test_what_is_too_long_is_cut_off(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    batch = Batch(ours.fileno(), 2, 128)
    message = packet_message(1, 2, bytes(1000), (3, 4), None)
    theirs.send(message)
    assert batch.read() == 1
    assert batch.message(0) == message[:128]
    assert struct.unpack_from("=I", batch.message(0))[0] == len(message)


def test_a_socket_that_is_gone_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    batch = Batch(pair[0].fileno(), 2, 128)
    pair[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        batch.read()
