"""The server half of an agent: takes messages from an adapter, treats them as its behaviour says, and records them."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from harness.agent.account import BATCH
from harness.agent.clock import now
from harness.agent.draw import make_draw
from harness.agent.records import REQUEUED

if TYPE_CHECKING:
    from harness.agent.account import Account
    from harness.agent.draw import Draw
    from harness.agent.failures import Failures
    from harness.agent.task import Task

__all__ = ["Refused", "Server"]

_NS = 1_000_000_000


class Refused(Exception):
    """What a server raises because its behaviour says so."""


class Server:
    """The handler of one task's messages; see harness.agent.adapters.protocol.Handler."""

    def __init__(self, task: Task, account: Account, failures: Failures) -> None:
        behaviour = task.behaviour
        self._account = account
        self._failures = failures
        self._lock = threading.Lock()
        self._source = random.Random(task.seed)
        self._service: Draw | None = None
        if behaviour.service_time:
            self._service = make_draw(behaviour.service_time, task.seed, "seconds")
        self._raise = behaviour.raise_fraction
        self._silent = behaviour.silent_fraction
        self._requeue = behaviour.requeue_fraction
        self._plain = not (self._service or self._raise or self._silent or self._requeue)
        self._stall_plan = behaviour.stalls
        self._stalls: tuple[tuple[int, int], ...] = ()
        self._end = threading.Event()

    def go(self, start: int) -> None:
        """The instant (ns) stalls count from."""
        self._stalls = tuple(
            (start + int(stall["at_s"] * _NS), start + int((stall["at_s"] + stall["for_s"]) * _NS))
            for stall in self._stall_plan
        )

    def release(self) -> None:
        """Let requests that hang by order go, so that the process can end."""
        self._end.set()

    def __call__(self, sender: int, seq: int, due: int, flags: int, payload: str, target: int) -> bool:
        received = now()
        self._account.begin(seq)
        status, dealt_with, refused = 0, True, False
        if self._stalls:
            self._stall(received)
        if not self._plain:
            dealt_with, refused, silent = self._treat()
            if silent:
                status = self._failures.named("serve:Silent")
            elif refused:
                status = self._failures.named("serve:Refused")
            if not dealt_with:
                flags |= REQUEUED
        done = now()
        self._account.end((seq & 0xFFFFFFFF, sender, target, status, flags, len(payload), due, received, done))
        if not seq % BATCH:
            self._account.book()
        if status:
            if refused:
                raise Refused("told to refuse")
            self._end.wait()
        return dealt_with

    def _stall(self, instant: int) -> None:
        for begin, end in self._stalls:
            if begin <= instant < end:
                self._end.wait((end - instant) / _NS)

    def _treat(self) -> tuple[bool, bool, bool]:
        """Work on one request: (dealt with, refused, silent)."""
        with self._lock:
            seconds = self._service() if self._service is not None else 0.0
            raising = self._source.random() < self._raise
            silent = not raising and self._source.random() < self._silent
            requeued = self._source.random() < self._requeue
        if seconds > 0:
            time.sleep(seconds)
        return not requeued, raising, silent
