"""Traffic for the benchmark of links, run inside a node: numbered datagrams, and many ping-pong flows over TCP.

    receive SECONDS                                counts numbered datagrams until none came for that long
    absorb                                         takes datagrams without reading them, until its stdin ends
    send ADDRESS PER_SECOND COUNT SIZE             sends them, paced; PER_SECOND 0: as fast as it can
    pong                                           answers every message of every connection
    pingpong ADDRESS FLOWS SIZE SECONDS            one message at a time on each of many connections

Prints one line of JSON. Standard library only.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from typing import Any

PORT = 7000
_NUMBER = struct.Struct("!I")


def receive(quiet_s: float) -> dict[str, Any]:
    """Counts numbered datagrams; those that did not come, as runs of [first, length]."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
    one.bind(("0.0.0.0", PORT))
    print("ready", flush=True)
    seen = bytearray(1 << 24)
    count = highest = 0
    one.settimeout(30.0)
    first = last = 0.0
    unpack, take = _NUMBER.unpack_from, one.recv
    while True:
        try:
            number = unpack(take(2048))[0]
        except TimeoutError:
            break
        if not count:
            first = time.monotonic()
            one.settimeout(quiet_s)
        last = time.monotonic()
        count += 1
        seen[number] += 1
        highest = max(highest, number)
    missing: list[list[int]] = []
    for number in range(highest + 1):
        if not seen[number]:
            if missing and sum(missing[-1]) == number:
                missing[-1][1] += 1
            else:
                missing.append([number, 1])
    return {"received": count, "seconds": last - first, "missing": missing}


def absorb() -> dict[str, Any]:
    """A destination that costs nothing: the kernel drops what nobody reads."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    one.bind(("0.0.0.0", PORT))
    print("ready", flush=True)
    sys.stdin.read()
    return {}


def send(address: str, per_second: float, count: int, size: int) -> dict[str, Any]:
    """Sends numbered datagrams; how many a second it really sent."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((address, PORT))
    padding = bytes(size - _NUMBER.size)
    began = time.monotonic()
    for number in range(count):
        if per_second:
            left = began + number / per_second - time.monotonic()
            if left > 0.0002:
                time.sleep(left)
        one.send(_NUMBER.pack(number) + padding)
    return {"per_second": count / (time.monotonic() - began)}


def pong() -> dict[str, Any]:
    """Answers until its stdin ends."""
    listener = socket.create_server(("0.0.0.0", PORT), backlog=2048)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    poller.register(sys.stdin, select.EPOLLIN)
    open_ones: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == sys.stdin.fileno():
                return {}
            if descriptor == listener.fileno():
                one = listener.accept()[0]
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_ones[one.fileno()] = one
                poller.register(one, select.EPOLLIN)
                continue
            one = open_ones[descriptor]
            data = one.recv(1 << 16)
            if data:
                one.send(data)
            else:
                poller.unregister(descriptor)
                open_ones.pop(descriptor).close()


def pingpong(address: str, flows: int, size: int, seconds: float) -> dict[str, Any]:
    """Round trips a second over all flows, and their p50 and p99."""
    message = bytes(size)
    poller = select.epoll()
    connections: dict[int, socket.socket] = {}
    for _ in range(flows):
        one = socket.create_connection((address, PORT))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[one.fileno()] = one
        poller.register(one, select.EPOLLIN)
    sent = dict.fromkeys(connections, 0.0)
    owed = dict.fromkeys(connections, size)
    times: list[float] = []
    for descriptor, one in connections.items():
        sent[descriptor] = time.monotonic()
        one.send(message)
    began = time.monotonic()
    end = began + seconds
    while time.monotonic() < end:
        for descriptor, _ in poller.poll(1.0):
            one = connections[descriptor]
            owed[descriptor] -= len(one.recv(size))
            if not owed[descriptor]:
                now = time.monotonic()
                times.append(now - sent[descriptor])
                sent[descriptor], owed[descriptor] = now, size
                one.send(message)
    times.sort()
    return {
        "per_second": len(times) / (time.monotonic() - began),
        "p50_s": times[len(times) // 2],
        "p99_s": times[int(len(times) * 0.99)],
    }


def main(arguments: list[str]) -> None:
    """Do what the first argument says."""
    kind, rest = arguments[0], arguments[1:]
    if kind == "receive":
        result = receive(float(rest[0]))
    elif kind == "absorb":
        result = absorb()
    elif kind == "send":
        result = send(rest[0], float(rest[1]), int(rest[2]), int(rest[3]))
    elif kind == "pong":
        result = pong()
    else:
        result = pingpong(rest[0], int(rest[1]), int(rest[2]), float(rest[3]))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
