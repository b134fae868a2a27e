"""RabbitMQ as the bus: a private broker (or a cluster of them), each in a node of the lab.

Everything a broker could share with one already on the machine is its own: node name, ports (inside the node's own
network namespace or container), data, logs, plug-in list, configuration and Erlang cookie.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.bus.readiness import AMQP_0_9_1, wait_for_greeting
from harness.errors import BusFailure, MissingCapability
from harness.plan.cell import BusNodePlan, BusPlan
from harness.runtime.protocol import NodeProcess, Runtime

__all__ = ["RabbitmqBus", "broker_configuration"]

PORT = 5672
_USER = "femdc"
#: Names the broker's start script may have in a node, tried in this order after $HARNESS_RABBITMQ_SERVER. Debian's
#: /usr/sbin wrapper insists on the system's own user and paths, so the script behind it comes first.
_SERVERS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server", "rabbitmq-server")
#: The first release that is told what to permit.
_PERMITS = (4, 0)
_PLUGIN = re.compile(r"^rabbit-(\d+)\.(\d+)", re.MULTILINE)
_VERSION = re.compile(r"Starting RabbitMQ (\S+) on Erlang (\S+)")

#: Run in the broker by `rabbitmqctl eval`; prints one JSON object with the broker's own counters; `holding`: messages
#: by queue, of those that have some.
_METRICS = """
Ctr = fun(L) -> maps:fold(fun(K, V, A) -> A#{atom_to_binary(K, utf8) => V} end, #{}, L) end,
Glob = maps:fold(fun(K, V, A) ->
    Name = iolist_to_binary([[atom_to_list(P), "=", atom_to_list(N), " "] || {P, N} <- K]),
    A#{Name => Ctr(V)} end, #{}, rabbit_global_counters:overview()),
Qs = [Q || Q <- rabbit_amqqueue:list()],
Holding = maps:from_list([{element(4, amqqueue:get_name(Q)), N} || Q <- Qs,
    N <- [case catch rabbit_amqqueue:info(Q, [messages]) of [{messages, M}] -> M; _ -> 0 end], N > 0]),
Node = maps:from_list([{atom_to_binary(K, utf8), V} || {K, V} <- erlang:memory()]),
io:format("~s~n", [rabbit_json:encode(#{
  <<"queues">> => length(Qs),
  <<"exchanges">> => length(rabbit_exchange:list(<<"/">>)),
  <<"connections">> => length(rabbit_networking:connections()),
  <<"channels">> => length(rabbit_channel:list()),
  <<"consumers">> => length(rabbit_amqqueue:consumers_all(<<"/">>)),
  <<"holding">> => Holding,
  <<"memory_bytes">> => Node,
  <<"global_counters">> => Glob})]).
"""


def broker_configuration(plan: BusPlan, password: str, version: tuple[int, int] | None = None) -> str:
    """The text of rabbitmq.conf for one broker of the bus.

    From 4.3.0 on brokers refuse queues that are neither durable nor exclusive unless told not to
    (https://github.com/rabbitmq/rabbitmq-server/pull/15459); oslo.messaging's queues for replies and fanouts are such.
    Brokers before the setting do not start with it.

    Args:
        version: major and minor number of the broker, None if unknown.
    """
    settings: dict[str, str | int | bool] = {
        "listeners.tcp.default": PORT,
        "default_user": _USER,
        "default_pass": password,
        "log.console": True,
        "log.console.level": "info",
        "log.file": False,
    }
    if len(plan.nodes) > 1:
        settings["cluster_formation.peer_discovery_backend"] = "classic_config"
        for number, node in enumerate(plan.nodes, start=1):
            settings[f"cluster_formation.classic_config.nodes.{number}"] = f"rabbit@{node.name}"
    if version is not None and version >= _PERMITS:
        settings["deprecated_features.permit.transient_nonexcl_queues"] = True
    settings.update(plan.options.get("config", {}))
    return "".join(f"{key} = {_setting(value)}\n" for key, value in settings.items())


def _setting(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class RabbitmqBus:
    """One RabbitMQ broker or cluster. See `harness.bus.protocol.Bus` for the contract."""

    kind = "rabbitmq"

    def __init__(self) -> None:
        self._lab: Runtime | None = None
        self._plan: BusPlan | None = None
        self._password = ""
        self._addresses: dict[str, str] = {}
        self._server: dict[str, str] = {}
        self._environment: dict[str, dict[str, str]] = {}
        self._running: dict[str, NodeProcess] = {}

    def start(self, lab: Runtime, plan: BusPlan, *, timeout_s: float) -> None:
        self._lab, self._plan = lab, plan
        self._password = secrets.token_urlsafe(18)
        cookie = secrets.token_hex(20)
        deadline = time.monotonic() + timeout_s
        for node in plan.nodes:
            self._addresses[node.name] = node.name
            self._server[node.name] = self._find_server(node.name)
            self._prepare(node, cookie)
            self._launch(node.name)
        failures: list[BaseException] = []

        def wait(component: str) -> None:
            try:
                self._wait_ready(component, deadline)
            except BusFailure as failure:
                failures.append(failure)

        waiting = [threading.Thread(target=wait, args=(node.name,)) for node in plan.nodes]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()
        if failures:
            raise failures[0]
        if len(plan.nodes) > 1:
            self._wait_cluster(plan.nodes[0].name, deadline)

    def _find_server(self, node: str) -> str:
        assert self._lab is not None
        # It names a program of this host, which no container has.
        wanted = None if self._lab.name == "docker" else os.environ.get("HARNESS_RABBITMQ_SERVER")
        candidates = [wanted] if wanted else list(_SERVERS)
        # The script is constant; the candidates are its arguments.
        script = 'for c in "$@"; do p=$(command -v -- "$c") && { readlink -f -- "$p"; exit 0; }; done; exit 1'
        found = self._lab.run(node, ["sh", "-c", script, "find", *candidates])
        if found.returncode != 0:
            raise MissingCapability(
                "no RabbitMQ server was found" + (f" at $HARNESS_RABBITMQ_SERVER ({wanted})" if wanted else ""),
                where=node,
                expected=" or ".join(candidates),
                remedy="install it (on Debian: apt-get install rabbitmq-server), or name its rabbitmq-server script in "
                "HARNESS_RABBITMQ_SERVER",
            )
        return found.stdout.strip()

    def _installed(self, node: str) -> tuple[int, int] | None:
        """Major and minor number of a node's broker, by the name of its own plug-in; None if that is not found."""
        assert self._lab is not None
        script = 'ls "$(dirname -- "$1")/../plugins"'
        found = _PLUGIN.search(self._lab.run(node, ["sh", "-c", script, "ls", self._server[node]]).stdout)
        return (int(found[1]), int(found[2])) if found else None

    def _prepare(self, node: BusNodePlan, cookie: str) -> None:
        assert self._lab is not None
        assert self._plan is not None
        base = self._lab.workdir(node.name)
        with tempfile.TemporaryDirectory() as scratch:
            for name, text, mode in (
                (
                    "rabbitmq.conf",
                    broker_configuration(self._plan, self._password, self._installed(node.name)),
                    0o600,
                ),
                ("rabbitmq-env.conf", "", 0o600),
                ("enabled_plugins", "[].\n", 0o600),
                (".erlang.cookie", cookie, 0o400),
            ):
                file = Path(scratch, name)
                file.write_text(text)
                file.chmod(mode)
                self._lab.put(node.name, file, name)
        self._environment[node.name] = {
            "HOME": base,
            "RABBITMQ_HOME_DIR": base,
            "RABBITMQ_NODENAME": f"rabbit@{node.name}",
            "RABBITMQ_CONF_ENV_FILE": f"{base}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{base}/rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": f"{base}/conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{base}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{base}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{base}/data",
            "RABBITMQ_LOG_BASE": f"{base}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{base}/rabbitmq.pid",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{base}/feature_flags",
        }

    def _launch(self, component: str) -> None:
        assert self._lab is not None
        # The broker logs to its standard output; the lab keeps standard error.
        self._running[component] = self._lab.start(
            component,
            ["sh", "-c", 'exec "$0" 1>&2', self._server[component]],
            log=component,
            env=self._environment[component],
        )

    def _wait_ready(self, component: str, deadline: float) -> None:
        assert self._lab is not None
        wait_for_greeting(
            self._lab,
            component,
            PORT,
            AMQP_0_9_1,
            process=self._running[component],
            log=component,
            deadline=deadline,
            what="the RabbitMQ broker",
        )

    def _wait_cluster(self, component: str, deadline: float) -> None:
        """Wait until every broker that was not stopped is in the cluster, as this one sees it."""
        wanted = sum(process.poll() is None for process in self._running.values())
        seen = 0
        while time.monotonic() < deadline:
            text = self._evaluate(component, 'io:format("~b~n", [length(rabbit_nodes:list_running())]).')
            match = re.search(r"\d+", text)
            seen = int(match[0]) if match else 0
            if seen >= wanted:
                return
            time.sleep(0.5)
        raise BusFailure(
            f"only {seen} of {wanted} brokers joined the cluster", where=component, remedy="see the brokers' logs"
        )

    def _evaluate(self, component: str, expression: str) -> str:
        assert self._lab is not None
        control = str(Path(self._server[component]).with_name("rabbitmqctl"))
        done = self._lab.run(
            component, [control, "-q", "eval", expression], timeout_s=30.0, env=self._environment[component]
        )
        if done.returncode != 0:
            raise BusFailure(f"rabbitmqctl ended with {done.returncode}: {done.stderr.strip()[-500:]}", where=component)
        return done.stdout

    def url(self, component: str) -> str:
        return f"rabbit://{_USER}:{quote(self._password, safe='')}@{self._addresses[component]}:{PORT}/"

    def processes(self) -> Mapping[str, NodeProcess]:
        return dict(self._running)

    def stop_component(self, component: str, *, kill: bool) -> None:
        process = self._running[component]
        process.signal(signal.SIGKILL if kill else signal.SIGTERM)
        if process.wait(30.0) is None:
            raise BusFailure("the broker does not end", where=component)

    def start_component(self, component: str, *, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._launch(component)
        self._wait_ready(component, deadline)
        if len(self._running) > 1:
            self._wait_cluster(component, deadline)

    def metrics(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for component, process in self._running.items():
            if process.poll() is None:
                text = self._evaluate(component, _METRICS)
                start = text.find("{")
                found[component] = json.loads(text[start : text.rfind("}") + 1])
        return found

    def facts(self) -> Mapping[str, Any]:
        assert self._lab is not None
        facts: dict[str, Any] = {"kind": self.kind, "implementation": "RabbitMQ", "stand_in": False, "components": {}}
        for component in self._running:
            match = _VERSION.search(self._lab.log_text(component, last_bytes=1_000_000))
            facts["components"][component] = {
                "version": match[1] if match else "unknown",
                "erlang": match[2] if match else "unknown",
                "server": self._server[component],
            }
        versions = {c["version"] for c in facts["components"].values()}
        facts["version"] = ", ".join(sorted(versions))
        return facts

    def stop(self) -> None:
        for process in self._running.values():
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10.0
        for process in self._running.values():
            if process.wait(max(0.1, deadline - time.monotonic())) is None:
                process.signal(signal.SIGKILL)
        self._running.clear()
