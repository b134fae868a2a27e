"""The small parts latencies are made of, against plain ways of computing the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.analysis.grouping import group_rows
from harness.analysis.latency import PairSamples, merge, summarise
from harness.analysis.quantiles import nines_grid, quantile, quantiles
from harness.analysis.soundness import below_floor, generator_saturated, left_out, unsteady
from harness.analysis.theilsen import theil_sen
from harness.analysis.timeline import Timeline, per_window

nanoseconds = arrays.arrays(np.int64, st.integers(1, 200), elements=st.integers(-(10**6), 10**12))


@given(values=nanoseconds, level=st.floats(0, 1))
def test_quantiles_are_numpys(values: np.ndarray, level: float) -> None:
    assert quantiles(np.sort(values), [level])[0] == pytest.approx(np.quantile(values, level), rel=1e-9, abs=1e-3)


def test_a_percentile_the_sample_does_not_reach_is_not_reported() -> None:
    assert math.isnan(quantile(np.arange(99), 0.99))
    assert quantile(np.arange(100), 0.99) == pytest.approx(98.01)
    assert math.isnan(quantile(np.arange(0), 0.5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantiles(np.arange(3), [1.5])


@given(count=st.integers(0, 10**7))
def test_the_grid_ascends_as_far_as_the_sample_reaches(count: int) -> None:
    grid = nines_grid(count)
    assert (np.diff(grid) > 0).all()
    if count >= 10:
        assert grid[0] == 0
        assert grid[-1] == pytest.approx(1 - 1 / count)


@given(codes=arrays.arrays(np.int16, st.integers(0, 100), elements=st.integers(-5, 5)))
def test_groups_hold_every_row_once_in_order(codes: np.ndarray) -> None:
    seen: list[int] = []
    for code, rows in group_rows(codes):
        assert (codes[rows] == code).all()
        assert (np.diff(rows) > 0).all()
        seen += list(rows)
    assert sorted(seen) == list(range(len(codes)))


@settings(deadline=None)
@given(
    due=arrays.arrays(np.int64, st.integers(0, 100), elements=st.integers(0, 10**10)),
    failed=arrays.arrays(np.int64, st.integers(0, 20), elements=st.integers(0, 10**10)),
    data=st.data(),
)
def test_windows_hold_the_percentiles_of_what_was_due_in_them(
    due: np.ndarray,
    failed: np.ndarray,
    data: st.DataObject,
) -> None:
    latency = data.draw(arrays.arrays(np.int64, len(due), elements=st.integers(0, 10**12)))
    line = per_window(due, latency, failed)
    assert line.succeeded.sum() == len(due)
    assert line.failed.sum() == len(failed)
    for start, p50, p99, n in zip(line.start_s, line.p50_ms, line.p99_ms, line.succeeded, strict=True):
        own = latency[(due >= start * 1e9) & (due < (start + 1) * 1e9)]
        assert len(own) == n
        if n:
            assert p50 == pytest.approx(np.quantile(own, 0.5) / 1e6)
            assert p99 == pytest.approx(np.quantile(own, 0.99) / 1e6)
        else:
            assert np.isnan(p50)


def test_negative_latencies_are_counted_and_kept() -> None:
    summary = summarise(np.array([-2_000_000, -1, 0, 5_000_000]))
    assert (summary.n, summary.negative) == (4, 2)
    assert summary.min_ms == -2


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=400), st.integers(0, 400))
def test_failures_bound_percentiles_as_if_they_were_the_slowest(answered: list[int], failed: int) -> None:
    ordered = np.sort(answered)
    samples = PairSamples(ordered, ordered, ordered, None, failed, 0, 0)
    summary = summarise(ordered, samples.absent_share)
    never = sorted(answered) + [10**15] * failed
    for at_most, level in ((summary.p50_at_most_ms, 50), (summary.p99_at_most_ms, 99)):
        if len(answered) / len(never) < level / 100:
            assert at_most == np.inf
        else:
            assert at_most == pytest.approx(
                np.quantile(answered, min(1.0, level / 100 * len(never) / len(answered))) / 1e6
            )
    twice = PairSamples(ordered, ordered, ordered, np.repeat(ordered, 2), 0, failed, 0)
    assert twice.absent_share == samples.absent_share, "nor does it matter how it failed, or how many received the rest"
    if not failed:
        assert summary.p50_at_most_ms == summary.p50_ms


def test_a_median_of_those_that_did_not_fail_is_told() -> None:
    assert left_out(10.0, 10.4, 2, 100) is None
    assert "2 of 100 operations failed or never ended" in (left_out(10.0, 11.0, 2, 100) or "")
    assert "not bounded" in (left_out(10.0, float("inf"), 32, 45) or "")
    assert left_out(float("nan"), float("nan"), 3, 3) is None


def test_percentiles_are_merged_never_averaged() -> None:
    one, other = np.arange(100), np.arange(1000, 1300)
    runs = [PairSamples(values, values, values, None, 1, 2, 0) for values in (one, other)]
    merged = merge(runs)
    assert quantile(merged.response, 0.5) == np.quantile(np.concatenate([one, other]), 0.5)
    assert merged.failed == 2
    assert merged.arrival is None


@given(slope=st.floats(-100, 100), height=st.floats(-1e4, 1e4), wild=st.lists(st.integers(0, 19), max_size=5))
def test_theil_sen_ignores_the_wild_and_finds_the_line(slope: float, height: float, wild: list[int]) -> None:
    x = np.arange(20.0)
    y = slope * x + height
    y[list(set(wild))] += 1e7
    trend = theil_sen(x, y)
    assert trend is not None
    assert trend.low <= trend.slope <= trend.high
    if len(set(wild)) <= 3:
        assert trend.slope == pytest.approx(slope, abs=1e-6)


def test_theil_sen_of_too_little_is_none() -> None:
    assert theil_sen([1, 2], [1, 2]) is None
    assert theil_sen([1, 1, 1], [1, 2, 3]) is None
    assert theil_sen([1, 2, 3, 4], [1, math.nan, math.nan, 2]) is None


def test_thinned_lines_keep_their_slope() -> None:
    rng = np.random.default_rng(1)
    x = np.arange(5000.0)
    trend = theil_sen(x, 0.01 * x + rng.standard_normal(5000))
    assert trend is not None
    assert trend.slope == pytest.approx(0.01, rel=0.02)


def line(p50: np.ndarray) -> Timeline:
    n = len(p50)
    return Timeline(np.arange(n, dtype=float), p50, p50, np.full(n, 100), np.zeros(n, np.int64), 1.0)


def test_drift_is_told_from_noise() -> None:
    rng = np.random.default_rng(2)
    noise = 0.2 * rng.standard_normal(60)
    assert unsteady(line(20 + noise)) is None
    assert unsteady(line(20 + noise + np.linspace(0, 0.5, 60))) is None
    drifted = unsteady(line(20 + noise + np.linspace(0, 4, 60)))
    assert drifted is not None
    assert "+18%" in drifted or "+17%" in drifted or "+19%" in drifted
    assert unsteady(line(np.array([1.0, 9.0, 20.0]))) is None


def test_a_late_generator_and_a_broken_floor_are_told() -> None:
    assert generator_saturated(0.9, 10, 0) is None
    assert "more than 10%" in (generator_saturated(1.1, 10, 0) or "")
    assert "every worker busy" in (generator_saturated(0.1, 10, 3) or "")
    assert below_floor(20.0, 0.020) is None
    assert below_floor(19.2, 0.020) is None
    assert "links were not in force" in (below_floor(15.0, 0.020) or "")
