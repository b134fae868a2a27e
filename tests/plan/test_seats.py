"""Who meets whom, for every kind of target; and that every workload a file may say is a task an agent takes."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.draw import make_draw
from harness.agent.limits import check_limits
from harness.agent.schedule import due_offsets
from harness.agent.task import PATTERNS, Task
from harness.model.scenario import Load
from harness.model.workload import Pattern, Workload
from harness.plan.seats import Meeting, Seats, seats_of
from harness.plan.tasks import TaskMaker, worker_count
from harness.stack.shipped import shipped_stack

LOAD = Load.model_validate({"warmup": "1s", "duration": "9s"})


def workload(**said: Any) -> Workload:
    return Workload.model_validate(
        {"pattern": "rpc-call", "rate": "10/s", "clients": {"a": 2, "b": 1}, "servers": {"a": 1, "c": 2}, **said}
    )


def topics(seats: Seats) -> tuple[list[list[str]], list[list[str]]]:
    return tuple([[m.topic for m in seat.meetings] for seat in who] for who in (seats.clients, seats.servers))  # type: ignore[return-value]


def test_a_shared_target_is_one_topic() -> None:
    assert topics(seats_of("w", workload())) == ([["w"]] * 3, [["w"]] * 3)


def test_per_site_targets_and_named_placement_say_where_a_client_is_served() -> None:
    near = seats_of("w", workload(servers=["a", "b"], targets="per-site"))
    assert topics(near) == ([["w-a"], ["w-a"], ["w-b"]], [["w-a"], ["w-b"]])
    placed = seats_of("w", workload(targets={"sites": {"a": "c", "b": ["a", "c"]}}))
    assert topics(placed) == ([["w-c"], ["w-c"], ["w-a", "w-c"]], [["w-a"], ["w-c"], ["w-c"]])


def test_per_client_each_client_has_its_own_topic_and_all_its_servers() -> None:
    seats = seats_of("w", workload(targets="per-client"))
    assert topics(seats)[0] == [["w-1"], ["w-2"], ["w-3"]]
    served = Counter((seat.site, seat.meetings[0].topic) for seat in seats.servers)
    assert served == {(site, f"w-{n}"): count for site, count in (("a", 1), ("c", 2)) for n in (1, 2, 3)}
    assert len({seat.name for seat in seats.servers}) == 9


def test_per_server_every_server_is_addressed_by_its_name() -> None:
    seats = seats_of("w", workload(targets="per-server"))
    assert seats.clients[0].meetings == tuple(Meeting("w", server.name) for server in seats.servers)
    assert [(m.server, sites) for site, m, sites in seats.reached() if site == "b"] == [
        ("w-server-a-1", ("a",)),
        ("w-server-c-1", ("c",)),
        ("w-server-c-2", ("c",)),
    ]


@given(number=st.integers(1, 12), servers=st.integers(1, 8))
def test_every_one_of_n_topics_is_served(number: int, servers: int) -> None:
    seats = seats_of("w", workload(targets={"topics": number}, servers={"a": servers}))
    wanted = {f"w-{n}" for n in range(1, number + 1)}
    assert {m.topic for m in seats.clients[0].meetings} == wanted
    assert {m.topic for seat in seats.servers for m in seat.meetings} == wanted
    assert all(seat.meetings for seat in seats.servers)


@given(
    pools=st.integers(0, 3),
    targets=st.sampled_from(["shared", "per-client", {"topics": 2}, {"sites": {"a": ["a", "c"], "b": "c"}}]),
)
def test_every_target_a_client_uses_is_listened_to_in_every_pool(pools: int, targets: Any) -> None:
    names = ["x", "y", "z"][:pools]
    spec = workload(pattern="notify", servers={"a": 4, "c": 6}, targets=targets, notify={"pools": names})
    seats = seats_of("w", spec)
    for client in seats.clients:
        for meeting in client.meetings:
            there = {seat.pool for seat in seats.servers if meeting in seat.meetings}
            assert there == (set[str | None](names) or {None})


def test_the_model_knows_every_pattern_the_agent_does() -> None:
    assert get_args(Pattern) == PATTERNS


SCHEDULES: list[dict[str, Any]] = [
    {"rate": "10/s"},
    {"rate": "10/s", "arrivals": "poisson"},
    {"mode": "closed", "pause": "100ms"},
    {"schedule": {"rate": "6/min"}},
    {"schedule": {"steps": [{"rate": "1/s", "for": "5s"}, {"rate": 0, "for": "5s"}, {"rate": "20/s", "for": "1s"}]}},
    {"schedule": {"ramp": {"from": 0, "to": "50/s", "over": "3s"}, "arrivals": "poisson"}},
    {"schedule": {"burst": {"size": 20, "every": "2s"}}},
    {"schedule": {"closed": {"pause": 0, "count": 7}}},
]
PAYLOADS: list[Any] = [
    "1KiB",
    {"uniform": ["512B", "4KiB"]},
    {"exponential": "1KiB", "max": "64KiB"},
    {"lognormal": "1KiB", "sigma": 1, "max": "64KiB"},
    {"choice": ["100B", "64KiB"], "weights": [9, 1]},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_whatever_a_file_says_is_a_task_the_agent_takes(schedule: dict[str, Any], payload: Any) -> None:
    said = {"pattern": "rpc-call", "clients": {"a": 3}, "servers": {"a": 1}, **schedule}
    spec = Workload.model_validate({**said, "payload": payload, "server": {"service_time": {"exponential": "1s"}}})
    stack = shipped_stack("oslo-14.7.3-rabbit")
    maker = TaskMaker("w", spec, 4, "oslo", stack, LOAD, 1)
    seats = seats_of("w", spec)
    for task in (maker.client(seats.clients[1], 5, 1 / 3), maker.server(seats.servers[0], 0)):
        checked = Task.from_json(task)
        check_limits(checked)
        sizes = [make_draw(checked.payload, 3, "bytes")() for _ in range(50)]
        assert (
            all(100 <= size <= 65536 for size in sizes) or "exponential" in str(payload) or "lognormal" in str(payload)
        )
        if task["role"] == "client" and checked.schedule["kind"] != "closed":
            assert 0 < len(list(due_offsets(checked.schedule, 10.0, 1))) <= 1000


def test_a_workload_says_the_same_by_its_short_and_its_long_form() -> None:
    maker = [
        TaskMaker("w", spec, 1, "oslo", shipped_stack("oslo-14.7.3-rabbit"), LOAD, 1).client(
            seats_of("w", spec).clients[0], 0, 0.5
        )
        for spec in (
            workload(arrivals="poisson"),
            workload(rate=None, schedule={"rate": "10/s", "arrivals": "poisson"}),
        )
    ]
    assert maker[0] == maker[1]


@pytest.mark.parametrize(
    ("said", "threads"),
    [
        ({"rate": "10/s"}, 21),
        ({"rate": "10/s", "timeout": "500ms"}, 6),
        ({"rate": "10/s", "timeout": "30s", "server": {"service_time": "3s"}}, 61),
        ({"rate": None, "schedule": {"ramp": {"from": "40/s", "to": 0}}}, 81),
        ({"rate": None, "schedule": {"burst": {"size": 50, "every": "1s"}}}, 50),
        ({"rate": None, "mode": "closed"}, 1),
        ({"rate": "10/s", "workers": 3}, 3),
    ],
)
def test_a_client_has_threads_for_its_rate(said: dict[str, Any], threads: int) -> None:
    assert worker_count(workload(**said)) == threads


def test_what_the_scenario_says_reaches_the_tasks() -> None:
    spec = workload(
        pattern="notify",
        ttl="2s",
        retry=-1,
        notify={"priorities": ["info", "error"], "driver": "messaging", "pools": ["p"]},
        server={
            "raises": "5%",
            "silent": "1%",
            "requeues": "10%",
            "acknowledge": "after",
            "stalls": [{"at": "2s", "for": "1s"}],
        },
        options={"oslo_messaging_rabbit": {"rabbit_qos_prefetch_count": 5}},
    )
    stack = shipped_stack("oslo-14.7.3-rabbit")
    maker, seats = TaskMaker("w", spec, 6, "oslo", stack, LOAD, 1), seats_of("w", spec)
    client, server = maker.client(seats.clients[0], 4, 0.0), maker.server(seats.servers[0], 0)
    for task in (client, server):
        assert (task["ttl_s"], task["retry"]) == (2.0, -1)
        assert task["options"] == {"oslo_messaging_rabbit": {"rabbit_qos_prefetch_count": 5}}
        assert task["notify"]["priorities"] == ["info", "error"]
    assert (client["notify"]["pool"], server["notify"]["pool"]) == (None, "p")
    assert server["behaviour"] == {
        "raise_fraction": 0.05,
        "silent_fraction": 0.01,
        "requeue_fraction": 0.1,
        "stalls": [{"at_s": 2.0, "for_s": 1.0}],
        "ack": "after",
    }
