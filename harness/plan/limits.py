"""What a workload asks of a bus, driver or adapter that cannot do it: refused before anything runs, and located."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.agent.limits import check_limits
from harness.agent.task import Task, TaskError
from harness.model.faults import Fault, nearest
from harness.model.scenario import Load
from harness.model.stack import StackSpec
from harness.model.workload import Workload

__all__ = ["adapter_fault", "stall_faults", "task_fault"]

At = tuple[str | int, ...]

#: Where a key of a task stands in a workload.
_WHERE: Mapping[str, At] = {
    "driver": ("adapter",),
    "notify": ("notify",),
    "notify.pool": ("notify", "pools"),
    "behaviour.requeue_fraction": ("server", "requeues"),
    "behaviour.ack": ("server", "acknowledge"),
    "ttl_s": ("ttl",),
    "monitor_s": ("monitor",),
    "retry": ("retry",),
    "pattern": ("pattern",),
    "options": ("options",),
    "payload": ("payload",),
    "schedule": ("schedule",),
    "timeout_s": ("timeout",),
    "workers": ("workers",),
    "behaviour.service_time": ("server", "service_time"),
    "behaviour.stalls": ("server", "stalls"),
}
#: Keys of a task that stand beside the workloads.
_OF_LOAD: Mapping[str, At] = {"duration_s": ("load", "duration"), "warmup_s": ("load", "warmup")}
#: What would be right instead, by key of the task.
_INSTEAD: Mapping[str, str] = {
    "driver": "an adapter that speaks what the stack's driver speaks",
    "notify": "no notify, or a system with a bus",
    "notify.pool": "no pools, or systems whose bus is rabbitmq only",
    "behaviour.requeue_fraction": "no requeues, or pattern: notify over a bus",
    "behaviour.ack": "no acknowledge, or adapter: kombu, proton or pyngus",
    "ttl_s": "no ttl, or adapter: kombu, proton or pyngus",
    "monitor_s": "a monitor of 2s or more and adapter: oslo, or no monitor",
    "retry": "no retry, or adapter: oslo",
    "options": "no options, or adapter: oslo",
    "pattern": "another pattern, or another adapter",
}
#: Adapters whose traffic does not go over a bus of the system.
_WITHOUT_BUS = ("loopback",)


def adapter_fault(at: At, adapter: str, stack: StackSpec, bus_kind: str) -> Fault | None:
    """Why a workload or a dose cannot use that client library, asked for there; None if it can."""
    if adapter not in stack.adapters:
        what = f"stack {stack.name!r} has no adapter {adapter!r}"
        return Fault(at, what, f"one of: {', '.join(stack.adapters)}", nearest(adapter, stack.adapters))
    if (adapter in _WITHOUT_BUS) != (bus_kind == "loopback"):
        others = [one for one in stack.adapters if (one in _WITHOUT_BUS) == (bus_kind == "loopback")]
        expected = f"one of: {', '.join(others)}" if others else "another bus, or a stack with `adapters` for this one"
        return Fault(at, f"the {adapter} adapter does not speak to a {bus_kind} bus", expected)
    return None


def task_fault(system: str, workload: str, task: Mapping[str, Any]) -> Fault | None:
    """Why an agent of that system would refuse its task; None if it would not."""
    try:
        check_limits(Task.from_json(task))
    except TaskError as error:
        key, _, reason = str(error).partition(": ")
        if key in _OF_LOAD:
            return Fault(_OF_LOAD[key], f"system {system!r} cannot do this: {reason}")
        place = _WHERE.get(key) or _WHERE.get(".".join(key.split(".")[:2])) or _WHERE.get(key.split(".")[0], ())
        what = f"system {system!r} cannot do this: {reason}"
        return Fault(("workloads", workload, *place), what, _INSTEAD.get(key))
    return None


def stall_faults(workload: str, spec: Workload, load: Load) -> list[Fault]:
    """Stalls that would begin when the load has ended."""
    end = load.warmup + load.duration
    return [
        Fault(
            ("workloads", workload, "server", "stalls", index, "at"),
            f"the stall begins at {stall.at:g} s, when the load has ended ({end:g} s, warm-up included)",
            "a time within the load",
        )
        for index, stall in enumerate(spec.server.stalls)
        if stall.at >= end
    ]
