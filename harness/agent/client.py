"""The client half of an agent: operations through an adapter, each timed, counted and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

from harness.agent.account import BATCH
from harness.agent.clock import now
from harness.agent.leak import Leak
from harness.agent.load import Load
from harness.agent.payload import payloads
from harness.agent.records import NOBODY, STARVED, WARMUP

if TYPE_CHECKING:
    from harness.agent.account import Account
    from harness.agent.adapters.protocol import Sender
    from harness.agent.failures import Failures
    from harness.agent.load import Operation
    from harness.agent.task import Task

__all__ = ["Client"]

_NS = 1_000_000_000


class Client:
    """Performs a task's operations through a sender."""

    def __init__(self, task: Task, sender: Sender, account: Account, failures: Failures) -> None:
        self._task = task
        self._sender = sender
        self._account = account
        self._failures = failures
        self._next_payload = payloads(task.payload, task.seed)
        self._phase = task.pattern.split("-", 1)[-1]
        self._warm_until = 0
        self._load: Load | None = None
        self._due_before = 0
        self._leak = Leak(task.leak) if task.leak is not None else None

    def warm_up(self) -> bool:
        """Connect ahead of the load; see Sender.warm_up."""
        return self._sender.warm_up()

    def go(self, start: int, *, schedule: Mapping[str, Any] | None = None, count: int | None = None) -> None:
        """Begin a stretch of load; numbers go on where the last stretch ended."""
        first = 0
        if self._load is not None:
            first = self._load.next_number
            self._due_before += self._load.due_by(now())
        else:
            self._warm_until = start + int(self._task.warmup_s * _NS)
        operation = self.operation(self._warm_until)
        self._load = Load(self._task, operation, start, first=first, schedule=schedule, count=count)
        self._load.begin()

    @property
    def finished(self) -> bool:
        """Whether a stretch of load was begun and has ended, with every operation answered or failed."""
        return self._load is not None and self._load.join(0.0)

    def due(self) -> int:
        """Operations due so far."""
        return self._due_before + (self._load.due_by(now()) if self._load is not None else 0)

    def drain(self, timeout_s: float | None) -> bool:
        """Wait for the load under way to end (None: without limit). Whether it has."""
        return self._load is None or self._load.join(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Begin no further operation, wait for those under way, and disconnect."""
        if self._load is not None:
            self._load.end_soon()
            self._load.join(timeout_s)
        self._sender.close()

    def operation(self, warm_until: int = 0) -> Operation:
        """What performs one operation; those due before an instant (ns) are of the warm-up.

        A function with all it needs in its own variables: what happens between two calls is to touch little
        (account.py).
        """
        seed, topics, failed, phase = self._task.seed, len(self._task.topics), self._failures.code, self._phase
        send, next_payload, leak = self._sender.send, self._next_payload, self._leak
        begin, end, book, clock = self._account.begin, self._account.end, self._account.book, now

        def operate(seq: int, due: int, starved: bool) -> None:
            flags = WARMUP if due < warm_until else 0
            target = (seed + seq) % topics
            payload = next_payload(seq)
            peer, status = NOBODY, 0
            begin(seq)
            sent = clock()
            try:
                peer = send(seq, due, flags, payload, target)
                done = clock()
            except Exception as error:
                done = clock()
                status = failed(phase, error)
            if starved:
                flags |= STARVED
            end((seq & 0xFFFFFFFF, peer, target, status, flags, len(payload), due, sent, done))
            if not seq % BATCH:
                book()
            if leak is not None:
                leak.operation()

        return operate
