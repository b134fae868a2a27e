"""Carries out a run: builds the stacks, runs the cells one after the other, keeps what each leaves."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import yaml

from harness.errors import BadInput, HarnessError, Interrupted, require_known
from harness.files import LoadedScenario, plan_run
from harness.lab.cell import CellSettings, run_cell
from harness.lab.observer import Observer
from harness.lab.provision import Provided, provide
from harness.links.registry import AUTO, shapers
from harness.plan.cell import CellPlan
from harness.runtime.labs import temporary_files_of
from harness.runtime.registry import choose_runtime
from harness.store import facts
from harness.store.writer import RunWriter

__all__ = ["RunSettings", "resolved_text", "run_scenario"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run a scenario.

    Attributes:
        results: the results directory.
        runtime: name of the runtime, or "auto".
        links: name of the link backend, or "auto".
        systems: only these of the scenario's systems; all if empty.
        command: the command line, for the record.
    """

    results: Path
    runtime: str = "local"
    links: str = "auto"
    systems: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def resolved_text(loaded: LoadedScenario) -> str:
    """The scenario as it runs, every default filled in and the topology in place, as YAML that can be run again."""
    data = loaded.scenario.model_dump(mode="json", exclude_none=True, by_alias=True)
    data["topology"] = loaded.topology.model_dump(mode="json", exclude_none=True, by_alias=True)
    named = {use.stack for system in loaded.scenario.systems.values() for use in system.uses().values()}
    data["stacks"] = {
        name: loaded.stacks[name].model_dump(mode="json", exclude_none=True, exclude={"name"}) for name in sorted(named)
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def run_scenario(loaded: LoadedScenario, settings: RunSettings, observer: Observer) -> Path:
    """Run a scenario and keep its result.

    Returns:
        The result's directory.

    Raises:
        HarnessError: something could not be carried out; cells that were are kept.
        Interrupted: the user asked to stop; what was recorded is kept and marked.
    """
    cells = plan_run(loaded, systems=settings.systems)
    runtime, why = choose_runtime(settings.runtime)
    settings = replace(settings, runtime=runtime)
    if why:
        observer.note(why)
    _check(cells, settings)
    with _signals_interrupt():
        provided = provide(
            settings.runtime, loaded.stacks, cells, lambda what, line: observer.phase("", _line(what, line))
        )
        cells = provided.cells
        for note in provided.notes:
            observer.note(note)
        writer = RunWriter.create(
            settings.results,
            loaded.scenario.name,
            resolved=resolved_text(loaded),
            cells=cells,
            command=settings.command,
            seed=loaded.scenario.seed,
        )
        try:
            with writer, temporary_files_of(writer.run_id):
                observer.plan(writer.run_id, cells)
                _run_cells(loaded, settings, provided, writer, observer)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what was recorded is kept and marked", where=str(writer.path)) from None
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


def _line(what: str, line: str) -> str:
    return f"{what}: {line}" if what else line


def _run_cells(
    loaded: LoadedScenario,
    settings: RunSettings,
    provided: Provided,
    writer: RunWriter,
    observer: Observer,
) -> None:
    environments = provided.environments
    built = {
        name: {"python": environment.python_version, "packages": list(environment.freeze)}
        for name, environment in environments.items()
    }
    failures: list[tuple[str, HarnessError]] = []
    for plan in provided.cells:
        cell_settings = CellSettings(
            run_id=writer.run_id,
            runtime=settings.runtime,
            links=settings.links,
            environments=environments,
            stack_env={name: loaded.stacks[name].env for name in environments},
        )
        try:
            with writer.cell(plan) as cell:
                cell.set(facts.STACKS, built)
                for note in provided.notes:
                    cell.note(note)
                run_cell(plan, cell_settings, cell, observer)
        except HarnessError as error:
            # The other cells are still worth having; the first failure ends the run when they are done.
            failures.append((plan.id, error))
            observer.cell_ended(plan.id, "failed", [str(error)])
    if failures:
        writer.finish("failed", [f"{cell}: {error}" for cell, error in failures])
        raise failures[0][1]
    writer.finish("complete")


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
