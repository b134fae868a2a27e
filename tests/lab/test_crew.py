"""Forked agents in whole cells, and a broker's own account of what a scenario made it do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.files import load_scenario
from harness.lab.crew import sampled_lightly
from harness.lab.observer import Silent
from harness.lab.run import RunSettings, run_scenario
from harness.store import facts
from harness.store.run import Run, load_run

#: Exchanges a RabbitMQ virtual host has from the start.
BUILT_IN = 7


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(tmp_path: Path, runtime: str, system: dict[str, Any], workloads: dict[str, Any]) -> Run:
    path = tmp_path / "scenario.yaml"
    scenario = {
        "name": "crew",
        "topology": {"name": "one", "sites": ["here"]},
        "systems": {"x": system},
        "workloads": workloads,
        "load": {"warmup": "500ms", "duration": "2s", "drain": "5s"},
    }
    path.write_text(yaml.safe_dump(scenario))
    settings = RunSettings(results=tmp_path / "results", runtime=runtime)
    return load_run(run_scenario(load_scenario(path), settings, Silent()))


def test_forked_agents_do_the_same_work_and_are_marked(tmp_path: Path) -> None:
    call = {"pattern": "rpc-call", "rate": "20/s", "servers": "here", "workers": 2}
    loopback = {"bus": {"kind": "loopback"}, "stack": "loopback"}
    workloads = {
        "forked": {**call, "clients": {"here": 6}, "processes": "fork"},
        "fresh": {**call, "clients": {"here": 1}},
    }
    result = run(tmp_path, "fake", loopback, workloads)
    (cell,) = result.all_cells
    assert cell.record is not None
    made = Counter((agent.workload, agent.processes) for agent in cell.record.agents)
    assert made == {("forked", "fork"): 7, ("fresh", "exec"): 2}
    assert len({agent.facts["pid"] for agent in cell.record.agents}) == 9
    ledger = result.delivery
    assert set(ledger["started"]) == {50}
    assert (ledger["delivered"] == 50).all()
    assert any("2 forked agents were sampled for CPU alone" in note for note in cell.record.notes)
    memory = cell.samples().groupby("process", observed=True)["anonymous"].max()
    assert memory.isna().sum() == 2
    assert cell.samples()["cpu_user_s"].notna().all()


def test_of_many_forked_agents_of_a_kind_a_few_are_sampled_in_full(tmp_path: Path) -> None:
    from harness.files import plan_run

    path = Path(__file__).parents[2] / "scenarios" / "tc1.yaml"
    cell = plan_run(load_scenario(path))[-1]
    clients = [agent.name for agent in cell.agents if agent.role == "client"]
    assert sampled_lightly(cell.agents) == frozenset(clients[4:])


def test_rabbitmq_counts_what_tc2_says_it_must(tmp_path: Path) -> None:
    """Queues = topics + 2 x servers + clients, as in the published evaluation of 2018; exchanges = 1 + topics, where it
    had 1 + topics + clients: this release answers through the default exchange, those had one per client. And two
    messages for every call."""
    clients, servers_each = 3, 2
    rabbitmq = {"bus": {"kind": "rabbitmq", "at": "here"}, "stack": "oslo-14.7.3-rabbit"}
    call = {
        "pattern": "rpc-call",
        "clients": {"here": clients},
        "servers": {"here": servers_each},
        "targets": "per-client",
        "rate": "10/s",
        "processes": "fork",
    }
    result = run(tmp_path, "local", rabbitmq, {"call": call})
    (cell,) = result.all_cells
    assert cell.record is not None
    (metrics,) = cell.record.facts[facts.BUS_METRICS_AFTER]["main"].values()
    topics, servers = clients, clients * servers_each
    assert metrics["exchanges"] - BUILT_IN == 1 + topics
    assert metrics["queues"] == topics + 2 * servers + clients
    ledger = result.delivery
    calls = int(ledger["started"].sum())
    assert calls == clients * 25
    assert int(ledger["delivered"].sum()) == calls
    received = sum(found.get("messages_received_total", 0) for found in metrics["global_counters"].values())
    assert received == 2 * calls, metrics["global_counters"]
