"""Schedules: when operations are due."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.schedule import check_schedule, due_offsets

rates = st.floats(min_value=0.1, max_value=2000.0)
durations = st.floats(min_value=0.01, max_value=20.0)
seeds = st.integers(min_value=0, max_value=2**63 - 1)
arrivals = st.sampled_from(["even", "poisson"])

schedules = st.one_of(
    st.fixed_dictionaries({"kind": st.just("constant"), "rate_per_s": rates}),
    st.fixed_dictionaries({"kind": st.just("constant"), "rate_per_s": rates, "offset_s": durations}),
    st.fixed_dictionaries({"kind": st.just("poisson"), "rate_per_s": rates}),
    st.fixed_dictionaries(
        {
            "kind": st.just("steps"),
            "steps": st.lists(
                st.fixed_dictionaries({"rate_per_s": st.just(0.0) | rates, "duration_s": durations}),
                min_size=1,
                max_size=4,
            ),
            "arrivals": arrivals,
        }
    ),
    st.fixed_dictionaries({"kind": st.just("ramp"), "from_per_s": rates, "to_per_s": rates, "arrivals": arrivals}),
    st.fixed_dictionaries(
        {"kind": st.just("burst"), "size": st.integers(1, 50), "period_s": st.floats(min_value=0.05, max_value=5.0)}
    ),
)


@given(schedule=schedules, duration=durations, seed=seeds)
def test_offsets_never_decrease_and_stay_within_the_duration(
    schedule: dict[str, Any], duration: float, seed: int
) -> None:
    last = 0
    for offset in itertools.islice(due_offsets(schedule, duration, seed), 2000):
        assert last <= offset < duration * 1e9
        last = offset


@given(schedule=schedules, duration=durations, seed=seeds)
def test_the_same_seed_gives_the_same_offsets(schedule: dict[str, Any], duration: float, seed: int) -> None:
    once = list(itertools.islice(due_offsets(schedule, duration, seed), 200))
    assert once == list(itertools.islice(due_offsets(schedule, duration, seed), 200))


@given(rate=rates, duration=durations)
def test_a_constant_rate_is_kept_without_drift(rate: float, duration: float) -> None:
    offsets = list(due_offsets({"kind": "constant", "rate_per_s": rate}, duration, 0))
    assert abs(len(offsets) - rate * duration) <= 1
    for number, offset in enumerate(offsets):
        assert abs(offset - number / rate * 1e9) <= 1


@given(low=rates, high=rates, duration=st.floats(min_value=1.0, max_value=10.0))
def test_a_ramp_has_the_number_of_operations_under_its_line(low: float, high: float, duration: float) -> None:
    offsets = list(due_offsets({"kind": "ramp", "from_per_s": low, "to_per_s": high}, duration, 0))
    assert abs(len(offsets) - (low + high) / 2 * duration) <= 2


def test_a_ramp_is_steepest_at_its_fast_end() -> None:
    offsets = list(due_offsets({"kind": "ramp", "from_per_s": 10, "to_per_s": 100}, 10.0, 0))
    halves = [sum(offset < 5e9 for offset in offsets), sum(offset >= 5e9 for offset in offsets)]
    assert halves == pytest.approx([162.5, 387.5], abs=2)


def test_a_ramp_goes_on_at_its_last_rate() -> None:
    offsets = list(due_offsets({"kind": "ramp", "from_per_s": 0, "to_per_s": 100, "over_s": 1.0}, 3.0, 0))
    assert sum(offset >= 2e9 for offset in offsets) == pytest.approx(100, abs=1)


def test_steps_follow_one_another_and_the_last_one_stays() -> None:
    steps = [
        {"rate_per_s": 10, "duration_s": 1},
        {"rate_per_s": 0, "duration_s": 1},
        {"rate_per_s": 50, "duration_s": 1},
    ]
    offsets = list(due_offsets({"kind": "steps", "steps": steps}, 4.0, 0))
    counts = [sum(second * 1e9 <= offset < (second + 1) * 1e9 for offset in offsets) for second in range(4)]
    assert counts == pytest.approx([10, 0, 50, 50], abs=1)


@pytest.mark.parametrize(
    "profile",
    [
        {"kind": "ramp", "from_per_s": 0, "to_per_s": 50},
        {"kind": "steps", "steps": [{"rate_per_s": 5, "duration_s": 1}, {"rate_per_s": 20, "duration_s": 1}]},
    ],
    ids=lambda profile: profile["kind"],
)
def test_clients_of_one_profile_with_different_phases_take_turns(profile: dict[str, Any]) -> None:
    first = list(due_offsets(profile, 2.0, 0))
    second = list(due_offsets({**profile, "phase": 0.5}, 2.0, 0))
    merged = sorted([(offset, 1) for offset in first] + [(offset, 2) for offset in second])
    assert [who for _, who in merged] == [1, 2] * len(second)


def test_a_burst_is_due_at_one_instant() -> None:
    assert (
        list(due_offsets({"kind": "burst", "size": 3, "period_s": 1.0}, 2.5, 0))
        == [0] * 3 + [10**9] * 3 + [2 * 10**9] * 3
    )


@given(rate=st.floats(min_value=50, max_value=500), seed=seeds)
def test_poisson_arrivals_have_mean_and_spread_of_a_poisson_process(rate: float, seed: int) -> None:
    duration = 4000 / rate
    offsets = list(due_offsets({"kind": "poisson", "rate_per_s": rate}, duration, seed))
    # 4000 expected, standard deviation 63: six of them
    assert abs(len(offsets) - 4000) < 6 * math.sqrt(4000)
    gaps = [(after - before) / 1e9 * rate for before, after in itertools.pairwise(offsets)]
    share_above_mean = sum(gap > 1 for gap in gaps) / len(gaps)
    assert share_above_mean == pytest.approx(math.exp(-1), abs=0.06)


@pytest.mark.parametrize(
    ("schedule", "key"),
    [
        ({}, "kind"),
        ({"kind": "often"}, "kind"),
        ({"kind": "constant"}, "rate_per_s"),
        ({"kind": "constant", "rate_per_s": 0}, "rate_per_s"),
        ({"kind": "constant", "rate_per_s": "20/s"}, "rate_per_s"),
        ({"kind": "constant", "rate_per_s": 1, "rate": 1}, "rate:"),
        ({"kind": "constant", "rate_per_s": float("nan")}, "rate_per_s"),
        ({"kind": "burst", "size": 0, "period_s": 1}, "size"),
        ({"kind": "steps", "steps": []}, "steps"),
        ({"kind": "steps", "steps": [{"rate_per_s": 1}]}, "steps"),
        ({"kind": "ramp", "from_per_s": 0, "to_per_s": 0}, "to_per_s"),
        ({"kind": "ramp", "from_per_s": 0, "to_per_s": 1, "arrivals": "odd"}, "arrivals"),
        ({"kind": "ramp", "from_per_s": 0, "to_per_s": 1, "phase": 1}, "phase"),
        ({"kind": "constant", "rate_per_s": 1, "phase": 0.5}, "phase"),
    ],
)
def test_what_is_no_schedule_is_refused_by_key(schedule: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        check_schedule(schedule)
