"""Writes a run: the manifest first, then cell after cell, each whole or recognisably unfinished.

    with RunWriter.create(Path("results"), "quickstart", resolved=yaml, cells=plans, command=sys.argv, seed=7) as run:
        for plan in plans:
            with run.cell(plan) as cell:
                cell.go(go_ns)
                cell.set_agent(0, failures=["call:MessagingTimeout"], counters={"started": 100})
                cell.add_client_records(0, path)
                cell.add_server_records(1, path)
                cell.add_samples(samples)
                cell.set("clock", {"shared": True})
                cell.finish("valid")
        run.finish("complete")

Leaving a `with` block without `finish` records what ended it: "interrupted" for Interrupted and KeyboardInterrupt,
else "failed" with the error. Every string is masked (harness.store.masking) on its way to the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np

import harness
from harness.errors import BadInput, InfrastructureFailure, Interrupted
from harness.store import facts
from harness.store.atomic import WriterLock, replace_text, writing
from harness.store.layout import (
    ATTEMPTS,
    CELL_RECORD,
    CELLS,
    DELIVERIES,
    LOCK,
    LOGS,
    MANIFEST,
    OPERATIONS,
    PROCESSES,
    READINGS,
    SCENARIO,
    new_run_id,
    require_text,
    safe_name,
    utc_now,
)
from harness.store.masking import mask, mask_text
from harness.store.places import target_names
from harness.store.records import DELIVERY_SCHEMA, OPERATION_SCHEMA, Appended, RecordTable
from harness.store.samples import READING_SCHEMA, SampleTable
from harness.store.schema import (
    AgentRecord,
    CellEntry,
    CellRecord,
    CellState,
    EventRecord,
    FileRecord,
    LinkRecord,
    Manifest,
    PairRecord,
    RunState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.plan.cell import AgentPlan, CellPlan
    from harness.store.table import TableFile

__all__ = ["CellWriter", "RunWriter", "require_writable"]

_LONE = re.compile("[\ud800-\udfff]")


def require_writable(results: Path) -> None:
    """Raise BadInput unless results can be written there; what had to be made to find out is removed again."""
    require_text(results)
    made: list[Path] = []
    try:
        made = [path for path in (results, *results.parents) if not path.exists()]
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise BadInput(
            f"results cannot be written there ({os.strerror(error.errno or 0)})",
            where=str(results),
            remedy="name a writable results directory",
        ) from None
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _dump(model: Manifest | CellRecord) -> str:
    text = json.dumps(mask(model.model_dump(mode="json", by_alias=True)), indent=1, ensure_ascii=False) + "\n"
    # A path need not be UTF-8, and what Python has in its place has no UTF-8 form: it is written out, \\udce9.
    return _LONE.sub(lambda found: rf"\\u{ord(found[0]):04x}", text)


def _outcome_of(error: BaseException | None) -> tuple[RunState, list[str]]:
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return "interrupted", ["stopped by the user"]
    return "failed", [mask_text(f"{type(error).__name__}: {error}") if error else "ended without a result"]


def _again(entry: CellEntry) -> CellEntry:
    """A cell that will be run again; that it failed, or was invalid, is remembered."""
    failed = ["; ".join([entry.state, *entry.why])] if entry.state in ("failed", "invalid") else []
    changes = {"state": "planned", "why": [], "digest": None, "attempts": [*entry.attempts, *failed]}
    return entry.model_copy(update=changes)


def _copy_log(directory: Path, source: Path, name: str | None) -> None:
    # Line by line: a password must not reach the stored log, and a log may be large.
    with writing(directory):
        directory.mkdir(exist_ok=True)
    target = directory / safe_name(name or source.name)
    with (
        writing(target),
        source.open(encoding="utf-8", errors="replace") as lines,
        target.open("w", encoding="utf-8") as out,
    ):
        out.writelines(mask_text(line) for line in lines)


class RunWriter:
    """The one writer of a run's directory; holds its lock until `finish`."""

    def __init__(self, path: Path, manifest: Manifest, lock: WriterLock) -> None:
        self.path = path
        self._manifest = manifest
        self._lock = lock
        self._open_cell: CellWriter | None = None
        self._finished = False

    @classmethod
    def create(
        cls,
        results: Path,
        scenario: str,
        *,
        resolved: str,
        cells: Sequence[CellPlan],
        command: Sequence[str] = (),
        seed: int | None = None,
        host: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> RunWriter:
        """Make the directory of a new run and write its manifest, every cell in it as "planned".

        Args:
            results: the results directory; made if missing.
            scenario: the scenario's name.
            resolved: the scenario as it runs, YAML text with every default filled in; its digest is the fingerprint.
            cells: all cells that will be run, in the order they will be.
            command: the command line that started the run.
            seed: the scenario's seed.
            host: facts about the machine; harness.store.host.host_facts() where None.
            run_id: the run's id; a new one made of the time where None.

        Raises:
            BadInput: the directory exists, or cannot be made.
            InfrastructureFailure: it cannot be written; nothing of it is left.
        """
        run_id = run_id or new_run_id(secrets.token_hex(2))
        path = results / safe_name(scenario) / safe_name(run_id)
        made = False
        try:
            path.mkdir(parents=True)
            made = True
            (path / CELLS).mkdir()
        except FileExistsError:
            raise BadInput(
                "a result of that name exists already", where=str(path), remedy="give another run id, or move it away"
            ) from None
        except OSError as error:
            if made:
                path.rmdir()
            raise BadInput(
                f"the result directory cannot be made ({error.strerror})",
                where=str(path),
                remedy="name a writable results directory",
            ) from None
        try:
            return cls._begin(path, scenario, mask_text(resolved), cells, command, seed, host)
        except BaseException:
            # Without a manifest nothing says what it is.
            shutil.rmtree(path, ignore_errors=True)
            raise

    @classmethod
    def _begin(
        cls,
        path: Path,
        scenario: str,
        text: str,
        cells: Sequence[CellPlan],
        command: Sequence[str],
        seed: int | None,
        host: Mapping[str, Any] | None,
    ) -> RunWriter:
        from harness.store.host import host_facts

        with writing(path):
            lock = WriterLock(path / LOCK)
        try:
            replace_text(path / SCENARIO, text)
            manifest = Manifest(
                run=path.name,
                scenario=scenario,
                started=utc_now(),
                harness=harness.__version__,
                command=list(command),
                seed=seed,
                host=dict(host if host is not None else host_facts()),
                fingerprint=hashlib.sha256(text.encode()).hexdigest(),
                cells=[
                    CellEntry(id=c.id, system=c.system, repetition=c.repetition, order=c.order, point=dict(c.point))
                    for c in cells
                ],
            )
            writer = cls(path, manifest, lock)
            writer._save()
        except BaseException:
            lock.release()
            raise
        return writer

    @classmethod
    def reopen(cls, path: Path, *, invalid: bool = False) -> RunWriter:
        """Go on with a run that was stopped, killed or failed: what is `pending` can be run, what is done is kept.

        Args:
            path: the run's directory.
            invalid: whether invalid cells are run again too.

        Raises:
            BadInput: some process is still writing it, or nothing is left to run.
            DamagedResult: its manifest cannot be read.
        """
        from harness.store.run import load_run

        try:
            lock = WriterLock(path / LOCK)
        except BlockingIOError:
            raise BadInput(
                "the run is still being written", where=str(path), remedy="wait for it, or stop it first"
            ) from None
        except OSError as error:
            raise BadInput(f"no run to go on with ({error.strerror})", where=str(path)) from None
        try:
            run = load_run(path)
            again = run.to_run(invalid=invalid)
            if not again:
                raise BadInput("nothing is left to run", where=str(path), remedy="start a new run")
        except BaseException:
            lock.release()
            raise
        entries = [_again(entry) if entry.id in again else entry for entry in run.manifest.cells]
        writer = cls(path, run.manifest, lock)
        resumed = [*run.manifest.facts.get(facts.RESUMED, ()), utc_now()]
        known = {**run.manifest.facts, facts.RESUMED: resumed}
        writer._update(state="running", why=[], ended=None, cells=entries, facts=known)
        return writer

    @property
    def pending(self) -> tuple[str, ...]:
        """Ids of the cells that have not been finished, in the order they run."""
        return tuple(entry.id for entry in self._manifest.cells if entry.state in ("planned", "running"))

    @property
    def cells(self) -> int:
        """How many cells the run has, done or not."""
        return len(self._manifest.cells)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._manifest.run

    @contextmanager
    def giving_up_on_error(self) -> Iterator[None]:
        """What must work before the first cell; if it does not, the run ends as `with` this writer would end it."""
        try:
            yield
        except BaseException as error:
            self.finish(*_outcome_of(error))
            raise

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not self._finished:
            self.finish(*_outcome_of(error))

    def set(self, name: str, value: Any) -> None:
        """Record a fact about the whole run (plain JSON)."""
        self._update(facts={**self._manifest.facts, name: value})

    def warn(self, text: str) -> None:
        """Record something every reader of this result must be told; once, however often it is said."""
        if text not in self._manifest.warnings:
            self._update(warnings=[*self._manifest.warnings, text])

    def add_log(self, source: Path, name: str | None = None) -> None:
        """Copy a log file that belongs to no one cell."""
        _copy_log(self.path / LOGS, source, name)

    def cell(self, plan: CellPlan) -> CellWriter:
        """Begin a planned cell; what an earlier attempt at it left is kept aside if it failed or was invalid, else
        removed."""
        entry = next((entry for entry in self._manifest.cells if entry.id == plan.id), None)
        if entry is None:
            raise ValueError(f"cell {plan.id!r} is not in this run's plan")
        if self._open_cell is not None:
            raise ValueError(f"cell {self._open_cell.id!r} is still open")
        directory = self.path / CELLS / safe_name(plan.id)
        if entry.state in ("failed", "invalid"):
            entry = _again(entry)
            self._replace(entry)
        with writing(directory):
            self._make_way(directory, entry)
            directory.mkdir()
        self._enter_cell_state(plan.id, "running", [], None)
        try:
            self._open_cell = CellWriter(self, directory, plan)
        except InfrastructureFailure as error:
            shutil.rmtree(directory, ignore_errors=True)
            self._enter_cell_state(plan.id, "failed", [str(error)], None)
            raise
        return self._open_cell

    def _make_way(self, directory: Path, entry: CellEntry) -> None:
        if directory.exists():
            aside = self.path / ATTEMPTS / f"{directory.name}.{len(entry.attempts)}"
            if entry.attempts and (directory / CELL_RECORD).exists() and not aside.exists():
                aside.parent.mkdir(exist_ok=True)
                directory.rename(aside)
            else:
                shutil.rmtree(directory)

    def finish(self, state: RunState, why: Sequence[str] = ()) -> None:
        """Write the final state and give up the lock, even if it cannot be written. Idempotent."""
        if self._finished:
            return
        self._finished = True
        try:
            if self._open_cell is not None:
                self._open_cell.finish("interrupted" if state == "interrupted" else "failed", why)
        finally:
            try:
                self._update(state=state, why=list(why), ended=utc_now())
            finally:
                self._lock.release()

    def _cell_finished(self, cell: str, state: CellState, reasons: Sequence[str], digest: str | None) -> None:
        self._open_cell = None
        self._enter_cell_state(cell, state, reasons, digest)

    def _enter_cell_state(self, cell: str, state: CellState, why: Sequence[str], digest: str | None) -> None:
        entry = next(entry for entry in self._manifest.cells if entry.id == cell)
        self._replace(entry.model_copy(update={"state": state, "why": list(why), "digest": digest}))

    def _replace(self, changed: CellEntry) -> None:
        self._update(cells=[changed if entry.id == changed.id else entry for entry in self._manifest.cells])

    def _update(self, **changes: Any) -> None:
        self._manifest = self._manifest.model_copy(update=changes)
        self._save()

    def _save(self) -> None:
        replace_text(self.path / MANIFEST, _dump(self._manifest))


class CellWriter:
    """One cell's directory. `finish` makes it count; until then a reader sees it as unfinished."""

    def __init__(self, run: RunWriter, directory: Path, plan: CellPlan) -> None:
        self.id = plan.id
        self.path = directory
        self._run = run
        self._record = _planned(plan)
        self._agents = {agent.index: agent for agent in self._record.agents}
        self._operations = RecordTable(directory / OPERATIONS, OPERATION_SCHEMA)
        self._deliveries = RecordTable(directory / DELIVERIES, DELIVERY_SCHEMA)
        self._processes = SampleTable(directory / PROCESSES)
        self._readings: SampleTable | None = None
        self._facts: dict[str, Any] = {}
        self._events: list[tuple[int, str, str]] = []
        self._notes: list[str] = []
        self._go_ns: int | None = None
        self._sealed = False
        self._finished = False

    def __enter__(self) -> CellWriter:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not self._finished:
            state, why = _outcome_of(error)
            # A full disk must not make an interrupt look like one cell's failure.
            with suppress(InfrastructureFailure) if state == "interrupted" else nullcontext():
                self.finish("interrupted" if state == "interrupted" else "failed", why)

    def go(self, instant_ns: int, by_agent: Mapping[int, int] | None = None) -> None:
        """The go instant in ns of this host's CLOCK_MONOTONIC; `by_agent` where agents live on clocks of their own.

        Must be known before records are added; samples and events are placed by `instant_ns`.
        """
        self._go_ns = instant_ns
        for index in self._agents:
            self._change_agent(index, go_ns=(by_agent or {}).get(index, instant_ns))

    def set(self, name: str, value: Any) -> None:
        """Record a fact about the cell (plain JSON). Names the reports know: see harness.store.facts."""
        self._facts[name] = value

    def set_agent(
        self,
        agent: int,
        *,
        failures: Sequence[str] | None = None,
        counters: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        targets: Sequence[str] | None = None,
    ) -> None:
        """Record what an agent said of itself: its failure-name table, its totals, its hello, its targets by index."""
        changes: dict[str, Any] = {}
        if failures is not None:
            changes["failures"] = list(failures)
        if counters is not None:
            changes["counters"] = dict(counters)
        if facts is not None:
            changes["facts"] = dict(facts)
        if targets is not None:
            changes["targets"] = list(targets)
        self._change_agent(agent, **changes)

    def add_client_records(self, agent: int, records: Path) -> Appended:
        """Take in the record file of an agent that performed operations."""
        return self._add(self._operations, agent, records, None)

    def add_server_records(self, agent: int, records: Path) -> Appended:
        """Take in the record file of an agent that received messages; due times are on the senders' clocks."""
        senders = np.full(1 << 16, self._go_of(agent), np.int64)
        for index in self._agents:
            senders[index] = self._go_of(index)
        return self._add(self._deliveries, agent, records, senders)

    def add_samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Add process samples: mappings with the columns of harness.store.samples.PROCESS_SCHEMA."""
        self._processes.append(samples)

    def add_readings(self, readings: Iterable[Mapping[str, Any]]) -> None:
        """Add readings at rest: mappings with the columns of harness.store.samples.READING_SCHEMA."""
        if self._readings is None:
            self._readings = SampleTable(self.path / READINGS, READING_SCHEMA)
        self._readings.append(readings)

    def add_event(self, instant_ns: int, kind: str, what: str) -> None:
        """Mark something that happened, at an instant of this host's CLOCK_MONOTONIC."""
        self._events.append((instant_ns, kind, what))

    def note(self, text: str) -> None:
        """Record a remark a reader of this cell should see."""
        self._notes.append(text)

    def add_log(self, source: Path, name: str | None = None) -> None:
        """Copy a log file of this cell."""
        _copy_log(self.path / LOGS, source, name)

    def seal(self) -> None:
        """Close the data files, so that the cell can be judged from them before it is finished. Idempotent."""
        if self._sealed:
            return
        self._sealed = True
        files = {}
        for name, table in self._tables():
            table.publish()
            files[name] = FileRecord(rows=table.rows, bytes=(self.path / name).stat().st_size)
        self._record = self._record.model_copy(update={"files": files})

    def _tables(self) -> Iterator[tuple[str, TableFile]]:
        yield OPERATIONS, self._operations
        yield DELIVERIES, self._deliveries
        yield PROCESSES, self._processes
        if self._readings is not None:
            yield READINGS, self._readings

    def record(self) -> CellRecord:
        """The cell's record as it stands, e.g. to judge a sealed cell."""
        go_ns = self._go_ns or 0
        events = [EventRecord(t_ns=t - go_ns, kind=kind, what=what) for t, kind, what in sorted(self._events)]
        return self._record.model_copy(
            update={
                "agents": list(self._agents.values()),
                "facts": {**self._facts, "go_ns": self._go_ns},
                "events": events,
                "notes": list(self._notes),
            }
        )

    def finish(self, state: CellState, reasons: Sequence[str] = ()) -> None:
        """Write cell.json with its final state ("valid", "degraded", "invalid", "failed", "interrupted") and why.

        Idempotent."""
        if self._finished:
            return
        self._finished = True
        try:
            self.seal()
            record = self.record().model_copy(update={"state": state, "reasons": list(reasons), "ended": utc_now()})
            text = _dump(record)
            replace_text(self.path / CELL_RECORD, text)
        except InfrastructureFailure as error:
            # The room its unfinished files take may be just what the manifest needs to say so.
            for _, table in self._tables():
                table.discard()
            failed: CellState = "interrupted" if state == "interrupted" else "failed"
            self._run._cell_finished(self.id, failed, [*reasons, str(error)], None)
            raise
        self._run._cell_finished(self.id, state, reasons, hashlib.sha256(text.encode()).hexdigest())

    def _add(self, table: RecordTable, agent: int, records: Path, senders: Any) -> Appended:
        appended = table.append(agent, records, self._go_of(agent), senders)
        before = self._agents[agent]
        self._change_agent(agent, rows=before.rows + appended.rows, cut_bytes=before.cut_bytes + appended.cut_bytes)
        if appended.cut_bytes:
            self.note(
                f"{before.name}: its record file ended inside a record; {appended.cut_bytes} bytes were cut off, "
                f"{appended.rows} whole records kept"
            )
        return appended

    def _go_of(self, agent: int) -> int:
        go_ns = self._agents[agent].go_ns
        if go_ns is None:
            raise ValueError("the go instant must be given before records are added")
        return go_ns

    def _change_agent(self, agent: int, **changes: Any) -> None:
        self._agents[agent] = self._agents[agent].model_copy(update=changes)


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass's fields as plain JSON data; unlike `asdict`, read-only mappings inside are no obstacle."""
    return {field.name: mask(getattr(value, field.name)) for field in fields(value)}


def _planned(plan: CellPlan) -> CellRecord:
    # Bus seeds stay out: credentials are drawn from them.
    buses = [{**_fields(bus), "nodes": [_fields(node) for node in bus.nodes]} for bus in plan.buses]
    for bus in buses:
        del bus["seed"]
    return CellRecord(
        id=plan.id,
        system=plan.system,
        point=mask(plan.point),
        repetition=plan.repetition,
        order=plan.order,
        seed=plan.seed,
        state="running",
        started=utc_now(),
        phases=_fields(plan.phases),
        sites=[_fields(site) for site in plan.lab.sites],
        nodes=[_fields(node) for node in plan.lab.nodes],
        links=[
            LinkRecord(name=link.name, source=link.source, target=link.target, impairment=asdict(link.impairment))
            for link in plan.lab.links
        ],
        buses=buses,
        stacks=list(plan.stacks),
        pairs=[PairRecord.model_validate(_fields(pair)) for pair in plan.pairs],
        agents=[_agent(agent, plan) for agent in plan.agents],
    )


def _agent(agent: AgentPlan, plan: CellPlan) -> AgentRecord:
    task = mask(agent.task)
    round_trips = {pair.round_trip for pair in plan.pairs if pair.workload == agent.workload}
    pattern = task.get("pattern") or ("rpc-call" if round_trips == {True} else "notify")
    return AgentRecord.model_validate({**_fields(agent), "pattern": pattern, "targets": target_names(task)})
