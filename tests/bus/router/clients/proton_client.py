"""A Proton client that does as it is told: JSON commands on standard input, one JSON answer each on standard output.

Runs in a node, in a Python with `proton`. Every connection is its own; links are known by the names given. Commands:

    receive  name url [address] [credit] [then]   attach; no address: a dynamic one. `then` says what to do with
             messages: accept, release, reject, modify, hold (until `settle`) or settle (without an outcome)
    send     name url [address]                   attach; no address: anonymous
    credit   name [least] [seconds]               wait for that much credit; answers what there is
    give     name credit | drain name             more credit from a receiver; or use it up, wait for the answer
    put      name bodies [settled] [to]           send these bodies as credit allows
    nothing  name                                 send a delivery without a message
    outcomes name count [seconds]                 wait for so many outcomes of what was put
    got      name count [seconds] [until]         wait for so many messages, or for one; answers the bodies
    settle   name outcome                         settle all held messages
    forget   name                                 a sender settles what it sent without waiting
    close    name | hang_up name                  detach the link; close its connection
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from typing import Any

from proton import Delivery, Endpoint, Message
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector, LinkOption

OUTCOMES = {
    Delivery.ACCEPTED: "accepted",
    Delivery.REJECTED: "rejected",
    Delivery.RELEASED: "released",
    Delivery.MODIFIED: "modified",
}


class Mixed(LinkOption):  # type: ignore[misc] # proton has no types here
    """Lets the sender choose whether a message is settled."""

    def apply(self, link: Any) -> None:
        link.snd_settle_mode = 2


class Peer:
    """A link and what has happened on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.link: Any = None
        self.connection: Any = None
        self.then = "accept"
        self.opened = threading.Event()
        self.closed = threading.Event()
        self.changed = threading.Condition()
        self.bodies: list[str] = []
        self.held: list[Any] = []
        self.outcomes: list[dict[str, Any]] = []
        self.unsettled: set[Any] = set()
        self.pending: list[tuple[Message, bool]] = []
        self.drained = threading.Event()
        self.error: str | None = None

    def note(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def wait(self, there: Any, seconds: float) -> None:
        with self.changed:
            self.changed.wait_for(there, seconds)


class Client(MessagingHandler):  # type: ignore[misc] # proton has no types here
    def __init__(self) -> None:
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.peers: dict[str, Peer] = {}
        self.injector = EventInjector()
        self.container: Any = None

    # -- on the reactor's thread --

    def on_start(self, event: Any) -> None:
        self.container = event.container
        self.container.selectable(self.injector)

    def on_command(self, event: Any) -> None:
        work, done, answer = event.subject
        try:
            answer["value"] = work(self.container)
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        done.set()

    def peer_of(self, link: Any) -> Peer | None:
        return next((peer for peer in self.peers.values() if peer.link == link), None)

    def on_link_opened(self, event: Any) -> None:
        peer = self.peer_of(event.link)
        if peer is not None:
            peer.opened.set()

    def on_link_error(self, event: Any) -> None:
        peer = self.peer_of(event.link)
        if peer is not None:
            peer.error = event.link.remote_condition.name
            peer.opened.set()
            peer.closed.set()

    def on_link_closed(self, event: Any) -> None:
        peer = self.peer_of(event.link)
        if peer is not None:
            peer.closed.set()

    def on_transport_error(self, event: Any) -> None:
        for peer in self.peers.values():
            if peer.connection == event.connection:
                peer.error = str(event.transport.condition)
                peer.opened.set()
                peer.closed.set()

    def on_link_flow(self, event: Any) -> None:
        peer = self.peer_of(event.link)
        if peer is None:
            return
        if event.link.is_sender:
            self.push(peer)
        elif event.link.credit == 0:
            peer.drained.set()
        peer.note()

    def push(self, peer: Peer) -> None:
        while peer.pending and peer.link.credit > 0:
            message, settled = peer.pending.pop(0)
            delivery = peer.link.send(message)
            if settled:
                delivery.settle()
                peer.outcomes.append({"outcome": "none"})
            else:
                peer.unsettled.add(delivery)
        if peer.link.state & Endpoint.REMOTE_ACTIVE:
            peer.link.drained()

    def on_message(self, event: Any) -> None:
        peer = self.peer_of(event.link)
        if peer is None:
            return
        if not event.delivery.settled:
            if peer.then == "hold":
                peer.held.append(event.delivery)
            else:
                settle(event.delivery, peer.then)
        peer.bodies.append(event.message.body)
        peer.note()

    def on_delivery(self, event: Any) -> None:
        peer = self.peer_of(event.link)
        delivery = event.delivery
        if peer is None or not event.link.is_sender or not delivery.updated:
            return
        if delivery.settled and delivery in peer.unsettled:
            peer.unsettled.discard(delivery)
            outcome = {"outcome": OUTCOMES.get(delivery.remote_state, "none")}
            if delivery.remote_state == Delivery.MODIFIED:
                outcome["failed"] = delivery.remote.failed
                outcome["undeliverable"] = delivery.remote.undeliverable
            if delivery.remote_state == Delivery.REJECTED and delivery.remote.condition is not None:
                outcome["condition"] = delivery.remote.condition.name
            peer.outcomes.append(outcome)
            delivery.settle()
            peer.note()

    # -- commands, on the main thread --

    def do(self, work: Any) -> Any:
        done = threading.Event()
        answer: dict[str, Any] = {}
        self.injector.trigger(ApplicationEvent("command", subject=(work, done, answer)))
        if not done.wait(20.0):
            raise TimeoutError("the reactor does not answer")
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def attach(self, command: dict[str, Any], receiver: bool) -> dict[str, Any]:
        peer = self.peers[command["name"]] = Peer(command["name"])
        peer.then = command.get("then", "accept")

        def work(container: Any) -> None:
            peer.connection = container.connect(command["url"], reconnect=False, allowed_mechs="ANONYMOUS")
            address = command.get("address")
            if receiver:
                peer.link = container.create_receiver(
                    peer.connection, address, name=peer.name, dynamic=address is None, options=Mixed()
                )
                peer.link.flow(command.get("credit", 100))
            else:
                peer.link = container.create_sender(peer.connection, address, name=peer.name, options=Mixed())

        self.do(work)
        if not peer.opened.wait(20.0):
            raise TimeoutError(f"{peer.name} did not open")
        if receiver:
            return {"address": peer.link.remote_source.address, "error": peer.error}
        return {"error": peer.error}

    def run(self, command: dict[str, Any]) -> Any:
        operation = command["do"]
        if operation in ("receive", "send"):
            return self.attach(command, operation == "receive")
        peer = self.peers[command["name"]]
        seconds = command.get("seconds", 10.0)
        if operation == "credit":
            least = command.get("least", 1)
            peer.wait(lambda: peer.link.credit >= least, seconds)
            return peer.link.credit
        if operation == "give":
            return self.do(lambda _: peer.link.flow(command["credit"]))
        if operation == "drain":
            peer.drained.clear()
            self.do(lambda _: peer.link.drain(0))
            return peer.drained.wait(seconds)
        if operation == "put":
            messages = [
                (Message(body=body, address=command.get("to")), command.get("settled", False))
                for body in command["bodies"]
            ]

            def work(_: Any) -> None:
                peer.pending.extend(messages)
                while peer.pending and peer.link.credit > 0:
                    self.push(peer)

            return self.do(work)
        if operation == "nothing":

            def send_nothing(_: Any) -> None:
                peer.unsettled.add(peer.link.delivery("nothing"))
                peer.link.advance()

            return self.do(send_nothing)
        if operation == "outcomes":
            peer.wait(lambda: len(peer.outcomes) >= command["count"], seconds)
            return peer.outcomes
        if operation == "got":
            until = command.get("until")
            peer.wait(lambda: len(peer.bodies) >= command["count"] or until in peer.bodies, seconds)
            return peer.bodies
        if operation == "settle":

            def settle_all(_: Any) -> int:
                held, peer.held = peer.held, []
                for delivery in held:
                    settle(delivery, command["outcome"])
                return len(held)

            return self.do(settle_all)
        if operation == "forget":

            def forget(_: Any) -> None:
                unsettled, peer.unsettled = peer.unsettled, set()
                for delivery in unsettled:
                    delivery.settle()

            return self.do(forget)
        if operation == "close":
            self.do(lambda _: peer.link.close())
            return peer.closed.wait(seconds)
        if operation == "hang_up":
            return self.do(lambda _: peer.connection.close())
        raise ValueError(operation)


def settle(delivery: Any, outcome: str) -> None:
    if outcome == "accept":
        delivery.update(Delivery.ACCEPTED)
    elif outcome == "release":
        delivery.update(Delivery.RELEASED)
    elif outcome == "reject":
        delivery.update(Delivery.REJECTED)
    elif outcome == "modify":
        delivery.local.failed = True
        delivery.local.undeliverable = True
        delivery.update(Delivery.MODIFIED)
    delivery.settle()


def main() -> None:
    client = Client()

    def react() -> None:
        try:
            Container(client).run()
        except Exception:
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=react, daemon=True).start()
    for line in sys.stdin:
        try:
            answer = {"ok": client.run(json.loads(line))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
