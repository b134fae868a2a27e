"""What an adapter or its driver cannot do: pure, so that a planner may ask before anything runs."""

from __future__ import annotations

from harness.agent.task import CHURN, Task, TaskError

__all__ = ["CHURN_OF", "check_limits"]

#: Cycles of client life the raw adapters have; oslo has those of the others that are not a raw client's own.
CHURN_OF = {
    "kombu": ("churn-connect", "churn-cast", "churn-link", "churn-declare", "churn-evented"),
    "proton": ("churn-connect", "churn-abandon", "churn-cast", "churn-link", "churn-blocking"),
    "pyngus": ("churn-connect", "churn-abandon", "churn-cast", "churn-transport", "churn-link"),
    "loopback": ("churn-connect",),
}
#: Cycles of what oslo.messaging does not show its users.
RAW_CHURN = ("churn-abandon", "churn-link", "churn-declare", "churn-evented", "churn-blocking")
#: Its servers send a heartbeat every half of call_monitor_timeout, cut to whole seconds, and none where that is below a
#: second (oslo_messaging/rpc/dispatcher.py, `_watchdog`; 12.14 to 18.3).
_LEAST_MONITOR_S = 2.0
_DRIVERS = {"oslo": ("rabbit", "amqp1"), "kombu": ("rabbit",), "proton": ("amqp1",), "pyngus": ("amqp1",)}


def check_limits(task: Task) -> None:
    """Raise TaskError, naming the key and the reason, if the task's adapter or driver cannot do what it asks."""
    drivers = _DRIVERS.get(task.adapter)
    if drivers is not None and task.driver not in drivers:
        raise TaskError(f"driver: the {task.adapter} adapter speaks {' and '.join(drivers)} only, not {task.driver}")
    if task.driver == "amqp1" and task.notify.pool is not None:
        raise TaskError("notify.pool: routers have no queues that listeners could share by name")
    if task.behaviour.requeue_fraction and task.pattern != "notify":
        raise TaskError("behaviour.requeue_fraction: only notifications can be given back")
    if task.adapter == "oslo":
        _check_oslo(task)
    else:
        _check_raw(task)


def _check_oslo(task: Task) -> None:
    if task.pattern in RAW_CHURN:
        raise TaskError(f"pattern: oslo.messaging has no {task.pattern} of its own")
    if task.behaviour.ack and task.behaviour.ack != ("after" if task.pattern == "notify" else "before"):
        raise TaskError("behaviour.ack: oslo.messaging acknowledges RPC before and notifications after processing")
    if task.ttl_s is not None:
        raise TaskError("ttl_s: oslo.messaging derives the time to live from the time-out")
    if task.monitor_s is not None and task.monitor_s < _LEAST_MONITOR_S:
        raise TaskError("monitor_s: oslo.messaging's servers send no heartbeats to a call that asks for one within 2 s")


def _check_raw(task: Task) -> None:
    if task.pattern in CHURN and task.pattern not in CHURN_OF[task.adapter]:
        raise TaskError(f"pattern: the {task.adapter} adapter has no {task.pattern}")
    if task.options:
        raise TaskError(f"options: these are for oslo.messaging; the {task.adapter} adapter has none")
    if task.retry is not None:
        raise TaskError("retry: reconnection attempts are oslo.messaging's own")
    if task.monitor_s is not None:
        raise TaskError("monitor_s: heartbeats of a call are oslo.messaging's own")
    if task.adapter == "loopback":
        if task.behaviour.requeue_fraction or task.notify.pool is not None:
            raise TaskError("notify: the loopback adapter has no queues to give anything back to, or to share")
        for key, said in (("ttl_s", task.ttl_s is not None), ("behaviour.ack", bool(task.behaviour.ack))):
            if said:
                raise TaskError(f"{key}: the loopback adapter keeps no messages")
