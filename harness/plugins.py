"""Parts of one kind: ours, then those other distributions register through entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from harness.errors import BadInput

__all__ = ["with_plugins"]

PartT = TypeVar("PartT")


def with_plugins(built_in: Mapping[str, PartT], group: str, kind: str) -> dict[str, PartT]:
    """All parts by name, ours first.

    Args:
        built_in: ours.
        group: entry-point group of the others.
        kind: plural word for such parts, for the error.

    Raises:
        BadInput: one takes the name of another.
    """
    found = dict(built_in)
    for entry in entry_points(group=group):
        if entry.name in found:
            raise BadInput(
                f"two {kind} are called {entry.name!r}",
                where=entry.value,
                remedy="uninstall one of the distributions that provide it",
            )
        found[entry.name] = entry.load()
    return found
