"""Fleets from the controller's side: many agents forked from one process that has their client library loaded."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from harness.lab.agents import AgentHandle, Listener
from harness.lab.conversation import failure
from harness.runtime.protocol import NodeProcess, Runtime

__all__ = ["FleetHandle", "FleetMember"]


class _MemberInput(io.RawIOBase):
    """What a member's commands are written to: they go through the fleet's own input."""

    def __init__(self, send: Callable[[Mapping[str, Any]], None], name: str) -> None:
        self._send = send
        self._name = name

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._send({"member": self._name, "message": json.loads(bytes(data))})
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(OSError, ValueError):  # the fleet may have ended first
                self._send({"cmd": "close", "member": self._name})
        super().close()


class FleetMember:
    """A forked agent as a process. See `harness.runtime.protocol.NodeProcess`; it has no stdout of its own."""

    def __init__(self, name: str, pid: int, send: Callable[[Mapping[str, Any]], None]) -> None:
        self.name = name
        self.pid = pid
        self.stdin: IO[bytes] = _MemberInput(send, name)  # type: ignore[assignment]
        self.stdout: IO[bytes] = io.BytesIO()
        self._send = send
        self._ended = threading.Event()
        self._status: int | None = None

    def poll(self) -> int | None:
        return self._status

    def wait(self, timeout_s: float) -> int | None:
        self._ended.wait(timeout_s)
        return self._status

    def signal(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(OSError, ValueError):
                self._send({"cmd": "signal", "member": self.name, "number": number})

    def end(self, status: int) -> None:
        """The fleet tells that the member has ended."""
        self._status = status
        self._ended.set()


class FleetHandle:
    """One fleet process in one node, and its members.

    Args:
        lab: the opened lab.
        node: where it runs.
        name: of the fleet, for its log and for errors.
        python: interpreter of the members' stack, as a path in the node.
        archive: the agent archive, as a path in the node.
        adapter: of the members' tasks.
        driver: of the members' tasks.
        env: the stack's environment variables.

    Raises AgentFailure if it does not start.
    """

    def __init__(
        self,
        lab: Runtime,
        node: str,
        name: str,
        python: str,
        archive: str,
        adapter: str,
        driver: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.name = name
        self._lab = lab
        argv = [python, archive, "fleet", "--adapter", adapter, "--driver", driver]
        self.process: NodeProcess = lab.start(node, argv, log=name, env=env)
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._ready = False
        self._ended = False
        self._pids: dict[str, int] = {}
        self._members: dict[str, AgentHandle] = {}
        threading.Thread(target=self._read, name=f"read {name}", daemon=True).start()
        self._await(lambda: self._ready, timeout_s, "did not start")

    def spawn(self, name: str, *, listener: Listener | None = None, timeout_s: float = 30.0) -> AgentHandle:
        """Fork one more agent. It is spoken to like any other."""
        self._send({"cmd": "spawn", "member": name})
        self._await(lambda: name in self._pids, timeout_s, f"did not fork {name}")
        member = FleetMember(name, self._pids.pop(name), self._send)
        handle = AgentHandle(name, member, log_tail=lambda: self._log_of(name), listener=listener, reads=False)
        with self._changed:
            self._members[name] = handle
        return handle

    def stop(self, timeout_s: float = 20.0) -> None:
        """End all members, then the fleet. Never raises."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if self.process.wait(timeout_s) is None:
            self.process.signal(9)
            self.process.wait(2.0)

    def _log_of(self, name: str) -> str:
        """The lines of the fleet's log that are a member's, or all of them if none is."""
        text = self._lab.log_text(self.name, last_bytes=65536)
        own = [line for line in text.splitlines() if line.startswith(f"{name}: ")]
        return "\n".join(own) if own else text

    def _send(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._writing:
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def _await(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._ended, timeout_s)
            if condition():
                return
        raise failure(f"fleet {self.name}", what, self.process, self._lab.log_text(self.name))

    def _read(self) -> None:
        try:
            for line in self.process.stdout:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue
                self._dispatch(message)
        except (OSError, ValueError):
            pass
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            names = list(self._members)
        for name in names:
            self._end_of(name, None)

    def _dispatch(self, message: Mapping[str, Any]) -> None:
        name = str(message.get("member"))
        if "message" in message:
            handle = self._members.get(name)
            if handle is not None:
                handle.talk.take(message["message"])
        elif message.get("type") == "ended":
            self._end_of(name, int(message["status"]))
        else:
            with self._changed:
                if message.get("type") == "spawned":
                    self._pids[name] = int(message["pid"])
                elif message.get("type") == "ready":
                    self._ready = True
                self._changed.notify_all()

    def _end_of(self, name: str, status: int | None) -> None:
        """A member has ended, or (no status) the fleet has and takes its members along."""
        handle = self._members.pop(name, None)
        if handle is not None:
            assert isinstance(handle.process, FleetMember)
            handle.process.end(-9 if status is None else status)
            handle.talk.end_of_stream()
