"""An intermediary that loses and doubles messages on purpose: it stands between an AMQP 0-9-1 consumer and its broker.

    python intermediary.py BROKER PORT LOSE_EVERY DOUBLE_EVERY

It listens on a port of its own, which is the first line it prints, and passes frames on in both directions (AMQP 0-9-1,
section 4.2). Of the messages the broker delivers it swallows every LOSE_EVERY-th, acknowledging it itself, and passes
every DOUBLE_EVERY-th of the rest on twice, of whose acknowledgements the broker gets one. Each is printed, with the
sequence number the agents' messages carry: "lost 7", "doubled 11".
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading

METHOD, HEADER, BODY = 1, 2, 3
DELIVER, ACK = (60, 60), (60, 80)
END = b"\xce"


def exactly(source: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = source.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


def frame(source: socket.socket) -> tuple[int, int, bytes]:
    """(type, channel, payload) of the next frame."""
    kind, channel, size = struct.unpack(">BHL", exactly(source, 7))
    payload = exactly(source, size)
    assert exactly(source, 1) == END
    return kind, channel, payload


def packed(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHL", kind, channel, len(payload)) + payload + END


class Connection:
    """One consumer's connection."""

    def __init__(self, consumer: socket.socket, broker: socket.socket, lose_every: int, double_every: int) -> None:
        self.consumer, self.broker = consumer, broker
        self.lose_every, self.double_every = lose_every, double_every
        self.to_broker = threading.Lock()
        self.seen = self.kept = 0
        self.acknowledged: set[tuple[int, bytes]] = set()

    def deliver(self) -> None:
        """From the broker to the consumer."""
        content: dict[int, list[tuple[int, int, bytes]]] = {}
        while True:
            kind, channel, payload = frame(self.broker)
            if kind == METHOD and struct.unpack(">HH", payload[:4]) == DELIVER:
                content[channel] = [(kind, channel, payload)]
            elif kind in (HEADER, BODY) and channel in content:
                content[channel].append((kind, channel, payload))
                size = struct.unpack(">Q", content[channel][1][2][4:12])[0]
                if sum(len(part) for _, _, part in content[channel][2:]) == size:
                    self.message(channel, content.pop(channel))
            else:
                self.consumer.sendall(packed(kind, channel, payload))

    def message(self, channel: int, frames: list[tuple[int, int, bytes]]) -> None:
        self.seen += 1
        seq = json.loads(b"".join(part for _, _, part in frames[2:]))[1]
        whole = b"".join(packed(*part) for part in frames)
        if self.seen % self.lose_every == 0:
            deliver = frames[0][2]
            tag = deliver[5 + deliver[4] :][:8]
            with self.to_broker:
                self.broker.sendall(packed(METHOD, channel, struct.pack(">HH", *ACK) + tag + b"\0"))
            print("lost", seq, flush=True)
            return
        self.kept += 1
        double = self.kept % self.double_every == 0
        self.consumer.sendall(whole * 2 if double else whole)
        if double:
            print("doubled", seq, flush=True)

    def answer(self) -> None:
        """From the consumer to the broker."""
        self.broker.sendall(exactly(self.consumer, 8))
        while True:
            kind, channel, payload = frame(self.consumer)
            if kind == METHOD and struct.unpack(">HH", payload[:4]) == ACK:
                if (channel, payload[4:12]) in self.acknowledged:
                    continue
                self.acknowledged.add((channel, payload[4:12]))
            with self.to_broker:
                self.broker.sendall(packed(kind, channel, payload))

    def run(self) -> None:
        for way in (self.deliver, self.answer):
            threading.Thread(target=self.until_it_ends, args=(way,), daemon=True).start()

    def until_it_ends(self, way) -> None:  # type: ignore[no-untyped-def]
        try:
            way()
        except (EOFError, OSError):
            for end in (self.consumer, self.broker):
                end.close()


def main() -> None:
    host, port, lose_every, double_every = sys.argv[1], *map(int, sys.argv[2:])
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    while True:
        consumer, _ = server.accept()
        Connection(consumer, socket.create_connection((host, port)), lose_every, double_every).run()


if __name__ == "__main__":
    main()
