"""Names of everything in a result directory. The one place that knows them.

    results/<scenario>/<run-id>/
        manifest.json             what this run is and how far it got (harness.store.schema.Manifest)
        scenario.resolved.yaml    the scenario as it really ran, every default filled in
        .writer.lock              locked for as long as the writing process lives
        logs/                     logs that belong to no one cell
        cells/<cell-id>/
            cell.json             plan, facts, ledger counters, state (harness.store.schema.CellRecord)
            operations.parquet    one row per client operation
            deliveries.parquet    one row per message a server or listener received
            processes.parquet     one row per sampled process and instant
            readings.parquet      one row per reading at rest of a dosed process (memory cells only)
            logs/
        attempts/<cell-id>.<n>/   what the n-th attempt at a cell left that did not count and was run again

Names that begin with a dot are unfinished or internal; a reader ignores them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ATTEMPTS",
    "CELLS",
    "CELL_RECORD",
    "DELIVERIES",
    "LOCK",
    "LOGS",
    "MANIFEST",
    "OPERATIONS",
    "PROCESSES",
    "READINGS",
    "SCENARIO",
    "SCHEMA",
    "new_run_id",
    "require_text",
    "safe_name",
    "utc_now",
]

#: Version of the layout and of every file in it; a reader refuses a newer one.
SCHEMA = 1

MANIFEST = "manifest.json"
SCENARIO = "scenario.resolved.yaml"
LOCK = ".writer.lock"
LOGS = "logs"
CELLS = "cells"
ATTEMPTS = "attempts"
CELL_RECORD = "cell.json"
OPERATIONS = "operations.parquet"
DELIVERIES = "deliveries.parquet"
PROCESSES = "processes.parquet"
READINGS = "readings.parquet"

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_name(text: str) -> str:
    """`text` as one path component: letters, digits, dot, hyphen, underscore; never empty, never hidden."""
    return _UNSAFE.sub("-", text).strip(".-") or "unnamed"


def require_text(directory: Path) -> None:
    """Raise BadInput unless the directory's name is text: Parquet files can be neither written nor read elsewhere."""
    try:
        str(directory).encode()
    except UnicodeEncodeError:
        raise BadInput(
            "the path is not UTF-8 text",
            where=str(directory).encode(errors="backslashreplace").decode(),
            remedy="name another directory, or go there and name it relatively",
        ) from None


def utc_now() -> str:
    """This instant as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_run_id(suffix: str) -> str:
    """A run id that sorts by time: "20261122T165301Z-" and a suffix that tells runs of one second apart."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{safe_name(suffix)}"
