"""The release matrix: latency and memory per release of oslo.messaging and driver, with the change points."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.memory.releases import Change, ReleaseFigures, changes, in_order
from harness.report import numbers
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.findings import Findings

__all__ = ["release_figures", "release_sentences", "release_tables"]

#: oslo-<release>-<driver>, as shipped stacks are called.
_STACK = re.compile(r"oslo-(?P<release>\d+(?:\.\d+)+)-(?P<driver>rabbit|amqp1)\Z")
_MIB = float(1 << 20)
#: The least change that counts: 5 % of a median, half a block per operation, 1 MiB at rest.
_TOLERANCES = {"p50_ms": 0.05, "rest_mib": 1.0, "blocks_per_op": 0.1, "heap_per_op": 16.0}
_NAMES = {
    "p50_ms": "median latency (ms)",
    "rest_mib": "client memory at rest (MiB)",
    "blocks_per_op": "client's allocated blocks per operation",
    "heap_per_op": "client's heap bytes per operation",
}


def release_figures(findings: Findings) -> list[ReleaseFigures]:
    """The figures per release; empty unless at least two releases of one driver were run, each at one point."""
    found: dict[str, tuple[str, str, dict[str, tuple[float, ...]]]] = {}
    for label, stack in _stacks(findings).items():
        match = _STACK.match(stack)
        if match:
            found[label] = (match["release"], match["driver"], {})
    for pair in findings.pairs:
        if pair.system.label in found and "p50_ms" not in found[pair.system.label][2]:
            found[pair.system.label][2]["p50_ms"] = pair.run_p50_ms
    for memory in findings.memory:
        if memory.label not in found:
            continue
        clients = [role for dose in memory.result.doses for role in dose.roles if role.role == "client"]
        if clients:
            figures, growths = found[memory.label][2], clients[0].verdict.growths
            figures["rest_mib"] = tuple(value / _MIB for value in clients[0].rest.get("anonymous", ()))
            for metric in ("blocks", "heap"):
                if metric in growths:
                    figures[f"{metric}_per_op"] = growths[metric].slopes
    releases = [ReleaseFigures(release, driver, label, figures) for label, (release, driver, figures) in found.items()]
    kinds = [(one.driver, one.release) for one in releases]
    if len(set(kinds)) < len(kinds):
        return []  # the same release several times: something else was swept
    drivers = [driver for driver, _ in kinds]
    return in_order([one for one in releases if drivers.count(one.driver) > 1])


def _stacks(findings: Findings) -> Mapping[str, str]:
    """The clients' stack by system."""
    found = {cell.system.label: agent.stack for cell in findings.cells for agent in cell.agents.values()}
    return {**{memory.label: memory.stack for memory in findings.memory if memory.stack}, **found}


def _changes(releases: Sequence[ReleaseFigures]) -> list[Change]:
    return list(changes(releases, _TOLERANCES, ("p50_ms",)))


def release_sentences(findings: Findings) -> list[str]:
    """The change points, latency first."""
    told = []
    for change in _changes(release_figures(findings)):
        by = (
            f"{change.low:.3g} to {change.high:.3g} times"
            if change.ratio
            else f"{change.low:+.3g} to {change.high:+.3g}"
        )
        told.append(
            f"Between {change.before} and {change.after} ({change.driver}) the {_NAMES[change.figure]} went from "
            f"{numbers.number(change.old)} to {numbers.number(change.new)} [{by}]."
        )
    return told


def release_tables(findings: Findings) -> list[Table]:
    """One row per release; marked where a figure changed from the release before."""
    releases = release_figures(findings)
    marked: dict[tuple[str, str], list[str]] = {}
    for change in _changes(releases):
        sign = "up" if change.new > change.old else "down"
        marked.setdefault((change.driver, change.after), []).append(f"{_NAMES[change.figure]} {sign}")
    states = {
        memory.label: ", ".join(
            f"{dose.name} {role.verdict.state}"
            for dose in memory.result.doses
            for role in dose.roles
            if role.role == "client"
        )
        for memory in findings.memory
    }
    rows: tuple[tuple[Any, ...], ...] = tuple(
        (
            one.driver,
            one.release,
            *(_mean(one.figures.get(name, ())) for name in _TOLERANCES),
            states.get(one.label, numbers.NONE),
            "; ".join(marked.get((one.driver, one.release), ())),
        )
        for one in releases
    )
    table = Table(
        "releases",
        "Release by release",
        "Medians and means over repetitions. A change is marked where the 95 % bound of Welch's t on neighbouring "
        "releases is beyond no change and the effect beyond the tolerance (5 % of a median, 1 MiB, 0.1 blocks, 16 B).",
        (
            Column("Driver", "driver"),
            Column("Release", "release"),
            Column("p50 ms", "p50_ms", numbers.ms),
            Column("MiB at rest", "rest_mib", numbers.mib),
            Column("Blocks/op", "blocks_per_op", numbers.number),
            Column("Heap B/op", "heap_per_op", numbers.number, detail=True),
            Column("Client leaks", "verdicts"),
            Column("Changed", "changed"),
        ),
        rows,
        lead=1,
    )
    return [table] if rows else []


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
