"""What an impairment does to packets, as statistics over seeded draws."""

from __future__ import annotations

import random
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.links.nfqueue.effects import FRAME_BYTES, LOST, OVERFLOWED, Effect, burst_chain, jitter_source
from harness.links.wire import impairment_from_json, impairment_to_json
from harness.model.links import GilbertElliott, Impairment, effective

MS = 1_000_000


def effect(seed: int = 1, **fields: Any) -> Effect:
    return Effect(impairment_to_json(effective(Impairment(**fields))), random.Random(seed))


@settings(max_examples=25, deadline=None)
@given(
    mean=st.floats(0.005, 0.3),
    length=st.floats(1.0, 20.0),
    seed=st.integers(0, 2**32),
)
def test_gilbert_elliott_has_the_mean_loss_and_burst_length_it_should(mean: float, length: float, seed: int) -> None:
    r = 1 / length
    chain = burst_chain(mean * r / (1 - mean), r, 1.0, 0.0, random.Random(seed))
    fates = [chain() for _ in range(100_000)]
    bursts = [len(list(run)) for lost, run in groupby(fates) if lost]
    # Bursts are independent: their number times the mean length is the loss, so its spread follows from both.
    expected = 100_000 * mean / length
    spread = 5 * (2 / expected) ** 0.5
    assert sum(fates) / len(fates) == pytest.approx(mean, rel=spread)
    assert sum(bursts) / len(bursts) == pytest.approx(length, rel=max(0.02, 5 / expected**0.5))


def test_gilbert_elliott_within_ten_percent_over_a_hundred_thousand_packets() -> None:
    chain = burst_chain(0.01, 0.2, 1.0, 0.0, random.Random(7))
    fates = [chain() for _ in range(100_000)]
    bursts = [len(list(run)) for lost, run in groupby(fates) if lost]
    assert sum(fates) / 100_000 == pytest.approx(0.01 / 0.21, rel=0.1)
    assert sum(bursts) / len(bursts) == pytest.approx(5, rel=0.1)


@given(loss=st.floats(0.001, 1.0), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_independent_loss(loss: float, seed: int) -> None:
    link = effect(seed, loss=loss)
    lost = sum(link.due(0, 100) == LOST for _ in range(20_000))
    assert abs(lost - 20_000 * loss) <= 6 * (20_000 * loss * (1 - loss)) ** 0.5 + 1


@pytest.mark.parametrize(
    ("distribution", "mean", "deviation", "least", "most"),
    [("normal", 0.0, 1.0, -6.0, 6.0), ("uniform", 0.0, 3**-0.5, -1.0, 1.0), ("pareto", -0.034, 0.813, -2 / 3, 4.0)],
)
def test_jitter_distributions(distribution: str, mean: float, deviation: float, least: float, most: float) -> None:
    draw = jitter_source(distribution, 1000, random.Random(3))
    values = [draw() / 1000 for _ in range(100_000)]
    average = sum(values) / len(values)
    assert average == pytest.approx(mean, abs=0.02)
    assert (sum((value - average) ** 2 for value in values) / len(values)) ** 0.5 == pytest.approx(deviation, rel=0.03)
    assert least <= min(values) <= max(values) <= most


@given(
    jitter_ms=st.floats(0.01, 50),
    distribution=st.sampled_from(["normal", "uniform", "pareto"]),
    gaps=st.lists(st.integers(0, 20 * MS), min_size=2, max_size=200),
    seed=st.integers(0, 2**32),
)
def test_jitter_keeps_packets_in_order_and_never_ahead_of_their_arrival(
    jitter_ms: float, distribution: str, gaps: list[int], seed: int
) -> None:
    link = effect(seed, delay_s=0.01, jitter_s=jitter_ms / 1000, jitter_distribution=distribution)
    now, dues = 0, []
    for gap in gaps:
        now += gap
        due = link.due(now, 100)
        assert due >= now
        dues.append(due)
    assert dues == sorted(dues)


def test_jitter_reorders_on_request() -> None:
    link = effect(delay_s=0.01, jitter_s=0.005, reorder=True)
    dues = [link.due(number * MS, 100) for number in range(1000)]
    assert any(later < earlier for earlier, later in pairwise(dues))


@given(
    rate_bps=st.floats(10_000, 1e9),
    sizes=st.lists(st.integers(40, 1500), min_size=1, max_size=100),
    queue_bytes=st.integers(2_000, 200_000),
)
def test_a_rate_is_kept_and_its_queue_never_overfilled(rate_bps: float, sizes: list[int], queue_bytes: int) -> None:
    link = effect(rate_bps=rate_bps, queue_bytes=queue_bytes)
    sent = 0
    for size in sizes:
        due = link.due(0, size)
        if due == OVERFLOWED:
            assert sent + size + FRAME_BYTES > queue_bytes * 0.999999
            continue
        sent += size + FRAME_BYTES
        assert sent <= queue_bytes * 1.000001
        assert due == pytest.approx(sent * 8e9 / rate_bps, rel=1e-6, abs=2)


def test_bytes_that_wait_when_the_rate_changes_leave_at_the_new_rate() -> None:
    slow = effect(rate_bps=1e6, queue_bytes=100_000, delay_s=0.1)
    first, second = (slow.due(0, 1250 - FRAME_BYTES) for _ in range(2))
    assert (first, second) == (110 * MS, 120 * MS)
    fast = effect(rate_bps=10e6, queue_bytes=100_000, delay_s=0.01)
    fast.follow(slow, 5 * MS)
    assert fast.rescheduled(first, slow, 5 * MS) == 105 * MS + MS // 2
    assert fast.rescheduled(second, slow, 5 * MS) == 106 * MS + MS // 2
    assert fast.due(5 * MS, 1250 - FRAME_BYTES) == 5 * MS + 3 * MS // 2 + MS + 10 * MS
    unlimited = effect(delay_s=0.01)
    unlimited.follow(slow, 5 * MS)
    assert unlimited.rescheduled(second, slow, 5 * MS) == 105 * MS
    assert unlimited.due(5 * MS, 100) == 15 * MS


def test_corruption_flips_one_bit_behind_the_ip_header() -> None:
    link = effect(corrupt=1.0)
    for header, packet in ((20, bytes([0x45]) + bytes(99)), (40, bytes([0x60]) + bytes(99))):
        for _ in range(200):
            changed = link.corrupted(packet)
            assert changed is not None
            different = [index for index in range(100) if changed[index] != packet[index]]
            assert len(different) == 1
            assert different[0] >= header
            assert (changed[different[0]] ^ packet[different[0]]).bit_count() == 1
    assert link.corrupted(bytes([0x45]) + bytes(19)) is None
    assert effect().corrupted(bytes([0x45]) + bytes(99)) is None


def test_only_what_must_look_at_packets_does() -> None:
    assert effect(delay_s=0.1).plain
    assert effect(delay_s=0.1).copy_bytes == 0
    assert effect(delay_s=0.1).whole_super_packets
    every: list[dict[str, Any]] = [
        {"loss": 0.1},
        {"rate_bps": 1e6},
        {"jitter_s": 0.1},
        {"duplicate": 0.1},
        {"corrupt": 0.1},
    ]
    for fields in every:
        link = effect(**fields)
        assert not link.plain
        assert not link.whole_super_packets
    assert effect(rate_bps=1e6).copy_bytes == 20
    assert effect(corrupt=0.1).copy_bytes == 0xFFFF


@given(
    st.builds(
        Impairment,
        delay_s=st.floats(0, 1),
        jitter_s=st.floats(0, 1),
        jitter_distribution=st.sampled_from(["normal", "pareto", "uniform"]),
        reorder=st.booleans(),
        loss=st.floats(0, 1),
        burst_loss=st.none() | st.builds(GilbertElliott, st.floats(0, 1), st.floats(0, 1)),
        rate_bps=st.none() | st.floats(1000, 1e12),
    )
)
def test_impairments_survive_json(impairment: Impairment) -> None:
    assert impairment_from_json(impairment_to_json(impairment)) == impairment
