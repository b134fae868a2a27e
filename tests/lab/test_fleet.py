"""Fleets: agents forked from one process, spoken to like any other."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent.records import read_records
from harness.errors import AgentFailure
from harness.lab.agents import build_agent_archive, in_parallel
from harness.lab.fleet import FleetHandle
from harness.plan.cell import LabPlan, NodePlan
from harness.runtime.fake import FakeRuntime


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FakeRuntime]:
    with FakeRuntime("fleet", tmp_path / "logs") as lab:
        lab.open(LabPlan((), (NodePlan("host", "core", "host", "127.0.0.1", "::1"),), ()))
        yield lab


@pytest.fixture
def fleet(lab: FakeRuntime, tmp_path: Path) -> Iterator[FleetHandle]:
    archive = lab.put("host", build_agent_archive(tmp_path / "agent.pyz"), "agent.pyz")
    fleet = FleetHandle(lab, "host", "fleet", sys.executable, archive, "loopback", "none")
    yield fleet
    fleet.stop()


def task(lab: FakeRuntime, number: int) -> dict[str, Any]:
    return {
        "agent": number,
        "name": f"member-{number}",
        "role": "client",
        "adapter": "loopback",
        "pattern": "rpc-call",
        "topics": [{"topic": "t"}],
        "schedule": {"kind": "constant", "rate_per_s": 50.0},
        "duration_s": 1.0,
        "workers": 2,
        "record": f"{lab.workdir('host')}/member-{number}.rec",
    }


def test_members_are_processes_that_work_and_record_on_their_own(lab: FakeRuntime, fleet: FleetHandle) -> None:
    agents = [fleet.spawn(f"member-{number}") for number in range(8)]
    assert len({agent.hello()["pid"] for agent in agents}) == 8
    in_parallel(range(8), lambda number: agents[number].prepare(task(lab, number)))
    start = time.monotonic() + 0.2
    in_parallel(agents, lambda agent: agent.go(start))
    for number, agent in enumerate(agents):
        assert agent.wait_finished(30.0)
        assert agent.report().done == 50
        assert sum(1 for _ in read_records(f"{lab.workdir('host')}/member-{number}.rec")) == 50
    assert all(in_parallel(agents, lambda agent: agent.stop()))


def test_a_member_that_dies_is_named_and_the_others_go_on(fleet: FleetHandle) -> None:
    one, other = fleet.spawn("one"), fleet.spawn("other")
    one.hello()
    one.process.signal(signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while one.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(AgentFailure, match=r"agent one.*signal 9"):
        one.check()
    assert other.hello()["python"]


def test_members_end_with_their_fleet(lab: FakeRuntime, fleet: FleetHandle) -> None:
    agent = fleet.spawn("one")
    pid = int(agent.hello()["pid"])
    assert Path(f"/proc/{pid}").exists()
    fleet.stop()
    with pytest.raises(AgentFailure, match="agent one"):
        agent.check()
    assert not Path(f"/proc/{pid}").exists()


def test_a_fleet_without_its_client_library_says_so(lab: FakeRuntime, tmp_path: Path) -> None:
    archive = lab.put("host", build_agent_archive(tmp_path / "agent.pyz"), "agent.pyz")
    with pytest.raises(AgentFailure, match=r"(?s)fleet broken.*oslo_messaging"):
        FleetHandle(lab, "host", "broken", sys.executable, archive, "oslo", "rabbit")
