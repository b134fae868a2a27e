"""Reads a run: `load_run(path)` and the tidy views on it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from harness.errors import BadInput, DamagedResult
from harness.store import facts, frames
from harness.store.atomic import writer_alive
from harness.store.cell import Cell, open_cell
from harness.store.layout import CELLS, LOCK, MANIFEST, SCENARIO, SCHEMA, require_text, safe_name
from harness.store.schema import Manifest, RunState

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Run", "load_run"]

#: With more cells than this that are not valid, or were run again, problems name them together.
_MOST_TOLD = 3
#: A smaller share of processor time taken by the hypervisor does not show.
_STOLEN = 0.02


class Run:
    """A run as read from the disk. Nothing but the records is in memory; every frame is read when asked for.

    Attributes:
        path: its directory.
        manifest: what it is (harness.store.schema.Manifest).
        state: "complete", "interrupted", "failed", "running" (a writer is at work), "unfinished" (its writer is gone).
        all_cells: every planned cell, whatever became of it.
    """

    def __init__(self, path: Path, manifest: Manifest, state: RunState, cells: Sequence[Cell]) -> None:
        self.path = path
        self.manifest = manifest
        self.state = state
        self.all_cells = tuple(cells)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.manifest.run

    @property
    def usable(self) -> tuple[Cell, ...]:
        """The cells whose figures count: the valid ones."""
        return tuple(cell for cell in self.all_cells if cell.state == "valid")

    @property
    def shown(self) -> tuple[Cell, ...]:
        """The cells that have rows to show: valid, invalid, and those cut short; each with its state beside it."""
        return tuple(cell for cell in self.all_cells if cell.readable)

    def to_run(self, *, invalid: bool = False) -> tuple[str, ...]:
        """Ids of the cells a resumed run has still to run, invalid ones among them only if asked."""
        over = ("valid", "degraded") if invalid else ("valid", "degraded", "invalid")
        return tuple(cell.id for cell in self.all_cells if cell.state not in over)

    @property
    def problems(self) -> list[str]:
        """Everything that keeps this run from being whole and sound, one sentence each; empty for a good run."""
        found = []
        if self.state != "complete":
            found.append(f"The run is {self.state}." + "".join(f" {why}." for why in self.manifest.why))
        for state in dict.fromkeys(cell.state for cell in self.all_cells if cell.state != "valid"):
            told = {cell.id: "; ".join(cell.reasons) for cell in self.all_cells if cell.state == state}
            found += _cells_told(told, ("is", "are"), state, len(self.all_cells))
        again = {cell.id: "; ".join(cell.attempts) for cell in self.all_cells if cell.attempts}
        found += _cells_told(again, ("was", "were"), "run again", len(self.all_cells), then="; before")
        return [*found, *self._stolen(), *self.manifest.warnings]

    def _stolen(self) -> list[str]:
        """That the hypervisor took processor time, where it shows: no measurement on a guest survives that."""
        shares = {cell.id: float(cell.record.facts.get(facts.STOLEN, 0)) for cell in self.shown if cell.record}
        told = {cell: share for cell, share in shares.items() if share >= _STOLEN}
        if not told:
            return []
        worst = max(told, key=lambda cell: told[cell])
        return [
            f"The hypervisor gave processor time of this machine to others in {len(told)} of {len(shares)} cells, up "
            f"to {told[worst]:.0%} of it (cell {worst}): latencies and CPU of those cells say something about that too."
        ]

    @property
    def resolved(self) -> str:
        """The scenario as it ran, YAML. Raises DamagedResult."""
        try:
            return (self.path / SCENARIO).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedResult(f"the resolved scenario cannot be read ({error})", where=str(self.path)) from None

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell.

        Columns: cell, system, repetition, state, attempts (1 unless it was run again), reasons, operations, deliveries,
        and a column per axis of the sweep (numbers as numbers, anything else as text), as in every other frame.
        """
        rows = []
        for cell in self.all_cells:
            files = cell.record.files if cell.record else {}
            rows.append(
                {
                    "cell": cell.id,
                    "system": cell.system,
                    "repetition": cell.repetition,
                    "state": cell.state,
                    "attempts": len(cell.attempts) + 1,
                    "reasons": "; ".join(cell.reasons),
                    "operations": files["operations.parquet"].rows if "operations.parquet" in files else 0,
                    "deliveries": files["deliveries.parquet"].rows if "deliveries.parquet" in files else 0,
                    **frames.axis_values(cell),
                }
            )
        return pd.DataFrame(rows)

    @property
    def latency(self) -> pd.DataFrame:
        """One row per finished client operation of the valid cells, warm-up left out.

        Columns: cell, system, repetition, the axes of the sweep, workload, pattern, client_site, server_site (missing
        where an unanswered operation could have been served at several), agent, seq, due_s (seconds from go),
        response_ms (done - due), service_ms (done - sent), send_delay_ms (sent - due), outcome ("ok", or the failure's
        phase and class).
        A failed operation has no response_ms and no service_ms: a time-out is not a latency.
        """
        return self.operations()

    def operations(
        self, columns: Sequence[str] | None = None, *, cells: Sequence[Cell] | None = None, warmup: bool = False
    ) -> pd.DataFrame:
        """Like `latency`, with only some columns, of some cells, with or without the warm-up."""
        return frames.latency_frame(self.usable if cells is None else cells, columns, warmup=warmup)

    @property
    def deliveries(self) -> pd.DataFrame:
        """One row per message a server or listener received, in the valid cells, warm-up left out.

        Columns: cell, system, repetition, the axes of the sweep, workload, pattern, client_site, server_site, sender,
        receiver, seq, due_s, one_way_ms (received - due; missing unless all clocks of the cell are one), work_ms (done
        - received).
        """
        return frames.delivery_frame(self.usable)

    @property
    def delivery(self) -> pd.DataFrame:
        """The delivery ledger, one row per client agent and the site that served it, warm-up included (a lost message
        is lost at any time).

        Columns: cell, system, repetition, state of the cell, the axes of the sweep, workload, pattern, client_site,
        agent, server_site (missing where not known), and the counts of harness.analysis.delivery.LedgerRow, with
        `failures` as "name: count" text. Cells that are not valid have rows too: choose by state.
        """
        return frames.ledger_frame(self.shown)

    @property
    def failures(self) -> pd.DataFrame:
        """One row per client agent and kind of failed operations.

        Columns: cell, system, repetition, state of the cell, the axes of the sweep, workload, client_site, agent, name
        ("phase:Class"), stage ("connect", "send", "wait", "serve", "other"), when ("warm-up", "fault", "measured"),
        count; see harness.analysis.failures. Cells that are not valid have rows too.
        """
        return frames.failure_frame(self.shown)

    @property
    def memory(self) -> pd.DataFrame:
        """One row per process and sample (1 Hz) of the cells that have rows.

        Columns: cell, system, repetition, state of the cell, the axes of the sweep, site, t_s (seconds from go), node,
        process, pid, comm, role, rss_bytes, pss_bytes, uss_bytes, anonymous_bytes, fds, threads, sockets, cpu_user_s,
        cpu_system_s (since the process began). Cells that are not valid have rows too.
        """
        return frames.sample_frame(self.shown)

    @property
    def recovery(self) -> pd.DataFrame:
        """One row per fault of the timeline, workload and client site of the cells shown: how service came back.

        Columns: cell, system, repetition, state of the cell, the axes of the sweep, fault, kind ("link", "process"),
        begin_s, end_s (load time; when its cause was over, missing if it stayed), workload, client_site, rate_per_s
        (before), first_success_s, back_s (from when the cause was over; NaN: not seen), watched_s, interruption_s,
        failed. See harness.analysis.recovery.
        """
        return frames.recovery_frame(self.shown)

    @property
    def growth(self) -> pd.DataFrame:
        """One row per dose, kind of process and metric of the memory cells: does it grow with what it does?

        Columns: cell, system, repetition, cell_state, the axes of the sweep, dose, operations (per process), processes,
        role, verdict (of the role under the dose), metric, unit, state (what this metric says), per_op, low, high
        (one-sided 95 % bounds), delta (growth per operation that counts as a leak), mdl (least leak found with 80 %
        probability), total.
        """
        return frames.growth_frame(self.shown)

    def cell(self, name: str) -> Cell:
        """The cell of that id. Raises BadInput."""
        for cell in self.all_cells:
            if cell.id == name:
                return cell
        raise BadInput(
            f"no cell {name!r}", where=str(self.path), expected=", ".join(cell.id for cell in self.all_cells)
        )

    def __repr__(self) -> str:
        valid = f"{len(self.usable)} of {len(self.all_cells)} cells valid"
        return f"<Run {self.manifest.scenario}/{self.id}: {self.state}, {valid}>"

    def _repr_html_(self) -> str:
        head = f"<strong>{html.escape(self.manifest.scenario)}</strong> {html.escape(self.id)}: {self.state}"
        notes = "".join(f"<li>{html.escape(text)}</li>" for text in self.problems)
        table: Any = self.cells.to_html(index=False, border=0)
        return f"<div><p>{head}</p>" + (f"<ul>{notes}</ul>" if notes else "") + f"{table}</div>"


def _cells_told(told: Mapping[str, str], verbs: tuple[str, str], what: str, of: int, *, then: str = "") -> list[str]:
    """A sentence for each cell with its reasons; where that would bury what else there is to say, one for all."""
    sentences = [f"{cell} {verbs[0]} {what}" + (f"{then}: {_flat(why)}." if why else ".") for cell, why in told.items()]
    if len(told) <= _MOST_TOLD:
        return [f"Cell {sentence}" for sentence in sentences]
    return [f"{len(told)} of {of} cells {verbs[1]} {what}: {', '.join(told)}. For one, {sentences[0]}"]


def _flat(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run.

    Args:
        path: the run's directory, or a directory of runs, whose newest run is read.

    A cell that cannot be trusted (truncated, replaced or missing files) is there with state "damaged" and never
    contributes a figure; `Run.problems` names it.

    Raises:
        BadInput: nothing of the kind there.
        DamagedResult: the manifest cannot be read, or is of a newer harness.
    """
    from pathlib import Path

    directory = Path(path)
    require_text(directory)
    try:
        if not (directory / MANIFEST).is_file():
            directory = _newest(directory)
    except OSError as error:
        raise BadInput(f"no result can be read there: {error.strerror}", where=str(directory)) from None
    manifest = _manifest(directory / MANIFEST)
    alive = writer_alive(directory / LOCK)
    state: RunState = "unfinished" if manifest.state == "running" and not alive else manifest.state
    cells = [open_cell(directory / CELLS / safe_name(e.id), e, writer_alive=alive) for e in manifest.cells]
    return Run(directory, manifest, state, cells)


def _newest(directory: Path) -> Path:
    runs = sorted(manifest.parent for manifest in directory.glob(f"*/{MANIFEST}"))
    if not runs:
        raise BadInput(
            "no result here",
            where=str(directory),
            expected=f"a run's directory (it holds {MANIFEST}), or a directory of runs",
            remedy="run a scenario first: harness run SCENARIO",
        )
    return runs[-1]


def _manifest(path: Path) -> Manifest:
    try:
        content = path.read_bytes()
        manifest = Manifest.model_validate_json(content)
    except (OSError, ValidationError) as error:
        first = str(error).strip().splitlines()
        raise DamagedResult(
            f"the manifest cannot be read ({'; '.join(line.strip() for line in first[:3])})",
            where=str(path),
            expected="manifest.json as the harness wrote it",
            remedy="restore it from a copy; without it nothing says what the cells are",
        ) from None
    if manifest.schema_ > SCHEMA:
        raise DamagedResult(
            f"the result was written with layout {manifest.schema_}, this harness reads up to {SCHEMA}",
            where=str(path),
            remedy="read it with a newer harness",
        )
    return manifest
