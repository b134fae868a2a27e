"""The table of failures: every kind of failure an agent met, by the phase it struck in and its exception class."""

from __future__ import annotations

import threading

__all__ = ["CallTimeout", "Failures", "RemoteFault", "ReplyLost", "WrongReply"]

#: More kinds than this are counted together; a table must not grow with the load.
_MOST = 1000


class WrongReply(Exception):
    """The answer does not belong to the request."""


class CallTimeout(Exception):
    """No answer, or no outcome, in time (adapters of ours; client libraries have their own)."""


class ReplyLost(Exception):
    """No answer can come any more: the queue it would come by ended with its connection (adapters of ours)."""


class RemoteFault(Exception):
    """The server raised; `exc_type` names what (adapters of ours; oslo.messaging has its RemoteError)."""

    def __init__(self, exc_type: str) -> None:
        super().__init__(exc_type)
        self.exc_type = exc_type


class Failures:
    """Numbers kinds of failure from 1 in the order met; 0 means success. Thread-safe."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._lock = threading.Lock()

    def code(self, phase: str, error: BaseException) -> int:
        """The status for an exception, "phase:Class"; a remote exception adds the class raised at the far end."""
        name = f"{phase}:{type(error).__name__}"
        remote = getattr(error, "exc_type", None)
        if isinstance(remote, str):
            name += f".{remote}"
        return self.named(name)

    def named(self, name: str) -> int:
        """The status of a failure by its name."""
        with self._lock:
            code = self._codes.get(name)
            if code is None:
                if len(self._codes) >= _MOST:
                    return self._codes.setdefault("other:TooManyKinds", len(self._codes) + 1)
                code = self._codes[name] = len(self._codes) + 1
            return code

    def names(self) -> list[str]:
        """All names; status s is names()[s - 1]."""
        with self._lock:
            return list(self._codes)
