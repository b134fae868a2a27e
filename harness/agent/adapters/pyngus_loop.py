"""AMQP 1.0 connections of pyngus on a thread of their own, and the calls other threads make into it.

pyngus does no input or output: its user has the sockets, and asks it in turns what they are to carry.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import os
import select
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Sequence
from urllib.parse import unquote, urlsplit

import pyngus

from harness.agent.adapters.amqp1 import ConnectionLost
from harness.agent.failures import CallTimeout

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = ["Loop", "Standing", "Wire"]

#: Seconds between attempts to reconnect; the last one is repeated.
_DELAYS_S = (0.0, 0.5, 1.0, 2.0)
_CLOSE_S = 3.0


class Wire(pyngus.ConnectionEventHandler):  # type: ignore[misc]
    """One AMQP connection and the socket beneath it; all of it runs on the loop's thread.

    Subclasses override `opened` and `ended`, and may be handlers of links. What is left of links when the connection
    ends is pyngus's to destroy with it.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        url = urlsplit(loop.task.url)
        where = socket.getaddrinfo(url.hostname, url.port or 5672, type=socket.SOCK_STREAM)[0]
        self.socket = socket.socket(*where[:3])
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        properties: dict[str, Any] = {"hostname": url.hostname, "idle-time-out": 30, "x-sasl-mechs": "ANONYMOUS"}
        if url.username:
            properties["x-sasl-mechs"] = "ANONYMOUS PLAIN"
            properties["x-username"], properties["x-password"] = unquote(url.username), unquote(url.password or "")
        self.connection = loop.container.create_connection(uuid.uuid4().hex, self, properties)
        self.connection.open()
        self.over = False
        self._reached = False  # the peer, by TCP
        self._closed = False  # both ends have closed
        self._error: str | None = None
        code = self.socket.connect_ex(where[4])
        if code not in (0, errno.EINPROGRESS):
            self._error = os.strerror(code)

    def opened(self) -> None:
        """The peer has opened the connection."""

    def ended(self, error: Exception | None) -> None:
        """It is over and gone: None if both ends have closed it, else what broke it."""

    def close(self) -> None:
        """Say goodbye; or where the peer was never met, just go."""
        if not self._reached:
            self.give_up()
        elif not self.over:
            self.connection.close()

    def give_up(self) -> None:
        """Go without a word."""
        self._error = self._error or "given up"

    def turn(self, now: float) -> float:
        """Let pyngus work on what came and what is due. When it is to be asked again, 0 for not by time."""
        deadline: float = self.connection.process(now) if self._reached and self._error is None else 0.0
        if self._error is not None or self.connection.closed:
            self.over = True
            self.loop.remove(self)
            self.connection.destroy()
            self.socket.close()
            self.ended(None if self._closed and self._error is None else ConnectionLost(self._error or "hung up"))
            return 0.0
        return deadline

    def awaits(self) -> int:
        """What it waits for, as `select.poll` writes it."""
        if not self._reached:
            return select.POLLOUT
        reads = select.POLLIN if self.connection.needs_input > 0 else 0
        return reads | (select.POLLOUT if self.connection.has_output > 0 else 0)

    def ready(self, events: int) -> None:
        """Take in and put out what the socket has and takes."""
        try:
            if not self._reached:
                code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                self._reached = True
                return
            if events & ~select.POLLOUT:
                pyngus.read_socket_input(self.connection, self.socket)
            if events & select.POLLOUT:
                pyngus.write_socket_output(self.connection, self.socket)
        except OSError as error:
            self._error = self._error or str(error)

    def connection_active(self, connection: Any) -> None:
        self.opened()

    def connection_remote_closed(self, connection: Any, pn_condition: Any) -> None:
        connection.close()

    def connection_closed(self, connection: Any) -> None:
        self._closed = True

    def connection_failed(self, connection: Any, error: Any) -> None:
        self._error = self._error or str(error)


class Loop:
    """A thread, and any number of wires on it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.container = pyngus.Container(f"{task.name}-{uuid.uuid4().hex}")
        self.ready = threading.Event()
        self.stopping = False
        self._wires: list[Wire] = []
        self._actions: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._starting = threading.Lock()
        self._waking = threading.Lock()
        self._over = False
        self._pipe: Sequence[int] = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._run, name="pyngus", daemon=True)

    def start(self) -> None:
        """Run until `ready`, from any thread. Raises CallTimeout if that takes too long (it goes on being tried)."""
        with self._starting:
            if not self._thread.is_alive():
                self._thread.start()
                self.call(self.begin)
        if not self.ready.wait(self.task.timeout_s):
            raise CallTimeout("not connected in time")

    def begin(self) -> None:
        """What comes first (loop's thread)."""
        self.ready.set()

    def stop(self) -> None:
        """Close all wires, and end the thread."""
        self.stopping = True
        if self._thread.is_alive():
            self.call(self._close)
            self._thread.join(2 * _CLOSE_S)
        with self._waking:
            if not self._over and not self._thread.is_alive():
                self._over = True
                for end in self._pipe:
                    os.close(end)

    def call(self, action: Callable[[], None]) -> None:
        """Run an action on the loop's thread, soon; nothing after its end."""
        with self._waking:
            if not self._over:
                self._actions.append(action)
                with contextlib.suppress(BlockingIOError):  # enough was written to wake it
                    os.write(self._pipe[1], b"!")

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run an action on the loop's thread after a while (loop's thread)."""
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._numbers), action))

    def add(self, wire: Wire) -> None:
        """Serve a wire (loop's thread)."""
        self._wires.append(wire)

    def remove(self, wire: Wire) -> None:
        """Serve a wire no more (loop's thread)."""
        self._wires.remove(wire)

    def _close(self) -> None:
        for wire in self._wires:
            wire.close()
        self.later(_CLOSE_S, self._give_up)

    def _give_up(self) -> None:
        """Where a peer does not answer the close, or there is no peer."""
        for wire in self._wires:
            wire.give_up()

    def _run(self) -> None:
        while not self.stopping or self._wires or self._actions:
            while self._actions:
                self._actions.popleft()()
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()
            now = time.monotonic()
            deadlines = [wire.turn(now) for wire in list(self._wires)]
            if self._later:
                deadlines.append(self._later[0][0])
            self._wait(min((at for at in deadlines if at), default=now + 3600.0) - time.monotonic())

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._pipe[0], select.POLLIN)
        wires = {}
        for wire in self._wires:
            events = wire.awaits()
            if events:
                wires[wire.socket.fileno()] = wire
                poll.register(wire.socket, events)
        for descriptor, events in poll.poll(max(0.0, seconds) * 1000.0):
            if descriptor in wires:
                wires[descriptor].ready(events)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(descriptor, 4096)


class Standing(Loop, ABC):
    """A loop with one connection, made again whenever it is lost. `ready` while it can be used."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.wire: Any = None
        self._attempts = 0

    @abstractmethod
    def make(self) -> Wire:
        """A new connection (loop's thread). It is to tell by `usable` and `lost`."""

    def begin(self) -> None:
        if not self.stopping:
            self.wire = self.make()
            self.add(self.wire)

    def usable(self) -> None:
        """The connection is there, with all its links (loop's thread)."""
        self._attempts = 0
        self.ready.set()

    def lost(self) -> None:
        """The connection is gone (loop's thread)."""
        self.ready.clear()
        self.later(_DELAYS_S[min(self._attempts, len(_DELAYS_S) - 1)], self.begin)
        self._attempts += 1
