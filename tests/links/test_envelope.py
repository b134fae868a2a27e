"""The emulator's account of itself, as a whole and between two instants."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.links.envelope import judge_emulator, meanwhile
from harness.links.nfqueue.lateness import Lateness


def account(late_ns: list[int], **more: Any) -> dict[str, Any]:
    lateness = Lateness()
    for value in late_ns:
        lateness.add(value)
    return {
        "lateness": lateness.report(),
        "links": [{"source": "a", "target": "b", "arrived": len(late_ns), "released": len(late_ns)}],
        "kernel": {"waiting": 0, "queue_dropped": 0, "socket_dropped": 0},
        "refused_verdicts": 0,
        "cpu_s": len(late_ns) / 1000,
        "at_s": 100.0 + len(late_ns),
        **more,
    }


def test_lateness_and_drops_make_a_cell_invalid() -> None:
    assert judge_emulator(account([20_000] * 99 + [5_000_000])) == {"valid": True, "why": []}
    late = judge_emulator(account([20_000] * 90 + [5_000_000] * 10))
    assert not late["valid"]
    assert late["why"] == ["packets were released late: p99 5.00 ms beyond their delay, allowed 1 ms"]
    dropped = judge_emulator(
        account([], kernel={"waiting": 0, "queue_dropped": 2, "socket_dropped": 3}, refused_verdicts=1)
    )
    assert len(dropped["why"]) == 3


def test_what_happened_before_the_load_does_not_count_against_it() -> None:
    rough = [5_000_000] * 50
    before, after = account(rough), account(rough + [20_000] * 1000)
    assert not judge_emulator(after)["valid"]
    load = meanwhile(before, after)
    assert load["valid"]
    assert load["links"] == [{"source": "a", "target": "b", "arrived": 1000, "released": 1000}]
    assert load["seconds"] == 1000
    assert load["cpu_s"] == 1.0
    assert load["lateness"]["packets"] == 1000
    assert load["lateness"]["p99_s"] < 0.0001


@given(st.lists(st.integers(0, 10**9), max_size=100), st.lists(st.integers(0, 10**9), max_size=100))
def test_the_difference_of_two_histograms_is_the_histogram_of_the_difference(first: list[int], then: list[int]) -> None:
    load = meanwhile(account(first), account(first + then))["lateness"]
    alone = account(then)["lateness"]
    assert load["histogram"] == alone["histogram"]
    assert load["packets"] == len(then)
    for name in ("p50_s", "p99_s", "max_s"):
        assert load[name] >= alone[name]


def test_a_backend_that_does_not_measure_lateness() -> None:
    one = {"lateness": None, "links": [{"source": "a", "target": "b", "arrived": 5}], "valid": True, "why": []}
    two = {"lateness": None, "links": [{"source": "a", "target": "b", "arrived": 9}], "valid": True, "why": []}
    assert meanwhile(one, two) == {**two, "links": [{"source": "a", "target": "b", "arrived": 4}]}
    fake = {"valid": True, "why": [], "links": []}
    assert meanwhile(fake, fake) == fake
