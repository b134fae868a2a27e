"""From a timeline to changes of processes: who is meant, when, and what is refused, with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.errors import BadFile
from harness.files import load_scenario, plan_run
from harness.lab.run import resolved_text
from harness.model.timeline import ProcessEvent
from harness.plan.process_events import Target, expand_process_events, process_event_faults

TARGETS = (
    Target("broker-core", "core", "bus", "main"),
    Target("broker-edge", "edge", "bus", "main"),
    Target("call-server-core-1", "core", "server", "call"),
    Target("tell-server-core-1", "core", "server", "tell"),
    Target("call-client-edge-1", "edge", "client", "call"),
)


def event(**fields: Any) -> ProcessEvent:
    return ProcessEvent.model_validate({"for" if key == "lasts" else key: value for key, value in fields.items()})


def played(*events: ProcessEvent, load_s: float = 100.0) -> list[tuple[float, str, str]]:
    return [(c.at_s, c.target, c.action) for c in expand_process_events(events, TARGETS, load_s)]


def faults(*events: ProcessEvent) -> list[tuple[tuple[str | int, ...], str]]:
    found = process_event_faults(events, TARGETS, ["router-core"], ["core", "edge"], ["call", "tell"], 100.0)
    return [(fault.at, fault.what) for fault in found]


def test_a_restart_stops_and_starts() -> None:
    (stop, start) = expand_process_events([event(at="30s", restart="broker-core", down="10s")], TARGETS, 100)
    assert (stop.at_s, stop.action, stop.bus, stop.label) == (
        30,
        "stop",
        "main",
        "broker-core: restart, down for 10s",
    )
    assert (start.at_s, start.action, start.label) == (40, "start", "broker-core: ready again")
    assert played(event(at="30s", restart="broker-core")) == [(30, "broker-core", "stop"), (30, "broker-core", "start")]


def test_each_component_in_turn_or_all_at_once() -> None:
    assert played(event(at="10s", kill="bus", lasts="5s", apart="20s")) == [
        (10, "broker-core", "kill"),
        (15, "broker-core", "start"),
        (30, "broker-edge", "kill"),
        (35, "broker-edge", "start"),
    ]
    assert [at for at, _, action in played(event(at="10s", stop="bus")) if action == "stop"] == [10, 10]


def test_groups_are_narrowed_by_site_and_workload() -> None:
    assert played(event(at="1s", pause="servers", workload="tell", lasts="2s")) == [
        (1, "tell-server-core-1", "pause"),
        (3, "tell-server-core-1", "resume"),
    ]
    assert played(event(at="1s", kill="bus", site="edge")) == [(1, "broker-edge", "kill")]
    assert played(event(at="1s", kill="clients")) == [(1, "call-client-edge-1", "kill")]


def test_repetition() -> None:
    stalls = event(at="10s", pause="call-server-core-1", lasts="2s", every="40s")
    assert [at for at, _, action in played(stalls) if action == "pause"] == [10, 50, 90]
    twice = event(at="10s", pause="call-server-core-1", lasts="2s", every="40s", times=2)
    assert [at for at, _, action in played(twice) if action == "pause"] == [10, 50]


def test_what_only_another_system_has_does_not_happen_in_this_one() -> None:
    restart = event(at="10s", restart="router-core")
    assert faults(restart) == []
    assert played(restart) == []


@pytest.mark.parametrize(
    ("fields", "at", "says"),
    [
        ({"restart": "broker-cor"}, "restart", "no bus component or agent called 'broker-cor'"),
        ({"kill": "bus", "site": "moon"}, "site", "no site 'moon'"),
        ({"kill": "servers", "workload": "cal"}, "workload", "no workload 'cal'"),
        ({"restart": "call-server-core-1"}, "restart", "cannot be started again"),
        ({"kill": "clients", "for": "5s"}, "for", "cannot be started again"),
        ({"pause": "clients", "site": "core"}, "pause", "there are no clients at core"),
        ({"kill": "broker-core", "at": "100s"}, "at", "when the load is over"),
        ({"kill": "bus", "apart": "60s", "at": "50s"}, None, "lasts until 110s"),
    ],
)
def test_what_does_not_fit_the_cell_or_the_load(fields: dict[str, Any], at: str | None, says: str) -> None:
    ((where, what),) = faults(ProcessEvent.model_validate({"at": "1s", **fields}))
    assert where == ((0,) if at is None else (0, at))
    assert says in what


def test_events_on_one_process_may_not_overlap() -> None:
    first = event(at="10s", pause="broker-core", lasts="10s")
    ((where, what),) = faults(first, event(at="15s", restart="bus"))
    assert where == (1,)
    assert "'broker-core', which is down or halted until 20s by event 1" in what
    assert faults(first, event(at="20s", restart="bus")) == []
    assert faults(event(at="10s", kill="broker-core"), event(at="15s", restart="bus"))[0][0] == (1,)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"restart": "bus", "kill": "bus"}, "one thing, this one restart and kill"),
        ({"restart": "bus", "for": "5s"}, "over when the component is ready"),
        ({"kill": "bus", "down": "5s"}, "only a restart has this"),
        ({"kill": "broker-core", "site": "core"}, "is one process already"),
        ({"kill": "broker-core", "apart": "5s"}, "is one process already"),
        ({"kill": "bus", "workload": "call"}, "serves every workload"),
        ({"pause": "bus", "for": 0}, "lasts some time"),
        ({"pause": "bus", "every": "5s"}, "for good cannot happen again"),
        ({"pause": "bus", "for": "5s", "apart": 0}, "takes some time"),
        ({"restart": "bus", "lnk": "ab"}, "unknown key 'lnk'"),
    ],
)
def test_what_an_event_cannot_say(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ProcessEvent.model_validate({"at": "1s", **fields})


SCENARIO = """\
name: small
topology:
  name: two
  sites: [core, edge]
  links: {core-edge: {between: [core, edge], rtt: 20ms}}
systems:
  rabbitmq:
    bus: {kind: rabbitmq, at: core}
    stack: oslo-14.7.3-rabbit
  amqp1:
    bus: {kind: router, at: [core, edge]}
    stack: oslo-14.7.3-amqp1
workloads:
  call: {pattern: rpc-call, clients: {edge: 1}, servers: {core: 1}, rate: 10/s}
load: {warmup: 1s, duration: 60s}
timeline:
  - {at: 2s, restart: bus, down: 1s, apart: 10s}
  - {at: 30s, link: all, partition: true, for: 2s, apart: 5s}
"""


def test_a_scenarios_timeline_is_planned_and_its_faults_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    loaded = load_scenario(path)
    plans = {cell.system: cell for cell in plan_run(loaded)}
    assert [(c.at_s, c.target, c.action) for c in plans["amqp1"].process_changes] == [
        (2, "router-core", "stop"),
        (3, "router-core", "start"),
        (12, "router-edge", "stop"),
        (13, "router-edge", "start"),
    ]
    assert [c.target for c in plans["rabbitmq"].process_changes] == ["broker-core", "broker-core"]
    assert {c.at_s for c in plans["amqp1"].changes} == {30, 32}
    again = tmp_path / "resolved.yaml"
    again.write_text(resolved_text(loaded))
    assert load_scenario(again).scenario.timeline == loaded.scenario.timeline
    for old, new, says in (
        ("restart: bus, down: 1s, apart: 10s", "restart: broker-cor", "timeline.0.restart: there is no bus component"),
        ("restart: bus", "restrat: bus", "timeline.0.restrat: unknown key 'restrat'"),
        ("at: 2s", "at: 70s", "timeline.0.at: it happens at 70s, when the load is over"),
    ):
        path.write_text(SCENARIO.replace(old, new))
        with pytest.raises(BadFile) as caught:
            plan_run(load_scenario(path))
        assert f"{path}:17: {says}" in str(caught.value)
    assert "router-core" in plan_text(path)


def plan_text(path: Path) -> str:
    from harness.cli.plan_text import plan_lines

    path.write_text(SCENARIO)
    return "\n".join(plan_lines(plan_run(load_scenario(path))))
