"""What the timeline does to processes, and what becomes of a cell whose agents die: real agents, a real broker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import load_run
from harness.errors import CellsFailed
from harness.files import load_scenario
from harness.lab.observer import Silent, Tick
from harness.lab.run import RunSettings, run_scenario
from harness.report.answer import answer
from harness.report.examine import examine
from harness.store.run import Run

ALONE: dict[str, Any] = {
    "name": "alone",
    "topology": {"name": "one", "sites": ["here"]},
    "systems": {"loopback": {"bus": {"kind": "loopback"}, "stack": "loopback"}},
    "workloads": {
        "call": {"pattern": "rpc-call", "clients": {"here": 2}, "servers": {"here": 2}, "rate": "20/s", "timeout": "3s"}
    },
    "load": {"warmup": 0, "duration": "6s", "drain": "5s"},
}


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(tmp_path: Path, scenario: dict[str, Any], runtime: str = "fake", observer: Silent | None = None) -> Run:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario))
    settings = RunSettings(results=tmp_path / "results", runtime=runtime, lax_links=True)
    return load_run(run_scenario(load_scenario(path), settings, observer or Silent()))


class Once(Silent):
    """Does something when the load has run for two seconds."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self.notes: list[str] = []

    def tick(self, cell: str, tick: Tick) -> None:
        if tick.t_s > 2.0:
            action, self._action = self._action, lambda: None
            threading.Thread(target=action).start()

    def note(self, text: str) -> None:
        self.notes.append(text)


def pid_of(results: Path, log: str) -> int:
    """The process whose stderr is that agent's log."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = str((entry / "fd" / "2").readlink())
            except OSError:
                continue
            if target.startswith(str(results)) and target.endswith(f"/{log}.log"):
                return int(entry.name)
    raise AssertionError(f"no process writes {log}.log")


def test_a_halted_server_holds_up_what_it_serves_and_goes_on(tmp_path: Path) -> None:
    timeline = [{"at": "2s", "pause": "servers", "for": "1s"}]
    result = run(tmp_path, {**ALONE, "timeline": timeline})
    (cell,) = result.all_cells
    assert cell.state == "valid", cell.reasons
    assert cell.record is not None
    events = cell.record.facts["process_events"]
    assert [e["action"] for e in events] == ["pause", "pause", "resume", "resume"]
    assert all(e["due_s"] <= e["at_s"] for e in events)
    assert any("pause for 1s" in event.what for event in cell.record.events)
    operations = result.operations().sort_values("due_s")
    assert operations["response_ms"].max() >= 900
    assert operations["outcome"].iloc[-1] == "ok"


def test_an_agent_the_timeline_kills_is_part_of_the_plan(tmp_path: Path) -> None:
    timeline = [{"at": "2s", "kill": "call-server-here-1"}, {"at": "3s", "stop": "call-client-here-2"}]
    result = run(tmp_path, {**ALONE, "timeline": timeline})
    (cell,) = result.all_cells
    assert cell.state == "valid", cell.reasons
    ended = {agent.name: agent.facts for agent in cell.agents.values() if agent.facts.get("killed")}
    assert set(ended) == {"call-server-here-1", "call-client-here-2"}
    assert all(facts["planned"] for facts in ended.values())
    assert {row["fault"] for _, row in result.recovery.iterrows()} == {
        "call-server-here-1: kill",
        "call-client-here-2: stop",
    }


def test_operations_that_end_while_records_are_fetched_are_still_under_way(tmp_path: Path) -> None:
    slow = {"threads": 128, "service_time": "2s"}
    call = {**ALONE["workloads"]["call"], "rate": "50/s", "workers": 128, "server": slow}
    load = {"warmup": 0, "duration": "3s", "drain": "500ms"}
    result = run(tmp_path, {**ALONE, "workloads": {"call": call}, "load": load})
    (cell,) = result.all_cells
    assert cell.state == "valid", cell.reasons
    assert result.delivery["in_flight"].sum() > 50


def test_what_was_accepted_and_is_under_way_is_waited_for(tmp_path: Path) -> None:
    """A client of casts has ended long before its last one is dealt with; one more than a drain takes is lost."""
    slow = {"threads": 64, "service_time": "1500ms"}
    one = {"clients": "here", "servers": {"here": 2}, "rate": "20/s", "server": slow}
    patterns = {"cast": "rpc-cast", "tell-all": "rpc-fanout", "notify": "notify"}
    scenario = {
        **ALONE,
        "workloads": {name: {**one, "pattern": pattern} for name, pattern in patterns.items()},
        "load": {"warmup": 0, "duration": "3s", "drain": "20s"},
    }
    delivery = run(tmp_path, scenario).delivery
    assert dict(delivery.set_index("workload")["expected"]) == {"cast": 60, "tell-all": 120, "notify": 60}
    assert not delivery["lost"].any()
    short = run(tmp_path, {**scenario, "load": {"warmup": 0, "duration": "3s", "drain": "500ms"}}).delivery
    assert short["lost"].all()


def test_an_agent_that_dies_costs_its_own_results_only(tmp_path: Path) -> None:
    observer = Once(lambda: os.kill(pid_of(tmp_path, "call-client-here-1"), signal.SIGKILL))
    result = run(tmp_path, ALONE, observer=observer)
    (cell,) = result.all_cells
    assert cell.state == "degraded"
    (reason,) = cell.reasons
    assert reason.startswith("agent call-client-here-1 died (killed by signal 9)")
    assert any("call-client-here-1 died" in note for note in observer.notes), "it is told at once"
    findings = examine(result)
    said = answer(findings)
    assert "Cell loopback-r1 is degraded: agent call-client-here-1 died" in said.warnings[0]
    (pair,) = findings.pairs
    assert pair.headline.n == 120, "all of the other client's operations, none of its own"
    assert any(doubt.kind == "the cell is degraded" for doubt in pair.doubts)
    rows = {row["agent"]: row for row in result.delivery.to_dict("records")}
    assert 20 <= rows["call-client-here-1"]["finished"] < 120, "what it had recorded is kept"
    assert rows["call-client-here-2"]["accepted"] == 120


def test_the_death_of_the_last_client_ends_the_cell(tmp_path: Path) -> None:
    call = {**ALONE["workloads"]["call"], "clients": "here"}
    observer = Once(lambda: os.kill(pid_of(tmp_path, "call-client-here-1"), signal.SIGKILL))
    with pytest.raises(CellsFailed, match="died"):
        run(tmp_path, {**ALONE, "workloads": {"call": call}}, observer=observer)


def test_a_server_halted_by_hand_is_named_as_deaf(tmp_path: Path) -> None:
    def halt() -> None:
        pid = pid_of(tmp_path, "call-server-here-2")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        os.kill(pid, signal.SIGCONT)

    call = {**ALONE["workloads"]["call"], "timeout": "1s", "workers": 64}
    result = run(tmp_path, {**ALONE, "workloads": {"call": call}}, observer=Once(halt))
    (cell,) = result.all_cells
    assert cell.state == "valid", cell.reasons
    (deaf,) = examine(result).cells[0].deaf
    assert cell.agents[deaf.agent].name == "call-server-here-2"
    assert 1.5 < deaf.since_s < 6
    assert any("Deaf: server call-server-here-2" in text for text in answer(examine(result)).sentences)


RESTARTS: dict[str, Any] = {
    "name": "restarts",
    "topology": {
        "name": "two",
        "sites": ["core", "edge"],
        "links": {"core-edge": {"between": ["core", "edge"], "rtt": "100ms"}},
    },
    "systems": {
        "rabbitmq": {"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "oslo-14.7.3-rabbit"},
        "amqp1": {
            "bus": {"kind": "router", "at": ["core", "edge"], "implementation": "embedded"},
            "stack": "oslo-14.7.3-amqp1",
        },
    },
    "workloads": {
        "call": {"pattern": "rpc-call", "clients": "edge", "servers": "core", "rate": "10/s", "timeout": "5s"}
    },
    "load": {"warmup": "1s", "duration": "15s", "drain": "8s"},
    "timeline": [{"at": "4s", "restart": "bus", "apart": "100ms"}],
}


def test_every_bus_component_is_restarted_in_turn_and_service_comes_back(tmp_path: Path) -> None:
    result = run(tmp_path, RESTARTS, runtime="local")
    found = {cell.system: cell for cell in result.all_cells}
    for system, components in (("rabbitmq", ["broker-core"]), ("amqp1", ["router-core", "router-edge"])):
        cell = found[system]
        assert cell.state == "valid", cell.reasons
        assert cell.record is not None
        events = cell.record.facts["process_events"]
        assert sorted((e["target"], e["action"]) for e in events) == sorted(
            (component, action) for component in components for action in ("start", "stop")
        )
        samples = cell.samples()
        for component in components:
            own = samples[samples["process"] == component]
            assert own["pid"].nunique() > 1, "the new process is sampled too"
    recovery = result.recovery.set_index(["system", "fault"])
    seen = recovery[recovery["watched_s"] > 6]
    assert seen["first_success_s"].notna().all(), recovery
    assert {"begin_s", "end_s", "back_s", "interruption_s"} <= set(recovery.columns)
    findings = examine(result)
    assert any("amqp1 met 2 faults" in sentence for sentence in answer(findings).sentences)
