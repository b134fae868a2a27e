"""The directed links of a topology, every value spelt out. Pure.

A value is taken from the first that says it: the link itself, the link's class, (for the delay) the distance between
two sites with a location, the topology's defaults, the class of the defaults.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from harness.model.geography import fibre_delay_s, great_circle_km
from harness.model.link_spec import LinkSpec
from harness.model.links import Impairment
from harness.model.topology import Topology, mesh_name
from harness.plan.cell import LinkPlan

__all__ = ["base_impairment", "directed_links"]


def base_impairment(topology: Topology, source: str, target: str) -> Impairment:
    """What the topology says of a pair of sites before any link of its own does."""
    base = topology.defaults.over(Impairment())
    here, there = topology.sites[source].location, topology.sites[target].location
    if here is None or there is None:
        return base
    distance_km = great_circle_km(here.latitude, here.longitude, there.latitude, there.longitude)
    return replace(base, delay_s=fibre_delay_s(distance_km, topology.defaults.path_factor))


def directed_links(topology: Topology) -> tuple[LinkPlan, ...]:
    """Every direction of every link of a topology; with `defaults.mesh` also of the pairs no link describes."""
    plans: list[LinkPlan] = []
    described: set[tuple[str, str]] = set()
    specs = dict(topology.links)
    for name, spec in specs.items():
        for source, target in spec.directions():
            plans.append(LinkPlan(name, source, target, spec.over(base_impairment(topology, source, target))))
            described.add((source, target))
    if topology.defaults.mesh:
        for first, second in combinations(topology.sites, 2):
            for source, target in LinkSpec(between=(first, second)).directions():
                if (source, target) not in described:
                    impairment = base_impairment(topology, source, target)
                    plans.append(LinkPlan(mesh_name(first, second), source, target, impairment))
    return tuple(plans)
