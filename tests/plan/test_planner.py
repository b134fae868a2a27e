"""Plans: floors by hand-checked example, and properties that hold for every graph of routers."""

from __future__ import annotations

import ipaddress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model.scenario import Scenario
from harness.model.topology import Site, Topology
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import CellPlan, LinkPlan
from harness.plan.planner import Impossible, cell_order, plan_cell
from harness.plan.routes import Distances, one_way
from harness.plan.seeds import derive
from harness.stack.shipped import SHIPPED

STACKS = {stack.name: stack for stack in SHIPPED}
RTT_MS = {("core", "edge-a"): 20, ("core", "edge-b"): 80, ("edge-a", "edge-b"): 100}


def topology(rtt_ms: dict[tuple[str, str], int] = RTT_MS) -> Topology:
    sites = dict.fromkeys(site for pair in rtt_ms for site in pair)
    links = {f"{a}-{b}": {"between": [a, b], "rtt": f"{ms}ms"} for (a, b), ms in rtt_ms.items()}
    return Topology.model_validate({"name": "t", "sites": list(sites), "links": links})


def plan(bus: dict[str, Any], workload: dict[str, Any], where: Topology | None = None) -> CellPlan:
    stack = {"rabbitmq": "oslo-14.7.3-rabbit", "router": "oslo-14.7.3-amqp1"}[bus["kind"]]
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "topology": "t.yaml",
            "systems": {"x": {"bus": bus, "stack": stack}},
            "workloads": {"w": {"pattern": "rpc-call", "rate": "10/s", **workload}},
        }
    )
    return plan_cell(scenario, where or topology(), STACKS, system="x", point={}, cell_id="x-r1", repetition=1, order=0)


def floors(cell: CellPlan) -> dict[tuple[str, str], float]:
    return {(pair.client_site, pair.server_site): round(pair.floor_s * 1e3, 6) for pair in cell.pairs}


NEXT_DOOR = {"clients": ["edge-a", "edge-b"], "servers": ["edge-a", "edge-b"], "targets": "per-site"}


def test_a_central_broker_makes_next_door_far() -> None:
    cell = plan({"kind": "rabbitmq", "at": "core"}, NEXT_DOOR)
    assert floors(cell) == {("edge-a", "edge-a"): 40, ("edge-b", "edge-b"): 160}


def test_a_router_at_every_site_keeps_next_door_near() -> None:
    cell = plan({"kind": "router", "at": ["core", "edge-a", "edge-b"]}, NEXT_DOOR)
    assert floors(cell) == {("edge-a", "edge-a"): 0, ("edge-b", "edge-b"): 0}


def test_messages_follow_the_routers_not_the_shortest_links() -> None:
    cell = plan(
        {"kind": "router", "at": ["edge-a", "core", "edge-b"], "graph": "line"},
        {"clients": "edge-a", "servers": "edge-b"},
    )
    (pair,) = cell.pairs
    assert pair.path == ("edge-a", "core", "edge-b")
    assert floors(cell) == {("edge-a", "edge-b"): 100}


def test_anycast_reaches_the_nearest_server_over_routers_and_any_over_a_broker() -> None:
    shared = {"clients": "edge-a", "servers": ["edge-a", "core"]}
    assert set(floors(plan({"kind": "router", "at": ["core", "edge-a"]}, shared))) == {("edge-a", "edge-a")}
    assert set(floors(plan({"kind": "rabbitmq", "at": "core"}, shared))) == {("edge-a", "edge-a"), ("edge-a", "core")}


def test_a_client_without_a_component_at_its_site_uses_the_nearest() -> None:
    cell = plan({"kind": "router", "at": ["core", "edge-b"]}, {"clients": "edge-a", "servers": "edge-b"})
    assert {agent.bus_node for agent in cell.agents if agent.site == "edge-a"} == {"router-core"}
    assert floors(cell) == {("edge-a", "edge-b"): 100}


def test_a_notification_has_one_way_to_go() -> None:
    cell = plan({"kind": "rabbitmq", "at": "core"}, {"clients": "edge-b", "servers": "core", "pattern": "notify"})
    assert floors(cell) == {("edge-b", "core"): 40}


def test_servers_come_before_clients_and_numbers_are_unique() -> None:
    cell = plan({"kind": "rabbitmq", "at": "core"}, {"clients": {"edge-a": 3, "edge-b": 2}, "servers": {"core": 2}})
    roles = [agent.role for agent in cell.agents]
    assert roles == ["server"] * 2 + ["client"] * 5
    assert [agent.index for agent in cell.agents] == list(range(7))
    offsets = [agent.task["schedule"]["offset_s"] for agent in cell.agents if agent.role == "client"]
    assert offsets == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08])


@pytest.mark.parametrize(
    ("bus", "workload", "where", "says"),
    [
        ({"kind": "rabbitmq", "at": "core"}, {"clients": "far", "servers": "core"}, None, "no site 'far'"),
        (
            {"kind": "router", "at": ["core", "edge-b"]},
            {"clients": "core", "servers": "core"},
            {("core", "edge-a"): 20, ("edge-a", "edge-b"): 5},
            "needs a link from",
        ),
        (
            {"kind": "rabbitmq", "at": "core"},
            {"clients": "edge-b", "servers": "core"},
            {("core", "edge-a"): 20, ("edge-a", "edge-b"): 5},
            "no component of bus 'main' can be reached",
        ),
        ({"kind": "rabbitmq", "at": "core"}, {"clients": {"core": 1}, "servers": {"core": 2000}}, None, None),
    ],
)
def test_what_cannot_be_carried_out_is_said(
    bus: dict[str, Any], workload: dict[str, Any], where: dict[tuple[str, str], int] | None, says: str | None
) -> None:
    if says is None:
        plan(bus, workload)
        return
    with pytest.raises(Impossible, match=says):
        plan(bus, workload, topology(where) if where else None)


@st.composite
def router_graphs(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    """A connected graph over two to seven sites: a random tree and some more edges."""
    sites = [f"s{i}" for i in range(draw(st.integers(2, 7)))]
    tree = [(sites[draw(st.integers(0, i - 1))], sites[i]) for i in range(1, len(sites))]
    spare = [(a, b) for i, a in enumerate(sites) for b in sites[i + 1 :] if (a, b) not in tree]
    return sites, tree + (draw(st.lists(st.sampled_from(spare), unique=True)) if spare else [])


@settings(deadline=None, max_examples=60)
@given(router_graphs(), st.data())
def test_every_pair_of_sites_has_a_loop_free_path_along_the_graph(
    graph: tuple[list[str], list[tuple[str, str]]], data: st.DataObject
) -> None:
    sites, edges = graph
    client, server = data.draw(st.sampled_from(sites)), data.draw(st.sampled_from(sites))
    where = topology({(a, b): 7 + 3 * i + j for i, a in enumerate(sites) for j, b in enumerate(sites) if i < j})
    cell = plan({"kind": "router", "at": sites, "graph": edges}, {"clients": client, "servers": server}, where)
    (pair,) = cell.pairs
    assert pair.path[0] == client
    assert pair.path[-1] == server
    assert len(set(pair.path)) == len(pair.path)
    assert all((a, b) in edges or (b, a) in edges for a, b in pairwise(pair.path))
    assert pair.floor_s == pytest.approx(2 * one_way(pair.path, Distances(cell.lab.links)))


def test_one_way_is_the_sum_of_the_links() -> None:
    from harness.model.links import Impairment

    links = [LinkPlan("l", "a", "b", Impairment(delay_s=0.01)), LinkPlan("m", "b", "c", Impairment(delay_s=0.02))]
    assert one_way(["a", "b", "c"], Distances(links)) == pytest.approx(0.03)
    with pytest.raises(KeyError):
        one_way(["c", "b"], Distances(links))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5))
def test_addresses_are_distinct_and_inside_their_network(count: int, declared: int) -> None:
    sites = {f"s{i}": Site(subnet=f"10.203.{i + 1}.0/24") if i < declared else Site() for i in range(count)}
    plans = site_plans(sites)
    networks = [ipaddress.IPv4Network(site.subnet) for site in plans]
    assert len(set(networks)) == count
    assert len({site.subnet6 for site in plans}) == count
    for site, network in zip(plans, networks, strict=True):
        addresses = list(node_addresses(site))
        assert site.gateway not in {v4 for v4, _ in addresses}
        assert all(ipaddress.IPv4Address(v4) in network for v4, _ in addresses)


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "10.203.0.0/16"])
def test_a_subnet_that_takes_the_usual_ones_leaves_others(subnet: str) -> None:
    plans = site_plans({"core": Site(subnet=subnet), "edge": Site()})
    assert [plan.subnet for plan in plans] == [subnet, "172.29.1.0/24"]


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**62))
def test_every_repetition_runs_every_cell_once_before_the_next(cells: int, repetitions: int, seed: int) -> None:
    order = cell_order([(str(i), {}) for i in range(cells)], repetitions, seed)
    for number in range(repetitions):
        block = order[number * cells : (number + 1) * cells]
        assert {index for index, _ in block} == set(range(cells))
        assert {repetition for _, repetition in block} == {number + 1}
    assert order == cell_order([(str(i), {}) for i in range(cells)], repetitions, seed)


def test_points_come_in_random_order_and_the_systems_of_a_point_together() -> None:
    cells = [(system, {"clients": clients}) for clients in range(8) for system in ("a", "b", "c")]
    order = [index for index, _ in cell_order(cells, 2, 7)]
    blocks = order[:24], order[24:]
    for block in blocks:
        points = [[cells[index][1]["clients"] for index in block[at : at + 3]] for at in range(0, 24, 3)]
        assert all(len(set(point)) == 1 for point in points)
        assert points != sorted(points), "a single repetition too is in no order that drift could follow"
        systems = {tuple(cells[index][0] for index in block[at : at + 3]) for at in range(0, 24, 3)}
        assert len(systems) > 1
    assert blocks[0] != blocks[1]


def test_seeds_differ_by_label_and_do_not_change() -> None:
    assert derive(1, "a") != derive(1, "b") != derive(2, "a")
    assert derive(2018, "rabbitmq-r1") == 7131085255083806446


def test_systems_of_a_repetition_get_the_same_load_and_repetitions_another() -> None:
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "topology": "t.yaml",
            "systems": {
                "rabbit": {"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "oslo-14.7.3-rabbit"},
                "amqp1": {"bus": {"kind": "router", "at": ["core", "edge-a"]}, "stack": "oslo-14.7.3-amqp1"},
            },
            "workloads": {
                "w": {"pattern": "rpc-call", "clients": {"edge-a": 2}, "servers": {"core": 1}}
                | {"rate": "10/s", "arrivals": "poisson"}
            },
        }
    )

    def seeds(system: str, repetition: int) -> dict[str, int]:
        made = plan_cell(
            scenario,
            topology(),
            STACKS,
            system=system,
            point={},
            cell_id=f"{system}-r{repetition}",
            repetition=repetition,
            order=0,
        )
        return {agent.name: agent.task["seed"] for agent in made.agents}

    assert seeds("rabbit", 1) == seeds("amqp1", 1)
    assert len({*seeds("rabbit", 1).values(), *seeds("rabbit", 2).values()}) == 6, "and every agent one of its own"


def test_every_component_publishes_at_a_port_of_its_own() -> None:
    workload = {"clients": {"edge-a": 1}, "servers": {"core": 1}}
    sites = ["core", "edge-a", "edge-b"]
    made = plan({"kind": "router", "at": sites, "publish": {5672: 25672}}, workload)
    ports = [node.publish for node in made.lab.nodes if node.role == "bus"]
    assert ports == [((5672, 25672),), ((5672, 25673),), ((5672, 25674),)]
    assert not any(node.publish for node in made.lab.nodes if node.role == "host")
    for publish, says in (({5672: 65534}, "65536, and there is none"), ({5672: 9000, 80: 9001}, "that is taken")):
        with pytest.raises(Impossible, match=says):
            plan({"kind": "router", "at": sites, "publish": publish}, workload)
