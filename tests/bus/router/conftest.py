"""Routers in a local lab, real and embedded, and clients that do as they are told."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.bus.router.bus import RouterBus
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import BusNodePlan, BusPlan, LabPlan, NodePlan
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import WAN, NodeProcess, Runtime
from harness.stack.build import build_stack
from harness.stack.shipped import shipped_stack

CLIENTS = Path(__file__).with_name("clients")
IPTABLES = ("iptables", "ip6tables")


def implementations() -> list[str]:
    """The embedded router always; a real one wherever there is one."""
    real = os.environ.get("HARNESS_SKROUTERD") or shutil.which("skrouterd") or shutil.which("qdrouterd")
    return ["embedded", *(["skrouterd"] if real else [])]


class Client:
    """A client process in a node: calls become JSON commands."""

    def __init__(self, process: NodeProcess, log: Callable[[], str]) -> None:
        self.process = process
        self._log = log

    def __call__(self, do: str, **arguments: Any) -> Any:
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        answer: list[bytes] = []
        reader = threading.Thread(target=lambda: answer.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(90.0)
        if not answer or not answer[0]:
            raise AssertionError(f"the client does not answer {do}: {self._log()}")
        said = json.loads(answer[0])
        assert "ok" in said, f"{do}: {said}"
        return said["ok"]

    def kill(self) -> None:
        self.process.signal(signal.SIGKILL)
        self.process.wait(5.0)


class RouterLab:
    """A lab with a router in every node, one node per site."""

    def __init__(self, runtime: Runtime, bus: RouterBus, plan: BusPlan, python: str) -> None:
        self.runtime = runtime
        self.bus = bus
        self.plan = plan
        self._python = python
        self._numbers = itertools.count(1)
        self._shared: dict[str, Client] = {}

    def url(self, node: str) -> str:
        return self.bus.url(node)

    def proton(self, node: str) -> Client:
        """The Proton client of that node; links in it need names of their own."""
        return self._keep(f"proton-{node}", lambda: self.own(node, "proton_client.py"))

    def oslo(self, node: str) -> Client:
        """The oslo.messaging client of that node; servers in it need topics of their own."""
        return self._keep(f"oslo-{node}", lambda: self.own_oslo(node))

    def _keep(self, key: str, make: Callable[[], Client]) -> Client:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def own(self, node: str, program: Literal["proton_client.py", "oslo_client.py"]) -> Client:
        """A client process nobody else uses."""
        log = f"client-{next(self._numbers)}"
        process = self.runtime.start(node, [self._python, "-I", str(CLIENTS / program)], log=log)
        return Client(process, lambda: self.runtime.log_text(log))

    def own_oslo(self, node: str, **options: Any) -> Client:
        """An oslo.messaging client with options of its own."""
        client = self.own(node, "oslo_client.py")
        client("start", url=self.url(node), **options)
        return client

    def wait_known(self, node: str, address: str, *, here: int, routers: int) -> None:
        """Until that router knows of so many receivers of its own and routers with receivers."""
        seen: list[tuple[int, int]] = []
        for _ in range(40):
            rows = self.bus.query(node, "router.address")["router.address"]
            seen = [(row["subscriberCount"], row["remoteCount"]) for row in rows if row["key"] == "M" + address]
            if seen == [(here, routers)]:
                return
            time.sleep(0.1)
        raise AssertionError(f"{node} knows {seen} of {address}, not {here} here and {routers} routers")

    def cut(self, a: str, b: str) -> None:
        self._rule("-I", a, b)

    def heal(self, a: str, b: str) -> None:
        self._rule("-D", a, b)

    def _rule(self, action: str, a: str, b: str) -> None:
        one, other = self.runtime.interface(f"at-{a}"), self.runtime.interface(f"at-{b}")
        for program in IPTABLES:
            for source, target in ((one, other), (other, one)):
                done = self.runtime.run(WAN, [program, action, "FORWARD", "-i", source, "-o", target, "-j", "DROP"])
                assert done.returncode == 0, done.stderr


@contextmanager
def router_lab(
    logs: Path,
    python: str,
    implementation: str,
    edges: Sequence[tuple[str, str]],
    edge_routers: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Iterator[RouterLab]:
    """Routers joined as said (the first of a pair connects), each at a site of its own."""
    names = sorted({name for edge in edges for name in edge})
    sites = site_plans({f"at-{name}": Site() for name in names})
    nodes = tuple(
        NodePlan(name, site.name, "bus", *next(node_addresses(site))) for name, site in zip(names, sites, strict=True)
    )
    routers = tuple(
        BusNodePlan(name, f"at-{name}", tuple(b for a, b in edges if a == name), edge=name in edge_routers)
        for name in names
    )
    plan = BusPlan("main", "router", routers, {"implementation": implementation, **(options or {})})
    with LocalRuntime(f"router-{implementation}", logs) as runtime:
        runtime.open(LabPlan(sites, nodes, ()))
        for program in IPTABLES:
            runtime.run(WAN, [program, "-P", "FORWARD", "ACCEPT"])
        bus = RouterBus(python)
        try:
            bus.start(runtime, plan, timeout_s=60.0)
            yield RouterLab(runtime, bus, plan, python)
        finally:
            bus.stop()


@pytest.fixture(scope="session")
def amqp_python() -> str:
    """A Python with oslo.messaging 14.7.3, its amqp1 driver and Proton; built once into the cache of stacks."""
    return str(build_stack(shipped_stack("oslo-14.7.3-amqp1")).python)


@pytest.fixture(scope="session", params=implementations())
def implementation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


LINE = (("a", "b"), ("b", "c"))
#: A ring of four with a chord, and a tail: many ways round, one router behind another.
LOOPS = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("a", "c"), ("d", "e"))


@pytest.fixture(scope="session")
def line(amqp_python: str, implementation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterLab]:
    """Three routers in a line: a - b - c. Tests leave it as they found it."""
    with router_lab(tmp_path_factory.mktemp("line"), amqp_python, implementation, LINE) as lab:
        yield lab


@pytest.fixture(scope="module")
def loops(amqp_python: str, implementation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterLab]:
    """Five routers in a graph with cycles. Tests may break it if they mend it."""
    with router_lab(tmp_path_factory.mktemp("loops"), amqp_python, implementation, LOOPS) as lab:
        yield lab


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name no other test uses, for addresses, links and topics."""
    return "".join(letter if letter.isalnum() else "-" for letter in str(request.node.name))
