"""What the doctor says, as far as it can be told without this machine's own state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import doctor
from harness.doctor import disk_needed
from harness.errors import LabFailure
from harness.files import load_scenario, plan_run
from harness.runtime.docker.engine import Engine
from harness.runtime.docker.labels import Leftover

ROOT = Path(__file__).parents[1]


def engine() -> Engine:
    api: Any = None
    return Engine(api, "tcp://elsewhere:1", "docker", "20", {})


@pytest.mark.parametrize(
    ("schedule", "most"),
    [
        ({"kind": "constant", "rate_per_s": 5.0}, 50),
        ({"kind": "steps", "steps": [{"rate_per_s": 1, "duration_s": 5}, {"rate_per_s": 9, "duration_s": 1}]}, 90),
        ({"kind": "ramp", "from_per_s": 7, "to_per_s": 2}, 70),
        ({"kind": "burst", "size": 100, "period_s": 5}, 300),
        ({"kind": "closed", "count": 12}, 12),
        ({"kind": "closed"}, 0),
        ({}, 0),
    ],
)
def test_what_a_schedule_records_is_not_underestimated(schedule: dict[str, Any], most: int) -> None:
    assert doctor._operations(schedule, 10.0) == most


def test_the_disk_is_compared_with_what_the_scenario_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cells = plan_run(load_scenario(ROOT / "scenarios" / "quickstart.yaml"))
    needed = sum(disk_needed(cell) for cell in cells)
    assert 0 < needed < 1 << 30

    class Usage:
        free = needed - 1

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    found = {one.what: one for one in doctor._machine(cells, tmp_path)}
    assert found["disk for results"].state == "missing"
    assert found["disk for temporary files"].state == "ok", "one cell at a time"
    assert found["disk for cache"].state == "note"
    assert {one.state for one in doctor._machine((), tmp_path) if one.what.startswith("disk")} == {"note"}


def test_links_that_do_not_work_have_a_remedy_and_what_is_used_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        @staticmethod
        def unavailable(lab: object) -> str | None:
            return "qdisc kind is unknown"

    class Works:
        @staticmethod
        def unavailable(lab: object) -> str | None:
            return None

    class Lab:
        python = "python3"

        def run(self, *_: object) -> Any:
            return type("Completed", (), {"returncode": 0})

    lab: Any = Lab()
    monkeypatch.setattr(doctor, "shapers", lambda: {"netem": Missing, "nfqueue": Works})
    netem, nfqueue, _ = doctor._links("runtime local", lab)
    assert "modprobe sch_netem" in netem.remedy
    assert "meanwhile nfqueue is used" in netem.remedy
    assert (nfqueue.state, nfqueue.remedy) == ("ok", "")
    monkeypatch.setattr(doctor, "shapers", lambda: {"netem": Missing})
    netem, nothing, _ = doctor._links("runtime local", lab)
    assert "meanwhile" not in netem.remedy
    assert nothing.state == "missing"


def test_no_lab_is_opened_where_images_would_be_made_or_a_run_is_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[Leftover] = []
    monkeypatch.setattr(doctor, "leftovers", lambda engine: there)
    monkeypatch.setattr(doctor, "tools_there", lambda engine: True)
    assert doctor._why_untried(engine()) is None
    there.append(Leftover("network", "1", "x", "a-run", "", driven=False))
    assert doctor._why_untried(engine()) is None, "what a killed run left does not count"
    there.append(Leftover("network", "2", "y", "b-run", "", driven=None))
    assert "another run" in str(doctor._why_untried(engine()))
    monkeypatch.setattr(doctor, "tools_there", lambda engine: False)
    assert "images build" in str(doctor._why_untried(engine()))


def test_an_engine_whose_lab_does_not_open_is_not_called_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise LabFailure("no room", remedy="make some")

    monkeypatch.setattr(doctor, "_why_untried", lambda engine: None)
    monkeypatch.setattr(doctor, "DockerRuntime", refuse)
    monkeypatch.setattr(doctor, "leftovers", lambda engine: [])
    monkeypatch.setattr(doctor, "_registry", lambda engine: "")
    first = next(iter(doctor._about(engine())))
    assert (first.what, first.state, first.detail) == ("runtime docker", "missing", "no room")
