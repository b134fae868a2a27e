"""The load agent: one process, one task, told what to do over its control channel.

Commands, one JSON object per line, `cmd` and an optional `id` that is repeated in the answer:

| cmd     | further keys                         | answer (type, further keys)                                        |
|---------|--------------------------------------|--------------------------------------------------------------------|
| hello   |                                      | hello: pid, python, packages, boot_id, time_namespace, ...         |
| clock   | t1: any number                       | clock: t1 as given; t2 received, t3 answered (s, CLOCK_MONOTONIC)  |
| prepare | task (harness.agent.task)            | prepared: warm (whether it is known to be connected), scheduling   |
|         |                                      | (punctuality.py; null for what has no due instants)                |
| go      | at: s, CLOCK_MONOTONIC of this host; | going: at                                                          |
|         | [schedule], [count]: of this stretch |                                                                    |
| quiesce | timeout_s: longest wait; [pause_s]   | quiesced: drained, in_flight, reading (harness.agent.reading)      |
| inspect | what: "types", "trace" or            | inspected: types (count by type) / sites (growth since the last    |
|         | "origins" with names: of types       | trace) / holders, allocated, grown, opened: see attribution.py     |
| report  | [final]: no record follows           | report: totals, failures (the table), records, lost_records        |
| stop    |                                      | stopped; the process ends                                          |

A client's `go` may be repeated: every stretch has the same schedule unless told otherwise, and numbers go on.
Unasked the agent sends `progress` once a second (or every `progress_s` of its task), and `finished` when a stretch
of load has ended. What goes wrong is answered with `error`: class, message, phase (the command, or "record"). End of
input means stop, and so does SIGTERM. Every message carries `agent`, null before `prepare`.
"""

from __future__ import annotations

import os
import platform
import queue
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable

from harness.agent.account import Account
from harness.agent.adapters import make_adapter
from harness.agent.adapters.spread import Spread
from harness.agent.channel import Channel
from harness.agent.client import Client
from harness.agent.clock import clock_facts, now
from harness.agent.failures import Failures
from harness.agent.limits import check_limits
from harness.agent.packages import installed_packages
from harness.agent.punctuality import ask_for_real_time, set_heap_aside, take_heap_back
from harness.agent.reading import quiesced_reading
from harness.agent.server import Server
from harness.agent.task import Task

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Receiver

__all__ = ["PROTOCOL", "run_agent"]

#: Version of the control protocol.
PROTOCOL = 1

#: How long the agent lets its client library take to disconnect before it ends anyway, seconds.
_FAREWELL_S = 8.0


class Agent:
    """State of a load agent; commands are methods named `do_<cmd>` that return the answer."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._number: int | None = None
        self._failures = Failures()
        self._account: Account | None = None
        self._client: Client | None = None
        self._server: Server | None = None
        self._receiver: Receiver | None = None
        self._snapshot: Any = None
        self._heap_aside = False
        self._ended = threading.Event()

    def send(self, kind: str, **message: Any) -> None:
        """Send a message that says its type and this agent's number."""
        self._channel.send(type=kind, agent=self._number, **message)

    def carry_out(self, command: dict[str, Any]) -> None:
        """Carry out one command and answer it."""
        name, ident = command.pop("cmd", None), command.pop("id", None)
        tag = {} if ident is None else {"id": ident}
        try:
            method: Callable[..., dict[str, Any]] | None = getattr(self, f"do_{name}", None)
            if method is None:
                raise ValueError(f"no such command: {name!r}")
            answer = method(**command)
            self.send(answer.pop("type"), **tag, **answer)
        except Exception as error:
            self.send_error(str(name), error, **tag)

    def send_error(self, phase: str, error: BaseException, **tag: Any) -> None:
        """Tell of a fault."""
        self._channel.fault(phase, error, agent=self._number, **tag)

    def do_hello(self) -> dict[str, Any]:
        return {
            "type": "hello",
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "packages": installed_packages(),
            "host": platform.node(),
            **clock_facts(),
        }

    def do_prepare(self, task: dict[str, Any]) -> dict[str, Any]:
        if self._number is not None:
            raise ValueError("this agent has its task already")
        plan = Task.from_json(task)
        check_limits(plan)
        adapter = make_adapter(plan.adapter)
        self._number = plan.agent
        # Before any thread of the client's is there: they have it from this one.
        scheduling = ask_for_real_time() if plan.has_due_instants else None
        account = self._account = Account(plan.record, receiver=plan.role == "server")
        threading.Thread(target=self._tick, args=(account, plan.progress_s), name="progress", daemon=True).start()
        if plan.role == "server":
            self._server = Server(plan, account, self._failures)
            self._receiver = adapter.open_receiver(plan, self._server)
            self._receiver.start()
            warm = True
        else:
            senders = [adapter.open_sender(plan) for _ in range(plan.transports)]
            sender = senders[0] if len(senders) == 1 else Spread(senders)
            self._client = Client(plan, sender, account, self._failures)
            warm = plan.connected and self._warm_up(plan.timeout_s)
        self._heap_aside = set_heap_aside()
        return {"type": "prepared", "warm": warm, "scheduling": scheduling}

    def do_go(self, at: float, schedule: dict[str, Any] | None = None, count: int | None = None) -> dict[str, Any]:
        start = int(at * 1e9)
        if self._server is not None:
            self._server.go(start)
        elif self._client is not None:
            if not self._client.drain(0.0):
                raise ValueError("the last stretch of load has not ended")
            self._client.go(start, schedule=schedule, count=count)
            threading.Thread(target=self._announce_end, args=(self._client,), name="end", daemon=True).start()
        else:
            raise ValueError("prepare comes before go")
        return {"type": "going", "at": at}

    def do_quiesce(self, timeout_s: float = 30.0, pause_s: float = 0.2) -> dict[str, Any]:
        drained = self._client is None or self._client.drain(timeout_s)
        in_flight = self._account.counts()["in_flight"] if self._account is not None else 0
        self._take_heap_back()
        return {"type": "quiesced", "drained": drained, "in_flight": in_flight, "reading": quiesced_reading(pause_s)}

    def do_inspect(self, what: str, names: list[str] | None = None) -> dict[str, Any]:
        from harness.agent import attribution

        self._take_heap_back()
        if what == "types":
            return {"type": "inspected", "types": attribution.count_types()}
        if what == "origins":
            return {"type": "inspected", **attribution.origins(list(names or ()))}
        if what != "trace":
            raise ValueError(f"nothing to inspect called {what!r}")
        attribution.start_tracing()
        self._snapshot, sites = attribution.trace_growth(self._snapshot)
        return {"type": "inspected", "sites": sites}

    def do_report(self, final: bool = False) -> dict[str, Any]:
        return {"type": "report", **self._counts(final=final), "failures": self._failures.names()}

    def do_stop(self) -> dict[str, Any]:
        self._ended.set()
        farewell = threading.Thread(target=self._disconnect, name="farewell", daemon=True)
        farewell.start()
        farewell.join(_FAREWELL_S)
        if self._account is not None:
            self._account.close()
        return {"type": "stopped", "disconnected": not farewell.is_alive()}

    def _disconnect(self) -> None:
        try:
            if self._server is not None:
                self._server.release()
            if self._receiver is not None:
                self._receiver.stop()
            if self._client is not None:
                self._client.stop(_FAREWELL_S / 2)
        except Exception as error:
            self.send_error("stop", error)

    def _warm_up(self, timeout_s: float) -> bool:
        """Connect ahead of the load; a bus that does not answer must not hold the agent."""
        assert self._client is not None
        client, warm = self._client, []

        def connect() -> None:
            try:
                warm.append(client.warm_up())
            except Exception as error:
                self.send_error("warm-up", error)

        thread = threading.Thread(target=connect, name="warm-up", daemon=True)
        thread.start()
        thread.join(timeout_s)
        return bool(warm and warm[0])

    def _take_heap_back(self) -> None:
        if self._heap_aside:
            self._heap_aside = False
            take_heap_back()

    def _announce_end(self, client: Client) -> None:
        client.drain(None)
        if not self._ended.is_set():
            self.send("finished", t=now() / 1e9, **self._counts())

    def _counts(self, *, final: bool = False) -> dict[str, Any]:
        if self._account is None:
            raise ValueError("prepare comes before report")
        counts = self._account.counts(final=final)
        names = self._failures.names()
        counts["failed"] = {names[status - 1]: count for status, count in counts["failed"].items()}
        counts["due"] = self._client.due() if self._client is not None else None
        return counts

    def _tick(self, account: Account, progress_s: float) -> None:
        """Once a second hand the records to the file; every `progress_s` tell how things stand."""
        told = None
        tell_at = now() + int(progress_s * 1e9)
        while not self._ended.wait(min(1.0, max(0.01, (tell_at - now()) / 1e9))):
            account.flush()
            if account.fault is not None and account.fault is not told:
                told = account.fault
                self.send_error("record", told)
            if now() >= tell_at:
                tell_at += int(progress_s * 1e9)
                self.send(
                    "progress",
                    t=now() / 1e9,
                    **self._counts(),
                    failures=self._failures.names(),
                    histogram=account.histogram_delta(),
                )


def run_agent() -> int:
    """Serve the control channel until told to stop; the exit status."""
    channel = Channel()
    agent = Agent(channel)
    commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        for command in channel.lines():
            if command.get("cmd") == "clock":
                _answer_clock(agent, command)
            else:
                commands.put(command)
        _end_soon(commands)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end_soon(commands))
    threading.Thread(target=listen, name="control", daemon=True).start()
    while True:
        command = commands.get()
        if command is None:
            command = {"cmd": "stop"}
        stopping = command.get("cmd") == "stop"
        agent.carry_out(command)
        if stopping:
            sys.stderr.flush()
            os._exit(0)  # a client library's own threads must not keep the process


def _end_soon(commands: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """Stop as soon as the command under way allows, and in any case within a bounded time."""
    commands.put(None)
    timer = threading.Timer(_FAREWELL_S + 2.0, os._exit, args=(3,))
    timer.daemon = True
    timer.start()


def _answer_clock(agent: Agent, command: dict[str, Any]) -> None:
    received = now() / 1e9
    tag = {"id": command["id"]} if "id" in command else {}
    agent.send("clock", t1=command.get("t1"), t2=received, t3=now() / 1e9, **tag)
