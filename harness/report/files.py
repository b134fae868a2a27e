"""Writes reports where they are wanted, or says why it cannot."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.errors import BadInput
from harness.store.atomic import replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["place_for_files", "write_report"]


@contextmanager
def place_for_files(directory: Path) -> Iterator[None]:
    """A directory to write to, made if missing. Raises BadInput if it cannot be made or written to."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise BadInput(
            f"the report cannot be written ({error.strerror})",
            where=str(directory),
            remedy="name a directory you may write to with --into",
        ) from None


def write_report(path: Path, text: str) -> None:
    """Write a report whole; its directory is made if missing. Raises BadInput."""
    with place_for_files(path.parent):
        replace_text(path, text)
