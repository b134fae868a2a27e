"""Makes runs with known figures through the real writer, from raw record files as agents write them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import NOBODY, WARMUP
from harness.model.links import Impairment
from harness.plan.cell import (
    AgentPlan,
    BusNodePlan,
    BusPlan,
    CellPlan,
    LabPlan,
    LinkPlan,
    NodePlan,
    PairPlan,
    Phases,
    SitePlan,
)
from harness.store.records import RECORD
from harness.store.writer import CellWriter, RunWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

GO_NS = 5_000_000_000_000
SITES = ("core", "edge-a", "edge-b")
RTT_S = {("core", "edge-a"): 0.020, ("core", "edge-b"): 0.080, ("edge-a", "edge-b"): 0.100}
#: name, pattern, and where the servers are ("": at the clients' own site)
WORKLOADS = (("remote-call", "rpc-call", "core"), ("local-call", "rpc-call", ""), ("events", "notify", "core"))
FAILURES = ["call:MessagingTimeout", "send:MessageDeliveryFailure"]


def rtt(a: str, b: str) -> float:
    """The declared round-trip time between two sites, seconds."""
    return 0.0 if a == b else RTT_S.get((a, b), RTT_S.get((b, a), 0.0))


@dataclass(frozen=True)
class Made:
    """What to make.

    overhead_ms and spread: latency above the floor is overhead_ms * exp(spread * normal), per operation.
    run_spread: each cell's overhead is further scaled by exp(run_spread * normal): run-to-run noise.
    faster: by system, a factor on the whole latency.
    fail, lose, double: per client, how many operations fail, accepted messages are lost, or arrive twice.
    hang: per client, how many operations, the last ones, have not ended when the drain has.
    leak_bytes_s: growth of every client process by system.
    also_at: another site with a listener, which gets every other notification.
    """

    seconds: int = 10
    warmup_s: int = 2
    rate: int = 50
    repetitions: int = 1
    systems: tuple[str, ...] = ("rabbit", "amqp1")
    seed: int = 1
    overhead_ms: float = 2.0
    spread: float = 0.2
    run_spread: float = 0.0
    faster: Mapping[str, float] = field(default_factory=dict)
    fail: int = 0
    lose: int = 0
    double: int = 0
    hang: int = 0
    leak_bytes_s: Mapping[str, float] = field(default_factory=dict)
    stand_in: bool = True
    shared_clock: bool = True
    send_delay_ms: float = 0.1
    point: Mapping[str, Any] = field(default_factory=dict)
    also_at: str = ""


def floor_s(system: str, client: str, server: str, *, round_trip: bool) -> float:
    """The least time of an operation: over the broker at core, or straight between routers."""
    one_way = (rtt(client, "core") + rtt("core", server)) / 2 if system == "rabbit" else rtt(client, server) / 2
    return one_way * (2 if round_trip else 1)


def plan(made: Made, system: str, repetition: int, order: int) -> CellPlan:
    """The plan of one cell: edge clients call servers at core and at their own edge, and send notifications to core."""
    sites = tuple(
        SitePlan(name, i, f"10.203.{i}.0/24", f"10.203.{i}.1", f"fd00:cb:{i}::/64", f"fd00:cb:{i}::1")
        for i, name in enumerate(SITES, 1)
    )
    bus_sites = ("core",) if system == "rabbit" else SITES
    bus_names = [f"{'broker' if system == 'rabbit' else 'router'}-{site}" for site in bus_sites]
    nodes = [
        NodePlan(name, site, "bus", f"10.203.{SITES.index(site) + 1}.9", f"fd00:cb:{SITES.index(site) + 1}::9")
        for name, site in zip(bus_names, bus_sites, strict=True)
    ] + [NodePlan(f"host-{site}", site, "host", f"10.203.{i}.10", f"fd00:cb:{i}::a") for i, site in enumerate(SITES, 1)]
    links = tuple(
        LinkPlan(f"{a}-{b}", source, target, Impairment(delay_s=value / 2))
        for (a, b), value in RTT_S.items()
        for source, target in ((a, b), (b, a))
    )
    agents: list[AgentPlan] = []
    pairs: list[PairPlan] = []

    def add(role: str, workload: str, pattern: str, site: str, topic: str) -> None:
        agents.append(
            AgentPlan(
                index=len(agents),
                name=f"{workload}-{role}-{site}",
                node=f"host-{site}",
                site=site,
                role=role,  # type: ignore[arg-type]
                workload=workload,
                bus="main",
                bus_node=bus_names[0] if system == "rabbit" else f"router-{site}",
                stack=f"oslo-14.7.3-{system}",
                adapter="oslo",
                task={"pattern": pattern, "topics": [{"topic": topic, "server": None}], "rate": made.rate},
            )
        )

    for workload, pattern, at in WORKLOADS:
        servers = [site for site in (at, made.also_at) if site] if at else ["edge-a", "edge-b"]
        for site in servers:
            add("server", workload, pattern, site, workload if at else f"{workload}-{site}")
        for site in ("edge-a", "edge-b"):
            topic = workload if at else f"{workload}-{site}"
            add("client", workload, pattern, site, topic)
            for server in servers if at else [site]:
                floor = floor_s(system, site, server, round_trip=pattern == "rpc-call")
                path = (site, "core", server) if system == "rabbit" else (site, server)
                pairs.append(PairPlan(workload, site, server, topic, path, floor, pattern == "rpc-call"))
    return CellPlan(
        id=f"{system}-r{repetition}",
        system=system,
        repetition=repetition,
        order=order,
        seed=1000 + order,
        point=dict(made.point),
        lab=LabPlan(sites, tuple(nodes), links),
        buses=(
            BusPlan(
                "main",
                "rabbitmq" if system == "rabbit" else "router",
                tuple(BusNodePlan(name, site) for name, site in zip(bus_names, bus_sites, strict=True)),
                seed=99,
            ),
        ),
        agents=tuple(agents),
        pairs=tuple(pairs),
        phases=Phases(made.warmup_s, made.seconds, 5.0),
        stacks=(f"oslo-14.7.3-{system}",),
    )


def plans(made: Made) -> list[CellPlan]:
    """All cells, in the order they run."""
    return [
        plan(made, system, repetition, (repetition - 1) * len(made.systems) + at)
        for repetition in range(1, made.repetitions + 1)
        for at, system in enumerate(made.systems)
    ]


def resolved(made: Made) -> str:
    """A resolved scenario; a password in it must not survive."""
    return (
        f"name: made\nload: {{warmup: {made.warmup_s}s, duration: {made.seconds}s}}\nurl: rabbit://u:hunter2@h:5672/\n"
    )


def make_run(results: Path, made: Made | None = None, *, run_id: str | None = None) -> Path:
    """Make a whole run; returns its directory."""
    made = made or Made()
    cells = plans(made)
    with RunWriter.create(
        results,
        "made",
        resolved=resolved(made),
        cells=cells,
        command=["harness", "run", "made.yaml"],
        seed=made.seed,
        run_id=run_id,
    ) as run:
        for cell_plan in cells:
            with run.cell(cell_plan) as cell:
                fill(cell, cell_plan, made, results)
                cell.finish("valid")
        run.finish("complete")
    return run.path


def fill(cell: CellWriter, cell_plan: CellPlan, made: Made, scratch: Path) -> None:
    """Everything of a cell but its final state."""
    rng = np.random.default_rng([made.seed, cell_plan.order])
    cell.go(GO_NS)
    cell.add_event(GO_NS + 3_000_000_000, "fault", "link core-edge-a cut")
    cell.set("clock", {"shared": made.shared_clock})
    stand_in = made.stand_in and cell_plan.system != "rabbit"
    implementation = "embedded" if stand_in else "real"
    cell.set("buses", {"main": {"implementation": implementation, "version": "1", "stand_in": stand_in}})
    probes = [
        {"link": f"{a}-{b}", "a": a, "b": b, "declared_rtt_s": v, "measured_rtt_s": v + 0.0002, "ok": True, "why": ""}
        for (a, b), v in RTT_S.items()
    ]
    cell.set("links_before", probes)
    cell.set("links_after", probes)
    cell.set("shaper", {"name": "nfqueue", "valid": True, "why": []})
    cell.set("stacks", {cell_plan.stacks[0]: {"python": "3.11.2", "packages": ["oslo.messaging==14.7.3"]}})
    scale = float(np.exp(made.run_spread * rng.standard_normal())) * made.faster.get(cell_plan.system, 1.0)
    inbox: dict[int, list[NDArray[np.void]]] = {agent.index: [] for agent in cell_plan.agents}
    for agent in cell_plan.agents:
        if agent.role == "client":
            records, deliveries = client_records(cell_plan, agent, made, scale, rng)
            for server, received in deliveries.items():
                inbox[server].append(received)
            cell.set_agent(agent.index, failures=FAILURES, counters=tally(records, made.hang))
            cell.add_client_records(agent.index, write(scratch / "raw.bin", records))
    for agent in cell_plan.agents:
        if agent.role == "server":
            received = np.concatenate(inbox[agent.index])
            cell.add_server_records(agent.index, write(scratch / "raw.bin", received))
    cell.add_samples(samples(cell_plan, made))


def tally(records: NDArray[np.void], hang: int) -> dict[str, Any]:
    """What the client counted itself."""
    failed = int((records["status"] != 0).sum())
    counts = {
        "sent": len(records) + hang,
        "in_flight": hang,
        "done": len(records) - failed,
        "starved": 0,
        "negative": 0,
    }
    return {**counts, "failed": {"1": failed} if failed else {}}


def client_records(
    cell_plan: CellPlan, agent: AgentPlan, made: Made, scale: float, rng: np.random.Generator
) -> tuple[NDArray[np.void], dict[int, NDArray[np.void]]]:
    """One client's raw records, and those of its messages at the servers that got them, by the servers' index."""
    pairs = [p for p in cell_plan.pairs if p.workload == agent.workload and p.client_site == agent.site]
    pair = pairs[0]
    indices = {a.site: a.index for a in cell_plan.agents if a.role == "server" and a.workload == agent.workload}
    servers = [indices[p.server_site] for p in pairs]
    count = made.rate * (made.seconds + made.warmup_s) - made.hang
    records = np.zeros(count, RECORD)
    records["seq"] = np.arange(count)
    records["peer"] = servers[0] if pair.round_trip else NOBODY
    records["due"] = GO_NS + np.arange(count) * (1_000_000_000 // made.rate)
    records["flags"] = np.where(records["due"] < GO_NS + made.warmup_s * 1_000_000_000, WARMUP, 0)
    records["size"] = 1024
    records["mid"] = records["due"] + int(made.send_delay_ms * 1e6)
    overhead = made.overhead_ms * 1e6 * np.exp(made.spread * rng.standard_normal(count))
    turn = np.arange(count) % len(pairs)
    floor = np.array([p.floor_s for p in pairs])[turn]
    latency = ((floor * 1e9 + overhead) * scale).astype(np.int64)
    records["done"] = records["mid"] + latency
    ok = np.ones(count, bool)
    ok[count - made.fail :] = made.fail == 0
    records["status"] = np.where(ok, 0, 1)
    records["peer"] = np.where(ok, records["peer"], NOBODY)

    arrived = records.copy()
    arrived["peer"] = agent.index
    arrived["status"] = 0
    arrived["mid"] = records["mid"] + (latency // 2 if pair.round_trip else latency)
    arrived["done"] = arrived["mid"] + 50_000
    found = {}
    for at, server in enumerate(servers):
        own = arrived[ok & (turn == at)]
        if not pair.round_trip:
            own = own[made.lose :]
        found[server] = np.concatenate([own, own[: made.double]])
    return records, found


def write(path: Path, records: NDArray[np.void]) -> Path:
    """A raw record file."""
    records.tofile(path)
    return path


def samples(cell_plan: CellPlan, made: Made) -> list[dict[str, Any]]:
    """1 Hz samples of every client, server and bus process: flat, or growing by leak_bytes_s."""
    rows = []
    base = {"rabbit": 37, "amqp1": 33}.get(cell_plan.system, 35) << 20
    for second in range(made.seconds + made.warmup_s + 1):
        common = {"t_ns": GO_NS + second * 1_000_000_000, "fds": 14, "threads": 9, "sockets": 2}
        for agent in cell_plan.agents:
            grown = int(made.leak_bytes_s.get(cell_plan.system, 0.0) * second) if agent.role == "client" else 0
            rows.append(
                common
                | {
                    "node": agent.node,
                    "process": agent.name,
                    "pid": 100 + agent.index,
                    "comm": "python3",
                    "role": agent.role,
                }
                | {"rss": base + (14 << 20) + grown, "pss": base + (4 << 20) + grown, "uss": base + grown}
                | {"anonymous": base - (3 << 20) + grown, "cpu_user_s": 0.1 * second, "cpu_system_s": 0.02 * second}
            )
        for bus in cell_plan.buses:
            for node in bus.nodes:
                memory = (130 if bus.kind == "rabbitmq" else 26) << 20
                rows.append(
                    common
                    | {"node": node.name, "process": node.name, "pid": 50, "comm": "bus", "role": "bus"}
                    | {"rss": memory, "pss": memory, "uss": memory, "anonymous": memory}
                    | {"cpu_user_s": 0.3 * second, "cpu_system_s": 0.1 * second}
                )
    return rows


def changed(made: Made, **changes: Any) -> Made:
    """`made` with some fields changed."""
    return replace(made, **changes)
