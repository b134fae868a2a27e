"""The figures cells are compared by: one value per cell and metric, from its findings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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


def cell_metrics(cell: CellFinding) -> dict[Metric, float]:
    """All figures of a cell; one that could not be measured is left out."""
    found = [*_latency(cell), *_throughput(cell), *_delivery(cell), *_recovery(cell), *_resources(cell)]
    return {metric: value for metric, value in found if math.isfinite(value)}


def _latency(cell: CellFinding) -> Iterator[tuple[Metric, float]]:
    for pair, summary in cell.latencies.items():
        for name, value in (("p50", summary.p50_ms), ("p99", summary.p99_ms)):
            if value > 0:
                yield Metric("latency", pair.label, name, "ms"), value


def _throughput(cell: CellFinding) -> Iterator[tuple[Metric, float]]:
    seconds = cell.phases["duration_s"]
    for workload in dict.fromkeys(pair.workload for pair in cell.succeeded):
        done = sum(count for pair, count in cell.succeeded.items() if pair.workload == workload)
        if done and seconds > 0:
            yield Metric("throughput", workload, "rate", "1/s", better="higher"), done / seconds


def _delivery(cell: CellFinding) -> Iterator[tuple[Metric, float]]:
    for workload in dict.fromkeys(cell.agents[row.agent].workload for row in cell.ledger.rows):
        rows = [row for row in cell.ledger.rows if cell.agents[row.agent].workload == workload]
        started = sum(row.started for row in rows)
        if not started:
            continue
        for name, count in (
            ("lost share", sum(row.lost for row in rows)),
            ("failed share", sum(row.failed + max(row.unfinished, 0) for row in rows)),
            ("duplicated share", sum(row.duplicated for row in rows)),
        ):
            metric = Metric("delivery", workload, name, "share", scale="difference", tolerance=_SHARE)
            yield metric, count / started


def _recovery(cell: CellFinding) -> Iterator[tuple[Metric, float]]:
    """The worst over all faults; a rate that was not seen back counts as long as it was watched."""
    for workload in dict.fromkeys(recovery.workload for recovery in cell.recoveries):
        own = [recovery for recovery in cell.recoveries if recovery.workload == workload and recovery.rate_per_s > 0]
        if not own:
            continue
        for name, value in (
            ("slowest return to rate", max(recovery.at_least_s for recovery in own)),
            ("longest interruption", max(recovery.interruption_s for recovery in own)),
        ):
            yield Metric("recovery", workload, name, "s", scale="difference", tolerance=_RECOVERY_S), value


def _resources(cell: CellFinding) -> Iterator[tuple[Metric, float]]:
    for role, one, every in _ROLES:
        own = cell.resources[cell.resources["role"] == role]
        if own.empty:
            continue
        ends = own["anonymous_mib_end"]
        memory = float(ends.sum() if role == "bus" else ends.median())
        if memory > 0:
            yield Metric("memory", one, "own memory", "MiB"), memory
        cores = float(own["cpu_cores"].sum())
        if cores > 0:
            yield Metric("cpu", every, "CPU", "cores"), cores
