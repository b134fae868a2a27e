"""Doses for real: fresh processes of the loopback client, leaks made on purpose, and what the report says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from harness.cli.baseline import baseline
from harness.cli.gate import gate
from harness.errors import BadInput, CellsFailed, ExitCode, HarnessError, InfrastructureFailure, Regression
from harness.lab.measure import measure_memory
from harness.memory.stored import stored_results
from harness.report.examine import examine
from harness.report.memory import memory_sentences
from harness.store.layout import READINGS
from harness.store.run import load_run

SCENARIO = """
name: dosed
topology: {{name: one-site, sites: [here]}}
systems:
  loopback:
    bus: {{kind: loopback}}
    stack: loopback
memory:
  repetitions: 2
  blocks: 7
  warmup_blocks: 1
  pause: 10ms
  doublings: 0
  rest: 100ms
  doses: {doses}
"""


def write(path: Path, doses: str) -> Path:
    path.write_text(SCENARIO.format(doses=doses))
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doses")
    doses = (
        "{clean: {kind: call, count: 60}, "
        "objects: {kind: call, count: 60, leak: {what: objects}}, "
        "native: {kind: connect, count: 30, leak: {what: bytes, size: 100B}}, "
        "open: {kind: connect, count: 10, leak: {what: fds}}, "
        "running: {kind: connect, count: 5, leak: {what: threads}}}"
    )
    return measure_memory(write(directory / "dosed.yaml", doses), directory / "results", runtime="fake")


def test_leaks_are_found_and_attributed_and_the_clean_client_is_clean(found: Path) -> None:
    ((_, result),) = stored_results(load_run(found))
    states = {(dose.name, role.role): role.verdict.state for dose in result.doses for role in dose.roles}
    assert states == {
        ("clean", "client"): "clean",
        ("clean", "server"): "clean",
        ("objects", "client"): "leak",
        ("objects", "server"): "clean",
        ("native", "client"): "leak",
        ("open", "client"): "leak",
        ("running", "client"): "leak",
    }
    told = {dose.name: role.attribution for dose in result.doses for role in dose.roles if role.attribution}
    assert told["objects"].origin == "python"
    assert told["objects"].sentences[0].startswith("one harness.agent.leak.Leaked per operation")
    assert "Leak._last" in told["objects"].sentences[0]
    assert "agent/leak.py:" in told["objects"].sentences[0]
    assert told["native"].origin == "native"
    assert told["open"].origin == "descriptors"
    assert any("one thread left running" in sentence for sentence in told["running"].sentences)


def test_native_growth_alone_is_asked_for_another_round(found: Path) -> None:
    (file,) = found.rglob(READINGS)
    readings = pd.read_parquet(file)
    rests = readings[(readings["purpose"] == "rest") & (readings["role"] == "client")].groupby("dose").size()
    assert rests.to_dict() == {"objects": 2, "native": 3, "open": 2, "running": 2}


def test_reports_tell_it(found: Path) -> None:
    findings = examine(load_run(found))
    text = " ".join(memory_sentences(findings.memory))
    assert "The client leaks on loopback under objects" in text
    assert "No leak on loopback under clean (client)" in text or "clean (server), clean (client)" in text


def test_the_gate_fails_and_says_so_everywhere(found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    ended = CliRunner().invoke(gate, [str(found), "--out", str(tmp_path)])
    assert isinstance(ended.exception, Regression)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["exit_code"] == ExitCode.REGRESSION
    assert "::error title=loopback%3A objects%2C client" in ended.output
    assert "<failure" in (tmp_path / "junit.xml").read_text()
    assert "FAIL" in (tmp_path / "step.md").read_text()


def test_a_run_with_leaks_is_no_baseline(found: Path, tmp_path: Path) -> None:
    ended = CliRunner().invoke(baseline, ["update", str(found), "--file", str(tmp_path / "b.json")])
    assert isinstance(ended.exception, BadInput)
    assert not (tmp_path / "b.json").exists()


def test_a_baseline_of_a_clean_run_passes_and_a_missing_one_never_does(tmp_path: Path) -> None:
    scenario = write(tmp_path / "dosed.yaml", "{call: 50}")
    run = measure_memory(scenario, tmp_path / "results", runtime="fake")
    file = tmp_path / "baseline.json"
    ended = CliRunner().invoke(baseline, ["update", str(run), "--file", str(file)], catch_exceptions=False)
    assert "new: loopback call client" in ended.output
    passed = CliRunner().invoke(gate, [str(run), "--baseline", str(file), "--out", str(tmp_path)])
    assert passed.exception is None, passed.output
    missing = CliRunner().invoke(gate, [str(run), "--baseline", str(tmp_path / "none.json"), "--out", str(tmp_path)])
    assert isinstance(missing.exception, BadInput)
    assert json.loads((tmp_path / "verdict.json").read_text())["exit_code"] == ExitCode.BAD_INPUT
    data = json.loads(file.read_text())
    data["host"]["machine"] = "another"
    file.write_text(json.dumps(data))
    foreign = CliRunner().invoke(gate, [str(run), "--baseline", str(file), "--out", str(tmp_path)])
    assert isinstance(foreign.exception, BadInput)
    assert "another class of host" in str(foreign.exception)


def test_a_process_that_dies_in_mid_dose_is_an_infrastructure_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.lab.agents import AgentHandle

    quiesce, count = AgentHandle.quiesce, iter(range(100))

    def killed(self: AgentHandle, timeout_s: float, *, pause_s: float = 0.2) -> object:
        if next(count) == 3:
            self.process.signal(9)
        return quiesce(self, timeout_s, pause_s=pause_s)

    monkeypatch.setattr(AgentHandle, "quiesce", killed)
    scenario = write(tmp_path / "dosed.yaml", "{connect: 5}")
    with pytest.raises(CellsFailed, match=r"dose connect, process \d of 2"):
        measure_memory(scenario, tmp_path / "results", runtime="fake")
    ended = CliRunner().invoke(gate, [str(tmp_path / "results" / "dosed"), "--out", str(tmp_path)])
    assert isinstance(ended.exception, HarnessError)
    assert json.loads((tmp_path / "verdict.json").read_text())["exit_code"] == ExitCode.INFRASTRUCTURE


def test_a_dose_of_which_nothing_succeeds_is_given_up_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.lab import disturb
    from harness.lab.agents import AgentHandle

    prepare = AgentHandle.prepare

    def halted(self: AgentHandle, task: Mapping[str, Any], **more: Any) -> object:
        prepared = prepare(self, task, **more)
        if task["role"] == "server":
            self.process.signal(19)
        return prepared

    monkeypatch.setattr(AgentHandle, "prepare", halted)
    monkeypatch.setattr(disturb, "_PATIENCE_S", 0.5)
    scenario = write(tmp_path / "dosed.yaml", "{call: {count: 500, timeout: 500ms}}")
    ((_, result),) = stored_results(load_run(measure_memory(scenario, tmp_path / "results", runtime="fake")))
    (dose,) = result.doses
    assert dose.trouble.startswith("no operation succeeded")
    assert {role.verdict.state for role in dose.roles} == {"inconclusive"}


def test_a_client_that_gets_stuck_under_twice_the_dose_is_told_with_its_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.lab import disturb
    from harness.lab.agents import AgentHandle

    prepare, go = AgentHandle.prepare, AgentHandle.go
    servers: list[AgentHandle] = []
    begun: list[AgentHandle] = []

    def prepared(self: AgentHandle, task: Mapping[str, Any], **more: Any) -> object:
        servers.extend([self] if task["role"] == "server" else [])
        return prepare(self, task, **more)

    def gone(self: AgentHandle, *at: Any, **more: Any) -> object:
        begun.append(self)
        if len(servers) == 3 and begun.count(self) == 6:  # the third set of processes confirms what the others showed
            servers[-1].process.signal(19)
        return go(self, *at, **more)

    monkeypatch.setattr(AgentHandle, "prepare", prepared)
    monkeypatch.setattr(AgentHandle, "go", gone)
    monkeypatch.setattr(disturb, "_PATIENCE_S", 0.5)
    scenario = write(tmp_path / "dosed.yaml", "{call: {count: 100, timeout: 500ms, leak: {what: objects}}}")
    run = load_run(measure_memory(scenario, tmp_path / "results", runtime="fake"))
    ((_, result),) = stored_results(run)
    assert result.doses[0].trouble.startswith("given twice the dose, no operation succeeded any more, after 10")
    said = " ".join(memory_sentences(examine(run).memory))
    leaked = re.search(r"The client leaks on loopback under call: ([0-9.]+) \[", said)
    assert leaked is not None, said
    assert float(leaked[1]) == pytest.approx(1, abs=0.1)  # an interval of what was read, not of what was made
    assert "Given twice the dose, no operation succeeded any more" in said


def test_a_process_that_dies_while_traced_costs_the_trace_and_not_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.lab.agents import AgentHandle

    inspect = AgentHandle.inspect

    def killed(self: AgentHandle, what: str, timeout_s: float = 120.0, **arguments: object) -> object:
        if what == "trace":
            self.process.signal(9)
        return inspect(self, what, timeout_s, **arguments)

    monkeypatch.setattr(AgentHandle, "inspect", killed)
    scenario = write(tmp_path / "dosed.yaml", "{objects: {kind: call, count: 60, leak: {what: objects}}}")
    ((_, result),) = stored_results(load_run(measure_memory(scenario, tmp_path / "results", runtime="fake")))
    client = next(role for role in result.doses[0].roles if role.role == "client")
    assert client.verdict.state == "leak"
    assert client.attribution is not None
    first, *_, last = client.attribution.sentences
    assert first.startswith("one harness.agent.leak.Leaked per operation")
    assert "not found out" in last
    assert "killed by signal 9" in last


def test_a_scenario_without_doses_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        measure_memory(Path("scenarios/loopback.yaml"), tmp_path, runtime="fake")


def test_a_stack_that_cannot_be_built_is_an_infrastructure_failure(tmp_path: Path) -> None:
    scenario = write(tmp_path / "dosed.yaml", "{connect: 5}")
    stack = "stacks: {nowhere: {python: /nowhere/bin/python3}}\n"
    scenario.write_text(scenario.read_text().replace("stack: loopback", "stack: nowhere") + stack)
    ended = CliRunner().invoke(gate, [str(scenario), "--runtime", "fake", "--results", str(tmp_path / "results")])
    assert isinstance(ended.exception, InfrastructureFailure), ended.output
    verdict = json.loads((tmp_path / "results" / "verdict.json").read_text())
    assert verdict["exit_code"] == ExitCode.INFRASTRUCTURE
    assert "nowhere" in verdict["checks"][0]["text"]
