"""What each agent is told to do: the plain-JSON task of `harness.agent.task`, made from a workload.

The transport URL, which carries a password, and the record file's path are added by the lab when it knows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.model.distribution import as_task, mean_of
from harness.model.scenario import Load
from harness.model.schedule import Schedule
from harness.model.stack import StackSpec
from harness.model.workload import Workload
from harness.plan.seats import Seat
from harness.plan.seeds import derive

__all__ = ["EXCHANGE", "TaskMaker", "worker_count"]

#: The control exchange all workloads use.
EXCHANGE = "femdc"
#: Seconds between two progress messages of an agent are its workload's number of agents divided by this, at least 1,
#: so that the controller hears at most so many a second.
_PROGRESS_PER_S = 100
#: Threads a client begins with at most, and may add to while all it has wait for answers, unless the scenario says how
#: many it has.
_MOST_WORKERS = 256
_MOST_ADDED = 1024


def worker_count(spec: Workload) -> int:
    """Threads a client needs so that its schedule does not wait for its answers.

    By Little's law rate x time under way: two seconds or twice the mean service time are allowed for, or the time-out
    where that is shorter; one thread is spare. Where answers take longer a client adds threads (`most_workers`), so
    that the loop stays open; one whose threads are all busy says so in its result.
    """
    if spec.workers is not None:
        return spec.workers
    timing = spec.timing
    if timing.closed is not None:
        return 1
    if timing.burst is not None:
        return min(_MOST_WORKERS, max(4, timing.burst.size))
    under_way = min(spec.timeout, max(2.0, 2.0 * mean_of(spec.server.service_time)))
    return min(_MOST_WORKERS, max(4, math.ceil((timing.peak_per_s or 0.0) * under_way) + 1))


@dataclass(frozen=True, slots=True)
class TaskMaker:
    """Makes the tasks of one workload's agents.

    Attributes:
        workload, spec: its name, and what it says.
        agents: how many it has in all.
        adapter: the client library they use.
        stack: the environment they run in.
        load: the load's time line.
        seed: of the load of the repetition, alike in all its cells.
    """

    workload: str
    spec: Workload
    agents: int
    adapter: str
    stack: StackSpec
    load: Load
    seed: int

    def client(self, seat: Seat, index: int, position: float) -> Mapping[str, Any]:
        """The task of a client.

        Args:
            position: where between 0 and 1 the client stands among the workload's clients; spreads them evenly over
                the interval between two operations.
        """
        return {
            **self._common(seat, index),
            "role": "client",
            "server": "",
            "schedule": _schedule(self.spec.timing, position),
            "workers": worker_count(self.spec),
            "most_workers": _MOST_ADDED if self.spec.workers is None and self.spec.timing.closed is None else None,
            "behaviour": {},
        }

    def server(self, seat: Seat, index: int) -> Mapping[str, Any]:
        """The task of a server or notification listener."""
        return {
            **self._common(seat, index),
            "role": "server",
            "pattern": "rpc-call" if self.spec.pattern.startswith("churn-") else self.spec.pattern,
            "server": seat.name,
            "schedule": {},
            "workers": self.spec.server.threads,
            "behaviour": self._behaviour(),
        }

    def _common(self, seat: Seat, index: int) -> dict[str, Any]:
        spec = self.spec
        task: dict[str, Any] = {
            "agent": index,
            "name": seat.name,
            "adapter": self.adapter,
            "driver": self.stack.driver,
            "options": self._options(),
            "pattern": spec.pattern,
            "exchange": EXCHANGE,
            "topics": [{"topic": meeting.topic, "server": meeting.server} for meeting in seat.meetings],
            "warmup_s": self.load.warmup,
            "duration_s": self.load.duration,
            "payload": as_task(spec.payload, "bytes"),
            "timeout_s": spec.timeout,
            "seed": derive(self.seed, seat.name),
            "workload": self.workload,
            "progress_s": max(1.0, self.agents / _PROGRESS_PER_S),
        }
        said = {"monitor_s": spec.monitor, "ttl_s": spec.ttl, "retry": spec.retry}
        task |= {key: value for key, value in said.items() if value is not None}
        if spec.notify is not None:
            task["notify"] = {
                "driver": spec.notify.driver,
                "priorities": list(spec.notify.priorities),
                "pool": seat.pool,
            }
        return task

    def _options(self) -> dict[str, dict[str, Any]]:
        """The workload's options over the stack's; the libraries beside oslo.messaging have none."""
        layers = (self.stack.options if self.adapter == "oslo" else {}, self.spec.options)
        merged: dict[str, dict[str, Any]] = {}
        for layer in layers:
            for group, values in layer.items():
                merged.setdefault(group or "DEFAULT", {}).update(values)
        return merged

    def _behaviour(self) -> dict[str, Any]:
        server = self.spec.server
        behaviour: dict[str, Any] = {}
        if server.service_time:
            behaviour["service_time"] = as_task(server.service_time, "seconds")
        for key, share in (("raise", server.raises), ("silent", server.silent), ("requeue", server.requeues)):
            if share:
                behaviour[f"{key}_fraction"] = share
        if server.stalls:
            behaviour["stalls"] = [{"at_s": stall.at, "for_s": stall.lasts} for stall in server.stalls]
        if server.acknowledge is not None:
            behaviour["ack"] = server.acknowledge
        return behaviour


def _schedule(timing: Schedule, position: float) -> dict[str, Any]:
    """The schedule as the agent takes it (harness.agent.schedule)."""
    if timing.closed is not None:
        closed: dict[str, Any] = {"kind": "closed", "pause_s": timing.closed.pause}
        return closed if timing.closed.count is None else {**closed, "count": timing.closed.count}
    if timing.burst is not None:
        return {"kind": "burst", "size": timing.burst.size, "period_s": timing.burst.every}
    poisson = timing.arrivals == "poisson"
    if timing.rate is not None:
        schedule: dict[str, Any] = {"kind": timing.arrivals, "rate_per_s": timing.rate}
        return schedule if poisson else {**schedule, "offset_s": position / timing.rate}
    spacing: dict[str, Any] = {"arrivals": "poisson"} if poisson else {"phase": position}
    if timing.ramp is not None:
        ramp = timing.ramp
        over = {} if ramp.over is None else {"over_s": ramp.over}
        return {"kind": "ramp", "from_per_s": ramp.start, "to_per_s": ramp.to, **over, **spacing}
    assert timing.steps is not None
    steps = [{"rate_per_s": step.rate, "duration_s": step.lasts} for step in timing.steps]
    return {"kind": "steps", "steps": steps, **spacing}
