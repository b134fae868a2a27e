"""One suite for every bus: it starts whole, tells of itself, loses a component and gets it back, and ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.bus.protocol import Bus
from harness.bus.registry import BUILT_IN, helper_stacks, make_bus
from harness.errors import BusFailure
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import BusNodePlan, BusPlan, LabPlan, NodePlan
from harness.runtime.local import LocalRuntime
from harness.stack.build import build_stacks
from harness.stack.shipped import shipped_stack

#: How many components each kind is started with, at a site each; the second knows the first.
COMPONENTS = {"rabbitmq": 1, "router": 2, "loopback": 0}
#: What the transport URL of each kind begins with.
SCHEMES = {"rabbitmq": "rabbit", "router": "amqp", "loopback": "loopback"}
START_S = 120.0


def test_every_bus_there_is_is_held_to_it() -> None:
    assert COMPONENTS.keys() == SCHEMES.keys() == BUILT_IN.keys()


def plans(kind: str) -> tuple[LabPlan, BusPlan]:
    sites = site_plans({f"site-{number}": Site() for number in range(1, max(1, COMPONENTS[kind]) + 1)})
    nodes = tuple(NodePlan(f"bus-{site.name}", site.name, "bus", *next(node_addresses(site))) for site in sites)
    names = [node.name for node in nodes][: COMPONENTS[kind]]
    parts = tuple(
        BusNodePlan(name, node.site, peers=tuple(names[:at]))
        for at, (name, node) in enumerate(zip(names, nodes, strict=False))
    )
    options = {"implementation": "embedded"} if kind == "router" else {}
    return LabPlan(sites, nodes, ()), BusPlan("main", kind, parts, options)


@pytest.fixture(params=list(BUILT_IN), scope="module")
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bus, BusPlan]]:
    """One bus of each kind for the whole module, in a lab whose sites reach each other."""
    kind = request.param
    base = tmp_path_factory.mktemp("bus")
    pythons = {
        name: str(built.python)
        for name, built in build_stacks([shipped_stack(name) for name in helper_stacks(kind)]).items()
    }
    lab_plan, plan = plans(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(base / "state"))
        with LocalRuntime(f"bus-{kind}", base / "logs") as lab:
            lab.open(lab_plan)
            for program in ("iptables", "ip6tables"):
                assert lab.run("wan", [program, "-P", "FORWARD", "ACCEPT"]).returncode == 0
            bus = make_bus(kind, pythons)
            try:
                bus.start(lab, plan, timeout_s=START_S)
                yield bus, plan
            finally:
                bus.stop()


def names(plan: BusPlan) -> set[str]:
    return {node.name for node in plan.nodes}


def test_it_says_what_it_is_in_plain_json(started: tuple[Bus, BusPlan]) -> None:
    bus, plan = started
    facts = json.loads(json.dumps(bus.facts()))
    assert bus.kind == facts["kind"] == plan.kind
    assert facts["implementation"]
    assert isinstance(facts["stand_in"], bool)
    assert isinstance(facts["version"], str)
    assert set(facts.get("components", ())) == names(plan)


def test_clients_reach_each_component_by_its_url(started: tuple[Bus, BusPlan]) -> None:
    bus, plan = started
    for component in names(plan) or {"anything"}:
        url = urlsplit(bus.url(component))
        assert url.scheme == SCHEMES[plan.kind]
        assert url.hostname in (*names(plan), None)
    password = urlsplit(bus.url(next(iter(names(plan)), ""))).password
    assert not password or password not in json.dumps(bus.facts())


def test_each_component_has_a_process_that_runs(started: tuple[Bus, BusPlan]) -> None:
    bus, plan = started
    processes = bus.processes()
    assert processes.keys() == names(plan)
    assert all(process.poll() is None for process in processes.values())


def test_each_component_has_counters_in_plain_json(started: tuple[Bus, BusPlan]) -> None:
    bus, plan = started
    metrics = json.loads(json.dumps(bus.metrics()))
    assert metrics.keys() == names(plan)
    assert all(metrics.values())


@pytest.mark.parametrize("kill", [False, True], ids=["politely", "killed"])
def test_a_component_that_was_stopped_comes_back(started: tuple[Bus, BusPlan], kill: bool) -> None:
    bus, plan = started
    if not plan.nodes:
        with pytest.raises(BusFailure):
            bus.stop_component("anything", kill=kill)
        with pytest.raises(BusFailure):
            bus.start_component("anything", timeout_s=1.0)
        return
    component = plan.nodes[-1].name
    url = bus.url(component)
    bus.stop_component(component, kill=kill)
    assert bus.processes()[component].poll() is not None
    assert bus.metrics().keys() == names(plan) - {component}
    bus.start_component(component, timeout_s=START_S)
    assert bus.processes()[component].poll() is None
    assert bus.metrics().keys() == names(plan)
    assert bus.url(component) == url


@pytest.mark.parametrize("kind", [kind for kind, count in COMPONENTS.items() if count])
def test_a_bus_that_is_not_whole_in_time_is_told_of(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    built = build_stacks([shipped_stack(name) for name in helper_stacks(kind)])
    lab_plan, plan = plans(kind)
    with LocalRuntime(f"late-{kind}", tmp_path / "logs") as lab:
        lab.open(lab_plan)
        bus = make_bus(kind, {name: str(each.python) for name, each in built.items()})
        with pytest.raises(BusFailure) as failure:
            bus.start(lab, plan, timeout_s=0.05)
        assert failure.value.where in names(plan)
        bus.stop()


def test_stopping_ends_every_process_and_can_be_repeated(started: tuple[Bus, BusPlan]) -> None:
    """The last of the module: the bus is not there any more."""
    bus, _ = started
    processes = list(bus.processes().values())
    bus.stop()
    deadline = time.monotonic() + 10.0
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(process.poll() is not None for process in processes)
    assert bus.processes() == {}
    bus.stop()
