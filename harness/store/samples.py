"""Process samples: what every client, server and bus process used, once a second, as columns of processes.parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from harness.store.table import TableFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["PROCESS_SCHEMA", "READING_SCHEMA", "SampleTable"]

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
#: One row per reading at rest of a dosed process. `level`: how often the dose had been doubled; `purpose`: "measure",
#: "confirm" and "trace" for the runs that follow a leak, "rest" after a long rest in the former; `block`: 0 at the end
#: of the warm-up, negative before; `operations` since the process began; the others as harness.agent.reading has them.
READING_SCHEMA = pa.schema(
    [
        ("dose", _TEXT),
        ("role", _TEXT),
        ("purpose", _TEXT),
        ("level", pa.int32()),
        ("repetition", pa.int32()),
        ("block", pa.int32()),
        ("operations", pa.int64()),
        *((name, pa.int64()) for name in ("blocks", "objects", "heap", "anonymous", "uss", "pss", "rss")),
        *((name, pa.int32()) for name in ("fds", "sockets", "threads", "python_threads")),
        ("cpu_user_s", pa.float64()),
        ("cpu_system_s", pa.float64()),
    ]
)


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, pa.string() if field.type == _TEXT else field.type) for field in schema])


_BATCH_ROWS = 1 << 14


class SampleTable(TableFile):
    """Writes a file of samples (or readings) from dictionaries, holding at most one batch of 2^14 rows."""

    def __init__(self, path: Path, schema: pa.Schema = PROCESS_SCHEMA) -> None:
        super().__init__(path, schema)
        self._schema = schema
        self._rows: list[dict[str, Any]] = []

    def append(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Add samples; keys are the column names of the schema, a missing one is null, an unknown one an error.

        Raises KeyError for an unknown column: a misspelt metric must not vanish.
        """
        for sample in samples:
            unknown = sample.keys() - set(self._schema.names)
            if unknown:
                raise KeyError(f"process samples have no column {sorted(unknown)}")
            self._rows.append(dict(sample))
            if len(self._rows) >= _BATCH_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._rows:
            plain = pa.Table.from_pylist(self._rows, schema=_plain(self._schema))
            self._hand_over(plain.cast(self._schema))
            self.rows += len(self._rows)
            self._rows = []
