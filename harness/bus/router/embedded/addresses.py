"""What an address text means, and which distribution its prefix asks for. Pure.

Forms, as in the real routers: `amqp:/X`, `amqp://host/X`, `/X` and `X` are the same; `_topo/0/R/X` is X at router R,
`_edge/R/X` is X at edge router R, `_local/X` is X here. Everything else is an address of the whole mesh, but names
beginning with `$` stay at the router they were said to.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Place", "distribution_of", "place_of"]


class Place(NamedTuple):
    """Where an address lives: at one router (its id), or anywhere in the mesh (None)."""

    router: str | None
    name: str


def place_of(text: str, here: str) -> Place:
    """The place an address text names, said at router `here`."""
    if text.startswith("amqp:"):
        text = text[5:]
        if text.startswith("//"):
            text = text[2:].partition("/")[2]
    text = text.lstrip("/")
    if text.startswith("_topo/"):
        parts = text.split("/", 3)
        if len(parts) == 4:
            return Place(parts[2], parts[3])
    elif text.startswith("_edge/"):
        parts = text.split("/", 2)
        if len(parts) == 3:
            return Place(parts[1], parts[2])
    elif text.startswith("_local/"):
        return Place(here, text[7:])
    if text.startswith("$"):
        return Place(here, text)
    return Place(None, text)


def distribution_of(name: str, prefixes: dict[str, str], default: str) -> str:
    """The distribution of the longest prefix that ends at a `/` or `.` of the name, or is all of it."""
    end = len(name)
    while end > 0:
        found = prefixes.get(name[:end])
        if found is not None:
            return found
        end = max(name.rfind("/", 0, end), name.rfind(".", 0, end))
    return default
