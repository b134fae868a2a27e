"""Campaigns: stopped, killed, failed and gone on with. Loopback agents on the fake runtime: real processes, no bus."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import load_run
from harness.errors import BadInput, BusFailure, CellsFailed, Interrupted
from harness.files import load_scenario
from harness.lab.cell import CellEnd, CellSettings, run_cell
from harness.lab.observer import Observer, Silent, Tick
from harness.lab.pace import Pace, Standing
from harness.lab.provision import Provided
from harness.lab.run import RunSettings, resume_run, run_scenario
from harness.plan.cell import CellPlan
from harness.report.answer import warnings_of
from harness.report.examine import examine
from harness.runtime.labs import abandoned_labs
from harness.store.run import Run
from harness.store.writer import CellWriter

ROOT = Path(__file__).parents[2]
SCENARIO: dict[str, Any] = {
    "name": "short",
    "topology": {"name": "one", "sites": ["here"]},
    "systems": {"loopback": {"bus": {"kind": "loopback"}, "stack": "loopback"}},
    "workloads": {"call": {"pattern": "rpc-call", "clients": "here", "servers": "here", "rate": "50/s"}},
    "load": {"warmup": "100ms", "duration": "900ms", "drain": "2s"},
    "sweep": {"rate": ["50/s", "100/s", "150/s"]},
}
#: Two cells, alike.
TWICE: dict[str, Any] = {"sweep": {}, "repetitions": 2}


class Watching(Silent):
    """Keeps what it is told, and acts at the first tick of a cell."""

    def __init__(self, act: Callable[[int], None] = lambda cell: None) -> None:
        self.act = act
        self.started: list[str] = []
        self.retries: list[str] = []
        self.standings: list[Standing] = []

    def tick(self, cell: str, tick: Tick) -> None:
        if not self.started or self.started[-1] != cell:
            self.started.append(cell)
            self.act(len(self.started))

    def retry(self, cell: str, why: str, left: int) -> None:
        self.retries.append(why)
        self.started.append("")

    def standing(self, standing: Standing) -> None:
        self.standings.append(standing)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def scenario(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}))
    return path


def run(tmp_path: Path, observer: Silent, *, retries: int = 0, lax_links: bool = False, **changes: Any) -> Path:
    settings = RunSettings(results=tmp_path / "results", runtime="fake", retries=retries, lax_links=lax_links)
    return run_scenario(load_scenario(scenario(tmp_path, **changes)), settings, observer)


def problems(run: Run) -> list[str]:
    """All but what the machine the tests run on has to say of its hypervisor."""
    return [text for text in run.problems if "hypervisor" not in text]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def newest(tmp_path: Path) -> Path:
    return load_run(tmp_path / "results" / "short").path


def fail() -> None:
    """What a lab raises when a part of it is gone."""
    raise BusFailure("it ended with 1 under load", where="broker-here")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(directory / "state"))
        with pytest.raises(Interrupted):
            run(directory, Watching(lambda cell: interrupt()), sweep={})
    return newest(directory)


def test_what_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="harness resume"):
        run(tmp_path, Watching(lambda cell: interrupt() if cell == 2 else None))
    stopped = load_run(newest(tmp_path))
    assert [cell.state for cell in stopped.all_cells] == ["valid", "interrupted", "planned"]
    first = (stopped.path / "cells" / stopped.all_cells[0].id / "cell.json").read_bytes()

    watching = Watching()
    path = resume_run(tmp_path / "results" / "short", watching)
    assert watching.started == [cell.id for cell in stopped.all_cells[1:]]
    assert [(s.done, s.of) for s in watching.standings] == [(1, 3), (2, 3), (3, 3)]
    whole = load_run(path)
    assert whole.path == stopped.path
    assert problems(whole) == []
    assert (path / "cells" / stopped.all_cells[0].id / "cell.json").read_bytes() == first
    assert "gone on with" in examine(whole).provenance["Run"]
    manifest = (path / "manifest.json").read_bytes()
    assert resume_run(path, Silent()) == path, "nothing is left to run"
    assert (path / "manifest.json").read_bytes() == manifest


def test_kill_9_costs_at_most_the_cell_under_way(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "harness", "run", str(scenario(tmp_path))),
            *("--runtime", "fake", "--json", "--results", str(tmp_path / "results")),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ended = 0
    for line in process.stdout:
        event = json.loads(line)
        ended += event["event"] == "cell_ended"
        if ended == 1 and event["event"] == "tick":
            process.kill()
            break
    process.communicate()
    killed = load_run(newest(tmp_path))
    assert [cell.state for cell in killed.all_cells] == ["valid", "unfinished", "planned"]
    watching = Watching()
    whole = load_run(resume_run(killed.path, watching))
    assert watching.started == [cell.id for cell in killed.all_cells[1:]]
    assert problems(whole) == []
    assert len(whole.latency) == 45 + 90 + 135
    assert not [lab for lab in abandoned_labs() if lab.run_id == whole.id], "what the killed one left is removed"


def test_a_failed_cell_is_run_again_and_listed(tmp_path: Path) -> None:
    watching = Watching(lambda cell: fail() if cell == 1 else None)
    whole = load_run(run(tmp_path, watching, retries=1, **TWICE))
    assert whole.state == "complete"
    assert len(watching.retries) == 1
    assert watching.standings[-1].retried == 1
    assert list(whole.cells["attempts"]) == [2, 1]
    (warning,) = [text for text in warnings_of(examine(whole)) if "was run again; before: failed" in text]
    assert whole.all_cells[0].id in warning
    assert list(whole.path.glob("attempts/*.1/logs/*.log")), "what the failed attempt left is kept"
    assert len(whole.latency) == 2 * 45, "and counts for nothing"


def test_a_cell_this_machine_made_invalid_is_run_again_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def late_once(plan: CellPlan, settings: CellSettings, writer: CellWriter, observer: Observer) -> CellEnd:
        if ended:
            return run_cell(plan, settings, writer, observer)
        ended.append(plan.id)
        writer.go(0)
        writer.finish("invalid", ["packets were released late"])
        return CellEnd("invalid", "invalid", ("packets were released late",), ("packets were released late",))

    monkeypatch.setattr("harness.lab.run.run_cell", late_once)
    watching = Watching()
    whole = load_run(run(tmp_path, watching, retries=1, **TWICE))
    assert whole.state == "complete"
    assert [cell.state for cell in whole.all_cells] == ["valid", "valid"]
    assert watching.retries == ["packets were released late"]
    assert list(whole.cells["attempts"]) == [2, 1]
    (warning,) = [text for text in warnings_of(examine(whole)) if "was run again; before: invalid" in text]
    assert "released late" in warning


@pytest.mark.parametrize(("accepted", "warnings"), [((), 0), (("packets were released late",), 1)])
def test_lax_links_are_told_of_where_they_let_something_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepted: tuple[str, ...], warnings: int
) -> None:
    def accepting(plan: CellPlan, settings: CellSettings, writer: CellWriter, observer: Observer) -> CellEnd:
        return replace(run_cell(plan, settings, writer, observer), accepted=accepted)

    monkeypatch.setattr("harness.lab.run.run_cell", accepting)
    whole = load_run(run(tmp_path, Watching(), lax_links=True, **TWICE))
    assert len([text for text in whole.manifest.warnings if "--lax-links" in text]) == warnings


def test_a_cell_that_fails_for_good_does_not_stop_the_others(tmp_path: Path) -> None:
    watching = Watching(lambda cell: fail() if cell == 1 else None)
    with pytest.raises(CellsFailed, match="1 of 2 cells failed: loopback-r1: broker-here: it ended with 1") as caught:
        run(tmp_path, watching, **TWICE)
    assert caught.value.where == str(newest(tmp_path))
    assert "harness resume" in str(caught.value.remedy)
    assert isinstance(caught.value.__cause__, BusFailure)
    failed = load_run(newest(tmp_path))
    assert failed.state == "failed"
    assert [cell.state for cell in failed.all_cells] == ["failed", "valid"]
    assert any(failed.all_cells[0].id in problem for problem in failed.problems)
    again = load_run(resume_run(failed.path, Silent()))
    assert again.state == "complete"
    assert list(again.cells["attempts"]) == [2, 1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda manifest: manifest["host"].update(processor="Z80"), r"another machine .*processor"),
        (lambda manifest: manifest.update(harness="0.0.1"), "began with harness 0.0.1"),
        (lambda manifest: manifest.update(fingerprint="00"), "scenario was changed"),
        (lambda manifest: manifest["facts"].clear(), "no record of its settings"),
    ],
)
def test_only_what_is_alike_goes_on(
    interrupted: Path, tmp_path: Path, change: Callable[[Any], None], says: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(interrupted, copy)
    content = json.loads((copy / "manifest.json").read_text())
    change(content)
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=says):
        resume_run(copy, Silent())


def test_time_left_is_learnt_from_the_cells_that_ran(tmp_path: Path) -> None:
    from harness.files import plan_run

    cells: tuple[CellPlan, ...] = plan_run(load_scenario(scenario(tmp_path)))
    pace = Pace()

    def left(plans: Sequence[CellPlan]) -> tuple[float, bool]:
        left_s, at_least = pace.left(plans)
        return round(left_s, 6), at_least

    assert left(cells) == (3.0, True)
    pace.took(cells[0], 4.0)
    pace.took(cells[1], 6.0)
    assert left(cells[2:]) == (5.0, False)
    assert left(()) == (0.0, False)


def test_what_is_made_while_stacks_are_built_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_arguments: object) -> Provided:
        places.append(tempfile.gettempdir())
        (tmp_path / "state" / "femdc-harness" / "labs" / f"{Path(places[0]).name}.json").read_text()
        raise BusFailure("not today")

    places: list[str] = []
    monkeypatch.setattr("harness.lab.run.provide", look)
    with pytest.raises(BusFailure):
        run(tmp_path, Silent())
    assert not Path(places[0]).exists()
    assert not list((tmp_path / "results").glob("*/*"))
