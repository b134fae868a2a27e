"""What a bus, driver or adapter cannot do is refused at validation, at the line that asks for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from harness.errors import BadFile
from harness.files import plan_run, scenario_from_text

SYSTEMS = {
    "rabbit": {"bus": {"kind": "rabbitmq", "at": "here"}, "stack": "oslo-14.7.3-rabbit"},
    "router": {"bus": {"kind": "router", "at": "here"}, "stack": "oslo-14.7.3-amqp1"},
}


def text(workload: dict[str, Any], systems: dict[str, Any] = SYSTEMS, **more: Any) -> str:
    call = {"pattern": "rpc-call", "rate": "10/s", "clients": "here", "servers": "here"}
    said = {key: value for key, value in {**call, **workload}.items() if value is not None}
    return yaml.safe_dump(
        {
            "name": "limits",
            "topology": {"name": "one", "sites": ["here"]},
            "systems": systems,
            "workloads": {"w": said},
            "load": {"warmup": "1s", "duration": "9s"},
            **more,
        },
        sort_keys=False,
    )


def plan(workload: dict[str, Any], **more: Any) -> tuple[Any, ...]:
    return plan_run(scenario_from_text(text(workload, **more), "limits.yaml"))


CHURN = {"pattern": "churn-connect", "servers": None}
NOTIFY = {"pattern": "notify"}


@pytest.mark.parametrize(
    ("workload", "key", "says"),
    [
        ({**NOTIFY, "notify": {"pools": ["left"]}}, "notify.pools", "system 'router' cannot do this: routers"),
        ({**NOTIFY, "notify": {"pools": ["left", "right"]}}, "notify.pools", "a pool would be empty"),
        ({**NOTIFY, "notify": {"priorities": ["info", "info"]}}, "notify.priorities.1", "named twice"),
        ({"notify": {}}, "notify", "rpc-call sends no notifications"),
        ({"pattern": "rpc-fanout", "servers": None}, "servers", "rpc-fanout needs servers"),
        ({"pattern": "rpc-fanout", "targets": "per-server"}, "targets", "not addressed to a server"),
        ({**CHURN, "servers": "here"}, "servers", "churn-connect reaches no server"),
        ({**CHURN, "pattern": "churn-server", "adapter": "kombu"}, "pattern", "the kombu adapter has no churn-server"),
        ({"ttl": "5s"}, "ttl", "system 'rabbit' cannot do this: oslo.messaging derives"),
        ({"server": {"acknowledge": "after"}}, "server.acknowledge", "oslo.messaging acknowledges RPC before"),
        ({"server": {"requeues": "10%"}}, "server.requeues", "only notifications"),
        ({**NOTIFY, "server": {"requeues": "100%"}}, "server.requeues", "out of bounds"),
        ({"server": {"raises": "60%", "silent": "60%"}}, "server.silent", "more than all"),
        ({"server": {"stalls": [{"at": "10s", "for": "1s"}]}}, "server.stalls.0.at", "when the load has ended"),
        ({"pattern": "rpc-cast", "monitor": "2s"}, "monitor", "is not a call"),
        ({"monitor": "1900ms"}, "monitor", "servers send no heartbeats"),
        ({"adapter": "kombu"}, "adapter", "has no adapter 'kombu'"),
        ({"adapter": "loopback"}, "adapter", "does not speak to a rabbitmq bus"),
        ({"schedule": {"rate": "5/s"}}, "rate", "said twice"),
        ({"rate": None, "schedule": {}}, "schedule", "one thing, this one nothing"),
        ({"rate": None, "schedule": {"rate": "5/s", "closed": {}}}, "schedule", "rate and closed"),
        (
            {"rate": None, "schedule": {"burst": {"size": 2, "every": "1s"}, "arrivals": "poisson"}},
            "schedule.arrivals",
            "burst has its own spacing",
        ),
        ({"rate": None, "schedule": {"steps": [{"rate": 0, "for": "1s"}]}}, "schedule.steps", "every step has rate 0"),
        ({"rate": None, "schedule": {"ramp": {"from": 0, "to": 0}}}, "schedule.ramp.to", "does nothing"),
        ({"payload": {"uniform": ["2KiB", "1KiB"]}}, "payload.uniform", "less than the least"),
        ({"payload": {"choice": ["1KiB"], "weights": [1, 2]}}, "payload.weights", "as many weights"),
        ({"payload": {"exponential": "1KiB"}}, "payload", "without an upper bound"),
        ({"payload": {"lognormal": "1KiB", "max": "2KiB"}}, "payload", "lognormal needs sigma too"),
        ({"payload": {"uniform": ["1KiB", "2KiB"], "sigma": 1}}, "payload.sigma", "uniform has no sigma"),
        ({"payload": {}}, "payload", "one thing, this one nothing"),
        ({"payload": "1KB"}, "payload", "unknown unit 'KB'"),
        ({"targets": "per-pair"}, "targets", "not known here"),
        ({"targets": {}}, "targets", "by number or by site"),
        ({"targets": {"sites": {"there": "here"}}}, "targets.sites", "not said where clients at 'here'"),
        ({"targets": {"sites": {"here": "there"}}}, "targets.sites.here", "no server stands at 'there'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_where_it_is_asked(workload: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(BadFile) as caught:
        plan(workload)
    finding = caught.value.findings[0]
    assert finding.key == f"workloads.w.{key}"
    assert says in finding.what
    assert finding.line is not None
    assert finding.expected


RAW = {
    "kombu": {"bus": {"kind": "rabbitmq", "at": "here"}, "stack": "oslo-14.7.3-rabbit", "adapter": "kombu"},
    "proton": {"bus": {"kind": "router", "at": "here"}, "stack": "proton"},
}


@pytest.mark.parametrize(
    ("workload", "key", "says"),
    [
        ({"pattern": "churn-client"}, "pattern", "the kombu adapter has no churn-client"),
        ({"monitor": "2s"}, "monitor", "oslo.messaging's own"),
        ({"retry": 3}, "retry", "oslo.messaging's own"),
        ({"options": {"DEFAULT": {"rpc_ack_timeout_base": 5}}}, "options", "these are for oslo.messaging"),
    ],
)
def test_what_only_oslo_messaging_can_do_is_refused_without_it(workload: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(BadFile) as caught:
        plan(workload, systems=RAW)
    finding = caught.value.findings[0]
    assert (finding.key, says in finding.what) == (f"workloads.w.{key}", True)
    assert finding.expected


def test_a_systems_adapter_is_its_workloads_and_may_do_what_oslo_cannot() -> None:
    cells = {cell.system: cell for cell in plan({"ttl": "5s", "server": {"acknowledge": "after"}}, systems=RAW)}
    kombu, proton = cells["kombu"], cells["proton"]
    assert {agent.adapter for agent in kombu.agents} == {"kombu"}
    assert {agent.adapter for agent in proton.agents} == {"proton"}
    assert kombu.agents[0].task["ttl_s"] == 5.0


def test_two_names_may_mean_one_bus() -> None:
    rabbit, router = SYSTEMS["rabbit"], SYSTEMS["router"]
    systems = {
        "one": {"buses": {"rpc": rabbit, "events": "rpc"}},
        "hybrid": {"buses": {"rpc": router, "events": rabbit}},
    }
    cells = sorted(plan({"bus": "events"}, systems=systems), key=lambda cell: list(systems).index(cell.system))
    assert [[bus.name for bus in cell.buses] for cell in cells] == [["rpc"], ["rpc", "events"]]
    assert [cell.agents[0].bus for cell in cells] == ["rpc", "events"]
    assert [cell.agents[0].adapter for cell in cells] == ["oslo", "oslo"]


def test_a_name_for_a_bus_that_is_not_described_is_refused() -> None:
    with pytest.raises(BadFile, match="no bus described in this system called 'rcp'") as caught:
        plan({"bus": "events"}, systems={"one": {"buses": {"rpc": SYSTEMS["rabbit"], "events": "rcp"}}})
    assert caught.value.findings[0].suggestion == "rpc"


@pytest.mark.parametrize(
    ("workload", "clients", "servers"),
    [
        ({"clients": {"here": 2}}, 6, 1),
        ({"clients": {"here": 2}, "servers": {"here": 2}, "targets": "per-client"}, 6, 12),
        ({"pattern": "rpc-fanout", "servers": {"here": 2}}, 1, 6),
        ({"pattern": "rpc-fanout", "servers": {"here": 2}, "targets": "per-client"}, 3, 6),
    ],
)
def test_scale_multiplies_what_grows(workload: dict[str, Any], clients: int, servers: int) -> None:
    cell = plan(workload, scale=3)[0]
    roles = [agent.role for agent in cell.agents]
    assert (roles.count("client"), roles.count("server")) == (clients, servers)
    assert [agent.index for agent in cell.agents] == list(range(len(roles)))


def test_how_processes_are_made_is_in_the_plan() -> None:
    assert {agent.processes for agent in plan({"processes": "fork"})[0].agents} == {"fork"}
    assert {agent.processes for agent in plan({})[0].agents} == {"exec"}
