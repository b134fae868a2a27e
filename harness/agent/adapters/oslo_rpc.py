"""RPC through oslo.messaging: calls, casts and fanouts, and the servers that take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import oslo_messaging

from harness.agent.adapters.oslo_transport import connect
from harness.agent.failures import WrongReply
from harness.agent.records import NOBODY

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Handler
    from harness.agent.task import Task

__all__ = ["METHOD", "RpcSender", "RpcServer", "make_client", "make_server"]

#: Name of the remote method; its arguments are the message's identity and the payload.
METHOD = "serve"


def make_client(transport: Any, target: Any, task: Task) -> Any:
    """An RPC client: by `get_rpc_client` where the release has it (14.1 on), else by its class."""
    make = getattr(oslo_messaging, "get_rpc_client", None) or oslo_messaging.RPCClient
    return make(transport, target, timeout=task.timeout_s, retry=task.retry)


def make_server(transport: Any, target: Any, endpoint: Any) -> Any:
    """An RPC server with native threads and the usual access policy."""
    policy = oslo_messaging.DefaultRPCAccessPolicy
    return oslo_messaging.get_rpc_server(transport, target, [endpoint], executor="threading", access_policy=policy)


class RpcSender:
    """Calls, casts or fanout casts to the task's topics."""

    def __init__(self, task: Task, transport: Any) -> None:
        self._task = task
        self._transport = transport
        client = make_client(transport, oslo_messaging.Target(exchange=task.exchange), task)
        #: What calls and casts to each of the task's topics are made through.
        self.contexts: list[Any] = []
        for topic in task.topics:
            options: dict[str, Any] = {"topic": topic.topic}
            if topic.server is not None:
                options["server"] = topic.server
            if task.pattern == "rpc-fanout":
                options["fanout"] = True
            if task.pattern == "rpc-call" and task.monitor_s is not None:
                options["call_monitor_timeout"] = task.monitor_s
            self.contexts.append(client.prepare(**options))
        self.send = self._call if task.pattern == "rpc-call" else self._cast

    def warm_up(self) -> bool:
        return connect(self._transport, self._task)

    def _call(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        return call(self.contexts[target], self._task.agent, seq, due, flags, payload)

    def _cast(self, seq: int, due: int, flags: int, payload: str, target: int) -> int:
        self.contexts[target].cast({}, METHOD, agent=self._task.agent, seq=seq, due=due, flags=flags, payload=payload)
        return NOBODY

    def close(self) -> None:
        self._transport.cleanup()


def call(context: Any, agent: int, seq: int, due: int, flags: int, payload: str) -> int:
    """One call; the agent that answered. The reply echoes identity and payload, and both must be this request's."""
    reply = context.call({}, METHOD, agent=agent, seq=seq, due=due, flags=flags, payload=payload)
    if not isinstance(reply, (list, tuple)) or len(reply) != 4 or reply[1] != agent or reply[2] != seq:
        raise WrongReply(f"asked as agent {agent} number {seq}, answered {str(reply)[:200]}")
    if reply[3] != payload:
        raise WrongReply("the payload came back changed")
    return int(reply[0])


class _Endpoint:
    def __init__(self, task: Task, handler: Handler, target: int) -> None:
        self._agent = task.agent
        self._handler = handler
        self._target = target

    def serve(self, ctxt: Any, agent: int, seq: int, due: int, flags: int, payload: str) -> Any:
        self._handler(agent, seq, due, flags, payload, self._target)
        return [self._agent, agent, seq, payload]


class RpcServer:
    """One RPC server per topic; each listens to calls and casts to the topic, to its own name, and to fanouts."""

    def __init__(self, task: Task, transport: Any, handler: Handler) -> None:
        self._transport = transport
        self._servers = []
        for index, topic in enumerate(task.topics):
            name = topic.server or task.server or task.name
            target = oslo_messaging.Target(exchange=task.exchange, topic=topic.topic, server=name)
            self._servers.append(make_server(transport, target, _Endpoint(task, handler, index)))

    def start(self) -> None:
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        for server in self._servers:
            server.stop()
        for server in self._servers:
            server.wait()
        self._transport.cleanup()
