"""What a report says of deliveries beyond the sums: pair by pair, failures by stage, and agents that were deaf."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.report import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.analysis.deafness import Deaf
    from harness.report.findings import CellFinding, Findings, System
    from harness.report.tables import Table

__all__ = ["deaf_sentences", "deaf_table", "failure_table", "pair_delivery_table"]

_COUNTS = (
    "started",
    "accepted",
    "expected",
    "delivered",
    "lost",
    "expired",
    "unaccounted",
    "duplicated",
    "reordered",
    "late",
    "failed",
    "failed_delivered",
    "in_flight",
    "unfinished",
    "unrecorded",
    "negative",
)


def _cells(findings: Findings) -> Iterator[tuple[System, CellFinding]]:
    return ((system, cell) for system in findings.systems for cell in findings.cells if cell.system is system)


def pair_delivery_table(findings: Findings) -> Table:
    """The ledger by workload, pair of sites and system."""
    from harness.report.tables import Column, Table

    sums: dict[tuple[str, str, str, str], Counter[str]] = {}
    for system, cell in _cells(findings):
        for row in cell.ledger.rows:
            client = cell.agents[row.agent]
            key = (client.workload, client.site, row.server_site or numbers.NONE, system.label)
            sums.setdefault(key, Counter()).update({name: getattr(row, name) for name in _COUNTS})
    order = list(dict.fromkeys((p.workload, p.client_site, p.server_site or numbers.NONE) for p in findings.pair_order))
    keys = sorted(sums, key=lambda key: order.index(key[:3]) if key[:3] in order else len(order))
    return Table(
        "delivery-pairs",
        "Delivery by pair of sites",
        "Messages, warm-up included. Due: copies of accepted messages that should arrive; each was delivered, or has "
        "expired, or is unaccounted for (sent to a receiver just before it died), or is lost. Reordered: reached its "
        "receiver after one sent later. Late: arrived later than its time-out after it was due. Under way: had not "
        "ended when the drain did. Before sent: a fault of the clocks.",
        (
            Column("Workload", "workload"),
            Column("From", "client_site"),
            Column("To", "server_site"),
            Column("System", "system"),
            *(
                Column(heading, name, numbers.count, detail=heading in _DETAILS)
                for heading, name in zip(_HEADINGS, _COUNTS, strict=True)
            ),
        ),
        tuple((*key, *(sums[key][name] for name in _COUNTS)) for key in keys),
        lead=3,
    )


_HEADINGS = (
    "Sent",
    "Accepted",
    "Due",
    "Delivered",
    "Lost",
    "Expired",
    "Unaccounted",
    "Duplicated",
    "Reordered",
    "Late",
    "Failed",
    "Failed, yet arrived",
    "Under way",
    "Unfinished",
    "Unrecorded",
    "Before sent",
)
_DETAILS = frozenset({"Due", "Unaccounted", "Failed, yet arrived", "Unfinished", "Unrecorded", "Before sent"})


def failure_table(findings: Findings) -> Table:
    """Failures by workload, kind, what was being done and when."""
    from harness.report.tables import Column, Table

    counts: Counter[tuple[str, str, str, str, str]] = Counter()
    for system, cell in _cells(findings):
        for kind in cell.ledger.failures:
            workload = cell.agents[kind.agent].workload
            counts[workload, system.label, kind.stage, kind.name, kind.when] += kind.count
    return Table(
        "failures",
        "Failures by kind",
        "What an operation was about when it failed, by its exception: connect (no connection), send (not taken by the "
        "bus), wait (taken, no answer in time), serve (answered with an exception). Fault: under way between a "
        "fault of the timeline and when service was back.",
        (
            Column("Workload", "workload"),
            Column("System", "system"),
            Column("Stage", "stage"),
            Column("Failure", "failure"),
            Column("When", "when"),
            Column("Operations", "operations", numbers.count),
        ),
        tuple((*key, count) for key, count in counts.items()),
        lead=1,
    )


def _deaf(findings: Findings) -> Iterator[tuple[CellFinding, Deaf]]:
    return ((cell, deaf) for _, cell in _cells(findings) for deaf in cell.deaf)


def deaf_sentences(findings: Findings) -> list[str]:
    """Who was connected and yet not served, and since when: at most three by name."""
    found = list(_deaf(findings))
    said = []
    for cell, deaf in found[:3]:
        agent = cell.agents[deaf.agent]
        until = "to the end" if deaf.until_s is None else f"until {numbers.seconds(deaf.until_s)}"
        said.append(
            f"Deaf: {agent.role} {agent.name} ({cell.system.label}, cell {cell.id}) was connected and not served from "
            f"{numbers.seconds(deaf.since_s)} {until}: {deaf.why}."
        )
    if len(found) > 3:
        said.append(f"{numbers.plural(len(found) - 3, 'more silence')} of this kind stand in the table of deaf agents.")
    return said


def deaf_table(findings: Findings) -> Table:
    """Agents that were connected and yet not served."""
    from harness.report.tables import Column, Table

    rows: list[tuple[Any, ...]] = [
        (
            cell.agents[deaf.agent].workload,
            cell.system.label,
            cell.agents[deaf.agent].name,
            cell.id,
            deaf.since_s,
            deaf.until_s,
            deaf.missed,
            deaf.sockets,
            deaf.why,
        )
        for cell, deaf in _deaf(findings)
    ]
    return Table(
        "deaf",
        "Deaf agents",
        "Connected, and yet not served while they should have been. Faults of the timeline, and the seconds after "
        "them, are no evidence.",
        (
            Column("Workload", "workload"),
            Column("System", "system"),
            Column("Agent", "agent"),
            Column("Cell", "cell", detail=True),
            Column("Since", "since_s", numbers.seconds),
            Column("Until", "until_s", numbers.seconds),
            Column("Missed", "missed", numbers.count),
            Column("Sockets", "sockets", numbers.count),
            Column("Evidence", "why", detail=True),
        ),
        tuple(rows),
        lead=1,
    )
