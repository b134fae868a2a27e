"""Carries out what a scenario's timeline does to processes: bus components and agents stopped, killed, paused, started.

Bus components are played by a thread each, because starting one takes a while; agents by one thread together, because
they are only sent signals. What was paused and never resumed goes on when the load is over: its records are wanted.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.bus.protocol import Bus
from harness.bus.restart import READY_S
from harness.lab.player import Played, Player, playing
from harness.plan.cell import CellPlan, ProcessChange
from harness.runtime.protocol import NodeProcess

__all__ = ["Disruption", "process_event"]

_AGENTS = ""


class Disruption:
    """The process changes of one cell.

    Args:
        plan: the cell.
        buses: its buses by name, started.
        agents: the processes of its agents by name.
        started: told of a bus component's new process when it has been started again; from a thread of its own.
        start_s: CLOCK_MONOTONIC of the load's start.
    """

    def __init__(
        self,
        plan: CellPlan,
        buses: Mapping[str, Bus],
        agents: Mapping[str, NodeProcess],
        started: Callable[[str, NodeProcess], None],
        start_s: float,
    ) -> None:
        self._buses = buses
        self._agents = agents
        self._started = started
        self._lock = threading.Lock()
        self._down: set[str] = set()
        self._paused: dict[str, NodeProcess] = {}
        by_player: dict[str, list[ProcessChange]] = {}
        for change in plan.process_changes:
            by_player.setdefault(change.target if change.bus else _AGENTS, []).append(change)
        self._players = [Player(changes, self._carry_out, start_s) for changes in by_player.values()]

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Changes are carried out while the context lasts; at its end what is paused goes on."""
        try:
            with playing(*self._players):
                yield
        finally:
            for process in self._paused.values():
                process.signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise the failure of a change that could not be carried out."""
        for player in self._players:
            player.check()

    @property
    def down(self) -> frozenset[str]:
        """Names of the components and agents that are down because they were told to be."""
        with self._lock:
            return frozenset(self._down)

    @property
    def played(self) -> tuple[Played[ProcessChange], ...]:
        """What has been carried out, in order of time."""
        return tuple(sorted((one for player in self._players for one in player.played), key=lambda one: one.at_s))

    def _carry_out(self, change: ProcessChange) -> float:
        if change.action == "start":
            return self._start(change)
        instant = time.monotonic()
        if change.action in ("stop", "kill"):
            with self._lock:
                self._down.add(change.target)
            if change.bus:
                self._buses[change.bus].stop_component(change.target, kill=change.action == "kill")
            else:
                self._agents[change.target].signal(signal.SIGKILL if change.action == "kill" else signal.SIGTERM)
        else:
            process = self._process(change)
            if change.action == "pause":
                self._paused[change.target] = process
                process.signal(signal.SIGSTOP)
            else:
                process.signal(signal.SIGCONT)
                self._paused.pop(change.target, None)
        return instant

    def _start(self, change: ProcessChange) -> float:
        """When the component takes part again."""
        bus = self._buses[change.bus]
        bus.start_component(change.target, timeout_s=READY_S)
        ready = time.monotonic()
        with self._lock:
            self._down.discard(change.target)
        self._started(change.target, bus.processes()[change.target])
        return ready

    def _process(self, change: ProcessChange) -> NodeProcess:
        return self._buses[change.bus].processes()[change.target] if change.bus else self._agents[change.target]


def process_event(played: Played[ProcessChange]) -> dict[str, Any]:
    """Plain JSON: due_s and at_s (load time), target, bus, action, event, label."""
    change = played.change
    return {
        "due_s": change.at_s,
        "at_s": played.at_s,
        "target": change.target,
        "bus": change.bus,
        "action": change.action,
        "event": change.event,
        "label": change.label,
    }
