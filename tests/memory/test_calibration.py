"""Calibration: exact bounds, the scenario it runs, and what verdicts quote."""

from __future__ import annotations

import pytest
import yaml

from harness.analysis.leak import Growth, State, Verdict
from harness.files import plan_run, scenario_from_text
from harness.memory.calibration import SETTINGS, Calibration, Rate, bounds, scenario_of, tally
from harness.memory.result import DoseResult, MemoryResult, RoleResult


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 60, 0.0, 0.0596), (40, 40, 0.9119, 1.0), (38, 40, 0.8308, 0.9939)]
)
def test_bounds_are_exact(hits: int, of: int, low: float, high: float) -> None:
    assert bounds(hits, of) == pytest.approx((low, high), abs=1e-4)


def test_every_setting_can_be_planned() -> None:
    data = scenario_of(
        [(setting, 2) for setting in SETTINGS],
        system={"bus": {"kind": "loopback"}, "stack": "loopback"},
        repetitions=3,
    )
    (cell,) = plan_run(scenario_from_text(yaml.safe_dump(data), "calibration"))
    assert cell.memory is not None
    assert len(cell.memory.doses) == 2 * len(SETTINGS)
    assert cell.id == "calibrated-memory"


def test_what_verdicts_quote() -> None:
    rates = (
        Rate("clean", "loopback", 0.0, "", 60, 0, 0, 0.0, 0.06, 0.0, 0.0),
        Rate("double", "loopback", 2.0, "0.2 objects", 40, 40, 0, 0.91, 1.0, 0.2, 0.0),
    )
    calibration = Calibration("2026-11-22T10:00:00Z", {}, 3, rates)
    assert "0 of 60 clean checks" in calibration.sentence()
    assert "40 of 40 leaks of twice the limit" in calibration.sentence()
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_parts_of_a_calibration_add_up_and_a_part_measured_again_replaces_itself() -> None:
    clean = Rate("clean", "loopback", 0.0, "", 20, 0, 0, 0.0, 0.2, 0.0, 0.0)
    first = Calibration("2026-11-22T10:00:00Z", {"cpus": 2}, 3, (clean,))
    other = Rate("clean", "rabbit", 0.0, "", 20, 0, 0, 0.0, 0.2, 0.0, 0.0, 1.5)
    both = first.updated(Calibration("2026-11-22T11:00:00Z", {"cpus": 2}, 3, (other,)))
    assert [(rate.system, rate.checks) for rate in both.rates] == [("loopback", 20), ("rabbit", 20)]
    again = both.updated(Calibration("2026-11-22T12:00:00Z", {"cpus": 2}, 3, (clean,)))
    assert [rate.system for rate in again.rates] == ["rabbit", "loopback"]
    with pytest.raises(ValueError, match="another host: its cpus is 2, here 4"):
        first.updated(Calibration("2026-11-22T12:00:00Z", {"cpus": 4}, 3, (clean,)))
    with pytest.raises(ValueError, match="3 processes, not of 5"):
        first.updated(Calibration("2026-11-22T12:00:00Z", {"cpus": 2}, 5, (clean,)))


def test_growth_that_drained_is_counted_beside_the_leaks_and_the_clean() -> None:
    def checked(number: int, state: State, per_op: float) -> DoseResult:
        blocks = Growth("blocks", state, per_op, per_op, per_op, 0.1, 0.1, 0.0, (per_op,), per_op, "")
        roles = (RoleResult("client", Verdict(state, {"blocks": blocks}, ""), {}),)
        return DoseResult(f"clean-x{number}", "call", "", 1, 1, 0, 1, roles, 1, {}, "", 1.0)

    doses = (
        checked(1, "clean", 0.0),
        checked(2, "clean", 2.0),
        checked(3, "leak", 2.0),
        checked(4, "inconclusive", 2.0),
    )
    (rate,) = tally({"amqp1": MemoryResult(doses)}, SETTINGS)
    assert (rate.checks, rate.called, rate.open, rate.undone) == (4, 1, 1, 1)
    assert rate.growth == pytest.approx(1.5)
