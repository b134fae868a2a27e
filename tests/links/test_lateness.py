"""The emulator's histogram of its own lateness."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.links.nfqueue.lateness import Lateness


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=300))
def test_every_packet_is_counted_in_a_bucket_that_ends_behind_it(late_ns: list[int]) -> None:
    lateness = Lateness()
    for value in late_ns:
        lateness.add(value)
    report = lateness.report()
    assert report["packets"] == len(late_ns)
    assert report["max_s"] == max(late_ns) * 1e-9
    index = next(i for i, count in enumerate(lateness.counts) if count)
    assert lateness.upper_edge_s(index) > min(late_ns) * 1e-9 or index == len(lateness.counts) - 1


@given(st.lists(st.integers(0, 9_990_000), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_percentiles_are_right_to_ten_microseconds(late_ns: list[int], fraction: float) -> None:
    lateness = Lateness()
    for value in late_ns:
        lateness.add(value)
    ordered = sorted(late_ns)
    rank = next(i for i in range(len(ordered)) if i + 1 >= fraction * len(ordered))
    assert abs(lateness.percentile_s(fraction) - ordered[rank] * 1e-9) <= 10.001e-6


def test_nothing_and_early_packets() -> None:
    assert Lateness().percentile_s(0.99) == 0
    lateness = Lateness()
    lateness.add(-5, 3)
    assert lateness.report()["packets"] == 3
