"""An instant the kernel stamped is never converted to one before it, wherever the process is suspended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from harness.links.nfqueue.clocks import both_clocks

_AHEAD_NS = 1_700_000_000_000_000_000


def suspended(pauses: Sequence[int]) -> tuple[Callable[[], int], Callable[[], int]]:
    """A monotonic and a real clock; the process is suspended for pauses[i] ns after its i-th reading."""
    left = list(pauses)
    at = 0

    def monotonic() -> int:
        nonlocal at
        reading, at = at, at + 100 + (left.pop(0) if left else 0)
        return reading

    return monotonic, lambda: monotonic() + _AHEAD_NS


@given(st.lists(st.integers(0, 10_000_000), max_size=20))
def test_a_packet_is_never_early(pauses: list[int]) -> None:
    now, ahead = both_clocks(*suspended(pauses))
    assert _AHEAD_NS - ahead >= 0  # the error of every converted instant: late, or none
    assert now >= 0


@given(st.lists(st.integers(0, 10_000_000), min_size=2, max_size=2))
def test_one_suspension_is_noticed_and_costs_nothing(pauses: list[int]) -> None:
    _, ahead = both_clocks(*suspended(pauses))
    assert _AHEAD_NS - ahead <= 20_000
