"""Carries out the doses of a memory cell: fresh processes, blocks of operations, readings at rest, verdicts.

Per dose: R fresh processes (client and server) get warm-up blocks and K blocks of equal dose; between blocks they
drain, collect garbage and are read. A verdict that stays open is asked again with the dose doubled, up to a cap. A
leak is followed by runs of their own that say what leaks, and whether it still grows with twice the dose.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.analysis.leak import METRICS, State
from harness.bus.protocol import Bus
from harness.errors import AgentFailure, HarnessError
from harness.lab.agents import AgentHandle, in_parallel
from harness.lab.disturb import make_disturbance
from harness.lab.observer import Observer
from harness.links.protocol import LinkShaper
from harness.memory.attribution import attribute, growing_types
from harness.memory.host_calibration import read_calibration
from harness.memory.result import Attribution, DoseResult, MemoryResult, RoleResult, judge_role, worst
from harness.model.memory import KINDS
from harness.plan.cell import AgentPlan, CellPlan
from harness.plan.memory import DosePlan, MemoryPlan
from harness.runtime.protocol import Runtime
from harness.stack.build import StackEnvironment
from harness.store import facts
from harness.store.samples import READING_SCHEMA
from harness.store.writer import CellWriter

__all__ = ["MemoryBench", "run_doses"]

#: Pinned in every dosed process: one malloc arena, the allocator whose blocks are counted, and no per-thread caches of
#: freed memory, which glibc counts as in use: over 20 threads they fill for minutes, 10 KiB per block (measured).
_ENV = {
    "MALLOC_ARENA_MAX": "1",
    "PYTHONMALLOC": "pymalloc",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
_COLUMNS = set(READING_SCHEMA.names)
_STOP_S = 5.0
#: Blocks of the run in which allocations are traced: it is slow, and slopes are known by then.
_TRACED_BLOCKS = 4
#: Types whose holders are asked for.
_MOST_TYPES = 4


@dataclass(frozen=True, slots=True)
class MemoryBench:
    """Where doses are given.

    Attributes:
        lab, shaper, buses: of the cell.
        archive: path of the agent archive in each node.
        environments, stack_env: as in harness.lab.cell.CellSettings.
    """

    lab: Runtime
    shaper: LinkShaper
    buses: Mapping[str, Bus]
    archive: Mapping[str, str]
    environments: Mapping[str, StackEnvironment]
    stack_env: Mapping[str, Mapping[str, str]]


@dataclass(slots=True)
class _Taken:
    """What one set of fresh processes gave: readings by role, and how operations ended."""

    readings: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    succeeded: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    types: dict[str, list[tuple[float, dict[str, int]]]] = field(default_factory=dict)
    sites: dict[str, tuple[float, list[Any]]] = field(default_factory=dict)
    holders: dict[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    rests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def run_doses(plan: CellPlan, bench: MemoryBench, writer: CellWriter, observer: Observer) -> MemoryResult:
    """Give every dose of a memory cell and record readings and verdicts.

    Raises:
        HarnessError: a process died, a bus failed; readings until then are kept by the writer.
    """
    assert plan.memory is not None
    writer.go(int(time.monotonic() * 1e9))
    writer.set("memory_environment", _ENV)
    run = _Doses(plan, plan.memory, bench, writer, observer)
    result = run.result()
    writer.set(facts.MEMORY, result.to_json())
    return result


class _Doses:
    def __init__(
        self, plan: CellPlan, memory: MemoryPlan, bench: MemoryBench, writer: CellWriter, observer: Observer
    ) -> None:
        self.plan = plan
        self.memory = memory
        self.bench = bench
        self.writer = writer
        self.observer = observer
        self.number = 0

    def result(self) -> MemoryResult:
        began = {dose.name: 0.0 for dose in self.memory.doses}
        taken: dict[str, list[_Taken]] = {dose.name: [] for dose in self.memory.doses}
        # Repetition by repetition over all doses, so that drift of the machine meets all alike.
        for repetition in range(1, self.memory.repetitions + 1):
            for dose in self.memory.doses:
                start = time.monotonic()
                taken[dose.name].append(self._measure(dose, 0, repetition))
                began[dose.name] += time.monotonic() - start
        calibration = read_calibration()
        return MemoryResult(
            tuple(self._settle(d, taken[d.name], began[d.name]) for d in self.memory.doses),
            calibration.sentence() if calibration else "",
        )

    def _settle(self, dose: DosePlan, taken: list[_Taken], seconds: float) -> DoseResult:
        """The verdict on a dose; doubles it while that is open, and attributes a leak."""
        start = time.monotonic() - seconds
        level = 0
        result = self._judge(dose, taken, level)
        while True:
            state = _state(result)
            if state == "leak" and (self.memory.attribute or self.memory.rest_s):
                result = self._attributed(dose, result, level)
                state = _state(result)
            if state != "inconclusive" or level >= self.memory.doublings or result.trouble:
                return replace(result, seconds=round(time.monotonic() - start, 1))
            level += 1
            taken = [self._measure(dose, level, number) for number in range(1, self.memory.repetitions + 1)]
            result = self._judge(dose, taken, level)

    def _judge(self, dose: DosePlan, taken: Sequence[_Taken], level: int) -> DoseResult:
        succeeded = sum(one.succeeded for one in taken)
        failed = sum((one.failed for one in taken), Counter[str]())
        trouble = _trouble(dose, succeeded, failed)
        roles = tuple(
            judge_role(role, [one.readings[role] for one in taken], dose.limits, trouble) for role in taken[0].readings
        )
        for role in roles:
            self.say(f"{dose.name}, {role.role}: {role.verdict.state} ({role.verdict.why})")
        return DoseResult(
            name=dose.name,
            kind=dose.kind,
            about=KINDS[dose.kind].about,
            count=dose.count << level,
            operations=(dose.count << level) * self.memory.blocks,
            level=level,
            repetitions=len(taken),
            roles=roles,
            succeeded=succeeded,
            failed=dict(failed),
            trouble=trouble,
            seconds=0.0,
        )

    def _attributed(self, dose: DosePlan, result: DoseResult, level: int) -> DoseResult:
        """The result with what leaks in it; a leak that twice the dose does not show is open again."""
        self.say(f"{dose.name}: finding out whether the growth lasts, and what leaks")
        leaking = [role for role in result.roles if role.verdict.state == "leak"]
        counted = self._process(dose, level + 1, 1, purpose="confirm", types=True)
        names = {
            role.role: [str(one["type"]) for one in growing_types(counted.types[role.role])[:_MOST_TYPES]]
            for role in leaking
        }
        traced = _Taken()
        if self.memory.attribute:
            traced = self._process(dose, level, 1, purpose="trace", blocks=_TRACED_BLOCKS, names=names)
        roles = []
        for role in result.roles:
            if role in leaking:
                finding = attribute(
                    role.verdict,
                    dose_about=KINDS[dose.kind].about,
                    readings=counted.readings[role.role],
                    types=counted.types[role.role],
                    holders=traced.holders.get(role.role, {}),
                    traced=traced.sites.get(role.role, (1.0, [])),
                    rests=counted.rests.get(role.role, ()),
                )
                roles.append(_confirmed(role, finding))
            else:
                roles.append(role)
        return replace(result, roles=tuple(roles))

    # -- one set of processes ---------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self.observer.phase(self.plan.id, text)

    def _measure(self, dose: DosePlan, level: int, repetition: int) -> _Taken:
        return self._process(dose, level, repetition, purpose="measure")

    def _process(
        self,
        dose: DosePlan,
        level: int,
        repetition: int,
        *,
        purpose: str,
        blocks: int | None = None,
        types: bool = False,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> _Taken:
        """Give fresh processes their warm-up and their blocks.

        Args:
            types: count types at every reading.
            names: trace allocations, and at the end ask for holders of these types by role.
        """
        count, memory = dose.count << level, self.memory
        blocks = memory.blocks if blocks is None else blocks
        again = f", dose x{1 << level}" if level else ""
        of = f" of {memory.repetitions}" if purpose == "measure" else f" ({purpose})"
        self.say(f"{dose.name}: process {repetition}{of}, {memory.warmup_blocks}+{blocks} blocks of {count}{again}")
        agents: dict[str, AgentHandle] = {}
        with make_disturbance(dose, self.bench, self.plan) as disturbance:
            try:
                for plan in (dose.server, dose.client):
                    if plan is not None:
                        agents[plan.role] = self._start(plan, disturbance.url)
                taken = _Taken({role: [] for role in agents}, types={role: [] for role in agents})
                for block in range(1 - memory.warmup_blocks, blocks + 1):
                    disturbance.perform(agents["client"], count)
                    operations = (block + memory.warmup_blocks) * count
                    rows = self._read(agents, dose, operations)
                    for role, row in rows.items():
                        row |= {"purpose": purpose, "level": level, "repetition": repetition, "block": block}
                        if block >= 0:
                            taken.readings[role].append(row)
                        if block >= 0 and types:
                            taken.types[role].append((operations, dict(agents[role].inspect("types")["types"])))
                    self.writer.add_readings(rows.values())
                    if purpose == "confirm" and memory.rest_s and block in (0, blocks):
                        self._rest(agents, dose, operations, rows, taken)
                    if block == 0 and names is not None:
                        for role in names:
                            agents[role].inspect("trace")
                for role, wanted in (names or {}).items():
                    taken.sites[role] = (float(count * blocks), list(agents[role].inspect("trace")["sites"]))
                    taken.holders[role] = agents[role].inspect("holders", names=list(wanted))["holders"]
                report = agents["client"].report()
                taken.succeeded, taken.failed = report.done, Counter(report.failed)
            except HarnessError as error:
                raise _named(error, f"dose {dose.name}, process {repetition}{of}") from error
            finally:
                in_parallel(agents.values(), lambda agent: agent.stop(_STOP_S))
        return taken

    def _rest(
        self,
        agents: Mapping[str, AgentHandle],
        dose: DosePlan,
        operations: int,
        rows: Mapping[str, Mapping[str, Any]],
        taken: _Taken,
    ) -> None:
        """A reading after a rest longer than the client's time-outs: what drains by itself has not leaked."""
        self.say(f"{dose.name}: resting {self.memory.rest_s:g} s, to see whether it drains")
        time.sleep(self.memory.rest_s)
        rested = self._read(agents, dose, operations)
        for role, row in rested.items():
            taken.rests.setdefault(role, []).append({**rows[role], **row, "purpose": "rest"})
        self.writer.add_readings(taken.rests[role][-1] for role in rested)

    def _start(self, plan: AgentPlan, url: Mapping[str, str]) -> AgentHandle:
        self.number += 1
        bench = self.bench
        agent = AgentHandle.start(
            bench.lab,
            plan.node,
            f"{plan.name}-{self.number}",
            str(bench.environments[plan.stack].python),
            bench.archive[plan.node],
            env={**_ENV, **bench.stack_env[plan.stack]},
        )
        try:
            self.writer.set_agent(plan.index, facts=dict(agent.hello()))
            own = url.get(plan.role) or bench.buses[plan.bus].url(plan.bus_node)
            agent.prepare({**plan.task, "url": own, "record": ""})
        except BaseException:
            agent.stop(_STOP_S)
            raise
        return agent

    def _read(self, agents: Mapping[str, AgentHandle], dose: DosePlan, operations: int) -> dict[str, dict[str, Any]]:
        """A reading of each process at rest."""
        # A call has reached its server when it is answered; a cast only some time after it was sent.
        if "server" in agents and dose.client.task["pattern"] in ("rpc-cast", "rpc-fanout", "notify"):
            _settled(agents["server"])
        rows = {}
        answers = in_parallel(agents.values(), lambda agent: agent.quiesce(30.0, pause_s=self.memory.pause_s))
        for (role, agent), answer in zip(agents.items(), answers, strict=True):
            if not answer["drained"]:
                raise AgentFailure(f"{answer['in_flight']} operations never ended", where=agent.name)
            kept = {key: value for key, value in answer["reading"].items() if key in _COLUMNS}
            rows[role] = {"dose": dose.name, "role": role, "operations": operations, **kept}
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


def _state(result: DoseResult) -> State:
    return worst(role.verdict.state for role in result.roles)


def _trouble(dose: DosePlan, succeeded: int, failed: Mapping[str, int]) -> str:
    """Why the dose did not do what it should; time-outs are what one kind of dose is made of."""
    total = succeeded + sum(failed.values())
    if dose.kind == "timeout":
        return f"{succeeded} of {total} calls were answered, though nobody should" if succeeded else ""
    # Casts nobody takes may be refused or lost, by the driver's own rules; both are what is dosed.
    if dose.kind == "cast-nobody" or dose.event or succeeded * 2 >= total:
        return ""
    named = ", ".join(f"{name} {count}" for name, count in Counter(failed).most_common(3))
    return f"only {succeeded} of {total} operations succeeded ({named})"


def _confirmed(role: RoleResult, finding: Attribution) -> RoleResult:
    verdict = role.verdict
    if finding.drained:
        growths = {
            name: replace(g, state="clean", why="a backlog: it drains at rest") if g.state == "leak" else g
            for name, g in verdict.growths.items()
        }
        still = [g for g in growths.values() if g.state == "inconclusive" and METRICS[g.metric].decides == "always"]
        why = "; ".join(g.why for g in still) or "a backlog: at rest it drains by itself, by a time-out"
        verdict = replace(verdict, state="inconclusive" if still else "clean", growths=growths, why=why)
    elif not finding.lasting:
        why = "the growth did not go on when the dose was doubled"
        verdict = replace(verdict, state="inconclusive", why=why)
    return replace(role, verdict=verdict, attribution=finding)


def _named(error: HarnessError, what: str) -> HarnessError:
    """The same error, saying in which process it struck."""
    error.args = (f"{what}: {error}",)
    error.what = f"{what}: {error.what}"
    return error
