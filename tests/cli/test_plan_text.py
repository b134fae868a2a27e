"""What `harness plan` says first: how much there is to do."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from harness.cli.plan_text import plan_lines
from harness.files import plan_run, scenario_from_text

BASE: dict[str, Any] = {
    "name": "extent",
    "topology": {"name": "one", "sites": ["here"]},
    "systems": {"loopback": {"bus": {"kind": "loopback"}, "stack": "loopback"}},
}
LOAD = {
    "workloads": {"call": {"pattern": "rpc-call", "clients": "here", "servers": "here", "rate": "5/s"}},
    "load": {"warmup": "1s", "duration": "9s"},
    "repetitions": 2,
}
DOSES = {"memory": {"doses": {"call": 200}}}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (LOAD, "2 cells, at least 20s of load"),
        (DOSES, "1 cell, all of doses, as long as their operations take"),
        (LOAD | DOSES, "3 cells, at least 20s of load, 1 of them of doses, as long as their operations take"),
    ],
)
def test_how_long_it_will_take(what: dict[str, Any], says: str) -> None:
    cells = plan_run(scenario_from_text(yaml.safe_dump(BASE | what), "extent.yaml"))
    assert next(iter(plan_lines(cells))) == says
