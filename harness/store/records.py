"""From the agents' raw record files to the columns of operations.parquet and deliveries.parquet.

The raw record is described, and its flags and fields are named, in harness.agent.records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from harness.agent.records import FIELDS
from harness.store.table import TableFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["DELIVERY_SCHEMA", "OPERATION_SCHEMA", "RECORD", "Appended", "RecordTable"]

RECORD = np.dtype(list(FIELDS))

_CHUNK_RECORDS = 1 << 18


def _schema(mid: str) -> pa.Schema:
    return pa.schema(
        [
            ("agent", pa.uint16()),
            ("seq", pa.uint32()),
            ("target", pa.uint16()),
            ("peer", pa.uint16()),
            ("status", pa.uint16()),
            ("flags", pa.uint16()),
            ("size", pa.uint32()),
            ("due_ns", pa.int64()),
            (mid, pa.int64()),
            ("done_ns", pa.int64()),
        ]
    )


#: One row per client operation: agent = who did it, peer = who served it.
OPERATION_SCHEMA = _schema("sent_ns")
#: One row per received message: agent = who received it, peer = who sent it.
DELIVERY_SCHEMA = _schema("received_ns")


@dataclass(frozen=True, slots=True)
class Appended:
    """What was taken from one record file: whole records, and the bytes of a last one that was cut off."""

    rows: int
    cut_bytes: int


class RecordTable(TableFile):
    """Writes one Parquet file from many record files in constant memory (one chunk of 2^18 records).

    Small files share row groups, so a cell of a thousand short-lived agents does not become a thousand row groups.
    Times become relative to the go instant of the agent whose clock they were taken on: `due` is the sender's.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        times = [name for name in schema.names if name.endswith("_ns")]
        super().__init__(
            path,
            schema,
            use_dictionary=["agent", "target", "peer", "status", "flags", "size"],
            column_encoding=dict.fromkeys(["seq", *times], "DELTA_BINARY_PACKED"),
        )
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def append(self, agent: int, records: Path, go_ns: int, peers_go_ns: NDArray[np.int64] | None = None) -> Appended:
        """Add one agent's record file.

        Args:
            agent: index of the agent that wrote it.
            records: the raw file.
            go_ns: the go instant on that agent's clock.
            peers_go_ns: for a receiver: the go instant by peer index (65,536 long), to which `due` is relative; None:
                `due` was taken on the agent's own clock.

        Returns:
            whole records taken and left-over bytes.
        """
        rows = 0
        for chunk in _chunks(records):
            due_go = go_ns if peers_go_ns is None else peers_go_ns[chunk["peer"]]
            self._write(_batch(chunk, agent, go_ns, due_go, self._schema))
            rows += len(chunk)
        self.rows += rows
        return Appended(rows, records.stat().st_size - rows * RECORD.itemsize)

    def _write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        if self._waiting_rows >= _CHUNK_RECORDS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
            self._hand_over(table, row_group_size=2 * _CHUNK_RECORDS)
            self._waiting, self._waiting_rows = [], 0


def _chunks(path: Path) -> Iterator[NDArray[np.void]]:
    with path.open("rb") as source:
        while True:
            chunk = np.fromfile(source, dtype=RECORD, count=_CHUNK_RECORDS)
            if not len(chunk):
                return
            yield chunk


def _batch(
    chunk: NDArray[np.void], agent: int, go_ns: int, due_go_ns: int | NDArray[np.int64], schema: pa.Schema
) -> pa.RecordBatch:
    columns = [
        np.full(len(chunk), agent, np.uint16),
        *(np.ascontiguousarray(chunk[name]) for name in ("seq", "target", "peer", "status", "flags", "size")),
        chunk["due"] - due_go_ns,
        chunk["mid"] - go_ns,
        chunk["done"] - go_ns,
    ]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=schema)
