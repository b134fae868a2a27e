"""RouterBus: what it says of itself, and what it says when a router does not do as it should."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.bus.router.bus import RouterBus
from harness.bus.router.config import RouterEndpoint
from harness.errors import BusFailure, MissingCapability
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import BusNodePlan, BusPlan, LabPlan, NodePlan
from harness.runtime.local import LocalRuntime
from tests.bus.router.conftest import RouterLab, router_lab


def one_router(implementation: str) -> tuple[LabPlan, BusPlan]:
    sites = site_plans({"core": Site()})
    node = NodePlan("solo", "core", "bus", *next(node_addresses(sites[0])))
    plan = BusPlan("main", "router", (BusNodePlan("solo", "core"),), {"implementation": implementation})
    return LabPlan(sites, (node,), ()), plan


def test_it_says_what_it_is(line: RouterLab, implementation: str) -> None:
    facts = line.bus.facts()
    assert facts["stand_in"] is (implementation == "embedded")
    assert set(facts["components"]) == {"a", "b", "c"}
    assert facts["version"]
    assert line.url("b") == "amqp://b:5672/"


def test_it_measures_itself(line: RouterLab) -> None:
    before = line.bus.metrics()
    near = line.proton("a")
    near("receive", name="metrics-r", url=line.url("a"), address="metrics/x")
    near("send", name="metrics-s", url=line.url("a"), address="metrics/x")
    near("put", name="metrics-s", bodies=list(range(30)))
    near("outcomes", name="metrics-s", count=30)
    after = line.bus.metrics()
    for figure in ("acceptedDeliveries", "deliveriesIngress", "deliveriesEgress"):
        assert after["a"]["metrics"][figure] - before["a"]["metrics"][figure] >= 30
    assert after["a"]["metrics"]["residentMemoryUsage"] > 1_000_000
    assert after["b"]["connections"]["inter-router"] == 2
    near("close", name="metrics-r")


def test_a_router_that_dies_is_told_with_its_last_lines(amqp_python: str, implementation: str, tmp_path: Path) -> None:
    lab_plan, plan = one_router(implementation)
    with LocalRuntime("router-dies", tmp_path) as lab:
        lab.open(lab_plan)
        bus = RouterBus(amqp_python)
        bus.start(lab, plan, timeout_s=30.0)
        bus.check()
        bus.processes()["solo"].signal(9)
        bus.processes()["solo"].wait(5.0)
        with pytest.raises(BusFailure, match=r"(?s)solo: the router ended with -9; its last lines:.*5672"):
            bus.check()
        assert bus.metrics() == {}
        bus.stop()
        bus.stop()


def test_a_router_that_cannot_start_is_told_with_its_last_lines(
    amqp_python: str, implementation: str, tmp_path: Path
) -> None:
    lab_plan, plan = one_router(implementation)
    with LocalRuntime("router-fails", tmp_path) as lab:
        lab.open(lab_plan)
        bus = RouterBus(amqp_python, {"solo": RouterEndpoint("solo", listen="192.0.2.1")})
        with pytest.raises(BusFailure, match=r"(?s)solo: the router .*its last lines:.*192\.0\.2\.1"):
            bus.start(lab, plan, timeout_s=6.0)
        bus.stop()


def test_a_mesh_that_does_not_form_is_told_by_name(amqp_python: str, tmp_path: Path) -> None:
    sites = site_plans({"core": Site(), "far": Site()})
    nodes = tuple(NodePlan(f"r-{site.name}", site.name, "bus", *next(node_addresses(site))) for site in sites)
    routers = (BusNodePlan("r-core", "core"), BusNodePlan("r-far", "far", peers=("r-core",)))
    plan = BusPlan("main", "router", routers, {"implementation": "embedded"})
    with LocalRuntime("router-apart", tmp_path) as lab:
        lab.open(LabPlan(sites, nodes, ()))  # no link: the gateway forwards nothing
        bus = RouterBus(amqp_python)
        with pytest.raises(BusFailure, match="it does not see r-far"):
            bus.start(lab, plan, timeout_s=4.0)
        bus.stop()


def test_a_real_router_that_is_not_there(amqp_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_SKROUTERD", "/nowhere/skrouterd")
    for implementation in ("skrouterd", "auto"):
        lab_plan, plan = one_router(implementation)
        with LocalRuntime("router-none", tmp_path) as lab:
            lab.open(lab_plan)
            with pytest.raises(MissingCapability, match="/nowhere/skrouterd"):
                RouterBus(amqp_python).start(lab, plan, timeout_s=5.0)


def test_a_python_without_proton(tmp_path: Path) -> None:
    lab_plan, plan = one_router("embedded")
    with LocalRuntime("router-bare", tmp_path) as lab:
        lab.open(lab_plan)
        with pytest.raises(MissingCapability, match="the embedded router does not run"):
            RouterBus(lab.python).start(lab, plan, timeout_s=5.0)


def test_a_peer_that_falls_silent_is_given_up_and_an_idle_one_is_not(
    amqp_python: str, implementation: str, tmp_path: Path
) -> None:
    address = "openstack.org/om/rpc/anycast/x/silence"
    with router_lab(tmp_path, amqp_python, implementation, (("a", "b"),), options={"idle_timeout_s": 2}) as lab:
        frozen, idle, near = lab.own("b", "proton_client.py"), lab.proton("b"), lab.proton("a")
        frozen("receive", name="frozen", url=lab.url("b"), address=address, then="hold")
        near("send", name="s", url=lab.url("a"), address=address)
        near("put", name="s", bodies=["held"])
        assert frozen("got", name="frozen", count=1) == ["held"]
        idle("receive", name="idle", url=lab.url("b"), address=address)
        frozen.process.signal(signal.SIGSTOP)
        assert near("outcomes", name="s", count=1, seconds=20.0) == [
            {"outcome": "modified", "failed": True, "undeliverable": False}
        ]
        near("put", name="s", bodies=["next"])
        assert idle("got", name="idle", count=1) == ["next"]
        frozen.kill()
