"""Which sites an operation or a delivery is between. Pure lookups over a cell's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.agent.records import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.store.schema import CellRecord

__all__ = ["UNKNOWN", "by_agent", "server_sites", "target_names"]

#: The code of a site (or other label) that is not known.
UNKNOWN = -1


def target_names(task: Mapping[str, Any]) -> list[str]:
    """The names of an agent's targets in the order its records number them, from its task."""
    return [
        str(target.get("topic")) if isinstance(target, Mapping) else str(target) for target in task.get("topics", ())
    ]


def by_agent(record: CellRecord, labels: Sequence[str], attribute: str) -> NDArray[np.int16]:
    """A table from agent index to the code of one of its attributes (index in `labels`); UNKNOWN for no such agent."""
    table = np.full(NOBODY + 1, UNKNOWN, np.int16)
    codes = {label: code for code, label in enumerate(labels)}
    for agent in record.agents:
        table[agent.index] = codes[getattr(agent, attribute)]
    return table


def server_sites(
    record: CellRecord,
    sites: Sequence[str],
    agent: NDArray[np.uint16],
    target: NDArray[np.uint16],
    peer: NDArray[np.uint16],
) -> NDArray[np.int16]:
    """The site that served each operation, as an index in `sites`.

    The answering agent's site where the operation names one; else the only site the plan lets that target be served
    at; else UNKNOWN (an operation without an answer whose target several sites serve).
    """
    served = by_agent(record, sites, "site")[peer]
    if (served != UNKNOWN).all():
        return served
    codes = {site: code for code, site in enumerate(sites)}
    clients = [a for a in record.agents if a.role == "client"]
    width = max((len(a.targets) for a in clients), default=0) + 1
    planned = np.full((max((a.index for a in clients), default=0) + 1, width), UNKNOWN, np.int16)
    sites_of: dict[tuple[str, str, str | None], set[str]] = {}
    for pair in record.pairs:
        for name in (pair.target, None):  # None: any target
            sites_of.setdefault((pair.workload, pair.client_site, name), set()).add(pair.server_site)
    for client in clients:
        for index in range(width):
            name = client.targets[index] if index < len(client.targets) else None
            found = sites_of.get((client.workload, client.site, name), set())
            planned[client.index, index] = codes[next(iter(found))] if len(found) == 1 else UNKNOWN
    row = np.minimum(agent, planned.shape[0] - 1)
    column = np.minimum(target, width - 1)
    return np.where(served == UNKNOWN, planned[row, column], served)
