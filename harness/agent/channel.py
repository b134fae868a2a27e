"""The control channel: JSON lines in on standard input, JSON lines out on what was standard output.

Libraries print. So that they cannot corrupt the channel, the real standard output is kept privately and descriptor 1
is pointed at standard error, which is the agent's log.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from typing import Any, Iterator

__all__ = ["Channel", "mask"]

_CREDENTIALS = re.compile(r"(://)[^/@\s]*@")


def mask(text: str) -> str:
    """The text with user names and passwords in URLs replaced by `***`."""
    return _CREDENTIALS.sub(r"\1***@", text)


class Channel:
    """Writes lines whole, from any thread; reads them from one."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Write one message. If the other end is gone the message is dropped: end of input follows."""
        self.pass_on((json.dumps(message, separators=(",", ":")) + "\n").encode())

    def fault(self, phase: str, error: BaseException, **more: Any) -> None:
        """Tell of a fault: its class, its message without credentials, and what was being done."""
        self.send(type="error", phase=phase, message=mask(str(error)), **{"class": type(error).__name__}, **more)

    def pass_on(self, data: bytes) -> None:
        """Write whole lines as they are."""
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._out, data) :]
            except OSError:
                pass

    def close(self) -> None:
        """Forget the standard output; for a forked process that has another one."""
        os.close(self._out)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Messages until end of input. A line that is no JSON object is answered with an error and left out."""
        while True:
            try:
                line = sys.stdin.buffer.readline()
            except OSError:
                return
            if not line:
                return
            if not line.strip():
                continue
            try:
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                self.fault("read", error)
                continue
            yield message
