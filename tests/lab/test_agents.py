"""Agents through their handles: real agent processes, over the loopback adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent.records import NOBODY, STARVED, WARMUP, read_records
from harness.errors import AgentFailure
from harness.lab.agents import AgentHandle, SamplerHandle, build_agent_archive, in_parallel
from harness.plan.cell import LabPlan, NodePlan
from harness.runtime.fake import FakeRuntime

_MAY_BE_REAL_TIME = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))"

NODE = NodePlan("host", "core", "host", "127.0.0.1", "::1")


class Bench:
    """A fake lab of one node with the agent archive in it."""

    def __init__(self, lab: FakeRuntime, directory: Path) -> None:
        self.lab = lab
        self.url = f"loopback://{directory}/sockets"
        self.archive = lab.put("host", build_agent_archive(directory / "agent.pyz"), "agent.pyz")
        self.handles: list[AgentHandle] = []

    def agent(self, name: str) -> AgentHandle:
        handle = AgentHandle.start(self.lab, "host", name, sys.executable, self.archive)
        self.handles.append(handle)
        handle.hello()
        return handle

    def task(self, number: int, role: str, **more: Any) -> dict[str, Any]:
        name = f"{role}-{number}"
        return {
            "agent": number,
            "name": name,
            "role": role,
            "adapter": "loopback",
            "pattern": "rpc-call",
            "url": self.url,
            "topics": [{"topic": "t", "server": None}],
            "server": name if role == "server" else "",
            "schedule": {"kind": "constant", "rate_per_s": 100.0} if role == "client" else {},
            "warmup_s": 0.2,
            "duration_s": 0.8,
            "payload": {"kind": "fixed", "bytes": 64},
            "workers": 4,
            "record": f"{self.lab.workdir('host')}/{name}.rec",
            **more,
        }

    def records(self, name: str) -> list[Any]:
        return list(read_records(f"{self.lab.workdir('host')}/{name}.rec"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with FakeRuntime("agents", tmp_path / "logs") as lab:
        lab.open(LabPlan((), (NODE,), ()))
        bench = Bench(lab, tmp_path)
        try:
            yield bench
        finally:
            in_parallel(bench.handles, AgentHandle.stop)


def test_hello_tells_who_is_there(bench: Bench) -> None:
    agent = bench.agent("a")
    assert agent.facts["pid"] == agent.process.pid
    assert agent.facts["python"].startswith("3.")
    assert agent.clock.shared
    assert agent.clock.offset_s == 0


def test_clock_exchange_finds_a_shared_clock_shared(bench: Bench) -> None:
    agent = bench.agent("a")
    agent.facts = {**agent.facts, "boot_id": "of another machine"}
    clock = agent._read_clock(5.0)
    assert not clock.shared
    assert abs(clock.offset_s) <= clock.bound_s < 5.0


def test_only_a_client_with_due_instants_goes_before_others(bench: Bench) -> None:
    """Its threads do, also those the client library starts, where a process may; else it is told why not."""
    client = bench.agent("open")
    client.prepare(bench.task(1, "client", url=""))
    granted = client.facts["scheduling"]
    threads = [int(path.name) for path in Path(f"/proc/{client.process.pid}/task").iterdir()]
    if subprocess.run([sys.executable, "-c", _MAY_BE_REAL_TIME], check=False).returncode == 0:
        assert granted == {"class": "SCHED_RR", "priority": 10}
        assert sum(os.sched_getscheduler(thread) == os.SCHED_RR for thread in threads) >= 2
    else:
        assert (granted["class"], granted["priority"]) == ("SCHED_OTHER", 0)
        assert "refused" in granted
    for name, task in (
        ("closed", bench.task(2, "client", url="", schedule={"kind": "closed"})),
        ("server", bench.task(3, "server")),
    ):
        agent = bench.agent(name)
        agent.prepare(task)
        assert agent.facts["scheduling"] is None
        assert os.sched_getscheduler(agent.process.pid) == os.SCHED_OTHER


def test_what_is_set_aside_for_the_load_is_seen_by_readings(bench: Bench) -> None:
    agent = bench.agent("a")
    agent.prepare(bench.task(1, "client", url="", schedule={"kind": "closed"}))
    assert agent.inspect("types")["types"]["function"] > 1000
    other = bench.agent("b")
    other.prepare(bench.task(2, "client", url="", schedule={"kind": "closed"}))
    assert other.quiesce(5.0)["reading"]["objects"] > 10_000


def test_every_operation_is_recorded_on_both_sides(bench: Bench) -> None:
    server, client = bench.agent("server-0"), bench.agent("client-1")
    server.prepare(bench.task(0, "server"))
    assert client.prepare(bench.task(1, "client"))
    start = time.monotonic() + 0.1
    server.go(start)
    client.go(start)
    assert client.wait_finished(20.0)
    report = client.report()
    assert (report.due, report.sent, report.done, report.failed) == (100, 100, 100, {})
    assert report.records == 100
    assert server.report().sent == 100
    sent, received = bench.records("client-1"), bench.records("server-0")
    assert sorted(record.seq for record in sent) == list(range(100))
    assert {(record.peer, record.seq, record.due) for record in received} == {(1, r.seq, r.due) for r in sent}
    assert {record.peer for record in sent} == {0}
    assert {record.size for record in sent + received} == {64}
    for record in sent + received:
        assert bool(record.flags & WARMUP) == (record.due < int(start * 1e9) + 200_000_000)
        assert record.due <= record.mid <= record.done


def test_progress_is_told_while_it_runs(bench: Bench) -> None:
    client = bench.agent("client-1")
    client.prepare(bench.task(1, "client", url="", duration_s=2.3))
    client.go(time.monotonic())
    assert client.wait_finished(20.0)
    assert client.progress["done"] == client.progress["due"] == 250


def test_a_stretch_follows_a_stretch_and_numbers_go_on(bench: Bench) -> None:
    client = bench.agent("client-1")
    client.prepare(bench.task(1, "client", url="", schedule={"kind": "closed"}))
    for _ in range(3):
        client.go(time.monotonic(), count=50)
        assert client.wait_finished(20.0)
        assert client.quiesce(5.0)["drained"]
    assert client.report().sent == 150
    assert sorted(record.seq for record in bench.records("client-1")) == list(range(150))


def test_a_raising_server_is_a_failure_with_a_name(bench: Bench) -> None:
    server, client = bench.agent("server-0"), bench.agent("client-1")
    server.prepare(bench.task(0, "server", behaviour={"raise_fraction": 1.0}))
    client.prepare(bench.task(1, "client"))
    client.go(time.monotonic(), count=20)
    assert client.wait_finished(20.0)
    report = client.report()
    assert report.failed == {"call:RemoteFault.Refused": 20}
    assert report.failures == ("call:RemoteFault.Refused",)
    assert {record.status for record in bench.records("client-1")} == {1}
    assert server.report().failed == {"serve:Refused": 20}


def test_nobody_listening_is_a_failure_and_has_no_peer(bench: Bench) -> None:
    client = bench.agent("client-1")
    client.prepare(bench.task(1, "client"))
    client.go(time.monotonic(), count=5)
    assert client.wait_finished(20.0)
    assert client.report().failed == {"call:NobodyListens": 5}
    assert {record.peer for record in bench.records("client-1")} == {NOBODY}


def test_a_pool_run_dry_is_told_and_counted_from_due(bench: Bench) -> None:
    server, client = bench.agent("server-0"), bench.agent("client-1")
    server.prepare(bench.task(0, "server", behaviour={"service_time": {"kind": "fixed", "seconds": 0.05}}))
    client.prepare(bench.task(1, "client", workers=1))
    client.go(time.monotonic() + 0.1, count=20)
    assert client.wait_finished(20.0)
    starved = [record for record in bench.records("client-1") if record.flags & STARVED]
    assert len(starved) == client.report().starved >= 15
    # 50 ms of service every 10 ms: the last of 20 waited for most of those before it
    assert max(record.done - record.due for record in starved) > 500_000_000


def test_a_pool_that_may_grow_does_not_run_dry(bench: Bench) -> None:
    server, client = bench.agent("server-0"), bench.agent("client-1")
    slow = {"kind": "fixed", "seconds": 0.3}
    server.prepare(bench.task(0, "server", behaviour={"service_time": slow}, workers=64))
    client.prepare(bench.task(1, "client", workers=2, most_workers=64))
    before = client.quiesce(5.0)["reading"]["threads"]
    for _ in range(2):
        client.go(time.monotonic() + 0.1)
        assert client.wait_finished(20.0)
    starved = sum(bool(record.flags & STARVED) for record in bench.records("client-1"))
    assert starved < 100, "thirty are under way at once: two workers alone would be late for nearly all of 200"
    assert client.quiesce(5.0)["reading"]["threads"] == before, "they go with their stretch"


def test_a_stalled_server_shows_in_response_times(bench: Bench) -> None:
    server, client = bench.agent("server-0"), bench.agent("client-1")
    server.prepare(bench.task(0, "server", behaviour={"stalls": [{"at_s": 0.2, "for_s": 0.4}]}))
    client.prepare(bench.task(1, "client", workers=64))
    start = time.monotonic() + 0.2
    server.go(start)
    client.go(start)
    assert client.wait_finished(20.0)
    worst = max(bench.records("client-1"), key=lambda record: record.done - record.due)
    assert worst.done - worst.due > 350_000_000


def test_fanout_and_notify_reach_who_they_should(bench: Bench) -> None:
    servers = [bench.agent(f"server-{number}") for number in (0, 2)]
    for number, server in zip((0, 2), servers, strict=True):
        server.prepare(bench.task(number, "server"))
    for number, pattern in ((1, "rpc-fanout"), (3, "notify")):
        client = bench.agent(f"client-{number}")
        client.prepare(bench.task(number, "client", pattern=pattern))
        client.go(time.monotonic(), count=10)
        assert client.wait_finished(20.0)
        assert client.report().done == 10
    assert all(server.quiesce(5.0) for server in servers)
    peers = [record.peer for server in ("server-0", "server-2") for record in bench.records(server)]
    assert peers.count(1) == 20
    assert peers.count(3) == 10


def test_a_wrong_task_is_a_failure_that_names_agent_and_key(bench: Bench) -> None:
    agent = bench.agent("a")
    with pytest.raises(AgentFailure, match=r"(?s)agent a.*failed at prepare.*TaskError.*workers"):
        agent.prepare(bench.task(1, "client", workers=0))


def test_a_dead_agent_is_a_failure_that_names_it(bench: Bench) -> None:
    agent = bench.agent("a")
    agent.prepare(bench.task(1, "client", duration_s=60.0))
    agent.go(time.monotonic())
    os.kill(agent.process.pid, signal.SIGKILL)
    with pytest.raises(AgentFailure, match=r"agent a.*died.*signal 9"):
        agent.wait_finished(20.0)
    with pytest.raises(AgentFailure, match="agent a"):
        agent.report()
    assert not agent.stop()


def test_a_stopped_agent_does_not_answer_in_time(bench: Bench) -> None:
    agent = bench.agent("a")
    os.kill(agent.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(AgentFailure, match=r"did not answer report within 0\.2 s"):
            agent.report(timeout_s=0.2)
    finally:
        os.kill(agent.process.pid, signal.SIGCONT)


def test_records_survive_the_end_of_the_controller(bench: Bench) -> None:
    agent = bench.agent("client-1")
    agent.prepare(bench.task(1, "client", url="", duration_s=60.0))
    agent.go(time.monotonic())
    time.sleep(0.3)
    agent.process.stdin.close()
    assert agent.process.wait(10.0) == 0
    assert len(bench.records("client-1")) > 10


def test_sigterm_ends_an_agent_in_order(bench: Bench) -> None:
    agent = bench.agent("client-1")
    agent.prepare(bench.task(1, "client", url="", duration_s=60.0))
    agent.go(time.monotonic())
    time.sleep(0.3)
    os.kill(agent.process.pid, signal.SIGTERM)
    assert agent.process.wait(10.0) == 0
    assert len(bench.records("client-1")) > 10


def test_the_sampler_sees_what_a_process_uses_and_that_it_goes(bench: Bench) -> None:
    samples: list[dict[str, Any]] = []
    agent = bench.agent("a")
    sampler = SamplerHandle.start(
        bench.lab, "host", bench.archive, lambda _node, message: samples.append(dict(message))
    )
    sampler.talk.tell({"interval_s": 0.1})
    sampler.watch({"a": agent.process.pid, "nothing": 2**22 + 1})
    deadline = time.monotonic() + 20
    while sum(sample.get("name") == "a" for sample in samples) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    agent.stop()
    while not any(sample["type"] == "vanished" and sample["name"] == "a" for sample in samples):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sampler.stop()
    first = next(sample for sample in samples if sample["type"] == "sample")
    assert first["pid"] == agent.process.pid
    assert first["root"] is True
    assert 4 << 20 < first["anonymous"] <= first["rss"]
    assert first["uss"] <= first["pss"] <= first["rss"]
    assert first["threads"] >= 2
    assert first["fds"] >= 3
    assert {"type": "vanished", "name": "nothing"}.items() <= next(
        sample for sample in samples if sample["name"] == "nothing"
    ).items()
