"""Whole cells in a real lab: namespaces, emulated links, a real RabbitMQ and a router, agents over oslo.messaging."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import load_run
from harness.errors import BusFailure, CellsFailed, HarnessError, LinkFailure
from harness.files import load_scenario
from harness.lab.observer import Silent, Tick
from harness.lab.run import RunSettings, run_scenario
from harness.report.examine import examine
from harness.runtime.labs import abandoned_labs, state_directory
from harness.store.run import Run
from tests.patience import least

RTT_S = 0.06
SCENARIO: dict[str, Any] = {
    "name": "two-sites",
    "topology": {
        "name": "two",
        "sites": ["core", "edge"],
        "links": {"core-edge": {"between": ["core", "edge"], "rtt": f"{RTT_S * 1e3:g}ms"}},
    },
    "systems": {
        "rabbitmq": {"bus": {"kind": "rabbitmq", "at": "core"}, "stack": "oslo-14.7.3-rabbit"},
        "amqp1": {
            "bus": {"kind": "router", "at": ["core", "edge"], "implementation": "embedded"},
            "stack": "oslo-14.7.3-amqp1",
        },
    },
    "workloads": {
        "near": {"pattern": "rpc-call", "clients": "edge", "servers": "edge", "rate": "10/s"},
        "far": {"pattern": "rpc-call", "clients": "edge", "servers": "core", "rate": "10/s"},
        "tell": {"pattern": "notify", "clients": "edge", "servers": "core", "rate": "10/s"},
    },
    "load": {"warmup": "1s", "duration": "4s", "drain": "5s"},
}


class Acting(Silent):
    """Does something once, when the load has run for two seconds."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._done = False

    def tick(self, cell: str, tick: Tick) -> None:
        if tick.t_s > 2.0 and not self._done:
            self._done = True
            threading.Thread(target=self._action).start()


def run(
    tmp_path: Path, *, systems: Sequence[str] = (), observer: Silent | None = None, retries: int = 0, **changes: Any
) -> Path:
    """The machine the tests run on may be busy: what they judge is not how punctual it is."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}))
    settings = RunSettings(results=tmp_path / "results", systems=tuple(systems), lax_links=True, retries=retries)
    return run_scenario(load_scenario(path), settings, observer or Silent())


def newest(tmp_path: Path) -> Run:
    return load_run(tmp_path / "results" / "two-sites")


def processes_of(run_id: str) -> dict[str, list[int]]:
    """Host pids of the processes of a run's labs, by the last part of what they run."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(run_id in word for word in words):
                for word in words:
                    found.setdefault(word.rpartition("/")[2], []).append(int(entry.name))
    return found


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def nothing_left(run_id: str) -> bool:
    deadline = time.monotonic() + 30
    while processes_of(run_id) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes_of(run_id) and not abandoned_labs() and not list((state_directory() / "labs").glob("*"))


def nearest_ms(tmp_path: Path) -> float:
    """The quickest call next door over routers, in a run of its own, ms."""
    calls = load_run(run(tmp_path, systems=["amqp1"])).latency
    return float(calls[calls["workload"] == "near"]["response_ms"].min())


def test_both_buses_from_scenario_to_findings(tmp_path: Path) -> None:
    result = load_run(run(tmp_path))
    assert [cell.reasons for cell in result.all_cells] == [[], []]
    findings = examine(result)
    floors = {(p.system.name, p.pair.workload): p.floor_ms for p in findings.pairs}
    rtt_ms = RTT_S * 1e3
    assert floors == {
        ("rabbitmq", "near"): pytest.approx(2 * rtt_ms),
        ("rabbitmq", "far"): pytest.approx(rtt_ms),
        ("rabbitmq", "tell"): pytest.approx(rtt_ms / 2),
        ("amqp1", "near"): 0,
        ("amqp1", "far"): pytest.approx(rtt_ms),
        ("amqp1", "tell"): pytest.approx(rtt_ms / 2),
    }
    operations = result.operations(cells=result.shown, warmup=True)
    assert len(operations) == 2 * 3 * 50
    assert set(operations["outcome"]) == {"ok"}
    calls = operations[operations["pattern"] == "rpc-call"]
    quickest = calls.groupby(["system", "workload"], observed=True)["response_ms"].min()
    for (system, workload), floor in floors.items():
        if workload != "tell":
            assert quickest[system, workload] >= floor - 0.5, "nothing is faster than its links"
    near_ms = quickest["amqp1", "near"]
    if near_ms >= rtt_ms:
        near_ms = least(lambda: nearest_ms(tmp_path / "again"), rtt_ms)
    assert near_ms < rtt_ms, "next door is near with a router there"
    ledger = result.delivery
    assert (ledger["started"] == ledger["delivered"]).all()
    assert not ledger[["lost", "duplicated", "failed"]].to_numpy().any()
    memory = result.memory
    assert {"client", "server", "bus"} <= set(memory["role"])
    assert (memory.groupby("process", observed=True)["anonymous_bytes"].max() > 1_000_000).all()
    assert nothing_left(result.id)


def send(number: signal.Signals, run_id: str, program: str) -> None:
    for pid in processes_of(run_id)[program]:
        os.kill(pid, number)


def test_packets_that_were_late_make_a_cell_invalid_or_are_told(tmp_path: Path) -> None:
    def act() -> None:
        run_id = newest(tmp_path).id
        send(signal.SIGSTOP, run_id, "links.pyz")
        time.sleep(0.5)
        send(signal.SIGCONT, run_id, "links.pyz")

    result = load_run(run(tmp_path, systems=["amqp1"], observer=Acting(act)))
    (cell,) = result.all_cells
    assert cell.state == "valid", cell.reasons
    assert cell.record is not None
    assert any("released late" in note for note in cell.record.notes), "accepted, and told"
    assert any("--lax-links" in warning for warning in result.problems)
    assert not cell.record.facts["shaper"]["valid"], "without lax links the cell would not count"


@pytest.mark.parametrize(
    ("program", "error", "says"),
    [
        ("embedded.pyz", BusFailure, "under load"),
        ("links.pyz", LinkFailure, "emulator"),
    ],
)
def test_a_part_killed_under_load_fails_the_cell(
    tmp_path: Path, program: str, error: type[HarnessError], says: str
) -> None:
    def act() -> None:
        send(signal.SIGKILL, newest(tmp_path).id, program)

    # A run that lost its distance ends, also where cells that fail are run again.
    retries = 1 if error is LinkFailure else 0
    with pytest.raises(CellsFailed, match=says) as caught:
        run(tmp_path, systems=["amqp1"], observer=Acting(act), retries=retries)
    assert isinstance(caught.value.__cause__, error)
    result = newest(tmp_path)
    assert result.state == "failed"
    assert result.latency.empty, "a failed cell counts for nothing"
    assert list((result.path / "cells").glob("*/logs/*.log")), "logs are saved, also on failure"
    assert nothing_left(result.id)


class ActingAt(Silent):
    """Does something once, when it is told of a phase whose words contain `words`."""

    def __init__(self, words: str, action: Callable[[], None]) -> None:
        self._words = words
        self._action = action
        self._done = False

    def phase(self, cell: str, text: str) -> None:
        if self._words in text and not self._done:
            self._done = True
            self._action()


DOSES: dict[str, Any] = {
    "workloads": {},
    "load": {},
    "memory": {
        "client": "edge",
        "server": "core",
        "repetitions": 1,
        "blocks": 6,
        "doses": {"call": {"kind": "call", "count": 2000}},
    },
}


@pytest.mark.parametrize(("when", "changes"), [("connecting clients", {}), ("process 1 of 1", DOSES)])
def test_links_lost_while_nothing_is_loaded_fail_the_cell(tmp_path: Path, when: str, changes: dict[str, Any]) -> None:
    """It is the links that are named, not the client that waited for them."""

    def act() -> None:
        send(signal.SIGKILL, newest(tmp_path).id, "links.pyz")

    with pytest.raises(CellsFailed, match="emulator") as caught:
        run(tmp_path, systems=["amqp1"], observer=ActingAt(when, act), **changes)
    assert isinstance(caught.value.__cause__, LinkFailure)
    result = newest(tmp_path)
    assert result.state == "failed"
    assert nothing_left(result.id)
