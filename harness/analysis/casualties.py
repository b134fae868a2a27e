"""Agents that died under load: which were told to, and which cost their cell its soundness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.store.schema import AgentRecord, CellRecord

__all__ = ["lost_agents", "of_the_living"]


def lost_agents(record: CellRecord) -> list[AgentRecord]:
    """Agents that died, or fell silent, though the timeline did not end them: their own results are left out."""
    return [agent for agent in record.agents if agent.facts.get("killed") and agent.facts.get("planned") is False]


def of_the_living(record: CellRecord, *agents: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which rows concern none of them, None for all.

    Args:
        agents: columns of agent indexes, as long as each other.
    """
    lost = [agent.index for agent in lost_agents(record)]
    if not lost:
        return None
    living: NDArray[np.bool_] = np.logical_and.reduce([~np.isin(column, lost) for column in agents])
    return living
