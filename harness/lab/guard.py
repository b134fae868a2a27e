"""Watches the links of a cell once they are shaped: nothing waits for a distance that is not there any more."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from harness.errors import HarnessError

__all__ = ["LinkGuard"]

#: Seconds between two looks. A look may wait 2 s for an answer, so whoever is silent is known after 3 s at most, and
#: whoever has ended after 1 s.
_EVERY_S = 1.0


class LinkGuard:
    """Looks once a second, in a thread of its own, whether links are still shaped, until it is left.

    Args:
        look: raises HarnessError if they are not.
        every_s: seconds between two looks.
    """

    def __init__(self, look: Callable[[], None], every_s: float = _EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._failure: HarnessError | None = None
        self._ends: list[Callable[[], None]] = []
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="link-guard", daemon=True)

    def __enter__(self) -> LinkGuard:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Look now. Raises HarnessError if the links are not shaped, or were found so before."""
        if self._failure is not None:
            raise self._failure
        self._look()

    @contextlib.contextmanager
    def ending(self, action: Callable[[], None]) -> Iterator[None]:
        """While inside, `action` is called once if the links fail: it is to end what would wait in vain."""
        with self._turn:
            self._ends.append(action)
            failed = self._failure is not None
        if failed:
            action()
        try:
            yield
        finally:
            with self._turn:
                self._ends.remove(action)

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._look()
            except HarnessError as failure:
                with self._turn:
                    self._failure = failure
                    ends = tuple(self._ends)
                for end in ends:
                    end()
                return
