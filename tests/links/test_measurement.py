"""What a probe should find, and the judgement over what it found."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import LinkFailure
from harness.links.expectation import expected_losses, expected_round_trip, lone_spacing_s, mean_loss
from harness.links.measurement import LinkMeasurement, PairProbe, Throughput, judge, measurement_from_json, spread
from harness.links.nfqueue.effects import LOST, Effect
from harness.links.probe import require_declared
from harness.links.wire import impairment_to_json
from harness.model.links import GilbertElliott, Impairment
from harness.plan.cell import LinkPlan


def both(there: Impairment, back: Impairment | None = None) -> tuple[LinkPlan, ...]:
    return (LinkPlan("ab", "a", "b", there), LinkPlan("ab", "b", "a", back or there))


def probed(rtt_s: list[float], sent: int | None = None, **more: Any) -> LinkMeasurement:
    total = len(rtt_s) if sent is None else sent
    probe = PairProbe("ab", "a", "b", 0.0, total, total - len(rtt_s), 0, 0, spread(rtt_s), None, **more)
    return LinkMeasurement((probe,), (("a", "c", "no node at c"),), {"h1": "cubic"}, 1.0, 2.0)


@pytest.mark.parametrize(
    ("declared_ms", "measured_ms", "off"),
    [(0, 0.9, False), (0, 1.1, True), (10, 10.9, False), (10, 8.9, True), (100, 104.9, False), (100, 105.1, True)],
)
def test_a_link_is_off_by_more_than_five_percent_or_a_millisecond(
    declared_ms: float, measured_ms: float, off: bool
) -> None:
    measurement = probed([measured_ms / 1000] * 30)
    (verdict,) = judge(measurement, both(Impairment(delay_s=declared_ms / 2000)))
    assert verdict.off is off
    assert ("p50 of the round trip" in verdict.why) is off
    assert verdict.measured_s == measured_ms / 1000


def test_losses_nobody_declared() -> None:
    links = both(Impairment(delay_s=0.01))
    assert not judge(probed([0.02] * 29, sent=30), links)[0].off
    assert "6 of 30 echoes were lost" in judge(probed([0.02] * 24, sent=30), links)[0].why
    assert "none of 30 echoes came back" in judge(probed([], sent=30), links)[0].why
    assert judge(probed([], sent=30), links)[0].measured_s is None


def test_losses_that_were_declared() -> None:
    assert not judge(probed([0.02] * 24, sent=30), both(Impairment(delay_s=0.01, loss=0.1)))[0].off
    bursts = Impairment(delay_s=0.01, burst_loss=GilbertElliott(0.01, 0.05))
    assert not judge(probed([0.02] * 20, sent=30), both(bursts))[0].off
    assert not judge(probed([], sent=30), both(Impairment(loss=1.0)))[0].off


def test_no_echo_at_all_is_off_whatever_loss_below_one_is_declared() -> None:
    bursts = Impairment(burst_loss=GilbertElliott(0.01 / 9.9, 0.1))
    assert "none of 30 echoes came back" in judge(probed([], sent=30), both(bursts))[0].why


def test_less_loss_than_declared_is_no_better() -> None:
    lossy = both(Impairment(delay_s=0.01, loss=0.01))
    assert not judge(probed([0.02] * 30), lossy)[0].off
    (verdict,) = judge(probed([0.02] * 1000), lossy)
    assert verdict.why == "only 0 of 1000 echoes were lost, declared 1.99% for the round trip"
    assert verdict.declared_loss == pytest.approx(0.0199)
    assert not judge(probed([0.02] * 980, sent=1000), lossy)[0].off
    assert "60 of 1000" in judge(probed([0.02] * 940, sent=1000), lossy)[0].why
    twice = both(Impairment(delay_s=0.01, loss=0.01, duplicate=0.5))
    assert not judge(probed([0.02] * 1000), twice)[0].off


@given(loss=st.floats(0, 1), back=st.floats(0, 1), sent=st.integers(1, 40))
def test_independent_losses_are_binomial(loss: float, back: float, sent: int) -> None:
    found = expected_losses(Impairment(loss=loss), Impairment(loss=back), sent)
    share = 1 - (1 - loss) * (1 - back)
    wanted = [math.comb(sent, k) * share**k * (1 - share) ** (sent - k) for k in range(sent + 1)]
    assert found == pytest.approx(wanted, abs=1e-9)


def test_losses_in_bursts_are_as_likely_as_they_happen() -> None:
    declared = Impairment(burst_loss=GilbertElliott(0.05, 0.3, 0.9, 0.01))
    counts = [0] * 31
    for seed in range(4000):
        ends = [Effect(impairment_to_json(declared), random.Random(2 * seed + way)) for way in (0, 1)]
        counts[sum(any(end.due(0, 100) == LOST for end in ends) for _ in range(30))] += 1
    expected = expected_losses(declared, declared, 30)
    assert sum(expected) == pytest.approx(1)
    assert all(abs(count / 4000 - share) < 0.03 for count, share in zip(counts, expected, strict=True))


@pytest.mark.parametrize(("measured_ms", "off"), [(40.0, False), (41.7, False), (37.5, True), (44.5, True)])
def test_a_lone_packet_may_pass_a_rate_at_once(measured_ms: float, off: bool) -> None:
    slow = Impairment(delay_s=0.02, rate_bps=1e6)  # 106 bytes take 0.85 ms, each way
    (verdict,) = judge(probed([measured_ms / 1000] * 30), both(slow))
    assert verdict.off is off


def test_a_lone_packet_on_a_very_slow_link() -> None:
    slow = both(Impairment(rate_bps=50_000))  # 17 ms each way
    assert [judge(probed([rtt_s] * 30), slow)[0].off for rtt_s in (0.0005, 0.017, 0.034, 0.04)] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("wire_mbit", "impairment", "off"),
    [
        (20.0, Impairment(0.01, rate_bps=20e6), False),
        (19.2, Impairment(0.01, rate_bps=20e6), False),
        (18.8, Impairment(0.01, rate_bps=20e6), True),
        (21.2, Impairment(0.01, rate_bps=20e6), True),
        (18.8, Impairment(0.01, loss=0.001, rate_bps=20e6), False),  # loss may have held it back
        (18.8, Impairment(0.01, rate_bps=20e6, queue_bytes=5000), False),
        (18.8, Impairment(0.05, rate_bps=20e6), False),  # twenty round trips
        (18.8, Impairment(0.01), False),
    ],
)
def test_a_flow_is_compared_with_the_declared_rate(wire_mbit: float, impairment: Impairment, off: bool) -> None:
    flow = Throughput(18e6, 0.02, "cubic", wire_mbit * 1e6, 2.0)
    rtt_s = expected_round_trip(impairment, impairment, 64).p50_s
    (verdict,) = judge(probed([rtt_s] * 30, throughput=flow), both(impairment))
    assert verdict.off is off
    assert ("of the declared 20" in verdict.why) is off


@pytest.mark.parametrize(
    ("delay_s", "jitter_s", "distribution"), [(0.2, 0.1, "normal"), (0.3, 0.2, "pareto"), (0.2, 0.2, "uniform")]
)
def test_links_with_wide_jitter_in_order_are_not_refused(delay_s: float, jitter_s: float, distribution: Any) -> None:
    declared = Impairment(delay_s=delay_s, jitter_s=jitter_s, jitter_distribution=distribution)
    gap_ns = round(lone_spacing_s(declared, declared) * 1e9)
    refused = 0
    for seed in range(60):
        there, back = (Effect(impairment_to_json(declared), random.Random(2 * seed + way)) for way in (0, 1))
        times = [(back.due(there.due(n * gap_ns, 100), 100) - n * gap_ns) * 1e-9 for n in range(30)]
        refused += judge(probed(times), both(declared))[0].off
    assert refused <= 2


def test_echoes_are_as_far_apart_as_jitter_needs() -> None:
    assert lone_spacing_s(Impairment(0.1), Impairment(0.1, 0.005)) == 0.06
    assert lone_spacing_s(Impairment(0.1), Impairment(0.1, 0.05)) == pytest.approx(0.3)
    assert lone_spacing_s(Impairment(0.1), Impairment(0.1, 0.05, reorder=True)) == 0.06


def test_links_that_are_off_stop_the_run() -> None:
    links = both(Impairment(delay_s=0.04))
    assert len(require_declared(probed([0.081] * 30), links)) == 1
    with pytest.raises(LinkFailure, match=r"a -> b: p50 of the round trip is 30.00 ms, declared 80.00 ms"):
        require_declared(probed([0.03] * 30), links)


def test_rate_and_jitter_are_part_of_what_is_expected() -> None:
    slow = Impairment(delay_s=0.01, rate_bps=1e6)
    expected = expected_round_trip(slow, Impairment(delay_s=0.02), 958)
    assert expected.p50_s == pytest.approx(0.038)
    assert expected.spread_s == 0
    pareto = Impairment(delay_s=0.05, jitter_s=0.02, jitter_distribution="pareto")
    skewed = expected_round_trip(pareto, Impairment(), 64)
    assert skewed.p50_s == pytest.approx(0.05 - 0.02 * 0.32, abs=0.0005)
    squeezed = expected_round_trip(Impairment(jitter_s=0.01), Impairment(), 64)
    assert squeezed.p50_s >= 0


@given(
    delay_s=st.floats(0, 0.2),
    jitter_s=st.floats(0.0001, 0.05),
    distribution=st.sampled_from(["normal", "pareto", "uniform"]),
    seed=st.integers(0, 2**32),
)
def test_thirty_probes_of_an_honest_link_are_not_off(
    delay_s: float, jitter_s: float, distribution: Any, seed: int
) -> None:
    declared = Impairment(delay_s=delay_s, jitter_s=jitter_s, jitter_distribution=distribution)
    source = random.Random(seed)
    ends = [Effect(impairment_to_json(declared), source) for _ in range(2)]
    gap_ns = 1_000_000_000
    times = [sum(end.due(number * gap_ns, 100) - number * gap_ns for end in ends) * 1e-9 for number in range(30)]
    (verdict,) = judge(probed(times), both(declared))
    # Three standard errors are exceeded once in 370 tries even by an honest link; five are not in a test's lifetime.
    assert verdict.measured_s is not None
    assert abs(verdict.measured_s - verdict.declared_s) <= verdict.allowed_s * 5 / 3


@given(p=st.floats(0.001, 0.2), r=st.floats(0.05, 1.0), loss_bad=st.floats(0.1, 1.0), seed=st.integers(0, 2**32))
def test_mean_loss_of_bursts(p: float, r: float, loss_bad: float, seed: int) -> None:
    declared = Impairment(burst_loss=GilbertElliott(p, r, loss_bad))
    link = Effect(impairment_to_json(declared), random.Random(seed))
    lost = sum(link.due(0, 100) == LOST for _ in range(5_000)) / 5_000
    mean = mean_loss(declared)
    independent = 5_000 * p / (1 + p / r)  # visits to the bad state
    assert lost == pytest.approx(mean, abs=6 * mean * (2 / independent) ** 0.5 + 0.01)


def test_a_measurement_survives_json() -> None:
    measurement = probed([0.01, 0.02], throughput=Throughput(1e6, 0.01, "cubic"))
    assert measurement_from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_spread(times: list[float]) -> None:
    found = spread(times)
    assert found is not None
    assert found.min_s == min(times)
    assert found.min_s <= found.p50_s <= found.p99_s <= max(times)


def test_spread_of_nothing() -> None:
    assert spread([]) is None
