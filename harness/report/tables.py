"""The tables of a report as values: what they say is decided here, once for the terminal, Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analysis.resources import ENDS
from harness.report import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.report.findings import CellFinding, Findings, PairFinding, System

__all__ = ["Column", "Table", "run_tables"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: heading; with its unit where it has one.
        key: name in the CSV, units included.
        show: how a value is written; None for text.
        detail: whether narrow renderings may leave it out.
        csv_only: whether it stands in the CSV only.
    """

    name: str
    key: str
    show: Callable[[Any], str] | None = None
    detail: bool = False
    csv_only: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it is set right-aligned."""
        return self.show is not None

    def text(self, value: Any) -> str:
        """A value as it is written."""
        return self.show(value) if self.show else str(value)


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        id, title: what it is called.
        note: what a reader must know to read it.
        columns: its columns.
        rows: plain values.
        lead: how many leading columns name the group a row belongs to.
    """

    id: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    lead: int = 0

    def group(self, texts: Sequence[str]) -> str:
        """The heading of the group a row belongs to: "local-call, edge-a to core"."""
        first, *sites = texts[: self.lead]
        return f"{first}, {' to '.join(sites)}" if sites else first

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns a reader sees."""
        return tuple(column for column in self.columns if not column.csv_only)

    def texts(self) -> Iterator[list[str]]:
        """The rows as written, in the columns a reader sees."""
        for row in self.rows:
            yield [c.text(value) for c, value in zip(self.columns, row, strict=True) if not c.csv_only]

    def csv(self) -> str:
        """The rows as CSV with unrounded values; a missing figure is an empty field."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(column.key for column in self.columns)
        for row in self.rows:
            writer.writerow("" if value is None or value != value else value for value in row)
        return out.getvalue()


def run_tables(findings: Findings) -> list[Table]:
    """All tables of a run, in reading order; those without rows are left out."""
    from harness.report.delivery import deaf_table, failure_table, pair_delivery_table
    from harness.report.fanout import fanout_tables  # tables of their own, made of this module's Table
    from harness.report.growth import growth_tables
    from harness.report.memory import memory_tables
    from harness.report.recovery import recovery_table
    from harness.report.releases import release_tables

    tables = [
        *release_tables(findings),
        *memory_tables(findings.memory),
        *growth_tables(findings),
        latency_table(findings),
        *fanout_tables(findings),
        delivery_table(findings),
        deaf_table(findings),
        recovery_table(findings),
        failure_table(findings),
        pair_delivery_table(findings),
        resource_table(findings),
        link_table(findings),
        percentile_table(findings),
        doubt_table(findings),
        cell_table(findings),
    ]
    return [table for table in tables if table.rows]


def _by_pair(findings: Findings) -> list[PairFinding]:
    """Pair by pair, the systems of each below each other."""
    order, systems = findings.pair_order, [system.label for system in findings.systems]
    return sorted(findings.pairs, key=lambda f: (order.index(f.pair), systems.index(f.system.label)))


def latency_table(findings: Findings) -> Table:
    """Floor beside measured p50, system below system for each pair."""
    rows = tuple(
        (
            f.pair.workload,
            f.pair.client_site,
            f.pair.to,
            f.system.label,
            f.measure,
            f.floor_ms,
            f.headline.p50_ms,
            f.above_floor_ms,
            f.headline.p99_ms,
            f.headline.max_ms,
            f.headline.n,
            f.failed,
        )
        for f in _by_pair(findings)
    )
    return Table(
        "latency",
        "Latency by pair of sites",
        "In milliseconds. The floor is the least time the declared links allow on the way the messages take. "
        "Response: from when an operation was due until its answer; arrival: until the receiver had it; acceptance: "
        "until the bus took it. Failed operations are counted and are no latencies. Percentiles are of all repetitions "
        "together; verdicts compare those of single runs.",
        (
            Column("Workload", "workload"),
            Column("From", "client_site"),
            Column("To", "server_site"),
            Column("System", "system"),
            Column("Measure", "measure", detail=True),
            Column("Floor, ms", "floor_ms", numbers.ms),
            Column("p50, ms", "p50_ms", numbers.ms),
            Column("Above floor, ms", "above_floor_ms", numbers.ms),
            Column("p99, ms", "p99_ms", numbers.ms),
            Column("Max, ms", "max_ms", numbers.ms, detail=True),
            Column("Operations", "operations", numbers.count, detail=True),
            Column("Failed", "failed", numbers.count),
        ),
        rows,
        lead=3,
    )


def percentile_table(findings: Findings) -> Table:
    """Every percentile of every figure."""
    rows = tuple(
        (
            f.pair.workload,
            f.pair.client_site,
            f.pair.to,
            f.system.label,
            name,
            s.n,
            s.min_ms,
            s.p50_ms,
            s.p90_ms,
            s.p99_ms,
            s.p999_ms,
            s.max_ms,
        )
        for f in _by_pair(findings)
        for name, s in _figures(f)
    )
    return Table(
        "percentiles",
        "All percentiles",
        "In milliseconds. Service: from sending until the answer, what a closed-loop tool would report. Send delay: "
        "the load generator's own lateness. A percentile the sample does not reach is left out.",
        (
            Column("Workload", "workload"),
            Column("From", "client_site"),
            Column("To", "server_site"),
            Column("System", "system"),
            Column("Figure", "figure"),
            Column("n", "n", numbers.count),
            *(
                Column(f"{name}, ms", f"{name.replace('.', '')}_ms", numbers.ms)
                for name in ("min", "p50", "p90", "p99", "p99.9", "max")
            ),
        ),
        rows,
        lead=3,
    )


def _figures(f: PairFinding) -> list[tuple[str, Any]]:
    figures = [("response" if f.round_trip else "acceptance", f.response), ("service", f.service)]
    if f.measure == "arrival":
        figures.insert(0, ("arrival", f.headline))
    return [(name, summary) for name, summary in (*figures, ("send delay", f.delay)) if summary.n]


#: Sums of the ledger in the table of deliveries.
_DELIVERY = (
    "started",
    "accepted",
    "delivered",
    "lost",
    "expired",
    "unaccounted",
    "duplicated",
    "failed",
    "reordered",
    "late",
    "unfinished",
)


def delivery_table(findings: Findings) -> Table:
    """The ledger by system and workload."""
    rows = []
    for system, cells in _cells_by_system(findings):
        workloads = dict.fromkeys(a.workload for cell in cells for a in cell.agents.values() if a.role == "client")
        for workload in workloads:
            accounts = [
                row for cell in cells for row in cell.ledger.rows if cell.agents[row.agent].workload == workload
            ]
            failures: Counter[str] = Counter()
            for account in accounts:
                failures.update(account.failures)
            sums = [sum(getattr(account, name) for account in accounts) for name in _DELIVERY]
            named = "; ".join(f"{name} {count:,}" for name, count in failures.most_common()) or "none"
            queued = sum(cell.queued.get(workload, 0) for cell in cells)
            rows.append((workload, system.label, *sums, queued, named))
    expired, unaccounted = (any(row[2 + _DELIVERY.index(name)] for row in rows) for name in ("expired", "unaccounted"))
    workload_order = list(dict.fromkeys(pair.workload for pair in findings.pair_order))
    rows.sort(key=lambda row: workload_order.index(row[0]) if row[0] in workload_order else len(workload_order))
    return Table(
        "delivery",
        "Delivery",
        "Operations and messages, warm-up included. Accepted: answered, or taken by the bus. Delivered: arrived at "
        "each receiver it was meant for, each counted once. Lost: accepted and not arrived by the end of the drain; of "
        "these the bus may still hold some (queued, by its own word). Expired: not arrived, and older than its time to "
        "live. Unaccounted for: sent to a receiver just before it died. Every sum closes, or the cell is not valid.",
        (
            Column("Workload", "workload"),
            Column("System", "system"),
            Column("Sent", "sent", numbers.count),
            Column("Accepted", "accepted", numbers.count),
            Column("Delivered", "delivered", numbers.count),
            Column("Lost", "lost", numbers.count),
            Column("Expired", "expired", numbers.count, csv_only=not expired),
            Column("Unaccounted for", "unaccounted", numbers.count, csv_only=not unaccounted),
            Column("Duplicated", "duplicated", numbers.count),
            Column("Failed", "failed", numbers.count),
            Column("Reordered", "reordered", numbers.count, detail=True),
            Column("Late", "late", numbers.count, detail=True),
            Column("Unfinished", "unfinished", numbers.count, detail=True),
            Column("Still queued", "queued", numbers.count, detail=True),
            Column("Failures by kind", "failures", detail=True),
        ),
        tuple(rows),
        lead=1,
    )


def _cells_by_system(findings: Findings) -> list[tuple[System, list[CellFinding]]]:
    return [(s, [cell for cell in findings.cells if cell.system is s]) for s in findings.systems]


_ROLES = {"client": "clients", "server": "servers", "bus": "bus"}


def resource_table(findings: Findings) -> Table:
    """Memory, descriptors and CPU by system and role: the median process, and what all of them used."""
    rows: list[tuple[Any, ...]] = []
    for system, cells in _cells_by_system(findings):
        if not any(len(cell.resources) for cell in cells):
            continue
        frame = pd.concat([cell.resources.assign(cell=cell.id) for cell in cells if len(cell.resources)])
        per_cell = frame.groupby(["role", "cell"], observed=True)
        for role, label in _ROLES.items():
            own = frame[frame["role"] == role]
            if own.empty:
                continue
            cores = per_cell["cpu_cores"].sum()[role].median()
            rate = np.median([cell.operations / cell.phases["duration_s"] for cell in cells])
            grown = [_growth(cell, role) for cell in cells if cell.operations and role in set(cell.resources["role"])]
            median = own.median(numeric_only=True)
            rows.append(
                (
                    label,
                    system.label,
                    round(len(own) / own["cell"].nunique()),
                    median["anonymous_mib_begin"],
                    median["anonymous_mib_end"],
                    float(_alone(own).groupby(own["cell"], observed=True).agg(_of_all).median()),
                    median["anonymous_mib_end"] - median["anonymous_mib_begin"],
                    own["anonymous_mib_peak"].max(),
                    median["rss_mib_end"],
                    median["fds_end"],
                    median["threads_end"],
                    cores,
                    cores / rate * 1e3 if rate else float("nan"),
                    float(np.median(grown)) if grown else float("nan"),
                )
            )
    rows.sort(key=lambda row: list(_ROLES.values()).index(row[0]))
    return Table(
        "resources",
        "Memory and CPU",
        "The median process of each kind over the measured time. Own memory is the kernel's Anonymous: what the "
        "process really owns; RSS counts shared pages too. All own, CPU, and what is gained per operation, are of all "
        "of the kind together, e.g. the whole bus; in a fleet a few processes are read for memory and stand for the "
        "others, and what forked ones share with their parent is not added up. A change is not a leak verdict: that "
        "takes doses and quiesced readings.",
        (
            Column("Processes", "role"),
            Column("System", "system"),
            Column("How many", "processes", numbers.count, detail=True),
            Column("Own at begin, MiB", "anonymous_mib_begin", numbers.mib, detail=True),
            Column("Own at end, MiB", "anonymous_mib_end", numbers.mib),
            Column("All own at end, MiB", "anonymous_mib_all", numbers.mib),
            Column("Change, MiB", "anonymous_mib_change", numbers.signed),
            Column("Own at peak, MiB", "anonymous_mib_peak", numbers.mib, detail=True),
            Column("RSS at end, MiB", "rss_mib_end", numbers.mib),
            Column("Descriptors", "fds_end", numbers.count, detail=True),
            Column("Threads", "threads_end", numbers.count, detail=True),
            Column("CPU cores", "cpu_cores", numbers.number),
            Column("CPU ms per operation", "cpu_ms_per_operation", numbers.number, detail=True),
            Column("Own bytes per operation", "growth_bytes_per_operation", numbers.signed, detail=True),
        ),
        tuple(rows),
        lead=1,
    )


def _growth(cell: CellFinding, role: str) -> float:
    """Bytes all processes of a role gained per operation between the middles of what "begin" and "end" stand for."""
    own = cell.resources[cell.resources["role"] == role]
    gained = _of_all(own["anonymous_mib_end"] - own["anonymous_mib_begin"]) * 2**20
    return gained / (cell.operations * (1 - ENDS))


def _alone(own: pd.DataFrame) -> pd.Series[float]:
    """What each process owns and shares with no other, MiB: a forked one has most of its memory from its parent."""
    return own[["anonymous_mib_end", "uss_mib_end"]].min(axis=1)


def _of_all(values: pd.Series[float]) -> float:
    """The sum over processes; of a fleet only some are read for memory, and stand for the others."""
    return float(values.mean()) * len(values)


def link_table(findings: Findings) -> Table:
    """Links declared and measured; what was declared when the load was over stands there where it differs."""
    changed = any(link.changed for link in findings.links)
    note = "Round-trip times in milliseconds: declared, and the median measured before and after the load."
    if changed:
        note += " The timeline left links other than they were: after the load they are held against what then held."
    return Table(
        "links",
        "Links",
        note,
        (
            Column("Site", "a"),
            Column("Site", "b"),
            Column("Declared, ms", "declared_rtt_ms", numbers.ms),
            Column("Before, ms", "before_rtt_ms", numbers.ms),
            Column("Declared after, ms", "declared_after_rtt_ms", numbers.ms, csv_only=not changed),
            Column("After, ms", "after_rtt_ms", numbers.ms),
        ),
        tuple((f.a, f.b, f.declared_ms, f.before_ms, f.declared_after_ms, f.after_ms) for f in findings.links),
    )


def doubt_table(findings: Findings) -> Table:
    """Every reason to doubt a figure."""
    return Table(
        "doubts",
        "Doubtful figures",
        "What may make a latency mean something else than it seems to. A figure that is not here passed every check.",
        (Column("Figure", "pair"), Column("System", "system"), Column("Doubt", "kind"), Column("Evidence", "why")),
        tuple((f.pair.label, f.system.label, doubt.kind, doubt.why) for f in _by_pair(findings) for doubt in f.doubts),
    )


def cell_table(findings: Findings) -> Table:
    """What was run, cell by cell."""
    return Table(
        "cells",
        "Cells",
        "A cell is one fully determined run: a system, a point of the sweep, a repetition, with fresh processes.",
        (
            Column("Cell", "cell"),
            Column("System", "system"),
            Column("Repetition", "repetition", numbers.count),
            Column("State", "state"),
            Column("Measured operations", "operations", numbers.count),
            Column("Remarks", "remarks"),
        ),
        tuple(
            (c.id, c.system.label, c.repetition, c.state, c.operations, "; ".join([*c.reasons, *c.notes]) or "none")
            for c in findings.cells
        ),
    )
