"""The `memory:` section: shorthands, defaults, located errors, and the plan it makes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from harness.agent import limits as agent_limits
from harness.agent.limits import check_limits
from harness.agent.task import PATTERNS, Task
from harness.errors import BadFile
from harness.files import plan_run, scenario_from_text
from harness.model.memory import CHURN_OF, KINDS, SHARED_EVENTS
from harness.plan.cell import CellPlan

ROUTED: dict[str, Any] = {"bus": {"kind": "router", "at": "core"}, "stack": "oslo-14.7.3-amqp1"}
LOOPED: dict[str, Any] = {"bus": {"kind": "loopback"}, "stack": "loopback"}
TOPOLOGY = {
    "name": "two",
    "sites": ["core", "edge"],
    "links": {"core-edge": {"between": ["core", "edge"], "rtt": "20ms"}},
}


def cells(memory: Any, system: dict[str, Any], **more: Any) -> tuple[CellPlan, ...]:
    data = {"name": "m", "topology": TOPOLOGY, "systems": {"s": system}, "memory": memory, **more}
    return plan_run(scenario_from_text(yaml.safe_dump(data, sort_keys=False), "m.yaml"))


def test_a_list_of_kinds_has_their_defaults() -> None:
    (cell,) = cells({"doses": ["call", "cast-nobody"]}, LOOPED)
    assert cell.memory is not None
    call, nobody = cell.memory.doses
    assert (call.count, call.client.task["workers"]) == (KINDS["call"].count, KINDS["call"].workers)
    assert call.server is not None
    assert nobody.server is None
    assert call.limits["blocks"] == 0.1
    assert (cell.memory.blocks, cell.memory.warmup_blocks, cell.memory.repetitions) == (12, 4, 5)


def test_every_kind_can_be_planned_on_a_router_far_away() -> None:
    (cell,) = cells({"doses": "all", "client": "edge", "server": "core"}, ROUTED)
    assert cell.memory is not None
    assert {dose.client.node for dose in cell.memory.doses} == {"host-edge"}
    by_name = {dose.name: dose for dose in cell.memory.doses}
    assert by_name["reconnect"].limits["blocks"] == 0.5
    assert by_name["cut"].client.task["options"]["oslo_messaging_amqp"]["idle_timeout"] == 4


@pytest.mark.parametrize(("release", "known"), [("5.13.0", False), ("5.14.0", True)])
def test_idle_links_are_given_up_soon_by_releases_that_give_them_up_at_all(release: str, known: bool) -> None:
    stack = {"name": "old", "requirements": [f"oslo.messaging=={release}", "pyngus==2.1.2"], "driver": "amqp1"}
    system = {"bus": ROUTED["bus"], "stack": "old"}
    (cell,) = cells({"doses": ["topic"]}, system, stacks={"old": stack})
    assert cell.memory is not None
    options = cell.memory.doses[0].client.task["options"]
    assert ("default_sender_link_timeout" in options.get("oslo_messaging_amqp", {})) == known


def test_all_that_a_system_can_be_given() -> None:
    looped, routed = cells({"doses": "quick"}, LOOPED)[0].memory, cells({"doses": "quick"}, ROUTED)[0].memory
    assert looped is not None
    assert routed is not None
    assert {"call", "timeout", "connect"} <= {dose.name for dose in looped.doses} <= set(KINDS)
    assert not {"reconnect", "listener"} & {dose.name for dose in looped.doses}
    assert {dose.name for dose in routed.doses} == {
        name for name, kind in KINDS.items() if kind.event not in SHARED_EVENTS
    } - {
        "abandoned",
        "link",
        "declare",
        "evented",
        "blocking",
        "blocking-refused",
        "blocking-dropped",
        "blocking-silent",
    }
    assert not routed.doses[[dose.name for dose in routed.doses].index("refused")].client.task["connected"]


@pytest.mark.parametrize(
    ("system", "adapter"),
    [
        ({"bus": {"kind": "router", "at": "core"}, "stack": "proton"}, "proton"),
        ({"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "oslo-14.7.3-rabbit"}, "oslo"),
        (ROUTED, "oslo"),
        ({**ROUTED, "adapter": "pyngus"}, "pyngus"),
    ],
)
def test_agents_take_every_dose_they_are_planned(system: dict[str, Any], adapter: str) -> None:
    memory = cells({"doses": "all", "client": "edge", "server": "core"}, system)[0].memory
    assert memory is not None
    for dose in memory.doses:
        for agent in (dose.client, dose.server):
            if agent is not None:
                assert agent.adapter == adapter
                check_limits(Task.from_json({**agent.task, "url": "amqp://here/"}))


def test_planner_and_agent_agree_on_what_adapters_have() -> None:
    agent_side = {name: CHURN_OF[name] for name in agent_limits.CHURN_OF}
    assert agent_side == agent_limits.CHURN_OF
    assert {kind.pattern for kind in KINDS.values()} <= set(PATTERNS)


def test_a_dose_can_be_spread_out_in_time() -> None:
    (cell,) = cells({"doses": {"slow": {"kind": "cast", "pause": "250ms"}, "cast": None}}, LOOPED)
    assert cell.memory is not None
    assert [dose.client.task["schedule"]["pause_s"] for dose in cell.memory.doses] == [0.25, 0]


def test_doses_are_given_through_the_adapter_of_the_system() -> None:
    rabbit = {"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "oslo-14.7.3-rabbit"}
    (cell,) = cells({"doses": ["call", "link"]}, {**rabbit, "adapter": "kombu"})
    assert cell.memory is not None
    assert {dose.client.task["adapter"] for dose in cell.memory.doses} == {"kombu"}
    assert {dose.server.adapter for dose in cell.memory.doses if dose.server} == {"kombu"}
    with pytest.raises(BadFile, match="has no adapter 'proton'"):
        cells({"doses": ["call"]}, {**rabbit, "adapter": "proton"})


@pytest.mark.parametrize("adapter", ["proton", "pyngus"])
def test_casts_that_await_credit_are_dosed_like_calls_that_time_out(adapter: str) -> None:
    (cell,) = cells({"doses": ["cast-nobody", "timeout"]}, {**ROUTED, "adapter": adapter})
    assert cell.memory is not None
    casts, calls = cell.memory.doses
    assert (casts.count, casts.timeout_s, casts.client.task["workers"], casts.client.task["timeout_s"]) == (
        calls.count,
        calls.timeout_s,
        calls.client.task["workers"],
        calls.client.task["timeout_s"],
    )


def test_each_driver_has_the_options_of_its_own_group() -> None:
    options = {"oslo_messaging_rabbit": {"rpc_conn_pool_size": 2}, "oslo_messaging_amqp": {"idle_timeout": 9}}
    (cell,) = cells({"doses": {"call": {"options": options}}}, ROUTED)
    assert cell.memory is not None
    planned = cell.memory.doses[0].client.task["options"]
    assert "oslo_messaging_rabbit" not in planned
    assert planned["oslo_messaging_amqp"]["idle_timeout"] == 9


def test_limits_of_a_dose_go_over_those_of_all() -> None:
    memory = {"doses": {"call": {"limits": {"heap": 99}}}, "limits": {"heap": 50, "blocks": 1}}
    (cell,) = cells(memory, LOOPED)
    assert cell.memory is not None
    limits = cell.memory.doses[0].limits
    assert (limits["heap"], limits["blocks"], limits["anonymous"]) == (99, 1, 100)


@pytest.mark.parametrize(
    ("python", "limit"), [("3.8", 0.8), ("/opt/python/3.10.13/bin/python3", 0.8), ("3.11.7", 0.5), ("/usr/bin/py", 0.5)]
)
def test_cycles_of_pythons_that_make_caches_as_they_go_have_a_limit_above_these(python: str, limit: float) -> None:
    stack = {"requirements": ["kombu==5.7.0"], "driver": "rabbit", "python": python}
    system = {"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "old"}
    (cell,) = cells({"doses": ["connect", "call"]}, system, stacks={"old": stack})
    assert cell.memory is not None
    assert [dose.limits["blocks"] for dose in cell.memory.doses] == [limit, 0.1]


def test_load_and_memory_of_one_scenario_are_cells_of_their_own() -> None:
    workload = {"pattern": "rpc-call", "clients": "edge", "servers": "core", "rate": "5/s"}
    found = cells({"doses": {"call": 100}}, LOOPED, workloads={"w": workload}, repetitions=2)
    assert [cell.id for cell in found] == ["s-r1", "s-r2", "s-memory"]
    assert [cell.memory is None for cell in found] == [True, True, False]


@pytest.mark.parametrize(
    ("memory", "system", "line"),
    [
        ({"doses": {"calls": 5}}, LOOPED, "did you mean: call?"),
        ({"doses": {}}, LOOPED, "memory.doses"),
        ({"doses": ["reconnect"]}, LOOPED, "no connection to lose"),
        ({"doses": {"reconnect": {"pause": "1s"}}}, ROUTED, "memory.doses.reconnect.pause"),
        ({"doses": ["listener"]}, LOOPED, "has no churn-listener"),
        ({"doses": ["cut"], "client": "core"}, ROUTED, "no link to cut"),
        ({"doses": ["call"], "client": "moon"}, ROUTED, "there is no site 'moon'"),
        ({"doses": {"call": {"leak": {"what": "time"}}}}, LOOPED, "memory.doses.call.leak.what"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(memory: Any, system: dict[str, Any], line: str) -> None:
    with pytest.raises(BadFile) as caught:
        cells(memory, system)
    assert line in str(caught.value)
    assert "m.yaml:" in str(caught.value)


def test_a_scenario_must_have_something_to_do() -> None:
    data = {"name": "m", "topology": TOPOLOGY, "systems": {"s": LOOPED}}
    with pytest.raises(BadFile, match="needs something to do"):
        scenario_from_text(yaml.safe_dump(data), "m.yaml")
