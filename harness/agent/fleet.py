"""The fleet: one process loads the client library and forks agents from itself, so that many fit on one machine.

Each member is a process of its own that connects by itself; memory pages of code and modules are shared with the
parent until written to. That is what makes 1,000 of them fit, and why verdicts about memory use fresh processes
instead. The parent has a single thread and never connects to anything.

Commands, one JSON object per line:

    {"cmd": "spawn", "member": name}                  answered with {"type": "spawned", "member", "pid"}
    {"cmd": "signal", "member": name, "number": n}    sends a signal
    {"cmd": "close", "member": name}                  ends the member's input
    {"member": name, "message": {...}}                a command of harness.agent.agent, for that member

Messages: whatever members say, as {"member": name, "message": {...}}; and {"type": "ended", "member", "status"}
(negative: killed by that signal). End of input ends all members, then the fleet.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import threading
import time
from typing import Any

from harness.agent.adapters import ADAPTERS
from harness.agent.agent import run_agent
from harness.agent.channel import Channel
from harness.agent.packages import installed_packages

__all__ = ["run_fleet"]

#: What a client library imports late, by (adapter, driver): loaded before the fork, it is shared.
_LATE = {
    ("oslo", "rabbit"): ("oslo_messaging._drivers.impl_rabbit", "kombu.transport.pyamqp", "oslo_messaging.rpc"),
    ("oslo", "amqp1"): ("oslo_messaging._drivers.impl_amqp1", "oslo_messaging._drivers.amqp1_driver.controller"),
    ("kombu", "rabbit"): ("kombu.transport.pyamqp",),
}

#: How long members may take to end before they are killed, seconds.
_FAREWELL_S = 12.0


class _Member:
    """A forked agent, from the parent's side."""

    def __init__(self, name: str, pid: int, link: socket.socket) -> None:
        self.name = name
        self.pid = pid
        self.link = link
        self.head = b'{"member":' + json.dumps(name).encode() + b',"message":'
        self.pending = b""


class _Fleet:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._members: dict[str, _Member] = {}
        self._input = b""

    def run(self) -> None:
        """Serve until end of input and the end of all members."""
        self._selector.register(0, selectors.EVENT_READ, None)
        listening, deadline = True, float("inf")
        while listening or self._members:
            for key, _ in self._selector.select(0.5):
                if key.data is not None:
                    self._hear(key.data)
                elif not self._listen():
                    listening = False
                    deadline = time.monotonic() + _FAREWELL_S
                    self._selector.unregister(0)
                    for member in self._members.values():
                        with contextlib.suppress(OSError):
                            member.link.shutdown(socket.SHUT_WR)
            if time.monotonic() > deadline:
                deadline = float("inf")
                for member in self._members.values():
                    os.kill(member.pid, signal.SIGKILL)

    def _listen(self) -> bool:
        """Take in what the controller says. False at end of input."""
        data = os.read(0, 1 << 16)
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            if line.strip():
                try:
                    self._carry_out(json.loads(line))
                except (ValueError, KeyError, TypeError, OSError) as error:
                    self._channel.fault("fleet", error)
        return bool(data)

    def _carry_out(self, command: dict[str, Any]) -> None:
        name = command["member"]
        if command.get("cmd") == "spawn":
            self._spawn(name)
        elif name not in self._members:
            return  # ended meanwhile: the controller has been told
        elif command.get("cmd") == "signal":
            os.kill(self._members[name].pid, int(command["number"]))
        elif command.get("cmd") == "close":
            self._members[name].link.shutdown(socket.SHUT_WR)
        else:
            data = json.dumps(command["message"], separators=(",", ":")).encode() + b"\n"
            self._members[name].link.sendall(data)

    def _spawn(self, name: str) -> None:
        if name in self._members:
            raise ValueError(f"there is a member {name!r} already")
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            _become(name, theirs, [ours, *(member.link for member in self._members.values())], self._channel)
        theirs.close()
        member = self._members[name] = _Member(name, pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, member)
        self._channel.send(type="spawned", member=name, pid=pid)

    def _hear(self, member: _Member) -> None:
        """Pass on what a member says; at the end of it, say how it ended."""
        try:
            data = member.link.recv(1 << 16)
        except OSError:
            data = b""
        if data:
            *lines, member.pending = (member.pending + data).split(b"\n")
            if lines:
                self._channel.pass_on(b"".join(member.head + line + b"}\n" for line in lines))
            return
        self._selector.unregister(member.link)
        member.link.close()
        del self._members[member.name]
        _, status = os.waitpid(member.pid, 0)
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        self._channel.send(type="ended", member=member.name, status=code)


def _become(name: str, link: socket.socket, others: list[socket.socket], channel: Channel) -> None:
    """Turn the forked process into an agent; does not return."""
    status = 1
    try:
        for other in others:
            other.close()
        channel.close()
        os.dup2(link.fileno(), 0)
        os.dup2(link.fileno(), 1)
        link.close()
        for handler in logging.getLogger().handlers:
            form = handler.formatter._fmt if handler.formatter is not None else None
            handler.setFormatter(logging.Formatter(f"{name}: {form or '%(message)s'}"))
        status = run_agent()
    finally:
        os._exit(status)


def run_fleet(adapter: str, driver: str) -> int:
    """Load what members will need, and serve; the exit status."""
    channel = Channel()
    for module in (ADAPTERS[adapter].partition(":")[0], *_LATE.get((adapter, driver), ())):
        importlib.import_module(module)
    installed_packages()
    if adapter == "oslo":
        importlib.import_module("harness.agent.adapters.oslo_transport").known_options()
    if threading.active_count() != 1:
        raise RuntimeError("a library has started threads while loading: they would not survive the fork")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what is there now is never looked at by the members' collectors, and so stays shared
    channel.send(type="ready", pid=os.getpid())
    _Fleet(channel).run()
    return 0
