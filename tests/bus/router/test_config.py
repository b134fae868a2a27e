"""The generated configuration: what each router is told, and that the embedded router reads it back as meant."""

from __future__ import annotations

import re

import pytest

from harness.bus.router.config import ADDRESS_PREFIXES, RouterEndpoint, connectors, router_config
from harness.bus.router.embedded.config import ConfigError, parse_config
from harness.plan.cell import BusNodePlan, BusPlan


def plan(*nodes: BusNodePlan, **options: object) -> BusPlan:
    return BusPlan("main", "router", nodes, options)


CORE = BusNodePlan("core", "core")
FAR = BusNodePlan("far", "far", peers=("core",))
EDGE = BusNodePlan("rim", "rim", peers=("far",), edge=True)
ENDPOINTS = {name: RouterEndpoint(name) for name in ("core", "far", "rim")}


def test_the_file_says_one_attribute_per_line_and_nothing_else() -> None:
    for node in (CORE, FAR, EDGE):
        for line in router_config(plan(CORE, FAR, EDGE), node, ENDPOINTS).splitlines():
            assert re.fullmatch(r"|\w+ \{|\}|    \w+: \S+", line), line


def test_what_is_written_is_what_is_read() -> None:
    bus = plan(CORE, FAR, EDGE, link_capacity=40, idle_timeout_s=6)
    core, far, rim = (parse_config(router_config(bus, node, ENDPOINTS)) for node in (CORE, FAR, EDGE))
    assert (core.id, core.mode, rim.mode) == ("core", "interior", "edge")
    assert [(each.role, each.port) for each in core.listeners] == [
        ("normal", 5672),
        ("inter-router", 55671),
        ("edge", 45671),
    ]
    assert [each.role for each in rim.listeners] == ["normal"]
    assert core.connectors == ()
    assert [(each.host, each.port, each.role) for each in far.connectors] == [("core", 55671, "inter-router")]
    assert [(each.host, each.port, each.role) for each in rim.connectors] == [("far", 45671, "edge")]
    assert {(each.link_capacity, each.idle_timeout_s) for each in far.listeners} == {(40, 6.0)}
    assert {(each.link_capacity, each.idle_timeout_s) for each in far.connectors} == {(40, 6.0)}
    assert core.prefixes == dict(ADDRESS_PREFIXES)
    assert len(core.prefixes) == 6


def test_a_lone_router_joins_nobody() -> None:
    alone = parse_config(router_config(plan(CORE), CORE, ENDPOINTS))
    assert [each.role for each in alone.listeners] == ["normal"]
    assert alone.connectors == ()


def test_each_pair_is_joined_once_and_an_edge_router_connects_out() -> None:
    nodes = (
        BusNodePlan("core", "s", peers=("far", "rim")),
        BusNodePlan("far", "s", peers=("core",)),
        BusNodePlan("rim", "s", edge=True),
    )
    assert connectors(plan(*nodes)) == {"core": ("far",), "far": (), "rim": ("core",)}


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ((BusNodePlan("core", "s", peers=("nowhere",)),), "no other router"),
        ((BusNodePlan("core", "s", peers=("core",)),), "no other router"),
        ((BusNodePlan("x", "s", edge=True), BusNodePlan("y", "s", peers=("x",), edge=True)), "edge routers"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(nodes: tuple[BusNodePlan, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connectors(plan(*nodes))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no router section"),
        ("router {\n    mode: interior\n}\n", "no router section with an id"),
        ("router {\n    id: a\n    mode: inner\n}\n", "expected one of standalone, interior, edge"),
        ("router {\n    id: a\n", "not closed"),
        ("router\n", "line 1: expected a section"),
        ("router {\n    id a\n}\n", "line 2: expected `attribute: value`"),
        ("router {\n    id: a\n}\nlistener {\n    port: many\n}\n", "port: expected a number, found 'many'"),
        ("router {\n    id: a\n}\nlistener {\n    role: odd\n}\n", "line 4: expected one of normal"),
    ],
)
def test_a_file_that_cannot_be_followed_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_config(text)


def test_comments_other_sections_and_defaults_are_taken_as_the_real_routers_do() -> None:
    config = parse_config(
        "# a router\nrouter {\n    id: a  # its name\n}\nlog {\n    module: DEFAULT\n}\nlistener {\n    port: amqp\n}\n"
    )
    assert config.mode == "standalone"
    (listener,) = config.listeners
    assert (listener.port, listener.role, listener.link_capacity, listener.idle_timeout_s) == (5672, "normal", 250, 16)
