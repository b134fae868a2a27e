"""Sweeps: the points of a scenario's sweep, and a scenario's data with a point's values in place."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

from harness.errors import BadFile
from harness.model.document import Document
from harness.model.faults import nearest

__all__ = ["TOPOLOGY_KEYS", "points", "substitute"]

#: Top-level keys of a sweep that mean the topology, not the scenario itself.
TOPOLOGY_KEYS = ("links", "sites", "defaults")


def points(sweep: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """All combinations of the sweep's values, the last key varying fastest; one empty point without a sweep."""
    keys = list(sweep)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(sweep[key] for key in keys))]


def substitute(document: Document, key: str, value: Any, into: dict[str, Any], where: Document) -> None:
    """Put a sweep's value at its dotted key, in place.

    Args:
        document: the file whose data is changed, for its known keys.
        into: a deep copy of that document's data.
        where: the file the sweep stands in, for the error.

    Raises:
        BadFile: the key leads nowhere.
    """
    parts = key.split(".")
    here: Any = into
    for depth, part in enumerate(parts[:-1]):
        if not isinstance(here, dict) or part not in here:
            known = list(here) if isinstance(here, dict) else []
            prefix = ".".join(parts[:depth])
            what = f"{key!r} leads nowhere: there is no {part!r} " + (f"in {prefix}" if prefix else "at the top")
            expected = f"one of: {', '.join(map(str, known))}" if known else None
            raise BadFile((where.finding(("sweep", key), what, expected, nearest(part, map(str, known))),))
        here = here[part]
    if not isinstance(here, dict):
        raise BadFile((where.finding(("sweep", key), f"{key!r} leads into a value that has no keys"),))
    here[parts[-1]] = copy.deepcopy(value)
