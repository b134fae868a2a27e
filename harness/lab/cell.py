"""Carries out one cell: nested scopes, each of which removes what it made, whatever happens inside.

runtime: nodes and network
  links: shaped, read back, probed
    buses: started, whole
      samplers and agents: started, prepared
        load: go, watched once a second, drained
      records fetched, agents stopped
    links: probed again
everything removed; the first error is the one that is shown
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.agent.clock import clock_facts
from harness.analysis.delivery import DELIVERY_NEEDS, OPERATION_NEEDS, take_ledger
from harness.analysis.leak import State
from harness.bus.protocol import Bus
from harness.bus.readiness import log_tail
from harness.bus.registry import make_bus
from harness.errors import BusFailure, HarnessError, LinkFailure
from harness.lab.agents import AgentHandle, AgentReport, SamplerHandle, build_agent_archive, in_parallel
from harness.lab.arrivals import Arrivals
from harness.lab.calm import probe_when_calm
from harness.lab.casualties import Casualties
from harness.lab.crew import crew, patience_s, sampled_lightly
from harness.lab.disruption import Disruption, process_event
from harness.lab.guard import LinkGuard
from harness.lab.load import LoadWatch
from harness.lab.memory import MemoryBench, run_doses
from harness.lab.observer import Observer
from harness.lab.player import link_event, link_player, moments, playing
from harness.links.envelope import LATE, meanwhile
from harness.links.in_force import require_in_force
from harness.links.measurement import LinkMeasurement, LinkVerdict, judge
from harness.links.probe import probe_links
from harness.links.protocol import LinkShaper
from harness.links.registry import choose_shaper
from harness.plan.cell import AgentPlan, CellPlan
from harness.plan.timeline import after_all
from harness.runtime.protocol import NodeProcess, Runtime
from harness.runtime.registry import make_runtime
from harness.stack.build import StackEnvironment
from harness.store import facts
from harness.store.cell import read_columns
from harness.store.layout import DELIVERIES, LOGS, OPERATIONS
from harness.store.schema import CellState
from harness.store.writer import CellWriter

__all__ = ["CellSettings", "run_cell"]

_RECORDS = "records.bin"


@dataclass(frozen=True, slots=True)
class CellSettings:
    """What a cell needs beside its plan.

    Attributes:
        run_id: identity of the run.
        runtime: name of the runtime.
        links: name of the link backend, or "auto".
        environments: built stacks by name.
        stack_env: environment variables of each stack's processes, by stack name.
        bus_timeout_s: how long a bus may take to be whole.
        lax_links: whether links that are slower than declared, and packets that were late, are told instead of refused.
    """

    run_id: str
    runtime: str
    links: str
    environments: Mapping[str, StackEnvironment]
    stack_env: Mapping[str, Mapping[str, str]]
    bus_timeout_s: float = 120.0
    lax_links: bool = False


@dataclass(frozen=True, slots=True)
class CellEnd:
    """How a cell that was carried out ended.

    Attributes:
        state: what its record says.
        told: the state in words, with the verdict of a memory cell.
        reasons: why it is not valid.
        disturbed: what of `reasons` was this machine's doing, so that another attempt may fare better.
        accepted: what lax links let pass.
    """

    state: CellState
    told: str
    reasons: tuple[str, ...] = ()
    disturbed: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()


def run_cell(plan: CellPlan, settings: CellSettings, writer: CellWriter, observer: Observer) -> CellEnd:
    """Carry out a cell and finish its record as valid, degraded or invalid.

    Raises:
        HarnessError: the cell could not be carried out; what was recorded until then is kept by the writer.
        KeyboardInterrupt: likewise.
    """
    return _Cell(plan, settings, writer, observer).run()


class _Cell:
    def __init__(self, plan: CellPlan, settings: CellSettings, writer: CellWriter, observer: Observer) -> None:
        self.plan = plan
        self.settings = settings
        self.writer = writer
        self.observer = observer
        self.invalid: list[str] = []
        self.disturbed: list[str] = []
        self.late: list[str] = []
        self.accepted: list[str] = []
        self.casualties = Casualties(plan, writer, observer)
        self.samplers: dict[str, SamplerHandle] = {}
        self.shaper: LinkShaper
        self.guard: LinkGuard
        self.load_evidence: dict[str, Any] | None = None
        self.lab: Runtime

    def say(self, text: str) -> None:
        self.observer.phase(self.plan.id, text)

    def run(self) -> CellEnd:
        self.say("making nodes and network")
        with make_runtime(self.settings.runtime, self.settings.run_id, self.writer.path / LOGS) as lab:
            self.lab = lab
            lab.open(self.plan.lab)
            self.writer.set(facts.RUNTIME, dict(lab.facts()))
            memory = None
            with _explained(lab.check), self._links() as networked:
                if self.plan.memory is not None:
                    with self._buses() as buses, self._archive() as archive:
                        memory = self._doses(buses, archive)
                else:
                    with (
                        self._buses() as buses,
                        self._archive() as archive,
                        self._agents(archive) as agents,
                        self._samplers(archive, agents, buses) as watch,
                    ):
                        self._load(agents, watch, buses)
                if networked:
                    self.say("probing links again")
                    self._probe(facts.LINKS_AFTER)
            self.say("removing nodes and network")
        return self._judge() if memory is None else self._judge_doses(memory)

    def _doses(self, buses: Mapping[str, Bus], archive: Mapping[str, str]) -> State:
        """A memory cell: doses instead of load, and verdicts instead of a ledger."""
        settings = self.settings
        bench = MemoryBench(
            self.lab, self.shaper, self.guard, buses, archive, settings.environments, settings.stack_env
        )
        return run_doses(self.plan, bench, self.writer, self.observer).state

    # -- links ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _links(self) -> Iterator[bool]:
        self.say("shaping links")
        self.shaper = choose_shaper(self.lab, self.settings.links)
        try:
            self.shaper.apply(self.lab, self.plan.lab.links)
            require_in_force(self.shaper, self.plan.lab.links)
            networked = self.shaper.name != "fake"
            if networked:
                self.say("probing links")
                off = self._off_before()
                if off:
                    raise LinkFailure(
                        "the cell does not run, its links are not as declared: "
                        + "; ".join(f"{v.source} -> {v.target}: {v.why}" for v in off),
                        where=f"link {off[0].link}",
                        expected="a median round trip within max(5 %, 1 ms) of the declared one",
                        remedy="use a quieter machine; the emulator's lateness is in the result",
                    )
            with LinkGuard(self.shaper.check) as self.guard, _explained(self.lab.check, self.guard.check):
                yield networked
        finally:
            with _reported(self.writer, "the link shaper's evidence"):
                evidence = {"name": self.shaper.name, **self.shaper.evidence(), "load": self.load_evidence}
                judged = self.load_evidence or evidence
                self.writer.set(facts.SHAPER, {**evidence, "valid": judged["valid"], "why": judged["why"]})
            self.shaper.close()

    def _off_before(self) -> list[LinkVerdict]:
        """The links with which the cell must not run."""
        if self.settings.lax_links:
            verdicts: Sequence[LinkVerdict] = self._probe(facts.LINKS_BEFORE)
            self._tell_slow(f"{v.source} -> {v.target}: {v.why}" for v in verdicts if v.slow)
            return [verdict for verdict in verdicts if verdict.off and not verdict.slow]
        verdicts, attempts = probe_when_calm(lambda: self._probe(facts.LINKS_BEFORE), self.shaper.evidence, self.say)
        self.writer.set(facts.LINKS_PROBED, attempts)
        return [verdict for verdict in verdicts if verdict.off]

    def _tell_slow(self, reasons: Iterable[str]) -> None:
        for reason in reasons:
            self.accepted.append(reason)
            self.writer.note(f"links slower than declared were accepted (--lax-links): {reason}")

    def _probe(self, fact: str) -> tuple[LinkVerdict, ...]:
        measurement: LinkMeasurement = probe_links(self.lab, self.plan.lab)
        links = self.plan.lab.links
        verdicts = judge(measurement, after_all(links, self.plan.changes) if fact == facts.LINKS_AFTER else links)
        self.writer.set(fact, _link_facts(verdicts))
        self.observer.links(self.plan.id, {(v.source, v.target): v.measured_s for v in verdicts})
        self.writer.set(f"{fact}_probes", measurement.to_json())
        if fact == facts.LINKS_AFTER:
            for v in verdicts:
                if v.off:
                    (self.late if v.slow else self.disturbed).append(
                        f"link {v.source} -> {v.target} after load: {v.why}"
                    )
        return verdicts

    # -- buses ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _buses(self) -> Iterator[Mapping[str, Bus]]:
        pythons = {name: str(environment.python) for name, environment in self.settings.environments.items()}
        buses: dict[str, Bus] = {}
        with contextlib.ExitStack() as scope:
            for bus_plan in self.plan.buses:
                self.say(f"starting {bus_plan.kind}" + (f" {bus_plan.name}" if bus_plan.name != "main" else ""))
                bus = make_bus(bus_plan.kind, pythons)
                scope.callback(bus.stop)
                bus.start(self.lab, bus_plan, timeout_s=self.settings.bus_timeout_s)
                buses[bus_plan.name] = bus
            self.writer.set(facts.BUSES, {name: dict(bus.facts()) for name, bus in buses.items()})
            yield buses

    # -- agents -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _archive(self) -> Iterator[Mapping[str, str]]:
        """The agent archive in every node: its path by node."""
        with tempfile.TemporaryDirectory() as scratch:
            archive = build_agent_archive(Path(scratch, "agent.pyz"))
            yield {node.name: self.lab.put(node.name, archive, archive.name) for node in self.plan.lab.nodes}

    @contextlib.contextmanager
    def _agents(self, archive: Mapping[str, str]) -> Iterator[Mapping[int, AgentHandle]]:
        plans, settings = self.plan.agents, self.settings
        self.say(f"starting {len(plans)} agents")
        with crew(self.lab, plans, archive, settings.environments, settings.stack_env) as agents:
            try:
                yield agents
            finally:
                self.say("stopping agents")

    def _prepare(self, agents: Mapping[int, AgentHandle], buses: Mapping[str, Bus]) -> None:
        def prepare(plan: AgentPlan) -> None:
            record = f"{self.lab.workdir(plan.node)}/{plan.name}.{_RECORDS}"
            url = buses[plan.bus].url(plan.bus_node)
            agents[plan.index].prepare({**plan.task, "url": url, "record": record}, patience_s(len(self.plan.agents)))

        def end() -> None:
            for agent in agents.values():
                agent.process.signal(signal.SIGKILL)

        with self.guard.ending(end):
            for role in ("server", "client"):
                self.say(f"connecting {role}s")
                in_parallel([plan for plan in self.plan.agents if plan.role == role], prepare)

    @contextlib.contextmanager
    def _samplers(
        self, archive: Mapping[str, str], agents: Mapping[int, AgentHandle], buses: Mapping[str, Bus]
    ) -> Iterator[LoadWatch]:
        """A sampler in every node, watching its agents and its component of a bus."""
        watch = LoadWatch(self.plan)
        samplers = self.samplers
        try:
            watched: dict[str, dict[str, int]] = {node.name: {} for node in self.plan.lab.nodes}
            for plan in self.plan.agents:
                watched[plan.node][plan.name] = agents[plan.index].process.pid
            for bus in buses.values():
                for component, process in bus.processes().items():
                    watched[component][component] = process.pid
            for node, processes in watched.items():
                if processes:
                    samplers[node] = SamplerHandle.start(self.lab, node, archive[node], watch.sample)
            self._prepare(agents, buses)
            lightly = sampled_lightly(self.plan.agents)
            for node, sampler in samplers.items():
                sampler.watch(watched[node], lightly=lightly)
            if lightly:
                self.writer.note(f"{len(lightly)} forked agents were sampled for CPU alone, not for memory")
            yield watch
            for sampler in samplers.values():
                for error in sampler.errors:
                    self.writer.note(f"sampler: {error.get('message')}")
        finally:
            in_parallel(samplers.values(), lambda sampler: sampler.stop())

    # -- load -------------------------------------------------------------------------------------------------------

    def _load(self, agents: Mapping[int, AgentHandle], watch: LoadWatch, buses: Mapping[str, Bus]) -> None:
        self._record_agents(agents)
        phases = self.plan.phases
        self._usage(facts.NODES_BEFORE)
        start = time.monotonic() + 0.5
        self.writer.go(
            int(start * 1e9),
            {index: int((start + agent.clock.offset_s) * 1e9) for index, agent in agents.items()},
        )
        clients = [plan.index for plan in self.plan.agents if plan.role == "client"]
        processes = {plan.name: agents[plan.index].process for plan in self.plan.agents}
        disruption = Disruption(self.plan, buses, processes, self._resample, start)
        try:
            self.casualties.begin(start, lambda: disruption.down)
            in_parallel(self.plan.agents, lambda plan: self.casualties.go(plan, agents[plan.index]))
            self.say("load")
            end = start + phases.load_s
            with self._timeline(start, disruption) as check:

                def watched() -> None:
                    check()
                    self._watch(agents, watch, buses, disruption, start)

                _each_second(watched, lambda: time.monotonic() >= end)
                self.say("draining")
                deadline = end + phases.drain_s
                arrivals = Arrivals(self.writer.record().agents)

                def drained() -> bool:
                    sent = all(agents[i].finished or i in self.casualties for i in clients)
                    progress = {index: agent.progress for index, agent in agents.items()}
                    return sent and not arrivals.awaited(progress, time.monotonic())

                _each_second(watched, lambda: drained() or time.monotonic() >= deadline)
        finally:
            self._usage(facts.NODES_AFTER)
            self._fetch(agents, watch)
        self.say("reading the bus's own counters")
        with _reported(self.writer, "the bus's own counters"):
            self.writer.set(facts.BUS_METRICS_AFTER, {name: bus.metrics() for name, bus in buses.items()})

    def _resample(self, component: str, process: NodeProcess) -> None:
        """A component has been started again: it is another process now."""
        if component in self.samplers:
            self.samplers[component].watch({component: process.pid})

    def _usage(self, fact: str) -> None:
        with _reported(self.writer, "what the nodes use"):
            self.writer.set(fact, {node: dict(figures) for node, figures in self.lab.usage().items()})

    @contextlib.contextmanager
    def _timeline(self, start: float, disruption: Disruption) -> Iterator[Callable[[], None]]:
        """The timeline is carried out at its load times; what really happened is recorded, and so is what the shaper
        says of itself during the load alone. Gives what raises if a change could not be carried out."""
        before = self.shaper.evidence()
        links = link_player(self.shaper, self.plan.changes, start)

        def check() -> None:
            links.check()
            disruption.check()

        try:
            with disruption.under_way(), playing(links):
                yield check
            check()
        finally:
            self.writer.set(facts.LINK_EVENTS, [link_event(played) for played in links.played])
            self.writer.set(facts.PROCESS_EVENTS, [process_event(played) for played in disruption.played])
            for kind, told in (("link", moments(links.played)), ("process", moments(disruption.played))):
                for at_s, what in told:
                    self.writer.add_event(round((start + at_s) * 1e9), kind, what)
            with _reported(self.writer, "the link shaper's evidence of the load"):
                self.load_evidence = meanwhile(before, self.shaper.evidence())

    def _watch(
        self,
        agents: Mapping[int, AgentHandle],
        watch: LoadWatch,
        buses: Mapping[str, Bus],
        disruption: Disruption,
        start: float,
    ) -> None:
        """Everything that must still be so once a second; raises what is not. An agent that has died costs its own
        results only, unless it was the last client."""
        self.guard.check()
        self.casualties.look(agents)
        down = disruption.down
        for bus in buses.values():
            for component, process in bus.processes().items():
                if component not in down:
                    _require_alive(self.lab, component, process)
        self.writer.add_samples(watch.drain_samples())
        progress = {index: agent.progress for index, agent in agents.items()}
        self.observer.tick(self.plan.id, watch.tick(time.monotonic() - start, progress))

    def _record_agents(self, agents: Mapping[int, AgentHandle]) -> None:
        for plan in self.plan.agents:
            agent = agents[plan.index]
            self.writer.set_agent(
                plan.index,
                facts=dict(agent.facts),
                targets=[str(topic["topic"]) for topic in plan.task["topics"]],
            )
        clocks = [agent.clock for agent in agents.values()]
        self.writer.set(
            facts.CLOCK,
            {
                "shared": all(clock.shared for clock in clocks),
                "bound_s": max((clock.bound_s for clock in clocks), default=0.0),
                "controller": clock_facts(),
            },
        )

    def _fetch(self, agents: Mapping[int, AgentHandle], watch: LoadWatch) -> None:
        """Take in what was recorded, also of a cell that failed; a dead agent costs its own results only."""
        self.writer.add_samples(watch.drain_samples())
        self.say("fetching records")
        # Clients first: what they say was answered is in the records of servers, which go on meanwhile.
        reports: dict[int, AgentReport | None] = {}
        for role in ("client", "server"):
            those = [plan for plan in self.plan.agents if plan.role == role]
            told = in_parallel(those, lambda plan: self.casualties.report(plan, agents[plan.index]))
            reports.update(zip((plan.index for plan in those), told, strict=True))
        with tempfile.TemporaryDirectory() as scratch:
            for plan in self.plan.agents:
                report = reports[plan.index]
                if report is not None:
                    self.writer.set_agent(plan.index, failures=report.failures, counters=_counters(report))
                target = Path(scratch, plan.name)
                try:
                    self.lab.get(plan.node, f"{self.lab.workdir(plan.node)}/{plan.name}.{_RECORDS}", target)
                except HarnessError as error:
                    self.invalid.append(f"agent {plan.name}: its records are lost ({error.what})")
                    continue
                if plan.role == "client":
                    self.writer.add_client_records(plan.index, target)
                else:
                    self.writer.add_server_records(plan.index, target)
                target.unlink()

    # -- judgement --------------------------------------------------------------------------------------------------

    def _judge_doses(self, memory: State) -> CellEnd:
        """Valid if the links still are as declared. Packets that were late do not move what is held at rest."""
        for reason in self.late:
            self.writer.note(f"links: {reason}")
        state: CellState = "invalid" if self.disturbed else "valid"
        self.writer.finish(state, self.disturbed)
        return CellEnd(
            state,
            f"{state}, memory: {memory}",
            tuple(self.disturbed),
            disturbed=tuple(self.disturbed),
            accepted=tuple(self.accepted),
        )

    def _judge(self) -> CellEnd:
        """Valid only if links, shaper and ledger say so."""
        record = self.writer.record()
        shaper = record.facts.get(facts.SHAPER)
        if shaper is None:
            self.invalid.append("links: what the shaper did is not known, its evidence could not be read")
        elif not shaper["valid"]:
            for why in shaper["why"]:
                (self.late if why.startswith(LATE) else self.disturbed).append(f"links: {why}")
        self.writer.seal()
        ledger = take_ledger(
            self.writer.record(),
            read_columns(self.writer.path / OPERATIONS, OPERATION_NEEDS),
            read_columns(self.writer.path / DELIVERIES, DELIVERY_NEEDS),
        )
        self.invalid += list(ledger.faults)
        if self.settings.lax_links:
            self._tell_slow(self.late)
            self.late = []
        disturbed = [*self.late, *self.disturbed]
        unsound = [*disturbed, *self.invalid]
        reasons = [*unsound, *self.casualties.reasons]
        state: CellState = "invalid" if unsound else "degraded" if reasons else "valid"
        self.writer.finish(state, reasons)
        return CellEnd(state, state, tuple(reasons), tuple(disturbed), tuple(self.accepted))


def _counters(report: AgentReport) -> dict[str, Any]:
    return {
        "due": report.due or 0,
        "sent": report.sent,
        "done": report.done,
        "failed": dict(report.failed),
        "in_flight": report.in_flight,
        "starved": report.starved,
        "negative": report.negative,
        "records": report.records,
        "lost_records": report.lost_records,
    }


def _link_facts(verdicts: tuple[LinkVerdict, ...]) -> list[dict[str, Any]]:
    """One entry per pair of sites, as harness.store.facts describes it."""
    found: dict[frozenset[str], dict[str, Any]] = {}
    for verdict in verdicts:
        entry = found.setdefault(
            frozenset((verdict.source, verdict.target)),
            {
                "link": verdict.link,
                "a": verdict.source,
                "b": verdict.target,
                "declared_rtt_s": verdict.declared_s,
                "measured_rtt_s": verdict.measured_s,
                "ok": True,
                "why": "",
            },
        )
        if verdict.off:
            entry.update(ok=False, why=verdict.why)
    return list(found.values())


def _require_alive(lab: Runtime, component: str, process: NodeProcess) -> None:
    status = process.poll()
    if status is not None:
        raise BusFailure(
            f"it ended with {status} under load; its last lines:{log_tail(lab, component)}", where=component
        )


def _each_second(action: Callable[[], None], done: Callable[[], bool]) -> None:
    """Call the action about once a second until done; looks for the end five times as often."""
    upcoming = time.monotonic()
    while not done():
        if time.monotonic() >= upcoming:
            action()
            upcoming += 1.0
        time.sleep(0.2)
    action()


@contextlib.contextmanager
def _explained(*looks: Callable[[], None]) -> Iterator[None]:
    """If what everything stands on has gone, that is why things fail: it is the failure that is shown."""
    try:
        yield
    except HarnessError:
        for look in looks:
            look()
        raise


@contextlib.contextmanager
def _reported(writer: CellWriter, what: str) -> Iterator[None]:
    """Evidence that cannot be had is noted; it must not hide the result, or the failure in flight."""
    try:
        yield
    except HarnessError as error:
        writer.note(f"{what} could not be read: {error.what}")
