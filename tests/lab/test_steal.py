"""Processor time a hypervisor takes away is told."""

from __future__ import annotations

from harness.lab.steal import processor_times, stolen_share

STAT = "cpu  1746142 7691 277256 713279 5263 0 20726 121255 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def test_the_kernels_line_is_read() -> None:
    assert processor_times(STAT) == (121255, 1746142 + 7691 + 277256 + 713279 + 5263 + 20726 + 121255)
    assert processor_times("") == (0, 0)
    assert processor_times("cpu 1 2 3 4\n") == (0, 0)
    assert processor_times()[1] > 0


def test_shares() -> None:
    assert stolen_share((10, 100), (60, 200)) == 0.5
    assert stolen_share((10, 100), (10, 100)) == 0.0
