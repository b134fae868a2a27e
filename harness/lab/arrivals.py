"""Whether messages are still under way: what was accepted against what has arrived, by the agents' running counts.

A client of casts, fanouts or notifications has ended once its bus has taken the last of them, and that one has yet to
arrive. A ledger taken at that moment would call lost what is on its way. So a cell drains until every copy has arrived
and nothing more comes (one that arrives twice makes up the number of one that has not), or until its drain is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.delivery import copies_due
from harness.store.schema import AgentRecord

__all__ = ["Arrivals"]

#: Patterns whose operations have ended before their messages arrive.
_ONE_WAY = frozenset({"rpc-cast", "rpc-fanout", "notify"})
#: Counts stand still when they have not changed for so many of the agents' turns to tell them.
_TURNS = 1.5


class Arrivals:
    """The copies of one-way messages that a cell's servers are to receive.

    Args:
        agents: those of the cell.
    """

    def __init__(self, agents: Sequence[AgentRecord]) -> None:
        self._quiet_s = _TURNS * max((float(agent.task.get("progress_s", 1.0)) for agent in agents), default=0.0)
        self._receivers: list[tuple[list[tuple[int, int]], list[int]]] = []
        for workload in dict.fromkeys(agent.workload for agent in agents):
            own = [agent for agent in agents if agent.workload == workload]
            servers = [agent for agent in own if agent.role == "server"]
            clients = [agent for agent in own if agent.role == "client" and agent.pattern in _ONE_WAY]
            if clients and servers:
                # With targets of unequal size more may be waited for than comes: too long is no fault, too short is.
                copies = [(one.index, max(copies_due(one, at, servers) for at in _targets(one))) for one in clients]
                self._receivers.append((copies, [server.index for server in servers]))
        self._came: list[int] = []
        self._since_s = 0.0

    def awaited(self, progress: Mapping[int, Mapping[str, Any]], now_s: float) -> bool:
        """Whether to wait on.

        Args:
            progress: what each agent, by index, told last (harness.agent.tally).
            now_s: the instant it is, seconds; later ones in later calls.
        """
        came = [sum(_arrived(progress.get(index) or {}) for index in servers) for _, servers in self._receivers]
        if came != self._came:
            self._came, self._since_s = came, now_s
        owed = (
            sum(int((progress.get(index) or {}).get("done") or 0) * copies for index, copies in clients)
            for clients, _ in self._receivers
        )
        missing = any(here < due for here, due in zip(came, owed, strict=True))
        return bool(came) and (missing or now_s - self._since_s < self._quiet_s)


def _targets(client: AgentRecord) -> range:
    return range(max(1, len(client.targets)))


def _arrived(counts: Mapping[str, Any]) -> int:
    """Messages a server took and dealt with, also by raising; not those it gave back, which come again."""
    failed = sum(int(count) for count in dict(counts.get("failed") or {}).values())
    return int(counts.get("done") or 0) + failed - int(counts.get("given_back") or 0)
