"""The record of every lab that lives on this host, so that what a killed harness left can be found and removed.

A record is one small JSON file per run. A lab is *abandoned* when its controller process is gone; processes are told
apart from later ones with the same number by their start time (field 22 of /proc/<pid>/stat, see proc(5)).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.errors import InfrastructureFailure

__all__ = [
    "LabRecord",
    "abandoned_labs",
    "process_start",
    "state_directory",
    "temporary_directory",
    "temporary_files_of",
]


#: Where scratch directories are made, whatever `tempfile` is told later; and how their names begin.
_TEMPORARY = tempfile.gettempdir()
_PREFIX = "femdc-"
#: A record is written in less.
_WRITTEN_S = 60.0


def state_directory() -> Path:
    """Where the harness keeps what it must remember between commands: $XDG_STATE_HOME/femdc-harness."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "femdc-harness"


def temporary_directory() -> Path:
    """Where scratch directories are made: $TMPDIR, else /tmp."""
    return Path(_TEMPORARY)


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, or None if there is no such process (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True, slots=True)
class LabRecord:
    """One lab on this host: who drives it, which process holds it (0: none), where its files are."""

    run_id: str
    controller: int
    controller_start: int
    holder: int
    holder_start: int
    scratch: str

    @classmethod
    def begin(cls, run_id: str) -> LabRecord:
        """Make a scratch directory for this process and note it first, so that no moment leaves it unaccounted for.

        Raises InfrastructureFailure where either cannot be written.
        """
        scratch = Path(_TEMPORARY) / f"{_PREFIX}{run_id}-{secrets.token_hex(4)}"
        record = cls(run_id, os.getpid(), process_start(os.getpid()) or 0, 0, 0, str(scratch))
        record._write()
        try:
            scratch.mkdir(mode=0o700)
        except OSError as error:
            record.remove()
            raise InfrastructureFailure(
                f"temporary files cannot be made: {error.strerror}",
                where=str(scratch),
                remedy="make room there, or set TMPDIR to a directory that can be written",
            ) from error
        return record

    def held_by(self, holder: int) -> LabRecord:
        """Note the process that holds the lab's namespaces."""
        record = replace(self, holder=holder, holder_start=process_start(holder) or 0)
        record._write()
        return record

    def _write(self) -> None:
        path = self._path()
        temporary = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(self)))
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise InfrastructureFailure(
                f"what this run makes on this host cannot be noted: {error.strerror}",
                where=str(path.parent),
                expected="a directory that can be written, so that `harness cleanup` finds what a killed run left",
                remedy="make room there, or set XDG_STATE_HOME to a directory that can be written",
            ) from error

    def remove(self) -> None:
        """Forget the lab."""
        self._path().unlink(missing_ok=True)

    def abandoned(self) -> bool:
        """Whether the process that drives the lab is gone."""
        return process_start(self.controller) != self.controller_start

    def destroy(self) -> None:
        """End the lab's holder (and with it everything in the lab), remove its files and forget it."""
        if self.holder_start and process_start(self.holder) == self.holder_start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.holder, signal.SIGKILL)
            deadline = time.monotonic() + 5.0
            while process_start(self.holder) == self.holder_start and time.monotonic() < deadline:
                time.sleep(0.02)
        scratch = Path(self.scratch)
        if scratch.name.startswith(f"{_PREFIX}{self.run_id}-"):
            shutil.rmtree(scratch, ignore_errors=True)
        self.remove()

    def _path(self) -> Path:
        return state_directory() / "labs" / f"{Path(self.scratch).name}.json"


def abandoned_labs() -> list[LabRecord]:
    """All labs on this host whose driving process is gone.

    A record that was never finished stands for nothing, since what it tells of is made after it: it is removed.
    """
    found = []
    for unfinished in (state_directory() / "labs").glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - unfinished.stat().st_mtime > _WRITTEN_S:
                unfinished.unlink()
    for path in sorted((state_directory() / "labs").glob("*.json")):
        try:
            record = LabRecord(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if record.abandoned():
            found.append(record)
    return found


@contextlib.contextmanager
def temporary_files_of(run_id: str) -> Iterator[None]:
    """Within it all temporary files of this process, and of what builds its stacks, go to one recorded directory, which
    goes when it ends.

    Raises InfrastructureFailure where it cannot be made.
    """
    record = LabRecord.begin(run_id)
    before = tempfile.tempdir
    tempfile.tempdir = record.scratch
    try:
        yield
    finally:
        tempfile.tempdir = before
        record.destroy()
