"""The figures cells are compared by: one per cell and metric, from its findings, with what is said against it.

Where the load itself differs between the sides, a rate is what was asked for, and CPU grows with it: there an open
loop's rate is compared as the share of the operations due that succeeded, and CPU per operation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness.analysis.comparison import TOLERANCE, Figure
from harness.analysis.soundness import below_floor, late_share_ms, left_out, unsteady

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.analysis.comparison import Better, Scale
    from harness.report.findings import CellFinding

__all__ = ["KINDS", "Metric", "cell_metrics"]

Kind = Literal["latency", "throughput", "delivery", "recovery", "memory", "cpu"]
#: Kinds in the order reports show them. Corrections for many comparisons are made within a kind.
KINDS: tuple[Kind, ...] = ("latency", "throughput", "delivery", "recovery", "memory", "cpu")
#: Differences in shares of lost, failed or duplicated messages up to this are of no interest (1 in 1,000).
_SHARE = 0.001
#: Differences in times of recovery up to this are of no interest, seconds.
_RECOVERY_S = 0.5
#: What CPU time is counted in, seconds (proc(5): clock ticks).
_TICK_S = 0.01
#: Role, what its memory is measured on, what its CPU is measured on.
_ROLES = (
    ("client", "a client process", "all clients"),
    ("server", "a server process", "all servers"),
    ("bus", "the whole bus", "the whole bus"),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with a direction.

    Attributes:
        kind: which question it belongs to.
        subject: what it is measured on: a pair of sites, a workload, a kind of process.
        name: the figure: "p50", "p99", "rate", "lost share", "own memory", "CPU".
        unit: "ms", "1/s", "share", "s", "MiB", "cores".
        better: which direction is an improvement.
        scale: whether sides are compared by ratio or by difference.
        tolerance: None for the comparison's own, else in the metric's unit.
    """

    kind: Kind
    subject: str
    name: str
    unit: str
    better: Better = "lower"
    scale: Scale = "ratio"
    tolerance: float | None = None

    @property
    def label(self) -> str:
        """For people: "p50 of local-call, edge-a to edge-a"."""
        return f"{self.name} of {self.subject}"


def cell_metrics(cell: CellFinding, *, load_differs: bool = False) -> dict[Metric, Figure]:
    """All figures of a cell; one that could not be measured is left out.

    Args:
        cell: the cell.
        load_differs: whether it is compared with one of another load.
    """
    found = [
        *_latency(cell),
        *_throughput(cell, load_differs),
        *_delivery(cell),
        *_recovery(cell),
        *_resources(cell, load_differs),
    ]
    return {metric: figure for metric, figure in found if math.isfinite(figure.value)}


def _latency(cell: CellFinding) -> Iterator[tuple[Metric, Figure]]:
    for pair, summary in cell.latencies.items():
        delay, starved = cell.delays[pair], cell.starved[pair]
        untrue = below_floor(summary.p50_ms, cell.floors_ms[pair] / 1e3)
        if summary.negative:
            untrue = f"{summary.negative} latencies are negative"
        drifted = unsteady(cell.timelines[pair])
        absent = cell.attempted[pair] - cell.succeeded[pair]
        for name, value, at_most, late in (
            ("p50", summary.p50_ms, summary.p50_at_most_ms, delay.p50_ms),
            ("p99", summary.p99_ms, summary.p99_at_most_ms, delay.p99_ms),
        ):
            if not value > 0:
                continue
            figure = Figure.exact(value)
            if untrue:
                figure = Figure(value, 0.0, value, untrue)
            elif drifted:
                figure = Figure(value, value, value, drifted)
            if not untrue and (added := late_share_ms(late, value, summary.p50_ms, starved)):
                figure = Figure(value, value - added, value, f"the load generator was late by {added:.3g} ms ({name})")
            if flattered := left_out(value, at_most, absent, cell.attempted[pair]):
                figure = replace(figure, high=at_most, doubt=flattered)
            yield Metric("latency", pair.label, name, "ms"), figure


def _throughput(cell: CellFinding, load_differs: bool) -> Iterator[tuple[Metric, Figure]]:
    seconds = cell.phases["duration_s"]
    for workload in dict.fromkeys(pair.workload for pair in cell.succeeded):
        done = sum(count for pair, count in cell.succeeded.items() if pair.workload == workload)
        due = sum(count for pair, count in cell.attempted.items() if pair.workload == workload)
        if not done or seconds <= 0:
            continue
        if load_differs and not _closed(cell, workload):
            metric = Metric("throughput", workload, "rate over offered", "share", better="higher")
            yield metric, Figure.exact(done / due)
        else:
            yield Metric("throughput", workload, "rate", "1/s", better="higher"), Figure.exact(done / seconds)


def _closed(cell: CellFinding, workload: str) -> bool:
    """Whether clients wait for an answer before they go on: their rate is a result, not a wish."""
    clients = [agent for agent in cell.agents.values() if agent.workload == workload and agent.role == "client"]
    return any((agent.task.get("schedule") or {}).get("kind") == "closed" for agent in clients)


def _delivery(cell: CellFinding) -> Iterator[tuple[Metric, Figure]]:
    for workload in dict.fromkeys(cell.agents[row.agent].workload for row in cell.ledger.rows):
        rows = [row for row in cell.ledger.rows if cell.agents[row.agent].workload == workload]
        started = sum(row.started for row in rows)
        if not started:
            continue
        counts = {
            "lost share": sum(row.lost for row in rows),
            "failed share": sum(row.failed + max(row.unfinished, 0) for row in rows),
            "duplicated share": sum(row.duplicated for row in rows),
        }
        if any(cell.agents[row.agent].task.get("ttl_s") is not None for row in rows):
            counts["expired share"] = sum(row.expired for row in rows)
        for name, count in counts.items():
            metric = Metric("delivery", workload, name, "share", scale="difference", tolerance=_SHARE)
            yield metric, Figure.exact(count / started)


def _recovery(cell: CellFinding) -> Iterator[tuple[Metric, Figure]]:
    """The worst over all faults; of what was not seen to end is known how long it lasted at least."""
    for workload in dict.fromkeys(recovery.workload for recovery in cell.recoveries):
        own = [recovery for recovery in cell.recoveries if recovery.workload == workload and recovery.rate_per_s > 0]
        if not own:
            continue
        never = "never seen back to rate, the time is how long it was watched"
        silent = "no success was seen after a fault, the time is how long it was watched"
        for name, value, ended, why in (
            ("slowest return to rate", max(r.at_least_s for r in own), all(r.back_s == r.back_s for r in own), never),
            (
                "longest interruption",
                max(r.interruption_s for r in own),
                all(r.first_success_s == r.first_success_s for r in own),
                silent,
            ),
        ):
            metric = Metric("recovery", workload, name, "s", scale="difference", tolerance=_RECOVERY_S)
            yield metric, Figure.exact(value) if ended else Figure(value, value, math.inf, why)


def _resources(cell: CellFinding, load_differs: bool) -> Iterator[tuple[Metric, Figure]]:
    for role, one, every in _ROLES:
        own = cell.resources[cell.resources["role"] == role]
        if own.empty:
            continue
        ends = own["anonymous_mib_end"]
        memory = float(ends.sum() if role == "bus" else ends.median())
        if memory > 0:
            yield Metric("memory", one, "own memory", "MiB"), Figure.exact(memory)
        cores, seconds = float(own["cpu_cores"].sum(min_count=1)), cell.phases["duration_s"]
        if seconds <= 0 or not math.isfinite(cores):
            continue
        metric, unit = Metric("cpu", every, "CPU", "cores"), 1.0
        if load_differs:
            if not cell.operations:
                continue
            metric, unit = Metric("cpu", every, "CPU per operation", "ms"), seconds / cell.operations * 1e3
        yield metric, _counted(cores, _TICK_S / seconds * math.sqrt(len(own)), unit)


def _counted(cores: float, tick: float, unit: float) -> Figure:
    """CPU that was counted in ticks: it may be a tick more or less, which matters where there were few."""
    if cores * TOLERANCE >= tick:
        return Figure.exact(cores * unit)
    why = f"so little CPU that ticks of {_TICK_S * 1e3:.0f} ms do not resolve it"
    return Figure(max(cores, tick) * unit, max(cores - tick, 0.0) * unit, (cores + tick) * unit, why)
