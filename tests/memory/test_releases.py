"""Change points between releases."""

from __future__ import annotations

import math

import pytest

from harness.memory.releases import ReleaseFigures, changes, in_order, version_key

TOLERANCES = {"p50_ms": 0.05, "rest_mib": 1.0}


def release(version: str, p50: float, rest: float = 37.0, driver: str = "rabbit") -> ReleaseFigures:
    spread = (0.99, 1.0, 1.01)
    figures = {"p50_ms": tuple(p50 * s for s in spread), "rest_mib": tuple(rest * s for s in spread)}
    return ReleaseFigures(version, driver, f"{driver}-{version}", figures)


def test_releases_are_ordered_as_versions_are() -> None:
    found = in_order([release("14.10.0", 1), release("14.9.3", 1), release("14.9.3", 1, driver="amqp1")])
    assert [(one.driver, one.release) for one in found] == [
        ("amqp1", "14.9.3"),
        ("rabbit", "14.9.3"),
        ("rabbit", "14.10.0"),
    ]
    assert version_key("18.3.1") == (18, 3, 1)


def test_a_step_is_found_once_and_where_it_is() -> None:
    matrix = [release("14.4.2", 2.2), release("14.7.3", 2.21), release("14.8.1", 502.0), release("15.0.0", 501.0)]
    (found,) = changes(matrix, TOLERANCES, ("p50_ms",))
    assert (found.before, found.after, found.figure) == ("14.7.3", "14.8.1", "p50_ms")
    assert found.low < 502 / 2.21 < found.high
    assert found.ratio


def test_drivers_are_not_compared_with_each_other() -> None:
    matrix = [release("14.9.3", 2.2, driver="amqp1"), release("14.9.3", 500.0)]
    assert not list(changes(matrix, TOLERANCES, ("p50_ms",)))


def test_memory_at_rest_changes_by_difference() -> None:
    (found,) = changes([release("1.0", 2, 37.0), release("2.0", 2, 45.0)], TOLERANCES, ("p50_ms",))
    assert found.figure == "rest_mib"
    assert found.new - found.old == pytest.approx(8.0)
    assert math.isfinite(found.low)


def test_one_repetition_shows_no_change() -> None:
    few = [ReleaseFigures(v, "rabbit", v, {"p50_ms": (value,)}) for v, value in (("1.0", 1.0), ("2.0", 9.0))]
    assert not list(changes(few, TOLERANCES, ("p50_ms",)))
