"""Reads one cell: its record, and its columns as numpy arrays, only those asked for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from harness.errors import DamagedResult
from harness.store import facts
from harness.store.layout import CELL_RECORD, DELIVERIES, OPERATIONS, PROCESSES
from harness.store.schema import AgentRecord, CellEntry, CellRecord, CellState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Cell", "open_cell"]


class Cell:
    """A cell of a run, as read from the disk.

    Attributes:
        id, system, repetition, point: which cell.
        state: what it may be used for; planned, unfinished and damaged cells have no rows.
        reasons: why it is in that state.
        attempts: why each earlier attempt at it failed or was invalid.
        record: cell.json, or None where there is none to be trusted.
        path: its directory.
    """

    def __init__(
        self, path: Path, entry: CellEntry, record: CellRecord | None, state: CellState, reasons: Sequence[str]
    ) -> None:
        self.path = path
        self.id = entry.id
        self.system = entry.system
        self.repetition = entry.repetition
        self.point = entry.point
        self.record = record
        self.state = state
        self.reasons = list(reasons)
        self.attempts = list(entry.attempts)

    @property
    def readable(self) -> bool:
        """Whether it has rows to read."""
        return self.record is not None and self.state in ("valid", "degraded", "invalid", "interrupted", "failed")

    @property
    def agents(self) -> dict[int, AgentRecord]:
        """Its agents by index."""
        return {agent.index: agent for agent in self.record.agents} if self.record else {}

    @property
    def shared_clock(self) -> bool:
        """Whether instants of different agents may be subtracted from each other."""
        return bool(self.record and self.record.facts.get(facts.CLOCK, {}).get("shared"))

    def operations(self, columns: Sequence[str]) -> dict[str, NDArray[np.generic]]:
        """Columns of operations.parquet. Raises DamagedResult."""
        return read_columns(self.path / OPERATIONS, columns)

    def deliveries(self, columns: Sequence[str]) -> dict[str, NDArray[np.generic]]:
        """Columns of deliveries.parquet. Raises DamagedResult."""
        return read_columns(self.path / DELIVERIES, columns)

    def samples(self) -> pd.DataFrame:
        """All of processes.parquet, with `t_s`, seconds from go, in the place of `t_ns`. Raises DamagedResult."""
        path = self.path / PROCESSES
        try:
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from None
        frame = table.to_pandas()
        go_ns = (self.record.facts.get("go_ns") if self.record else None) or 0
        frame.insert(0, "t_s", (frame.pop("t_ns") - go_ns) / 1e9)
        return frame


def read_columns(path: Path, columns: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """The named columns of a Parquet file, each read into one array, one row group at a time.

    Memory: the columns asked for and one row group, whatever the file's size. Raises DamagedResult.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as source:
            rows = source.metadata.num_rows
            schema = source.schema_arrow
            arrays = {name: np.empty(rows, schema.field(name).type.to_pandas_dtype()) for name in columns}
            start = 0
            for group in range(source.num_row_groups):
                table = source.read_row_group(group, columns=list(columns))
                for name, array in arrays.items():
                    array[start : start + table.num_rows] = table.column(name).to_numpy()
                start += table.num_rows
    except (OSError, KeyError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    return arrays


def open_cell(path: Path, entry: CellEntry, *, writer_alive: bool) -> Cell:
    """Read a cell's record and check its files against it; what is wrong ends up in the cell's state, not in an error.

    Args:
        path: the cell's directory.
        entry: what the manifest says of it.
        writer_alive: whether the run is still being written.
    """
    record_path = path / CELL_RECORD
    if not record_path.exists():
        if entry.digest is not None:
            return Cell(path, entry, None, "damaged", [f"{CELL_RECORD} is missing"])
        state: CellState = "unfinished" if entry.state == "running" and not writer_alive else entry.state
        return Cell(path, entry, None, state, entry.why)
    try:
        content = record_path.read_bytes()
        record = CellRecord.model_validate_json(content)
    except (OSError, ValidationError) as error:
        return Cell(path, entry, None, "damaged", [f"{CELL_RECORD} cannot be read: {_short(error)}"])
    if entry.digest is not None and hashlib.sha256(content).hexdigest() != entry.digest:
        return Cell(path, entry, None, "damaged", [f"{CELL_RECORD} is not the file the manifest speaks of"])
    damage = [f for name, file in record.files.items() if (f := _file_damage(path / name, file.rows, file.bytes))]
    if damage:
        return Cell(path, entry, record, "damaged", damage)
    return Cell(path, entry, record, record.state, record.reasons)


def _file_damage(path: Path, rows: int, size: int) -> str | None:
    try:
        found = path.stat().st_size
        if found != size:
            return f"{path.name} has {found} bytes, its record says {size}"
        counted = pq.read_metadata(path).num_rows
    except FileNotFoundError:
        return f"{path.name} is missing"
    except (OSError, pa.ArrowException) as error:
        return f"{path.name} cannot be read: {_short(error)}"
    return None if counted == rows else f"{path.name} has {counted} rows, its record says {rows}"


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _damaged(path: Path, error: Exception) -> DamagedResult:
    return DamagedResult(
        f"the file cannot be read ({_short(error)})",
        where=str(path),
        expected="the file as the harness wrote it",
        remedy="restore it from a copy, or run the cell again",
    )
