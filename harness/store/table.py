"""A Parquet file that appears whole or not at all, written batch by batch in constant memory."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from harness.store.atomic import beside, publish, writing

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["TableFile"]


class TableFile(ABC):
    """Holds the writer and the rows not yet handed to it; `publish` makes the file count.

    Pages carry checksums, so that a flipped bit is an error to the reader and not a figure.
    """

    def __init__(self, path: Path, schema: pa.Schema, **options: Any) -> None:
        self._path = path
        self._schema = schema
        with writing(path):
            self._writer = pq.ParquetWriter(
                beside(path), schema, compression="zstd", compression_level=1, write_page_checksum=True, **options
            )
        self.rows = 0

    @abstractmethod
    def _flush(self) -> None:
        """Hand the waiting rows to the writer."""

    def publish(self) -> None:
        """Close the file and put it in its place, whole."""
        self._flush()
        with writing(self._path):
            self._writer.close()
        publish(self._path)

    def discard(self) -> None:
        """Give up what was not published: its room on the disk may be what the run's manifest lacks."""
        with contextlib.suppress(OSError):
            self._writer.close()
        with contextlib.suppress(OSError):
            beside(self._path).unlink(missing_ok=True)

    def _hand_over(self, table: pa.Table, **options: Any) -> None:
        with writing(self._path):
            self._writer.write_table(table, **options)
