"""JSON lines with a process of ours in a node: one request, one answer, in turn, bounded in time."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Mapping
from typing import Any

from harness.runtime.protocol import NodeProcess

__all__ = ["Dialogue", "Ended", "Silent"]


class Ended(Exception):
    """The process has ended; `status` as `NodeProcess.poll` gives it, None if it only closed its output."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        super().__init__(f"ended with status {status}")


class Silent(Exception):
    """The process did not answer in time."""


class Dialogue:
    """Asks one process, and reads its answers. Several threads may ask; they take turns.

    Args:
        process: whose stdin and stdout speak JSON lines; nobody else may read its stdout.
    """

    def __init__(self, process: NodeProcess) -> None:
        self.process = process
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._owed = 0
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in iter(self.process.stdout.readline, b""):
                self._answers.put(line)
        self._answers.put(b"")

    def tell(self, request: Mapping[str, Any]) -> None:
        """Send a request whose answer `hear` will fetch. Raises Ended."""
        if self.process.poll() is not None:
            raise Ended(self.process.poll())
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError):
            raise Ended(self.process.wait(1.0)) from None

    def hear(self, timeout_s: float) -> dict[str, Any]:
        """The next answer. Raises Ended, Silent."""
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise Silent from None
        if not line:
            self._answers.put(b"")
            raise Ended(self.process.wait(1.0))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and return its answer; answers to earlier requests that timed out are skipped.

        Raises:
            Ended: the process is gone.
            Silent: no answer within timeout_s seconds.
        """
        with self._turn:
            self.tell(request)
            self._owed += 1
            while True:
                answer = self.hear(timeout_s)
                self._owed -= 1
                if not self._owed:
                    return answer

    def end(self, timeout_s: float = 2.0) -> None:
        """Close the process's stdin, wait for it to end, kill it if it does not."""
        if self.process.poll() is not None:
            return
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        if self.process.wait(timeout_s) is None:
            self.process.signal(9)
            self.process.wait(timeout_s)
