"""The gate: memory verdicts, budgets and baselines turned into checks that pass or do not. Pure.

Every check is an ordinary test case, so that JUnit tells what the exit code tells. What is missing, damaged or foreign
is an error; nothing that was not measured passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import ExitCode
from harness.memory.baseline import Baseline, Measured, compare
from harness.memory.result import RoleResult

__all__ = ["Check", "GateReport", "Outcome", "check_run", "foreign"]

Outcome = Literal["pass", "regression", "inconclusive", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """One test case.

    Attributes:
        system, name: which; the name is dose, role and what was checked.
        outcome: how it came out.
        text: why, in a sentence.
        evidence: what a reader needs to go on, a line each.
        seconds: how long the measurement took, where known.
    """

    system: str
    name: str
    outcome: Outcome
    text: str
    evidence: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GateReport:
    """All checks of a gate.

    Attributes:
        scenario, run: what was gated.
        checks: the test cases.
        notes: what a reader should know beside, e.g. which packages have changed.
        bad_input: why nothing could be checked, "" otherwise.
    """

    scenario: str
    run: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    bad_input: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """A regression is one whatever else went wrong; then failures; then what is open."""
        if self.bad_input:
            return ExitCode.BAD_INPUT
        outcomes = {check.outcome for check in self.checks}
        if "regression" in outcomes:
            return ExitCode.REGRESSION
        if "error" in outcomes or not outcomes:
            return ExitCode.INFRASTRUCTURE
        return ExitCode.INCONCLUSIVE if "inconclusive" in outcomes else ExitCode.OK

    def count(self, outcome: Outcome) -> int:
        """How many checks came out so."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def headline(self) -> str:
        """One sentence."""
        if self.bad_input:
            return f"Nothing was checked: {self.bad_input}."
        parts = [
            f"{number} {word}"
            for number, word in (
                (self.count("regression"), "failed"),
                (self.count("error"), "could not be carried out"),
                (self.count("inconclusive"), "inconclusive"),
                (self.count("pass"), "passed"),
            )
            if number
        ]
        return f"Client memory: {', '.join(parts) or 'nothing was measured'}."

    def to_json(self) -> dict[str, Any]:
        """verdict.json."""
        return {
            "format": "femdc-memory-gate",
            "schema": 1,
            "scenario": self.scenario,
            "run": self.run,
            "exit_code": int(self.exit_code),
            "outcome": self.exit_code.name.lower(),
            "headline": self.headline,
            "notes": list(self.notes),
            "checks": [
                {
                    "system": check.system,
                    "name": check.name,
                    "outcome": check.outcome,
                    "text": check.text,
                    "evidence": list(check.evidence),
                }
                for check in self.checks
            ],
            **self.facts,
        }


def foreign(measured: Baseline, baseline: Baseline) -> str:
    """Why a baseline does not belong to a run, "" if it does."""
    if baseline.scenario != measured.scenario:
        return f"the baseline is of scenario {baseline.scenario!r}, the run of {measured.scenario!r}"
    for key in sorted({*measured.host, *baseline.host}):
        if measured.host.get(key) != baseline.host.get(key):
            was, here = baseline.host.get(key), measured.host.get(key)
            return f"the baseline is of another class of host: {key} {was}, here {here}"
    known = {entry.key: entry for entry in baseline.entries}
    for entry in measured.entries:
        before = known.get(entry.key)
        if before is None:
            return f"the baseline has nothing on {' '.join(entry.key)}"
        for key in ("name", "python", "driver"):
            if before.stack.get(key) != entry.stack.get(key):
                return f"the baseline is of another stack: {key} {before.stack.get(key)}, here {entry.stack.get(key)}"
        if (before.kind, before.limits) != (entry.kind, entry.limits):
            return f"the baseline's dose {entry.dose} is not the run's (kind or limits differ)"
    return ""


def check_run(
    measured: Measured,
    failures: Sequence[tuple[str, str]],
    budgets: Mapping[str, int],
    baseline: Baseline | None,
    seconds: Mapping[tuple[str, str, str], float],
) -> GateReport:
    """Check a run.

    Args:
        failures: (cell, why) of memory cells without a usable result.
        budgets: anonymous memory at rest by role, bytes.
        baseline: figures to compare with, already known not to be foreign.
        seconds: how long each measurement took.
    """
    checks = [Check(cell, "measurement", "error", why) for cell, why in failures]
    before = {entry.key: entry for entry in baseline.entries} if baseline else {}
    for entry in measured.baseline.entries:
        role = measured.results[entry.key]
        at = f"{entry.dose}, {entry.role}"
        checks.append(_verdict(entry.system, at, role, seconds.get(entry.key, 0.0)))
        if entry.role in budgets:
            checks.append(_budget(entry.system, at, role, budgets[entry.role]))
        if entry.key in before:
            checks += [
                Check(entry.system, f"{at}: {one.figure} against the baseline", _OUTCOMES[one.state], one.text)
                for one in compare(entry, before[entry.key])
            ]
    notes = _changed(measured.baseline, baseline) if baseline else []
    return GateReport(measured.baseline.scenario, measured.baseline.run, tuple(checks), tuple(notes))


_OUTCOMES: Mapping[str, Outcome] = {
    "same": "pass",
    "better": "pass",
    "worse": "regression",
    "open": "inconclusive",
}


def _verdict(system: str, at: str, role: RoleResult, seconds: float) -> Check:
    verdict = role.verdict
    outcome: Outcome = {"leak": "regression", "clean": "pass", "inconclusive": "inconclusive"}[verdict.state]  # type: ignore[assignment]
    evidence = [f"{g.metric}: {g.state}, {g.why}" for g in verdict.growths.values()]
    if role.attribution is not None:
        evidence = [*role.attribution.sentences, *evidence]
        evidence += [f"held: {chain}" for chains in role.attribution.holders.values() for chain in chains[:2]]
        evidence += [f"allocated: {' < '.join(site['frames'][:4])}" for site in role.attribution.sites[:4]]
    return Check(system, f"{at}: leak", outcome, f"{verdict.state}: {verdict.why}", tuple(evidence), seconds)


def _budget(system: str, at: str, role: RoleResult, budget: int) -> Check:
    name, held = f"{at}: budget", role.rest.get("anonymous", ())
    if not held:
        return Check(system, name, "error", "the process gave no reading of its anonymous memory")
    most = max(held)
    text = f"{most / (1 << 20):.1f} MiB at rest, {budget / (1 << 20):.1f} MiB allowed"
    return Check(system, name, "regression" if most > budget else "pass", text)


def _changed(measured: Baseline, baseline: Baseline) -> list[str]:
    """Which packages differ between a run and its baseline, by stack."""
    before = {entry.stack["name"]: set(entry.packages) for entry in baseline.entries}
    now = {entry.stack["name"]: set(entry.packages) for entry in measured.entries}
    notes = []
    for stack, packages in now.items():
        gone, come = sorted(before.get(stack, set()) - packages), sorted(packages - before.get(stack, set()))
        if gone or come:
            notes.append(f"{stack}: {', '.join(gone) or 'nothing'} became {', '.join(come) or 'nothing'}")
    return notes
