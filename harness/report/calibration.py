"""A host's calibration as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import numbers
from harness.report.tables import Column, Table

if TYPE_CHECKING:
    from harness.memory.calibration import Calibration

__all__ = ["calibration_table"]


def calibration_table(calibration: Calibration) -> Table:
    """How the checks of each setting came out."""
    return Table(
        "calibration",
        "How often the memory verdict is right",
        f"A check is a dose in {calibration.repetitions} fresh processes and its verdict. Bounds are exact "
        "(Clopper and Pearson) at 95 %, on the share that says leak. Undone: clean, though something grew by more than "
        "its limit: the growth was over (a plateau, steps) or gone after a rest (a backlog that waits for time-outs). "
        "Growth: of what was leaked, of blocks where nothing was, per operation, before any rest. "
        "Load: of the machine while it was measured, per processor.",
        (
            Column("System", "system"),
            Column("Setting", "setting"),
            Column("Leaked per operation", "leaked"),
            Column("Checks", "checks", numbers.count),
            Column("Leak", "called", numbers.count),
            Column("Open", "open", numbers.count),
            Column("Undone", "undone", numbers.count),
            Column("Low", "low", _share),
            Column("High", "high", _share),
            Column("Growth", "growth", numbers.number),
            Column("Spread", "spread", numbers.number),
            Column("Load", "load", numbers.number),
        ),
        tuple(
            (
                rate.system,
                rate.setting,
                rate.leak or "nothing",
                rate.checks,
                rate.called,
                rate.open,
                rate.undone,
                rate.low,
                rate.high,
                rate.growth,
                rate.spread,
                rate.load,
            )
            for rate in calibration.rates
        ),
        lead=1,
    )


def _share(value: float) -> str:
    return f"{value:.1%}"
