"""Carries out a run: builds the stacks, runs the cells one after the other, keeps what each leaves."""

from __future__ import annotations

import hashlib
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import yaml

import harness
from harness.errors import (
    BadInput,
    CellsFailed,
    HarnessError,
    InfrastructureFailure,
    Interrupted,
    MissingCapability,
    ShaperDied,
    require_known,
)
from harness.files import LoadedScenario, plan_run, scenario_from_text
from harness.lab.cell import CellEnd, CellSettings, run_cell
from harness.lab.observer import Observer
from harness.lab.pace import Pace, Standing
from harness.lab.provision import Provided, provide
from harness.lab.steal import processor_times, stolen_share
from harness.links.registry import AUTO, shapers
from harness.plan.cell import CellPlan
from harness.runtime.docker.engine import connect
from harness.runtime.docker.labels import leftovers, remove
from harness.runtime.labs import abandoned_labs, temporary_files_of
from harness.runtime.registry import choose_runtime
from harness.store import facts
from harness.store.host import host_facts
from harness.store.layout import SCENARIO, new_run_id
from harness.store.run import Run, load_run
from harness.store.writer import RunWriter, require_writable

__all__ = ["RunSettings", "resolved_text", "resume_run", "run_scenario"]

#: Facts about the machine that must be alike for a run to go on: figures of two machines do not belong in one run.
_SAME_HOST = ("kernel", "machine", "processor", "cpus", "memory_bytes")

#: So many failed cells are told of with their reasons when a run ends; the report has them all.
_TOLD = 3

#: What trying again cannot mend, or must not hide.
_LASTING = (MissingCapability, ShaperDied)

#: What the report of a run says first where lax links let anything pass.
_ACCEPTED = (
    "Links slower than declared, or late packets, were accepted (--lax-links): latencies are those of a busy machine."
    " The cells' notes say which."
)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run a scenario.

    Attributes:
        results: the results directory.
        runtime: name of the runtime, or "auto".
        links: name of the link backend, or "auto".
        systems: only these of the scenario's systems; all if empty.
        command: the command line, for the record.
        retries: how often a cell is run again that the machine, the lab, a bus or an agent let down, or whose links
            were off or late.
        lax_links: whether links slower than declared and late packets are told in the result instead of refused.
    """

    results: Path
    runtime: str = "local"
    links: str = "auto"
    systems: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    retries: int = 0
    lax_links: bool = False


def resolved_text(loaded: LoadedScenario) -> str:
    """The scenario as it runs, every default filled in and the topology in place, as YAML that can be run again."""
    data = loaded.scenario.model_dump(mode="json", exclude_none=True, by_alias=True)
    data["topology"] = loaded.topology.model_dump(mode="json", exclude_none=True, by_alias=True)
    if loaded.topologies:
        swept = [topology for topology, _ in loaded.topologies.values()]
        data["sweep"]["topology"] = [each.model_dump(mode="json", exclude_none=True, by_alias=True) for each in swept]
    named = {use.stack for system in loaded.scenario.systems.values() for use in system.uses().values()}
    named |= set(loaded.scenario.stacks)  # a sweep may go through stacks that no system names
    data["stacks"] = {
        name: loaded.stacks[name].model_dump(mode="json", exclude_none=True, exclude={"name"}) for name in sorted(named)
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def run_scenario(loaded: LoadedScenario, settings: RunSettings, observer: Observer) -> Path:
    """Run a scenario and keep its result.

    Returns:
        The result's directory.

    Raises:
        CellsFailed: some cells could not be carried out; the others were, and the result is whole but for them.
        HarnessError: the run could not begin, or not go on.
        Interrupted: the user asked to stop; what was recorded is kept and marked, and `resume_run` goes on with it.
    """
    cells = plan_run(loaded, systems=settings.systems)
    runtime, why = choose_runtime(settings.runtime)
    settings = replace(settings, runtime=runtime)
    if why:
        observer.note(why)
    _check(cells, settings)
    require_writable(settings.results)
    run_id = new_run_id(secrets.token_hex(2))
    with _signals_interrupt(), temporary_files_of(run_id):
        provided = _provide(loaded, cells, settings, observer)
        writer = RunWriter.create(
            settings.results,
            loaded.scenario.name,
            resolved=resolved_text(loaded),
            cells=provided.cells,
            command=settings.command,
            seed=loaded.scenario.seed,
            run_id=run_id,
        )
        writer.set(facts.SETTINGS, {"runtime": runtime, "links": settings.links, "systems": list(settings.systems)})
        if settings.lax_links:
            writer.set(facts.LAX_LINKS, True)
        return _carry_out(loaded, settings, provided, writer, observer)


def resume_run(path: Path, observer: Observer, *, retries: int = 0, invalid: bool = False) -> Path:
    """Go on with a run that was interrupted, killed or has failed cells: what is valid or invalid stays as it is.

    Where nothing is left to run, that is told, and nothing is done.

    Args:
        path: the run's directory, or a scenario's for its newest run.
        retries: as in RunSettings.
        invalid: whether invalid cells are run again too; what they left is kept aside, and reports list them.

    Returns:
        The result's directory.

    Raises:
        BadInput: this is not the machine, harness or scenario the run began with.
        DamagedResult: the run cannot be read.
        HarnessError, Interrupted: as run_scenario.
    """
    run = load_run(path)
    if not run.to_run(invalid=invalid):
        observer.note("nothing is left to run")
        return run.path
    loaded = _as_it_began(run)
    known = run.manifest.facts[facts.SETTINGS]
    settings = RunSettings(
        results=run.path.parent.parent,
        runtime=known["runtime"],
        links=known["links"],
        systems=tuple(known["systems"]),
        retries=retries,
        lax_links=bool(run.manifest.facts.get(facts.LAX_LINKS)),
    )
    cells = plan_run(loaded, systems=settings.systems)
    if [cell.id for cell in cells] != [cell.id for cell in run.all_cells]:
        raise BadInput(
            "this harness plans other cells for the scenario than the run has",
            where=str(run.path),
            remedy="go on with the harness the run began with, or start a new run",
        )
    _check(cells, settings)
    with _signals_interrupt(), temporary_files_of(run.id):
        writer = RunWriter.reopen(run.path, invalid=invalid)
        with writer.giving_up_on_error():
            _remove_leftovers(run.id, settings.runtime)
            provided = _provide(loaded, [cell for cell in cells if cell.id in writer.pending], settings, observer)
        return _carry_out(loaded, settings, provided, writer, observer)


def _remove_leftovers(run_id: str, runtime: str) -> None:
    """Remove what the run's killed writer left: its lock is ours now, so nobody uses it."""
    for lab in abandoned_labs():
        if lab.run_id == run_id:
            lab.destroy()
    if runtime == "docker":
        engine = connect()
        try:
            for left in leftovers(engine, run_id):
                remove(engine, left)
        finally:
            engine.close()


def _as_it_began(run: Run) -> LoadedScenario:
    """The scenario a run began with. Raises BadInput if it, the harness or the machine has changed since."""
    text, manifest, here = run.resolved, run.manifest, host_facts()
    changed = [key for key in _SAME_HOST if manifest.host.get(key) != here.get(key)]
    for what, differs in (
        ("it was made by a harness that kept no record of its settings", facts.SETTINGS not in manifest.facts),
        ("its scenario was changed after it began", hashlib.sha256(text.encode()).hexdigest() != manifest.fingerprint),
        (
            f"it began with harness {manifest.harness}, this is {harness.__version__}",
            manifest.harness != harness.__version__,
        ),
        (f"this is another machine than it began on ({', '.join(changed)})", bool(changed)),
    ):
        if differs:
            raise BadInput(
                f"the run cannot go on: {what}",
                where=str(run.path),
                remedy="start a new run; cells of unlike origin cannot be compared",
            )
    return scenario_from_text(text, str(run.path / SCENARIO))


def _provide(loaded: LoadedScenario, cells: Sequence[CellPlan], settings: RunSettings, observer: Observer) -> Provided:
    provided = provide(settings.runtime, loaded.stacks, cells, lambda what, line: observer.phase("", _line(what, line)))
    for note in provided.notes:
        observer.note(note)
    return provided


def _carry_out(
    loaded: LoadedScenario, settings: RunSettings, provided: Provided, writer: RunWriter, observer: Observer
) -> Path:
    try:
        with writer:
            observer.plan(writer.run_id, provided.cells)
            _Campaign(loaded, settings, provided, writer, observer).run()
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what was recorded is kept and marked",
            where=str(writer.path),
            remedy=f"harness resume {writer.path} goes on with it",
        ) from None
    return writer.path


def _check(cells: Sequence[CellPlan], settings: RunSettings) -> None:
    """Refuse what cannot work before anything is made. Raises BadInput."""
    require_known("link backend", settings.links, (AUTO, *shapers()))
    bus = next((bus for cell in cells for bus in cell.buses if bus.nodes), None)
    if settings.runtime == "fake" and bus is not None:
        raise BadInput(
            f"the fake runtime has no network, so it cannot carry bus {bus.name!r} of kind {bus.kind}",
            expected="a bus of kind loopback",
            remedy="--runtime local",
        )
    limited = next((node for cell in cells for node in cell.lab.nodes if node.cpus or node.memory_bytes), None)
    if settings.runtime in ("local", "fake") and limited is not None:
        raise BadInput(
            f"the {settings.runtime} runtime cannot limit what node {limited.name!r} may use",
            expected="a runtime with containers",
            remedy="--runtime docker, or leave out cpus and memory",
        )
    published = next((node for cell in cells for node in cell.lab.nodes if node.publish), None)
    if settings.runtime in ("local", "fake") and published is not None:
        raise BadInput(
            f"the {settings.runtime} runtime cannot publish ports of node {published.name!r}",
            expected="a runtime with containers",
            remedy="--runtime docker, or leave out publish",
        )


def _line(what: str, line: str) -> str:
    return f"{what}: {line}" if what else line


def _where_and_what(error: HarnessError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what


class _Campaign:
    """The cells of a run, one after the other; a failed one does not stop the others."""

    def __init__(
        self,
        loaded: LoadedScenario,
        settings: RunSettings,
        provided: Provided,
        writer: RunWriter,
        observer: Observer,
    ) -> None:
        self._provided = provided
        self._writer = writer
        self._observer = observer
        self._retries = settings.retries
        self._settings = CellSettings(
            run_id=writer.run_id,
            runtime=settings.runtime,
            links=settings.links,
            lax_links=settings.lax_links,
            environments=provided.environments,
            stack_env={name: loaded.stacks[name].env for name in provided.environments},
        )
        self._built = {
            name: {"python": environment.python_version, "packages": list(environment.freeze)}
            for name, environment in provided.environments.items()
        }
        self._pace = Pace()
        self._failures: list[tuple[str, HarnessError]] = []
        self._retried = 0
        self._began = time.monotonic()

    def run(self) -> None:
        """Run every cell. Raises CellsFailed, when all have been run, if some were let down."""
        before = self._writer.cells - len(self._provided.cells)
        for at, plan in enumerate(self._provided.cells):
            self._tell(before + at, self._provided.cells[at:])
            self._until_it_is_over(plan)
        self._tell(self._writer.cells, ())
        if self._failures:
            self._writer.finish("failed", [f"{cell}: {error}" for cell, error in self._failures])
            raise self._failed() from self._failures[0][1]
        self._writer.finish("complete")

    def _failed(self) -> CellsFailed:
        """Which cells failed, and why the first few of them did."""
        told = [f"{cell}: {_where_and_what(error)}" for cell, error in self._failures[:_TOLD]]
        if len(self._failures) > _TOLD:
            told.append(f"and {len(self._failures) - _TOLD} more")
        return CellsFailed(
            f"{len(self._failures)} of {self._writer.cells} cells failed: {'; '.join(told)}",
            where=str(self._writer.path),
            remedy=f"`harness resume {self._writer.path}` runs them again and keeps the others",
        )

    def _tell(self, done: int, left: Sequence[CellPlan]) -> None:
        left_s, at_least = self._pace.left(left)
        elapsed = time.monotonic() - self._began
        self._observer.standing(
            Standing(done, self._writer.cells, len(self._failures), self._retried, elapsed, left_s, at_least)
        )

    def _until_it_is_over(self, plan: CellPlan) -> None:
        """Run a cell; again, as often as was asked for, after an infrastructure failure or where this machine made it
        invalid. What decides is what the links were, never what the bus did in them, so that no result is chosen.

        A retry comes at once, so that the cell stays among the others of its repetition.
        """
        for left in range(self._retries, -1, -1):
            began = time.monotonic()
            try:
                end = self._run(plan)
            except HarnessError as error:
                passing = isinstance(error, InfrastructureFailure) and not isinstance(error, _LASTING)
                if left and passing:
                    self._retried += 1
                    self._observer.retry(plan.id, str(error), left)
                    continue
                # The other cells are still worth having; the failures end the run when they are done.
                self._failures.append((plan.id, error))
                self._observer.cell_ended(plan.id, "failed", [str(error)])
            else:
                self._pace.took(plan, time.monotonic() - began)
                if left and end.disturbed:
                    self._retried += 1
                    self._observer.retry(plan.id, "; ".join(end.disturbed), left)
                    continue
                if end.accepted:
                    self._writer.warn(_ACCEPTED)
                self._observer.cell_ended(plan.id, end.told, end.reasons)
            return

    def _run(self, plan: CellPlan) -> CellEnd:
        before = processor_times()
        with self._writer.cell(plan) as cell:
            cell.set(facts.STACKS, self._built)
            for note in self._provided.notes:
                cell.note(note)
            end = run_cell(plan, self._settings, cell, self._observer)
            cell.set(facts.STOLEN, round(stolen_share(before, processor_times()), 4))
        return end


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt once; later ones do not disturb the tearing down."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
