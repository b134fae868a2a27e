"""The knee, held against closed systems whose throughput and response time are known exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.knee import LoadPoint, find_knee

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128)


def bounds(clients: int, service_s: float, think_s: float) -> LoadPoint:
    """N customers, deterministic service, perfectly interleaved: the asymptotes themselves."""
    response = max(service_s, clients * service_s - think_s)
    return LoadPoint(clients, clients / (response + think_s), response)


def mva(clients: int, service_s: float, think_s: float) -> LoadPoint:
    """N customers, one exponential server, exact (mean value analysis, Reiser and Lavenberg, JACM 27(2), 1980)."""
    queue = 0.0
    for number in range(1, clients + 1):
        response = service_s * (1 + queue)
        throughput = number / (response + think_s)
        queue = throughput * response
    return LoadPoint(clients, throughput, response)


@given(service_s=st.floats(1e-4, 1e-1), saturating=st.sampled_from([4, 8, 16, 32]))
def test_the_knee_is_where_the_asymptotes_meet(service_s: float, saturating: int) -> None:
    think_s = (saturating - 1) * service_s
    knee = find_knee([bounds(clients, service_s, think_s) for clients in CLIENTS])
    assert knee is not None
    assert knee.reached
    assert knee.at.load == saturating
    assert knee.efficiency == pytest.approx(1.0)


@given(service_s=st.floats(1e-4, 1e-1), saturating=st.sampled_from([8, 16, 32]))
def test_random_service_moves_it_by_at_most_one_step_of_doubling(service_s: float, saturating: int) -> None:
    knee = find_knee([mva(clients, service_s, (saturating - 1) * service_s) for clients in CLIENTS])
    assert knee is not None
    assert knee.reached
    assert saturating / 2 <= knee.at.load <= saturating
    assert knee.highest.throughput_per_s == pytest.approx(1 / service_s, rel=0.01)


def test_points_beyond_saturation_do_not_move_it() -> None:
    points = [bounds(clients, 0.001, 0.015) for clients in CLIENTS]
    assert find_knee(points) == find_knee(points[:-1])


def test_without_saturation_there_is_a_best_point_and_no_knee() -> None:
    knee = find_knee([bounds(clients, 0.001, 1.0) for clients in CLIENTS])
    assert knee is not None
    assert not knee.reached
    assert knee.at.load == CLIENTS[-1]


def test_a_fall_within_noise_is_no_knee() -> None:
    knee = find_knee([LoadPoint(1, 10, 0.01), LoadPoint(2, 20, 0.01), LoadPoint(4, 20, 0.0102)])
    assert knee is not None
    assert not knee.reached


def test_delay_that_grows_while_throughput_keeps_up_is_no_knee() -> None:
    """A fanout at a fixed rate: copies grow with the receivers, and the last of them waits for all before it."""
    knee = find_knee([LoadPoint(n, 5.0 * n, 0.005 + 0.001 * n * n) for n in (2, 4, 8, 16)])
    assert knee is not None
    assert not knee.reached


def test_too_little_is_said_so() -> None:
    assert find_knee([]) is None
    assert find_knee([LoadPoint(1, 10, 0.01), LoadPoint(2, 20, 0.01)]) is None
    nothing = LoadPoint(4, 0.0, float("nan"))
    assert find_knee([LoadPoint(1, 10, 0.01), LoadPoint(2, 20, 0.01), nothing]) is None
