"""A node that its CPU limit held back is told of before any figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report.answer import warnings_of
from harness.report.examine import examine
from harness.store.run import load_run
from harness.store.writer import RunWriter
from tests.store.made import Made, fill, plans


@pytest.mark.parametrize(
    ("held_s", "says"),
    [
        ({}, ""),
        ({"router-core": 0.01}, ""),
        ({"router-core": 2.5}, "router-core for 2.5 s in 5 s of load (cell amqp1-r1). "),
        (
            {"router-core": 2.5, "host-core": 0.5},
            "router-core for 2.5 s in 5 s of load (cell amqp1-r1), and 1 other less",
        ),
    ],
)
def test_a_throttled_node_is_a_warning(held_s: dict[str, float], says: str, tmp_path: Path) -> None:
    made = Made(seconds=3)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(made)) as run:
        for plan in plans(made):
            with run.cell(plan) as cell:
                fill(cell, plan, made, tmp_path)
                held = held_s if plan.system == "amqp1" else {}
                cell.set("nodes_before", {node: {"throttled_s": 1.0} for node in held})
                cell.set("nodes_after", {node: {"throttled_s": 1.0 + value} for node, value in held.items()})
                cell.finish("valid")
        run.finish("complete")
    told = [text for text in warnings_of(examine(load_run(run.path))) if text.startswith("CPU limits")]
    assert len(told) == bool(says)
    assert all(says in text for text in told)
