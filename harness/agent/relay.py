"""A TCP relay in front of a bus, so that connections can fail in every way when a dose says so.

A client that is to lose its connection connects here instead. Commands, one JSON object per line, `cmd` and `id`:

| cmd     | answer                                                                                       |
|---------|----------------------------------------------------------------------------------------------|
| open    | opened: port on 127.0.0.1; host and port say where connections go                            |
| refuse  | opened: a port on 127.0.0.1 where nobody listens, and that nobody else can take              |
| drop    | opened: a port on 127.0.0.1 where connections are taken and reset (RST) at their first bytes |
| silence | opened: a port on 127.0.0.1 where connections are taken and never answered                   |
| stall   | opened: a port on 127.0.0.1 where connections stay half made: their SYN is never answered    |
| reset   | reset: connections, how many were reset (RST, both ways)                                     |
| hangup  | reset: connections, how many were closed (FIN, both ways)                                    |

End of input ends it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import Any, Callable

from harness.agent.channel import Channel

__all__ = ["run_relay"]

#: SO_LINGER on, 0 s: close sends RST.
_ABORT = struct.pack("ii", 1, 0)
_COMMANDS = ("open", "refuse", "drop", "silence", "stall", "reset", "hangup")


class _Side(asyncio.Protocol):
    """One end of a relayed connection. All ends live in one event loop, so no descriptor is closed under a reader."""

    transport: asyncio.Transport

    def __init__(self, relay: _Relay, peer: _Side | None = None) -> None:
        self._relay = relay
        self.peer = peer
        self.closed: asyncio.Future[None] = relay.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.peer is not None  # reading starts when there is one
        self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)
        self._relay.sides.discard(self)
        if self.peer is not None:
            self.peer.transport.close()

    def abort(self) -> None:
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.transport.abort()


class _Drop(asyncio.Protocol):
    """Resets a connection when its first bytes come."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.transport.abort()


class _Near(_Side):
    """The end a client has connected to: connects on to the target before it reads."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._relay.keep(self._relay.loop.create_task(self._connect_on()))

    async def _connect_on(self) -> None:
        relay = self._relay
        try:
            connecting = relay.loop.create_connection(lambda: _Side(relay, self), *relay.target)
            _, far = await asyncio.wait_for(connecting, 10.0)
        except (OSError, asyncio.TimeoutError):
            self.transport.close()
            return
        self.peer = far
        relay.sides |= {self, far}
        if self.transport.is_closing():
            far.transport.close()
        else:
            self.transport.resume_reading()


class _Relay:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.target = ("", 0)
        self.sides: set[_Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[socket.socket] = []
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done: the loop itself holds it weakly."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open(self, host: str, port: int) -> dict[str, Any]:
        """Listen for connections to be relayed to host and port."""
        self.target = (host, port)
        server = await self.loop.create_server(lambda: _Near(self), "127.0.0.1", 0, backlog=1024)
        return {"type": "opened", "port": server.sockets[0].getsockname()[1]}

    async def refuse(self) -> dict[str, Any]:
        """Hold a port without listening: a client's own connection cannot take it and so meet itself."""
        held = socket.socket()
        held.bind(("127.0.0.1", 0))
        self._held.append(held)
        return {"type": "opened", "port": held.getsockname()[1]}

    async def drop(self) -> dict[str, Any]:
        """Listen for connections to be reset."""
        server = await self.loop.create_server(_Drop, "127.0.0.1", 0, backlog=1024)
        return {"type": "opened", "port": server.sockets[0].getsockname()[1]}

    async def silence(self) -> dict[str, Any]:
        """Listen for connections never to be answered."""
        server = await self.loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=1024)
        return {"type": "opened", "port": server.sockets[0].getsockname()[1]}

    async def stall(self) -> dict[str, Any]:
        """Listen without taking connections, the queue of them full: the kernel drops every further SYN (listen(2))."""
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        self._held.append(full)
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
            self._held.append(waiting)
        return {"type": "opened", "port": full.getsockname()[1]}

    async def reset(self) -> dict[str, Any]:
        """Reset every connection."""
        return await self._end(_Side.abort)

    async def hangup(self) -> dict[str, Any]:
        """Close every connection."""
        return await self._end(lambda side: side.transport.close())

    async def _end(self, how: Callable[[_Side], None]) -> dict[str, Any]:
        sides = list(self.sides)
        for side in sides:
            how(side)
        await asyncio.gather(*(side.closed for side in sides))
        return {"type": "reset", "connections": len(sides) // 2}


def run_relay() -> int:
    """Serve until end of input; the exit status."""
    channel = Channel()
    relay = _Relay()
    for command in channel.lines():
        name, ident = command.pop("cmd", None), command.pop("id", None)
        try:
            if name not in _COMMANDS:
                raise ValueError(f"no such command: {name!r}")
            answer = asyncio.run_coroutine_threadsafe(getattr(relay, name)(**command), relay.loop).result()
        except Exception as error:
            answer = {"type": "error", "class": type(error).__name__, "message": str(error)}
        channel.send(**answer, id=ident)
    return 0
