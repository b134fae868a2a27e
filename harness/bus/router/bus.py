"""AMQP 1.0 routers as the bus: one router per node, joined as the plan says, real or embedded."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from harness.bus.readiness import log_tail
from harness.bus.router.config import RouterEndpoint, router_config
from harness.bus.router.costs import shortest_costs
from harness.bus.router.implementation import Implementation, RouterProgram, put_archive, router_program
from harness.errors import BusFailure
from harness.plan.cell import BusNodePlan, BusPlan
from harness.runtime.protocol import NodeProcess, Runtime

__all__ = ["RouterBus"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: One look of the readiness probe, seconds; between two the router's process is checked.
_LOOK_S = 2.0
_ENTITIES = ("routerMetrics", "connection", "router.address", "router.link")


class RouterBus:
    """Routers joined into a graph. See `harness.bus.protocol.Bus` for the contract.

    Args:
        proton_python: path, in every node, of a Python that has `proton`; it runs the embedded router and the probe.
        endpoints: where routers listen and are reached, by name, where that is not the default ports of their nodes.

    The plan's option `implementation` ("auto", "skrouterd", "embedded") chooses the program; see `router_config` for
    the other options.
    """

    kind = "router"

    def __init__(self, proton_python: str, endpoints: Mapping[str, RouterEndpoint] | None = None) -> None:
        self._proton_python = proton_python
        self._endpoints = dict(endpoints or {})
        self._lab: Runtime | None = None
        self._plan: BusPlan | None = None
        self._programs: dict[str, RouterProgram] = {}
        self._configs: dict[str, str] = {}
        self._query: dict[str, str] = {}
        self._running: dict[str, NodeProcess] = {}
        self._stopped: set[str] = set()

    def start(self, lab: Runtime, plan: BusPlan, *, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._lab, self._plan = lab, plan
        for node in plan.nodes:
            self._endpoints.setdefault(node.name, RouterEndpoint(node.name))
        _for_each(self._prepare, plan.nodes)
        for node in plan.nodes:
            self._launch(node.name)
        costs = shortest_costs(plan.nodes)
        _for_each(lambda node: self._wait_ready(node, deadline, costs[node.name]), plan.nodes)

    def _prepare(self, node: BusNodePlan) -> None:
        lab, plan = self._opened()
        wanted: Implementation = plan.options.get("implementation", "auto")
        self._programs[node.name] = router_program(lab, node.name, wanted, self._proton_python)
        self._query[node.name] = put_archive(
            lab, node.name, ("harness.bus.router.query",), "harness.bus.router.query:main"
        )
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "router.conf")
            file.write_text(router_config(plan, node, self._endpoints))
            self._configs[node.name] = lab.put(node.name, file, f"{node.name}.conf")

    def _launch(self, component: str) -> None:
        lab, _ = self._opened()
        argv = [*self._programs[component].argv, self._configs[component]]
        self._running[component] = lab.start(component, argv, log=component)
        self._stopped.discard(component)

    def _wait_ready(self, node: BusNodePlan, deadline: float, costs: Mapping[str, int] | None = None) -> None:
        """Wait until the router answers and sees every interior router that runs, or its interior router if edge.

        Routers see each other before they know the shortest ways: with `costs` given, they are waited for as well.
        """
        lab, plan = self._opened()
        seen = "it was not asked"
        while True:
            self._check(node.name)
            left = deadline - time.monotonic()
            if left <= 0:
                raise BusFailure(
                    f"the router was not ready in time: {seen}; its last lines:{log_tail(lab, node.name)}",
                    where=node.name,
                    expected="every interior router sees every other",
                    remedy="see the routers' logs",
                )
            others = [each.name for each in plan.nodes if not each.edge and each.name not in self._stopped]
            if costs is not None:
                others = [f"{name}={costs[name]}" for name in others if name in costs and name != node.name]
            look = min(_LOOK_S, left)
            done = lab.run(
                node.name,
                self._query_argv(node.name, "wait", f"{look:.2f}", *(["--uplink"] if node.edge else others)),
                timeout_s=look + 30.0,
            )
            if done.returncode == 0:
                return
            seen = done.stderr.strip()[-300:]

    def _query_argv(self, component: str, operation: str, *arguments: str) -> list[str]:
        port = self._endpoints[component].port
        return [self._proton_python, "-I", self._query[component], operation, str(port), *arguments]

    def check(self) -> None:
        """Raise BusFailure, with its last log lines, if a router has died that nobody stopped."""
        for component in self._running:
            self._check(component)

    def _check(self, component: str) -> None:
        lab, _ = self._opened()
        status = self._running[component].poll()
        if status is not None and component not in self._stopped:
            raise BusFailure(
                f"the router ended with {status}; its last lines:{log_tail(lab, component)}", where=component
            )

    def _opened(self) -> tuple[Runtime, BusPlan]:
        if self._lab is None or self._plan is None:
            raise BusFailure("the routers have not been started")
        return self._lab, self._plan

    def url(self, component: str) -> str:
        endpoint = self._endpoints[component]
        return f"amqp://{endpoint.host}:{endpoint.port}/"

    def processes(self) -> Mapping[str, NodeProcess]:
        return dict(self._running)

    def stop_component(self, component: str, *, kill: bool) -> None:
        process = self._running[component]
        self._stopped.add(component)
        process.signal(signal.SIGKILL if kill else signal.SIGTERM)
        if process.wait(15.0) is None:
            raise BusFailure("the router does not end", where=component)

    def start_component(self, component: str, *, timeout_s: float) -> None:
        _, plan = self._opened()
        self._launch(component)
        node = next(node for node in plan.nodes if node.name == component)
        self._wait_ready(node, time.monotonic() + timeout_s)

    def metrics(self) -> Mapping[str, Any]:
        """Per running router: `metrics` (its routerMetrics row), `connections` by role, `addresses` of the mesh known
        there, `links` by type, and messages `undelivered` and `unsettled` on links. One short process per router."""
        running = [component for component, process in self._running.items() if process.poll() is None]
        return dict(zip(running, _for_each(self._metrics_of, running), strict=True))

    def query(self, component: str, *entities: str) -> dict[str, list[dict[str, Any]]]:
        """The rows a router's management has for each entity type, named without prefix ("router.node", ...).

        Raises BusFailure.
        """
        lab, _ = self._opened()
        done = lab.run(component, self._query_argv(component, "ask", *entities), timeout_s=60.0)
        if done.returncode != 0:
            self._check(component)
            raise BusFailure(f"the router does not answer: {done.stderr.strip()[-300:]}", where=component)
        tables: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
        return tables

    def _metrics_of(self, component: str) -> dict[str, Any]:
        tables = self.query(component, *_ENTITIES)
        return {
            "metrics": tables["routerMetrics"][0],
            "connections": _count(tables["connection"], "role"),
            "addresses": sum(str(row["key"]).startswith("M") for row in tables["router.address"]),
            "links": _count(tables["router.link"], "linkType"),
            "undelivered": sum(row["undeliveredCount"] or 0 for row in tables["router.link"]),
            "unsettled": sum(row["unsettledCount"] or 0 for row in tables["router.link"]),
        }

    def facts(self) -> Mapping[str, Any]:
        programs = list(self._programs.values())
        names = sorted({program.name for program in programs})
        return {
            "kind": self.kind,
            "implementation": ", ".join(names),
            "version": ", ".join(sorted({program.version for program in programs})),
            "stand_in": any(program.stand_in for program in programs),
            "components": {
                component: {
                    "implementation": program.name,
                    "version": program.version,
                    **({} if program.stand_in else {"program": program.argv[0]}),
                }
                for component, program in self._programs.items()
            },
        }

    def stop(self) -> None:
        for component, process in self._running.items():
            self._stopped.add(component)
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10.0
        for process in self._running.values():
            if process.wait(max(0.1, deadline - time.monotonic())) is None:
                process.signal(signal.SIGKILL)
                process.wait(5.0)
        self._running.clear()


def _for_each(call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call for all items at once, in threads; the first error is raised when all have ended."""
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(items))) as pool:
        return list(pool.map(call, items))


def _count(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(row[key])] = counts.get(str(row[key]), 0) + 1
    return counts
