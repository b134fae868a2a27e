"""Files that are either whole or absent: written beside their place, synced, then renamed into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import IO, TYPE_CHECKING

from harness.errors import InfrastructureFailure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["WriterLock", "beside", "publish", "replace_text", "writer_alive", "writing"]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What writes `path`. Raises InfrastructureFailure where the disk does not take it: a run's disk may fill up."""
    try:
        yield
    except OSError as error:
        # Of what a library says at length only the cause is of use.
        why = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        raise InfrastructureFailure(
            f"the result cannot be written: {why}",
            where=str(path),
            remedy="make room there, or name another results directory",
        ) from error


def beside(path: Path) -> Path:
    """The hidden name a file is written under until it is whole."""
    return path.with_name(f".{path.name}.part")


def publish(path: Path) -> None:
    """Put `beside(path)` in `path`'s place, durably: its bytes, then the rename, then the directory reach the disk."""
    part = beside(path)
    with writing(path):
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def replace_text(path: Path, text: str) -> None:
    """Make `text` (UTF-8) the content of `path`; a reader sees the old or the new content, never a mixture."""
    try:
        with writing(path):
            beside(path).write_text(text, encoding="utf-8")
        publish(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside(path).unlink(missing_ok=True)
        raise


class WriterLock:
    """Held by the process that writes a run. The kernel drops it however that process ends, `kill -9` included."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises BlockingIOError if another writer holds it."""
        self._file: IO[str] | None = path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


def writer_alive(path: Path) -> bool:
    """Whether some process on this machine still holds the lock at `path`. A run copied elsewhere has no writer."""
    with contextlib.suppress(FileNotFoundError), path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
