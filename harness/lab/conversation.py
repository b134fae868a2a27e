"""A conversation in JSON lines with a node-side process: requests with time-outs, and messages nobody asked for."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import AgentFailure
from harness.runtime.protocol import NodeProcess

__all__ = ["Conversation", "failure"]

_LOG_LINES = 12


def failure(name: str, what: str, process: NodeProcess, log: str) -> AgentFailure:
    """The failure of a process: what it did, how it ended if it has, and the last lines of its log."""
    status = process.poll()
    if status is not None:
        what += f" (killed by signal {-status})" if status < 0 else f" (exit status {status})"
    lines = log.rstrip().splitlines()[-_LOG_LINES:]
    if lines:
        what += "; its last log lines:\n    " + "\n    ".join(lines)
    return AgentFailure(what, where=name, remedy="its whole log is in the run's logs directory")


class Conversation:
    """Speaks with one process; every failure names it and shows the last lines of its log.

    Args:
        name: what to call it in errors, e.g. "agent call-client-edge-a-1".
        process: the process; its stdout is read by this object alone.
        reads: whether this object reads the process's stdout; else somebody else calls `take` and `end_of_stream`.
        log_tail: the end of its log, for errors.
        unasked: called with every message that is no answer, from the reading thread; must not block or raise.
    """

    def __init__(
        self,
        name: str,
        process: NodeProcess,
        *,
        log_tail: Callable[[], str],
        unasked: Callable[[Mapping[str, Any]], None],
        reads: bool = True,
    ) -> None:
        self.name = name
        self.process = process
        self._log_tail = log_tail
        self._unasked = unasked
        self._numbers = itertools.count(1)
        self._answers: dict[int, Mapping[str, Any] | None] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._reader: threading.Thread | None = None
        if reads:
            self._reader = threading.Thread(target=self._read, name=f"read {name}", daemon=True)
            self._reader.start()

    @property
    def ended(self) -> bool:
        """Whether the process has closed its end."""
        return self._ended

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no answer. Raises AgentFailure if the process is gone."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except (OSError, ValueError):
            raise self.failure("is gone") from None

    def ask(self, command: str, within_s: float, /, **arguments: Any) -> Mapping[str, Any]:
        """Send a command and wait for its answer.

        Raises AgentFailure if the process is gone, answers with an error, or does not answer in time.
        """
        number = next(self._numbers)
        with self._changed:
            self._answers[number] = None
        try:
            self.tell({"cmd": command, "id": number, **arguments})
            with self._changed:
                self._changed.wait_for(lambda: self._answers[number] is not None or self._ended, within_s)
                answer = self._answers[number]
        finally:
            with self._changed:
                del self._answers[number]
        if answer is None:
            if self._ended:
                raise self.failure(f"ended during {command}")
            raise self.failure(f"did not answer {command} within {within_s:g} s")
        if answer.get("type") == "error":
            raise self.failure(f"failed at {command}: {answer.get('class')}: {answer.get('message')}")
        return answer

    def failure(self, what: str) -> AgentFailure:
        """The failure of this process, with how it ended and what it logged last."""
        if self._ended:
            self.process.wait(2.0)
        return failure(self.name, what, self.process, self._log_tail())

    def end(self, timeout_s: float) -> int | None:
        """Close its input and wait; SIGTERM, then SIGKILL if it does not end. Its exit status."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        status = self.process.wait(timeout_s)
        for number in (15, 9):
            if status is not None:
                break
            self.process.signal(number)
            status = self.process.wait(2.0)
        if self._reader is not None:
            self._reader.join(2.0)
        return status

    def _read(self) -> None:
        try:
            for line in self.process.stdout:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue
                if isinstance(message, dict):
                    self.take(message)
        except (OSError, ValueError):
            pass
        finally:
            self.end_of_stream()

    def end_of_stream(self) -> None:
        """The process says nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, message: Mapping[str, Any]) -> None:
        """Take in one message of the process."""
        number = message.get("id")
        with self._changed:
            if isinstance(number, int):
                if number in self._answers:
                    self._answers[number] = message
                    self._changed.notify_all()
                return  # an answer that came after its time-out is of no use to anybody
        self._unasked(message)
