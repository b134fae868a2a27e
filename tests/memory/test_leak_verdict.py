"""The verdict on made-up traces: real leaks are seen, what only looks like one is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.leak import METRICS, Series, Verdict, conclude, judge

BLOCKS = METRICS["blocks"]
K = 12
DOSE = 500


def trace(values: np.ndarray, dose: int = DOSE) -> Series:
    return Series(tuple(float(i * dose) for i in range(len(values))), tuple(float(v) for v in values))


def noisy(shape: np.ndarray, seed: int, runs: int = 5, noise: float = 20.0, dose: int = DOSE) -> list[Series]:
    source = np.random.default_rng(seed)
    return [trace(50_000 + shape + source.normal(0, noise, len(shape)), dose) for _ in range(runs)]


BOUNDARIES = np.arange(K + 1, dtype=float)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), runs=st.sampled_from([3, 5]))
def test_clean_runs_are_never_a_leak(seed: int, runs: int) -> None:
    assert judge(BLOCKS, noisy(0 * BOUNDARIES, seed, runs), 0.1).state == "clean"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), runs=st.sampled_from([3, 5]), factor=st.floats(2, 50))
def test_a_leak_of_two_delta_or_more_is_seen(seed: int, runs: int, factor: float) -> None:
    growth = judge(BLOCKS, noisy(BOUNDARIES * DOSE * 0.1 * factor, seed, runs), 0.1)
    assert growth.state == "leak"
    assert growth.low < growth.per_op < growth.high
    assert growth.per_op == pytest.approx(0.1 * factor, rel=0.25)


@pytest.mark.parametrize("steepness", [1.0, 2.0, 3.0])
def test_warm_up_that_ends_is_not_a_leak(steepness: float) -> None:
    shape = 3000 * (1 - np.exp(-BOUNDARIES / steepness))
    states = {judge(BLOCKS, noisy(shape, seed), 0.1).state for seed in range(20)}
    assert "leak" not in states


def test_a_slow_plateau_is_left_open_or_clean_never_a_leak() -> None:
    shape = np.minimum(BOUNDARIES * 400, 6 * 400)
    assert {judge(BLOCKS, noisy(shape, seed), 0.1).state for seed in range(20)} == {"clean"}


@pytest.mark.parametrize("at", range(1, K + 1))
def test_one_step_is_not_a_leak(at: int) -> None:
    shape = np.where(at <= BOUNDARIES, 20_000.0, 0.0)
    assert judge(BLOCKS, noisy(shape, at), 0.1).state == "clean"


@pytest.mark.parametrize("first", [1, 3, 5])
@pytest.mark.parametrize("second", [7, 9, 11])
def test_two_steps_are_not_a_leak(first: int, second: int) -> None:
    shape = np.where(first <= BOUNDARIES, 5_000.0, 0.0) + np.where(second <= BOUNDARIES, 10_000.0, 0.0)
    assert {judge(BLOCKS, noisy(shape, seed), 0.1).state for seed in range(10)} == {"clean"}


@pytest.mark.parametrize("period", [2, 3, 4, 5, 6, 8, 10])
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_saw_tooth_is_not_a_leak(period: int, phase: int) -> None:
    shape = ((BOUNDARIES + phase) % period) * 700
    assert judge(BLOCKS, noisy(shape, period), 0.1).state != "leak"


def test_bounds_and_least_detectable_leak_follow_the_formula() -> None:
    runs = [trace(BOUNDARIES * DOSE * slope) for slope in (0.2, 0.3, 0.4)]
    growth = judge(BLOCKS, runs, 0.1)
    assert growth.per_op == pytest.approx(0.3)
    assert growth.high - growth.per_op == pytest.approx(2.91999 * 0.1 / math.sqrt(3), rel=1e-4)
    assert growth.mdl == pytest.approx(0.1 + (2.91999 + 1.06066) * 0.1 / math.sqrt(3), rel=1e-4)


def test_runs_that_disagree_are_inconclusive() -> None:
    runs = [trace(BOUNDARIES * DOSE * slope) for slope in (0.0, 0.05, 0.3)]
    assert judge(BLOCKS, runs, 0.1).state == "inconclusive"


def test_one_repetition_gives_no_verdict() -> None:
    growth = judge(BLOCKS, [trace(BOUNDARIES * DOSE)], 0.1)
    assert growth.state == "inconclusive"
    assert "one repetition" in growth.why


def test_missing_readings_give_no_verdict() -> None:
    whole = trace(BOUNDARIES * 0)
    holed = Series(whole.operations, (None, *whole.values[1:]))
    assert judge(BLOCKS, [whole, holed, whole], 0.1).state == "inconclusive"


@pytest.mark.parametrize("name", ["fds", "threads", "sockets"])
def test_counts_are_judged_by_their_floors(name: str) -> None:
    metric = METRICS[name]
    leaking = [trace(10 + BOUNDARIES * 2, 20) for _ in range(3)]
    assert judge(metric, leaking, 0.05).state == "leak"
    busy = [trace(10 + np.array([0, 5, 0, 4, 3, 0, 6, 0, 5, 4, 0, 3, 6.0]), 20) for _ in range(3)]
    assert judge(metric, busy, 0.05).state == "clean"
    filling = [trace(10 + np.minimum(BOUNDARIES, 4), 20) for _ in range(3)]
    assert judge(metric, filling, 0.05).state == "clean"


def test_one_descriptor_in_a_thousand_operations_is_at_the_limit() -> None:
    leaking = [trace(np.floor(BOUNDARIES * 2.2), 2000) for _ in range(3)]
    assert judge(METRICS["fds"], leaking, 0.001).state == "leak"


def test_deciding_and_evidence_metrics() -> None:
    flat, rising = [trace(BOUNDARIES * 0)] * 3, [trace(BOUNDARIES * 1000)] * 3
    deltas = {"blocks": 0.1, "heap": 16, "anonymous": 100}
    few = {"blocks": flat, "heap": flat, "anonymous": [trace(BOUNDARIES * 60_000)] * 3, "rss": rising}
    verdict = conclude(few, deltas)
    assert verdict.state == "clean"
    assert verdict.growths["anonymous"].state == "inconclusive"
    many = {**few, "anonymous": [trace(BOUNDARIES * 600_000)] * 3}
    assert conclude(many, deltas).state == "leak"
    without_heap = {"blocks": flat, "anonymous": [trace(BOUNDARIES * 60_000)] * 3}
    assert conclude(without_heap, deltas).state == "inconclusive"
    assert conclude({"blocks": flat, "heap": rising}, {"blocks": 0.1}).state == "clean"


def test_no_readings_are_no_verdict() -> None:
    assert conclude({}, {}).state == "inconclusive"


def test_a_verdict_survives_its_json() -> None:
    verdict = conclude({"blocks": [trace(BOUNDARIES * 100)] * 3, "rss": [trace(BOUNDARIES)] * 3}, {"blocks": 0.1})
    again = Verdict.from_json(verdict.to_json())
    assert again.state == verdict.state == "leak"
    assert again.growths["blocks"] == verdict.growths["blocks"]
