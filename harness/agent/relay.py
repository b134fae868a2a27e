"""A TCP relay in front of a bus, so that a connection can be reset by its peer when a dose says so.

A client that is to lose its connection connects here instead. Commands, one JSON object per line, `cmd` and `id`:

| cmd   | answer                                                                   |
|-------|--------------------------------------------------------------------------|
| open  | opened: port on 127.0.0.1; host and port say where connections go        |
| reset | reset: connections, how many were reset (RST, both ways)                 |

End of input ends it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any

from harness.agent.channel import Channel

__all__ = ["run_relay"]

#: SO_LINGER on, 0 s: close sends RST.
_ABORT = struct.pack("ii", 1, 0)


class _Relay:
    def __init__(self) -> None:
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._target = ("", 0)
        self._listener: socket.socket | None = None

    def open(self, host: str, port: int) -> dict[str, Any]:
        """Listen for connections to be relayed to host and port."""
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return {"type": "opened", "port": self._listener.getsockname()[1]}

    def reset(self) -> dict[str, Any]:
        """Reset every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                    # The pump's own reference keeps the descriptor open until it wakes up: this wakes it.
                    side.shutdown(socket.SHUT_RD)
        for pair in pairs:
            for side in pair:
                side.close()
        return {"type": "reset", "connections": len(pairs)}

    def _accept(self, listener: socket.socket) -> None:
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(self._target, timeout=10.0)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            for side in (near, far):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target, (near, far)), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(1 << 16)
                if not data:
                    break
                target.sendall(data)
        with self._lock:
            ending = pair in self._pairs
            self._pairs.discard(pair)
        for side in pair:
            if ending:  # one end has closed, and the other is told so; after a reset there is nothing to tell
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            side.close()


def run_relay() -> int:
    """Serve until end of input; the exit status."""
    channel = Channel()
    relay = _Relay()
    for command in channel.lines():
        name, ident = command.pop("cmd", None), command.pop("id", None)
        try:
            if name not in ("open", "reset"):
                raise ValueError(f"no such command: {name!r}")
            answer: dict[str, Any] = getattr(relay, name)(**command)
        except Exception as error:
            answer = {"type": "error", "class": type(error).__name__, "message": str(error)}
        channel.send(**answer, id=ident)
    return 0
