"""Doses for a callable: fresh processes by fork, blocks of calls, readings at rest, a verdict.

The processes are forked from the caller's, so that any callable can be dosed, closures and fixtures included; each
is fresh in that no dose has been given to it before. Figures that count, blocks and heap, are the child's own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from harness.agent import attribution
from harness.agent.reading import quiesced_reading
from harness.errors import AgentFailure, BadInput
from harness.memory.attribution import Traced, TypeCounts, attribute, confirmed, growing_types, telling
from harness.memory.backlog import another_round, growing, without_backlog
from harness.memory.result import Reading, RoleResult, judge_role
from harness.model.memory import Limits, limits_of

__all__ = ["CallableDose", "dose_callable", "suggested_count"]

#: A block should take about this long, so that a check of three processes takes some seconds.
_BLOCK_S = 0.05
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class CallableDose:
    """How a callable is dosed.

    Attributes:
        count: calls per block.
        blocks, warmup_blocks: measured, and before the first reading that counts.
        repetitions: processes.
        doublings: how often an undecided dose is doubled.
        limits: growth per call that is a leak, by metric.
        timeout_s: how long one process may take.
        pause_s: rest before each reading.
        rest_s: rest before and after the blocks of a process that is to confirm a leak: what drains meanwhile is none.
    """

    count: int
    blocks: int = 12
    warmup_blocks: int = 4
    repetitions: int = 3
    doublings: int = 2
    limits: Mapping[str, float] = field(default_factory=lambda: limits_of("call"))
    timeout_s: float = 300.0
    pause_s: float = 0.02
    rest_s: float = 5.0

    @classmethod
    def of(cls, count: int, *, cycle: bool, limits: Mapping[str, float], **figures: Any) -> CallableDose:
        """With the limits of messages or of cycles, and those given over them. Raises BadInput for an unknown one."""
        unknown = set(limits) - set(Limits.model_fields)
        if unknown:
            raise BadInput(f"no limit for {sorted(unknown)[0]!r}", expected="one of: " + ", ".join(Limits.model_fields))
        return cls(count, limits=limits_of("client" if cycle else "call", Limits(**limits)), **figures)


def suggested_count(action: Callable[[], object], least: int = 20) -> int:
    """How many calls make a block, from a few calls in a process of their own."""
    with _child(lambda out: _time_calls(action, out), 60.0) as lines:
        for line in lines:
            return max(least, min(_MOST, int(_BLOCK_S / max(float(line["seconds"]), 1e-7))))
    return least


def _time_calls(action: Callable[[], object], out: IO[str]) -> None:
    action()
    start = time.perf_counter()
    calls = 0
    while calls < 3 or (time.perf_counter() - start < 0.05 and calls < _MOST):
        action()
        calls += 1
    print(json.dumps({"seconds": (time.perf_counter() - start) / calls}), file=out, flush=True)


def dose_callable(action: Callable[[], object], dose: CallableDose) -> tuple[RoleResult, int]:
    """The verdict on a callable, and how often the dose was doubled.

    Raises:
        AgentFailure: a process died, hung, or the callable raised.
    """
    level = 0
    while True:
        count = dose.count << level
        runs = [_readings(action, dose, count) for _ in range(dose.repetitions)]
        result = judge_role("client", runs, dose.limits)
        if result.verdict.state == "leak" or (dose.rest_s and growing(result)):
            result = _confirmed(action, dose, count, result)
        if result.verdict.state != "inconclusive" or level >= dose.doublings:
            return result, level
        level += 1


def _readings(action: Callable[[], object], dose: CallableDose, count: int) -> list[Reading]:
    with _child(lambda out: _give(action, dose, count, dose.blocks, out), dose.timeout_s) as lines:
        return [line for line in lines if line["block"] >= 0]


def _give(action: Callable[[], object], dose: CallableDose, count: int, blocks: int, out: IO[str]) -> None:
    for block in range(1 - dose.warmup_blocks, blocks + 1):
        for _ in range(count):
            action()
        reading = quiesced_reading(dose.pause_s)
        reading |= {"block": block, "operations": (block + dose.warmup_blocks) * count}
        print(json.dumps(reading), file=out, flush=True)


def _confirmed(action: Callable[[], object], dose: CallableDose, count: int, result: RoleResult) -> RoleResult:
    """The result without what drains at rest, and with what leaks; a leak that twice the dose does not show is open."""
    timeout_s = 2 * dose.timeout_s + 3 * dose.rest_s
    with _child(lambda out: _count_types(action, dose, 2 * count, result, out), timeout_s) as lines:
        told = list(lines)
    counted, rests = [line for line in told if not line["rested"]], [line for line in told if line["rested"]]
    result = without_backlog(result, rests)
    if result.verdict.state != "leak":
        return result
    types, rested_types = _types(counted), _types(rests)
    grown = [str(one["type"]) for one in telling(growing_types(types, rested_types))[:4]]
    with _child(lambda out: _trace(action, dose, count, grown, out), dose.timeout_s + dose.rest_s) as lines:
        traced = Traced(**next(iter(lines)))
    finding = attribute(
        result.verdict,
        dose_about="a call of the function under test",
        readings=counted,
        types=types,
        rested_types=rested_types,
        traced=traced,
        rests=rests,
    )
    return confirmed(result, finding)


def _types(lines: Sequence[Reading]) -> TypeCounts:
    return [(float(line["operations"]), line["types"]) for line in lines]


def _count_types(
    action: Callable[[], object], dose: CallableDose, count: int, result: RoleResult, out: IO[str]
) -> None:
    rests: list[Reading] = []
    block, last = -dose.warmup_blocks, dose.blocks
    while block < last:
        block += 1
        for _ in range(count):
            action()
        if block < 0:
            continue
        operations = (block + dose.warmup_blocks) * count
        _tell_types(operations, dose.pause_s, out, rested=False)
        if dose.rest_s and block in (0, last):
            time.sleep(dose.rest_s)
            rests.append(_tell_types(operations, dose.pause_s, out, rested=True))
            if block == dose.blocks and another_round(result, rests):
                last += dose.blocks


def _tell_types(operations: int, pause_s: float, out: IO[str], *, rested: bool) -> Reading:
    reading = quiesced_reading(pause_s) | {"operations": operations, "rested": rested}
    print(json.dumps({**reading, "types": attribution.count_types()}), file=out, flush=True)
    return reading


def _trace(action: Callable[[], object], dose: CallableDose, count: int, names: list[str], out: IO[str]) -> None:
    for _ in range(dose.warmup_blocks * count):
        action()
    # What a process was forked with is left out of the collector's sight; only here does it matter who holds what, and
    # what has grown.
    gc.unfreeze()
    attribution.start_tracing()
    before, _ = attribution.trace_growth(None)
    for _ in range(4 * count):
        action()
    time.sleep(dose.rest_s)  # what drains is not what leaks
    _, sites = attribution.trace_growth(before)
    told = {"operations": 4 * count, "sites": sites, **attribution.origins(names)}
    print(json.dumps(told), file=out, flush=True)


@contextlib.contextmanager
def _child(work: Callable[[IO[str]], None], timeout_s: float) -> Iterator[Iterator[dict[str, Any]]]:
    """Lines of JSON that `work` prints in a forked process. Raises AgentFailure if it does not end well."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # CPython 3.12 warns of forking with threads; a child that only calls what it is given takes no locks of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _live(work, write_end)
    os.close(write_end)
    status: int | None = None
    try:
        with os.fdopen(read_end, "rb", buffering=0) as pipe:
            lines = _lines(pipe, timeout_s)
            yield (line for line in lines if "error" not in line or _raise(line))
            for line in lines:
                if "error" in line:
                    _raise(line)
        status = os.waitpid(pid, 0)[1]
    finally:
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise AgentFailure(
            f"the dosed process died ({f'signal {-code}' if code < 0 else f'exit status {code}'})",
            where="client memory",
        )


def _live(work: Callable[[IO[str]], None], write_end: int) -> None:
    """The child's whole life; never returns."""
    code = 0
    try:
        with os.fdopen(write_end, "w", encoding="utf-8") as out:
            try:
                gc.collect()
                gc.freeze()
                work(out)
            except BaseException as error:
                told = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(limit=-6)}
                print(json.dumps(told), file=out, flush=True)
    except BaseException:
        code = 3
    os._exit(code)


def _raise(line: Mapping[str, Any]) -> bool:
    raise AgentFailure(f"the function under test raised {line['error']}\n{line['traceback']}", where="client memory")


def _lines(pipe: Any, timeout_s: float) -> Iterator[dict[str, Any]]:
    deadline, rest = time.monotonic() + timeout_s, b""
    while True:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AgentFailure(f"the dosed process did not end within {timeout_s:g} s", where="client memory")
        data = pipe.read(1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield json.loads(line)
