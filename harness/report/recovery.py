"""What a report says of the timeline's faults and how service came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.analysis.recovery import Recovery
    from harness.report.findings import Findings, System
    from harness.report.tables import Table

__all__ = ["recovery_sentences", "recovery_table"]


def _by_system(findings: Findings) -> Iterator[tuple[System, list[Recovery]]]:
    for system in findings.systems:
        found = [recovery for cell in findings.cells if cell.system is system for recovery in cell.recoveries]
        if found:
            yield system, found


def recovery_sentences(findings: Findings) -> list[str]:
    """One sentence per system: the fault it was slowest to get over, and what was not over when the next one came."""
    return [_sentence(system, found) for system, found in _by_system(findings)]


def _sentence(system: System, found: list[Recovery]) -> str:
    faults = len({(recovery.outage.what, round(recovery.outage.begin_s)) for recovery in found})
    head = f"{system.label} met {numbers.plural(faults, 'fault')}"
    back = [recovery for recovery in found if recovery.back_s == recovery.back_s]
    said = []
    if back:
        worst = max(back, key=lambda recovery: recovery.back_s)
        said.append(
            f"slowest to be back to its rate was {worst.workload} from {worst.client_site} after {worst.outage.what}: "
            f"{numbers.seconds(worst.back_s)} after the cause was over, with {numbers.seconds(worst.interruption_s)} "
            "without any success"
        )
    missing = [recovery for recovery in found if recovery.back_s != recovery.back_s and recovery.rate_per_s > 0]
    if missing:
        first = missing[0]
        said.append(
            f"in {len(missing)} of {len(found)} cases the rate was not seen back before the next fault or the end, "
            f"for one {first.workload} from {first.client_site} after {first.outage.what}, watched for "
            f"{numbers.seconds(first.watched_s)}"
        )
    return f"{head}; {'; '.join(said)}." if said else f"{head}, before which no rate could be taken."


def recovery_table(findings: Findings) -> Table:
    """Every fault and every stream of operations that had to come through it."""
    from harness.report.tables import Column, Table

    order = list(dict.fromkeys(pair.workload for pair in findings.pair_order))
    rows = [
        (
            recovery.workload,
            system.label,
            recovery.client_site,
            recovery.outage.what,
            recovery.outage.begin_s,
            (recovery.outage.end_s or recovery.outage.begin_s) - recovery.outage.begin_s,
            recovery.rate_per_s,
            recovery.first_success_s,
            recovery.back_s,
            recovery.interruption_s,
            recovery.failed,
        )
        for system, found in _by_system(findings)
        for recovery in found
    ]
    rows.sort(key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    return Table(
        "recovery",
        "Faults and recovery",
        "Lasted: until the cause was over (a link whole, a component ready again). From then on: first "
        "success, and back to 90 % of the rate before the fault, counting only operations due since. Interrupted: the "
        "longest time without any success. A dash: not seen before the next fault or the end.",
        (
            Column("Workload", "workload"),
            Column("System", "system"),
            Column("From", "client_site"),
            Column("Fault", "fault"),
            Column("At", "at_s", numbers.seconds),
            Column("Lasted", "lasted_s", numbers.seconds),
            Column("Rate before", "rate_per_s", numbers.number, detail=True),
            Column("First success", "first_success_s", numbers.seconds),
            Column("Back to rate", "back_s", numbers.seconds),
            Column("Interrupted", "interruption_s", numbers.seconds),
            Column("Failed", "failed", numbers.count),
        ),
        tuple(rows),
        lead=1,
    )
