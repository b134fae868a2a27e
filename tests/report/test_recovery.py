"""What a report says of faults: sentences, table and the figures cells are compared by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from math import nan
from typing import cast

from harness.analysis.recovery import Outage, Recovery
from harness.report.findings import CellFinding, Findings, System
from harness.report.metrics import _recovery
from harness.report.recovery import recovery_sentences, recovery_table

SYSTEM = System("amqp1", {}, ("router",), ("core",), stand_in=False, cells=("amqp1-r1",))
RESTART = Outage("router-core: restart", "process", 20.0, 24.0)
CUT = Outage("core-edge: partition", "link", 40.0, 50.0)


def recovery(outage: Outage, back_s: float, interruption_s: float) -> Recovery:
    return Recovery(outage, "call", "edge", 10.0, 0.5, back_s, 16.0, interruption_s, 7)


@dataclass
class Cell:
    """As much of a cell as is looked at."""

    recoveries: tuple[Recovery, ...]
    system: System = SYSTEM


@dataclass
class Run:
    """As much of a run's findings as is looked at."""

    cells: tuple[Cell, ...]
    systems: tuple[System, ...] = (SYSTEM,)
    pair_order: tuple[object, ...] = field(default=())


FOUND = Cell((recovery(RESTART, 2.5, 6.0), recovery(CUT, nan, 26.0)))
FINDINGS = cast("Findings", Run((FOUND,)))


def test_the_slowest_fault_is_named_and_what_was_not_over_is_said() -> None:
    (said,) = recovery_sentences(FINDINGS)
    assert said.startswith("amqp1 met 2 faults; slowest to be back to its rate was call from edge after router-core")
    assert "2.50 s after the cause was over, with 6.00 s without any success" in said
    assert "in 1 of 2 cases the rate was not seen back before the next fault or the end" in said


def test_every_fault_and_stream_has_a_row() -> None:
    table = recovery_table(FINDINGS)
    assert [row[3] for row in table.rows] == ["router-core: restart", "core-edge: partition"]
    assert list(table.texts())[1][-3] == "–", "what was not seen is no figure"
    assert table.csv().splitlines()[2].split(",")[-3] == ""


def test_cells_are_compared_by_their_worst_fault() -> None:
    figures = {metric.name: figure for metric, figure in _recovery(cast("CellFinding", FOUND))}
    never, silent = figures["slowest return to rate"], figures["longest interruption"]
    assert (never.value, silent.value) == (16.0, 26.0)
    assert (never.low, never.high) == (16.0, math.inf), "it was not seen back, so it took longer"
