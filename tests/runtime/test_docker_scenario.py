"""A whole run in containers: images, limits, a broker, clients, figures, and the commands around it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runtime.docker.labels import leftovers
from harness.store.run import load_run
from tests.runtime.docker_engine import engine_or_skip

ROOT = Path(__file__).parents[2]

SCENARIO = """
name: containers
topology:
  name: two
  sites: [core, edge]
  links: {l: {between: [core, edge], rtt: 20ms}}
systems:
  rabbitmq:
    bus: {kind: rabbitmq, at: core, cpus: 1.5, memory: 1GiB}
    stack: oslo-14.7.3-rabbit
hosts: {memory: 512MiB}
workloads:
  call:
    pattern: rpc-call
    clients: {edge: 1}
    servers: {core: 1}
    rate: 10/s
load: {warmup: 1s, duration: 4s, drain: 5s}
"""


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.timeout(900)  # images are built first where they are missing
def test_a_scenario_runs_in_containers(tmp_path: Path) -> None:
    engine = engine_or_skip()
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO)
    done = harness("run", scenario, "--runtime", "auto", "--lax-links", "--results", tmp_path / "results", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr
    assert any("runtime docker" in json.dumps(event) for event in events)
    run = load_run(events[-1]["path"])
    (cell,) = run.cells.to_dict("records")
    assert cell["state"] == "valid"
    ledger = run.cell(str(cell["cell"]))
    facts = ledger.record.facts if ledger.record is not None else {}
    assert facts["runtime"]["runtime"] == "docker"
    assert set(facts["runtime"]["images"]) == {"wan", "broker-core", "host-core", "host-edge"}
    assert facts["nodes_after"]["broker-core"]["cpu_s"] > facts["nodes_before"]["broker-core"]["cpu_s"]
    assert facts["stacks"]["oslo-14.7.3-rabbit"]["python"].startswith("3.")
    assert "oslo.messaging==14.7.3" in facts["stacks"]["oslo-14.7.3-rabbit"]["packages"]
    counters = [dict(agent.counters) for agent in ledger.agents.values() if agent.role == "client"]
    assert sum(one["done"] for one in counters) == 50
    logs = {path.name for path in (ledger.path / "logs").iterdir()}
    assert {"broker-core.log", "links.log", "containers.csv"} <= logs
    assert leftovers(engine, run.id) == []
    engine.close()
    listed = harness("images", "list").stdout
    assert "stack" in listed
    assert "tools" in listed
    assert "would remove" in harness("images", "prune", "--dry-run").stdout


def test_limits_are_refused_where_nothing_can_keep_them(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO)
    done = harness("run", scenario, "--runtime", "local", "--results", tmp_path)
    assert done.returncode == 2
    assert "cannot limit" in done.stderr


def test_ports_are_not_published_where_nothing_can(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        SCENARIO.replace("cpus: 1.5, memory: 1GiB", "publish: {15672: 15672}").replace("hosts: {memory: 512MiB}\n", "")
    )
    done = harness("run", scenario, "--runtime", "local", "--results", tmp_path)
    assert done.returncode == 2
    assert "cannot publish ports of node 'broker-core'" in done.stderr


def test_doctor_says_what_this_machine_can_do() -> None:
    done = harness("doctor", "scenarios/quickstart.yaml", "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 0, done.stderr
    assert {"kernel", "memory", "runtime local", "runtime docker", "disk for results"} <= set(found)
    assert all(one["remedy"] for one in found.values() if one["state"] == "missing")
    assert {"docker: links by nfqueue", "docker: traffic between sites"} <= set(found) or "docker: links" in found
