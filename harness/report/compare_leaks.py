"""Comparing what doses found: who leaks and who does not, dose by dose, with everything but the axis alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import BadInput
from harness.report import numbers
from harness.report.compatibility import AXIS_PARTS, differences
from harness.report.findings import point_texts
from harness.report.memory import growth, why
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from harness.memory.result import RoleResult
    from harness.report.findings import Findings
    from harness.report.memory import MemoryFinding

__all__ = ["LeakComparison", "LeakContrast", "compare_leaks", "leak_sentences", "leak_tables"]

#: Metrics whose growth stands beside the verdicts.
_SHOWN = ("blocks", "heap")


@dataclass(frozen=True, slots=True)
class LeakContrast:
    """The doses both sides were given.

    Attributes:
        a, b: names of the two sides.
        context: what both have in common where there are several contrasts.
        verdicts: ("call (client)", result of A, result of B) by dose and kind of process.
    """

    a: str
    b: str
    context: str
    verdicts: tuple[tuple[str, RoleResult, RoleResult], ...]


@dataclass(frozen=True, slots=True)
class LeakComparison:
    """All contrasts along an axis.

    Attributes:
        axis: what the sides differ in.
        sides: names of the sides, the baseline first.
        contrasts: each side against the baseline, in every context.
        notes: what a reader must know: parts that differ, doses that one side only was given.
    """

    axis: str
    sides: tuple[str, ...]
    contrasts: tuple[LeakContrast, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    side: str
    context: str
    finding: MemoryFinding


def compare_leaks(
    runs: Sequence[Findings], axis: str, *, baseline: str | None = None, allow: Collection[str] = ()
) -> LeakComparison:
    """Compare the growth verdicts of runs along an axis; the arguments are those of compare_findings.

    Raises BadInput: an axis or a baseline that is not there, or sides that differ in more than the axis.
    """
    placed = [_place(axis, run, finding) for run in runs for finding in run.memory]
    sides = list(dict.fromkeys(one.side for one in placed))
    if baseline is not None:
        if baseline not in sides:
            raise BadInput(f"no side {baseline!r}", expected=f"one of {', '.join(sides)}")
        sides = [baseline, *(side for side in sides if side != baseline)]
    notes: list[str] = []
    contrasts = []
    for context in dict.fromkeys(one.context for one in placed):
        here = {one.side: one.finding for one in placed if one.context == context}
        for side in sides[1:]:
            if sides[0] not in here or side not in here:
                there = " and ".join(name for name in sides if name in here)
                notes.append(f"{context or side}: only {there} was given doses; not compared.")
                continue
            _require_alike(axis, (sides[0], here[sides[0]]), (side, here[side]), allow, notes)
            contrast = LeakContrast(sides[0], side, context, tuple(_common(here[sides[0]], here[side])))
            lone = sorted(_names(here[sides[0]]) ^ _names(here[side]))
            if lone:
                notes.append(f"Given to one side only, not compared: {', '.join(lone)}.")
            if contrast.verdicts:
                contrasts.append(contrast)
    return LeakComparison(axis, tuple(sides), tuple(contrasts), tuple(dict.fromkeys(notes)))


def _place(axis: str, run: Findings, finding: MemoryFinding) -> _Placed:
    labels = {"system": finding.system, **dict(zip(finding.point, point_texts(finding.point), strict=True))}
    name = f"{run.scenario}/{run.run}"
    if axis == "run":
        return _Placed(name, ", ".join(labels.values()), finding)
    if axis not in labels:
        raise BadInput(
            f"no axis {axis!r}",
            where=name,
            expected=f"run, {', '.join(labels)}",
            remedy="name one of these with --axis",
        )
    side = labels.pop(axis)
    return _Placed(side, ", ".join(labels.values()), finding)


def _require_alike(
    axis: str,
    a: tuple[str, MemoryFinding],
    b: tuple[str, MemoryFinding],
    allow: Collection[str],
    notes: list[str],
) -> None:
    """Refuse sides that differ in more than the axis; a lone difference between two runs is taken for the axis."""
    found = differences(a[1].parts, b[1].parts)
    mine = AXIS_PARTS.get(axis, frozenset())
    unexpected = {part: where for part, where in found.items() if part not in allow and part not in mine}
    if axis not in ("run", *AXIS_PARTS):
        return  # Points of one sweep: the scenario itself holds everything else fixed.
    if axis == "run" and len(unexpected) == 1:
        part, where = next(iter(unexpected.items()))
        notes.append(f"The runs differ in their {part} ({where}); that is taken for what is compared.")
    elif unexpected:
        raise BadInput(
            "they differ in more than what is compared: "
            + "; ".join(f"{part} ({where})" for part, where in unexpected.items()),
            where=f"{a[0]} and {b[0]}",
            expected="sides that differ in one part only",
            remedy="run both under the same conditions, or allow the parts by name: "
            + " ".join(f"--allow '{part}'" for part in unexpected),
        )
    notes += [
        f"They differ in their {part} ({where}), which was allowed." for part, where in found.items() if part in allow
    ]


def _by_name(finding: MemoryFinding) -> dict[str, RoleResult]:
    return {f"{dose.name} ({role.role})": role for dose in finding.result.doses for role in dose.roles}


def _names(finding: MemoryFinding) -> set[str]:
    return set(_by_name(finding))


def _common(a: MemoryFinding, b: MemoryFinding) -> Iterator[tuple[str, RoleResult, RoleResult]]:
    theirs = _by_name(b)
    return ((name, role, theirs[name]) for name, role in _by_name(a).items() if name in theirs)


def leak_sentences(comparison: LeakComparison) -> list[str]:
    """Who leaks and under what, what is open, and where neither does."""
    return [text for contrast in comparison.contrasts for text in _sentences(contrast)]


def _sentences(contrast: LeakContrast) -> Iterator[str]:
    where = f" ({contrast.context})" if contrast.context else ""
    clean = []
    for name, a, b in contrast.verdicts:
        states = (a.verdict.state, b.verdict.state)
        if states == ("clean", "clean"):
            clean.append(name)
        elif "leak" in states:
            said = [
                _leaks(side, role) if role.verdict.state == "leak" else f"{side} {_OTHERS[role.verdict.state]}"
                for side, role in ((contrast.a, a), (contrast.b, b))
            ]
            yield f"Under {name}{where} {' and '.join(said)}."
        else:
            still = " and ".join(
                side for side, role in ((contrast.a, a), (contrast.b, b)) if role.verdict.state == "inconclusive"
            )
            yield f"Under {name}{where} it is open whether {still} {'leak' if len(set(states)) == 1 else 'leaks'}."
    if clean:
        yield f"Neither {contrast.a} nor {contrast.b}{where} leaks under {', '.join(clean)}."


_OTHERS = {"clean": "does not", "inconclusive": "is open"}


def _leaks(side: str, role: RoleResult) -> str:
    grown = ", ".join(f"{growth(g)} {g.metric}" for g in role.verdict.leaking)
    return f"{side} leaks {grown} per operation"


def leak_tables(comparison: LeakComparison) -> list[Table]:
    """One table per contrast."""
    return [_table(at, contrast) for at, contrast in enumerate(comparison.contrasts)]


def _table(at: int, contrast: LeakContrast) -> Table:
    where = f", {contrast.context}" if contrast.context else ""
    rows: list[tuple[Any, ...]] = [
        (name, side, role.verdict.state, *(_grown(role, metric) for metric in _SHOWN), why(role))
        for name, a, b in contrast.verdicts
        for side, role in ((contrast.a, a), (contrast.b, b))
    ]
    return Table(
        f"leaks-{at}",
        f"Does it leak: {contrast.b} against {contrast.a}{where}",
        "Verdicts on growth from doses, each from its own processes; growth is per operation, with one-sided 95 % "
        "bounds. What a verdict rests on stands in the report of each run.",
        (
            Column("Dose", "dose"),
            Column("Side", "side"),
            Column("Verdict", "verdict"),
            *(Column(f"{metric.capitalize()}/op", f"{metric}_per_op") for metric in _SHOWN),
            Column("Why", "why", detail=True),
        ),
        tuple(rows),
        lead=1,
    )


def _grown(role: RoleResult, metric: str) -> str:
    found = role.verdict.growths.get(metric)
    return growth(found) if found else numbers.NONE
