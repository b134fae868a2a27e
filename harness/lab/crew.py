"""The agents of a cell: fresh processes, or members of fleets, one fleet per node, stack and client library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from harness.lab.agents import AgentHandle, in_parallel
from harness.lab.fleet import FleetHandle
from harness.plan.cell import AgentPlan
from harness.runtime.protocol import Runtime
from harness.stack.build import StackEnvironment

__all__ = ["crew", "patience_s", "sampled_lightly"]

#: How long an agent may take to disconnect politely, seconds; the lab is removed in any case.
_STOP_S = 3.0
#: Of forked agents of one workload, role and site so many are sampled in full; reading the memory of a process takes
#: milliseconds, and of a thousand processes more than a core.
_SAMPLED = 4


def patience_s(agents: int) -> float:
    """How long one of so many agents may take to connect while the others do, seconds."""
    return max(60.0, 0.3 * agents)


def sampled_lightly(agents: Sequence[AgentPlan]) -> frozenset[str]:
    """The names of those whose CPU alone is sampled."""
    seen: dict[tuple[str, str, str], int] = {}
    lightly = []
    for agent in agents:
        if agent.processes == "fork":
            kind = (agent.workload, agent.role, agent.site)
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] > _SAMPLED:
                lightly.append(agent.name)
    return frozenset(lightly)


@contextlib.contextmanager
def crew(
    lab: Runtime,
    agents: Sequence[AgentPlan],
    archive: Mapping[str, str],
    environments: Mapping[str, StackEnvironment],
    stack_env: Mapping[str, Mapping[str, str]],
) -> Iterator[Mapping[int, AgentHandle]]:
    """Start all agents of a cell and greet them; end them when the context ends.

    Args:
        lab: the opened lab.
        agents: what was planned.
        archive: the agent archive's path in each node.
        environments: built stacks by name.
        stack_env: environment variables of each stack's processes, by stack name.

    Yields the agents by index. Raises AgentFailure.
    """
    started: dict[int, AgentHandle] = {}
    fleets: dict[tuple[str, str, str], FleetHandle] = {}
    alone: list[AgentHandle] = []
    try:
        for plan in agents:
            python = str(environments[plan.stack].python)
            if plan.processes == "fork":
                key = (plan.node, plan.stack, plan.adapter)
                if key not in fleets:
                    fleets[key] = FleetHandle(
                        lab,
                        plan.node,
                        f"fleet-{'-'.join(key)}",
                        python,
                        archive[plan.node],
                        plan.adapter,
                        str(plan.task["driver"]),
                        env=stack_env[plan.stack],
                    )
                started[plan.index] = fleets[key].spawn(plan.name)
                continue
            started[plan.index] = AgentHandle.start(
                lab, plan.node, plan.name, python, archive[plan.node], env=stack_env[plan.stack]
            )
            alone.append(started[plan.index])
        in_parallel(started.values(), lambda agent: agent.hello(patience_s(len(agents))))
        yield started
    finally:
        # The end of a fleet is the end of its members, who disconnect by themselves.
        in_parallel(alone, lambda agent: agent.stop(_STOP_S))
        in_parallel(fleets.values(), FleetHandle.stop)
