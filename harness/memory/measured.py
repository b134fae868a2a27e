"""From a stored run to the figures gates and baselines work with; and baselines as files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.errors import BadInput, DamagedResult
from harness.memory.baseline import Baseline, Entry, Measured, host_class
from harness.memory.gate import Check, GateReport, check_run, foreign
from harness.memory.result import RoleResult
from harness.memory.stored import is_memory_cell, stored_result, system_label
from harness.model.memory import limits_of
from harness.store import facts
from harness.store.atomic import replace_text
from harness.store.cell import Cell
from harness.store.run import Run

#: A list of numbers as json.dumps indents it.
_NUMBERS = re.compile(r"\[\s*(-?[\d.eE+-]+(?:,\s*-?[\d.eE+-]+)*)\s*\]")

__all__ = ["budgets_of", "gate_run", "measure_run", "read_baseline", "write_baseline"]


def measure_run(run: Run) -> tuple[Measured, list[tuple[str, str]], dict[tuple[str, str, str], float]]:
    """The figures of a run's memory cells; (cell, why) of those without any; and seconds per dose.

    Raises:
        BadInput: the run has no memory cell at all.
    """
    cells = [cell for cell in run.all_cells if is_memory_cell(cell)]
    if not cells:
        raise BadInput(
            "the run has no memory verdicts", where=str(run.path), remedy="give its scenario a memory section"
        )
    entries: list[Entry] = []
    results: dict[tuple[str, str, str], RoleResult] = {}
    seconds: dict[tuple[str, str, str], float] = {}
    failures: list[tuple[str, str]] = []
    runtime = ""
    for cell in cells:
        try:
            result = stored_result(cell) if cell.state == "valid" else None
        except DamagedResult as error:
            failures.append((cell.id, error.what))
            continue
        if result is None:
            failures.append((cell.id, f"the cell is {cell.state}: " + ("; ".join(cell.reasons) or "it has no verdict")))
            continue
        assert cell.record is not None
        runtime = str(cell.record.facts.get(facts.RUNTIME, {}).get("runtime", ""))
        for dose in result.doses:
            for role in dose.roles:
                entry = _entry(cell, dose.name, dose.kind, dose.count >> dose.level, role)
                entries.append(entry)
                results[entry.key] = role
                seconds[entry.key] = dose.seconds
    manifest = run.manifest
    baseline = Baseline(
        scenario=manifest.scenario,
        run=run.id,
        made=manifest.started,
        harness=manifest.harness,
        host=host_class(manifest.host, runtime),
        entries=tuple(entries),
    )
    return Measured(baseline, results), failures, seconds


def _entry(cell: Cell, dose: str, kind: str, count: int, role: RoleResult) -> Entry:
    assert cell.record is not None
    agent = next(a for a in cell.record.agents if a.workload == dose and a.role == role.role)
    stack = dict(cell.record.facts.get(facts.STACKS, {}).get(agent.stack, {}))
    limits = {
        name: g.delta for name, g in role.verdict.growths.items() if g.delta == g.delta and name in limits_of(kind)
    }
    return Entry(
        system=system_label(cell.system, cell.point),
        dose=dose,
        role=role.role,
        kind=kind,
        count=count,
        stack={
            "name": agent.stack,
            "python": ".".join(str(stack.get("python", "")).split(".")[:2]),
            "driver": str(agent.task.get("driver", "")),
        },
        packages=tuple(stack.get("packages", ())),
        limits=limits,
        slopes={name: g.slopes for name, g in role.verdict.growths.items() if g.slopes},
        rest=role.rest,
    )


def budgets_of(run: Run) -> dict[str, int]:
    """The budgets of a run's scenario, bytes by role. Raises DamagedResult."""
    from harness.model.quantities import parse_size

    try:
        memory = dict(yaml.safe_load(run.resolved)["memory"])
        return {str(role): parse_size(size) for role, size in (memory.get("budgets") or {}).items()}
    except (KeyError, TypeError, ValueError, yaml.YAMLError):
        return {}


def read_baseline(path: Path) -> Baseline:
    """A baseline file. Raises BadInput: a baseline that is missing or cannot be read is an error, never a pass."""
    remedy = "make one of a run that was found good: harness baseline update RUN --file FILE"
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, Mapping):
            raise ValueError("it is no memory baseline")
        return Baseline.from_json(data)
    except OSError as error:
        raise BadInput(f"the baseline cannot be read: {error.strerror}", where=str(path), remedy=remedy) from None
    except (KeyError, TypeError, ValueError) as error:
        what = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise BadInput(f"the baseline cannot be used: {what}", where=str(path), remedy=remedy) from None


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline file: one figure's processes on a line, so that its diffs can be reviewed."""
    text = json.dumps(baseline.to_json(), indent=1, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, _joined_numbers(text) + "\n")
    except OSError as error:
        raise BadInput(f"the baseline cannot be written: {error.strerror}", where=str(path)) from None


def _joined_numbers(text: str) -> str:
    """JSON with lists of numbers on one line."""
    return _NUMBERS.sub(lambda match: "[" + re.sub(r"\s+", " ", match[1]) + "]", text)


def gate_run(run: Run, baseline_path: Path | None, budgets: Mapping[str, int]) -> GateReport:
    """Gate a stored run.

    Args:
        baseline_path: a baseline to compare with, or None.
        budgets: anonymous memory at rest by role, bytes, over the scenario's own.

    Raises:
        BadInput: no memory verdicts; a baseline that is missing, damaged or foreign.
    """
    measured, failures, seconds = measure_run(run)
    baseline = read_baseline(baseline_path) if baseline_path is not None else None
    if baseline is not None and (why := foreign(measured.baseline, baseline)):
        raise BadInput(why, where=str(baseline_path), remedy="a baseline of this scenario, stack and class of host")
    report = check_run(measured, failures, {**budgets_of(run), **budgets}, baseline, seconds)
    if run.state == "complete" or failures:
        return report
    checks = (*report.checks, Check(run.id, "run", "error", f"the run is {run.state}"))
    return GateReport(report.scenario, report.run, checks, report.notes)
