"""What the ways between interior routers cost when all of them run: hops, since every connection costs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.plan.cell import BusNodePlan

__all__ = ["shortest_costs"]


def shortest_costs(nodes: Sequence[BusNodePlan]) -> Mapping[str, Mapping[str, int]]:
    """For every router the cost of the shortest way to each interior router it can reach; edge routers reach none."""
    beside: dict[str, set[str]] = {node.name: set() for node in nodes if not node.edge}
    for node in nodes:
        for peer in node.peers:
            if node.name in beside and peer in beside:
                beside[node.name].add(peer)
                beside[peer].add(node.name)
    return {node.name: _from(node.name, beside) for node in nodes}


def _from(start: str, beside: Mapping[str, set[str]]) -> Mapping[str, int]:
    costs: dict[str, int] = {}
    reached = {start} & beside.keys()
    cost = 0
    while reached:
        costs.update(dict.fromkeys(reached, cost))
        reached = {peer for one in reached for peer in beside[one]} - costs.keys()
        cost += 1
    return costs
