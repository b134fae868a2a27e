"""The kombu adapter: the same workloads over AMQP 0-9-1 without oslo.messaging, to tell its cost from the wire's.

The layout on the broker is that of oslo.messaging's rabbit driver: a topic exchange per control exchange with a
queue per topic and per topic and server, a fanout exchange per topic, and a reply queue per client; connections for
sending are pooled, one more is for replies; publishing is confirmed.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import kombu
from amqp.exceptions import NotFound
from kombu.asynchronous import Hub
from kombu.common import maybe_declare

from harness.agent.adapters.raw import acknowledges_first, answering_agent, serve
from harness.agent.failures import CallTimeout, ReplyLost
from harness.agent.records import NOBODY
from harness.agent.task import CHURN

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler, Receiver, Sender
    from harness.agent.task import Task

__all__ = ["KombuAdapter"]


class KombuAdapter:
    """RPC and notifications over a plain AMQP 0-9-1 client."""

    def open_sender(self, task: Task) -> Sender:
        return _ChurnSender(task) if task.pattern in CHURN else _Sender(task)

    def open_receiver(self, task: Task, handler: Handler) -> Receiver:
        return _Receiver(task, handler)


def _connect(task: Task) -> Any:
    """A new open connection."""
    url = urlsplit(task.url)
    connection = kombu.Connection(
        hostname=url.hostname,
        port=url.port or 5672,
        userid=unquote(url.username or "guest"),
        password=unquote(url.password or "guest"),
        virtual_host=unquote(url.path[1:]) or "/",
        transport="pyamqp",
        connect_timeout=task.timeout_s,
        transport_options={"confirm_publish": True},
    )
    connection.connect()
    return connection


def _exchange(task: Task) -> Any:
    return kombu.Exchange(task.exchange, type="topic", durable=False, auto_delete=False)


def _fanout(topic: str) -> Any:
    return kombu.Exchange(f"{topic}_fanout", type="fanout", durable=False, auto_delete=True)


#: How long the broker keeps a queue that was declared and is not used, milliseconds.
_EXPIRES_MS = 3000


class _ChurnSender:
    """Connects and disconnects, with or without a cast nobody takes; opens and closes channels, or declares queues, of
    one connection; or has connections of an event loop cut off."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._standing: Any = None
        self._hub = Hub() if task.pattern == "churn-evented" else None

    def warm_up(self) -> bool:
        if self._task.pattern in ("churn-link", "churn-declare"):
            self._standing = _connect(self._task)
        return self._standing is not None

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        if self._task.pattern == "churn-evented":
            self._give_up(_connect(self._task))
        elif self._task.pattern == "churn-declare":
            name = f"{self._task.topics[target].topic}-{seq}"
            queue = kombu.Queue(name, durable=True, queue_arguments={"x-expires": _EXPIRES_MS})
            maybe_declare(queue, self._standing.default_channel)
        elif self._standing is not None:
            self._standing.channel().close()
        else:
            self._connect_and_close(seq, payload)
        return NOBODY

    def _give_up(self, connection: Any) -> None:
        """What a consumer with an event loop does when its connection is cut off under it (celery's workers do)."""
        connection.register_with_event_loop(self._hub)
        _cut_off(connection.connection.transport.sock)
        with contextlib.suppress(Exception):  # whatever the library makes of it
            connection.drain_events(timeout=0.1)
        connection.collect()

    def _connect_and_close(self, seq: int, payload: str) -> None:
        with _connect(self._task) as connection:
            channel = connection.channel()
            if self._task.pattern == "churn-cast":
                producer = kombu.Producer(channel, serializer="json")
                exchange = _exchange(self._task)
                producer.publish(payload, exchange=exchange, routing_key=f"nobody-{seq}", declare=[exchange])

    def close(self) -> None:
        if self._standing is not None:
            _discard(self._standing)


def _cut_off(end: socket.socket, most_s: float = 1.0) -> None:
    """End a connection, and wait until the peer has ended it as well: it is then no connection any more."""
    deadline = time.monotonic() + most_s
    end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            end.getpeername()
            time.sleep(0.005)


class _Publisher:
    """A connection to send on. It declares each exchange once, as oslo.messaging does; kombu itself would declare one
    that deletes itself, like a fanout's, anew for every message, and wait for it."""

    def __init__(self, task: Task) -> None:
        self._connection = _connect(task)
        self._producer = kombu.Producer(self._connection.channel(), serializer="json")
        self._declared: set[str] = set()

    def publish(self, body: list[Any], exchange: Any, **properties: Any) -> None:
        declare = [] if exchange.name in self._declared else [exchange]
        self._producer.publish(body, exchange=exchange, declare=declare, delivery_mode="transient", **properties)
        self._declared.add(exchange.name)

    def close(self) -> None:
        _discard(self._connection)


class _Sender:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._idle: queue.LifoQueue[_Publisher] = queue.LifoQueue()
        self._replies = _Replies(task) if task.pattern == "rpc-call" else None
        self._routes = [self._route(topic.topic, topic.server) for topic in task.topics]

    def _route(self, topic: str, server: str | None) -> list[tuple[Any, str]]:
        """(exchange, routing key) of a topic, one per priority for notifications."""
        if self._task.pattern == "rpc-fanout":
            return [(_fanout(topic), "")]
        exchange = _exchange(self._task)
        if self._task.pattern == "notify":
            return [(exchange, f"{topic}.{priority}") for priority in self._task.notify.priorities]
        return [(exchange, topic if server is None else f"{topic}.{server}")]

    def warm_up(self) -> bool:
        self._idle.put(_Publisher(self._task))
        if self._replies is not None:
            self._replies.start()
        return True

    def send(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        routes = self._routes[target]
        exchange, key = routes[seq % len(routes)]
        body = [self._task.agent, seq, due, flags, payload]
        if self._replies is None:
            self._publish(body, exchange, key)
            return NOBODY
        with self._replies.expect(seq) as answer:
            self._publish(body, exchange, key, reply_to=answer.reply_to, correlation_id=str(seq))
            peer: int = answer.agent(self._task, seq, payload)
            return peer

    def close(self) -> None:
        if self._replies is not None:
            self._replies.stop()
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _publish(self, body: list[Any], exchange: Any, key: str, **properties: Any) -> None:
        if self._task.ttl_s is not None:
            properties["expiration"] = self._task.ttl_s
        try:
            publisher = self._idle.get_nowait()
        except queue.Empty:
            publisher = _Publisher(self._task)
        try:
            try:
                publisher.publish(body, exchange, routing_key=key, **properties)
            except NotFound:  # a fanout's exchange goes with the last of its queues
                publisher.close()
                publisher = _Publisher(self._task)
                publisher.publish(body, exchange, routing_key=key, **properties)
        except BaseException:
            publisher.close()
            raise
        self._idle.put(publisher)


def _discard(connection: Any) -> None:
    with contextlib.suppress(Exception):
        connection.release()


class _Answer:
    """What a call waits for, on the queue `reply_to`."""

    def __init__(self, reply_to: str) -> None:
        self.reply_to = reply_to
        self._ended = threading.Event()
        self._body: Any = None

    def put(self, body: Any) -> None:
        self._body = body
        self._ended.set()

    def give_up(self) -> None:
        """Its queue is gone, so there will be no answer."""
        self._ended.set()

    def agent(self, task: Task, seq: int, payload: str) -> int:
        """Wait for the answer; the agent that gave it. Raises CallTimeout, ReplyLost, RemoteFault, WrongReply."""
        if not self._ended.wait(task.timeout_s):
            raise CallTimeout(f"no answer within {task.timeout_s:g} s")
        if self._body is None:
            raise ReplyLost("the connection was lost on which the answer would come")
        return answering_agent(self._body, task, seq, payload)


class _Replies:
    """The reply queue of a client: a connection and a thread of its own; reconnects with a new queue."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._waiting: dict[str, _Answer] = {}
        self._name = ""
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to listen, and return when listening; does nothing the second time."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="replies", daemon=True)
                self._thread.start()
        self.name()

    def name(self) -> str:
        """Name of the queue. Raises CallTimeout while there is none."""
        if not self._ready.is_set():
            if self._thread is None:
                self.start()
            if not self._ready.wait(self._task.timeout_s):
                raise CallTimeout("no reply queue")
        return self._name

    @contextlib.contextmanager
    def expect(self, seq: int) -> Any:
        """An answer to operation `seq`, from now on until the context ends."""
        answer = self._waiting[str(seq)] = _Answer(self.name())
        if answer.reply_to != self._name or not self._ready.is_set():
            answer.give_up()
        try:
            yield answer
        finally:
            del self._waiting[str(seq)]

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._listen_once()

    def _listen_once(self) -> None:
        """Listen until told to stop or the connection is lost."""
        try:
            with _connect(self._task) as connection:
                reply_queue = kombu.Queue(exclusive=True, auto_delete=True, durable=False)
                with kombu.Consumer(connection, reply_queue, callbacks=[self._take], no_ack=True) as consumer:
                    self._name = consumer.queues[0].name
                    self._ready.set()
                    _drain(connection, self._stop)
        except Exception:
            self._stop.wait(0.5)
        finally:
            self._ready.clear()
            for answer in list(self._waiting.values()):
                answer.give_up()

    def _take(self, body: Any, message: Any) -> None:
        answer = self._waiting.get(message.properties.get("correlation_id", ""))
        if answer is not None:
            answer.put(body)


def _drain(connection: Any, stop: threading.Event) -> None:
    """Read from a connection until told to stop; its callbacks do the work."""
    while not stop.is_set():
        with contextlib.suppress(socket.timeout):
            connection.drain_events(timeout=0.5)


class _Receiver:
    """One connection and thread to consume, one pool of threads to serve; reconnects."""

    def __init__(self, task: Task, handler: Handler) -> None:
        self._task = task
        self._handler = handler
        self._ack_first = acknowledges_first(task)
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._fault: BaseException | None = None
        self._writing = threading.Lock()  # one thread reads the connection, several acknowledge on it
        self._answers = _Sender(task)
        self._threads = ThreadPoolExecutor(max_workers=task.workers)
        self._thread = threading.Thread(target=self._listen, name="consume", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(self._task.timeout_s):
            raise self._fault or CallTimeout("not consuming in time")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._threads.shutdown(wait=True)
        self._answers.close()

    def _queues(self, topic: str, name: str) -> list[Any]:
        task, exchange = self._task, _exchange(self._task)
        if task.pattern == "notify":
            keys = [f"{topic}.{priority}" for priority in task.notify.priorities]
            if task.notify.pool:  # one queue: a consumer knows queues by name, and would bind the last of several only
                return [kombu.Queue(task.notify.pool, [kombu.binding(exchange, key) for key in keys], durable=False)]
            return [_queue(key, exchange, key) for key in keys]
        named = _queue(f"{topic}.{name}", exchange, f"{topic}.{name}")
        everyone = _queue(f"{topic}_fanout_{name}", _fanout(topic), "", auto_delete=True)
        return [_queue(topic, exchange, topic), named, everyone]

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._listen_once()

    def _listen_once(self) -> None:
        """Consume until told to stop or the connection is lost."""
        try:
            with _connect(self._task) as connection, contextlib.ExitStack() as consumers:
                for target, topic in enumerate(self._task.topics):
                    queues = self._queues(topic.topic, topic.server or self._task.server or self._task.name)
                    consumer = kombu.Consumer(
                        connection.channel(),
                        queues,
                        on_message=lambda message, target=target: self._take(message, target),
                        prefetch_count=0 if self._ack_first else self._task.workers,
                    )
                    consumers.enter_context(consumer)
                self._ready.set()
                _drain(connection, self._stop)
                self._threads.shutdown(wait=True)
        except Exception as error:
            self._fault = error
            self._stop.wait(0.5)

    def _take(self, message: Any, target: int) -> None:
        if self._ack_first:
            with self._writing:
                message.ack()
        self._threads.submit(self._serve, message, target)

    def _serve(self, message: Any, target: int) -> None:
        redelivered = bool(message.delivery_info.get("redelivered"))
        dealt_with, answer = serve(self._task, self._handler, message.decode(), target, redelivered=redelivered)
        with contextlib.suppress(Exception):  # the connection may be gone: the broker delivers again, clients time out
            reply_to = message.properties.get("reply_to")
            if reply_to:
                self._answers._publish(
                    answer, kombu.Exchange(""), reply_to, correlation_id=message.properties["correlation_id"]
                )
            if not self._ack_first:
                with self._writing:
                    message.ack() if dealt_with else message.requeue()


def _queue(name: str, exchange: Any, key: str, auto_delete: bool = False) -> Any:
    return kombu.Queue(name, exchange, routing_key=key, durable=False, auto_delete=auto_delete)
