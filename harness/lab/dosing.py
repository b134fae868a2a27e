"""One dose in one set of fresh processes: blocks of operations, and readings at rest between them.

A set is the client, and the server if the dose has one. Sets of one cell may run at the same time: each has topics of
its own, and what is read is each process's own memory.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from harness.bus.protocol import Bus
from harness.errors import AgentFailure, HarnessError
from harness.lab.agents import AgentHandle, in_parallel
from harness.lab.disturb import Disturbance, Lockstep, NeverEnded, make_disturbance
from harness.lab.guard import LinkGuard
from harness.lab.observer import Observer
from harness.links.protocol import LinkShaper
from harness.memory.attribution import Traced
from harness.plan.cell import AgentPlan, CellPlan
from harness.plan.memory import DosePlan, MemoryPlan
from harness.runtime.protocol import Runtime
from harness.stack.build import StackEnvironment
from harness.store.samples import READING_SCHEMA
from harness.store.writer import CellWriter

__all__ = ["ENVIRONMENT", "Asked", "Dosing", "MemoryBench", "Rests", "Taken"]

#: Readings after long rests, by role.
Rests = Mapping[str, Sequence[Mapping[str, Any]]]

#: Pinned in every dosed process: one malloc arena, the allocator whose blocks are counted, and no per-thread caches of
#: freed memory, which glibc counts as in use: over 20 threads they fill for minutes, 10 KiB per block (measured).
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "PYTHONMALLOC": "pymalloc",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
_COLUMNS = set(READING_SCHEMA.names)
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class MemoryBench:
    """Where doses are given.

    Attributes:
        lab, shaper, guard, buses: of the cell.
        archive: path of the agent archive in each node.
        environments, stack_env: as in harness.lab.cell.CellSettings.
    """

    lab: Runtime
    shaper: LinkShaper
    guard: LinkGuard
    buses: Mapping[str, Bus]
    archive: Mapping[str, str]
    environments: Mapping[str, StackEnvironment]
    stack_env: Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class Taken:
    """What one set of fresh processes gave: readings by role, and how operations ended.

    Attributes:
        traced: by role, where allocations were traced.
        types, rested_types: (operations, count by type) by role, at every reading and after each rest.
        trouble: why the dose was not given to the end, "" if it was.
        seconds: how long it took.
    """

    readings: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    succeeded: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    types: dict[str, list[tuple[float, dict[str, int]]]] = field(default_factory=dict)
    rested_types: dict[str, list[tuple[float, dict[str, int]]]] = field(default_factory=dict)
    traced: dict[str, Traced] = field(default_factory=dict)
    rests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    trouble: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What to find out about a set of processes besides its readings.

    Attributes:
        types: count objects by type at every reading.
        holders: by role, types whose holders are asked for at the end; that role's allocations are traced until then.
        drain: rest before that end, so that what drains by itself is not taken for what leaks.
        again: of processes that rest before and after their blocks: whether these rests ask for another round.
    """

    types: bool = False
    holders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drain: bool = False
    again: Callable[[Rests], bool] = lambda rests: False


NOTHING = Asked()


class Dosing:
    """Gives doses to fresh processes. `give` may be called from several threads.

    Args:
        width: sets of processes at once; a set that rests is not counted.
    """

    def __init__(
        self, plan: CellPlan, memory: MemoryPlan, bench: MemoryBench, writer: CellWriter, observer: Observer, width: int
    ) -> None:
        self._plan = plan
        self._memory = memory
        self._bench = bench
        self._writer = writer
        self._observer = observer
        self._room = threading.BoundedSemaphore(width)
        self._telling = threading.Lock()
        self._numbers = itertools.count(1)
        self._running: set[AgentHandle] = set()
        self._given_up = threading.Event()

    def say(self, text: str) -> None:
        """Tell whoever watches the run."""
        with self._telling:
            self._observer.phase(self._plan.id, text)

    def give(
        self,
        dose: DosePlan,
        level: int,
        repetition: int,
        *,
        purpose: str = "measure",
        blocks: int | None = None,
        asked: Asked = NOTHING,
        step: Lockstep | None = None,
    ) -> Taken:
        """Give a set of fresh processes its warm-up and its blocks.

        Args:
            level: how often the dose is doubled.
            purpose: "measure", "confirm" (rests before and after its blocks) or "trace".
            asked: what to find out besides readings.
            step: sets that go in step: they are counted by it, not by the width.

        Raises:
            HarnessError: a process died, or the bus failed.
        """
        start = time.monotonic()
        with self._room if step is None else step:
            number = next(self._numbers)
            labels = {"purpose": purpose, "level": level, "repetition": repetition}
            one = _Set(self, dose, number, dose.count << level, labels, asked)
            memory = self._memory
            blocks = memory.blocks if blocks is None else blocks
            again = f", dose x{1 << level}" if level else ""
            of = f" of {memory.repetitions}" if purpose == "measure" else f" ({purpose})"
            given = f"{memory.warmup_blocks}+{blocks} blocks of {one.count}{again}"
            self.say(f"{dose.name}: process {repetition}{of}, {given}")
            try:
                taken = one.run(blocks, step)
            except HarnessError as error:
                raise _named(error, f"dose {dose.name}, process {repetition}{of}") from error
        taken.seconds = time.monotonic() - start
        return taken

    def give_up(self) -> None:
        """End the processes under way at once: something else has failed, or the run was interrupted."""
        self._given_up.set()
        with self._telling:
            running = list(self._running)
        for agent in running:
            agent.process.signal(signal.SIGKILL)

    # -- what a set of processes needs --------------------------------------------------------------------------------

    @property
    def memory(self) -> MemoryPlan:
        """The plan of all doses."""
        return self._memory

    def disturbance(self, dose: DosePlan, number: int, step: Lockstep | None) -> AbstractContextManager[Disturbance]:
        """What the dose's event asks for; see harness.lab.disturb."""
        return make_disturbance(dose, number, self._bench, self._plan, step)

    def start(self, plan: AgentPlan, number: int, url: Mapping[str, str]) -> AgentHandle:
        """Start an agent of a set and hand it its task: on topics of that set alone."""
        bench = self._bench
        agent = AgentHandle.start(
            bench.lab,
            plan.node,
            f"{plan.name}-{number}",
            str(bench.environments[plan.stack].python),
            bench.archive[plan.node],
            env={**ENVIRONMENT, **bench.stack_env[plan.stack]},
        )
        with self._telling:
            self._running.add(agent)
        try:
            if self._given_up.is_set():
                raise AgentFailure("not begun: something else has failed", where=agent.name)
            facts = dict(agent.hello())
            with self._telling:
                self._writer.set_agent(plan.index, facts=facts)
            own = url.get(plan.role) or bench.buses[plan.bus].url(plan.bus_node)
            topics = [{**topic, "topic": f"{topic['topic']}-{number:04}"} for topic in plan.task["topics"]]
            agent.prepare({**plan.task, "topics": topics, "url": own, "record": ""})
        except BaseException:
            self.stop(agent)
            raise
        return agent

    def stop(self, agent: AgentHandle) -> None:
        """End an agent of a set."""
        agent.stop(_STOP_S)
        with self._telling:
            self._running.discard(agent)

    def keep(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Record readings."""
        with self._telling:
            self._writer.add_readings(rows)

    def rest(self, seconds: float) -> None:
        """Let time pass, and another set use the machine meanwhile."""
        self._room.release()
        try:
            self._given_up.wait(seconds)
        finally:
            self._room.acquire()


class _Set:
    """A set of fresh processes under one dose."""

    def __init__(
        self, dosing: Dosing, dose: DosePlan, number: int, count: int, labels: Mapping[str, Any], asked: Asked
    ) -> None:
        self.dosing = dosing
        self.dose = dose
        self.number = number
        self.count = count
        self.labels = labels
        self.asked = asked
        self.agents: dict[str, AgentHandle] = {}
        self.taken = Taken()

    def run(self, blocks: int, step: Lockstep | None) -> Taken:
        with self.dosing.disturbance(self.dose, self.number, step) as disturbance:
            try:
                for plan in (self.dose.server, self.dose.client):
                    if plan is not None:
                        self.agents[plan.role] = self.dosing.start(plan, self.number, disturbance.url)
                self.taken.readings = {role: [] for role in self.agents}
                self.taken.types = {role: [] for role in self.agents}
                self.taken.rested_types = {role: [] for role in self.agents}
                try:
                    self._give(disturbance, blocks)
                except NeverEnded as error:
                    self.taken.trouble = error.what
                    if step is not None:
                        step.abort()
                report = self.agents["client"].report()
                self.taken.succeeded, self.taken.failed = report.done, Counter(report.failed)
            finally:
                in_parallel(self.agents.values(), self.dosing.stop)
        return self.taken

    def _give(self, disturbance: Disturbance, blocks: int) -> None:
        memory, taken, agents, asked = self.dosing.memory, self.taken, self.agents, self.asked
        block, last = -memory.warmup_blocks, blocks
        while block < last:
            block += 1
            disturbance.perform(agents["client"], self.count)
            operations = (block + memory.warmup_blocks) * self.count
            rows = self._read(operations, block)
            self.dosing.keep(rows.values())
            if block < 0:
                continue
            for role, row in rows.items():
                taken.readings[role].append(row)
                if asked.types:
                    taken.types[role].append((operations, self._types(role)))
            if self.labels["purpose"] == "confirm" and memory.rest_s and block in (0, last):
                self._rest(operations, block)
                if block == blocks and asked.again(taken.rests):
                    last += blocks
            if block == 0:
                for role in asked.holders:
                    agents[role].inspect("trace")
        if asked.drain:
            self._pass("for what drains to be gone")
        for role, wanted in asked.holders.items():
            sites = agents[role].inspect("trace")["sites"]
            told = agents[role].inspect("origins", names=list(wanted))
            told = {name: told[name] for name in ("holders", "allocated", "grown", "opened")}
            taken.traced[role] = Traced(operations=float(self.count * blocks), sites=sites, **told)

    def _pass(self, why: str) -> None:
        """Rest for longer than the client's time-outs."""
        seconds = self.dosing.memory.rest_s
        self.dosing.say(f"{self.dose.name}: resting {seconds:g} s, {why}")
        self.dosing.rest(seconds)

    def _types(self, role: str) -> dict[str, int]:
        return dict(self.agents[role].inspect("types")["types"])

    def _rest(self, operations: int, block: int) -> None:
        """A reading after a rest: what drains by itself has not leaked."""
        self._pass("to see whether it drains")
        rested = self._read(operations, block)
        for role, row in rested.items():
            row["purpose"] = "rest"
            self.taken.rests.setdefault(role, []).append(row)
            if self.asked.types:
                self.taken.rested_types[role].append((operations, self._types(role)))
        self.dosing.keep(rested.values())

    def _read(self, operations: int, block: int) -> dict[str, dict[str, Any]]:
        """A reading of each process at rest."""
        # A call has reached its server when it is answered; a cast only some time after it was sent.
        if "server" in self.agents and self.dose.client.task["pattern"] in ("rpc-cast", "rpc-fanout", "notify"):
            _settled(self.agents["server"])
        pause_s = self.dosing.memory.pause_s
        answers = in_parallel(self.agents.values(), lambda agent: agent.quiesce(30.0, pause_s=pause_s))
        rows = {}
        for (role, agent), answer in zip(self.agents.items(), answers, strict=True):
            if not answer["drained"]:
                raise NeverEnded(f"{answer['in_flight']} operations never ended", where=agent.name)
            kept = {key: value for key, value in answer["reading"].items() if key in _COLUMNS}
            rows[role] = {"dose": self.dose.name, "role": role, "operations": operations, **kept}
            rows[role] |= {**self.labels, "block": block}
        return rows


def _settled(server: AgentHandle, most_s: float = 10.0) -> None:
    """Wait until a server has received what was sent: its count stays."""
    deadline, before = time.monotonic() + most_s, -1
    while time.monotonic() < deadline:
        received = server.report().sent
        if received == before:
            return
        before = received
        time.sleep(0.1)


def _named(error: HarnessError, what: str) -> HarnessError:
    """The same error, saying in which process it struck."""
    error.args = (f"{what}: {error}",)
    error.what = f"{what}: {error.what}"
    return error
