"""An oslo.messaging client that does as it is told: JSON commands on standard input, one JSON answer each.

Runs in a node, in a stack with the amqp1 driver. One transport per process. Commands:

    start    url [notify_timeout] [settled]      make the transport; `settled` are the driver's pre_settled options
    serve    topic server                        an RPC server: echo, name (answers who it is), note (remembers)
    listen   topic                               a notification listener that remembers
    call     topic method value [server] [timeout] [count]    answers the results, or the exception's class
    cast     topic method value [server] [fanout] [count]
    notify   topic value [count]
    noted    topic count [seconds]               what casts and notifications have arrived for it
"""

from __future__ import annotations

import json
import sys
import threading
import time
import warnings
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging._drivers.amqp1_driver import opts

warnings.simplefilter("ignore")


class Endpoint:
    def __init__(self, client: Client, topic: str, server: str) -> None:
        self.client = client
        self.topic = topic
        self.server = server

    def echo(self, ctxt: Any, value: Any) -> Any:
        return value

    def name(self, ctxt: Any, value: Any) -> str:
        return self.server

    def slow(self, ctxt: Any, value: float) -> str:
        time.sleep(value)
        return self.server

    def note(self, ctxt: Any, value: Any) -> None:
        self.client.note(self.topic, value)

    def info(self, ctxt: Any, publisher: str, event: str, payload: Any, metadata: Any) -> None:
        self.client.note(self.topic, payload)


class Client:
    def __init__(self) -> None:
        self.noted: dict[str, list[Any]] = {}
        self.changed = threading.Condition()
        self.servers: list[Any] = []
        self.transport: Any = None

    def note(self, topic: str, value: Any) -> None:
        with self.changed:
            self.noted.setdefault(topic, []).append(value)
            self.changed.notify_all()

    def start(self, url: str, notify_timeout: int = 30, settled: Any = None) -> None:
        cfg.CONF([], project="router-test")
        group = cfg.OptGroup("oslo_messaging_amqp")
        cfg.CONF.register_group(group)
        cfg.CONF.register_opts(opts.amqp1_opts, group=group)
        cfg.CONF.set_override("default_notify_timeout", notify_timeout, "oslo_messaging_amqp")
        if settled is not None:
            cfg.CONF.set_override("pre_settled", settled, "oslo_messaging_amqp")
        self.transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
        self.notifications = oslo_messaging.get_notification_transport(cfg.CONF, url=url)

    def serve(self, topic: str, server: str) -> None:
        target = oslo_messaging.Target(topic=topic, server=server)
        rpc = oslo_messaging.get_rpc_server(
            self.transport, target, [Endpoint(self, topic, server)], executor="threading"
        )
        rpc.start()
        self.servers.append(rpc)

    def listen(self, topic: str) -> None:
        targets = [oslo_messaging.Target(topic=topic)]
        listener = oslo_messaging.get_notification_listener(
            self.notifications, targets, [Endpoint(self, topic, topic)], executor="threading"
        )
        listener.start()
        self.servers.append(listener)

    def client(self, topic: str, server: str | None, fanout: bool | None, timeout: float | None) -> Any:
        target = oslo_messaging.Target(topic=topic, server=server)
        client = oslo_messaging.get_rpc_client(self.transport, target, timeout=timeout)
        return client.prepare(fanout=fanout) if fanout else client

    def call(
        self, topic: str, method: str, value: Any, server: str | None = None, timeout: float = 10, count: int = 1
    ) -> Any:
        client = self.client(topic, server, None, timeout)
        results = []
        for _ in range(count):
            try:
                results.append(client.call({}, method, value=value))
            except Exception as error:
                results.append(type(error).__name__)
        return results

    def cast(
        self, topic: str, method: str, value: Any, server: str | None = None, fanout: bool = False, count: int = 1
    ) -> Any:
        client = self.client(topic, server, fanout, None)
        start = time.monotonic()
        results = []
        for number in range(count):
            try:
                client.cast({}, method, value=[value, number] if count > 1 else value)
                results.append("sent")
            except Exception as error:
                results.append(type(error).__name__)
        return {"results": results, "seconds": time.monotonic() - start}

    def notify(self, topic: str, value: Any, count: int = 1) -> Any:
        notifier = oslo_messaging.Notifier(
            self.notifications, publisher_id="test", driver="messaging", topics=[topic], retry=0
        )
        start = time.monotonic()
        results = [notifier.info({}, "event", [value, number] if count > 1 else value) for number in range(count)]
        return {"results": results, "seconds": time.monotonic() - start}

    def wait_noted(self, topic: str, count: int, seconds: float = 10.0) -> list[Any]:
        with self.changed:
            self.changed.wait_for(lambda: len(self.noted.get(topic, [])) >= count, seconds)
            return self.noted.get(topic, [])


def main() -> None:
    client = Client()
    for line in sys.stdin:
        command = json.loads(line)
        operation = command.pop("do")
        work = client.wait_noted if operation == "noted" else getattr(client, operation)
        try:
            answer = {"ok": work(**command)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
