"""Several routers in a graph with cycles: no message twice, and service again after losses."""

from __future__ import annotations

import time
from collections import Counter

from tests.bus.router.conftest import LOOPS, Client, RouterLab

ANYCAST = "openstack.org/om/rpc/anycast/x/"
MULTICAST = "openstack.org/om/rpc/multicast/x/"
NODES = sorted({name for pair in LOOPS for name in pair})


def test_every_router_sees_all_and_agrees_on_the_distances(loops: RouterLab) -> None:
    costs = {}
    for node in NODES:
        rows = loops.bus.query(node, "router.node")["router.node"]
        costs[node] = {row["id"]: row["cost"] for row in rows}
    assert all(sorted(row) == NODES for row in costs.values())
    for one in NODES:
        for other in NODES:
            assert costs[one][other] == costs[other][one]
    assert costs["b"]["e"] == 3
    assert costs["a"]["c"] == 1


def test_multicast_over_cycles_reaches_each_once_from_everywhere(loops: RouterLab, name: str) -> None:
    address = MULTICAST + name
    for node in NODES:
        loops.proton(node)("receive", name=f"r-{name}", url=loops.url(node), address=address)
    for node in NODES:
        loops.wait_known(node, address, here=1, routers=len(NODES) - 1)
        loops.proton(node)("send", name=f"s-{name}", url=loops.url(node), address=address)
        loops.proton(node)("put", name=f"s-{name}", bodies=[f"{node}{number}" for number in range(10)])
    expected = Counter(f"{node}{number}" for node in NODES for number in range(10))
    for node in NODES:
        assert len(loops.proton(node)("outcomes", name=f"s-{name}", count=10)) == 10
    for node in NODES:
        assert Counter(loops.proton(node)("got", name=f"r-{name}", count=50)) == expected


def test_a_lost_link_is_gone_round(loops: RouterLab, name: str) -> None:
    there, near = loops.proton("e"), loops.proton("b")
    there("receive", name=f"r-{name}", url=loops.url("e"), address=ANYCAST + name)
    near("send", name=f"s-{name}", url=loops.url("b"), address=ANYCAST + name)
    near("put", name=f"s-{name}", bodies=["before"])
    assert near("outcomes", name=f"s-{name}", count=1) == [{"outcome": "accepted"}]
    loops.cut("c", "d")
    loops.cut("a", "b")
    try:
        wait_for_distance(loops, "b", "e", 4)
        count = put_until_accepted(near, f"s-{name}", "round", 1)
    finally:
        loops.heal("c", "d")
        loops.heal("a", "b")
    wait_for_distance(loops, "b", "e", 3)
    put_until_accepted(near, f"s-{name}", "after", count)
    assert there("got", name=f"r-{name}", count=3) == ["before", "round", "after"]


def test_a_router_cut_off_is_reached_again(loops: RouterLab, name: str) -> None:
    server, client = loops.oslo("e"), loops.oslo("b")
    server("serve", topic=name, server="s")
    assert client("call", topic=name, method="echo", value=1) == [1]
    loops.cut("d", "e")
    try:
        assert client("call", topic=name, method="echo", value=2, timeout=5) == ["MessagingTimeout"]
    finally:
        loops.heal("d", "e")
    # How long the connection over the healed link takes to move again is up to TCP.
    for _ in range(10):
        again = client("call", topic=name, method="echo", value=3, timeout=5)
        if again == [3]:
            return
    raise AssertionError(f"calls still end with {again}")


def test_a_killed_router_is_gone_round_and_comes_back(loops: RouterLab, name: str) -> None:
    server, client = loops.oslo("d"), loops.oslo("b")
    server("serve", topic=name, server="s")
    assert client("call", topic=name, method="echo", value=1) == [1]
    loops.bus.stop_component("c", kill=True)
    assert client("call", topic=name, method="echo", value=2, timeout=20) == [2]
    loops.bus.start_component("c", timeout_s=30.0)
    assert client("call", topic=name, method="echo", value=3, timeout=20) == [3]
    # Its own router restarts: the driver connects again by itself, after a pause that grows.
    loops.bus.stop_component("b", kill=False)
    loops.bus.start_component("b", timeout_s=30.0)
    assert client("call", topic=name, method="echo", value=4, timeout=30) == [4]


def test_nothing_arrives_twice_while_paths_change(loops: RouterLab, name: str) -> None:
    there, near = loops.proton("d"), loops.proton("b")
    for kind in (ANYCAST, MULTICAST):
        there("receive", name=f"r-{kind}{name}", url=loops.url("d"), address=kind + name, credit=1000)
        near("send", name=f"s-{kind}{name}", url=loops.url("b"), address=kind + name)
        near("credit", name=f"s-{kind}{name}")
    sent = 0
    for round_ in range(6):
        if round_ == 2:
            loops.bus.stop_component("a", kill=True)
        if round_ == 4:
            loops.bus.start_component("a", timeout_s=30.0)
        for kind in (ANYCAST, MULTICAST):
            near("put", name=f"s-{kind}{name}", bodies=list(range(sent, sent + 20)))
        sent += 20
    for kind in (ANYCAST, MULTICAST):
        outcomes = near("outcomes", name=f"s-{kind}{name}", count=sent)
        assert len(outcomes) == sent, "every message's end is told"
        accepted = sum(each["outcome"] == "accepted" for each in outcomes)
        assert accepted >= 40
        bodies = there("got", name=f"r-{kind}{name}", count=accepted)
        assert len(bodies) == len(set(bodies))


def put_until_accepted(client: Client, sender: str, body: str, count: int) -> int:
    """Put a message, again when it is released: routes may be known before addresses. How many outcomes there are."""
    for _ in range(20):
        client("put", name=sender, bodies=[body])
        count += 1
        outcome = client("outcomes", name=sender, count=count)[count - 1]
        if outcome == {"outcome": "accepted"}:
            return count
        assert outcome == {"outcome": "released"}
        time.sleep(0.25)
    raise AssertionError(f"{body!r} is still released")


def wait_for_distance(lab: RouterLab, node: str, target: str, cost: int) -> None:
    """Until that router sees the other at that cost."""
    seen: int | None = None
    end = time.monotonic() + 40.0
    while time.monotonic() < end:
        rows = lab.bus.query(node, "router.node")["router.node"]
        seen = next((row["cost"] for row in rows if row["id"] == target), None)
        if seen == cost:
            return
        time.sleep(0.2)
    raise AssertionError(f"{node} sees {target} at {seen}, not {cost}")
