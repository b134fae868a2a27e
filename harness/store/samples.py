"""Process samples: what every client, server and bus process used, once a second, as columns of processes.parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from harness.store.table import TableFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["PROCESS_SCHEMA", "SampleTable"]

_TEXT = pa.dictionary(pa.int32(), pa.string())

#: One row per process and sample. t_ns is CLOCK_MONOTONIC of the sampler, absolute; bytes are bytes; cpu is seconds
#: since the process began. A figure the kernel did not give is null, never 0.
PROCESS_SCHEMA = pa.schema(
    [
        ("t_ns", pa.int64()),
        ("node", _TEXT),
        ("process", _TEXT),
        ("pid", pa.int32()),
        ("comm", _TEXT),
        ("role", _TEXT),
        ("rss", pa.int64()),
        ("pss", pa.int64()),
        ("uss", pa.int64()),
        ("anonymous", pa.int64()),
        ("fds", pa.int32()),
        ("threads", pa.int32()),
        ("sockets", pa.int32()),
        ("cpu_user_s", pa.float64()),
        ("cpu_system_s", pa.float64()),
    ]
)
_PLAIN = pa.schema([(field.name, pa.string() if field.type == _TEXT else field.type) for field in PROCESS_SCHEMA])
_BATCH_ROWS = 1 << 14


class SampleTable(TableFile):
    """Writes processes.parquet from sample dictionaries, holding at most one batch of 2^14 rows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, PROCESS_SCHEMA)
        self._rows: list[dict[str, Any]] = []

    def append(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Add samples; keys are the column names of PROCESS_SCHEMA, a missing one is null, an unknown one an error.

        Raises KeyError for an unknown column: a misspelt metric must not vanish.
        """
        for sample in samples:
            unknown = sample.keys() - set(PROCESS_SCHEMA.names)
            if unknown:
                raise KeyError(f"process samples have no column {sorted(unknown)}")
            self._rows.append(dict(sample))
            if len(self._rows) >= _BATCH_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._rows:
            plain = pa.Table.from_pylist(self._rows, schema=_PLAIN)
            self._writer.write_table(plain.cast(PROCESS_SCHEMA))
            self.rows += len(self._rows)
            self._rows = []
