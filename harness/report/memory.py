"""Memory verdicts as sentences and tables: what `memory:` doses found, for every rendering alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.analysis.leak import METRICS, Growth
from harness.report import numbers
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.memory.result import DoseResult, MemoryResult, RoleResult

__all__ = [
    "MemoryFinding",
    "attribution_table",
    "evidence_table",
    "memory_sentences",
    "memory_tables",
    "verdict_table",
    "why",
]

#: Metrics with a column of their own in the table of verdicts.
_SHOWN = ("blocks", "heap", "anonymous", "fds", "threads")
_UNIT = {"blocks": "blocks", "heap": "B", "anonymous": "B", "fds": "descriptors", "threads": "threads"}


_UNCALIBRATED = "How often such verdicts are right on this host has not been measured: harness calibrate does."


@dataclass(frozen=True, slots=True)
class MemoryFinding:
    """The memory verdicts of one system.

    Attributes:
        label: the system, with its place in the sweep.
        cell: id of its memory cell.
        result: what the doses found.
        stack: the stack of its clients.
        system, point: the system's name and its place in the sweep.
        parts: what the cell is made of (harness.report.compatibility).
    """

    label: str
    cell: str
    result: MemoryResult
    stack: str = ""
    system: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)


def _roles(findings: Sequence[MemoryFinding]) -> Iterator[tuple[MemoryFinding, DoseResult, RoleResult]]:
    for finding in findings:
        for dose in finding.result.doses:
            for role in dose.roles:
                yield finding, dose, role


def memory_sentences(findings: Sequence[MemoryFinding]) -> list[str]:
    """The answer: who leaks and what, what is open and what would settle it, and who does not."""
    found = []
    for finding, dose, role in _roles(findings):
        if role.verdict.state == "leak":
            grown = ", ".join(f"{growth(g)} {METRICS[g.metric].unit}" for g in role.verdict.leaking)
            what = f"The {role.role} leaks on {finding.label} under {dose.name}: {grown} per operation ({dose.about})."
            told = (role.attribution.sentences if role.attribution else ())[:2]
            told = (*told, dose.trouble) if dose.trouble else told
            found.append(" ".join([what, *(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in told)]))
    for finding, dose, role in _roles(findings):
        if role.verdict.state == "inconclusive":
            found.append(
                f"Whether the {role.role} leaks on {finding.label} under {dose.name} is open: {role.verdict.why}. "
                + _remedy(dose, role)
            )
    for finding in findings:
        clean = [f"{dose.name} ({role.role})" for _, dose, role in _roles([finding]) if role.verdict.state == "clean"]
        if clean:
            least = _least(finding)
            found.append(f"No leak on {finding.label} under {', '.join(clean)}" + (f"; {least}" if least else "") + ".")
    return found + list(dict.fromkeys(f.result.calibration or _UNCALIBRATED for f in findings))


def _remedy(dose: DoseResult, role: RoleResult) -> str:
    if dose.trouble:
        return "The dose has to work first."
    if dose.repetitions < 2:
        return "More repetitions would tell; 3 for a smoke check, 5 otherwise."
    mdl = [g for g in role.verdict.growths.values() if g.state == "inconclusive" and g.mdl == g.mdl]
    seen = (
        f" As it is, {growth_of(mdl[0].mdl)} {METRICS[mdl[0].metric].unit} per operation would be seen." if mdl else ""
    )
    return f"It was doubled {numbers.plural(dose.level, 'time')}; a larger count or more doublings would tell.{seen}"


def _least(finding: MemoryFinding) -> str:
    """The least leak these runs would have found, of blocks, over the doses that are clean."""
    found = [
        role.verdict.growths["blocks"].mdl
        for _, _, role in _roles([finding])
        if role.verdict.state == "clean" and "blocks" in role.verdict.growths
    ]
    found = [mdl for mdl in found if mdl == mdl]
    return (
        f"a leak of {max(found):.2g} blocks per operation would have been found in four of five such runs"
        if found
        else ""
    )


def growth_of(value: float) -> str:
    """A growth per operation with three digits, "0" for what is less than a thousandth."""
    return "0" if abs(value) < 0.0005 else f"{value:.3g}"


def growth(g: Growth) -> str:
    """A growth with its bounds."""
    return f"{growth_of(g.per_op)} [{growth_of(g.low)}, {growth_of(g.high)}]"


def memory_tables(findings: Sequence[MemoryFinding]) -> list[Table]:
    """All tables; those without rows are left out."""
    tables = [verdict_table(findings), attribution_table(findings), evidence_table(findings)]
    return [table for table in tables if table.rows]


def verdict_table(findings: Sequence[MemoryFinding]) -> Table:
    """The verdict per system, dose and kind of process."""
    rows: list[tuple[Any, ...]] = []
    for finding, dose, role in _roles(findings):
        shown = [role.verdict.growths.get(name) for name in _SHOWN]
        rows.append(
            (
                finding.label,
                dose.name,
                role.role,
                role.verdict.state,
                *(growth(g) if g else numbers.NONE for g in shown),
                dose.operations,
                dose.repetitions,
                why(role),
            )
        )
    return Table(
        "memory-verdicts",
        "Does it leak",
        "Growth per operation with one-sided 95 % bounds, from readings at rest between blocks of equal dose in fresh "
        "processes. Leak: the lower bound exceeds the limit and the growth lasts. Clean: the upper bound is below the "
        "limit, or the growth is over or undone: a plateau has none in its second half, steps are all in one or two "
        "blocks, a saw-tooth comes back to its floor. Which of these it was stands with the reason.",
        (
            Column("System", "system"),
            Column("Dose", "dose"),
            Column("Process", "process"),
            Column("Verdict", "verdict"),
            *(
                Column(f"{name.capitalize()}/op", f"{name}_per_op", detail=name in ("anonymous", "threads"))
                for name in _SHOWN
            ),
            Column("Operations", "operations", numbers.count, detail=True),
            Column("Processes", "processes", numbers.count, detail=True),
            Column("Why", "why", detail=True),
        ),
        tuple(rows),
        lead=2,
    )


def why(role: RoleResult) -> str:
    """The reason of a verdict; where clean, of each metric whose bound alone would not have it so."""
    if role.verdict.state != "clean":
        return role.verdict.why
    others = [
        f"{g.metric}: {g.why}"
        for g in role.verdict.growths.values()
        if METRICS[g.metric].decides == "always" and METRICS[g.metric].kind == "amount" and g.high >= g.delta
    ]
    return "; ".join([*others, "every other metric stays below its limit"]) if others else role.verdict.why


def attribution_table(findings: Sequence[MemoryFinding]) -> Table:
    """What leaks, who holds it, and where it was allocated."""
    rows = []
    for finding, dose, role in _roles(findings):
        told = role.attribution
        if told is None:
            continue
        at = (finding.label, dose.name, role.role)
        rows += [(*at, "finding", sentence, None, None) for sentence in told.sentences]
        rows += [(*at, "type", one["type"], one["per_op"], None) for one in told.types[:8]]
        rows += [(*at, "held by", chain, None, None) for chains in told.holders.values() for chain in chains[:2]]
        rows += [
            (*at, "allocated at", " < ".join(site["frames"][:4]), site["blocks_per_op"], site["bytes_per_op"])
            for site in told.sites[:6]
        ]
    return Table(
        "memory-attribution",
        "What leaks, and where",
        "From a run of its own after the verdict. Types are counted by the collector, so strings and numbers show "
        "only as allocation sites; the innermost frame comes first. Per operation.",
        (
            Column("System", "system"),
            Column("Dose", "dose"),
            Column("Process", "process"),
            Column("What", "what"),
            Column("Finding", "finding"),
            Column("Number/op", "number_per_op", _maybe),
            Column("Bytes/op", "bytes_per_op", _maybe),
        ),
        tuple(rows),
        lead=3,
    )


def _maybe(value: float | None) -> str:
    return numbers.NONE if value is None else growth_of(value)


def evidence_table(findings: Sequence[MemoryFinding]) -> Table:
    """Every metric of every verdict."""
    rows = tuple(
        (
            finding.label,
            dose.name,
            role.role,
            g.metric,
            g.state if METRICS[g.metric].decides != "never" else "evidence",
            g.per_op,
            g.low,
            g.high,
            g.delta if METRICS[g.metric].decides != "never" else float("nan"),
            g.mdl,
            g.total,
            g.why,
        )
        for finding, dose, role in _roles(findings)
        for g in role.verdict.growths.values()
    )
    return Table(
        "memory-evidence",
        "All memory figures",
        "Per operation. Limit: from where on it is a leak. Detectable: the least leak these runs would have called "
        "one with 80 % probability. Total: growth over the measured blocks.",
        (
            Column("System", "system"),
            Column("Dose", "dose"),
            Column("Process", "process"),
            Column("Metric", "metric"),
            Column("Verdict", "verdict"),
            *(
                Column(title, key, _figure)
                for title, key in (
                    ("Growth", "per_op"),
                    ("Low", "low"),
                    ("High", "high"),
                    ("Limit", "limit"),
                    ("Detectable", "detectable"),
                    ("Total", "total"),
                )
            ),
            Column("Why", "why"),
        ),
        rows,
        lead=3,
    )


def _figure(value: float) -> str:
    return numbers.NONE if value != value else growth_of(value)
