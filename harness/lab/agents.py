"""Agents from the controller's side: start them, speak their protocol (harness.agent.agent), translate clocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.agent.clock import clock_facts
from harness.errors import AgentFailure
from harness.lab.conversation import Conversation
from harness.runtime.archive import build_archive
from harness.runtime.protocol import NodeProcess, Runtime

__all__ = [
    "AgentHandle",
    "AgentReport",
    "ClockOffset",
    "SamplerHandle",
    "build_agent_archive",
    "in_parallel",
]

_T = TypeVar("_T")
_R = TypeVar("_R")

#: What reaches a listener: the agent's name and the message (progress, finished, error).
Listener = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How an agent's CLOCK_MONOTONIC relates to the controller's.

    Attributes:
        offset_s: agent's clock minus controller's clock, seconds.
        bound_s: the true offset lies within offset_s +- bound_s; 0 where both read the same clock.
        shared: whether they read the same clock (same boot, same time namespace).
    """

    offset_s: float
    bound_s: float
    shared: bool


@dataclass(frozen=True, slots=True)
class AgentReport:
    """What an agent says it did.

    Attributes:
        due: operations that were due (clients; None for servers).
        sent: operations sent (servers: messages received).
        done: those that succeeded.
        failed: those that failed, by "phase:ExceptionClass".
        in_flight: those that have not ended.
        starved: those that waited for a free worker.
        negative: those with a negative latency (a clock fault).
        failures: the table of failures; status s in a record is failures[s - 1].
        records: records written to the file.
        lost_records: records that could not be written.
    """

    due: int | None
    sent: int
    done: int
    failed: Mapping[str, int]
    in_flight: int
    starved: int
    negative: int
    failures: tuple[str, ...]
    records: int
    lost_records: int


def build_agent_archive(target: Path) -> Path:
    """Write the agent archive: `python target run` is the load agent, `python target sample` the process sampler."""
    return build_archive(target, ["harness.agent"], "harness.agent.main:main")


class AgentHandle:
    """One load agent. Every method may raise AgentFailure naming it, with its last log lines.

    Args:
        name: the agent's name.
        process: its process.
        log_tail: the end of its log.
        listener: told of progress, of the end of load, and of faults, from the reading thread; must not block.
        reads: see Conversation.
    """

    def __init__(
        self,
        name: str,
        process: NodeProcess,
        *,
        log_tail: Callable[[], str],
        listener: Listener | None = None,
        reads: bool = True,
    ) -> None:
        self.name = name
        self.process = process
        self.clock = ClockOffset(0.0, 0.0, True)
        self.facts: Mapping[str, Any] = {}
        self.progress: Mapping[str, Any] = {}
        self.faults: list[Mapping[str, Any]] = []
        self._listener = listener
        self._finished = threading.Event()
        self.talk = Conversation(f"agent {name}", process, log_tail=log_tail, unasked=self._unasked, reads=reads)

    @classmethod
    def start(
        cls,
        lab: Runtime,
        node: str,
        name: str,
        python: str,
        archive: str,
        *,
        env: Mapping[str, str] | None = None,
        listener: Listener | None = None,
    ) -> AgentHandle:
        """Start an agent in a node.

        Args:
            python: interpreter of its stack, as a path in the node.
            archive: the agent archive, as a path in the node.
            env: the stack's environment variables.
        """
        process = lab.start(node, [python, archive, "run"], log=name, env=env)
        return cls(name, process, log_tail=lambda: lab.log_text(name), listener=listener)

    def hello(self, timeout_s: float = 60.0) -> Mapping[str, Any]:
        """Who is there: pid, python, packages (version by name), boot_id, time_namespace. Sets `facts` and `clock`."""
        self.facts = self.talk.ask("hello", timeout_s)
        self.clock = self._read_clock(timeout_s)
        return self.facts

    def prepare(self, task: Mapping[str, Any], timeout_s: float = 60.0) -> bool:
        """Hand the agent its task; it connects. Whether it is known to be connected. Adds `scheduling` to `facts`."""
        answer = self.talk.ask("prepare", timeout_s, task=dict(task))
        self.facts = {**self.facts, "scheduling": answer["scheduling"]}
        return bool(answer["warm"])

    def go(
        self,
        at: float,
        *,
        schedule: Mapping[str, Any] | None = None,
        count: int | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Begin (another stretch of) load at an instant of the CONTROLLER's CLOCK_MONOTONIC, seconds.

        Args:
            schedule: of this stretch, instead of the task's.
            count: at most so many operations.
        """
        self._finished.clear()
        extra: dict[str, Any] = {}
        if schedule is not None:
            extra["schedule"] = dict(schedule)
        if count is not None:
            extra["count"] = count
        self.talk.ask("go", timeout_s, at=at + self.clock.offset_s, **extra)

    @property
    def finished(self) -> bool:
        """Whether a client has told that its load has ended, every operation answered or failed."""
        return self._finished.is_set()

    def wait_finished(self, timeout_s: float) -> bool:
        """Wait for `finished`. Raises AgentFailure at once if the agent dies meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not self._finished.wait(min(0.2, max(0.0, deadline - time.monotonic()))):
            self.check()
            if time.monotonic() >= deadline:
                return False
        return True

    def check(self) -> None:
        """Raise AgentFailure if the agent has died."""
        if self.talk.ended or self.process.poll() is not None:
            raise self.talk.failure("died")

    def quiesce(self, timeout_s: float, *, pause_s: float = 0.2) -> Mapping[str, Any]:
        """Wait at most timeout_s for the load to end, pause, collect garbage, read memory.

        Keys of the answer: drained, in_flight, reading (see harness.agent.reading).
        """
        return self.talk.ask("quiesce", timeout_s + 30.0, timeout_s=timeout_s, pause_s=pause_s)

    def inspect(self, what: str, timeout_s: float = 120.0, **arguments: Any) -> Mapping[str, Any]:
        """Ask what its memory is made of: "types", "trace", or "origins" with `names`; see harness.agent.agent."""
        return self.talk.ask("inspect", timeout_s, what=what, **arguments)

    def report(self, timeout_s: float = 30.0, *, final: bool = False) -> AgentReport:
        """What it did so far; its records are in the file when this returns. If final, none follows: they agree."""
        answer = self.talk.ask("report", timeout_s, final=final)
        values = {name: answer.get(name) for name in AgentReport.__dataclass_fields__}
        values["failures"] = tuple(answer["failures"])
        return AgentReport(**values)  # type: ignore[arg-type]

    def stop(self, timeout_s: float = 15.0) -> bool:
        """End the agent, politely at first. Whether it disconnected and ended by itself. Never raises."""
        try:
            polite = bool(self.talk.ask("stop", timeout_s)["disconnected"])
        except AgentFailure:
            polite = False
        status = self.talk.end(2.0 if polite else 0.5)
        return polite and status == 0

    def _unasked(self, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        if kind == "progress":
            self.progress = message
        elif kind == "finished":
            self.progress = {**self.progress, **message}
            self._finished.set()
        elif kind == "error":
            self.faults.append(message)
        if self._listener is not None:
            self._listener(self.name, message)

    def _read_clock(self, timeout_s: float, exchanges: int = 8) -> ClockOffset:
        """Estimate the offset from the exchange with the shortest round trip (the algorithm of NTP, RFC 5905)."""
        here = clock_facts()
        if all(self.facts.get(key) == here[key] for key in ("boot_id", "time_namespace")) and here["boot_id"]:
            return ClockOffset(0.0, 0.0, True)
        best = ClockOffset(0.0, float("inf"), False)
        for _ in range(exchanges):
            t1 = time.monotonic()
            answer = self.talk.ask("clock", timeout_s, t1=t1)
            t4 = time.monotonic()
            t2, t3 = float(answer["t2"]), float(answer["t3"])
            bound = ((t4 - t1) - (t3 - t2)) / 2
            if bound < best.bound_s:
                best = ClockOffset(((t2 - t1) + (t3 - t4)) / 2, bound, False)
        return best


@dataclass(slots=True)
class SamplerHandle:
    """One process sampler in one node; see harness.agent.sampler for what a sample holds.

    Attributes:
        talk: the conversation with it.
        errors: what it could not do.
    """

    talk: Conversation
    errors: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def start(
        cls, lab: Runtime, node: str, archive: str, on_sample: Callable[[str, Mapping[str, Any]], None]
    ) -> SamplerHandle:
        """Start a sampler in a node (or in WAN); `on_sample` gets the node and every sample or "vanished" message."""
        log = f"sampler-{node}"
        errors: list[Mapping[str, Any]] = []

        def unasked(message: Mapping[str, Any]) -> None:
            if message.get("type") == "error":
                errors.append(message)
            else:
                on_sample(node, message)

        process = lab.start(node, [lab.python, archive, "sample"], log=log)
        name = f"sampler at {node}"
        return cls(Conversation(name, process, log_tail=lambda: lab.log_text(log), unasked=unasked), errors)

    def watch(self, processes: Mapping[str, int], *, lightly: Collection[str] = ()) -> None:
        """Sample these processes (pids as the node sees them) and their descendants from now on.

        Args:
            lightly: names of those whose memory and descriptors are not read.
        """
        self.talk.tell({"watch": dict(processes), "lightly": [name for name in processes if name in lightly]})

    def forget(self, names: Iterable[str]) -> None:
        """Sample these no longer."""
        self.talk.tell({"forget": list(names)})

    def stop(self) -> None:
        """End the sampler."""
        self.talk.end(2.0)


def in_parallel(items: Iterable[_T], action: Callable[[_T], _R], *, width: int = 32) -> list[_R]:
    """Apply an action to all items at the same time, results in order.

    All actions end before the first failure (in the order of the items) is raised.
    """
    wanted = list(items)
    with ThreadPoolExecutor(max_workers=max(1, min(width, len(wanted))), thread_name_prefix="agents") as pool:
        futures = [pool.submit(action, item) for item in wanted]
    return [future.result() for future in futures]
