"""One AMQP 1.0 connection of Qpid Proton on a thread of its own, and the calls other threads make into it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import unquote, urlsplit

from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector

from harness.agent.failures import CallTimeout

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = ["Loop"]


class _Delays:
    """Seconds between attempts to reconnect, in the form every release takes: lists only since 0.34."""

    _SECONDS = (0.0, 0.5, 1.0, 2.0)

    def __init__(self) -> None:
        self._turn = 0

    def reset(self) -> None:
        """Connected: begin again."""
        self._turn = 0

    def next(self) -> float:
        """The next delay; the last one is repeated."""
        seconds = self._SECONDS[min(self._turn, len(self._SECONDS) - 1)]
        self._turn += 1
        return seconds


class Loop(MessagingHandler):  # type: ignore[misc]
    """A connection that reconnects by itself.

    Subclasses override `opened` and Proton's `on_...` events, which run on the loop's thread; everything that
    touches Proton's objects must run there, by `call`. So must the end of the last reference to one: it frees C memory
    that the loop may be walking through. Before, a server of 0.34.0 slept on while messages waited once in some 50,000
    calls; since, none did in 216 pairs of processes of 2,400 calls each, where ten were to be expected. Other threads
    get numbers and plain values.
    """

    def __init__(self, task: Task, *, prefetch: int = 0) -> None:
        super().__init__(prefetch=prefetch, auto_accept=False, auto_settle=True)
        self.task = task
        self.connection: Any = None
        self.ready = threading.Event()
        self._stopping = False
        self._over = False
        self._starting = threading.Lock()
        self._injecting = threading.Lock()
        self._injector = EventInjector()
        self._container = Container(self)
        self._container.selectable(self._injector)
        self._thread = threading.Thread(target=self._container.run, name="proton", daemon=True)

    def start(self) -> None:
        """Connect. From any thread. Raises CallTimeout if that is not done in time (it goes on being tried)."""
        with self._starting:
            if not self._thread.is_alive():
                self._thread.start()
        if not self.ready.wait(self.task.timeout_s):
            raise CallTimeout("not connected in time")

    def stop(self) -> None:
        """Disconnect, and end the thread."""
        self._stopping = True
        if self._over:
            return
        if self._thread.is_alive():
            self.call(self._close)
            self._thread.join(3.0)
        if self._thread.is_alive():  # the peer does not answer the close, or there is no peer
            self.call(self._container.stop)
            self._thread.join(2.0)
        if not self._thread.is_alive():
            with self._injecting:
                self._over = True
                for descriptor in self._injector.pipe:  # which the injector itself never closes
                    os.close(descriptor)

    def call(self, action: Callable[[], None]) -> None:
        """Run an action on the loop's thread, soon; nothing after its end."""
        with self._injecting:
            if not self._over:
                self._injector.trigger(ApplicationEvent("run", subject=action))

    def opened(self) -> None:
        """The connection is there (again)."""

    def lost(self) -> None:
        """The connection is gone."""

    def connect(self, *, reconnect: Any) -> Any:
        """A new connection to the task's url (loop's thread)."""
        url = urlsplit(self.task.url)
        credentials = {}
        if url.username:
            credentials = {"user": unquote(url.username), "password": unquote(url.password or "")}
        return self._container.connect(
            f"amqp://{url.hostname}:{url.port or 5672}",
            allowed_mechs="ANONYMOUS PLAIN" if credentials else "ANONYMOUS",
            reconnect=reconnect,
            heartbeat=30,
            **credentials,
        )

    def on_start(self, event: Any) -> None:
        self.connection = self.connect(reconnect=_Delays())

    def on_connection_opened(self, event: Any) -> None:
        self.opened()

    def on_disconnected(self, event: Any) -> None:
        self.ready.clear()
        self.lost()

    def on_transport_error(self, event: Any) -> None:
        pass  # on_disconnected follows, and the container reconnects

    def on_transport_closed(self, event: Any) -> None:
        if self._stopping:
            self._injector.close()
            self._container.stop()

    def on_run(self, event: Any) -> None:
        event.subject()

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
