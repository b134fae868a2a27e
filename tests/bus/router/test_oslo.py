"""oslo.messaging's amqp1 driver over routers: what it does must not depend on which router there is."""

from __future__ import annotations

import pytest

from tests.bus.router.conftest import RouterLab


@pytest.mark.parametrize("far", ["a", "c"])
def test_calls_are_answered(line: RouterLab, name: str, far: str) -> None:
    server, client = line.oslo(far), line.oslo("a")
    server("serve", topic=name, server="s1")
    assert client("call", topic=name, method="echo", value={"k": [1, 2]}, count=20) == [{"k": [1, 2]}] * 20
    assert client("call", topic=name, method="name", value=None, server="s1") == ["s1"]
    payload = "x" * 200_000
    assert client("call", topic=name, method="echo", value=payload) == [payload]


def test_casts_fanouts_and_notifications_arrive(line: RouterLab, name: str) -> None:
    servers = {node: line.oslo(node) for node in "abc"}
    for node, server in servers.items():
        server("serve", topic=name, server=node)
    client = line.oslo("a")
    assert client("call", topic=name, method="name", value=None, server="c") == ["c"]
    line.wait_known("a", f"openstack.org/om/rpc/multicast/openstack/{name}", here=1, routers=2)

    assert client("cast", topic=name, method="note", value="to c", server="c")["results"] == ["sent"]
    assert servers["c"]("noted", topic=name, count=1) == ["to c"]
    assert client("cast", topic=name, method="note", value="to all", fanout=True)["results"] == ["sent"]
    for node, server in servers.items():
        expected = (["to c"] if node == "c" else []) + ["to all"]
        assert server("noted", topic=name, count=len(expected)) == expected
    assert client("cast", topic=name, method="note", value="to one")["results"] == ["sent"]
    assert servers["a"]("noted", topic=name, count=2) == ["to all", "to one"], "the nearest gets what any may get"

    servers["c"]("listen", topic=f"{name}-events")
    assert client("notify", topic=f"{name}-events", value="event", count=5)["results"] == [None] * 5
    noted = servers["c"]("noted", topic=f"{name}-events", count=5)
    assert noted == [["event", number] for number in range(5)]


def test_a_call_goes_to_the_nearest_server(line: RouterLab, name: str) -> None:
    for node in "bc":
        line.oslo(node)("serve", topic=name, server=node)
    line.wait_known("a", f"openstack.org/om/rpc/anycast/openstack/{name}", here=0, routers=2)
    assert line.oslo("a")("call", topic=name, method="name", value=None, count=20) == ["b"] * 20
    assert line.oslo("c")("call", topic=name, method="name", value=None, count=20) == ["c"] * 20


def test_what_nobody_serves(line: RouterLab, name: str) -> None:
    client = line.own_oslo("a", notify_timeout=5)
    assert client("call", topic=name, method="echo", value=1, timeout=2) == ["MessagingTimeout"]
    cast = client("cast", topic=name, method="note", value=1, count=3)
    assert cast["results"] == ["sent"] * 3
    fanout = client("cast", topic=name, method="note", value=1, fanout=True, count=3)
    assert fanout["results"] == ["sent"] * 3
    notified = client("notify", topic=name, value=1)
    assert notified["results"] == [None]
    assert notified["seconds"] >= 4, "a notification blocks until its time-out"
    assert max(cast["seconds"], fanout["seconds"]) < notified["seconds"], "casts and fanouts return at once"

    silent = line.own_oslo("a", settled=["rpc-cast", "rpc-reply", "notify"], notify_timeout=20)
    notified = silent("notify", topic=name, value=1)
    assert notified["results"] == [None]
    assert notified["seconds"] < 20, "sent settled, it is lost without waiting"


def test_a_server_that_dies_fails_its_calls_and_another_takes_over(line: RouterLab, name: str) -> None:
    doomed, other, client = line.own_oslo("a"), line.oslo("c"), line.oslo("a")
    doomed("serve", topic=name, server="doomed")
    other("serve", topic=name, server="other")
    line.wait_known("a", f"openstack.org/om/rpc/anycast/openstack/{name}", here=1, routers=1)
    assert client("call", topic=name, method="name", value=None) == ["doomed"]
    doomed.kill()
    line.wait_known("a", f"openstack.org/om/rpc/anycast/openstack/{name}", here=0, routers=1)
    assert client("call", topic=name, method="name", value=None, count=5) == ["other"] * 5
