"""The agent's small parts: task, distributions, payloads, tally, failures, clock."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.channel import mask
from harness.agent.clock import clock_facts, now, sleep_until
from harness.agent.draw import make_draw
from harness.agent.failures import Failures
from harness.agent.limits import check_limits
from harness.agent.payload import payloads
from harness.agent.punctuality import set_heap_aside, take_heap_back
from harness.agent.tally import Tally, bucket, bucket_floor
from harness.agent.task import Task, TaskError

TASK: dict[str, Any] = {
    "agent": 3,
    "name": "client-3",
    "role": "client",
    "adapter": "loopback",
    "pattern": "rpc-call",
    "topics": [{"topic": "t"}],
    "schedule": {"kind": "constant", "rate_per_s": 10},
    "duration_s": 1.0,
}


def test_a_task_needs_no_more_than_its_essentials() -> None:
    task = Task.from_json(TASK)
    assert task.topics[0].topic == "t"
    assert task.behaviour.ack == ""
    assert task.payload == {"kind": "fixed", "bytes": 1024}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"agent": 65535}, "agent"),
        ({"agent": "3"}, "agent"),
        ({"role": "observer"}, "role"),
        ({"adapter": "smoke-signals"}, "adapter"),
        ({"pattern": "rpc"}, "pattern"),
        ({"topics": []}, "topics"),
        ({"topics": [{"name": "t"}]}, r"topics\.name"),
        ({"unknown": 1}, "unknown"),
        ({"workers": 0}, "workers"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"schedule": {"kind": "constant"}}, r"schedule\.rate_per_s"),
        ({"payload": {"kind": "fixed"}}, r"payload\.bytes"),
        ({"behaviour": {"raise_fraction": 2}}, r"behaviour\.raise_fraction"),
        ({"behaviour": {"service_time": {"kind": "odd"}}}, r"behaviour\.service_time\.kind"),
        ({"notify": {"priorities": ["loud"]}}, r"notify\.priorities"),
        ({"role": "server", "pattern": "churn-connect"}, "pattern"),
        ({"options": {"group": 3}}, r"options\.group"),
    ],
)
def test_a_wrong_task_is_refused_by_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(TaskError, match=key):
        Task.from_json({**TASK, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(TaskError, match="pattern: missing"):
        Task.from_json({key: value for key, value in TASK.items() if key != "pattern"})


@given(
    spec=st.sampled_from(
        [
            {"bytes": 7},
            {"kind": "uniform", "low": 3, "high": 30},
            {"kind": "exponential", "mean": 10, "max": 50},
            {"kind": "lognormal", "median": 10, "sigma": 1, "max": 99},
            {"kind": "choice", "values": [1, 5, 50], "weights": [1, 2, 1]},
        ]
    ),
    seed=st.integers(0, 2**63),
)
def test_draws_are_within_their_distribution_and_repeatable(spec: dict[str, Any], seed: int) -> None:
    draw, again = make_draw(spec, seed, "bytes"), make_draw(spec, seed, "bytes")
    values = [draw() for _ in range(50)]
    assert values == [again() for _ in range(50)]
    assert all(0 <= value <= 99 for value in values)


@given(size=st.integers(0, 5000), seed=st.integers(0, 2**63), number=st.integers(0, 10**9))
def test_a_payload_has_its_size_and_only_plain_characters(size: int, seed: int, number: int) -> None:
    text = payloads({"bytes": size}, seed)(number)
    assert len(text.encode()) == size
    assert text.isalnum() or not text


@given(st.integers(0, 2**62 - 1))
def test_a_duration_lies_in_its_bucket(duration: int) -> None:
    index = bucket(duration)
    assert bucket_floor(index) <= duration < bucket_floor(index + 1)
    assert bucket_floor(index + 1) - bucket_floor(index) <= max(1, duration / 8)


def test_failures_are_no_latencies_and_negatives_are_counted_apart() -> None:
    tally = Tally()
    tally.sent += 4
    for status, duration in ((0, 1000), (0, -5), (2, 10**9)):
        tally.ended(status, duration)
    counts = {"sent": 4, "done": 2, "in_flight": 1, "starved": 0, "given_back": 0, "negative": 1, "failed": {2: 1}}
    assert tally.totals() == counts
    assert tally.histogram_delta() == {str(bucket(1000)): 1}
    assert tally.histogram_delta() == {}


def test_failures_are_numbered_in_the_order_met_and_bounded() -> None:
    failures = Failures()
    assert failures.code("call", TimeoutError()) == 1
    assert failures.code("call", OSError()) == 2
    assert failures.code("call", TimeoutError()) == 1
    for number in range(5000):
        assert failures.named(f"x:{number}") <= 1001
    assert len(failures.names()) == 1001
    assert failures.names()[:2] == ["call:TimeoutError", "call:OSError"]


def test_a_remote_failure_says_what_was_raised_there() -> None:
    error = RuntimeError()
    error.exc_type = "Refused"  # type: ignore[attr-defined]
    failures = Failures()
    failures.code("call", error)
    assert failures.names() == ["call:RuntimeError.Refused"]


def test_sleeping_ends_at_the_instant_or_at_the_stop() -> None:
    due = now() + 80_000_000
    assert sleep_until(due, threading.Event())
    assert now() >= due
    stop = threading.Event()
    stop.set()
    assert not sleep_until(now() + 10**12, stop)


def test_the_heap_is_set_aside_once_and_taken_back() -> None:
    marker: list[object] = [[]]
    try:
        assert set_heap_aside()
        assert not any(item is marker for item in gc.get_objects())
        assert not set_heap_aside()  # as in a member of a fleet, whose parent did so
    finally:
        take_heap_back()
    assert any(item is marker for item in gc.get_objects())


def test_this_process_can_say_which_clock_it_reads() -> None:
    assert clock_facts()["boot_id"]


def test_credentials_are_masked() -> None:
    assert mask("at rabbit://me:secret@host:5672/ and amqp://host") == "at rabbit://***@host:5672/ and amqp://host"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"adapter": "oslo", "driver": "none"}, "driver"),
        ({"adapter": "kombu", "driver": "amqp1"}, "driver"),
        ({"adapter": "proton", "driver": "rabbit"}, "driver"),
        ({"adapter": "oslo", "driver": "amqp1", "pattern": "notify", "notify": {"pool": "p"}}, r"notify\.pool"),
        ({"adapter": "oslo", "driver": "rabbit", "behaviour": {"requeue_fraction": 0.5}}, "requeue_fraction"),
        ({"adapter": "oslo", "driver": "rabbit", "behaviour": {"ack": "after"}}, r"behaviour\.ack"),
        ({"adapter": "oslo", "driver": "rabbit", "ttl_s": 1.0}, "ttl_s"),
        ({"adapter": "kombu", "driver": "rabbit", "monitor_s": 2.0}, "monitor_s"),
        ({"adapter": "oslo", "driver": "rabbit", "monitor_s": 1.9}, "monitor_s"),
        ({"adapter": "kombu", "driver": "rabbit", "options": {"DEFAULT": {"x": 1}}}, "options"),
        ({"adapter": "kombu", "driver": "rabbit", "pattern": "churn-server"}, "pattern"),
        ({"adapter": "loopback", "pattern": "notify", "behaviour": {"requeue_fraction": 0.5}}, "notify"),
    ],
)
def test_what_an_adapter_or_its_driver_cannot_do_is_known_beforehand(change: dict[str, Any], key: str) -> None:
    task = Task.from_json({**TASK, **change})
    with pytest.raises(TaskError, match=key):
        check_limits(task)


def test_what_it_can_do_passes() -> None:
    check_limits(Task.from_json(TASK))
    for driver in ("rabbit", "amqp1"):
        check_limits(Task.from_json({**TASK, "adapter": "oslo", "driver": driver, "monitor_s": 2.0}))
