"""What two cells may differ in without being told apart: nothing that changes a figure."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report.compatibility import differences, parts_of
from harness.store.run import load_run
from harness.store.schema import CellRecord
from tests.store.made import Made, make_run

KILL = {"due_s": 2.0, "at_s": 2.01, "target": "remote-call-server-core", "bus": "", "action": "kill"}
RESTART = {**KILL, "target": "broker-core", "bus": "main"}
CUT = {"due_s": 1.0, "at_s": 1.1, "source": "core", "target": "edge-a", "action": "cut", "impairment": None}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> CellRecord:
    run = load_run(make_run(tmp_path_factory.mktemp("results"), Made(seconds=1, systems=("rabbit",))))
    record = next(iter(run.all_cells)).record
    assert record is not None
    return record


def parts(record: CellRecord, lax_links: bool = False, stacks: Any = None, **facts: Any) -> dict[str, Any]:
    """The parts of the cell with some facts changed."""
    changed = record.model_copy(update={"facts": {**record.facts, **facts}})
    return parts_of(changed, {}, "1", lax_links=lax_links, stacks=stacks)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("runtime", {"runtime": {"runtime": "docker"}}),
        ("link shaper", {"shaper": {"name": "netem"}}),
        ("lax links", {"lax_links": True}),
        ("timeline", {"link_events": [CUT]}),
        ("timeline", {"process_events": [KILL]}),
        ("faults of the bus", {"process_events": [RESTART]}),
        ("stack", {"stacks": {"oslo-14.7.3-rabbit": {"env": {"MALLOC_ARENA_MAX": "1"}}}}),
    ],
)
def test_what_changes_figures_is_a_part(record: CellRecord, part: str, changes: dict[str, Any]) -> None:
    changes.setdefault("process_events", [])
    assert set(differences(parts(record), parts(record, **changes))) == {part}


def test_forked_agents_are_another_load(record: CellRecord) -> None:
    agents = [agent.model_copy(update={"processes": "fork"}) for agent in record.agents]
    forked = record.model_copy(update={"agents": agents})
    assert "workload remote-call" in differences(parts(record), parts(forked))


def test_when_a_fault_really_struck_does_not_matter(record: CellRecord) -> None:
    late = {**KILL, "at_s": 2.3}
    assert not differences(parts(record, process_events=[KILL]), parts(record, process_events=[late]))
