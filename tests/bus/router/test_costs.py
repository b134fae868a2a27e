"""Hops over the graph of interior routers, whichever end names the other."""

from __future__ import annotations

from harness.bus.router.costs import shortest_costs
from harness.plan.cell import BusNodePlan


def test_a_ring_of_five_with_an_edge_router() -> None:
    ring = [BusNodePlan(f"r{i}", f"s{i}", (f"r{(i + 1) % 5}",)) for i in range(5)]
    costs = shortest_costs([*ring, BusNodePlan("e", "s9", ("r0",), edge=True)])
    assert costs["r0"] == {"r0": 0, "r1": 1, "r2": 2, "r3": 2, "r4": 1}
    assert costs["e"] == {}


def test_routers_that_are_not_joined_do_not_reach_each_other() -> None:
    assert shortest_costs([BusNodePlan("a", "x"), BusNodePlan("b", "y")]) == {"a": {"a": 0}, "b": {"b": 0}}
