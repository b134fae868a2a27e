"""What `harness run` tells when some of its cells fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from harness.cli.main import main
from harness.errors import BusFailure
from harness.lab.cell import CellEnd, CellSettings, run_cell
from harness.lab.observer import Observer
from harness.plan.cell import CellPlan
from harness.store.run import load_run
from harness.store.writer import CellWriter

SCENARIO = {
    "name": "short",
    "topology": {"name": "one", "sites": ["here"]},
    "systems": {"loopback": {"bus": {"kind": "loopback"}, "stack": "loopback"}},
    "workloads": {"call": {"pattern": "rpc-call", "clients": "here", "servers": "here", "rate": "50/s"}},
    "load": {"warmup": "100ms", "duration": "900ms", "drain": "2s"},
    "repetitions": 2,
}


def fail(plan: CellPlan, settings: CellSettings, writer: CellWriter, observer: Observer) -> CellEnd:
    raise BusFailure("it ended with 1", where="broker-here")


def fail_first(plan: CellPlan, settings: CellSettings, writer: CellWriter, observer: Observer) -> CellEnd:
    return (fail if plan.repetition == 1 else run_cell)(plan, settings, writer, observer)


def harness(monkeypatch: pytest.MonkeyPatch, directory: Path, *options: str) -> object:
    """Run the scenario; the exit code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(directory / "state"))
    (directory / "short.yaml").write_text(yaml.safe_dump(SCENARIO))
    arguments = ["run", str(directory / "short.yaml"), "--runtime", "fake", "--retries", "0"]
    monkeypatch.setattr(sys, "argv", ["harness", *arguments, "--results", str(directory / "results"), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(("some", "states"), [(fail_first, ["failed", "valid"]), (fail, ["failed", "failed"])])
def test_a_run_with_failed_cells_has_its_report(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    some: object,
    states: list[str],
) -> None:
    monkeypatch.setattr("harness.lab.run.run_cell", some)
    assert harness(monkeypatch, tmp_path) == 3
    run = load_run(tmp_path / "results" / "short")
    assert [cell.state for cell in run.all_cells] == states
    said = capsys.readouterr()
    assert f"report: {run.path / 'report.html'}" in said.out
    assert "loopback-r1 is failed" in " ".join((run.path / "report.md").read_text().split())
    assert f"{run.path}: {states.count('failed')} of 2 cells failed: loopback-r1: broker-here" in said.err
    assert f"harness resume {run.path}" in said.err


def test_machines_are_told_where_the_result_of_a_run_with_failed_cells_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.lab.run.run_cell", fail_first)
    assert harness(monkeypatch, tmp_path, "--json") == 3
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "result", "path": str(load_run(tmp_path / "results" / "short").path)}
