"""Recovery: outages out of what was carried out, and hand-made streams with known instants of return."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.recovery import Outage, Recovery, outages_of, recover


def link(at_s: float, action: str, source: str, target: str, label: str, event: int = 0) -> dict[str, Any]:
    what = {"source": source, "target": target, "action": action, "label": label, "event": event}
    return {**what, "at_s": at_s, "due_s": round(at_s)}


def process(at_s: float, action: str, target: str, label: str) -> dict[str, Any]:
    return {"at_s": at_s, "due_s": at_s, "action": action, "target": target, "label": label, "event": 0}


def test_both_directions_of_a_cut_are_one_outage() -> None:
    cuts = [link(10.01, "cut", "a", "b", "ab: partition"), link(10.02, "cut", "b", "a", "ab: partition")]
    heals = [link(15.01, "heal", "a", "b", "over"), link(15.03, "heal", "b", "a", "over")]
    assert outages_of([*cuts, *heals], []) == [Outage("ab: partition", "link", 10.01, 15.03)]
    assert outages_of([*cuts, heals[0]], []) == [Outage("ab: partition", "link", 10.01, None)]


def test_a_flap_is_several_outages() -> None:
    events = [
        link(at, action, "a", "b", "ab: flap") for at, action in ((1, "cut"), (2, "heal"), (5, "cut"), (6, "heal"))
    ]
    assert [(o.begin_s, o.end_s) for o in outages_of(events, [])] == [(1, 2), (5, 6)]


def test_processes_stopped_killed_and_halted() -> None:
    events = [
        process(10, "stop", "broker-core", "broker-core: restart"),
        process(12, "kill", "server-1", "server-1: kill"),
        process(18.5, "start", "broker-core", "broker-core: ready again"),
        process(20, "pause", "broker-core", "broker-core: pause for 2s"),
        process(22, "resume", "broker-core", "broker-core: goes on"),
    ]
    assert outages_of([], events) == [
        Outage("broker-core: restart", "process", 10, 18.5),
        Outage("server-1: kill", "process", 12, None),
        Outage("broker-core: pause for 2s", "process", 20, 22),
    ]


def stream(dead: list[tuple[float, float]], *, latency_s: float = 0.01, load_s: float = 60.0) -> Any:
    """Ten operations a second; those due in a dead time fail five seconds later."""
    due = np.arange(0, load_s, 0.1)
    failed = np.zeros(len(due), bool)
    for begin, end in dead:
        failed |= (due >= begin) & (due < end)
    return due[~failed], due[~failed] + latency_s, due[failed], due[failed] + 5


def one(outages: list[Outage], *streams: Any) -> list[Recovery]:
    return recover(outages, *streams, from_s=0.0, load_s=60.0)


def test_first_success_and_back_to_rate() -> None:
    (found,) = one([Outage("x", "process", 20, 25)], *stream([(20, 36)]))
    assert found.rate_per_s == pytest.approx(10, abs=0.2)
    assert found.first_success_s == pytest.approx(11.01)
    assert found.back_s == pytest.approx(11.0, abs=0.2)
    assert found.interruption_s == pytest.approx(16.01)
    assert found.failed == 160
    assert found.watched_s == 35


def test_a_burst_of_what_was_held_up_is_not_being_back() -> None:
    """Two hundred operations due before the end of the fault end at 30 s; new ones only fare well from 40 s on."""
    due, ended, failed_due, failed_ended = stream([(20, 40)])
    held = np.linspace(20, 24, 200)
    (found,) = one(
        [Outage("x", "process", 20, 25)],
        np.concatenate([due, held]),
        np.concatenate([ended, np.full(200, 30.0)]),
        failed_due,
        failed_ended,
    )
    assert found.first_success_s == pytest.approx(5.0)
    assert found.back_s == pytest.approx(15.0, abs=0.2)


def test_a_burst_after_one_fault_is_not_the_rate_before_the_next() -> None:
    due, ended, failed_due, failed_ended = stream([])
    held = (due >= 20) & (due < 30)
    late = np.where(held, 34.5, ended)
    outages = [Outage("x", "process", 20, 30), Outage("y", "process", 40, 41)]
    found = one(outages, due, late, failed_due, failed_ended)
    assert found[1].rate_per_s == pytest.approx(10, abs=0.2)
    assert found[1].back_s < 0.2


def test_undisturbed() -> None:
    (found,) = one([Outage("x", "link", 20, 25)], *stream([]))
    assert found.failed == 0
    assert found.back_s < 0.2
    assert found.first_success_s < 0.2
    assert found.interruption_s < 0.2


def test_not_back_before_the_next_fault_or_the_end() -> None:
    outages = [Outage("x", "link", 20, 25), Outage("y", "link", 30, 35)]
    first, second = one(outages, *stream([(20, 60)]))
    assert np.isnan(first.first_success_s)
    assert np.isnan(first.back_s)
    assert (first.at_least_s, second.at_least_s) == (5, 25)
    assert second.rate_per_s == first.rate_per_s, "the rate before is that of the last sound time"
    assert second.interruption_s == pytest.approx(30)


def test_the_rate_before_a_later_fault_is_that_since_the_one_before_was_over() -> None:
    outages = [Outage("x", "link", 20, 25), Outage("y", "link", 40, 42)]
    first, second = one(outages, *stream([(20, 28), (40, 45)]))
    assert first.back_s == pytest.approx(3, abs=0.2)
    assert second.rate_per_s == pytest.approx(10, abs=0.5)
    assert second.back_s == pytest.approx(3, abs=0.2)


@given(
    begin=st.floats(5, 30),
    lasts=st.floats(0, 10),
    more=st.floats(0, 10),
    latency=st.floats(0.001, 0.3),
)
def test_what_is_found_is_what_was_put_in(begin: float, lasts: float, more: float, latency: float) -> None:
    (found,) = one(
        [Outage("x", "link", begin, begin + lasts)], *stream([(begin, begin + lasts + more)], latency_s=latency)
    )
    assert found.first_success_s <= more + latency + 0.2
    assert more - 0.2 <= found.back_s <= more + latency + 0.5
    assert lasts + more - 0.2 <= found.interruption_s <= lasts + more + latency + 0.2
