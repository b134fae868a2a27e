"""Sweeps: which cells a scenario has, and what a point changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import BadFile
from harness.files import load_scenario, plan_run, scenario_from_text
from harness.lab.run import resolved_text
from harness.plan.cell import CellPlan
from harness.plan.sweep import full_key, points

ROOT = Path(__file__).parents[2]
BASE: dict[str, Any] = {
    "name": "swept",
    "topology": {
        "name": "two",
        "sites": ["core", "edge"],
        "links": {"core-edge": {"between": ["core", "edge"], "rtt": "40ms"}},
    },
    "systems": {
        "rabbitmq": {"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "oslo-14.7.3-rabbit"},
        "amqp1": {"bus": {"kind": "router", "at": ["core", "edge"]}, "stack": "oslo-14.7.3-amqp1"},
    },
    "workloads": {
        "near": {"pattern": "rpc-call", "clients": "edge", "servers": "edge", "rate": "10/s"},
        "far": {"pattern": "rpc-call", "clients": {"edge": 2}, "servers": "core", "rate": "10/s"},
    },
    "timeline": [{"at": "3s", "link": "core-edge", "set": {"loss": "1%"}}],
}


def cells(sweep: Mapping[str, Any], *, systems: tuple[str, ...] = ("rabbitmq",), **changes: Any) -> list[CellPlan]:
    text = yaml.safe_dump({**BASE, "sweep": dict(sweep), **changes})
    return list(plan_run(scenario_from_text(text, "swept.yaml"), systems=systems))


def clients(cell: CellPlan) -> dict[str, int]:
    found: dict[str, int] = {}
    for agent in cell.agents:
        if agent.role == "client":
            found[agent.workload] = found.get(agent.workload, 0) + 1
    return found


def test_product_and_zip() -> None:
    sweep: dict[str, list[Any]] = {"a": [1, 2], "b": ["x", "y"]}
    assert points({}) == [{}]
    assert points({}, "zip") == [{}]
    assert points(sweep) == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert points(sweep, "zip") == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_zip_changes_values_together() -> None:
    found = cells({"links.core-edge.rtt": ["10ms", "80ms"], "rate": ["5/s", "20/s"]}, combine="zip")
    seen = [(cell.lab.links[0].impairment.delay_s, cell.agents[-1].task["schedule"]["rate_per_s"]) for cell in found]
    assert seen == [(0.005, 5), (0.04, 20)]


def test_a_zip_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(BadFile, match="2 of clients, 3 of rate"):
        cells({"clients": [1, 2], "rate": ["1/s", "2/s", "3/s"]}, combine="zip")


@pytest.mark.parametrize(
    ("sweep", "counts"),
    [
        ({"clients": [1, 3]}, [{"near": 1, "far": 1}, {"near": 3, "far": 3}]),
        ({"clients": [{"edge": 4}]}, [{"near": 4, "far": 4}]),
        ({"workloads.far.clients": [5]}, [{"near": 1, "far": 5}]),
        ({"workloads.far.clients.edge": [6]}, [{"near": 1, "far": 6}]),
        ({"workloads.*.clients": [{"core": 1, "edge": 1}]}, [{"near": 2, "far": 2}]),
    ],
)
def test_clients(sweep: dict[str, Any], counts: list[dict[str, int]]) -> None:
    assert [clients(cell) for cell in cells(sweep)] == counts


def test_stacks_of_one_system_or_all() -> None:
    stacks = ["oslo-14.7.3-rabbit", "oslo-18.3.1-rabbit"]
    assert [cell.stacks for cell in cells({"systems.rabbitmq.stack": stacks})] == [(stack,) for stack in stacks]
    only = {"rabbitmq": BASE["systems"]["rabbitmq"]}
    found = plan_run(scenario_from_text(yaml.safe_dump({**BASE, "systems": only, "sweep": {"stack": stacks}}), "s"))
    assert [cell.stacks for cell in found] == [(stack,) for stack in stacks]


def test_any_field() -> None:
    assert [c.phases.duration_s for c in cells({"load.duration": ["5s", "7s"]})] == [5, 7]
    changed = [c.changes[0].impairment for c in cells({"timeline.0.set.loss": ["2%", "3%"]})]
    assert [impairment.loss for impairment in changed if impairment] == [0.02, 0.03]
    assert [c.lab.links[0].impairment.loss for c in cells({"links.*.loss": ["0.1%"]})] == [0.001]
    threads = {
        a.task["workers"] for c in cells({"workloads.far.server.threads": [3]}) for a in c.agents if a.role == "server"
    }
    assert threads == {3, 16}
    assert full_key("payload") == "workloads.*.payload"
    assert full_key("links") == "links"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("links.core-egde.rtt", "did you mean: core-edge"),
        ("timeline.3.at", "there is no '3' in timeline"),
        ("workloads.near.rate.x", "leads into a value that has no keys"),
        ("workload.near.rate", "there is no 'workload' at the top"),
        ("colour", "unknown key 'colour'"),
        ("workloads.near.colour", "unknown key 'colour'"),
    ],
)
def test_a_key_that_leads_nowhere(key: str, says: str) -> None:
    with pytest.raises(BadFile, match=says):
        cells({key: ["1"]})


@pytest.mark.parametrize(
    ("sweep", "points", "number"),
    [
        ({"clients": [2, 4]}, [{"clients": 20}, {"clients": 40}], 40),
        ({"workloads.far.clients.edge": [3]}, [{"workloads.far.clients.edge": 30}], 40),
        ({"clients": [{"edge": 2}, "edge"]}, [{"clients": {"edge": 20}}, {"clients": {"edge": 10}}], 40),
        ({"workloads.far.servers": [{"core": 2}]}, [{"workloads.far.servers": {"core": 2}}], 30),
        ({"rate": ["1/s"]}, [{"rate": "1/s"}], 30),
        ({"scale": [5], "clients": [2]}, [{"scale": 5, "clients": 2}], 20),
    ],
)
def test_a_point_says_how_many_clients_the_scale_makes(
    sweep: dict[str, Any], points: list[dict[str, Any]], number: int
) -> None:
    found = sorted(cells(sweep, scale=10), key=lambda cell: points.index(dict(cell.point)))
    assert [dict(cell.point) for cell in found] == points
    assert sum(clients(found[0]).values()) == number


def test_where_the_scale_means_other_agents_the_point_says_so() -> None:
    tell = {"pattern": "rpc-fanout", "clients": "edge", "servers": "core", "rate": "1/s"}
    (cell,) = cells({"clients": [2]}, scale=10, workloads={**BASE["workloads"], "tell": tell})
    assert cell.point == {"clients": "2, scale 10"}
    assert cell.id == "rabbitmq-clients-2-scale-10-r1"
    assert clients(cell) == {"near": 20, "far": 20, "tell": 2}


def test_a_unit_on_the_last_value_is_that_of_all() -> None:
    text = yaml.safe_dump({**BASE, "sweep": {"stack": ["oslo-14.7.3-rabbit"]}})
    text = text.replace("stack:\n  - oslo-14.7.3-rabbit", "links.core-edge.rtt: [0, 20, 50, 100, 200 ms]")
    found = plan_run(scenario_from_text(text, "swept.yaml"), systems=["rabbitmq"])
    seen = {cell.point["links.core-edge.rtt"]: cell.lab.links[0].impairment.delay_s for cell in found}
    assert seen == {"0 ms": 0, "20 ms": 0.01, "50 ms": 0.025, "100 ms": 0.05, "200 ms": 0.1}


def topologies(tmp_path: Path, **sweep: Any) -> Path:
    """A scenario file that goes through topologies: one link of 40 and of 80 ms, and one with another site beside."""
    wan = {"core-edge": {"between": ["core", "edge"], "rtt": "80ms"}}
    (tmp_path / "near.yaml").write_text(yaml.safe_dump(BASE["topology"]))
    (tmp_path / "far.yaml").write_text(yaml.safe_dump({"name": "far", "sites": ["core", "edge"], "links": wan}))
    own = {"name": "own", "sites": ["core", "edge", "third"], "links": wan}
    path = tmp_path / "swept.yaml"
    swept = {"topology": ["near.yaml", "far.yaml", own], **sweep}
    path.write_text(yaml.safe_dump({**BASE, "topology": "near.yaml", "sweep": swept}, sort_keys=False))
    return path


def test_whole_topologies(tmp_path: Path) -> None:
    loaded = load_scenario(topologies(tmp_path))
    found = plan_run(loaded, systems=["rabbitmq"])
    seen = {cell.point["topology"]: (len(cell.lab.sites), cell.lab.links[0].impairment.delay_s) for cell in found}
    assert seen == {"two": (2, 0.02), "far": (2, 0.04), "own": (3, 0.04)}
    assert {cell.id for cell in found} == {f"rabbitmq-topology-{name}-r1" for name in seen}
    again = scenario_from_text(resolved_text(loaded), "scenario.resolved.yaml")
    assert plan_run(again, systems=["rabbitmq"]) == found


def test_a_topology_and_its_links_together(tmp_path: Path) -> None:
    loaded = load_scenario(topologies(tmp_path, **{"links.core-edge.rtt": ["2ms", "4ms"]}))
    found = plan_run(loaded, systems=["rabbitmq"])
    assert sorted((cell.point["topology"], cell.lab.links[0].impairment.delay_s) for cell in found) == [
        (name, delay_s) for name in ("far", "own", "two") for delay_s in (0.001, 0.002)
    ]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["near.yaml", "no-such.yaml"], r"swept.yaml:\d+: sweep.topology.1: there is no file 'no-such.yaml'"),
        (["near.yaml", "near.yaml"], "sweep.topology.1: two topologies of the sweep are called 'two'"),
        ([3], "sweep.topology.0: 3 is no topology"),
        ([{"name": "bad", "sites": ["core"], "links": {"l": {"between": ["core", "x"]}}}], "no site 'x'"),
    ],
)
def test_a_topology_that_cannot_be_had(tmp_path: Path, values: list[Any], says: str) -> None:
    with pytest.raises(BadFile, match=says):
        load_scenario(topologies(tmp_path, topology=values))


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ({"repetitions": [1, 2]}, "sweep.repetitions: repetitions is of the run as a whole"),
        ({"name": ["a", "b"]}, "sweep.name: name is of the run as a whole"),
        ({"sweep.rate": ["1/s"]}, "sweep is of the run as a whole"),
        ({"combine": ["zip"]}, "combine is of the run as a whole"),
        ({"stacks.mine.python": ["3.9"]}, "stacks is of the run as a whole"),
        ({"clients": [1], "workloads.far.clients": [2]}, "change the same place"),
        ({"load": [{"duration": "5s"}], "load.duration": ["5s"]}, "change the same place"),
        ({"systems": [{"rabbitmq": BASE["systems"]["rabbitmq"]}]}, "the same systems at every point"),
    ],
)
def test_a_key_no_point_can_change(sweep: dict[str, Any], says: str) -> None:
    with pytest.raises(BadFile, match=says):
        cells(sweep)


def test_doses_at_the_points_that_have_them() -> None:
    doses = {"doses": {"call": 5}, "blocks": 8}
    found = cells({"memory.blocks": [8, 9]}, workloads={}, timeline=[], memory=doses)
    assert [cell.memory and cell.memory.blocks for cell in found] == [8, 9]


def test_every_cell_has_a_name_of_its_own() -> None:
    sweep = {
        "links.core-edge.rtt": ["10ms", "10 ms"],
        "clients": [{"edge": 1}, {"core": 1, "edge": 1}],
        "payload": [f"{n}B" for n in range(1, 9)],
    }
    found = cells(sweep, repetitions=3)
    assert len({cell.id for cell in found}) == len(found) == 2 * 2 * 8 * 3
    assert all(len(cell.id) <= 100 for cell in found)


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_resolved_scenario_plans_the_same_cells(path: Path) -> None:
    """What `harness resume` and a reproduction run is what ran."""
    loaded = load_scenario(path)
    again = scenario_from_text(resolved_text(loaded), "scenario.resolved.yaml")
    assert plan_run(again) == plan_run(loaded)
    assert resolved_text(again) == resolved_text(loaded)
