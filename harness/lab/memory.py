"""Carries out the doses of a memory cell: fresh processes, blocks of operations, readings at rest, verdicts.

Per dose: R fresh processes (client and server) get warm-up blocks and K blocks of equal dose; between blocks they
drain, collect garbage and are read. A verdict that stays open is asked again with the dose doubled, up to a cap. A
leak is followed by runs of their own that say what leaks, and whether it still grows with twice the dose.

As many sets of processes are under way at once as the host has processors: what is read at rest is each process's own
memory, which does not depend on how fast it was used. A dose that disturbs what all share, a link or the bus, goes
alone: all its repetitions at once, in step with each other.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

from harness.analysis.leak import State
from harness.errors import AgentFailure
from harness.lab.disturb import Lockstep
from harness.lab.dosing import ENVIRONMENT, Asked, Dosing, MemoryBench, Rests, Taken
from harness.lab.observer import Observer
from harness.memory.attribution import Traced, TypeCounts, attribute, confirmed, growing_types, telling
from harness.memory.backlog import another_round, growing, without_backlog
from harness.memory.host_calibration import read_calibration
from harness.memory.result import DoseResult, MemoryResult, RoleResult, judge_role, worst
from harness.model.memory import KINDS, SHARED_EVENTS
from harness.plan.cell import CellPlan
from harness.plan.memory import DosePlan, MemoryPlan
from harness.store import facts
from harness.store.writer import CellWriter

__all__ = ["MemoryBench", "run_doses"]

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Blocks of the run in which allocations are traced: it is slow, and slopes are known by then.
_TRACED_BLOCKS = 4
#: Types whose holders are asked for.
_MOST_TYPES = 4


def run_doses(plan: CellPlan, bench: MemoryBench, writer: CellWriter, observer: Observer) -> MemoryResult:
    """Give every dose of a memory cell and record readings and verdicts.

    Raises:
        HarnessError: a process died, a bus or the links failed; readings until then are kept by the writer.
    """
    assert plan.memory is not None
    writer.go(int(time.monotonic() * 1e9))
    width = plan.memory.parallel or len(os.sched_getaffinity(0))
    writer.set("memory_environment", {**ENVIRONMENT, "sets_at_once": str(width)})
    dosing = Dosing(plan, plan.memory, bench, writer, observer, width)
    with bench.guard.ending(dosing.give_up):
        result = _Doses(plan.memory, dosing, width).result()
    writer.set(facts.MEMORY, result.to_json())
    return result


class _Doses:
    def __init__(self, memory: MemoryPlan, dosing: Dosing, width: int) -> None:
        self.memory = memory
        self.dosing = dosing
        self.width = width

    def result(self) -> MemoryResult:
        alone = [dose for dose in self.memory.doses if dose.event in SHARED_EVENTS]
        together = [dose for dose in self.memory.doses if dose.event not in SHARED_EVENTS]
        found = self._results(together)
        for dose in alone:
            found[dose.name] = self._settle(dose, self._repeat(dose, 0))
        calibration = read_calibration()
        return MemoryResult(
            tuple(found[dose.name] for dose in self.memory.doses), calibration.sentence() if calibration else ""
        )

    def _results(self, doses: Sequence[DosePlan]) -> dict[str, DoseResult]:
        """The verdicts on doses that do not disturb each other."""
        # Repetition by repetition over all doses, so that drift of the machine meets all alike.
        jobs = [(dose, number) for number in range(1, self.memory.repetitions + 1) for dose in doses]
        taken = self._each(jobs, self.width, lambda job: self.dosing.give(job[0], 0, job[1]))
        mine = {dose.name: [one for (d, _), one in zip(jobs, taken, strict=True) if d is dose] for dose in doses}
        settled = self._each(doses, len(doses), lambda dose: self._settle(dose, mine[dose.name]))
        return {result.name: result for result in settled}

    def _repeat(self, dose: DosePlan, level: int) -> list[Taken]:
        """Every repetition of a dose."""
        numbers = range(1, self.memory.repetitions + 1)
        if dose.event not in SHARED_EVENTS:
            return self._each(numbers, self.width, lambda number: self.dosing.give(dose, level, number))
        step = Lockstep(len(numbers))
        return self._each(numbers, len(numbers), lambda number: self.dosing.give(dose, level, number, step=step))

    def _each(self, items: Sequence[_T], width: int, action: Callable[[_T], _R]) -> list[_R]:
        """Apply an action to all items, so many at once, results in order. The first failure ends the others."""
        if not items:
            return []
        with ThreadPoolExecutor(max_workers=width, thread_name_prefix="doses") as pool:
            futures = [pool.submit(action, item) for item in items]
            try:
                ended = wait(futures, return_when=FIRST_EXCEPTION).done
                failed = [error for future in ended if (error := future.exception()) is not None]
                if failed:
                    raise failed[0]
            except BaseException:
                for future in futures:
                    future.cancel()
                self.dosing.give_up()
                raise
        return [future.result() for future in futures]

    def _settle(self, dose: DosePlan, taken: Sequence[Taken]) -> DoseResult:
        """The verdict on a dose; doubles it while that is open, and attributes a leak."""
        start = time.monotonic() - max(one.seconds for one in taken)
        level = 0
        result = self._judge(dose, taken, level)
        while True:
            state = _state(result)
            if state == "leak" and (self.memory.attribute or self.memory.rest_s):
                result = self._attributed(dose, result, level)
            elif self.memory.rest_s and any(growing(role) for role in result.roles):
                self.dosing.say(f"{dose.name}: finding out whether the growth is a backlog")
                counted = self._confirming(dose, result, level, types=False)
                result = _with_trouble(self._rested(result, counted), counted)
            state = _state(result)
            if state != "inconclusive" or level >= self.memory.doublings or result.trouble:
                return replace(result, seconds=round(time.monotonic() - start, 1))
            level += 1
            result = self._judge(dose, self._repeat(dose, level), level)

    def _judge(self, dose: DosePlan, taken: Sequence[Taken], level: int) -> DoseResult:
        succeeded = sum(one.succeeded for one in taken)
        failed = sum((one.failed for one in taken), Counter[str]())
        trouble = next((one.trouble for one in taken if one.trouble), "") or _trouble(dose, succeeded, failed)
        roles = tuple(
            judge_role(role, [one.readings[role] for one in taken], dose.limits, trouble) for role in taken[0].readings
        )
        for role in roles:
            self.dosing.say(f"{dose.name}, {role.role}: {role.verdict.state} ({role.verdict.why})")
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
        self.dosing.say(f"{dose.name}: finding out whether the growth lasts, and what leaks")
        counted = self._confirming(dose, result, level, types=True)
        result = _with_trouble(self._rested(result, counted), counted)
        leaking = [role for role in result.roles if role.verdict.state == "leak"]
        traced, untraced = self._traced(dose, leaking, counted, level)
        findings = {
            role.role: attribute(
                role.verdict,
                dose_about=KINDS[dose.kind].about,
                readings=counted.readings[role.role],
                types=counted.types[role.role],
                rested_types=counted.rested_types[role.role],
                traced=traced.traced.get(role.role, Traced()),
                rests=counted.rests.get(role.role, ()),
                untraced=untraced,
            )
            for role in leaking
        }
        roles = (confirmed(role, findings[role.role]) if role.role in findings else role for role in result.roles)
        return replace(result, roles=tuple(roles))

    def _confirming(self, dose: DosePlan, result: DoseResult, level: int, *, types: bool) -> Taken:
        """A set of processes given twice the dose, with rests before and after each round of blocks."""

        def again(rests: Rests) -> bool:
            return any(another_round(role, rests.get(role.role, ())) for role in result.roles)

        return self.dosing.give(dose, level + 1, 1, purpose="confirm", asked=Asked(types=types, again=again))

    def _traced(self, dose: DosePlan, leaking: Sequence[RoleResult], counted: Taken, level: int) -> tuple[Taken, str]:
        """Where allocations come from and who holds them, of processes of their own; and why not, "" if they were."""
        if not leaking or not self.memory.attribute:
            return Taken(), ""
        names = {role.role: _most(counted.types[role.role], counted.rested_types[role.role]) for role in leaking}
        drain = any(names[role] != _most(counted.types[role]) for role in names)
        asked = Asked(holders=names, drain=drain)
        try:
            return self.dosing.give(dose, level, 1, purpose="trace", blocks=_TRACED_BLOCKS, asked=asked), ""
        except AgentFailure as error:  # the verdict stands without it
            self.dosing.say(f"{dose.name}: allocations were not traced: {error.what}")
            return Taken(), error.what

    def _rested(self, result: DoseResult, counted: Taken) -> DoseResult:
        """The result of a dose without what drains at rest."""
        roles = tuple(without_backlog(role, counted.rests.get(role.role, ())) for role in result.roles)
        for before, role in zip(result.roles, roles, strict=True):
            if role is not before:
                self.dosing.say(f"{result.name}, {role.role}: {role.verdict.state} ({role.verdict.why})")
        return replace(result, roles=roles)


def _most(types: TypeCounts, rested: TypeCounts = ()) -> list[str]:
    """The types whose holders are asked for."""
    return [str(one["type"]) for one in telling(growing_types(types, rested))[:_MOST_TYPES]]


def _state(result: DoseResult) -> State:
    return worst(role.verdict.state for role in result.roles)


def _with_trouble(result: DoseResult, counted: Taken) -> DoseResult:
    """The result, which says so if twice the dose did not do what it should: a client that gets stuck is a symptom."""
    if result.trouble or not counted.trouble:
        return result
    return replace(result, trouble=f"given twice the dose, {counted.trouble}")


def _trouble(dose: DosePlan, succeeded: int, failed: Mapping[str, int]) -> str:
    """Why the dose did not do what it should, "" if it did."""
    total = succeeded + sum(failed.values())
    outcome = KINDS[dose.kind].outcome
    if outcome == "failure" and succeeded:
        return f"{succeeded} of {total} operations succeeded, though none should"
    if outcome == "success" and succeeded * 2 < total:
        named = ", ".join(f"{name} {count}" for name, count in Counter(failed).most_common(3))
        return f"only {succeeded} of {total} operations succeeded ({named})"
    return ""
