"""Fanouts in reports: how many reached every server, when the last one had it, and how the servers differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.fanout import Fanout
from harness.analysis.latency import Summary, summarise
from harness.report import numbers
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.report.findings import Findings, System

__all__ = ["FanoutFinding", "fanout_findings", "fanout_sentences", "fanout_tables"]


@dataclass(frozen=True, slots=True)
class FanoutFinding:
    """The fanouts of one workload of one system, repetitions merged.

    Attributes:
        servers: receivers each message should have.
        messages, complete: accepted, and those that every receiver got.
        copies: copies that arrived, by repetition.
        last: until the last receiver had it, complete ones.
        fastest, slowest: the receivers with the least and the greatest median: (name, summary).
    """

    system: System
    workload: str
    servers: int
    messages: int
    complete: int
    copies: tuple[int, ...]
    last: Summary
    fastest: tuple[str, Summary]
    slowest: tuple[str, Summary]


def fanout_findings(system: System, cells: Sequence[Mapping[str, Fanout]]) -> Iterator[FanoutFinding]:
    """One finding per workload, from the fanouts of each repetition."""
    for workload in dict.fromkeys(name for cell in cells for name in cell):
        found = [cell[workload] for cell in cells if workload in cell]
        names = dict.fromkeys(name for one in found for name in one.per_server)
        summaries = {
            name: summarise(np.sort(np.concatenate([one.per_server[name] for one in found if name in one.per_server])))
            for name in names
        }
        reached = {name: summary for name, summary in summaries.items() if summary.n}
        nobody = (numbers.NONE, summarise(np.empty(0, np.int64)))
        yield FanoutFinding(
            system=system,
            workload=workload,
            servers=max(one.servers for one in found),
            messages=sum(one.messages for one in found),
            complete=sum(one.complete for one in found),
            copies=tuple(one.copies for one in found),
            last=summarise(np.sort(np.concatenate([one.last for one in found]))),
            fastest=min(reached.items(), key=lambda item: item[1].p50_ms, default=nobody),
            slowest=max(reached.items(), key=lambda item: item[1].p50_ms, default=nobody),
        )


def fanout_sentences(findings: Sequence[FanoutFinding]) -> list[str]:
    """Which fanouts did not reach everybody; nothing where all did."""
    return [
        f"{one.messages - one.complete} of {numbers.plural(one.messages, 'fanout')} of {one.workload} on "
        f"{one.system.label} did not reach all {one.servers} servers."
        for one in findings
        if one.complete < one.messages
    ]


def fanout_tables(findings: Findings) -> list[Table]:
    """One row per workload and system."""
    rows: tuple[tuple[Any, ...], ...] = tuple(
        (
            one.workload,
            one.system.label,
            one.servers,
            one.messages,
            one.complete / one.messages if one.messages else float("nan"),
            one.last.p50_ms,
            one.last.p99_ms,
            one.last.max_ms,
            one.fastest[1].p50_ms,
            one.slowest[1].p50_ms,
            one.slowest[0],
        )
        for one in findings.fanouts
    )
    if not rows:
        return []
    return [
        Table(
            "fanouts",
            "Fanouts",
            "In milliseconds, from when a message was due. Complete: received by every server it was meant for. Last "
            "receiver: until the last of them had it. Fastest and slowest server: medians of a single receiver.",
            (
                Column("Workload", "workload"),
                Column("System", "system"),
                Column("Receivers", "receivers", numbers.count),
                Column("Messages", "messages", numbers.count),
                Column("Complete", "complete_share", numbers.share),
                Column("Last receiver p50", "last_p50_ms", numbers.ms),
                Column("p99", "last_p99_ms", numbers.ms),
                Column("Max", "last_max_ms", numbers.ms),
                Column("Fastest server p50", "fastest_p50_ms", numbers.ms, detail=True),
                Column("Slowest server p50", "slowest_p50_ms", numbers.ms, detail=True),
                Column("Slowest server", "slowest", detail=True),
            ),
            rows,
            lead=1,
        )
    ]
