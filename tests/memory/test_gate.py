"""The gate on made-up results: what passes, what does not, and what every outcome looks like outside."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import BadInput, ExitCode
from harness.memory.baseline import Baseline, Entry, Measured, compare, difference
from harness.memory.gate import Check, GateReport, check_run, foreign
from harness.memory.measured import read_baseline, write_baseline
from harness.memory.result import Attribution, MemoryResult, RoleResult, judge_role
from harness.report.gate import annotation_lines, gate_markdown, junit

LIMITS = {"blocks": 0.1, "heap": 16.0, "fds": 0.001}
KEY = ("rabbit", "call", "client")


def role(per_op: float = 0.0, *, seed: int = 0, runs: int = 3, held: float = 40e6) -> RoleResult:
    source = np.random.default_rng(seed)
    made = [
        [
            {
                "operations": 500 * block,
                "blocks": 60_000 + per_op * 500 * block + source.normal(0, 5),
                "heap": 4_000_000 + source.normal(0, 200),
                "anonymous": held + source.normal(0, 40_000),
                "fds": 10,
            }
            for block in range(13)
        ]
        for _ in range(runs)
    ]
    return judge_role("client", made, LIMITS)


def measured(result: RoleResult, *, packages: tuple[str, ...] = ("kombu==5.7.0",), cpus: str = "2") -> Measured:
    entry = Entry(
        *KEY,
        kind="call",
        count=500,
        stack={"name": "oslo", "python": "3.11", "driver": "rabbit"},
        packages=packages,
        limits=LIMITS,
        slopes={name: growth.slopes for name, growth in result.verdict.growths.items()},
        rest=result.rest,
    )
    host = {"machine": "x86_64", "distribution": "Debian", "cpus": cpus, "runtime": "local"}
    return Measured(Baseline("memory-rabbit", "run-1", "2026-11-22T00:00:00Z", "0.1.0", host, (entry,)), {KEY: result})


def gate(result: RoleResult, before: RoleResult | None = None, budgets: dict[str, int] | None = None) -> GateReport:
    baseline = measured(before).baseline if before else None
    return check_run(measured(result), [], budgets or {}, baseline, {KEY: 12.0})


def test_a_clean_run_passes() -> None:
    report = gate(role(), role(seed=1), {"client": 60 << 20})
    assert report.exit_code == ExitCode.OK
    assert report.count("pass") == len(report.checks) == 6


def test_a_leak_is_a_regression() -> None:
    report = gate(role(1.0))
    assert report.exit_code == ExitCode.REGRESSION
    assert "leak: blocks" in report.checks[0].text


def test_one_repetition_is_inconclusive_never_a_pass() -> None:
    assert gate(role(runs=1)).exit_code == ExitCode.INCONCLUSIVE


def test_a_failed_measurement_is_an_infrastructure_failure() -> None:
    report = check_run(measured(role()), [("amqp1-memory", "the cell is failed: agent died")], {}, None, {})
    assert report.exit_code == ExitCode.INFRASTRUCTURE
    assert GateReport("s", "r", ()).exit_code == ExitCode.INFRASTRUCTURE


def test_a_regression_outranks_what_else_went_wrong() -> None:
    checks = (Check("a", "b", "error", ""), Check("a", "c", "inconclusive", ""), Check("a", "d", "regression", ""))
    assert GateReport("s", "r", checks).exit_code == ExitCode.REGRESSION


def test_more_memory_at_rest_than_the_baseline_or_the_budget_is_a_regression() -> None:
    assert gate(role(held=60e6), role(seed=1)).exit_code == ExitCode.REGRESSION
    assert gate(role(), budgets={"client": 30_000_000}).exit_code == ExitCode.REGRESSION
    assert gate(role(held=20e6), role(seed=1)).exit_code == ExitCode.OK


def test_identical_pairs_pass() -> None:
    outcomes = [gate(role(seed=2 * n), role(seed=2 * n + 1)).exit_code for n in range(50)]
    assert outcomes.count(ExitCode.OK) == 50


def test_the_difference_is_welch() -> None:
    low, middle, high = difference([2.0, 2.2, 2.4], [1.0, 1.2, 1.4])
    assert middle == pytest.approx(1.0)
    assert (low + high) / 2 == pytest.approx(1.0)
    assert low == pytest.approx(1.0 - 2.1318 * (2 * 0.04 / 3) ** 0.5, rel=1e-3)
    assert np.isnan(difference([1.0], [1.0, 2.0])[0])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"scenario": "other"}, "scenario"),
        ({"host": {"machine": "aarch64"}}, "another class of host"),
        ({"entries": ()}, "nothing on"),
    ],
)
def test_a_foreign_baseline_is_named(change: dict[str, object], why: str) -> None:
    own = measured(role()).baseline
    assert foreign(own, own) == ""
    assert why in foreign(own, replace(own, **change))  # type: ignore[arg-type]


def test_another_stack_is_foreign_other_packages_are_not() -> None:
    own = measured(role()).baseline
    other = replace(own, entries=(replace(own.entries[0], stack={**own.entries[0].stack, "python": "3.12"}),))
    assert "another stack" in foreign(own, other)
    upgraded = measured(role(), packages=("kombu==5.8.0",)).baseline
    assert foreign(upgraded, own) == ""
    report = check_run(measured(role(), packages=("kombu==5.8.0",)), [], {}, own, {})
    assert report.notes == ("oslo: kombu==5.7.0 became kombu==5.8.0",)


def test_a_baseline_file_reads_back_and_is_small(tmp_path: Path) -> None:
    path, own = tmp_path / "deep" / "baseline.json", measured(role()).baseline
    write_baseline(own, path)
    again = read_baseline(path)
    assert [one.state for one in compare(again.entries[0], own.entries[0])] == ["same"] * 4
    text = path.read_text()
    assert len(text.splitlines()) < 60
    assert len(text) < 4000


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": "femdc-memory-baseline", "schema": 99}'])
def test_a_missing_or_damaged_baseline_is_bad_input(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "baseline.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput):
        read_baseline(path)


def test_junit_says_what_the_exit_code_says() -> None:
    root = ET.fromstring(junit(gate(role(1.0), role(seed=1))))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("name"), suite.get("failures"), suite.get("errors")) == ("rabbit", "2", "0")
    assert len(root.findall(".//failure")) == 2
    bad = ET.fromstring(junit(GateReport("s", "r", (), bad_input="no \x00 baseline")))
    assert bad.find(".//error") is not None


def test_markdown_and_annotations_show_the_worst_first() -> None:
    found = Attribution(
        "python", ("one a.B per operation, held by c.D.e, allocated at f.py:3",), holders={"a.B": ["x"]}
    )
    leaking = replace(role(1.0), attribution=found)
    report = gate(leaking, role(seed=1))
    text = gate_markdown(report)
    assert text.index("FAIL") < text.index("| pass |")
    assert "allocated at f.py:3" in text
    lines = list(annotation_lines(report))
    assert all(line.startswith("::error title=rabbit%3A call%2C client") for line in lines)
    assert "one a.B per operation" in lines[0]


def test_verdict_json_is_plain_json() -> None:
    data = json.loads(json.dumps(gate(role()).to_json(), allow_nan=False))
    assert (data["exit_code"], data["outcome"]) == (0, "ok")


def test_results_survive_their_json() -> None:
    from harness.memory.result import DoseResult

    found = replace(role(1.0), attribution=Attribution("python", ("x",), ({"type": "a", "per_op": 1.0},)))
    dose = DoseResult("call", "call", "a call", 500, 6000, 0, 3, (found,), 8000, {"call:Gone": 1}, "", 9.5)
    result = MemoryResult((dose,), "calibrated")
    again = MemoryResult.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    assert again.to_json() == result.to_json()
