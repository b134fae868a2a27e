"""One contract for every workload adapter, over the real bus it is for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from harness.agent.records import NOBODY, REDELIVERED, REQUEUED, Record, read_records
from harness.errors import AgentFailure

if TYPE_CHECKING:
    from tests.agent.conftest import Rig

#: (adapter, stack, driver)
ADAPTERS = [
    ("loopback", "loopback", "none"),
    ("oslo", "oslo-14.7.3-rabbit", "rabbit"),
    ("oslo", "oslo-14.7.3-amqp1", "amqp1"),
    ("oslo", "oslo-18.3.1-rabbit", "rabbit"),
    ("kombu", "oslo-14.7.3-rabbit", "rabbit"),
    ("proton", "proton", "amqp1"),
    ("pyngus", "oslo-14.7.3-amqp1", "amqp1"),
]
OVER_RABBIT = [case for case in ADAPTERS if case[2] == "rabbit"]
OVER_ROUTERS = [case for case in ADAPTERS if case[2] == "amqp1"]
RAW = [case for case in ADAPTERS if case[0] in ("kombu", "proton", "pyngus")]
WITHOUT_QUEUES = [case for case in OVER_ROUTERS if case[0] != "oslo"]
OSLO = [case for case in ADAPTERS if case[0] == "oslo"]

each = pytest.mark.parametrize("case", ADAPTERS, ids="-".join)


@each
def test_a_call_is_answered_by_the_server_it_reached(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    server, client = rig.start(
        [rig.task(5, "server"), rig.task(6, "client", payload={"low": 0, "high": 5000, "kind": "uniform"})]
    )
    report = rig.perform(client, 40)
    assert (report.sent, report.done, report.failed) == (40, 40, {})
    sent, received = rig.records(client), rig.received(server, 40)
    assert {record.peer for record in sent} == {5}
    assert {(record.peer, record.seq, record.due, record.size) for record in received} == {
        (6, record.seq, record.due, record.size) for record in sent
    }
    answered = {record.seq: record for record in received}
    for record in sent:
        assert record.due <= record.mid <= answered[record.seq].mid <= answered[record.seq].done <= record.done


@each
def test_a_cast_arrives_once_and_has_no_answer(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    server, client = rig.start([rig.task(5, "server"), rig.task(6, "client", pattern="rpc-cast")])
    assert rig.perform(client, 30).done == 30
    assert sorted(record.seq for record in rig.received(server, 30)) == list(range(30))
    assert {record.peer for record in rig.records(client)} == {NOBODY}


@each
def test_a_fanout_arrives_at_every_server(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    tasks = [rig.task(number, "server") for number in (1, 2, 3)]
    *servers, client = rig.start([*tasks, rig.task(6, "client", pattern="rpc-fanout")])
    assert rig.perform(client, 10).done == 10
    for server in servers:
        assert sorted(record.seq for record in rig.received(server, 10)) == list(range(10))


@pytest.mark.parametrize("case", OVER_RABBIT, ids="-".join)
def test_a_fanout_goes_on_when_its_servers_were_replaced(rig: Rig, case: tuple[str, str, str]) -> None:
    """The exchange is gone with the last queue, and its sender has declared it before."""
    rig.use(*case)
    first, client = rig.start([rig.task(1, "server"), rig.task(6, "client", pattern="rpc-fanout")])
    assert rig.perform(client, 10).done == 10
    first.stop()
    (second,) = rig.start([rig.task(2, "server")])
    assert rig.perform(client, 10).done == 20
    assert sorted(record.seq for record in rig.received(second, 10)) == list(range(10, 20))


@each
def test_a_notification_arrives_at_one_listener(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    tasks = [rig.task(number, "server", pattern="notify") for number in (1, 2)]
    *listeners, client = rig.start([*tasks, rig.task(6, "client", pattern="notify")])
    assert rig.perform(client, 30).done == 30
    assert sorted(record.seq for record in rig.received(listeners, 30)) == list(range(30))


@each
def test_topics_are_taken_in_turn_and_a_named_server_alone_is_reached(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    tasks = [rig.task(number, "server") for number in (1, 2)]
    topic = tasks[0]["topics"][0]["topic"]
    topics = [{"topic": topic, "server": "server-2"}, {"topic": topic, "server": "server-1"}]
    *_, client = rig.start([*tasks, rig.task(6, "client", topics=topics)])
    assert rig.perform(client, 20).done == 20
    assert {(record.target, record.peer) for record in rig.records(client)} == {(0, 2), (1, 1)}
    assert sum(record.target for record in rig.records(client)) == 10


@each
def test_a_raising_server_is_a_failure_that_names_the_exception(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    _, client = rig.start([rig.task(5, "server", behaviour={"raise_fraction": 1.0}), rig.task(6, "client")])
    ((name, count),) = rig.perform(client, 8).failed.items()
    assert count == 8
    assert name.endswith(".Refused")


@each
def test_a_silent_server_is_a_time_out(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    silent = rig.task(5, "server", behaviour={"silent_fraction": 1.0})
    server, client = rig.start([silent, rig.task(6, "client", timeout_s=1.0)])
    ((name, count),) = rig.perform(client, 4).failed.items()
    assert count == 4
    assert "timeout" in name.lower() or "timed" in name.lower()
    assert {record.status for record in rig.received(server, 4)} == {1}


@pytest.mark.parametrize("case", RAW, ids="-".join)
def test_calls_whose_connection_ends_do_not_wait_for_their_time_out(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    mute = rig.task(5, "server", behaviour={"service_time": {"kind": "fixed", "seconds": 300.0}}, workers=4)
    with rig.relayed() as (url, end_connections):
        server, client = rig.start([mute, rig.task(6, "client", timeout_s=200.0, url=url)])
        client.go(time.monotonic(), count=4)
        deadline = time.monotonic() + 20.0
        while server.report().sent < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        end_connections()
        assert client.wait_finished(60.0), "the time-out of a call is much longer"
        assert sum(client.report().failed.values()) == 4


def test_what_ends_after_the_last_report_is_in_neither_count_nor_file(rig: Rig) -> None:
    rig.use("loopback", "loopback", "none")
    slow = rig.task(5, "server", behaviour={"service_time": {"kind": "fixed", "seconds": 1.0}})
    _, client = rig.start([slow, rig.task(6, "client", workers=4)])
    client.go(time.monotonic(), count=8)
    time.sleep(0.5)
    report = client.report(final=True)
    assert (report.done, report.in_flight, report.records) == (0, 4, 0)
    assert client.wait_finished(10.0)
    client.stop()
    assert not list(read_records(f"{rig.lab.workdir('host')}/{client.name}.rec"))


@each
def test_calls_nobody_takes_fail_in_time_and_later_ones_work(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    (client,) = rig.start([rig.task(6, "client", timeout_s=2.0)])
    report = rig.perform(client, 4)
    assert report.done == 0
    assert sum(report.failed.values()) == 4
    rig.start([rig.task(5, "server")])
    # The server may first take calls nobody waits for any more.
    assert any(rig.perform(client, 10).done >= 10 for _ in range(10))


@pytest.mark.parametrize("case", WITHOUT_QUEUES, ids="-".join)
def test_calls_nobody_answers_leave_nothing_behind(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    (client,) = rig.start([rig.task(6, "client", timeout_s=0.5, workers=32)])
    rig.perform(client, 64)
    before = client.quiesce(5.0)["reading"]
    rig.perform(client, 256)
    after = client.quiesce(5.0)["reading"]
    assert after["blocks"] - before["blocks"] < 256, "less than one object for each"


@each
def test_a_task_for_another_driver_is_refused(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    change = {"driver": "none"} if case[2] != "none" else {"pattern": "churn-server"}
    with pytest.raises(AgentFailure, match=r"TaskError: (driver|pattern):"):
        rig.start([rig.task(6, "client", **change)])


@pytest.mark.parametrize("case", [case for case in ADAPTERS if case[0] != "loopback"], ids="-".join)
@pytest.mark.parametrize("pattern", ["churn-connect", "churn-cast"])
def test_clients_come_and_go(rig: Rig, case: tuple[str, str, str], pattern: str) -> None:
    rig.use(*case)
    (client,) = rig.start([rig.task(6, "client", pattern=pattern, workers=1)])
    rig.perform(client, 3)
    before = client.quiesce(5.0)["reading"]
    report = rig.perform(client, 10)
    after = client.quiesce(5.0)["reading"]
    assert (report.done, report.failed) == (13, {})
    assert after["sockets"] <= before["sockets"]


@pytest.mark.parametrize("case", OSLO, ids="-".join)
@pytest.mark.parametrize(
    "pattern", ["churn-transport", "churn-client", "churn-topic", "churn-server", "churn-listener"]
)
def test_the_lives_of_oslo_objects(rig: Rig, case: tuple[str, str, str], pattern: str) -> None:
    rig.use(*case)
    _, client = rig.start([rig.task(5, "server"), rig.task(6, "client", pattern=pattern, workers=1)])
    report = rig.perform(client, 4)
    assert (report.done, report.failed) == (4, {})


@pytest.mark.parametrize(
    ("case", "pattern"),
    [
        (("kombu", "oslo-14.7.3-rabbit", "rabbit"), "churn-link"),
        (("kombu", "oslo-14.7.3-rabbit", "rabbit"), "churn-declare"),
        (("kombu", "oslo-14.7.3-rabbit", "rabbit"), "churn-evented"),
        (("proton", "proton", "amqp1"), "churn-abandon"),
        (("proton", "proton", "amqp1"), "churn-link"),
        (("proton", "proton", "amqp1"), "churn-blocking"),
        (("pyngus", "oslo-14.7.3-amqp1", "amqp1"), "churn-abandon"),
        (("pyngus", "oslo-14.7.3-amqp1", "amqp1"), "churn-link"),
        (("pyngus", "oslo-14.7.3-amqp1", "amqp1"), "churn-transport"),
    ],
)
def test_the_lives_of_what_raw_clients_have(rig: Rig, case: tuple[str, str, str], pattern: str) -> None:
    rig.use(*case)
    _, client = rig.start([rig.task(5, "server"), rig.task(6, "client", pattern=pattern, workers=1)])
    report = rig.perform(client, 6)
    assert (report.done, report.failed) == (6, {})


@pytest.mark.parametrize("case", [*OVER_RABBIT, *WITHOUT_QUEUES], ids="-".join)
def test_a_notification_given_back_comes_again(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    listener = rig.task(1, "server", pattern="notify", behaviour={"requeue_fraction": 0.4})
    server, client = rig.start([listener, rig.task(6, "client", pattern="notify")])
    rig.perform(client, 20)
    given_back, kept = 0, list[Record]()
    deadline = time.monotonic() + 10.0
    while (given_back == 0 or len(kept) < 20) and time.monotonic() < deadline:
        records = rig.records(server)
        given_back = sum(bool(record.flags & REQUEUED) for record in records)
        kept = [record for record in records if not record.flags & REQUEUED]
        if case in WITHOUT_QUEUES and given_back + len(kept) == 20:
            break  # a router keeps nothing: what is given back is the sender's to send again
        time.sleep(0.05)
    assert given_back
    if case in WITHOUT_QUEUES:
        assert given_back + len(kept) == 20
        return
    assert sorted(record.seq for record in kept) == list(range(20))
    if case[0] == "kombu":  # oslo.messaging does not tell its listeners
        assert any(record.flags & REDELIVERED for record in kept)


def test_what_nobody_takes_within_its_time_to_live_is_gone(rig: Rig) -> None:
    rig.use("kombu", "oslo-14.7.3-rabbit", "rabbit")
    first, brief, lasting = rig.start(
        [
            rig.task(1, "server", pattern="notify"),
            rig.task(6, "client", pattern="notify", ttl_s=0.2),
            rig.task(7, "client", pattern="notify", ttl_s=60.0),
        ]
    )
    first.stop()  # its queue stays
    assert rig.perform(brief, 20).done == rig.perform(lasting, 20).done == 20
    time.sleep(0.5)
    (second,) = rig.start([rig.task(2, "server", pattern="notify")])
    received = rig.received(second, 20)
    assert {(record.peer, record.seq) for record in received} == {(7, seq) for seq in range(20)}


def test_a_message_in_time_arrives_with_its_time_to_live(rig: Rig) -> None:
    rig.use("proton", "proton", "amqp1")
    server, client = rig.start([rig.task(5, "server"), rig.task(6, "client", pattern="rpc-cast", ttl_s=5.0)])
    assert rig.perform(client, 20).done == 20
    assert sorted(record.seq for record in rig.received(server, 20)) == list(range(20))


@pytest.mark.parametrize("case", OVER_RABBIT, ids="-".join)
def test_pools_each_get_every_notification(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    priorities = ["info", "error", "audit"]
    tasks = [
        rig.task(number, "server", pattern="notify", notify={"pool": pool, "priorities": priorities})
        for number, pool in ((1, "left"), (2, "right"), (3, "right"))
    ]
    sender = rig.task(6, "client", pattern="notify", notify={"priorities": priorities})
    left, *right, client = rig.start([*tasks, sender])
    rig.perform(client, 20)
    assert sorted(record.seq for record in rig.received(left, 20)) == list(range(20))
    assert sorted(record.seq for record in rig.received(right, 20)) == list(range(20))


@pytest.mark.parametrize("case", OVER_ROUTERS, ids="-".join)
def test_pools_are_refused_over_routers(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    with pytest.raises(AgentFailure, match=r"TaskError: notify\.pool"):
        rig.start([rig.task(1, "server", pattern="notify", notify={"pool": "left"})])


@each
def test_priorities_are_taken_in_turn(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    notify = {"priorities": ["info", "error"]}
    listener = rig.task(1, "server", pattern="notify", notify=notify)
    server, client = rig.start([listener, rig.task(6, "client", pattern="notify", notify=notify)])
    assert rig.perform(client, 12).done == 12
    assert sorted(record.seq for record in rig.received(server, 12)) == list(range(12))


@pytest.mark.parametrize("case", OSLO, ids="-".join)
def test_an_option_nobody_knows_is_refused(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    with pytest.raises(AgentFailure, match=r"options\.oslo_messaging_rabbit\.heart_beat"):
        rig.start([rig.task(6, "client", options={"oslo_messaging_rabbit": {"heart_beat": 3}})])


def test_the_size_of_the_pool_is_an_option_of_the_driver_that_has_it(rig: Rig) -> None:
    rig.use("oslo", "oslo-14.7.3-rabbit", "rabbit")
    options = {"oslo_messaging_rabbit": {"rpc_conn_pool_size": 2}}
    _, client = rig.start([rig.task(5, "server"), rig.task(6, "client", options=options)])
    assert rig.perform(client, 2).done == 2


@pytest.mark.parametrize("case", OSLO, ids="-".join)
def test_a_slow_call_lives_as_long_as_its_heartbeats(rig: Rig, case: tuple[str, str, str]) -> None:
    rig.use(*case)
    slow = rig.task(5, "server", behaviour={"service_time": {"seconds": 3.0}})
    _, client = rig.start([slow, rig.task(6, "client", monitor_s=2.0, timeout_s=20.0)])
    report = rig.perform(client, 2)
    assert (report.done, report.failed) == (2, {})


def test_a_notification_no_listener_takes_is_counted(rig: Rig) -> None:
    rig.use("oslo", "oslo-14.7.3-amqp1", "amqp1")
    options = {"oslo_messaging_amqp": {"default_notify_timeout": 5}}
    (client,) = rig.start([rig.task(6, "client", pattern="notify", options=options)])
    assert rig.perform(client, 2).failed == {"notify:MessageDeliveryFailure": 2}
