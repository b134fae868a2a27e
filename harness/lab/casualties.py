"""Agents that end under load: who, how, and whether anybody told them to. One that dies costs its own results only."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from harness.errors import AgentFailure
from harness.lab.agents import AgentHandle, AgentReport
from harness.lab.observer import Observer
from harness.plan.cell import AgentPlan, CellPlan
from harness.store.writer import CellWriter

__all__ = ["Casualties"]

#: What the death of an agent means for the figures of its cell.
_COSTS = "its own operations are left out of every latency and rate, the others' are kept"


class Casualties:
    """The agents of one cell that have ended.

    Args:
        plan: the cell.
        writer: gets an event for each that nobody told to end, and what is known of every one.
        observer: is told of it at once.
    """

    def __init__(self, plan: CellPlan, writer: CellWriter, observer: Observer) -> None:
        self._plan = plan
        self._writer = writer
        self._observer = observer
        self._start_s = 0.0
        self._told: Callable[[], Collection[str]] = tuple
        self._lost: dict[int, AgentFailure] = {}
        self._facts: dict[int, dict[str, Any]] = {}

    def begin(self, start_s: float, told: Callable[[], Collection[str]]) -> None:
        """The load begins.

        Args:
            start_s: at that instant, CLOCK_MONOTONIC seconds.
            told: gives the names of the agents the timeline has ended so far.
        """
        self._start_s = start_s
        self._told = told

    def __contains__(self, index: int) -> bool:
        """Whether the agent of that index has ended."""
        return index in self._facts

    @property
    def reasons(self) -> list[str]:
        """Why the cell is degraded: each agent that died, with its last log lines; empty if none did."""
        names = {agent.index: agent.name for agent in self._plan.agents}
        return [f"agent {names[index]} {failure.what}; {_COSTS}" for index, failure in self._lost.items()]

    def look(self, agents: Mapping[int, AgentHandle]) -> None:
        """See which of these agents, by index, have ended meanwhile.

        Raises AgentFailure if every client has died.
        """
        for plan in self._plan.agents:
            if plan.index not in self:
                try:
                    agents[plan.index].check()
                except AgentFailure as failure:
                    self._lose(plan, failure)
        clients = [agent.index for agent in self._plan.agents if agent.role == "client"]
        if all(index in self._lost for index in clients):
            raise self._lost[clients[0]]

    def go(self, plan: AgentPlan, agent: AgentHandle) -> None:
        """Begin an agent's load."""
        try:
            agent.go(self._start_s)
        except AgentFailure as failure:
            self._lose(plan, failure)

    def report(self, plan: AgentPlan, agent: AgentHandle) -> AgentReport | None:
        """Record what an agent says it did in all, and what is known of one that has ended; None of the latter."""
        report = None
        if plan.index not in self:
            try:
                report = agent.report(final=True)
            except AgentFailure as failure:
                self._lose(plan, failure)
        if report is None:
            failures = [str(name) for name in agent.progress.get("failures") or ()]
            facts = {**agent.facts, **self._facts[plan.index]}
            self._writer.set_agent(plan.index, facts=facts, failures=failures)
        return report

    def _lose(self, plan: AgentPlan, failure: AgentFailure) -> None:
        """An agent has ended, or fallen silent."""
        planned = plan.name in self._told()
        died_s = round(time.monotonic() - self._start_s, 3)
        self._facts[plan.index] = {"killed": True, "died_s": died_s, "planned": planned}
        if not planned:
            self._lost[plan.index] = failure
            self._writer.add_event(time.monotonic_ns(), "agent", f"{plan.name}: died")
            self._observer.note(f"agent {plan.name} {failure.what}")
