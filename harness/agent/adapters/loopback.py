"""The loopback adapter: the harness's own floor, without any messaging system.

Without a url an operation ends where it begins, in the client's own process: what is measured is the agent alone.
With `loopback:///DIRECTORY` clients and servers on one host meet over Unix sockets in that directory
(`<topic>!<server>`), so that the whole pipeline runs with nothing installed. There is no queue and no retry: a
message goes to a server that listens at that moment, or fails.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.agent.adapters.raw import answering_agent, serve
from harness.agent.records import NOBODY
from harness.agent.task import TaskError

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.task import Task

__all__ = ["LoopbackAdapter", "NobodyListens"]

_SCHEME = "loopback://"
_LENGTH = struct.Struct("<I")


class NobodyListens(Exception):
    """No server listens on the topic."""


class LoopbackAdapter:
    """Operations without a messaging system."""

    def open_sender(self, task: Task) -> Sender:
        if task.pattern == "churn-connect":
            return _ConnectSender()
        _check_url(task)
        return _SocketSender(task) if task.url else _InProcess(task)

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        if not task.url:
            raise TaskError("url: servers need one; without it a client's operations end in its own process")
        _check_url(task)
        return _Receiver(task, handler)


def _check_url(task: Task) -> None:
    if task.url and not task.url.startswith(_SCHEME + "/"):
        raise TaskError(f"url: {task.url!r} is not {_SCHEME}/DIRECTORY")


class _ConnectSender:
    """Makes a connection and closes it: a pair of sockets, since there is nothing to connect to."""

    def warm_up(self) -> bool:
        return True

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        for end in socket.socketpair():
            end.close()
        return NOBODY

    def close(self) -> None:
        pass


class _InProcess:
    def __init__(self, task: Task) -> None:
        self._peer = task.agent if task.pattern == "rpc-call" else NOBODY

    def warm_up(self) -> bool:
        return True

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        return self._peer

    def close(self) -> None:
        pass


def _send(connection: socket.socket, message: Any) -> None:
    data = json.dumps(message, separators=(",", ":")).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def _receive(connection: socket.socket) -> Any:
    """The next message, None at the end of the stream."""
    head = _read(connection, _LENGTH.size)
    body = _read(connection, _LENGTH.unpack(head)[0]) if head else b""
    return json.loads(body) if body else None


def _read(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Directory:
    """Where the sockets are. Reached by descriptor, because the path of a Unix socket is at most 107 bytes long."""

    def __init__(self, task: Task) -> None:
        where = Path(task.url[len(_SCHEME) :])
        where.mkdir(parents=True, exist_ok=True)
        self._base = f"/proc/self/fd/{os.open(where, os.O_PATH | os.O_DIRECTORY)}"

    def path(self, topic: str, server: str) -> str:
        """The path of a server's socket."""
        return f"{self._base}/{topic}!{server}"

    def sockets(self, topic: str) -> list[str]:
        """The paths of all sockets on a topic, sorted."""
        names = [path.name for path in Path(self._base).iterdir() if path.name.startswith(f"{topic}!")]
        return [f"{self._base}/{name}" for name in sorted(names)]


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


class _SocketSender:
    """A pool of idle connections per server; a connection carries one operation at a time."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._directory = _Directory(task)
        self._turn = itertools.count(task.seed)
        self._idle: dict[str, queue.SimpleQueue[socket.socket]] = {}
        self._lock = threading.Lock()

    def warm_up(self) -> bool:
        return True

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        servers = self._servers(target)
        pattern = self._task.pattern
        request = [pattern == "rpc-call", [self._task.agent, seq, due, flags, payload]]
        if pattern == "rpc-fanout":
            for path in servers:
                self._exchange(path, request)
            return NOBODY
        reply = self._exchange(servers[next(self._turn) % len(servers)], request)
        if pattern != "rpc-call":
            return NOBODY
        return answering_agent(reply, self._task, seq, payload)

    def close(self) -> None:
        with self._lock:
            pools, self._idle = list(self._idle.values()), {}
        for pool in pools:
            with contextlib.suppress(queue.Empty):
                while True:
                    pool.get_nowait().close()

    def _servers(self, target: int) -> list[str]:
        topic = self._task.topics[target]
        found = self._directory.sockets(topic.topic)
        if topic.server is not None:
            found = [path for path in found if path.endswith(f"!{topic.server}")]
        if not found:
            raise NobodyListens(topic.topic)
        return found

    def _exchange(self, path: str, request: list[Any]) -> Any:
        with self._lock:
            pool = self._idle.setdefault(path, queue.SimpleQueue())
        try:
            connection = pool.get_nowait()
        except queue.Empty:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self._task.timeout_s)
            connection.connect(path)
        try:
            _send(connection, request)
            reply = _receive(connection)
        except BaseException:
            connection.close()
            raise
        if reply is None:
            connection.close()
            raise ConnectionResetError("the server has gone")
        pool.put(connection)
        return reply


class _Receiver:
    """One listening socket per topic, one thread per connection."""

    def __init__(self, task: Task, handler: Handler) -> None:
        self._task = task
        self._handler = handler
        self._directory = _Directory(task)
        self._listening: list[tuple[socket.socket, str]] = []

    def start(self) -> None:
        for target, topic in enumerate(self._task.topics):
            name = topic.server or self._task.server or self._task.name
            path = self._directory.path(topic.topic, name)
            _remove(path)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(1024)
            self._listening.append((listener, path))
            threading.Thread(target=self._accept, args=(listener, target), daemon=True).start()

    def stop(self) -> None:
        for listener, path in self._listening:
            _remove(path)
            listener.close()

    def _accept(self, listener: socket.socket, target: int) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, target), daemon=True).start()

    def _serve(self, connection: socket.socket, target: int) -> None:
        with connection, contextlib.suppress(OSError):
            request = _receive(connection)
            while request is not None:
                wants_answer, body = request
                if not wants_answer:
                    _send(connection, ["taken"])
                _, answer = serve(self._task, self._handler, body, target)
                if wants_answer:
                    _send(connection, answer)
                request = _receive(connection)
