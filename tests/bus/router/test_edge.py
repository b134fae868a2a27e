"""Edge routers: they have no part in the mesh's graph, yet their clients reach everybody and are reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.bus.router.conftest import RouterLab, router_lab

ANYCAST = "openstack.org/om/rpc/anycast/x/"
MULTICAST = "openstack.org/om/rpc/multicast/x/"
NODES = ("core", "mid", "rim1", "rim2")


@pytest.fixture(scope="module")
def rims(amqp_python: str, implementation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterLab]:
    """Interior routers core and mid; edge router rim1 at core, rim2 at mid."""
    edges = (("mid", "core"), ("rim1", "core"), ("rim2", "mid"))
    logs = tmp_path_factory.mktemp("rims")
    with router_lab(logs, amqp_python, implementation, edges, edge_routers=("rim1", "rim2")) as lab:
        yield lab


def test_edge_routers_are_not_in_the_graph(rims: RouterLab) -> None:
    for node in ("core", "mid"):
        assert sorted(row["id"] for row in rims.bus.query(node, "router.node")["router.node"]) == ["core", "mid"]
    assert rims.bus.query("rim1", "router.node")["router.node"] == []
    assert rims.bus.metrics()["core"]["connections"]["edge"] == 1


def test_any_reaches_any(rims: RouterLab, name: str) -> None:
    for target in NODES:
        there = rims.proton(target)
        there("receive", name=f"r-{target}-{name}", url=rims.url(target), address=f"{ANYCAST}{target}-{name}")
        reply = there("receive", name=f"d-{target}-{name}", url=rims.url(target))["address"]
        for source in NODES:
            near = rims.proton(source)
            for kind, address in (("r", f"{ANYCAST}{target}-{name}"), ("d", reply)):
                link = f"s-{kind}-{source}-{target}-{name}"
                near("send", name=link, url=rims.url(source), address=address)
                near("put", name=link, bodies=[source])
                assert near("outcomes", name=link, count=1) == [{"outcome": "accepted"}]
        assert there("got", name=f"r-{target}-{name}", count=4) == list(NODES)
        assert there("got", name=f"d-{target}-{name}", count=4) == list(NODES)


def test_multicast_reaches_each_once(rims: RouterLab, name: str) -> None:
    address = MULTICAST + name
    for node in NODES:
        rims.proton(node)("receive", name=f"r-{name}", url=rims.url(node), address=address)
    # Interior routers count an edge router's receivers as their own, or as one more router: wait by sending.
    for node in NODES:
        near = rims.proton(node)
        near("send", name=f"s-{name}", url=rims.url(node), address=address)
        near("credit", name=f"s-{name}")
    probes = 0
    while not all(rims.proton(node)("got", name=f"r-{name}", count=1, seconds=0.2) for node in NODES):
        probes += 1
        assert probes < 50
        rims.proton("rim1")("put", name=f"s-{name}", bodies=["probe"])
    for node in NODES:
        rims.proton(node)("put", name=f"s-{name}", bodies=[node])
    for node in NODES:
        got = Counter(rims.proton(node)("got", name=f"r-{name}", count=probes + 4, seconds=2.0))
        assert {body: got[body] for body in NODES} == dict.fromkeys(NODES, 1)


def test_calls_between_edges(rims: RouterLab, name: str) -> None:
    server, client = rims.oslo("rim1"), rims.oslo("rim2")
    server("serve", topic=name, server="s")
    assert client("call", topic=name, method="echo", value=1, count=10) == [1] * 10
