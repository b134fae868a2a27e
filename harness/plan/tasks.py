"""What each agent is told to do: the plain-JSON task of `harness.agent.task`, made from a workload.

The transport URL, which carries a password, and the record file's path are added by the lab when it knows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.model.scenario import Load
from harness.model.stack import StackSpec
from harness.model.workload import Workload
from harness.plan.seeds import derive

__all__ = ["EXCHANGE", "client_task", "server_task", "topic_name", "worker_count"]

#: The control exchange all workloads use.
EXCHANGE = "femdc"


def topic_name(workload: str, spec: Workload, server_site: str) -> str:
    """The topic servers of a workload at that site listen on."""
    return f"{workload}-{server_site}" if spec.targets == "per-site" else workload


def worker_count(spec: Workload) -> int:
    """Threads a client needs so that its schedule does not wait for its answers.

    By Little's law rate x time under way; two seconds are allowed for, or the time-out where that is shorter, and
    one thread is spare. A client whose threads are all busy says so in its result.
    """
    if spec.workers is not None:
        return spec.workers
    if spec.mode == "closed" or spec.rate is None:
        return 1
    return min(256, max(4, math.ceil(spec.rate * min(spec.timeout, 2.0)) + 1))


def _common(
    name: str, index: int, workload: str, spec: Workload, stack: StackSpec, load: Load, seed: int
) -> dict[str, Any]:
    return {
        "agent": index,
        "name": name,
        "adapter": stack.adapters[0],
        "driver": stack.driver,
        "options": {group: dict(values) for group, values in stack.options.items()},
        "pattern": spec.pattern,
        "exchange": EXCHANGE,
        "warmup_s": load.warmup,
        "duration_s": load.duration,
        "payload": {"kind": "fixed", "bytes": spec.payload},
        "timeout_s": spec.timeout,
        "seed": derive(seed, name),
        "workload": workload,
    }


def client_task(
    name: str,
    index: int,
    position: float,
    workload: str,
    spec: Workload,
    site: str,
    stack: StackSpec,
    load: Load,
    seed: int,
) -> Mapping[str, Any]:
    """The task of a client.

    Args:
        position: where between 0 and 1 the client stands among the workload's clients; spreads them over the interval.
    """
    schedule: dict[str, Any]
    if spec.mode == "closed":
        schedule = {"kind": "closed", "pause_s": spec.pause}
    else:
        assert spec.rate is not None
        schedule = {"kind": spec.arrivals, "rate_per_s": spec.rate}
        if spec.arrivals == "constant":
            schedule["offset_s"] = position / spec.rate
    return {
        **_common(name, index, workload, spec, stack, load, seed),
        "role": "client",
        "topics": [{"topic": topic_name(workload, spec, site), "server": None}],
        "server": "",
        "schedule": schedule,
        "workers": worker_count(spec),
        "behaviour": {},
    }


def server_task(
    name: str, index: int, workload: str, spec: Workload, site: str, stack: StackSpec, load: Load, seed: int
) -> Mapping[str, Any]:
    """The task of a server or notification listener."""
    behaviour: dict[str, Any] = {}
    if spec.server.service_time:
        behaviour["service_time"] = {"kind": "fixed", "seconds": spec.server.service_time}
    return {
        **_common(name, index, workload, spec, stack, load, seed),
        "role": "server",
        "topics": [{"topic": topic_name(workload, spec, site), "server": None}],
        "server": name,
        "schedule": {},
        "workers": spec.server.threads,
        "behaviour": behaviour,
    }
