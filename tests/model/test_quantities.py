"""Quantities: what people write, what it means, and that writing a value out and reading it back is lossless."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model import quantities as q


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (q.parse_duration, "80ms", 0.08),
        (q.parse_duration, "1.5 s", 1.5),
        (q.parse_duration, "2min", 120.0),
        (q.parse_duration, "250us", 0.00025),
        (q.parse_duration, 0, 0.0),
        (q.parse_duration, "0", 0.0),
        (q.parse_rate, "100mbit", 1e8),
        (q.parse_rate, "1.5Gbit", 1.5e9),
        (q.parse_fraction, "0.5%", 0.005),
        (q.parse_fraction, "100%", 1.0),
        (q.parse_size, "1KiB", 1024),
        (q.parse_size, "1kB", 1000),
        (q.parse_size, "0.5KiB", 512),
        (q.parse_frequency, "20/s", 20.0),
        (q.parse_frequency, "6/min", 0.1),
    ],
)
def test_reads_what_people_write(parse: Callable[[object], float], text: object, value: float) -> None:
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (q.parse_duration, 80, "no unit"),
        (q.parse_duration, "80", "no unit"),
        (q.parse_duration, "80 parsecs", "unknown unit 'parsecs'"),
        (q.parse_duration, "-5ms", "negative"),
        (q.parse_duration, "1e999s", "finite"),
        (q.parse_duration, True, "text with a unit"),
        (q.parse_duration, None, "text with a unit"),
        (q.parse_duration, "ms", "not a duration"),
        (q.parse_rate, "100MB", "unknown unit 'MB'"),
        (q.parse_fraction, "101%", "at most 100%"),
        (q.parse_fraction, 0.5, "no unit"),
        (q.parse_size, "0.3B", "whole number of bytes"),
        (q.parse_size, "1KB", "unknown unit 'KB'"),
        (q.parse_frequency, "20", "no unit"),
        (q.parse_size, "1e308GiB", "finite"),
        (q.parse_size, "1e9GiB", "at most 16384GiB"),
        (q.parse_duration, "1e9s", "at most 720h"),
        (q.parse_rate, "1e308gbit", "finite"),
        (q.parse_frequency, "1e9/s", "at most 100000/s"),
        (q.parse_frequency, "1e-300/s", "at least 0.01/h"),
        (q.parse_duration, "２０ms", "not a duration"),
        (q.parse_duration, "80msec", "; 80ms$"),
        (q.parse_size, "4kib", "; 4KiB$"),
    ],
)
def test_refuses_and_says_why(parse: Callable[[object], float], text: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)


@pytest.mark.parametrize(
    ("parse", "write", "top"),
    [
        (q.parse_duration, q.format_duration, 1e6),
        (q.parse_rate, q.format_rate, 1e12),
        (q.parse_fraction, q.format_fraction, 1.0),
        (q.parse_frequency, q.format_frequency, 1e5),
    ],
)
@given(data=st.data())
def test_written_values_read_back(
    parse: Callable[[object], float], write: Callable[[float], str], top: float, data: st.DataObject
) -> None:
    value = data.draw(st.floats(0, top, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-5))
    assert parse(write(value)) == pytest.approx(value, rel=1e-9)


@given(st.integers(0, 2**44))
def test_sizes_read_back_exactly(size: int) -> None:
    assert q.parse_size(q.format_size(size)) == size


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (q.parse_duration, q.parse_rate, q.parse_fraction, q.parse_size, q.parse_frequency):
        with suppress(ValueError):
            assert parse(text) >= 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([0, 20, "50 ms"], ["0 ms", "20 ms", "50 ms"]),
        ([1.5, "2s"], ["1.5s", "2s"]),
        ([10, "20Mbit"], ["10Mbit", "20Mbit"]),
        ([5, "10/s"], ["5/s", "10/s"]),
        ([0, 0.1, "1%"], ["0%", "0.1%", "1%"]),
        (["10ms", 20, "50ms"], ["10ms", 20, "50ms"]),
        ([20, "ms"], [20, "ms"]),
        ([1, "2 clients"], [1, "2 clients"]),
        ([True, "2s"], [True, "2s"]),
        ([1, 2], [1, 2]),
        (["2s"], ["2s"]),
        ("2s", "2s"),
    ],
)
def test_a_unit_on_the_last_value_of_a_list_is_that_of_the_numbers_before(written: object, meant: object) -> None:
    assert q.share_unit(written) == meant
