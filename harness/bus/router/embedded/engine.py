"""Sockets, timers and Proton's protocol engine: one thread, epoll, no reactor.

Proton's reactor wraps every event in several Python objects; a router handles little else but events, so this module
talks to the engine below it: `cproton`, the flat functions the binding itself is made of (the one place, with
`links`, that relies on them; present with these names since python-qpid-proton 0.38).
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import select
import socket
import time
import traceback
from typing import Any, Callable

import proton
from cproton_ffi import ffi, lib

__all__ = ["Engine", "Timer", "Wire"]

_CHUNK = 65536
_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)


class Timer:
    """A call to be made later, unless cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Never call."""
        self.call = None


class Engine:
    """The event loop. Runs until `stop`; everything happens on its thread."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._dirty: set[Wire] = set()
        self._after: list[Callable[[], None]] = []
        self._running = True
        self.wires: set[Wire] = set()
        self.buffer = ffi.new("char[]", _CHUNK)
        self.view = memoryview(ffi.buffer(self.buffer))

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once, `delay_s` seconds from now."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def every(self, interval_s: float, call: Callable[[], None]) -> None:
        """Call again and again, first after one interval."""

        def again() -> None:
            call()
            self.later(interval_s, again)

        self.later(interval_s, again)

    def soon(self, call: Callable[[], None]) -> None:
        """Call at the end of this turn, before anything is written."""
        self._after.append(call)

    def dirty(self, wire: Wire) -> None:
        """The wire has something to write at the end of this turn."""
        self._dirty.add(wire)

    def watch(self, descriptor: int, events: int, call: Callable[[int], None]) -> None:
        """Call with the epoll events of a descriptor."""
        self._ready[descriptor] = call
        self._poll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Watch for other events."""
        self._poll.modify(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        """Watch no more."""
        if self._ready.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)

    def stop(self) -> None:
        """End `run` after this turn."""
        self._running = False

    def run(self) -> None:
        """The loop."""
        while self._running:
            for descriptor, events in self._poll.poll(self._timeout()):
                call = self._ready.get(descriptor)
                if call is not None:
                    call(events)
            self._run_timers()
            self._flush()
        self._flush()

    def _timeout(self) -> float:
        if not self._timers:
            return 1.0
        return min(1.0, max(0.0, self._timers[0][0] - time.monotonic()))

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()

    def _flush(self) -> None:
        while self._dirty or self._after:
            after, self._after = self._after, []
            for call in after:
                call()
            dirty, self._dirty = self._dirty, set()
            for wire in dirty:
                wire.write()


class Wire:
    """One AMQP connection over one socket.

    Args:
        engine: the loop.
        sock: connected, or connecting.
        server: whether the peer connected to us.
        handlers: what to call with each Proton event, by event type number.
        ended: called once when the connection is over, with the reason ("" where it was closed in order).
        idle_timeout_s, max_frame_size: as offered to the peer.
        sasl: whether to offer SASL (ANONYMOUS).
    """

    def __init__(
        self,
        engine: Engine,
        sock: socket.socket,
        *,
        server: bool,
        handlers: dict[int, Callable[[Wire, Any], None]],
        ended: Callable[[Wire, str], None],
        idle_timeout_s: float,
        max_frame_size: int,
        sasl: bool,
    ) -> None:
        self.engine = engine
        self.peer = _name_of_peer(sock)
        self.context: Any = None
        self._sock: socket.socket | None = sock
        self._handlers = handlers
        self._ended = ended
        self._events = 0
        self._reason = ""
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        self.connection = proton.Connection()
        self._collector = proton.Collector()
        self.connection.collect(self._collector)
        self._transport = proton.Transport(proton.Transport.SERVER if server else proton.Transport.CLIENT)
        self._transport.max_frame_size = max_frame_size
        if idle_timeout_s > 0:
            self._transport.idle_timeout = idle_timeout_s
        if sasl:
            layer = self._transport.sasl()
            layer.allowed_mechs("ANONYMOUS")
        self._transport.bind(self.connection)
        self._pn_transport = self._transport._impl
        self._pn_collector = self._collector._impl

        engine.wires.add(self)
        self._wanted = select.EPOLLIN
        engine.watch(sock.fileno(), select.EPOLLIN | (0 if server else select.EPOLLOUT), self._on_ready)
        if not server:
            self._wanted |= select.EPOLLOUT

    @property
    def is_open(self) -> bool:
        """Whether the socket is still there."""
        return self._sock is not None

    def fail(self, reason: str) -> None:
        """Drop the connection at once."""
        self._reason = self._reason or reason
        self._finish()

    def tick(self, now_ms: int) -> None:
        """Send and expect heartbeats."""
        if self._sock is not None:
            lib.pn_transport_tick(self._pn_transport, now_ms)
            self.process()
            self.engine.dirty(self)

    def _on_ready(self, events: int) -> None:
        if events & select.EPOLLERR and self._sock is not None:
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.fail(errno.errorcode.get(error, str(error)))
            return
        if events & (select.EPOLLIN | select.EPOLLHUP):
            self._read()
        self.engine.dirty(self)

    def _read(self) -> None:
        # Once per turn: what has come in is passed on before more is taken in, so that queues stay short.
        if self._sock is None:
            return
        engine = self.engine
        try:
            count = self._sock.recv_into(engine.view)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(error.strerror or str(error))
            return
        if count == 0:
            self._reason = self._reason or "closed by peer"
            lib.pn_transport_close_tail(self._pn_transport)
            self.process()
            self._finish()
            return
        # The shared buffer is ours until all is pushed: `write` uses it too, but only at the end of a turn.
        start = 0
        while start < count:
            pushed = lib.pn_transport_push(self._pn_transport, engine.buffer + start, count - start)
            self.process()
            if pushed <= 0:
                return
            start += pushed

    def process(self) -> None:
        """Handle every event the engine has. A peer whose events make a handler fail is dropped, not the router."""
        try:
            self._handle_events()
        except Exception as error:
            traceback.print_exc()
            self.fail(f"{type(error).__name__}: {error}")

    def _handle_events(self) -> None:
        collector, handlers = self._pn_collector, self._handlers
        peek, pop, kind = lib.pn_collector_peek, lib.pn_collector_pop, lib.pn_event_type
        while True:
            event = peek(collector)
            if not event:
                return
            handler = handlers.get(kind(event))
            if handler is not None:
                handler(self, event)
                if self._sock is None:
                    return
            pop(collector)

    def write(self) -> None:
        """Write what the engine has to say, as far as the socket takes it."""
        transport = self._pn_transport
        while self._sock is not None:
            pending = lib.pn_transport_pending(transport)
            self.process()
            if pending < 0:
                self._finish()
                return
            if pending == 0:
                self._want(select.EPOLLIN)
                return
            count = lib.pn_transport_peek(transport, self.engine.buffer, min(pending, _CHUNK))
            try:
                sent = self._sock.send(self.engine.view[:count])
            except BlockingIOError:
                self._want(select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    self._want(select.EPOLLIN | select.EPOLLOUT)
                    return
                self.fail(error.strerror or str(error))
                return
            lib.pn_transport_pop(transport, sent)

    def _want(self, events: int) -> None:
        if events != self._wanted and self._sock is not None:
            self._wanted = events
            self.engine.change(self._sock.fileno(), events)

    def _finish(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        condition = self._transport.condition
        if condition is not None:
            self._reason = f"{condition.name}: {condition.description}"
        self.engine.unwatch(sock.fileno())
        self.engine.wires.discard(self)
        sock.close()
        lib.pn_transport_close_tail(self._pn_transport)
        self._ended(self, self._reason)
        # Proton's objects hold each other; take the ties apart so that nothing lingers.
        lib.pn_transport_unbind(self._pn_transport)
        lib.pn_connection_collect(self.connection._impl, ffi.NULL)
        lib.pn_collector_release(self._pn_collector)
        self.connection.free()
        self._handlers = {}


def _name_of_peer(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "?"
    return f"{host}:{port}"
