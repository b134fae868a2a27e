"""Transports of oslo.messaging: the global configuration, making them, connecting them.

One client stack per process: oslo.messaging reads some options from the global `cfg.CONF` whatever configuration it
is given, so that is the one used. Drivers read their options when they are made; they are therefore handed over as
a configuration file that is parsed before anything else.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import opts as oslo_opts
from oslo_messaging._drivers import base as drivers_base

from harness.agent.task import TaskError

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = ["configure", "connect", "known_options", "notification_transport", "rpc_transport"]


def configure(task: Task) -> None:
    """Put the task's options into the global configuration. Raises TaskError for an option nobody knows."""
    options = {group or "DEFAULT": dict(values) for group, values in task.options.items()}
    if task.role == "server":
        options.setdefault("DEFAULT", {}).setdefault("executor_thread_pool_size", task.workers)
    known = known_options()
    for group, values in options.items():
        for name in values:
            if (group, name.replace("-", "_")) not in known:
                raise TaskError(f"options.{group}.{name}: oslo.messaging has no such option")
    handle, path = tempfile.mkstemp(prefix="oslo-", suffix=".conf")
    try:
        with os.fdopen(handle, "w") as file:
            for group, values in options.items():
                file.write(f"[{group}]\n")
                for name, value in values.items():
                    file.write(f"{name} = {_text(value)}\n")
        cfg.CONF([], project="harness-agent", default_config_files=[path], default_config_dirs=[])
    finally:
        os.unlink(path)  # noqa: PTH108
    oslo_messaging.set_transport_defaults(control_exchange=task.exchange)


@functools.lru_cache(maxsize=None)
def known_options() -> frozenset[tuple[str, str]]:
    """All options of oslo.messaging: (group, name)."""
    known: set[tuple[str, str]] = set()
    for group, options in oslo_opts.list_opts():
        name = getattr(group, "name", group) or "DEFAULT"
        for option in options:
            known.add((name, option.dest))
            for old in option.deprecated_opts:
                known.add((old.group or name, (old.name or option.name).replace("-", "_")))
    # The list has the connection pool's options under DEFAULT up to 15.x, where the rabbit driver never looked.
    known.update(("oslo_messaging_rabbit", option.dest) for option in getattr(drivers_base, "base_opts", ()))
    return frozenset(known)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(_text(item) for item in value)
    return str(value).replace("$", "$$")


def rpc_transport(task: Task) -> Any:
    """A new RPC transport for the task's url: by `get_rpc_transport` where the release has it (5.24 on)."""
    make = getattr(oslo_messaging, "get_rpc_transport", None) or oslo_messaging.get_transport
    transport = make(cfg.CONF, url=task.url)
    _silence()
    return transport


def notification_transport(task: Task) -> Any:
    """A new notification transport for the task's url."""
    transport = oslo_messaging.get_notification_transport(cfg.CONF, url=task.url)
    _silence()
    return transport


def _silence() -> None:
    """Drop deprecation warnings again: the amqp1 driver turns them all on when imported, and its messages and
    listeners are deprecated classes, so each message would print one."""
    warnings.simplefilter("ignore", DeprecationWarning)


def connect(transport: Any, task: Task) -> bool:
    """Make a transport connect now rather than at the first message. Whether it is known to be connected.

    There is no public way, so this uses what the drivers do themselves at the first message: rabbit's
    `_get_reply_q` and connection pool, amqp1's `_ensure_connect_called`. Where a release has neither, nothing is done.
    """
    driver = transport._driver
    if hasattr(driver, "_get_reply_q"):
        if task.pattern != "notify":
            driver._get_reply_q()
        with driver._get_connection():
            return True
    ensure = getattr(type(driver), "_ensure_connect_called", None)
    if ensure is None:
        return False
    ensure(_nothing)(driver)
    deadline = time.monotonic() + task.timeout_s
    while time.monotonic() < deadline:
        link = getattr(driver._ctrl, "reply_link", None)
        if link is not None and getattr(link, "active", True):
            return True
        time.sleep(0.005)
    return False


def _nothing(_driver: Any) -> None:
    pass
