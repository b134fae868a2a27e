"""A lab with a RabbitMQ broker and an AMQP 1.0 router in it, and agents in their stacks, for the adapters' tests."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.agent.records import Record, read_records
from harness.bus.rabbitmq import RabbitmqBus
from harness.bus.router.bus import RouterBus
from harness.lab.agents import AgentHandle, AgentReport, build_agent_archive, in_parallel
from harness.lab.conversation import Conversation
from harness.lab.fleet import FleetHandle
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import BusNodePlan, BusPlan, LabPlan, NodePlan
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import Runtime
from harness.stack.build import build_stack
from harness.stack.shipped import shipped_stack


class Rig:
    """The lab, its buses, and one stack and adapter to test in it."""

    def __init__(self, lab: Runtime, archive: str, urls: Mapping[str, str], rabbit: RabbitmqBus) -> None:
        self.lab = lab
        self.rabbit = rabbit
        self.archive = archive
        self.urls = urls
        self.handles: list[AgentHandle] = []
        self.fleets: dict[tuple[str, str], FleetHandle] = {}
        self.cases = 0

    def use(self, adapter: str, stack: str, driver: str) -> None:
        """Choose what the next agents are; topics of one case never meet those of another."""
        self.cases += 1
        self.adapter, self.stack, self.driver = adapter, shipped_stack(stack), driver

    def task(self, number: int, role: str, **more: Any) -> dict[str, Any]:
        """A task with sensible values."""
        name = f"case{self.cases}-{role}-{number}"
        url = self.urls[self.driver]
        return {
            "agent": number,
            "name": name,
            "role": role,
            "adapter": self.adapter,
            "driver": self.driver,
            "pattern": "rpc-call",
            "url": f"{url}/case{self.cases}" if self.driver == "none" else url,
            "exchange": "contract",
            "topics": [{"topic": f"case{self.cases}", "server": None}],
            "server": f"server-{number}" if role == "server" else "",
            "schedule": {"kind": "closed"} if role == "client" else {},
            "duration_s": 30.0,
            "timeout_s": 10.0,
            "payload": {"kind": "fixed", "bytes": 100},
            "workers": 4,
            "seed": 7,
            "record": f"{self.lab.workdir('host')}/{name}.rec",
            **more,
        }

    def start(self, tasks: Sequence[Mapping[str, Any]]) -> list[AgentHandle]:
        """Agents for these tasks, prepared, servers first."""
        fleet = self._fleet()
        handles = [fleet.spawn(task["name"]) for task in tasks]
        self.handles += handles
        for role in ("server", "client"):
            in_parallel(
                [(handle, task) for handle, task in zip(handles, tasks, strict=True) if task["role"] == role],
                lambda pair: pair[0].prepare(pair[1]),
            )
        return handles

    def _fleet(self) -> FleetHandle:
        """The fleet of the stack and adapter in use: agents are forked, so that a case costs little."""
        use = (self.stack.name, self.adapter)
        if use not in self.fleets:
            name = f"fleet-{self.stack.name}-{self.adapter}"
            python = str(build_stack(self.stack).python)
            self.fleets[use] = FleetHandle(
                self.lab, "host", name, python, self.archive, self.adapter, self.driver, env=self.stack.env
            )
        return self.fleets[use]

    @contextlib.contextmanager
    def relayed(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """A URL that leads to the bus through a relay, and what ends all connections that use it."""
        url = urlsplit(self.urls[self.driver])
        log = f"relay-{self.cases}"
        process = self.lab.start("host", [self.lab.python, self.archive, "relay"], log=log)
        talk = Conversation(log, process, log_tail=lambda: self.lab.log_text(log), unasked=lambda message: None)
        port = talk.ask("open", 15.0, host=url.hostname, port=url.port or 5672)["port"]
        credentials = url.netloc.rpartition("@")[0]
        netloc = (f"{credentials}@" if credentials else "") + f"127.0.0.1:{port}"
        try:
            yield url._replace(netloc=netloc).geturl(), lambda: talk.ask("hangup", 15.0)
        finally:
            talk.end(2.0)

    def perform(self, client: AgentHandle, count: int) -> AgentReport:
        """Let a client perform so many operations, and its account."""
        client.go(time.monotonic(), count=count)
        assert client.wait_finished(60.0)
        return client.report()

    def received(self, servers: AgentHandle | Sequence[AgentHandle], count: int) -> list[Record]:
        """The records of one or several servers, once there are so many (or after 10 s)."""
        group = [servers] if isinstance(servers, AgentHandle) else servers
        deadline = time.monotonic() + 10.0
        while sum(server.report().records for server in group) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return [record for server in group for record in self.records(server)]

    def records(self, agent: AgentHandle) -> list[Record]:
        """An agent's records so far."""
        agent.report()
        return list(read_records(f"{self.lab.workdir('host')}/{agent.name}.rec"))

    def stop(self) -> None:
        """End all agents."""
        handles, self.handles = self.handles, []
        in_parallel(handles, AgentHandle.stop)


@pytest.fixture(scope="session")
def lab_with_buses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp("buses")
    sites = site_plans({"core": Site()})
    addresses = node_addresses(sites[0])
    nodes = tuple(
        NodePlan(name, "core", "host" if name == "host" else "bus", *next(addresses))
        for name in ("broker", "router", "host")
    )
    proton = build_stack(shipped_stack("proton"))
    rabbit, router = RabbitmqBus(), RouterBus(str(proton.python))
    os.environ.setdefault("XDG_STATE_HOME", str(directory / "state"))
    with LocalRuntime("adapters", directory / "logs") as lab:
        lab.open(LabPlan(sites, nodes, ()))
        rabbit.start(lab, BusPlan("rabbit", "rabbitmq", (BusNodePlan("broker", "core"),)), timeout_s=90.0)
        router.start(lab, BusPlan("router", "router", (BusNodePlan("router", "core"),)), timeout_s=60.0)
        archive = lab.put("host", build_agent_archive(directory / "agent.pyz"), "agent.pyz")
        urls = {
            "rabbit": rabbit.url("broker"),
            "amqp1": router.url("router"),
            "none": f"loopback://{lab.workdir('host')}/sockets",
        }
        rig = Rig(lab, archive, urls, rabbit)
        yield rig
        in_parallel(rig.fleets.values(), FleetHandle.stop)
        router.stop()
        rabbit.stop()


@pytest.fixture
def rig(lab_with_buses: Rig) -> Iterator[Rig]:
    yield lab_with_buses
    lab_with_buses.stop()
